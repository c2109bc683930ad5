package bundle

import (
	"archive/zip"
	"bufio"
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"iter"
	"slices"
	"strings"

	"github.com/klauspost/compress/flate"

	"ospulse/internal/jsonscan"
	"ospulse/internal/models"
	"ospulse/internal/wire"
)

// Limits bounds the cost of reading a bundle.
type Limits struct {
	MaxBytes     int64 // of all entries, decompressed
	MaxLineBytes int   // of an event
}

// Limits of the small parts of every bundle.
const (
	maxDirectoryBytes = 256 << 10 // read of a zip to find its entries
	maxSmallEntry     = 4 << 20   // session.json and manifest.json
	pageLines         = 1000      // maximum number of lines of a page
	pageLineBytes     = 4 << 20   // maximum size of a page, unless its first line is longer
)

// maxDeflateRatio is the maximum ratio by which deflated data can grow: 258 bytes from 2
// bits. Entries that grow more share their bytes.
const maxDeflateRatio = 1032

// Bundle is an opened bundle. Do not trust what it returns before Verify succeeds.
type Bundle struct {
	Session   *models.Session
	Processes int64 // how many there are

	manifest manifest
	files    map[string]*zip.File
	limits   Limits
}

// Open reads a bundle's manifest and session, and checks that the bundle has the right
// entries and no others. Its errors have the code invalid or too_large and describe the
// fault. It uses no name in the bundle as a path.
func Open(r io.ReaderAt, size int64, limits Limits) (*Bundle, error) {
	source := &boundedSource{r: r, left: maxDirectoryBytes}
	archive, err := zip.NewReader(source, size)
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) {
		if source.left < 0 {
			return nil, invalid("the zip's directory is larger than that of any bundle")
		}
		return nil, models.Wrap(err, models.CodeInvalid, "this is no zip, or a damaged one, such as one that was not read to its end")
	}
	source.isOpen = true
	archive.RegisterDecompressor(zip.Deflate, flate.NewReader)
	b := &Bundle{files: map[string]*zip.File{}, limits: limits}
	for _, file := range archive.File {
		if err := b.add(file); err != nil {
			return nil, err
		}
	}
	if err := checkPlaces(archive.File, size); err != nil {
		return nil, err
	}
	if err := b.readManifest(size); err != nil {
		return nil, err
	}
	return b, b.readSession()
}

// boundedSource limits how much of a zip is read before its entries are known: a
// directory of millions of entries would exhaust the memory.
type boundedSource struct {
	r      io.ReaderAt
	left   int64
	isOpen bool
}

func (s *boundedSource) ReadAt(p []byte, at int64) (int, error) {
	if !s.isOpen {
		if s.left -= int64(len(p)); s.left < 0 {
			return 0, errors.New("the directory is too large")
		}
	}
	return s.r.ReadAt(p, at)
}

// add adds an entry, or returns invalid if a bundle cannot have it.
func (b *Bundle) add(file *zip.File) error {
	_, isThere := b.files[file.Name]
	sha, isFile := strings.CutPrefix(file.Name, filePrefix)
	known := file.Name == sessionEntry || file.Name == eventsEntry || file.Name == processesEntry || file.Name == findingsEntry || file.Name == manifestEntry ||
		isFile && validSHA256.MatchString(sha)
	switch {
	case !known:
		return invalid("the zip has an entry %.100q, which no bundle has", file.Name)
	case isThere:
		return invalid("the zip has the entry %s twice", file.Name)
	case file.Flags&1 != 0:
		return invalid("the entry %s is encrypted; a bundle is not", file.Name)
	case file.Method != zip.Store && file.Method != zip.Deflate:
		return invalid("the entry %s is compressed by method %d; a bundle is deflated", file.Name, file.Method)
	case file.Mode()&fs.ModeType != 0:
		return invalid("the entry %s is no regular file", file.Name)
	}
	b.files[file.Name] = file
	return nil
}

