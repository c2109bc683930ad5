//go:build linux

package sensor

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime"
)

// opensslFunctions are those that get probes.
var opensslFunctions = []string{"SSL_read", "SSL_write", "SSL_read_ex", "SSL_write_ex", "SSL_free"}

// maxTable bounds how much of a file is read at once.
const maxTable = 64 << 20

// opensslOffsets finds the functions of OpenSSL that a file has, not those that it
// only calls, and gives where in the file they are; nothing of a file that is no
// program of this machine. It reads the tables itself: a program is on its way to
// its first use of them, and debug/elf makes a value of every symbol.
func opensslOffsets(raw io.ReaderAt) (offsets map[string]uint64, err error) {
	// debug/elf is not made for files that mean harm.
	defer func() {
		if fault := recover(); fault != nil {
			offsets, err = nil, fmt.Errorf("read the symbols: %v", fault)
		}
	}()
	var magic [len(elf.ELFMAG)]byte
	if _, err := raw.ReadAt(magic[:], 0); err != nil || string(magic[:]) != elf.ELFMAG {
		return nil, nil // a file that is shorter is no program either
	}
	file, err := elf.NewFile(raw)
	if err != nil || file.Class != elf.ELFCLASS64 || file.Machine != machine() {
		return nil, nil // the kernel would not run it, or it is of another processor
	}
	offsets = map[string]uint64{}
	for _, section := range file.Sections {
		if section.Type != elf.SHT_DYNSYM && section.Type != elf.SHT_SYMTAB || int(section.Link) >= len(file.Sections) {
			continue
		}
		if err := addOffsets(offsets, file, section, file.Sections[section.Link]); err != nil {
			return nil, err
		}
	}
	return offsets, nil
}

// machine is the processor of this machine in ELF's words.
func machine() elf.Machine {
	if runtime.GOARCH == "arm64" {
		return elf.EM_AARCH64
	}
	return elf.EM_X86_64
}

var errTable = errors.New("a table of symbols is too large")

// addOffsets adds what is found in one table of symbols, with its table of names.
func addOffsets(offsets map[string]uint64, file *elf.File, symbols, names *elf.Section) error {
	if symbols.Size > maxTable || names.Size > maxTable {
		return errTable
	}
	text, err := names.Data()
	if err != nil {
		return nil //nolint:nilerr // it has no names
	}
	// A quick look first: most files have nothing of it.
	if !bytes.Contains(text, []byte("SSL_write\x00")) {
		return nil
	}
	table, err := symbols.Data()
	if err != nil {
		return nil //nolint:nilerr // the table lies outside of the file
	}
	const entry = 24 // Elf64_Sym: name, info, other, section, value, size
	for ; len(table) >= entry; table = table[entry:] {
		name := binary.LittleEndian.Uint32(table)
		if uint64(name) >= uint64(len(text)) || !bytes.HasPrefix(text[name:], []byte("SSL_")) ||
			elf.ST_TYPE(table[4]) != elf.STT_FUNC || binary.LittleEndian.Uint16(table[6:]) == uint16(elf.SHN_UNDEF) {
			continue
		}
		for _, function := range opensslFunctions {
			if !bytes.HasPrefix(text[name:], []byte(function+"\x00")) {
				continue
			}
			if offset, ok := offsetOf(file, binary.LittleEndian.Uint64(table[8:])); ok {
				offsets[function] = offset
			}
		}
	}
	return nil
}

// offsetOf gives where in the file an address is.
func offsetOf(file *elf.File, address uint64) (uint64, bool) {
	for _, p := range file.Progs {
		if p.Type == elf.PT_LOAD && p.Flags&elf.PF_X != 0 && p.Vaddr <= address && address-p.Vaddr < p.Filesz {
			return address - p.Vaddr + p.Off, true
		}
	}
	return 0, false
}
