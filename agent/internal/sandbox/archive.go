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
	"encoding/binary"
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

	"github.com/klauspost/compress/zstd"

	"ospulse/agent/internal/program"
)

const (
	maxEntries = 10_000 // in one archive
	maxGuesses = 100    // texts of one archive that program.Identify may guess
	password   = "infected"

	headBytes      = 4096      // the beginning of a file that identifies an archive
	maxWindow      = 128 << 20 // of a zstd file: enough for `zstd --ultra -22` and `zstd --long`
	maxTarOverhead = 32 << 20  // bytes of a tar archive besides the content of its files
)

// loaded is a program that is ready to run.
type loaded struct {
	path  string
	argv  []string // argv[0] is the file to execute
	env   []string // variables besides environment()
	run   Run
	notes []string
}

// entry is an unpacked file.
type entry struct {
	name, raw  string // as text, and the bytes in the archive
	executable bool
	file       program.File // set by identify
}

// load puts an uploaded file into dir. If the file is an archive (zip, tar, or a tar or a
// single file compressed by gzip, bzip2 or zstd), load unpacks it into dir instead. A file
// that can be run and also contains an archive is run, unless the order names an entry.
// The error wraps ErrProgram if the file is at fault.
func load(upload *os.File, dir string, o order) (*loaded, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	info, err := upload.Stat()
	if err != nil {
		return nil, err
	}
	whole, err := program.Identify(upload, o.Name, guess(o.Entry == o.Name), lookup)
	if err != nil {
		return nil, err
	}
	u := &unpacker{root: root, left: o.Limits.diskBytes(), name: o.Name}
	named := o.Entry != "" && o.Entry != o.Name
	archive := false
	if named || whole.Rank == program.RankNone {
		archive, err = u.unpack(upload, info.Size(), named)
	}
	if err == nil && !archive && !named {
		err = u.put(o.Name, o.Name, 0o755, io.NewSectionReader(upload, 0, info.Size()))
	}
	switch {
	case errors.Is(err, syscall.ENOSPC) || errors.Is(err, errTooBig):
		return nil, fmt.Errorf("%s: %w: its content is larger than the disk limit (%d MB for its folder and /tmp together)", o.Name, ErrProgram, o.Limits.DiskMB)
	case err != nil:
		return nil, fmt.Errorf("%s: %w", o.Name, err)
	}
	name := o.Name
	switch {
	case archive && o.Entry == "":
		if name, err = u.choose(); err != nil {
			return nil, fmt.Errorf("%s: %w", o.Name, err)
		}
	case archive:
		name = u.find(o.Entry)
	case named:
		return nil, fmt.Errorf("%s: %w: there is no %.200q in it, it is not an archive", o.Name, ErrProgram, o.Entry)
	}
	l, err := prepare(root, o, name)
	if err != nil {
		return nil, err
	}
	l.notes = u.notes()
	return l, nil
}

// guess returns how freely program.Identify may guess. If the user named the file, the
// text decides, whatever the name of the file is.
func guess(isNamed bool) program.Guess {
	if isNamed {
		return program.GuessAny
	}
	return program.GuessUnnamed
}

// lookup finds interpreters in the PATH of programs and in the read-only folders of the
// sandbox, never where the sample can write.
func lookup(name string) string {
	if filepath.IsAbs(name) && !shown(filepath.Clean(name)) {
		return ""
	}
	return program.In(programFolders)(name)
}

// prepare makes a file executable and returns how to run it. The error wraps ErrProgram if
// the file cannot be run.
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
	what, err := program.Identify(file, name, guess(o.Entry != ""), lookup)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if what.Rank == program.RankNone {
		return nil, fmt.Errorf("%s %w: %s", listed(name), ErrProgram, what.Reason())
	}
	if err := file.Chmod(info.Mode().Perm() | 0o755); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	path := filepath.Join(root.Name(), name)
	return &loaded{
		path: path, argv: append(what.Argv(path), o.Args...), env: what.Env,
		run: Run{Path: path, What: what.What, Interpreter: what.Interpreter, Why: what.Why},
	}, nil
}

// unpacker unpacks an archive into root.
type unpacker struct {
	root    *os.Root
	name    string  // name of the archive
	left    int64   // bytes that may still be written
	names   decoder // decodes the names of the entries
	entries []entry
	count   int // entries seen
	skipped int // links that lead out, devices and the like
}

var errTooBig = errors.New("it is too large")

func (u *unpacker) notes() (notes []string) {
	if u.skipped > 0 {
		notes = append(notes, fmt.Sprintf("%d entries of the archive were left out: links to paths outside of it, devices, pipes", u.skipped))
	}
	if u.names.charset != nil {
		notes = append(notes, "the archive does not state the encoding of its names; they were read as "+u.names.charset.name)
	}
	return notes
}

