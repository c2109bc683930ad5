//go:build linux

package sensor

import (
	"bytes"
	"debug/elf"
	"os"
	"testing"

	"ospulse/agent/internal/inspect"
)

// TestOpenSSLOffsets compares the offsets of inspect.OpenSSL with those of debug/elf, in a
// library and in a program with OpenSSL linked in.
func TestOpenSSLOffsets(t *testing.T) {
	dir, library := tlsPrograms(t)
	for path, want := range map[string]int{library: 5, dir + "/static": 5, dir + "/dynamic": 0, "/bin/true": 0} {
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		offsets, err := inspect.OpenSSL(bytes.NewReader(raw))
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
