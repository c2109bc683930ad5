//go:build linux

package sensor

import (
	"bytes"
	"debug/elf"
	"os"
	"testing"

	"ospulse/agent/internal/inspect"
)

// TestTLSOffsets compares the offsets of inspect.TLS with those of debug/elf, in a library and
// in a program with OpenSSL linked in.
func TestTLSOffsets(t *testing.T) {
	dir, library := tlsPrograms(t)
	for path, want := range map[string]int{library: 5, dir + "/static": 5, dir + "/dynamic": 0, "/bin/true": 0} {
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		found, err := inspect.TLS(bytes.NewReader(raw))
		if err != nil || len(found.Functions) != want || found.IsUnseen {
			t.Errorf("%s: %v, %v; want %d functions", path, found, err, want)
		}
		file, err := elf.NewFile(bytes.NewReader(raw))
		if err != nil {
			t.Fatal(err)
		}
		dynamic, _ := file.DynamicSymbols() // one of the tables may be missing
		static, _ := file.Symbols()
		for _, symbol := range append(dynamic, static...) {
			offsets, ok := found.Functions[symbol.Name]
			if !ok || symbol.Section == elf.SHN_UNDEF {
				continue
			}
			text := file.Section(".text")
			if want := symbol.Value - text.Addr + text.Offset; len(offsets) != 1 || offsets[0] != want {
				t.Errorf("%s: %s is at %#x, want %#x", path, symbol.Name, offsets, want)
			}
		}
	}
}
