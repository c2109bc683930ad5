package handlers

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/labstack/echo/v5"

	"ospulse/internal/export"
	"ospulse/internal/filter"
	"ospulse/internal/models"
	"ospulse/internal/service"
)

// brokenExports returns events, and then fails.
type brokenExports struct{ pages int }

func (brokenExports) Session(context.Context, string) (*models.Session, error) {
	return &models.Session{ID: "s/1"}, nil
}

var errAway = models.Wrap(errors.New("secret of the database"), models.CodeUnavailable, "the database is away")

func (b brokenExports) Events(context.Context, *models.Session, *filter.Filter, string) service.Pages {
	return func(yield func([]models.Event, error) bool) {
		for range b.pages {
			request := `{"request":{"url":"` + strings.Repeat("x", flushBytes) + `"}`
			page := []models.Event{{EventType: models.TypeHTTP, Data: models.JSON(request + `}`)}, {EventType: models.TypeHTTP, Data: models.JSON(request + `,"response":{}}`)}}
			if !yield(page, nil) {
				return
			}
		}
		yield(nil, errAway)
	}
}

func (b brokenExports) WriteBundle(_ context.Context, w io.Writer, _ *models.Session, _ bool) (int64, error) {
	for range b.pages {
		if _, err := w.Write(bytes.Repeat([]byte("x"), flushBytes)); err != nil {
			return 0, err
		}
	}
	return 0, errAway
}

func (brokenExports) LastStarted(context.Context) (*models.Session, error) { return nil, errAway }

func (brokenExports) All(context.Context, string) (service.Pages, error) { return nil, errAway }

// brokenServer serves exports that fail after some pages.
func brokenServer(t *testing.T, pages int) *httptest.Server {
	e := echo.New()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	e.HTTPErrorHandler = handleError(log)
	e.Use(cutBrokenOff)
	h := &exportHandler{brokenExports{pages}, service.NewFamilies(nil, nil), "1"}
	e.GET("/api/sessions/:sessionId/export", func(c *echo.Context) error {
		err := h.session(c)
		if err != nil {
			e.HTTPErrorHandler(c, err)
		}
		return err
	})
	server := httptest.NewUnstartedServer(e)
	server.Config.ErrorLog = slog.NewLogLogger(log.Handler(), slog.LevelInfo)
	server.Start()
	t.Cleanup(server.Close)
	return server
}

// TestBrokenExportIsCut checks that clients can detect a truncated export in every
// encoding, and that formats of lines end with the reason.
func TestBrokenExportIsCut(t *testing.T) {
	server := brokenServer(t, 4)
	for _, format := range export.Names() {
		hasLines := false
		if f, err := export.FindFormat(format); err == nil { // not the bundle
			hasLines = f.IsLines
		}
		for _, encoding := range []string{"identity", "gzip", "zstd"} {
			t.Run(format+"/"+encoding, func(t *testing.T) {
				request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/api/sessions/s/export?format="+format, nil)
				if err != nil {
					t.Fatal(err)
				}
				request.Header.Set("Accept-Encoding", encoding)
				response, err := http.DefaultClient.Do(request)
				if err != nil {
					t.Fatal(err)
				}
				defer response.Body.Close()
				if response.StatusCode != http.StatusOK || response.Trailer == nil {
					t.Errorf("%s, trailers %v", response.Status, response.Trailer)
				}
				body, err := io.ReadAll(response.Body)
				if !errors.Is(err, io.ErrUnexpectedEOF) || response.Trailer.Get(trailerStatus) != "" {
					t.Errorf("it ends with %v, trailers %v", err, response.Trailer)
				}
				text := decode(t, response.Header.Get("Content-Encoding"), body)
				if !hasLines {
					if bytes.Contains(text, []byte("the database is away")) || json.Valid(text) {
						t.Errorf("what is out looks whole, or has an error in it: …%.100s", text[max(0, len(text)-100):])
					}
					return
				}
				lines := bytes.Split(bytes.TrimSuffix(text, []byte("\n")), []byte("\n"))
				if got := string(lines[len(lines)-1]); len(lines) != 9 || got != `{"error":"the database is away","code":"unavailable"}` {
					t.Errorf("%d lines, the last is %.300s", len(lines), got)
				}
			})
		}
	}
}

