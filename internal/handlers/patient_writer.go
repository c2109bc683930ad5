package handlers

import (
	"errors"
	"net/http"
	"time"

	"github.com/labstack/echo/v5"
)

// writeBytes is the most that a patientWriter writes at once. A client that takes as
// much within the timeout makes progress.
const writeBytes = 32 << 10

// patientWriter writes an answer while the client makes progress. If the client takes
// less than writeBytes within the timeout, this Write and all later ones return an
// error.
type patientWriter struct {
	http.ResponseWriter
	controller *http.ResponseController
	timeout    time.Duration
	err        error
}

func newPatientWriter(w http.ResponseWriter, timeout time.Duration) *patientWriter {
	below := w
	if response, err := echo.UnwrapResponse(w); err == nil {
		below = response.ResponseWriter // Echo's Flush drops the error of a slow client
	}
	return &patientWriter{ResponseWriter: w, controller: http.NewResponseController(below), timeout: timeout}
}

func (w *patientWriter) Write(p []byte) (written int, err error) {
	for len(p) > 0 && w.err == nil {
		n := 0
		if w.err = w.setDeadline(time.Now().Add(w.timeout)); w.err == nil {
			n, w.err = w.ResponseWriter.Write(p[:min(len(p), writeBytes)])
		}
		written, p = written+n, p[n:]
	}
	return written, w.err
}

// flush sends the data that net/http has buffered.
func (w *patientWriter) flush() error {
	if w.err == nil {
		w.err = w.controller.Flush()
	}
	return w.err
}

// finish makes the connection ready for its next request. It returns the first error of
// a Write.
func (w *patientWriter) finish() error {
	if w.err == nil {
		w.err = w.setDeadline(time.Time{})
	}
	return w.err
}

func (w *patientWriter) setDeadline(t time.Time) error {
	if err := w.controller.SetWriteDeadline(t); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}