// broken returns an ErrProgram that says that the archive is damaged, or err itself if it
// already has a cause.
func broken(what string, err error) error {
	if errors.Is(err, ErrProgram) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, errTooBig) {
		return err
	}
	return fmt.Errorf("%w: the %s is damaged: %w", ErrProgram, what, err)
}

// unpack unpacks an archive. archive is false if the file is not one. If named is true,
// the user named an entry, and unpack also opens documents and packages that use the zip
// format.
func (u *unpacker) unpack(r io.ReaderAt, size int64, named bool) (archive bool, err error) {
	whole := io.NewSectionReader(r, 0, size)
	head, err := io.ReadAll(io.NewSectionReader(r, 0, headBytes))
	if err != nil {
		return false, err
	}
	switch kind := program.Archive(head); {
	case bytes.HasPrefix(head, []byte("PK\x03\x04")) && (named || kind == program.Zip):
		return true, u.zip(whole, size)
	case kind == program.Tar:
		return true, u.tar(whole)
	case kind == program.Gzip:
		content, err := gzip.NewReader(bufio.NewReader(whole))
		if err != nil {
			return true, broken("gzip file", err)
		}
		return true, u.compressed("gzip", content, content.Name)
	case kind == program.Bzip2:
		return true, u.compressed("bzip2", bzip2.NewReader(bufio.NewReader(whole)), "")
	case kind == program.Zstd:
		content, err := zstd.NewReader(whole, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return true, broken("zstd file", err)
		}
		defer content.Close()
		return true, u.compressed("zstd", content, "")
	case bytes.HasPrefix(head, []byte("PK")):
		return false, nil
	}
	// Something else may precede the archive, such as a self-extracting program.
	if zipped, err := zip.NewReader(whole, size); err == nil && len(zipped.File) > 0 {
		return true, u.zipEntries(zipped)
	}
	return false, nil
}

// compressed unpacks the content of a compressed file: a tar archive or a single file.
// name is the name of the single file, or "" if the compressed file has none.
func (u *unpacker) compressed(method string, r io.Reader, name string) error {
	content := bufio.NewReaderSize(&bounded{r, u.left + maxTarOverhead}, headBytes)
	head, err := content.Peek(headBytes)
	if err != nil && !errors.Is(err, io.EOF) {
		return broken(method+" file", err)
	}
	if program.Archive(head) == program.Tar {
		return u.tar(content)
	}
	extension := path.Ext(u.name)
	if name = clean(path.Base(clean(name))); name == "." || !filepath.IsLocal(name) {
		name = strings.TrimSuffix(u.name, extension)
	}
	if name == "" {
		name = u.name
	}
	if err := u.add(name, 0o755, content); err != nil {
		return broken(method+" file", err)
	}
	return nil
}

// bounded is a Reader that fails with errTooBig after left bytes. It bounds the entries
// that a tar reader skips, which put never counts.
type bounded struct {
	r    io.Reader
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, errTooBig
	}
	return n, err
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
	return u.zipEntries(archive)
}

func (u *unpacker) zipEntries(archive *zip.Reader) error {
	names := make([]string, 0, len(archive.File))
	for _, f := range archive.File {
		f.Name = unicodeName(f)
		names = append(names, f.Name)
	}
	u.names.learn(names)
	for _, f := range archive.File {
		if err := u.zipEntry(f); err != nil {
			return broken("zip archive", err)
		}
	}
	return nil
}

// unicodeName returns the name of an entry. If the charset of the name is unknown, it
// prefers the copy in UTF-8 that Info-ZIP adds; see 4.6.9 of PKWARE's APPNOTE.TXT.
func unicodeName(f *zip.File) string {
	const field, version = 0x7075, 1
	if !f.NonUTF8 {
		return f.Name
	}
	extra := extraField(f.Extra, field)
	if len(extra) > 5 && extra[0] == version && binary.LittleEndian.Uint32(extra[1:]) == crc32.ChecksumIEEE([]byte(f.Name)) {
		return string(extra[5:])
	}
	return f.Name
}