// checkPlaces checks that no byte of the zip belongs to two entries. Only shared bytes
// let a small zip become a very large one.
func checkPlaces(files []*zip.File, size int64) error {
	type place struct{ start, end int64 }
	places := make([]place, 0, len(files))
	for _, file := range files {
		start, err := file.DataOffset()
		if err != nil {
			return models.Wrap(err, models.CodeInvalid, "the zip is damaged: the entry %s is not where its directory says", file.Name)
		}
		length := file.CompressedSize64
		if length > uint64(size) || start+int64(length) > size {
			return invalid("the zip is damaged: the entry %s is longer than the zip", file.Name)
		}
		places = append(places, place{start, start + int64(length)})
	}
	slices.SortFunc(places, func(a, b place) int { return cmp.Compare(a.start, b.start) })
	for i := 1; i < len(places); i++ {
		if places[i].start < places[i-1].end {
			return invalid("the zip is none that a program made: two of its entries share their bytes")
		}
	}
	return nil
}

func (b *Bundle) readManifest(size int64) error {
	text, err := b.readSmall(manifestEntry)
	if err != nil {
		return err
	}
	// Check the version first: a later version may have other members.
	var version struct {
		Format  string `json:"format"`
		Version int    `json:"version"`
	}
	if err := decodeLoosely(text, &version); err != nil {
		return inEntry(manifestEntry, err)
	}
	switch {
	case version.Format != bundleFormat:
		return invalid("%s: format must be %q, not %.100q: this is another kind of file", manifestEntry, bundleFormat, version.Format)
	case version.Version > bundleVersion:
		return invalid("the bundle is of version %d, made by a newer OS-Pulse; this one reads versions up to %d", version.Version, bundleVersion)
	case version.Version < 1:
		return invalid("%s: version must be 1 or more, not %d", manifestEntry, version.Version)
	}
	if err := decodeStrictly(text, &b.manifest); err != nil {
		return inEntry(manifestEntry, err)
	}
	return b.checkManifest(size)
}

// checkManifest checks that the zip has the manifest's entries, and that they do not
// become too large.
func (b *Bundle) checkManifest(size int64) error {
	m := &b.manifest
	var sizes []int64
	for name, e := range m.Entries {
		switch {
		case name == manifestEntry || b.files[name] == nil:
			return invalid("%s names an entry %.100q that the zip has not", manifestEntry, name)
		case e.SizeBytes < 0 || !validSHA256.MatchString(e.SHA256):
			return invalid("%s: the entry %s has no size or no SHA-256", manifestEntry, name)
		}
		sizes = append(sizes, e.SizeBytes)
	}
	for name := range b.files {
		if _, ok := m.Entries[name]; !ok && name != manifestEntry {
			return invalid("%s does not name the entry %s", manifestEntry, name)
		}
	}
	for _, name := range [...]string{sessionEntry, eventsEntry, processesEntry} {
		if b.files[name] == nil {
			return invalid("the bundle has no entry %s", name)
		}
	}
	if hasFindings := b.files[findingsEntry] != nil; hasFindings != (m.Version >= versionOfFindings) {
		return invalid("a bundle has an entry %s if it is of version %d or newer, not of version %d", findingsEntry, versionOfFindings, m.Version)
	}
	switch total := sum(sizes); {
	case total > b.limits.MaxBytes:
		return models.Errorf(models.CodeTooLarge, "the bundle is %d MB when it is decompressed, more than the %d MB that are taken: IMPORT_MAX_MB", total>>20, b.limits.MaxBytes>>20)
	case total/maxDeflateRatio > size:
		return invalid("the bundle claims to become %d times as large as it is, which no zip does", total/max(size, 1))
	case m.Events < 0 || m.Processes < 0 || m.Findings < 0:
		return invalid("%s: events, processes and findings cannot be negative", manifestEntry)
	}
	b.Processes = m.Processes
	return nil
}

