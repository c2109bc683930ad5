//go:build linux

package sandbox

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"unicode/utf8"
)

// kind is what a file is to whoever wants to run it.
type kind int

const (
	kindNone   kind = iota // cannot be run
	kindELF                // a program
	kindScript             // begins with #!
	kindText               // which /bin/sh takes for one of its own
)

// magics are the beginnings of files that cannot be run, and what those are.
var magics = []struct{ magic, what string }{ //nolint:gochecknoglobals // a table of constants
	{"%PDF-", "a PDF document"},
	{"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old document of Microsoft Office, or an installer of Windows"},
	{"{\\rtf", "an RTF document"},
	{"PK\x03\x04", "a zip archive"},
	{"PK\x05\x06", "an empty zip archive"},
	{"7z\xbc\xaf\x27\x1c", "a 7-Zip archive (zip and tar can be opened)"},
	{"Rar!\x1a\x07", "a RAR archive (zip and tar can be opened)"},
	{"\xfd7zXZ\x00", "a file compressed by xz (zip, tar, tar.gz and tar.bz2 can be opened)"},
	{"\x28\xb5\x2f\xfd", "a file compressed by zstd (zip, tar, tar.gz and tar.bz2 can be opened)"},
	{"\x1f\x8b", "a file compressed by gzip"},
	{"BZh", "a file compressed by bzip2"},
	{"!<arch>\n", "a static library, or a Debian package"},
	{"\xed\xab\xee\xdb", "an RPM package"},
	{"\xca\xfe\xba\xbe", "a Java class, or a program for macOS"},
	{"\xcf\xfa\xed\xfe", "a program for macOS"},
	{"\xce\xfa\xed\xfe", "a program for macOS"},
	{"dex\n", "a program for Android"},
	{"\x00asm", "a WebAssembly module"},
	{"MSCF", "a cabinet file of Windows"},
	{"L\x00\x00\x00\x01\x14\x02\x00", "a shortcut of Windows"},
	{"\x89PNG\r\n", "a PNG image"},
	{"\xff\xd8\xff", "a JPEG image"},
	{"GIF8", "a GIF image"},
	{"SQLite format 3\x00", "an SQLite database"},
}

// identify tells what a file is, and what to call it if it cannot be run.
func identify(r io.ReaderAt) (k kind, what string, err error) {
	head := make([]byte, 4096)
	n, err := r.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return kindNone, "", err
	}
	head = head[:n]
	switch {
	case n == 0:
		return kindNone, "an empty file", nil
	case bytes.HasPrefix(head, []byte(elf.ELFMAG)):
		k, what = identifyELF(r)
		return k, what, nil
	case bytes.HasPrefix(head, []byte("#!")):
		return kindScript, "", nil
	case bytes.HasPrefix(head, []byte("MZ")) && bytes.IndexByte(head, 0) >= 0:
		return kindNone, "a program for Windows or DOS: the agent for Windows runs those", nil
	}
	for _, m := range magics {
		if bytes.HasPrefix(head, []byte(m.magic)) {
			return kindNone, m.what, nil
		}
	}
	// As shells do it: no zero byte in the first line; and it should be text, but for
	// a character that may be cut in two.
	line, _, _ := bytes.Cut(head, []byte("\n"))
	if bytes.IndexByte(line, 0) < 0 && utf8.Valid(head[:max(0, n-utf8.UTFMax)]) {
		return kindText, "", nil
	}
	return kindNone, "data of an unknown kind", nil
}

func identifyELF(r io.ReaderAt) (kind, string) {
	f, err := elf.NewFile(r)
	if err != nil {
		return kindELF, "" // odd headers are what samples have: the kernel decides
	}
	arch := map[string][]elf.Machine{"amd64": {elf.EM_X86_64, elf.EM_386}, "arm64": {elf.EM_AARCH64}}[runtime.GOARCH]
	interpreter := slices.ContainsFunc(f.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP })
	switch {
	case len(arch) > 0 && !slices.Contains(arch, f.Machine):
		return kindNone, fmt.Sprintf("a program for %s, and this machine is %s", strings.TrimPrefix(f.Machine.String(), "EM_"), runtime.GOARCH)
	case f.Type == elf.ET_REL:
		return kindNone, "an object file, or a kernel module"
	case f.Type == elf.ET_CORE:
		return kindNone, "a core dump"
	case f.Type == elf.ET_DYN && !interpreter && f.Entry == 0:
		return kindNone, "a shared library"
	}
	return kindELF, ""
}

// interpreter is the other file that is needed to run one, "" if none is. It is
// asked for inside of the sandbox, where it has to be.
func interpreter(r io.ReaderAt, k kind) string {
	switch k {
	case kindELF:
		f, err := elf.NewFile(r)
		if err != nil {
			return ""
		}
		for _, p := range f.Progs {
			if p.Type == elf.PT_INTERP && p.Filesz > 0 && p.Filesz < 4096 {
				path := make([]byte, p.Filesz)
				if _, err := io.ReadFull(p.Open(), path); err == nil {
					return string(bytes.TrimRight(path, "\x00"))
				}
			}
		}
	case kindScript:
		head := make([]byte, 256) // as many as the kernel looks at
		n, err := r.ReadAt(head, 0)
		if err != nil && !errors.Is(err, io.EOF) {
			return ""
		}
		line, _, _ := bytes.Cut(head[2:max(2, n)], []byte("\n"))
		if fields := bytes.FieldsFunc(line, func(c rune) bool { return c == ' ' || c == '\t' }); len(fields) > 0 {
			return string(fields[0])
		}
	case kindText:
		return "/bin/sh"
	case kindNone:
	}
	return ""
}

// checkInterpreter says what is missing, which the kernel would call "no such file".
func checkInterpreter(r io.ReaderAt, k kind) error {
	path := interpreter(r, k)
	if path == "" || !strings.HasPrefix(path, "/") {
		return nil
	}
	_, err := os.Stat(path)
	if err == nil {
		return nil
	}
	if strings.HasSuffix(path, "\r") {
		return fmt.Errorf("%w: its lines end as on Windows, so that its interpreter would be %q", ErrProgram, path)
	}
	return fmt.Errorf("%w: its interpreter %q is not in the sandbox: %w", ErrProgram, path, err)
}
