package service

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestUploadName(t *testing.T) {
	const sha = "0123456789abcdef0123456789abcdef"
	for sent, want := range map[string]string{
		"CON.exe": "_CON.exe", "con": "_con", "Aux.tar.gz": "_Aux.tar.gz", "NUL .txt": "_NUL .txt", "nul.": "_nul", "prn ": "_prn", "CON . ": "_CON",
		"COM1": "_COM1", "com0.dll": "_com0.dll", "COM¹.exe": "_COM¹.exe", "lpt³": "_lpt³", "LPT9.x.y": "_LPT9.x.y", "CONIN$": "_CONIN$", "conout$.txt": "_conout$.txt", "clock$": "_clock$",
		`C:\dir\CON.exe`: "_CON.exe", "a/b/aux": "_aux", "C\x01ON.exe": "_CON.exe",
		"COM10": "COM10", "COM⁴": "COM⁴", "COM": "COM", "LPT": "LPT", "CONSOLE.exe": "CONSOLE.exe", "con-1": "con-1", "x.CON": "x.CON", "COMA": "COMA", "nullify": "nullify",
		"trailing.exe.": "trailing.exe", "trailing.exe...": "trailing.exe", "a . . ": "a", "a.exe \u00a0": "a.exe", " lead": "lead", ".hidden": ".hidden", ".": sha[:16] + ".bin", ". .": sha[:16] + ".bin",
		" ... ": sha[:16] + ".bin", "a<b>c:d\"e|f?g*h": "a_b_c_d_e_f_g_h", "\x85\x00.exe": ".exe", "日本.exe": "日本.exe",
		strings.Repeat("a", 199) + ". " + strings.Repeat("b", 30): strings.Repeat("a", 199),
		strings.Repeat("a", 190) + ".     " + "b.ext":             strings.Repeat("a", 190) + ".     .ext",
		"CON." + strings.Repeat("x", 300):                         "_CON." + strings.Repeat("x", 195),
		strings.Repeat("é", 150) + ".tar." + "0123456789":         strings.Repeat("é", 94) + ".0123456789",
	} {
		if got := uploadName(sent, sha); got != want {
			t.Errorf("%q becomes %q, want %q", sent, got, want)
		}
	}
}

// FuzzUploadName checks that every name is valid on Windows.
func FuzzUploadName(f *testing.F) {
	for _, name := range []string{"CON.exe", "COM¹ .x", "trailing.exe.", "a b. ", strings.Repeat("a", 198) + ".. " + strings.Repeat("b", 30), "\xff."} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, sent string) {
		name := uploadName(sent, "0123456789abcdef")
		switch {
		case name == "", len(name) > maxUploadNameLen, !utf8.ValidString(name), strings.ContainsAny(name, `<>:"/\|?*`), trimEnd(name) != name, isDevice(name):
			t.Errorf("%q becomes %q", sent, name)
		}
	})
}
