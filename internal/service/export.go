package service

import (
	"context"
	"io"
	"iter"
	"sync"

	"ospulse/internal/export"
	"ospulse/internal/filter"
	"ospulse/internal/models"
)

// How much of an export is in memory: a page that is written, one that waits and
// one that is read.
const (
	exportPageEvents = 2000
	exportPageBytes  = 2 << 20
)

// TransferReader reads whole sessions; internal/repository implements it and
// documents its contracts.
type TransferReader interface {
	ReadEvents(ctx context.Context, sessionID string, where *filter.Filter, events models.EventRange, limit, maxBytes int) ([]models.Event, error)
	ReadProcesses(ctx context.Context, sessionID string, after *models.Process, limit int) ([]models.Process, error)
}

// FileOpener opens target files by their SHA-256.
type FileOpener interface {
	Open(ctx context.Context, sha256 string) (io.ReadSeekCloser, error)
}

// Exports gives sessions out whole. It is safe for concurrent use.
type Exports struct {
	transfers TransferReader
	sessions  SessionFinder
	files     FileOpener
	clock     Clock
	version   string // of this program
}

// NewExports gives the service over its repositories.
func NewExports(transfers TransferReader, sessions SessionFinder, files FileOpener, clock Clock, version string) *Exports {
	return &Exports{transfers, sessions, files, clock, version}
}

// Session gives a session, or not_found. What it has at this moment is what Events
// gives of it: an export of a session that is active has an end.
func (s *Exports) Session(ctx context.Context, id string) (*models.Session, error) {
	return s.sessions.Get(ctx, id)
}

// Events gives the session's events that a filter selects, of one type if
// eventType is not empty, by Seq, up to the EventCount of session. The next page
// is read while one is handled. The walk ends with an error if not all of them
// could be given, as when the session is deleted meanwhile.
func (s *Exports) Events(ctx context.Context, session *models.Session, where *filter.Filter, eventType string) Pages {
	return func(yield func([]models.Event, error) bool) {
		reading, cancel := context.WithCancel(ctx)
		var reader sync.WaitGroup
		defer reader.Wait()
		defer cancel()
		pages := make(chan []models.Event)
		var failed error // of the reader; to be read when pages is closed
		reader.Go(func() {
			defer close(pages)
			failed = s.read(reading, session, where, eventType, pages)
		})
		for page := range pages {
			if !yield(page, nil) {
				return
			}
		}
		if failed != nil {
			yield(nil, failed)
		}
	}
}

// read sends the events of a session, page by page.
func (s *Exports) read(ctx context.Context, session *models.Session, where *filter.Filter, eventType string, pages chan<- []models.Event) error {
	events := models.EventRange{UpTo: session.EventCount, EventType: eventType}
	total := int64(0)
	for limit := 64; ; {
		page, err := s.transfers.ReadEvents(ctx, session.ID, where, events, limit, exportPageBytes)
		if err != nil {
			return err
		}
		if len(page) == 0 {
			break
		}
		size := 1
		for i := range page {
			size += len(page[i].Data) + len(page[i].DataRaw)
		}
		// More than fits is not asked for: PostgreSQL sends all that it is asked for.
		limit = min(max(exportPageBytes*len(page)/size, 16), exportPageEvents)
		events.After = page[len(page)-1].Seq
		total += int64(len(page))
		select {
		case pages <- page:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if where == nil && eventType == "" && total != session.EventCount {
		return models.Errorf(models.CodeConflict, "session %s had %d events, of which %d are there: it is being deleted", session.ID, session.EventCount, total)
	}
	_, err := s.sessions.Get(ctx, session.ID) // what a filter selects cannot be counted, but is whole if the session is
	return err
}

// bundlePage is how many processes are read at once.
const bundlePage = 500

// WriteBundle writes the whole session as a bundle, with its target file if that is
// to travel, and gives the number of events. A session without a file has none to
// send: not_found.
func (s *Exports) WriteBundle(ctx context.Context, w io.Writer, session *models.Session, withFile bool) (events int64, err error) {
	contents := export.Contents{
		Session: session, Events: s.Events(ctx, session, nil, ""), Processes: s.processes(ctx, session.ID),
		ProductVersion: s.version, CreatedAt: s.clock.now(),
	}
	if withFile {
		if session.FileSHA256 == nil {
			return 0, models.Errorf(models.CodeNotFound, "session %s has no target file", session.ID)
		}
		file, err := s.files.Open(ctx, *session.FileSHA256)
		if err != nil {
			return 0, err
		}
		defer file.Close()
		contents.File = file
	}
	return export.WriteBundle(w, contents)
}

// processes gives a session's processes by pid and start. Those of a session that
// is active may know of later events than its bundle has.
func (s *Exports) processes(ctx context.Context, sessionID string) iter.Seq2[[]models.Process, error] {
	return func(yield func([]models.Process, error) bool) {
		var last *models.Process
		for {
			page, err := s.transfers.ReadProcesses(ctx, sessionID, last, bundlePage)
			if err == nil && len(page) == 0 || !yield(page, err) || err != nil {
				return
			}
			last = &page[len(page)-1]
		}
	}
}
