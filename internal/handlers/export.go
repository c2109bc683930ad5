package handlers

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"unicode"

	"ospulse/internal/jsonscan"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/labstack/echo/v5"

	"ospulse/internal/export"
	"ospulse/internal/filter"
	"ospulse/internal/models"
	"ospulse/internal/service"
)

// The trailers of a complete export. An incomplete one has none: its connection is cut.
// Clients notice that, while most ignore trailers.
const (
	trailerStatus = "X-Export-Status" // complete
	trailerEvents = "X-Export-Events" // how many events were written

	statusComplete = "complete"
)

// ExportService reads whole sessions. *service.Exports implements it and documents its
// contracts.
type ExportService interface {
	Session(ctx context.Context, id string) (*models.Session, error)
	Events(ctx context.Context, session *models.Session, where *filter.Filter, eventType string) service.Pages
	All(ctx context.Context, sessionID string) (service.Pages, error)
	WriteBundle(ctx context.Context, w io.Writer, session *models.Session, withFile bool) (events int64, err error)
	LastStarted(ctx context.Context) (*models.Session, error)
}

type exportHandler struct {
	exports ExportService
	filters Filters
	version string
}

// session sends a session as a download, in a format that the client chooses.
//
// A complete export ends normally, with the trailers X-Export-Status: complete and
// X-Export-Events. It contains only the events, in its format. After a failure in the
// middle, the connection is cut (curl exits with status 18, an HTTP library returns an
// error). Formats with one value per line then end with the line {"error", "code"}, for
// users who have only the file; a JSON array is not closed.
func (h *exportHandler) session(c *echo.Context) error {
	id, err := sessionIDParam(c)
	if err != nil {
		return err
	}
	name := c.QueryParam("format")
	if name == export.FormatBundle {
		return h.bundle(c, id)
	}
	format, err := export.FindFormat(name)
	if err != nil {
		return err
	}
	if c.QueryParam("file") != "" {
		return models.Errorf(models.CodeInvalid, "file is for format=bundle only: the other formats hold events")
	}
	forExcel, err := boolParam(c, "excel")
	if err != nil {
		return err
	}
	if forExcel {
		if format.Name != export.FormatCSV {
			return models.Errorf(models.CodeInvalid, "excel is for format=csv only")
		}
		format = export.ForExcel(format)
	}
	session, err := h.exports.Session(c.Request().Context(), id)
	if err != nil {
		return err
	}
	where, err := filterParam(c, h.filters, id)
	if err != nil {
		return err
	}
	if where != nil {
		if err := wantFilled(session); err != nil {
			return err
		}
	}
	d := newDownload(c, session, format.Extension, format.ContentType)
	d.encoding = acceptedEncoding(c.Request().Header.Values("Accept-Encoding"))
	return d.finish(h.writeEvents(c, d, format, session, where))
}

// wantFilled returns unavailable while the backfill of the session runs. A file made
// during it would be incomplete.
func wantFilled(session *models.Session) error {
	if !session.IsBackfilling() {
		return nil
	}
	return models.Errorf(models.CodeUnavailable, "the backend is still filling in processes and search columns of old events of session %s, %d of %d: try again later", session.ID, session.BackfilledSeq, session.BackfillUpTo)
}

// writeEvents writes the events that a filter selects.
func (h *exportHandler) writeEvents(c *echo.Context, d *download, format export.Format, session *models.Session, where *filter.Filter) error {
	encoder := format.New(h.version)
	out := encoder.Begin(make([]byte, 0, flushBytes+flushBytes/4))
	for page, err := range h.exports.Events(c.Request().Context(), session, where, format.EventType) {
		if err != nil {
			if format.IsLines && d.started {
				// Both the sent part and the unsent part end with a line break.
				out = appendErrorLine(out, clientError(c, err))
				_, writeErr := d.Write(out)
				err = errors.Join(err, writeErr)
			}
			return err
		}
		for i := range page {
			out = encoder.Event(out, &page[i])
			d.events++
			if len(out) >= flushBytes {
				if _, err := d.Write(out); err != nil {
					return err
				}
				out = out[:0]
				if cap(out) > maxKeptBuffer { // grown by a huge event
					out = make([]byte, 0, flushBytes+flushBytes/4)
				}
			}
		}
	}
	_, err := d.Write(encoder.End(out))
	return err
}

// maxKeptBuffer is the largest buffer that is reused, in bytes.
const maxKeptBuffer = 4 << 20