func decode(t *testing.T, encoding string, body []byte) []byte {
	t.Helper()
	var content io.Reader = bytes.NewReader(body)
	switch encoding {
	case encodingGzip:
		r, err := gzip.NewReader(content)
		if err != nil {
			t.Fatal(err)
		}
		content = r
	case encodingZstd:
		r, err := zstd.NewReader(content)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		content = r
	}
	text, err := io.ReadAll(content)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestExportThatFailsAtOnce checks that a failure before the first byte has its own
// status and no download headers.
func TestExportThatFailsAtOnce(t *testing.T) {
	server := brokenServer(t, 0)
	for _, format := range []string{"ndjson", "har", "bundle"} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/api/sessions/s/export?format="+format, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || response.StatusCode != http.StatusServiceUnavailable || response.Header.Get("Content-Disposition") != "" || response.Header.Get("Content-Encoding") != "" ||
			!strings.Contains(string(body), "the database is away") || strings.Contains(string(body), "secret") {
			t.Errorf("%s %v %s %v", response.Status, response.Header, body, err)
		}
	}
}

// stalledWriter accepts every write, and counts those without a new deadline.
type stalledWriter struct {
	*httptest.ResponseRecorder
	deadline time.Time
	late     int // writes without a new deadline
	largest  int
}

func (w *stalledWriter) SetWriteDeadline(deadline time.Time) error {
	w.deadline = deadline
	return nil
}

func (w *stalledWriter) Write(p []byte) (int, error) {
	if left := time.Until(w.deadline); left <= 0 || left > sendTimeout {
		w.late++
	}
	w.deadline = time.Time{}
	w.largest = max(w.largest, len(p))
	return len(p), nil
}

// TestDownloadGivesUpOnStalledReaders checks that each part is written with a new
// deadline of sendTimeout, and that no deadline is left for the connection's next
// request.
func TestDownloadGivesUpOnStalledReaders(t *testing.T) {
	for _, encoding := range []string{"", encodingGzip, encodingZstd} {
		w := &stalledWriter{ResponseRecorder: httptest.NewRecorder()}
		c := echo.New().NewContext(httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil), w)
		d := newDownload(c, &models.Session{ID: "s"}, ".x", "text/plain")
		d.encoding = encoding
		content := make([]byte, 1<<20)
		if _, err := rand.Read(content); err != nil {
			t.Fatal(err)
		}
		_, err := d.Write(content)
		if err := d.finish(err); err != nil {
			t.Fatal(err)
		}
		if w.late > 0 || w.largest > writeBytes || !w.deadline.IsZero() {
			t.Errorf("%q: %d writes without a deadline, the largest of %d bytes, and %v at the end", encoding, w.late, w.largest, w.deadline)
		}
	}
}

func TestExportName(t *testing.T) {
	for name, want := range map[string]string{
		"invoice.exe":                   "invoice_exe-0b8f5c1e",
		`C:\\temp\\..\\Rechnung für.js`: "Rechnung für_js-0b8f5c1e",
		"../../NUL.txt":                 "NUL_txt-0b8f5c1e",
		"\u202egnp.exe\n":               "_gnp_exe_-0b8f5c1e",
		"":                              "os-pulse-0b8f5c1e-6d3a",
		"...":                           "os-pulse-0b8f5c1e-6d3a",
		strings.Repeat("ä", 300):        strings.Repeat("ä", maxExportName) + "-0b8f5c1e",
	} {
		if got := exportName(&models.Session{ID: "0b8f5c1e-6d3a", FileName: name}); got != want {
			t.Errorf("%q becomes %q, want %q", name, got, want)
		}
	}
}
