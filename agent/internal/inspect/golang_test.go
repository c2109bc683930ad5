//go:build linux

package inspect

import (
	"bytes"
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
)

// TestGo finds crypto/tls in Go programs. The linker of C hides the table of functions of a
// program that can be loaded anywhere, so that its symbols are needed.
func TestGo(t *testing.T) {
	const source = "../sensor/testdata/programs/goprogram/main.go"
	for name, build := range map[string]struct {
		cgo       string
		arguments []string
	}{
		"with symbols":         {"0", nil},
		"without symbols":      {"0", []string{"-ldflags=-s -w"}},
		"linked by C's linker": {"1", []string{"-buildmode=pie", "-ldflags=-linkmode=external"}},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "program")
			cmd := exec.Command("go", slices.Concat([]string{"build", "-o", path}, build.arguments, []string{source})...)
			cmd.Env = append(os.Environ(), "CGO_ENABLED="+build.cgo)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			raw, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			found, err := TLS(bytes.NewReader(raw))
			if err != nil || len(found.Functions) != 4 || found.IsUnseen {
				t.Fatalf("%v, %v", found, err)
			}
			for name, offsets := range found.Functions {
				want := 1
				if name == GoReadReturns {
					want = 2
				}
				if len(offsets) < want {
					t.Errorf("%s: %x", name, offsets)
				}
			}
			checkSymbols(t, raw, found)
		})
	}
}

// checkSymbols compares the offsets with the symbols of debug/elf, if there are any.
func checkSymbols(t *testing.T, raw []byte, found Found) {
	t.Helper()
	file, err := elf.NewFile(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	symbols, _ := file.Symbols() // there may be none
	text := file.Section(".text")
	for _, symbol := range symbols {
		names := []string{symbol.Name}
		if symbol.Name == GoRead {
			names = append(names, GoReadReturns)
		}
		for _, name := range names {
			for _, offset := range found.Functions[name] {
				if begin := symbol.Value - text.Addr + text.Offset; offset <= begin || offset >= begin+symbol.Size {
					t.Errorf("%s: %#x is not in %#x with %d bytes", name, offset, begin, symbol.Size)
				}
			}
		}
	}
}

func TestDecode(t *testing.T) {
	for _, test := range []struct {
		decode func([]byte) (uint64, instruction)
		code   []byte
		length uint64
		kind   instruction
	}{
		{decodeX86, []byte{0x76, 0x10}, 2, isCheck},
		{decodeX86, []byte{0x0f, 0x86, 1, 0, 0, 0}, 6, isCheck},
		{decodeX86, []byte{0xc3}, 1, isReturn},
		{decodeX86, []byte{0x90}, 1, isOther},
		{decodeX86, []byte{0x0f}, 0, isOther},
		{decodeARM64, []byte{0x49, 0x00, 0x00, 0x54}, 4, isCheck},  // b.ls
		{decodeARM64, []byte{0x40, 0x00, 0x00, 0x54}, 4, isOther},  // b.eq
		{decodeARM64, []byte{0x02, 0x00, 0x00, 0x14}, 4, isOther},  // b
		{decodeARM64, []byte{0xc0, 0x03, 0x5f, 0xd6}, 4, isReturn}, // ret
		{decodeARM64, []byte{0xff, 0xff, 0xff, 0xff}, 4, isOther},
		{decodeARM64, []byte{0xc0, 0x03}, 0, isOther},
	} {
		if length, kind := test.decode(test.code); length != test.length || kind != test.kind {
			t.Errorf("% x: %d bytes, kind %d", test.code, length, kind)
		}
	}
}
