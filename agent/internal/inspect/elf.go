//go:build linux

package inspect

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime"
	"time"
)

// openSSLFunctions are the functions that OpenSSL looks for.
var openSSLFunctions = []string{"SSL_read", "SSL_write", "SSL_read_ex", "SSL_write_ex", "SSL_free"} //nolint:gochecknoglobals // a table of constants

// Limits for one file.
const (
	maxTable         = 64 << 20 // bytes of one table
	maxSegments      = 1024
	maxNames         = 64          // positions in a string table that name one of the functions
	chunkBytes       = 1 << 20     // how much of a table one read takes
	maxProcessorTime = time.Second // CPU time
)

var errBounds = errors.New("the file exceeds the limits of an inspection")

// OpenSSL finds the functions of OpenSSL that a program or library defines; functions
// that it only calls do not count. It returns their offsets in the file, by name. It
// returns an empty map for a file that this machine cannot run. The error says that the
// file exceeds a limit; the map then has the functions found so far.
//
// OpenSSL reads the first SHT_DYNSYM and the first SHT_SYMTAB section, since linkers
// write no more than one of each. It reads them in pieces: debug/elf reads whole sections
// of any size, and a hostile file may be crafted to exploit that.
func OpenSSL(raw io.ReaderAt) (map[string]uint64, error) {
	var head elf.Header64
	if err := readStruct(raw, 0, &head); err != nil || string(head.Ident[:len(elf.ELFMAG)]) != elf.ELFMAG {
		return nil, nil //nolint:nilerr // a file that is too short is not a program
	}
	if head.Ident[elf.EI_CLASS] != byte(elf.ELFCLASS64) || head.Ident[elf.EI_DATA] != byte(elf.ELFDATA2LSB) ||
		head.Machine != uint16(machine()) || head.Shentsize != sectionBytes || head.Phentsize != segmentBytes {
		return nil, nil // this machine cannot run it
	}
	t := &tables{raw: raw, began: processorTime(), offsets: map[string]uint64{}}
	if head.Phnum > maxSegments {
		return nil, fmt.Errorf("%w: %d segments", errBounds, head.Phnum)
	}
	t.segments = make([]elf.Prog64, head.Phnum)
	if err := readStruct(raw, head.Phoff, t.segments); err != nil {
		return nil, nil //nolint:nilerr // this machine cannot run it
	}
	done := map[uint32]bool{}
	err := t.chunks(head.Shoff, uint64(head.Shnum)*sectionBytes, sectionBytes, func(_ uint64, entry []byte) (bool, error) {
		kind := binary.LittleEndian.Uint32(entry[4:])
		if kind != uint32(elf.SHT_DYNSYM) && kind != uint32(elf.SHT_SYMTAB) || done[kind] {
			return false, nil
		}
		done[kind] = true
		var symbols, names elf.Section64
		if _, err := binary.Decode(entry, binary.LittleEndian, &symbols); err != nil {
			return false, fmt.Errorf("read a section: %w", err)
		}
		if symbols.Link >= uint32(head.Shnum) {
			return false, nil
		}
		if err := readStruct(raw, head.Shoff+uint64(symbols.Link)*sectionBytes, &names); err != nil {
			return false, nil //nolint:nilerr // the symbols have no names
		}
		return len(done) == 2, t.add(&symbols, &names)
	})
	return t.offsets, err
}

// Sizes of Elf64_Shdr, Elf64_Phdr and Elf64_Sym.
const (
	sectionBytes = 64
	segmentBytes = 56
	symbolBytes  = 24
)

// machine returns the architecture of this machine.
func machine() elf.Machine {
	if runtime.GOARCH == "arm64" {
		return elf.EM_AARCH64
	}
	return elf.EM_X86_64
}

func readStruct(raw io.ReaderAt, at uint64, value any) error {
	text := make([]byte, binary.Size(value))
	if at > 1<<62 {
		return io.EOF
	}
	if n, err := raw.ReadAt(text, int64(at)); n < len(text) {
		return err
	}
	_, err := binary.Decode(text, binary.LittleEndian, value)
	return err
}

