package sample

import (
	"archive/zip"
	"bytes"
	"encoding/base64"
	"hash/crc32"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

var modified = time.Date(2026, 11, 24, 8, 30, 2, 0, time.UTC)

// zipOf returns a zip of a content.
func zipOf(t *testing.T, name, content string) []byte {
	t.Helper()
	file := ZipEntry{Name: name, Modified: modified, SizeBytes: int64(len(content)), CRC32: crc32.ChecksumIEEE([]byte(content))}
	var out bytes.Buffer
	if err := WriteZip(&out, file, "infected", iotest.OneByteReader(strings.NewReader(content))); err != nil {
		t.Fatal(err)
	}
	if int64(out.Len()) != ZipSizeBytes(file) {
		t.Errorf("the zip of %d bytes was said to have %d", out.Len(), ZipSizeBytes(file))
	}
	return out.Bytes()
}

// decrypt undoes the encryption of APPNOTE 6.1.6 and 6.1.7.
func decrypt(password string, check byte, text []byte) string {
	k := newKeys(password)
	plain := make([]byte, len(text))
	for i, c := range text {
		plain[i] = c ^ k.next()
		k.update(plain[i])
	}
	if len(plain) < headerLen || plain[headerLen-1] != check {
		return ""
	}
	return string(plain[headerLen:])
}

// unzip reads the only file of a zip, using its central directory.
func unzip(t *testing.T, archive []byte) (*zip.File, string) {
	t.Helper()
	reader, err := zip.NewReader(bytes.NewReader(archive), int64(len(archive)))
	if err != nil {
		t.Fatal(err)
	}
	if len(reader.File) != 1 {
		t.Fatalf("the zip has %d files", len(reader.File))
	}
	file := reader.File[0]
	raw, err := file.OpenRaw()
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(raw)
	if err != nil {
		t.Fatal(err)
	}
	check := byte(file.CRC32 >> 24)
	if file.Flags&(1<<3) != 0 { // with a data descriptor, the check byte is from the time
		check = byte(file.ModifiedTime >> 8)
	}
	return file, decrypt("infected", check, text)
}

func TestWhatIsWrittenIsReadAgain(t *testing.T) {
	for name, content := range map[string]string{
		"sample.exe": "MZ", "empty": "", "Ü 文件.bin": "\x00\xff", "long": strings.Repeat("0123456789abcdef", 20_000),
	} {
		archive := zipOf(t, name, content)
		file, got := unzip(t, archive)
		if got != content {
			t.Errorf("%s: read back %.100q", name, got)
		}
		if file.Name != name || file.NonUTF8 || file.Flags != flags || !file.Modified.Equal(modified) || file.UncompressedSize64 != uint64(len(content)) || file.Mode().Perm()&0o111 != 0 {
			t.Errorf("%s: the entry is %+v", name, file.FileHeader)
		}
		if len(content) > 100 && bytes.Contains(archive, []byte(content[:16])) {
			t.Errorf("%s is there to be read", name)
		}
	}
}

func TestTwoZipsOfOneContentDiffer(t *testing.T) {
	if bytes.Equal(zipOf(t, "a", "the same"), zipOf(t, "a", "the same")) {
		t.Error("the header of encryption is not random")
	}
}

// infoZip is the output of zip 3.0 of Info-ZIP: zip -0 -X -P infected.
const infoZip = "UEsDBAoACQAAAMFDeF2OokD5FQAAAAkAAAAKAAAAc2FtcGxlLnR4dN6vE8Q28jri7Zh8ky82v1syVWIb4VBLBwiOokD5FQAAAAkAAABQSwECHgMKAAkAAADBQ3hdjqJA+RUAAAAJAAAACgAAAAAAAAAAAAAApIEAAAAAc2FtcGxlLnR4dFBLBQYAAAAAAQABADgAAABNAAAAAAA="

// TestCipherIsThatOfOthers checks the tests' own decryption with an archive of another
// program.
func TestCipherIsThatOfOthers(t *testing.T) {
	archive, err := base64.StdEncoding.DecodeString(infoZip)
	if err != nil {
		t.Fatal(err)
	}
	if file, got := unzip(t, archive); got != "a sample\n" || file.Name != "sample.txt" {
		t.Errorf("read %q of %s", got, file.Name)
	}
}

func TestContentMustBeWhatWasSaid(t *testing.T) {
	for name, file := range map[string]ZipEntry{
		"shorter":         {SizeBytes: 3, CRC32: crc32.ChecksumIEEE([]byte("MZ"))},
		"longer":          {SizeBytes: 1, CRC32: crc32.ChecksumIEEE([]byte("MZ"))},
		"another":         {SizeBytes: 2, CRC32: 1},
		"too large":       {SizeBytes: MaxZippedBytes + 1},
		"negative":        {SizeBytes: -1},
		"a name too long": {SizeBytes: 2, CRC32: crc32.ChecksumIEEE([]byte("MZ")), Name: strings.Repeat("n", 1<<16)},
	} {
		if err := WriteZip(io.Discard, file, "infected", strings.NewReader("MZ")); err == nil {
			t.Errorf("%s: it was written", name)
		}
	}
}

// TestBrokenReadersAndWriters checks that an error of the reader or the writer is
// returned.
func TestBrokenReadersAndWriters(t *testing.T) {
	file := ZipEntry{Name: "a", SizeBytes: 2, CRC32: crc32.ChecksumIEEE([]byte("MZ"))}
	if err := WriteZip(io.Discard, file, "infected", iotest.ErrReader(io.ErrUnexpectedEOF)); err == nil {
		t.Error("a reader's error is lost")
	}
	whole := int(ZipSizeBytes(file))
	for n := range whole {
		full := &limited{n}
		if err := WriteZip(full, file, "infected", strings.NewReader("MZ")); err == nil {
			t.Errorf("with room for %d of %d bytes there is no error", n, whole)
		}
	}
}

type limited struct{ left int }

func (w *limited) Write(p []byte) (int, error) {
	if w.left -= len(p); w.left < 0 {
		return 0, io.ErrShortWrite
	}
	return len(p), nil
}
