//go:build linux

package sandbox

import (
	"archive/tar"
	"archive/zip"
	"bufio"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"debug/elf"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"
)

const (
	maxEntries = 1000
	password   = "infected" // under which the field passes samples on
)

// ErrProgram is for a file that cannot be run, for what it is.
var ErrProgram = errors.New("it cannot be run")

// Program is what is to be run: files that lie in the working directory, and the
// command. Close it when it has been spawned.
type Program struct {
	Name  string // of the entry point, for people
	files []file
	argv  []string // argv[0] relative to the working directory, or absolute
}

// file is one file of a program; content is an unlinked one on this machine.
type file struct {
	name    string // relative, clean
	content *os.File
	perm    os.FileMode
}

// Close gives up the content.
func (p *Program) Close() {
	for _, f := range p.files {
		_ = f.content.Close()
	}
}

// Load reads an uploaded file: a program, a script, or an archive (zip, tar,
// tar.gz) of which entryPoint names what to run; without it, that is the only
// file that can be. What is unpacked lies in scratchDir, without a name, and has
// at most maxBytes. An error that is the file's wraps ErrProgram.
func Load(samplePath, name, entryPoint string, arguments []string, scratchDir string, maxBytes int64) (*Program, error) {
	sample, err := os.Open(samplePath)
	if err != nil {
		return nil, err
	}
	p := &Program{}
	u := &unpacker{program: p, scratchDir: scratchDir, leftBytes: maxBytes}
	isArchive, err := u.unpack(sample)
	if err != nil {
		_ = sample.Close()
		p.Close()
		return nil, err
	}
	if isArchive {
		_ = sample.Close()
	} else {
		p.files = []file{{name, sample, 0o755}}
		entryPoint = name
	}
	if err := p.choose(entryPoint, arguments); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// choose sets the command.
func (p *Program) choose(entryPoint string, arguments []string) error {
	if entryPoint == "" {
		var names []string
		for _, f := range p.files {
			kind := kindOf(f.content)
			if kind == kindELF || kind == kindScript || kind == kindText && f.perm&0o111 != 0 {
				names = append(names, f.name)
			}
		}
		if len(names) != 1 {
			return fmt.Errorf("%w: the archive has %d files that can be run, name one as entryPoint: %.500s", ErrProgram, len(names), strings.Join(names, ", "))
		}
		entryPoint = names[0]
	}
	entryPoint = path.Clean(entryPoint)
	i := slices.IndexFunc(p.files, func(f file) bool { return f.name == entryPoint })
	if i < 0 {
		return fmt.Errorf("%w: the archive has no file %.200q", ErrProgram, entryPoint)
	}
	f := &p.files[i]
	f.perm |= 0o111
	p.Name = path.Base(entryPoint)
	switch kindOf(f.content) {
	case kindELF:
		if err := checkMachine(f.content); err != nil {
			return err
		}
		p.argv = []string{"./" + entryPoint}
	case kindScript:
		p.argv = []string{"./" + entryPoint}
	case kindText:
		p.argv = []string{"/bin/sh", "./" + entryPoint}
	case kindPE:
		return fmt.Errorf("%w: it is a program for Windows; the agent there can run it", ErrProgram)
	default:
		return fmt.Errorf("%w: it is neither a program for Linux nor a script", ErrProgram)
	}
	p.argv = append(p.argv, arguments...)
	return nil
}

// kind is what a file is to whoever wants to run it.
type kind int

const (
	kindOther kind = iota
	kindELF
	kindScript // begins with #!
	kindText
	kindPE
)

func kindOf(r io.ReaderAt) kind {
	head := make([]byte, 512)
	n, err := r.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return kindOther
	}
	head = head[:n]
	switch {
	case bytes.HasPrefix(head, []byte("\x7fELF")):
		return kindELF
	case bytes.HasPrefix(head, []byte("#!")):
		return kindScript
	case bytes.HasPrefix(head, []byte("MZ")) && bytes.IndexByte(head, 0) >= 0:
		return kindPE
	case n > 0 && bytes.IndexByte(head, 0) < 0:
		return kindText
	}
	return kindOther
}

func checkMachine(r io.ReaderAt) error {
	f, err := elf.NewFile(r)
	if err != nil {
		return nil //nolint:nilerr // odd headers are what samples have; the kernel decides
	}
	runs := map[string][]elf.Machine{"amd64": {elf.EM_X86_64, elf.EM_386}, "arm64": {elf.EM_AARCH64}}[runtime.GOARCH]
	if len(runs) > 0 && !slices.Contains(runs, f.Machine) {
		return fmt.Errorf("%w: it is a program for %s, and this machine is %s", ErrProgram, strings.TrimPrefix(f.Machine.String(), "EM_"), runtime.GOARCH)
	}
	return nil
}

// unpacker takes an archive apart.
type unpacker struct {
	program    *Program
	scratchDir string
	leftBytes  int64
}

func (u *unpacker) unpack(sample *os.File) (isArchive bool, err error) {
	head := make([]byte, 264)
	n, err := sample.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	head = head[:n]
	switch {
	case bytes.HasPrefix(head, []byte("PK\x03\x04")):
		return true, u.zip(sample)
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		content, err := gzip.NewReader(bufio.NewReader(io.NewSectionReader(sample, 0, 1<<62)))
		if err != nil {
			return true, fmt.Errorf("%w: it is no gzip: %w", ErrProgram, err)
		}
		return true, u.tar(content)
	case len(head) > 262 && string(head[257:262]) == "ustar":
		return true, u.tar(io.NewSectionReader(sample, 0, 1<<62))
	}
	return false, nil
}

