//go:build linux

package inspect

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"os"
	"slices"
	"strings"
	"testing"
)

// FuzzTLS checks that TLS survives any file and returns only names that are in it.
func FuzzTLS(f *testing.F) {
	f.Add([]byte(elf.ELFMAG))
	f.Add([]byte("#!/bin/sh\n"))
	f.Add(smallELF())
	f.Fuzz(func(t *testing.T, raw []byte) {
		found, _ := TLS(bytes.NewReader(raw))
		for name, offsets := range found.Functions {
			if !bytes.Contains(raw, []byte(strings.TrimPrefix(name, "return of "))) {
				t.Errorf("%s at %#x is not in the file", name, offsets)
			}
		}
	})
}

// TestSmallELF checks the seed of FuzzTLS.
func TestSmallELF(t *testing.T) {
	found, err := TLS(bytes.NewReader(smallELF()))
	if err != nil || len(found.Functions) != 1 || !slices.Equal(found.Functions["SSL_write"], []uint64{0x10}) || found.IsUnseen {
		t.Errorf("%v, %v", found, err)
	}
}

// TestUnseen: a program with the texts of TLS and without functions is unseen.
func TestUnseen(t *testing.T) {
	for text, want := range map[string]bool{"the client finished first": true, "c hs traffic": true, "c hs traffi": false} {
		program := join(
			header(0), elf.Prog64{Type: uint32(elf.PT_LOAD), Off: chunkBytes - 60, Filesz: 100 + chunkBytes},
			make([]byte, 2*chunkBytes-60-7-headerBytes-segmentBytes), []byte(text), // crosses two pieces
		)
		if found, err := TLS(bytes.NewReader(program)); err != nil || found.IsUnseen != want {
			t.Errorf("%s: %v, %v", text, found, err)
		}
	}
}

// TestNameAcrossPieces checks that names finds a name that crosses two pieces of a table.
func TestNameAcrossPieces(t *testing.T) {
	for before := chunkBytes - 20; before < chunkBytes+4; before++ {
		names := append(make([]byte, before), "SSL_write_ex\x00"...)
		table := &tables{raw: bytes.NewReader(names), began: processorTime()}
		found, err := table.names(0, uint64(len(names)), prefixes, functions)
		if err != nil || len(found) != 1 || found[uint32(before)] != "SSL_write_ex" {
			t.Fatalf("at %d: %v, %v", before, found, err)
		}
	}
}

// smallELF returns a program whose only symbol is SSL_write.
func smallELF() []byte {
	names := "\x00my_SSL_write\x00" // a name may be the end of another
	symbol := elf.Sym64{Name: 4, Info: byte(elf.STT_FUNC), Shndx: 1, Value: 0x1010}
	symbolsAt := uint64(headerBytes + segmentBytes + 3*sectionBytes)
	return join(
		header(3),
		elf.Prog64{Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_X), Vaddr: 0x1000, Filesz: 0x100},
		elf.Section64{},
		elf.Section64{Type: uint32(elf.SHT_SYMTAB), Off: symbolsAt, Size: 24, Link: 2, Entsize: 24},
		elf.Section64{Type: uint32(elf.SHT_STRTAB), Off: symbolsAt + 24, Size: uint64(len(names))},
		symbol, []byte(names),
	)
}

const headerBytes = 64

func header(sections int) elf.Header64 {
	return elf.Header64{
		Ident: [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:  uint16(elf.ET_EXEC), Machine: uint16(machine()), Version: uint32(elf.EV_CURRENT),
		Phoff: headerBytes, Shoff: headerBytes + segmentBytes, Ehsize: headerBytes,
		Phentsize: segmentBytes, Phnum: 1, Shentsize: sectionBytes, Shnum: uint16(sections), Shstrndx: 1,
	}
}

func join(values ...any) []byte {
	var out bytes.Buffer
	for _, value := range values {
		if err := binary.Write(&out, binary.LittleEndian, value); err != nil {
			panic(err)
		}
	}
	return out.Bytes()
}

// sparseELF writes a file with many symbol tables that share one string table of size
// bytes. The file uses few blocks.
func sparseELF(t testing.TB, path string, tables int, size int64) {
	t.Helper()
	const at = 1 << 24
	values := []any{
		header(tables + 2),
		elf.Prog64{Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_X), Filesz: 4096},
		elf.Section64{},
		elf.Section64{Type: uint32(elf.SHT_STRTAB), Off: at, Size: uint64(size)},
	}
	for range tables {
		values = append(values, elf.Section64{Type: uint32(elf.SHT_SYMTAB), Off: at, Size: uint64(size), Link: 1, Entsize: 24})
	}
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	_, err1 := file.Write(join(values...))
	_, err2 := file.WriteAt([]byte("SSL_write\x00"), at+size-16)
	if err1 != nil || err2 != nil || file.Truncate(at+size) != nil {
		t.Fatal(err1, err2)
	}
}