// appendErrorLine appends an error in the form of an error answer.
func appendErrorLine(out []byte, e *models.Error) []byte {
	out = jsonscan.AppendText(append(out, `{"error":`...), e.Message)
	out = jsonscan.AppendText(append(out, `,"code":`...), string(e.Code))
	return append(out, "}\n"...)
}

// bundle sends the whole session in one zip. It includes the target file only if the
// client asks for it, so that samples do not spread by accident.
func (h *exportHandler) bundle(c *echo.Context, id string) error {
	if c.QueryParam("filter") != "" {
		return models.Errorf(models.CodeInvalid, "filter is not for format=bundle: a bundle is the whole session")
	}
	if c.QueryParam("excel") != "" {
		return models.Errorf(models.CodeInvalid, "excel is for format=csv only")
	}
	withFile, err := boolParam(c, "file")
	if err != nil {
		return err
	}
	session, err := h.exports.Session(c.Request().Context(), id)
	if err != nil {
		return err
	}
	if err := wantFilled(session); err != nil {
		return err
	}
	d := newDownload(c, session, ".ospulse.zip", "application/zip")
	d.events, err = h.exports.WriteBundle(c.Request().Context(), d, session, withFile)
	return d.finish(err)
}

// download is an answer that browsers save as a file. It sends nothing before the first
// Write, so that an early error still sets the status.
type download struct {
	response    *patientWriter
	fileName    string
	contentType string
	encoding    string // gzip, zstd or "" for none
	events      int64  // written events, for the trailer

	started    bool           // the status was sent
	compressor io.WriteCloser // nil for none
}

func newDownload(c *echo.Context, session *models.Session, extension, contentType string) *download {
	return &download{response: newPatientWriter(c.Response(), sendTimeout), fileName: exportName(session) + extension, contentType: contentType}
}

// maxExportName is the most characters of a sample's name in the name of an export.
const maxExportName = 80

// exportName returns the name of an export without its extension: the sample's name and
// the start of the session's ID. The sample's name comes from its uploader, so only
// letters, digits and a few marks of it are kept.
func exportName(session *models.Session) string {
	id := safeName(session.ID)
	name := session.FileName[strings.LastIndexAny(session.FileName, `/\`)+1:]
	kept := []rune(strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("._-() ", r) {
			return r
		}
		return '_'
	}, strings.TrimLeft(cmp.Or(name, session.Name), ". ")))
	if len(kept) == 0 {
		return "os-pulse-" + id
	}
	// Without its dots: "NUL.txt…" is a device in Windows, and "a.exe…" misleads.
	return strings.ReplaceAll(string(kept[:min(len(kept), maxExportName)]), ".", "_") + "-" + id[:min(len(id), 8)]
}

// Write sends a part of the file.
func (d *download) Write(p []byte) (int, error) {
	if err := d.start(); err != nil {
		return 0, err
	}
	if d.compressor != nil {
		return d.compressor.Write(p)
	}
	return d.response.Write(p)
}

func (d *download) start() error {
	if d.started {
		return nil
	}
	if d.encoding != "" {
		compressor, err := newCompressor(d.encoding, d.response)
		if err != nil {
			return err
		}
		d.compressor = compressor
	}
	header := d.response.Header()
	header.Set("Content-Type", d.contentType)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Content-Disposition", disposition(d.fileName))
	header.Set("Cache-Control", "no-store")
	header.Set("Trailer", trailerStatus+", "+trailerEvents)
	if d.encoding != "" {
		header.Set("Content-Encoding", d.encoding)
	}
	header.Add("Vary", "Accept-Encoding")
	d.response.WriteHeader(http.StatusOK)
	d.started = true
	return nil
}

// finish ends the download. It returns err for the error handler, or errBrokenOff if a
// part was sent, because the client must not take half a file for a whole one.
func (d *download) finish(err error) error {
	if !d.started && err != nil {
		return err
	}
	if d.compressor != nil { // even after an error: it holds the last line
		err = errors.Join(err, d.compressor.Close())
	}
	if err != nil {
		return brokenOff(errors.Join(err, d.response.flush()))
	}
	header := d.response.Header()
	header.Set(trailerStatus, statusComplete)
	header.Set(trailerEvents, strconv.FormatInt(d.events, 10))
	return brokenOff(cmp.Or(d.response.flush(), d.response.finish()))
}

// newCompressor returns a writer that compresses to w with little time and memory, so
// that the export is not slowed down.
func newCompressor(encoding string, w io.Writer) (io.WriteCloser, error) {
	if encoding == encodingGzip {
		return gzip.NewWriterLevel(w, gzip.BestSpeed)
	}
	return zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(1<<20), zstd.WithLowerEncoderMem(true))
}
