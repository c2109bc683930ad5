package bundle

import (
	"archive/zip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"hash"
	"io"
	"iter"
	"slices"
	"time"

	"github.com/klauspost/compress/flate"

	"ospulse/internal/models"
	"ospulse/internal/wire"
)

// Contents holds the parts of a bundle.
type Contents struct {
	Session        *models.Session
	Events         iter.Seq2[[]models.Event, error] // by Seq, those after ExpiredSeq up to EventCount
	Processes      iter.Seq2[[]models.Process, error]
	Findings       []models.Finding // perhaps also in later events
	File           io.Reader        // nil to leave it out
	ProductVersion string
	CreatedAt      time.Time
}

// Write writes a bundle to w while it reads the contents. It returns the number of
// events.
func Write(w io.Writer, c Contents) (events int64, err error) {
	b := bundleWriter{zip: zip.NewWriter(w), createdAt: c.CreatedAt, entries: map[string]entry{}}
	b.zip.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) { return flate.NewWriter(w, flate.BestSpeed) })
	m := manifest{
		Format: bundleFormat, Version: versionOfWhole, ProductVersion: c.ProductVersion, CreatedAt: models.FormatTime(c.CreatedAt),
		SessionID: c.Session.ID, Entries: b.entries,
	}
	found := upTo(c.Findings, c.Session.EventCount)
	m.Findings = int64(len(found))
	switch {
	case slices.ContainsFunc(found, func(f models.Finding) bool { return f.RootPath != nil }):
		m.Version = versionOfRootPath
	case slices.ContainsFunc(found, func(f models.Finding) bool { return f.Failed > 0 }):
		m.Version = versionOfFailed
	case len(found) > 0:
		m.Version = versionOfFindings
	case c.Session.ExpiredSeq > 0:
		m.Version = versionOfExpired
	}
	if err := b.writeJSON(sessionEntry, newBundledSession(c.Session)); err != nil {
		return 0, err
	}
	if err := b.create(eventsEntry); err != nil {
		return 0, err
	}
	m.Events, err = writeLines(&b, c.Events, func(out []byte, e *models.Event) ([]byte, error) { return wire.AppendBundled(out, e), nil })
	if err != nil {
		return m.Events, err
	}
	if err := b.create(processesEntry); err != nil {
		return m.Events, err
	}
	m.Processes, err = writeLines(&b, c.Processes, func(out []byte, p *models.Process) ([]byte, error) {
		line, err := json.Marshal(newBundledProcess(p))
		return append(out, line...), err
	})
	if err != nil {
		return m.Events, err
	}
	if len(found) > 0 {
		if err := b.create(findingsEntry); err != nil {
			return m.Events, err
		}
		_, err := writeLines(&b, onePage(found), func(out []byte, f *models.Finding) ([]byte, error) {
			line, err := json.Marshal(newBundledFinding(f))
			return append(out, line...), err
		})
		if err != nil {
			return m.Events, err
		}
	}
	if c.File != nil {
		if err := b.create(filePrefix + *c.Session.FileSHA256); err != nil {
			return m.Events, err
		}
		if _, err := io.Copy(&b, c.File); err != nil {
			return m.Events, err
		}
	}
	b.end()
	if err := b.writeJSON(manifestEntry, m); err != nil {
		return m.Events, err
	}
	return m.Events, b.zip.Close()
}

// bundleWriter writes the entries of a bundle one after the other, and records their
// properties.
type bundleWriter struct {
	zip       *zip.Writer
	createdAt time.Time
	entries   map[string]entry

	name string // of the current entry; "" for none
	to   io.Writer
	hash hash.Hash
	size int64
}

func (b *bundleWriter) create(name string) (err error) {
	b.end()
	header := &zip.FileHeader{Name: name, Method: zip.Deflate, Modified: b.createdAt}
	header.SetMode(0o644)
	b.to, err = b.zip.CreateHeader(header)
	b.name, b.hash, b.size = name, sha256.New(), 0
	return err
}

// end records the properties of the finished entry.
func (b *bundleWriter) end() {
	if b.name != "" {
		b.entries[b.name] = entry{SizeBytes: b.size, SHA256: hex.EncodeToString(b.hash.Sum(nil))}
	}
	b.name = ""
}

func (b *bundleWriter) Write(p []byte) (int, error) {
	n, err := b.to.Write(p)
	b.hash.Write(p[:n])
	b.size += int64(n)
	return n, err
}

func (b *bundleWriter) writeJSON(name string, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	if err := b.create(name); err != nil {
		return err
	}
	_, err = b.Write(append(text, '\n'))
	return err
}

// writeLines writes a line for each value of the pages, and counts them.
func writeLines[T any](w io.Writer, pages iter.Seq2[[]T, error], appendLine func(out []byte, v *T) ([]byte, error)) (n int64, err error) {
	var out []byte
	for page, err := range pages {
		if err != nil {
			return n, err
		}
		for i := range page {
			if out, err = appendLine(out, &page[i]); err != nil {
				return n, err
			}
			out = append(out, '\n')
			n++
			if len(out) < writeBytes && i < len(page)-1 {
				continue
			}
			if _, err := w.Write(out); err != nil {
				return n, err
			}
			out = out[:0]
		}
	}
	return n, nil
}

func onePage[T any](values []T) iter.Seq2[[]T, error] {
	return func(yield func([]T, error) bool) { yield(values, nil) }
}

// writeBytes is the number of bytes that are collected before they are compressed.
const writeBytes = 128 << 10
