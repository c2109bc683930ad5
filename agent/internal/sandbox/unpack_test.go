//go:build linux

package sandbox

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"errors"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// infected is a zip with run.sh, encrypted by ZipCrypto and stored, as zip -P key -0
// makes it.
func infected(t *testing.T, key string) []byte {
	t.Helper()
	plain := []byte("#!/bin/sh\necho hi\n")
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	header := &zip.FileHeader{Name: "run.sh", Method: zip.Store, Flags: 1, CompressedSize64: uint64(12 + len(plain)), UncompressedSize64: uint64(len(plain))}
	header.SetMode(0o755)
	header.CRC32 = checksum(plain)
	raw, err := w.CreateRaw(header)
	if err != nil {
		t.Fatal(err)
	}
	z := newZipCrypto(nil, key)
	for _, c := range append(make([]byte, 12), plain...) {
		k := z.keys[2] | 2
		if _, err := raw.Write([]byte{c ^ byte(k*(k^1)>>8)}); err != nil {
			t.Fatal(err)
		}
		z.update(c)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// infoZip is a file that Info-ZIP 3.0 made of a script: zip -X -P infected.
const infoZip = "UEsDBBQACQAIABxOeF2UoPIEIQAAAKoAAAAGAAAAcnVuLnNo0DrzaiPgzu3alFfhoCzvV+4TkmwUAx6AGhjIs+IgI5U2UEsHCJSg8gQhAAAAqgAAAFBLAQIeAxQACQAIABxOeF2UoPIEIQAAAKoAAAAGAAAAAAAAAAEAAADtgQAAAABydW4uc2hQSwUGAAAAAAEAAQA0AAAAVQAAAAAA"

func tarball(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for name, text := range files {
		if err := errors.Join(w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text)), Typeflag: tar.TypeReg, Format: tar.FormatUSTAR}), write1(w, text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func write1(w io.Writer, text string) error { _, err := io.WriteString(w, text); return err }

func TestLoad(t *testing.T) {
	t.Parallel()
	two := tarball(t, map[string]string{"a/run.sh": "#!/bin/sh\n", "b.sh": "#!/bin/sh\n", "data": "\x00\x01"})
	var zipped bytes.Buffer
	gz := gzip.NewWriter(&zipped)
	if err := errors.Join(func() error { _, err := gz.Write(two); return err }(), gz.Close()); err != nil {
		t.Fatal(err)
	}
	self, err := os.ReadFile("/bin/true")
	if err != nil {
		t.Fatal(err)
	}
	foreign := bytes.Clone(self)
	foreign[18], foreign[19] = 8, 0 // MIPS
	for name, test := range map[string]struct {
		content []byte
		entry   string
		argv    string // joined
		says    string // of the error
	}{
		"a program":            {self, "", "./sample", ""},
		"a foreign one":        {foreign, "", "", "MIPS"},
		"a script":             {[]byte("#!/bin/sh\n"), "", "./sample", ""},
		"a script without #!":  {[]byte("echo\n"), "", "/bin/sh ./sample", ""},
		"of Windows":           {append([]byte("MZ\x90\x00"), make([]byte, 600)...), "", "", "Windows"},
		"nothing":              {nil, "", "", "neither"},
		"infected":             {infected(t, "infected"), "", "./run.sh", ""},
		"infected by Info-ZIP": {fromBase64(t, infoZip), "", "./run.sh", ""},
		"another password":     {infected(t, "other"), "", "", "password"},
		"tar.gz, entry named":  {zipped.Bytes(), "a/run.sh", "./a/run.sh", ""},
		"tar, none named":      {two, "", "", "2 files"},
		"tar, no such file":    {two, "c.sh", "", "no file"},
		"tar that leads out":   {tarball(t, map[string]string{"../../x.sh": "#!/bin/sh\n"}), "", "./x.sh", ""},
		"half a tar":           {tarball(t, map[string]string{"x.sh": strings.Repeat("x", 900)})[:1000], "", "", "unexpected EOF"},
		"too much in it":       {tarball(t, map[string]string{"x": strings.Repeat("x", 2000)}), "", "", "larger"},
	} {
		path := filepath.Join(t.TempDir(), "sample")
		if err := os.WriteFile(path, test.content, 0o600); err != nil {
			t.Fatal(err)
		}
		p, err := Load(path, "sample", test.entry, nil, t.TempDir(), 1000)
		if test.says != "" {
			if !errors.Is(err, ErrProgram) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := strings.Join(p.argv, " "); got != test.argv {
			t.Errorf("%s: it runs %q", name, got)
		}
		p.Close()
	}
}

// Whatever was uploaded, loading it ends without a panic, within its limit.
func FuzzLoad(f *testing.F) {
	dir := f.TempDir()
	f.Add([]byte("PK\x03\x04"), "")
	f.Add([]byte{0x1f, 0x8b, 8, 0}, "x")
	f.Fuzz(func(t *testing.T, content []byte, entry string) {
		path := filepath.Join(dir, "sample")
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		p, err := Load(path, "sample", entry, nil, dir, 1<<16)
		if err == nil {
			p.Close()
		} else if !errors.Is(err, ErrProgram) {
			t.Fatal(err)
		}
	})
}

func checksum(b []byte) uint32 { return crc32.ChecksumIEEE(b) }

func fromBase64(t *testing.T, text string) []byte {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