// tables reads the symbol tables of one file.
type tables struct {
	raw      io.ReaderAt
	began    time.Duration
	segments []elf.Prog64
	offsets  map[string]uint64 // the result, by function
	buffer   [chunkBytes]byte
	text     []byte // of a string table: the end of the previous piece, and the current one
}

// chunks calls do for each entry of a table until do returns true or an error. It stops
// at the end of the file.
func (t *tables) chunks(at, size, entry uint64, do func(at uint64, entry []byte) (done bool, err error)) error {
	return t.pieces(at, size, chunkBytes/entry*entry, func(begin uint64, piece []byte) (bool, error) {
		for i := uint64(0); i+entry <= uint64(len(piece)); i += entry {
			if done, err := do(begin+i, piece[i:i+entry]); done || err != nil {
				return done, err
			}
		}
		return false, nil
	})
}

// pieces reads a table in pieces of length bytes and calls do for each, until do returns
// true or an error. It returns errBounds if the table is too large or reading it takes
// too long.
func (t *tables) pieces(at, size, length uint64, do func(begin uint64, piece []byte) (done bool, err error)) error {
	switch {
	case size > maxTable:
		return fmt.Errorf("%w: a table of %d bytes", errBounds, size)
	case at > 1<<62:
		return nil
	}
	for begin := uint64(0); begin < size; begin += length {
		if processorTime()-t.began > maxProcessorTime {
			return fmt.Errorf("%w: reading it takes longer than %s", errBounds, maxProcessorTime)
		}
		n, err := t.raw.ReadAt(t.buffer[:min(length, size-begin)], int64(at+begin))
		if done, doErr := do(begin, t.buffer[:n]); done || doErr != nil {
			return doErr
		}
		if err != nil {
			return nil //nolint:nilerr // the file ends here
		}
	}
	return nil
}

// add adds the functions that one symbol table defines; names is its string table.
func (t *tables) add(symbols, names *elf.Section64) error {
	if (symbols.Flags|names.Flags)&uint64(elf.SHF_COMPRESSED) != 0 {
		return nil // sections that the kernel loads are never compressed
	}
	functions, err := t.names(names)
	if err != nil || len(functions) == 0 {
		return err // the usual case: the file has none of the functions
	}
	return t.chunks(symbols.Off, symbols.Size, symbolBytes, func(_ uint64, entry []byte) (bool, error) {
		function, ok := functions[binary.LittleEndian.Uint32(entry)]
		if !ok || elf.ST_TYPE(entry[4]) != elf.STT_FUNC || binary.LittleEndian.Uint16(entry[6:]) == uint16(elf.SHN_UNDEF) {
			return false, nil
		}
		if offset, ok := t.offsetOf(binary.LittleEndian.Uint64(entry[8:])); ok {
			t.offsets[function] = offset
		}
		return false, nil
	})
}

// names returns the positions in a string table at which a name of openSSLFunctions
// starts.
func (t *tables) names(table *elf.Section64) (map[uint32]string, error) {
	const overlap = 16 // longer than every name: finds a name that crosses two pieces
	found := map[uint32]string{}
	t.text = t.text[:0]
	err := t.pieces(table.Off, table.Size, chunkBytes, func(begin uint64, piece []byte) (bool, error) {
		begin -= uint64(len(t.text))
		t.text = append(t.text, piece...)
		for at := 0; len(found) < maxNames; {
			next := bytes.Index(t.text[at:], []byte("SSL_"))
			if next < 0 {
				break
			}
			at += next
			for _, function := range openSSLFunctions {
				if bytes.HasPrefix(t.text[at:], []byte(function+"\x00")) {
					found[uint32(begin)+uint32(at)] = function
				}
			}
			at += len("SSL_")
		}
		t.text = append(t.text[:0], t.text[max(0, len(t.text)-overlap):]...)
		return len(found) >= maxNames, nil
	})
	return found, err
}

// offsetOf converts an address in an executable segment to an offset in the file.
func (t *tables) offsetOf(address uint64) (uint64, bool) {
	for _, p := range t.segments {
		if p.Type == uint32(elf.PT_LOAD) && p.Flags&uint32(elf.PF_X) != 0 && p.Vaddr <= address && address-p.Vaddr < p.Filesz {
			return address - p.Vaddr + p.Off, true
		}
	}
	return 0, false
}