func (u *unpacker) tar(r io.Reader) error {
	archive := tar.NewReader(r)
	for {
		entry, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: it is no whole tar archive: %w", ErrProgram, err)
		}
		if entry.Typeflag != tar.TypeReg {
			continue // folders come with their files; links lead out
		}
		if err := u.add(entry.Name, entry.FileInfo().Mode(), archive); err != nil {
			return err
		}
	}
}

func (u *unpacker) zip(sample *os.File) error {
	info, err := sample.Stat()
	if err != nil {
		return err
	}
	archive, err := zip.NewReader(sample, info.Size())
	if err != nil {
		return fmt.Errorf("%w: it is no whole zip archive: %w", ErrProgram, err)
	}
	for _, entry := range archive.File {
		if !entry.Mode().IsRegular() {
			continue
		}
		if err := u.zipEntry(entry); err != nil {
			return err
		}
	}
	return nil
}

func (u *unpacker) zipEntry(entry *zip.File) error {
	const encrypted = 1
	if entry.Flags&encrypted == 0 {
		content, err := entry.Open()
		if err != nil {
			return fmt.Errorf("%w: %.200q in the archive: %w", ErrProgram, entry.Name, err)
		}
		defer content.Close()
		return u.add(entry.Name, entry.Mode(), content)
	}
	raw, err := entry.OpenRaw()
	if err != nil {
		return fmt.Errorf("%w: %.200q in the archive: %w", ErrProgram, entry.Name, err)
	}
	plain := newZipCrypto(bufio.NewReader(raw), password)
	header := make([]byte, 12)
	if _, err := io.ReadFull(plain, header); err != nil {
		return fmt.Errorf("%w: %.200q in the archive is cut off", ErrProgram, entry.Name)
	}
	content := io.Reader(plain)
	switch entry.Method {
	case zip.Store:
	case zip.Deflate:
		content = flate.NewReader(plain)
	case 99:
		return fmt.Errorf("%w: the archive is encrypted with AES; ZipCrypto with the password %q is taken", ErrProgram, password)
	default:
		return fmt.Errorf("%w: %.200q in the archive is compressed by method %d; store and deflate are taken", ErrProgram, entry.Name, entry.Method)
	}
	sum := crc32.NewIEEE()
	err = u.add(entry.Name, entry.Mode(), io.TeeReader(content, sum))
	if _, broken := errors.AsType[flate.CorruptInputError](err); broken || errors.Is(err, io.ErrUnexpectedEOF) || err == nil && sum.Sum32() != entry.CRC32 {
		return fmt.Errorf("%w: the password of the archive is not %q, or it is damaged", ErrProgram, password)
	}
	return err
}

// add keeps one file. Names stay within the working directory.
func (u *unpacker) add(name string, mode os.FileMode, r io.Reader) error {
	name = path.Clean("/" + strings.ReplaceAll(name, `\`, "/"))[1:]
	if name == "" || strings.ContainsRune(name, 0) || len(name) > 1024 {
		return fmt.Errorf("%w: %.200q in the archive is no name of a file", ErrProgram, name)
	}
	if len(u.program.files) >= maxEntries {
		return fmt.Errorf("%w: the archive has more than %d files", ErrProgram, maxEntries)
	}
	if slices.ContainsFunc(u.program.files, func(f file) bool {
		return f.name == name || strings.HasPrefix(f.name, name+"/") || strings.HasPrefix(name, f.name+"/")
	}) {
		return fmt.Errorf("%w: %.200q is in the archive twice", ErrProgram, name)
	}
	content, err := os.CreateTemp(u.scratchDir, ".unpacked-")
	if err != nil {
		return err
	}
	u.program.files = append(u.program.files, file{name, content, mode.Perm()&0o755 | 0o600})
	if err := os.Remove(content.Name()); err != nil {
		return err
	}
	n, err := io.Copy(content, io.LimitReader(r, u.leftBytes+1))
	if u.leftBytes -= n; u.leftBytes < 0 {
		return fmt.Errorf("%w: what is in the archive is larger than the disk that it may use (SPAWN_DISK_MB)", ErrProgram)
	}
	if err != nil {
		return fmt.Errorf("%w: %.200q in the archive: %w", ErrProgram, name, err)
	}
	_, err = content.Seek(0, io.SeekStart)
	return err
}

// zipCrypto decrypts as PKWARE's APPNOTE.TXT 6.1 has it.
type zipCrypto struct {
	r    io.Reader
	keys [3]uint32
}

func newZipCrypto(r io.Reader, password string) *zipCrypto {
	z := &zipCrypto{r, [3]uint32{0x12345678, 0x23456789, 0x34567890}}
	for i := range len(password) {
		z.update(password[i])
	}
	return z
}

func (z *zipCrypto) update(plain byte) {
	crc := func(c uint32, b byte) uint32 { return crc32.IEEETable[byte(c)^b] ^ c>>8 }
	z.keys[0] = crc(z.keys[0], plain)
	z.keys[1] = (z.keys[1]+z.keys[0]&0xff)*134775813 + 1
	z.keys[2] = crc(z.keys[2], byte(z.keys[1]>>24))
}

// Read decrypts.
func (z *zipCrypto) Read(p []byte) (int, error) {
	n, err := z.r.Read(p)
	for i := range p[:n] {
		t := z.keys[2] | 2
		p[i] ^= byte(t * (t ^ 1) >> 8)
		z.update(p[i])
	}
	return n, err
}
