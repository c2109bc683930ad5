//go:build linux

package sandbox

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"unicode"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/korean"
	"golang.org/x/text/encoding/simplifiedchinese"
)

const script = "#!/bin/sh\necho it ran \"$@\"\n"

// packed is a file in an archive.
type packed struct {
	name, content string
	mode          fs.FileMode
	link          string // makes it a link
}

func zipped(t testing.TB, files ...packed) []byte {
	t.Helper()
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for _, f := range files {
		h := &zip.FileHeader{Name: f.name, Method: zip.Deflate}
		h.SetMode(f.mode)
		content := f.content
		if f.link != "" {
			h.SetMode(fs.ModeSymlink | 0o777)
			content = f.link
		}
		e, err := w.CreateHeader(h)
		if err == nil {
			_, err = e.Write([]byte(content))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func tarred(t testing.TB, files ...packed) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, f := range files {
		h := &tar.Header{Name: f.name, Size: int64(len(f.content)), Mode: int64(f.mode.Perm())}
		switch {
		case f.link != "":
			h.Typeflag, h.Linkname = tar.TypeSymlink, f.link
		case f.mode&fs.ModeDevice != 0:
			h.Typeflag, h.Devmajor, h.Devminor = tar.TypeBlock, 8, 0
		case f.mode&fs.ModeNamedPipe != 0:
			h.Typeflag = tar.TypeFifo
		case f.mode&fs.ModeDir != 0:
			h.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(f.content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func gzipped(t testing.TB, content []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func gzippedAs(t testing.TB, name string, content []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	w.Name = name
	_, err := w.Write(content)
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func zstandard(t testing.TB, content []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return w.EncodeAll(content, nil)
}

// skippedTar returns an archive with one entry, full of zeros, that the unpacker skips.
func skippedTar(t testing.TB, size int64) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	err := w.WriteHeader(&tar.Header{Name: "x", Typeflag: 'V', Size: size})
	if err == nil {
		_, err = w.Write(make([]byte, size))
	}
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func golden(t testing.TB, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// elfOf returns the headers of a program without content.
func elfOf(machine, kind uint16) []byte {
	h := append([]byte("\x7fELF\x02\x01\x01"), make([]byte, 9)...)
	for _, v := range []uint16{kind, machine} {
		h = binary.LittleEndian.AppendUint16(h, v)
	}
	h = binary.LittleEndian.AppendUint32(h, 1)
	for range 3 { // entry, program headers, section headers
		h = binary.LittleEndian.AppendUint64(h, 0)
	}
	h = binary.LittleEndian.AppendUint32(h, 0)
	for _, v := range []uint16{64, 56, 0, 64, 0, 0} {
		h = binary.LittleEndian.AppendUint16(h, v)
	}
	return append(h, make([]byte, 64)...)
}

// foreign is the architecture of another machine.
func foreign() uint16 {
	if runtime.GOARCH == "arm64" {
		return 62 // x86-64
	}
	return 183 // aarch64
}

func TestLoad(t *testing.T) {
	run := packed{name: "run.sh", content: script, mode: 0o755}
	data := packed{name: "data/readme.txt", content: "read me", mode: 0o644}
	lib := packed{name: "lib.so", content: string(elfOf(map[string]uint16{"amd64": 62, "arm64": 183}[runtime.GOARCH], 3)), mode: 0o755}
	unmarked := packed{name: "run.sh", content: script, mode: 0o644}
	many := make([]packed, 0, maxEntries+1)
	for i := range maxEntries + 1 {
		many = append(many, packed{name: fmt.Sprintf("f%d", i), mode: 0o644})
	}
	for name, test := range map[string]struct {
		file  []byte
		name  string
		entry string
		disk  int
		run   string   // the path below the folder; "" for an error
		by    string   // argv[0], if it matters
		files []string // the unpacked files
		fault string
		notes int
	}{
		"a script":               {file: []byte(script), run: "up", files: []string{"up"}},
		"a script without #!":    {file: []byte("echo it ran\n"), run: "up", by: "/bin/sh", files: []string{"up"}},
		"named as it is":         {file: []byte(script), entry: "up", run: "up", files: []string{"up"}},
		"named, and no archive":  {file: []byte(script), entry: "x", fault: "not an archive"},
		"a name with a space":    {file: []byte(script), name: "my file.sh", run: "my file.sh", files: []string{"my file.sh"}},
		"zip":                    {file: zipped(t, data, run), run: "run.sh", files: []string{"data/readme.txt", "run.sh"}},
		"zip without modes":      {file: zipped(t, data, unmarked), run: "run.sh", files: []string{"data/readme.txt", "run.sh"}},
		"zip, entry named":       {file: zipped(t, run, packed{name: "bin/b", content: script, mode: 0o644}), entry: "bin/b", run: "bin/b", files: []string{"bin/b", "run.sh"}},
		"zip, as on Windows":     {file: zipped(t, packed{name: `bin\b`, content: script, mode: 0o755}), entry: `bin\b`, run: "bin/b", files: []string{"bin/b"}},
		"zip, entry in full":     {file: zipped(t, run), entry: "./run.sh", run: "run.sh", files: []string{"run.sh"}},
		"zip, entry missing":     {file: zipped(t, run), entry: "other", fault: `no file "other"`},
		"zip, entry is a folder": {file: zipped(t, run, data), entry: "data", fault: "not a file"},
		"zip, entry leads out":   {file: zipped(t, run), entry: "../../bin/sh", fault: "no file"},
		"zip, entry is text":     {file: zipped(t, run, data), entry: "data/readme.txt", run: "data/readme.txt", files: []string{"data/readme.txt", "run.sh"}},
		"zip, ambiguous":         {file: zipped(t, run, packed{name: "a.sh", content: script, mode: 0o755}), fault: "2 files in it can be; name one of them as entryPoint: a.sh, run.sh"},
		"zip, a library beside":  {file: zipped(t, run, lib), run: "run.sh", files: []string{"lib.so", "run.sh"}},
		"zip, one is marked":     {file: zipped(t, run, packed{name: "a.sh", content: script, mode: 0o644}), run: "run.sh", files: []string{"a.sh", "run.sh"}},
		"zip, nothing to run":    {file: zipped(t, data), fault: "no file in it is a program"},
		"zip, empty":             {file: []byte("PK\x05\x06" + strings.Repeat("\x00", 18)), fault: "an empty zip archive"},
		"zip, cut off":           {file: zipped(t, run, data)[:60], fault: "damaged"},
		"zip, twice":             {file: zipped(t, run, run), fault: "twice"},
		"zip, file and folder":   {file: zipped(t, packed{name: "a", content: "x", mode: 0o644}, packed{name: "a/b", content: "x", mode: 0o644}), fault: "damaged"},
		"zip, leads out":         {file: zipped(t, run, packed{name: "../../../../tmp/evil", content: script, mode: 0o755}), fault: "leads out"},
		"zip, leads out late":    {file: zipped(t, packed{name: "a/../../evil", content: script, mode: 0o755}), fault: "leads out"},
		"zip, absolute":          {file: zipped(t, packed{name: "/etc/evil", content: script, mode: 0o755}), run: "etc/evil", files: []string{"etc/evil"}},
		"zip, links":             {file: zipped(t, run, packed{name: "l", link: "run.sh"}, packed{name: "out", link: "/etc"}, packed{name: "d/up", link: "../.."}), run: "run.sh", files: []string{"l", "run.sh"}, notes: 1},
		"zip, through a link":    {file: zipped(t, packed{name: "out", link: "/tmp"}, packed{name: "out/evil", content: script, mode: 0o755}), run: "out/evil", files: []string{"out/evil"}, notes: 1},
		"zip, a link in between": {file: zipped(t, packed{name: "d/e/f", content: "x", mode: 0o644}, packed{name: "d/e/up", link: ".."}, packed{name: "d/e/up/../../evil", content: script, mode: 0o755}), run: "d/evil", files: []string{"d/e/f", "d/e/up", "d/evil"}},
		"zip, a link as entry":   {file: zipped(t, run, packed{name: "l", link: "run.sh"}), entry: "l", run: "l", files: []string{"l", "run.sh"}},
		"zip, setuid":            {file: zipped(t, packed{name: "s", content: script, mode: fs.ModeSetuid | 0o777}), run: "s", files: []string{"s"}},
		"zip, too many":          {file: zipped(t, many...), fault: "more than 10000"},
		"zip bomb":               {file: zipped(t, run, packed{name: "zeros", content: strings.Repeat("\x00", 3<<20), mode: 0o644}), disk: 2, fault: "larger than the disk"},
		"encrypted":              {file: golden(t, "zipcrypto.zip"), run: "run.sh", files: []string{"readme.txt", "run.sh"}},
		"encrypted, stored":      {file: golden(t, "zipcrypto-stored.zip"), run: "run.sh", files: []string{"run.sh"}},
		"encrypted, streamed":    {file: golden(t, "zipcrypto-streamed.zip"), run: "-", files: []string{"-"}},
		"encrypted, AES 256":     {file: golden(t, "aes256.zip"), run: "run.sh", files: []string{"readme.txt", "run.sh"}},
		"encrypted, AES 128":     {file: golden(t, "aes128-stored.zip"), run: "run.sh", files: []string{"run.sh"}},
		"another password":       {file: golden(t, "zipcrypto-other.zip"), fault: `password is not "infected"`},
		"another password, AES":  {file: golden(t, "aes256-other.zip"), fault: `password is not "infected"`},
		"another compression":    {file: golden(t, "lzma.zip"), fault: "compressed by method 14"},
		"tar":                    {file: tarred(t, data, run), run: "run.sh", files: []string{"data/readme.txt", "run.sh"}},
		"tar.gz":                 {file: gzipped(t, tarred(t, packed{name: "./d/", mode: fs.ModeDir | 0o700}, packed{name: "./d/run.sh", content: script, mode: 0o755})), run: "d/run.sh", files: []string{"d/run.sh"}},
		"tar.bz2":                {file: golden(t, "tar.bz2"), run: "run.sh", files: []string{"readme.txt", "run.sh"}},
		"tar, leads out":         {file: tarred(t, packed{name: "../evil", content: script, mode: 0o755}), fault: "leads out"},
		"tar, links and devices": {file: tarred(t, run, packed{name: "out", link: "../../etc/passwd"}, packed{name: "sda", mode: fs.ModeDevice | 0o666}, packed{name: "p", mode: fs.ModeNamedPipe | 0o666}), run: "run.sh", files: []string{"run.sh"}, notes: 1},
		"tar, cut off":           {file: tarred(t, run, data)[:1100], fault: "damaged"},
		"tar.gz bomb":            {file: gzipped(t, tarred(t, run, packed{name: "zeros", content: strings.Repeat("\x00", 3<<20), mode: 0o644})), disk: 2, fault: "larger than the disk"},
		"gzip":                   {file: golden(t, "single.gz"), run: "up", files: []string{"up"}},
		"gzip, by its name":      {file: golden(t, "single.gz"), name: "tool.sh.gz", run: "tool.sh", files: []string{"tool.sh"}},
		"gzip, only its name":    {file: golden(t, "single.gz"), name: ".gz", run: ".gz", files: []string{".gz"}},
		"gzip with a name":       {file: gzippedAs(t, "../d/mal.sh", []byte("foo\n")), run: "mal.sh", files: []string{"mal.sh"}},
		"gzip with no name":      {file: gzippedAs(t, "..", []byte(script)), run: "up", files: []string{"up"}},
		"gzip of a PDF":          {file: gzipped(t, []byte("%PDF-1.4")), fault: "up is a PDF document"},
		"gzip of nothing":        {file: gzipped(t, nil), fault: "up is an empty file"},
		"gzip of a zip":          {file: gzipped(t, zipped(t, run)), fault: "up is a zip archive"},
		"gzip, cut off":          {file: gzipped(t, []byte(script))[:30], fault: "the gzip file is damaged"},
		"gzip, cut off early":    {file: []byte("\x1f\x8b\x08"), fault: "the gzip file is damaged"},
		"gzip bomb":              {file: gzipped(t, make([]byte, 3<<20)), disk: 2, fault: "larger than the disk"},
		"gzip, what is skipped":  {file: gzipped(t, skippedTar(t, 36<<20)), disk: 2, fault: "larger than the disk"},
		"bzip2":                  {file: golden(t, "single.bz2"), name: "up.sh.bz2", run: "up.sh", files: []string{"up.sh"}},
		"zstd":                   {file: zstandard(t, []byte(script)), name: "up.sh.zst", run: "up.sh", files: []string{"up.sh"}},
		"zstd, cut off":          {file: zstandard(t, []byte(script))[:20], fault: "the zstd file is damaged"},
		"tar.zst":                {file: zstandard(t, tarred(t, data, run)), run: "run.sh", files: []string{"data/readme.txt", "run.sh"}},
		"zip, text before":       {file: append([]byte("prepended\n"), zipped(t, data, run)...), run: "run.sh", files: []string{"data/readme.txt", "run.sh"}},
		"zip, bytes around":      {file: append(append([]byte("\x00\x01\xff"), zipped(t, data, run)...), make([]byte, 1000)...), run: "run.sh", files: []string{"data/readme.txt", "run.sh"}},
		"zip, self-extracting":   {file: append(append([]byte("MZ"), make([]byte, 3000)...), zipped(t, data, run)...), run: "run.sh", files: []string{"data/readme.txt", "run.sh"}},
		"zip behind a script":    {file: append([]byte("#!/bin/sh\nexit 3\n"), zipped(t, data, run)...), run: "up", files: []string{"up"}},
		"the same, entry named":  {file: append([]byte("#!/bin/sh\nexit 3\n"), zipped(t, data, run)...), entry: "run.sh", run: "run.sh", files: []string{"data/readme.txt", "run.sh"}},
		"zip, entry as itself":   {file: zipped(t, packed{name: "up", content: script, mode: 0o644}, run), entry: "up", run: "up", files: []string{"run.sh", "up"}},
		"zip, Windows":           {file: golden(t, "exe.zip"), fault: "no file in it is a program or a script that runs here: a.exe is a program for Windows or DOS; this agent is on Linux"},
		"zip, another machine":   {file: zipped(t, packed{name: "arm", content: string(elfOf(foreign(), 2)), mode: 0o755}), fault: "arm is a program for "},
		"zip in a zip":           {file: golden(t, "nested.zip"), fault: "inner.zip is a zip archive, and archives in archives are not opened"},
		"zip in a zip, named":    {file: golden(t, "nested.zip"), entry: "inner.zip", fault: "inner.zip cannot be run: it is a zip archive"},
		"zip of a PDF":           {file: zipped(t, packed{name: "a.pdf", content: "%PDF-1.4", mode: 0o755}), fault: "a.pdf is a PDF document"},
		"zip, all are marked":    {file: zipped(t, packed{name: "README.md", content: "rm -rf is mentioned", mode: 0o755}, packed{name: "README", content: "Read this.", mode: 0o755}, run), run: "run.sh", files: []string{"README", "README.md", "run.sh"}},
		"zip, scripts by name":   {file: zipped(t, data, packed{name: "a.sh", content: "foo", mode: 0o644}), run: "a.sh", files: []string{"a.sh", "data/readme.txt"}},
		"zip, a script, a name":  {file: zipped(t, run, packed{name: "a.sh", content: "foo", mode: 0o644}), run: "run.sh", files: []string{"a.sh", "run.sh"}},
		"zip, one text":          {file: zipped(t, packed{name: "a1b2", content: "echo x", mode: 0o644}), run: "a1b2", files: []string{"a1b2"}},
		"zip, texts":             {file: zipped(t, packed{name: "a1b2", content: "echo x", mode: 0o644}, data), fault: "a1b2 is a text; name it as entryPoint to run it, data/readme.txt is a plain text"},
		"zip, a text is named":   {file: zipped(t, packed{name: "a1b2", content: "echo x", mode: 0o644}, data), entry: "a1b2", run: "a1b2", files: []string{"a1b2", "data/readme.txt"}},
		"zip, notes are named":   {file: zipped(t, run, packed{name: "n.txt", content: "Hello this is plain text\nrm -rf is mentioned\n", mode: 0o644}), entry: "n.txt", fault: "n.txt cannot be run: it is a plain text"},
		"zip, Shift-JIS":         {file: golden(t, "sjis.zip"), fault: "2 files in it can be; name one of them as entryPoint: 日本.sh, 日経.sh"},
		"zip of Word":            {file: zipped(t, packed{name: "[Content_Types].xml"}, packed{name: "word/document.xml"}, packed{name: "run.sh", content: script}), fault: "it is a document of Microsoft Word"},
		"zip of Word, named":     {file: zipped(t, packed{name: "[Content_Types].xml"}, packed{name: "word/document.xml"}, packed{name: "run.sh", content: script}), entry: "run.sh", run: "run.sh", files: []string{"[Content_Types].xml", "run.sh", "word/document.xml"}},
		"Python":                 {file: golden(t, "mal.py"), name: "mal.py", run: "mal.py", by: "/usr/bin/python3", files: []string{"mal.py"}},
		"notes":                  {file: []byte("Hello this is plain text\nrm -rf is mentioned\n"), name: "notes.txt", fault: "notes.txt cannot be run: it is a plain text"},
		"larger than the disk":   {file: append([]byte(script), make([]byte, 3<<20)...), disk: 2, fault: "larger than the disk"},
		"empty":                  {file: nil, fault: "an empty file"},
		"PDF":                    {file: []byte("%PDF-1.7\n%\xe2\xe3\n"), fault: "up cannot be run: it is a PDF document"},
		"Windows":                {file: append([]byte("MZ\x90\x00\x03"), make([]byte, 100)...), fault: "a program for Windows"},
		"7-Zip":                  {file: golden(t, "sevenzip.7z"), fault: "7-Zip archive (zip and tar can be opened)"},
		"PNG":                    {file: []byte("\x89PNG\r\n\x1a\n\x00\x00"), fault: "a PNG image"},
		"noise":                  {file: []byte("\x00\x01\x02\x03\xff\xfe"), fault: "data of an unknown kind"},
		"another architecture":   {file: elfOf(foreign(), 2), fault: "and this machine is " + runtime.GOARCH},
		"a library":              {file: []byte(lib.content), fault: "a shared library"},
		"an object file":         {file: elfOf(map[string]uint16{"amd64": 62, "arm64": 183}[runtime.GOARCH], 1), fault: "an object file"},
		"no such interpreter":    {file: []byte("#! /usr/bin/python9 -u\n"), fault: `interpreter "/usr/bin/python9" is not`},
		"lines of Windows":       {file: []byte("#!/bin/sh\r\necho\r\n"), fault: "lines end in CR LF, as on Windows"},
	} {
		t.Run(name, func(t *testing.T) {
			outer := t.TempDir()
			dir := filepath.Join(outer, "a", "home")
			if err := os.MkdirAll(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(t.TempDir(), "up")
			if err := os.WriteFile(path, test.file, 0o600); err != nil {
				t.Fatal(err)
			}
			upload, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer upload.Close()
			o := order{Name: "up", Entry: test.entry, Args: []string{"x"}, Limits: limits{DiskMB: 64}}
			if test.name != "" {
				o.Name = test.name
			}
			if test.disk != 0 {
				o.Limits.DiskMB = test.disk
			}
			l, err := load(upload, dir, o)
			for p := range below(t, outer) {
				if !strings.HasPrefix(p, "a/home/") {
					t.Errorf("%s is outside of the folder", p)
				}
			}
			if test.run == "" {
				if !errors.Is(err, ErrProgram) || !strings.Contains(err.Error(), test.fault) || test.fault == "" {
					t.Fatalf("error %v, want %q", err, test.fault)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if want := filepath.Join(dir, test.run); l.path != want || !slices.Contains(l.argv, want) || l.argv[len(l.argv)-1] != "x" {
				t.Errorf("it runs %q: %q", l.path, l.argv)
			}
			if test.by != "" && (l.argv[0] != test.by || l.run.Interpreter != test.by) {
				t.Errorf("it is run by %q: %+v", l.argv[0], l.run)
			}
			if len(l.notes) != test.notes {
				t.Errorf("notes: %q", l.notes)
			}
			found := below(t, dir)
			if got := slices.Sorted(maps.Keys(found)); !slices.Equal(got, test.files) {
				t.Errorf("the files are %q, want %q", got, test.files)
			}
			for p, info := range found {
				if info.Mode()&(fs.ModeSetuid|fs.ModeSetgid|fs.ModeSticky) != 0 {
					t.Errorf("%s has mode %v", p, info.Mode())
				}
			}
			if info, err := os.Stat(l.path); err != nil || info.Mode().Perm()&0o755 != 0o755 {
				t.Errorf("its mode is %v (%v)", info.Mode(), err)
			}
		})
	}
}

// below lists the files below a folder, without folders.
func below(t testing.TB, dir string) map[string]fs.FileInfo {
	t.Helper()
	found := map[string]fs.FileInfo{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		found[rel] = info
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestArchivesInTheSandbox runs programs from archives in real sandboxes.
func TestArchivesInTheSandbox(t *testing.T) {
	needsBwrap(t)
	start := func(t *testing.T, content []byte, o Options) (*Process, error) {
		t.Helper()
		p, err := Start(t.Context(), sample(t, string(content)), o)
		if err == nil {
			t.Cleanup(func() { _ = p.Stop(); nothingLeft(t, p) })
		}
		return p, err
	}
	t.Run("runs", func(t *testing.T) {
		for name, content := range map[string][]byte{"AES": golden(t, "aes256.zip"), "ZipCrypto": golden(t, "zipcrypto.zip"), "tar.bz2": golden(t, "tar.bz2")} {
			o := small()
			o.Args = []string{"well"}
			p, err := start(t, content, o)
			if err != nil {
				t.Fatal(err)
			}
			if p.Entry() != "/home/user/run.sh" {
				t.Errorf("%s: it runs %s", name, p.Entry())
			}
			if err := p.Release(); err != nil {
				t.Fatal(err)
			}
			waitForEnd(t, p)
			if r := p.Result(); string(r.Output) != "infected ran well\n" || r.ExitCode != 0 {
				t.Errorf("%s: %d, %q", name, r.ExitCode, r.Output)
			}
		}
	})
	for name, test := range map[string]struct {
		content []byte
		disk    int
		fault   string
	}{
		"a bomb of 100 MB": {bomb(t, 100<<20), 32, "larger than the disk"},
		"a PDF":            {[]byte("%PDF-1.4\n"), 32, "sample cannot be run: it is a PDF document"},
		"ambiguous":        {zipped(t, packed{name: "a", content: script, mode: 0o755}, packed{name: "b", content: script, mode: 0o755}), 32, "name one of them as entryPoint: a, b"},
		"an odd program":   {append([]byte("\x7fELF\x02\x01\x01"), bytes.Repeat([]byte{0xff}, 100)...), 32, "/home/user/sample: cannot be run: to execute it: exec format error"},
		"a directory bomb": {zipped(t, packed{name: strings.Repeat("d/", 500) + "x", content: script, mode: 0o755}), 32, ""},
	} {
		t.Run(name, func(t *testing.T) {
			o := small()
			o.DiskMB = test.disk
			p, err := start(t, test.content, o)
			if err == nil {
				err = p.Release() // the kernel decides
			}
			if err == nil && test.fault == "" {
				return
			}
			if !errors.Is(err, ErrProgram) || !strings.Contains(err.Error(), test.fault) {
				t.Errorf("error %v", err)
			}
		})
	}
	t.Run("an interpreter of its own", func(t *testing.T) {
		o := small()
		o.Entry = "run"
		_, err := start(t, zipped(t, packed{name: "own", content: script, mode: 0o755}, packed{name: "run", content: "#!/usr/../home/user/own\n", mode: 0o755}), o)
		if want := `its interpreter "/usr/../home/user/own" is not in the sandbox`; !errors.Is(err, ErrProgram) || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v", err)
		}
	})
	t.Run("what cannot be executed leaves nothing", func(t *testing.T) {
		if left := cgroups()[os.Getpid()]; len(left) > 0 {
			t.Errorf("left: %v", left)
		}
	})
}

// bomb is an archive full of zeros.
func bomb(t testing.TB, size int64) []byte {
	t.Helper()
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	e, err := w.Create("zeros")
	if err != nil {
		t.Fatal(err)
	}
	for zeros := make([]byte, 1<<20); size > 0; size -= int64(len(zeros)) {
		if _, err := e.Write(zeros); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestNamesCanBeChosen checks that every listed name works as entryPoint, whatever its
// charset and characters.
func TestNamesCanBeChosen(t *testing.T) {
	rawZip := func(names ...string) []byte {
		files := []packed{{name: "other.sh", content: script}}
		for _, name := range names {
			files = append(files, packed{name: name, content: script})
		}
		return zipped(t, files...)
	}
	rawTar := func(names ...string) []byte {
		files := []packed{{name: "other.sh", content: script, mode: 0o644}}
		for _, name := range names {
			files = append(files, packed{name: name, content: script, mode: 0o644})
		}
		return tarred(t, files...)
	}
	infoZip := func(raw, name string) []byte {
		var out bytes.Buffer
		w := zip.NewWriter(&out)
		extra := binary.LittleEndian.AppendUint16(nil, 0x7075)
		extra = binary.LittleEndian.AppendUint16(extra, uint16(5+len(name)))
		extra = binary.LittleEndian.AppendUint32(append(extra, 1), crc32.ChecksumIEEE([]byte(raw)))
		var err error
		for _, h := range []*zip.FileHeader{{Name: raw, NonUTF8: true, Extra: append(extra, name...)}, {Name: "other.sh"}} {
			e, headerErr := w.CreateHeader(h)
			if headerErr == nil {
				_, headerErr = e.Write([]byte(script))
			}
			err = errors.Join(err, headerErr)
		}
		if err := errors.Join(err, w.Close()); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	encoded := func(e encoding.Encoding, text string) string {
		raw, err := e.NewEncoder().String(text)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	for name, test := range map[string]struct {
		file   []byte
		listed string // in the error of a start without an entry; "": do not check
		names  []string
	}{
		"UTF-8":                  {rawZip("日本.sh"), "日本.sh", []string{"日本.sh", "./日本.sh"}},
		"Shift-JIS":              {rawZip(encoded(japanese.ShiftJIS, "日本語.sh")), "日本語.sh", []string{"日本語.sh"}},
		"Shift-JIS, a backslash": {rawZip(encoded(japanese.ShiftJIS, "表示/ソフト.sh")), "表示/ソフト.sh", []string{"表示/ソフト.sh", `表示\ソフト.sh`}},
		"Shift-JIS, one kanji":   {rawZip(encoded(japanese.ShiftJIS, "日.sh"), encoded(japanese.ShiftJIS, "データ.txt")), "日.sh", []string{"日.sh"}},
		"Shift-JIS, tar":         {rawTar(encoded(japanese.ShiftJIS, "表示.sh")), "表示.sh", []string{"表示.sh"}},
		"GBK":                    {rawZip(encoded(simplifiedchinese.GBK, "测试/运行.sh")), "测试/运行.sh", []string{"测试/运行.sh"}},
		"GBK, two characters":    {rawZip(encoded(simplifiedchinese.GBK, "中文.sh")), "中文.sh", []string{"中文.sh"}},
		"GBK, tar":               {rawTar(encoded(simplifiedchinese.GBK, "中文/运行.sh")), "中文/运行.sh", []string{"中文/运行.sh"}},
		"CP437":                  {rawZip(encoded(charmap.CodePage437, "für.sh")), "für.sh", []string{"für.sh"}},
		"CP437, like Shift-JIS":  {rawZip(encoded(charmap.CodePage437, "tâche café.sh")), "tâche café.sh", []string{"tâche café.sh"}},
		"CP866":                  {rawZip(encoded(charmap.CodePage866, "привет.sh")), "", []string{"привет.sh"}},
		"EUC-KR":                 {rawZip(encoded(korean.EUCKR, "실행.sh")), "", []string{"실행.sh"}},
		"Info-ZIP":               {infoZip("?\xff.sh", "日本.sh"), "日本.sh", []string{"日本.sh"}},
		"decomposed":             {rawZip("fu\u0308r.sh"), "fu\u0308r.sh", []string{"für.sh", "fu\u0308r.sh"}},
		"two blanks":             {rawZip("a  b   c.sh"), `"a \x20b \x20 c.sh"`, []string{"a  b   c.sh"}},
		"blanks around":          {rawZip(" a.sh "), `" a.sh "`, []string{" a.sh "}},
		"a comma":                {rawZip("a, b.sh"), `"a, b.sh"`, []string{"a, b.sh"}},
		"a new line":             {rawZip("a\nb.sh"), `"a\nb.sh"`, []string{"a\nb.sh"}},
		"right to left":          {rawZip("a\u202ehs.sh"), `"a\u202ehs.sh"`, []string{"a\u202ehs.sh"}},
		"a quote":                {rawZip(`"a.sh`), `"\"a.sh"`, []string{`"a.sh`}},
	} {
		t.Run(name, func(t *testing.T) {
			choose := func(entry string) (*loaded, error) {
				fd, err := memfd("upload", test.file)
				if err != nil {
					t.Fatal(err)
				}
				defer fd.Close()
				return load(fd, t.TempDir(), order{Name: "up", Entry: entry, Limits: limits{DiskMB: 1}})
			}
			_, err := choose("")
			if !errors.Is(err, ErrProgram) {
				t.Fatal(err)
			}
			// The backend and the dashboard change the text in this way.
			text := strings.Map(func(r rune) rune {
				if !unicode.IsPrint(r) {
					return -1
				}
				return r
			}, strings.Join(strings.Fields(err.Error()), " "))
			if !strings.Contains(text, test.listed) {
				t.Errorf("%q is not in: %s", test.listed, text)
			}
			var path string
			for _, entry := range append(test.names, test.listed) {
				if entry == "" {
					continue
				}
				l, err := choose(entry)
				if err != nil {
					t.Errorf("%q: %v", entry, err)
					continue
				}
				if base := filepath.Base(l.path); path != "" && base != path {
					t.Errorf("%q is %q, and another is %q", entry, base, path)
				}
				path = filepath.Base(l.path)
			}
		})
	}
}

func FuzzLoad(f *testing.F) {
	f.Add([]byte(script), "")
	f.Add(zipped(f, packed{name: "run.sh", content: script, mode: 0o755}, packed{name: "l", link: "run.sh"}), "l")
	f.Add(zipped(f, packed{name: "../evil", content: script, mode: 0o755}, packed{name: "out", link: "/tmp"}), "../evil")
	f.Add(tarred(f, packed{name: "run.sh", content: script, mode: 0o755}, packed{name: "l", link: "../.."}, packed{name: "l/x", content: "x", mode: 0o644}), "run.sh")
	f.Add(gzipped(f, tarred(f, packed{name: "run.sh", content: script, mode: 0o755})), "")
	f.Add(elfOf(62, 2), "")
	files, err := filepath.Glob("testdata/*.*")
	if err != nil || len(files) == 0 {
		f.Fatalf("%v: %v", files, err)
	}
	for _, name := range files {
		f.Add(golden(f, filepath.Base(name)), "run.sh")
	}
	f.Fuzz(func(t *testing.T, content []byte, entry string) {
		outer, err := os.MkdirTemp("/dev/shm", "fuzz-")
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := os.RemoveAll(outer); err != nil {
				t.Error(err)
			}
		}()
		dir := filepath.Join(outer, "home")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		fd, err := memfd("upload", content)
		if err != nil {
			t.Fatal(err)
		}
		defer fd.Close()
		l, err := load(fd, dir, order{Name: "up", Entry: entry, Limits: limits{DiskMB: 1}})
		total := int64(0)
		for p, info := range below(t, outer) {
			if !strings.HasPrefix(p, "home/") {
				t.Fatalf("%s is outside of the folder", p)
			}
			if mode := info.Mode(); !mode.IsRegular() && mode.Type() != fs.ModeSymlink || mode&(fs.ModeSetuid|fs.ModeSetgid) != 0 {
				t.Fatalf("%s is %v", p, mode)
			}
			if info.Mode().IsRegular() {
				total += info.Size()
			}
			if target, err := filepath.EvalSymlinks(filepath.Join(outer, p)); err == nil && !strings.HasPrefix(target, dir) {
				t.Fatalf("%s leads to %s", p, target)
			}
		}
		if total > 1<<20+1 {
			t.Fatalf("it wrote %d bytes", total)
		}
		var errno syscall.Errno
		switch {
		case err != nil && !errors.Is(err, ErrProgram) && !errors.As(err, &errno):
			t.Fatalf("an error that does not blame the file: %v", err)
		case err == nil && !strings.HasPrefix(l.path, dir+"/"):
			t.Fatalf("it runs %s", l.path)
		}
	})
}