// extraField returns the content of one extra field of an entry, or nil.
func extraField(extra []byte, id uint16) []byte {
	for len(extra) >= 4 {
		found, size := binary.LittleEndian.Uint16(extra), int(binary.LittleEndian.Uint16(extra[2:]))
		if extra = extra[4:]; size > len(extra) {
			return nil
		}
		if found == id {
			return extra[:size]
		}
		extra = extra[size:]
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
	// Treat any other type as a file: zip marks an entry that came from a pipe as a pipe.
	return u.add(f.Name, f.Mode(), content)
}

// openZipped returns the decrypted content of an entry. Its checksum is verified at the
// end.
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

// more counts an entry. It returns an ErrProgram for more than maxEntries.
func (u *unpacker) more() error {
	if u.count++; u.count > maxEntries {
		return fmt.Errorf("%w: there are more than %d files in it", ErrProgram, maxEntries)
	}
	return nil
}

// clean returns the name under which a file is stored: relative, with forward slashes.
func clean(name string) string {
	return path.Clean(strings.TrimLeft(strings.ReplaceAll(name, `\`, "/"), "/"))
}

// inside decodes and cleans the name of an entry. It returns an ErrProgram if the name
// leads out of the archive.
func (u *unpacker) inside(name string) (string, error) {
	if err := u.more(); err != nil {
		return "", err
	}
	cleaned := clean(u.names.decode(name))
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

// symlink creates a link. It skips a link whose target is outside of the archive. The
// target need not exist.
func (u *unpacker) symlink(name, target string) error {
	name, err := u.inside(name)
	if err != nil {
		return err
	}
	target = u.names.decode(target)
	if path.IsAbs(target) || !filepath.IsLocal(path.Join(path.Dir(name), target)) {
		u.skipped++
		return nil
	}
	if err := u.root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	return u.root.Symlink(target, name)
}

func (u *unpacker) add(raw string, mode fs.FileMode, r io.Reader) error {
	name, err := u.inside(raw)
	if err != nil {
		return err
	}
	if err := u.root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	return u.put(name, raw, mode, r)
}

// put writes a file and adds it to entries. It returns errTooBig if the disk limit is
// used up.
func (u *unpacker) put(name, raw string, mode fs.FileMode, r io.Reader) (err error) {
	file, err := u.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode.Perm()&0o755|0o600)
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
	u.entries = append(u.entries, entry{name: name, raw: raw, executable: mode&0o111 != 0})
	return nil
}

// find returns the stored name of the entry that the user asked for, or the cleaned asked
// name if there is none.
func (u *unpacker) find(asked string) string {
	name := clean(asked)
	same := func(e entry) bool { return e.name == name }
	if slices.ContainsFunc(u.entries, same) {
		return name
	}
	if i := slices.IndexFunc(u.entries, func(e entry) bool { return isNamed(asked, e.name, e.raw) }); i >= 0 {
		return u.entries[i].name
	}
	return name
}

// identify identifies each entry. Guessing takes time, so it guesses only for a few texts:
// those that are marked as executable, or the only file.
func (u *unpacker) identify() error {
	guesses := 0
	for i := range u.entries {
		e := &u.entries[i]
		how := program.GuessNever
		if (e.executable || len(u.entries) == 1) && guesses < maxGuesses {
			how = program.GuessUnnamed
			guesses++
		}
		file, err := u.root.Open(e.name)
		if err != nil {
			return err
		}
		e.file, err = program.Identify(file, e.name, how, lookup)
		if err := errors.Join(err, file.Close()); err != nil {
			return err
		}
	}
	return nil
}

// choose returns the one entry that can be run. Files that are marked as executable come
// first, then programs by their content, then scripts by their name. It chooses any other
// text only if it is the only file. It returns an ErrProgram if no entry or more than one
// comes first.
func (u *unpacker) choose() (string, error) {
	if err := u.identify(); err != nil {
		return "", err
	}
	least := program.RankNamed
	if len(u.entries) == 1 {
		least = program.RankGuess
	}
	var best []string
	rank := func(e entry) program.Rank {
		if e.file.Rank != program.RankNone && e.executable {
			return program.RankProgram + 1
		}
		return e.file.Rank
	}
	for _, e := range u.entries {
		switch r := rank(e); {
		case r < least:
		case r > least:
			least, best = r, nil
			fallthrough
		default:
			best = append(best, e.name)
		}
	}
	slices.Sort(best)
	switch len(best) {
	case 0:
		return "", fmt.Errorf("%w: no file in it is a program or a script that runs here%s", ErrProgram, u.contents())
	case 1:
		return best[0], nil
	}
	return "", fmt.Errorf("%w: %d files in it can be; name one of them as entryPoint: %s", ErrProgram, len(best), list(best, listed))
}

// contents lists the files of an archive and why none of them can be run.
func (u *unpacker) contents() string {
	if len(u.entries) == 0 {
		return ""
	}
	return ": " + list(u.entries, func(e entry) string {
		return listed(e.name) + " is " + e.file.What + e.file.Lacks
	})
}

// list joins the texts of the first things with commas: up to 20, or about 2000 bytes.
func list[T any](all []T, text func(T) string) string {
	var out strings.Builder
	for i, one := range all {
		next := text(one)
		if i == 20 || i > 0 && out.Len()+len(next) > 2000 {
			return out.String() + ", …"
		}
		if i > 0 {
			out.WriteString(", ")
		}
		out.WriteString(next)
	}
	return out.String()
}
