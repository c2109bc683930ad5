//go:build linux

package sensor

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"os"
	"testing"
)

// TestOpenSSLOffsets compares with what debug/elf makes of a library and of a
// program with OpenSSL linked in.
func TestOpenSSLOffsets(t *testing.T) {
	dir, library := tlsPrograms(t)
	for path, want := range map[string]int{library: 5, dir + "/static": 5, dir + "/dynamic": 0, "/bin/true": 0} {
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		offsets, err := opensslOffsets(bytes.NewReader(raw))
		if err != nil || len(offsets) != want {
			t.Errorf("%s: %d functions, %v; want %d", path, len(offsets), err, want)
		}
		file, err := elf.NewFile(bytes.NewReader(raw))
		if err != nil {
			t.Fatal(err)
		}
		dynamic, _ := file.DynamicSymbols() // one of the tables may be missing
		static, _ := file.Symbols()
		for _, symbol := range append(dynamic, static...) {
			offset, ok := offsets[symbol.Name]
			if !ok || symbol.Section == elf.SHN_UNDEF {
				continue
			}
			text := file.Section(".text")
			if want := symbol.Value - text.Addr + text.Offset; offset != want {
				t.Errorf("%s: %s is at %#x, want %#x", path, symbol.Name, offset, want)
			}
		}
	}
}

// FuzzOpenSSLOffsets: a file may be anything, and mean harm.
func FuzzOpenSSLOffsets(f *testing.F) {
	f.Add([]byte(elf.ELFMAG))
	f.Add([]byte("#!/bin/sh\n"))
	f.Add(smallELF())
	f.Fuzz(func(t *testing.T, raw []byte) {
		offsets, _ := opensslOffsets(bytes.NewReader(raw))
		for name, offset := range offsets {
			if !bytes.Contains(raw, []byte(name)) {
				t.Errorf("%s at %#x is not in the file", name, offset)
			}
		}
	})
}

// TestSmallELF checks the seed of the fuzzing.
func TestSmallELF(t *testing.T) {
	offsets, err := opensslOffsets(bytes.NewReader(smallELF()))
	if err != nil || len(offsets) != 1 || offsets["SSL_write"] != 0x10 {
		t.Errorf("%v, %v", offsets, err)
	}
}

// smallELF makes a program whose only symbol is SSL_write.
func smallELF() []byte {
	var out bytes.Buffer
	names := "\x00my_SSL_write\x00" // names may share their ends
	symbol := elf.Sym64{Name: 4, Info: byte(elf.STT_FUNC), Shndx: 1, Value: 0x1010}
	const head, prog, section = 64, 56, 64
	symbolsAt := uint64(head + prog + 3*section)
	write := func(value any) {
		if err := binary.Write(&out, binary.LittleEndian, value); err != nil {
			panic(err)
		}
	}
	write(elf.Header64{
		Ident: [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:  uint16(elf.ET_EXEC), Machine: uint16(machine()), Version: uint32(elf.EV_CURRENT), Phoff: head, Shoff: head + prog,
		Ehsize: head, Phentsize: prog, Phnum: 1, Shentsize: section, Shnum: 3, Shstrndx: 2,
	})
	write(elf.Prog64{Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_X), Vaddr: 0x1000, Filesz: 0x100})
	write(elf.Section64{})
	write(elf.Section64{Type: uint32(elf.SHT_SYMTAB), Off: symbolsAt, Size: 24, Link: 2, Entsize: 24})
	write(elf.Section64{Type: uint32(elf.SHT_STRTAB), Off: symbolsAt + 24, Size: uint64(len(names))})
	write(symbol)
	out.WriteString(names)
	return out.Bytes()
}