func (b *Bundle) readSession() error {
	text, err := b.readSmall(sessionEntry)
	if err != nil {
		return err
	}
	var read bundledSession
	var optional []string
	if b.manifest.Version < 2 {
		optional = []string{"end"}
	}
	if err := decodeStrictly(text, &read, optional...); err != nil {
		return inEntry(sessionEntry, err)
	}
	session, err := read.session()
	if err != nil {
		return inEntry(sessionEntry, err)
	}
	b.Session = session
	switch {
	case session.ID != b.manifest.SessionID:
		return invalid("%s is of session %.100q, the bundle of %.100q", sessionEntry, session.ID, b.manifest.SessionID)
	case session.EventCount-session.ExpiredSeq != b.manifest.Events:
		return invalid("%s counts %d events, %s counts %d", sessionEntry, session.EventCount-session.ExpiredSeq, manifestEntry, b.manifest.Events)
	}
	for name := range b.files {
		if sha, ok := strings.CutPrefix(name, filePrefix); ok && (session.FileSHA256 == nil || sha != *session.FileSHA256) {
			return invalid("the entry %s is not the session's target file", name)
		}
	}
	if e, ok := b.fileEntry(); ok && (e.SizeBytes != session.FileSizeBytes || e.SHA256 != *session.FileSHA256) {
		return invalid("the target file has not the size or the SHA-256 that the session says")
	}
	return nil
}

// fileEntry returns the expected properties of the target file, if the bundle has it.
func (b *Bundle) fileEntry() (entry, bool) {
	if b.Session.FileSHA256 == nil {
		return entry{}, false
	}
	e, ok := b.manifest.Entries[filePrefix+*b.Session.FileSHA256]
	return e, ok
}

// Verify reads the whole bundle and checks each entry. It calls carryOn from time to time
// and stops at its error.
func (b *Bundle) Verify(carryOn func() error) error {
	for _, err := range b.Events() {
		if err := errors.Join(err, carryOn()); err != nil {
			return err
		}
	}
	for _, err := range b.ProcessPages() {
		if err := errors.Join(err, carryOn()); err != nil {
			return err
		}
	}
	for _, err := range b.Findings() {
		if err := errors.Join(err, carryOn()); err != nil {
			return err
		}
	}
	file, err := b.File()
	if err != nil || file == nil {
		return err
	}
	defer file.Close()
	_, err = io.Copy(io.Discard, file)
	return err
}

// Events reads the events in pages that fit into memory. The iteration ends with an error
// unless they belong to the session and have the numbers 1, 2, 3 … to its EventCount, or
// those after its ExpiredSeq.
func (b *Bundle) Events() iter.Seq2[[]models.Event, error] {
	last := b.Session.ExpiredSeq
	return readLines(b, eventsEntry, b.limits.MaxLineBytes, b.manifest.Events, func(line []byte) (models.Event, error) {
		e, err := wire.Bundled(line)
		switch {
		case err != nil:
			return e, err
		case e.SessionID != b.Session.ID:
			return e, invalid("session_id is %.100q, not that of the bundle's session", e.SessionID)
		case e.Seq != last+1:
			return e, invalid("seq is %d, and must be %d: the events of a session have numbers without gaps", e.Seq, last+1)
		}
		last = e.Seq
		return e, nil
	})
}

// ProcessPages reads the processes in pages that fit into memory. The iteration ends with
// an error if their keys are out of order. It does not set their SessionID.
func (b *Bundle) ProcessPages() iter.Seq2[[]models.Process, error] {
	var last *models.Process
	return readLines(b, processesEntry, maxSmallEntry, b.manifest.Processes, func(line []byte) (models.Process, error) {
		var read bundledProcess
		if err := decodeStrictly(line, &read); err != nil {
			return models.Process{}, err
		}
		p, err := read.process()
		if err == nil && last != nil && cmp.Or(cmp.Compare(last.PID, p.PID), last.StartedAt.Compare(p.StartedAt)) >= 0 {
			err = invalid("pid %d, started %s, does not come after the one before it", p.PID, models.FormatTime(p.StartedAt))
		}
		last = &p
		return p, err
	})
}

// File opens the target file; nil if the bundle has none. Reading it ends with an error
// if it does not have the session's hash.
func (b *Bundle) File() (io.ReadCloser, error) {
	if _, ok := b.fileEntry(); !ok {
		return nil, nil //nolint:nilnil // no file is no error
	}
	return b.open(filePrefix + *b.Session.FileSHA256)
}

