//go:build linux

package sandbox

import (
	"archive/tar"
	"archive/zip"
	"bufio"
	"bytes"
	"compress/bzip2"
	"compress/flate"
	"compress/gzip"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

const (
	maxEntries = 10_000 // of an archive
	password   = "infected"
)

// loaded is what is to be run, ready to be.
type loaded struct {
	path  string
	argv  []string // argv[0] is what is executed
	notes []string
}

// entry is a file that was unpacked.
type entry struct {
	name       string
	kind       kind
	executable bool
}

// load puts an uploaded file into dir: as it is, or what is in it, if it is an
// archive (zip, tar, tar.gz, tar.bz2).
func load(upload *os.File, dir string, o order) (*loaded, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	u := &unpacker{root: root, left: o.Limits.diskBytes()}
	archive, err := u.unpack(upload)
	switch {
	case errors.Is(err, syscall.ENOSPC) || errors.Is(err, errTooBig):
		return nil, fmt.Errorf("%s: %w: what is in it is larger than the disk that it may use (%d MB for what is in the folder and for /tmp)", o.Name, ErrProgram, o.Limits.DiskMB)
	case err != nil:
		return nil, fmt.Errorf("%s: %w", o.Name, err)
	}
	name := o.Entry
	switch {
	case archive && name == "":
		if name, err = u.choose(); err != nil {
			return nil, fmt.Errorf("%s: %w", o.Name, err)
		}
	case archive:
		name = clean(name)
	case name != "" && name != o.Name:
		return nil, fmt.Errorf("%s: %w: there is no %.200q in it, it is not an archive", o.Name, ErrProgram, name)
	default:
		name = o.Name
		if err := u.put(name, 0o755, io.NewSectionReader(upload, 0, 1<<62)); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	l, err := prepare(root, o, name)
	if err != nil {
		return nil, err
	}
	l.notes = u.notes()
	return l, nil
}

// prepare sees to it that a file can be run.
func prepare(root *os.Root, o order, name string) (*loaded, error) {
	file, err := root.Open(name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: there is no file %.200q in it", o.Name, ErrProgram, name)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.Name, err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: %w: %.200q in it is not a file", o.Name, ErrProgram, name)
	}
	k, what, err := identify(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if k == kindNone {
		return nil, fmt.Errorf("%s %w: it is %s", name, ErrProgram, what)
	}
	if err := checkInterpreter(file, k); err != nil {
		return nil, fmt.Errorf("%s %w", name, err)
	}
	if err := file.Chmod(info.Mode().Perm() | 0o755); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	l := &loaded{path: filepath.Join(root.Name(), name)}
	if k == kindText {
		l.argv = []string{"/bin/sh"}
	}
	l.argv = append(append(l.argv, l.path), o.Args...)
	return l, nil
}

// unpacker takes an archive apart.
type unpacker struct {
	root    *os.Root
	left    int64 // bytes that may still be written
	entries []entry
	count   int
	skipped int // links that lead out, devices and the like
}

var errTooBig = errors.New("it is too large")

func (u *unpacker) notes() []string {
	if u.skipped == 0 {
		return nil
	}
	return []string{fmt.Sprintf("%d entries of the archive were left out: links that lead out of it, devices, pipes", u.skipped)}
}

func broken(what string, err error) error {
	if errors.Is(err, ErrProgram) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, errTooBig) {
		return err
	}
	return fmt.Errorf("%w: the %s is damaged: %w", ErrProgram, what, err)
}

func (u *unpacker) unpack(upload *os.File) (archive bool, err error) {
	info, err := upload.Stat()
	if err != nil {
		return false, err
	}
	return u.unpackFrom(upload, info.Size())
}

func (u *unpacker) unpackFrom(r io.ReaderAt, size int64) (archive bool, err error) {
	whole := io.NewSectionReader(r, 0, size)
	head := make([]byte, 264)
	n, err := io.ReadFull(whole, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return false, err
	}
	if _, err := whole.Seek(0, io.SeekStart); err != nil {
		return false, err
	}
	head = head[:n]
	switch {
	case bytes.HasPrefix(head, []byte("PK\x03\x04")):
		return true, u.zip(whole, size)
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		content, err := gzip.NewReader(bufio.NewReader(whole))
		if err != nil {
			return true, broken("gzip file", err)
		}
		return true, u.tar(content)
	case bytes.HasPrefix(head, []byte("BZh")):
		return true, u.tar(bzip2.NewReader(bufio.NewReader(whole)))
	case len(head) > 262 && string(head[257:262]) == "ustar":
		return true, u.tar(whole)
	}
	return false, nil
}

func (u *unpacker) tar(r io.Reader) error {
	archive := tar.NewReader(r)
	for {
		h, err := archive.Next()
		switch {
		case errors.Is(err, io.EOF) && u.count == 0:
			return fmt.Errorf("%w: there is nothing in the archive", ErrProgram)
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return broken("tar archive", err)
		}
		switch h.Typeflag {
		case tar.TypeReg:
			err = u.add(h.Name, h.FileInfo().Mode(), archive)
		case tar.TypeDir:
			err = u.folder(h.Name)
		case tar.TypeSymlink:
			err = u.symlink(h.Name, h.Linkname)
		case tar.TypeXGlobalHeader:
		default:
			u.skipped++
			err = u.more()
		}
		if err != nil {
			return broken("tar archive", err)
		}
	}
}

func (u *unpacker) zip(r io.ReaderAt, size int64) error {
	archive, err := zip.NewReader(r, size)
	if err != nil {
		return broken("zip archive", err)
	}
	if len(archive.File) == 0 {
		return fmt.Errorf("%w: there is nothing in the archive", ErrProgram)
	}
	for _, f := range archive.File {
		if err := u.zipEntry(f); err != nil {
			return broken("zip archive", err)
		}
	}
	return nil
}

func (u *unpacker) zipEntry(f *zip.File) error {
	if strings.HasSuffix(f.Name, "/") || f.Mode().IsDir() {
		return u.folder(f.Name)
	}
	content, err := openZipped(f)
	if err != nil {
		return err
	}
	defer content.Close()
	if f.Mode().Type() == fs.ModeSymlink {
		target, err := io.ReadAll(io.LimitReader(content, syscall.PathMax))
		if err != nil {
			return err
		}
		return u.symlink(f.Name, string(target))
	}
	// Whatever else it is said to be (a pipe, if it came through one), it has content.
	return u.add(f.Name, f.Mode(), content)
}

// openZipped gives what is in an entry, decrypted and checked.
func openZipped(f *zip.File) (io.ReadCloser, error) {
	if f.Flags&zipEncrypted == 0 {
		content, err := f.Open()
		if errors.Is(err, zip.ErrAlgorithm) {
			return nil, fmt.Errorf("%w: %.200q in it is compressed by method %d; store and deflate can be unpacked", ErrProgram, f.Name, f.Method)
		}
		return content, err
	}
	raw, err := f.OpenRaw()
	if err != nil {
		return nil, err
	}
	plain, method, err := decrypt(f, bufio.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("%.200q: %w", f.Name, err)
	}
	switch method {
	case zip.Store:
		return &decrypted{content: plain, plain: plain, file: f, sum: crc32.NewIEEE()}, nil
	case zip.Deflate:
		return &decrypted{content: flate.NewReader(plain), plain: plain, file: f, sum: crc32.NewIEEE()}, nil
	}
	return nil, fmt.Errorf("%w: %.200q in it is compressed by method %d; store and deflate can be unpacked", ErrProgram, f.Name, method)
}

// more counts what is in the archive.
func (u *unpacker) more() error {
	if u.count++; u.count > maxEntries {
		return fmt.Errorf("%w: there are more than %d files in it", ErrProgram, maxEntries)
	}
	return nil
}

// clean gives a name as it is kept: relative, with forward slashes.
func clean(name string) string {
	return path.Clean(strings.TrimLeft(strings.ReplaceAll(name, `\`, "/"), "/"))
}

// inside checks that a name is of something in the archive.
func (u *unpacker) inside(name string) (string, error) {
	if err := u.more(); err != nil {
		return "", err
	}
	cleaned := clean(name)
	if !filepath.IsLocal(cleaned) || strings.ContainsRune(cleaned, 0) || len(cleaned) > 1024 {
		return "", fmt.Errorf("%w: the name %.200q in it leads out of it", ErrProgram, name)
	}
	return cleaned, nil
}

func (u *unpacker) folder(name string) error {
	name, err := u.inside(name)
	if err != nil || name == "." {
		return err
	}
	return u.root.MkdirAll(name, 0o755)
}

// symlink makes one that stays inside, whatever it is that it leads to.
func (u *unpacker) symlink(name, target string) error {
	name, err := u.inside(name)
	if err != nil {
		return err
	}
	if path.IsAbs(target) || !filepath.IsLocal(path.Join(path.Dir(name), target)) {
		u.skipped++
		return nil
	}
	if err := u.root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	return u.root.Symlink(target, name)
}

func (u *unpacker) add(name string, mode fs.FileMode, r io.Reader) error {
	name, err := u.inside(name)
	if err != nil {
		return err
	}
	if err := u.root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	return u.put(name, mode, r)
}

// put writes a file, and remembers what it is.
func (u *unpacker) put(name string, mode fs.FileMode, r io.Reader) (err error) {
	file, err := u.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_RDWR, mode.Perm()&0o755|0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%w: %.200q is in it twice", ErrProgram, name)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	n, err := io.Copy(file, io.LimitReader(r, u.left+1))
	if u.left -= n; u.left < 0 {
		return errTooBig
	}
	if err != nil {
		return err
	}
	k, _, err := identify(file)
	if err != nil {
		return err
	}
	u.entries = append(u.entries, entry{name, k, mode&0o111 != 0})
	return nil
}

// choose finds the one file that can be run: of those that are marked so, or else
// of all.
func (u *unpacker) choose() (string, error) {
	var marked, all []string
	for _, e := range u.entries {
		switch {
		case e.kind == kindELF || e.kind == kindScript:
			all = append(all, e.name)
			if e.executable {
				marked = append(marked, e.name)
			}
		case e.kind == kindText && e.executable:
			marked = append(marked, e.name)
		}
	}
	switch {
	case len(marked) == 1:
		return marked[0], nil
	case len(marked) == 0 && len(all) == 1:
		return all[0], nil
	case len(marked) == 0 && len(all) == 0:
		return "", fmt.Errorf("%w: no file in it is a program or a script; a script without #! has to be named", ErrProgram)
	}
	if len(marked) > 0 {
		all = marked
	}
	slices.Sort(all)
	list := strings.Join(all[:min(len(all), 20)], ", ")
	if len(all) > 20 {
		list += ", …"
	}
	return "", fmt.Errorf("%w: %d files in it can be, one has to be named: %s", ErrProgram, len(all), list)
}