// readLines reads an entry of n lines. Its pages refer to the memory of the lines.
func readLines[T any](b *Bundle, name string, maxLine int, n int64, read func(line []byte) (T, error)) iter.Seq2[[]T, error] {
	return func(yield func([]T, error) bool) {
		content, err := b.open(name)
		if err != nil {
			yield(nil, err)
			return
		}
		defer content.Close()
		lines := bufio.NewReaderSize(content, 64<<10)
		var page []T
		size := 0
		for number := int64(1); ; number++ {
			line, err := readLine(lines, maxLine)
			if errors.Is(err, io.EOF) {
				switch {
				case number-1 != n:
					yield(nil, invalid("%s has %d lines; the bundle counts %d", name, number-1, n))
				case len(page) > 0:
					yield(page, nil)
				}
				return
			}
			var value T
			if number == 1 {
				line = jsonscan.TrimBOM(line)
			}
			if err == nil {
				value, err = read(line)
			}
			if err != nil {
				yield(nil, inEntry(fmt.Sprintf("%s, line %d", name, number), err))
				return
			}
			page = append(page, value)
			if size += len(line); len(page) == pageLines || size >= pageLineBytes {
				if !yield(page, nil) {
					return
				}
				page, size = nil, 0
			}
		}
	}
}

// readLine reads a line of at most maxLen bytes into new memory, without its end; io.EOF
// after the last line.
func readLine(lines *bufio.Reader, maxLen int) ([]byte, error) {
	var line []byte
	for {
		part, err := lines.ReadSlice('\n')
		if len(line)+len(part) > maxLen+1 {
			return nil, models.Errorf(models.CodeTooLarge, "it is longer than the %d MB that are taken: MAX_BODY_MB", maxLen>>20)
		}
		line = append(line, part...)
		switch {
		case err == nil:
			return bytes.TrimSuffix(line, []byte("\n")), nil
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF) && len(line) > 0:
			return nil, invalid("the line does not end")
		default:
			return nil, err
		}
	}
}

// readSmall reads a whole small entry.
func (b *Bundle) readSmall(name string) ([]byte, error) {
	content, err := b.open(name)
	if err != nil {
		return nil, err
	}
	defer content.Close()
	text, err := io.ReadAll(io.LimitReader(content, maxSmallEntry+1))
	if err == nil && len(text) > maxSmallEntry {
		err = invalid("the entry %s is larger than %d MB, which none is", name, maxSmallEntry>>20)
	}
	return jsonscan.TrimBOM(text), err
}

// open returns an entry's content. Reading it fails as soon as it is longer than the
// manifest says, and at its end if it differs from the manifest.
func (b *Bundle) open(name string) (io.ReadCloser, error) {
	file := b.files[name]
	if file == nil {
		return nil, invalid("the bundle has no entry %s", name)
	}
	content, err := file.Open()
	if err != nil {
		return nil, damaged(name, err)
	}
	e := entryReader{ReadCloser: content, name: name}
	if name != manifestEntry {
		want := b.manifest.Entries[name]
		e.want, e.hash = &want, sha256.New()
	}
	return &e, nil
}

// entryReader reads and verifies an entry.
type entryReader struct {
	io.ReadCloser
	name string
	want *entry // nil for the manifest
	hash hash.Hash
	size int64
}

func (r *entryReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if r.want != nil {
		r.hash.Write(p[:n])
		r.size += int64(n)
		if r.size > r.want.SizeBytes {
			return 0, invalid("the entry %s is larger than the %d bytes that %s says", r.name, r.want.SizeBytes, manifestEntry)
		}
	}
	switch {
	case err == nil:
		return n, nil
	case !errors.Is(err, io.EOF):
		return n, damaged(r.name, err)
	case r.want == nil:
		return n, err
	case r.size != r.want.SizeBytes || hex.EncodeToString(r.hash.Sum(nil)) != r.want.SHA256:
		return n, invalid("the entry %s is not the one that %s tells of: its size or its SHA-256 differs", r.name, manifestEntry)
	}
	return n, err
}

func damaged(name string, err error) error {
	if _, ok := asFault(err); ok {
		return err
	}
	return models.Wrap(err, models.CodeInvalid, "the entry %s is damaged", name)
}

// inEntry adds the entry's name to an error.
func inEntry(place string, err error) error {
	if e, ok := asFault(err); ok {
		return &models.Error{Code: e.Code, Message: place + ": " + e.Message, Err: e.Err}
	}
	return err
}

func asFault(err error) (*models.Error, bool) { return errors.AsType[*models.Error](err) }

func invalid(format string, args ...any) error {
	return models.Errorf(models.CodeInvalid, format, args...)
}
