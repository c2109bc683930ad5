package service

import (
	"context"
	"io"
	"iter"
	"sync"
	"time"

	"ospulse/internal/bundle"
	"ospulse/internal/filter"
	"ospulse/internal/models"
	"ospulse/internal/wire"
)

// Limits of an export's memory: one page is written, one waits and one is read.
const (
	exportPageEvents = 2000
	exportPageBytes  = 2 << 20
)

// TransferReader reads whole sessions. internal/repository implements it and documents
// its contracts.
type TransferReader interface {
	ReadEvents(ctx context.Context, sessionID string, where *filter.Filter, events models.EventRange, limit, maxBytes int, memory *models.EventMemory) ([]models.Event, error)
	ReadProcesses(ctx context.Context, sessionID string, after *models.Process, limit int) ([]models.Process, error)
	ListFindings(ctx context.Context, sessionID string) ([]models.Finding, error)
}

// StartedFinder finds sessions, also the last started one. internal/repository implements
// it and documents its contracts.
type StartedFinder interface {
	SessionFinder
	LastStarted(ctx context.Context) (*models.Session, error)
}

// FileOpener opens target files by their SHA-256.
type FileOpener interface {
	Open(ctx context.Context, sha256 string) (io.ReadSeekCloser, error)
}

// EventLister lists events in their order. internal/repository implements it and
// documents its contracts.
type EventLister interface {
	ListBySeq(ctx context.Context, sessionID string, after, upTo int64, limit int) ([]models.Event, error)
	ListAll(ctx context.Context, after, upTo uint64, limit int) ([]models.Event, error)
	LastID(ctx context.Context) (uint64, error)
}

// Exports exports whole sessions. Each page that it reads waits for its turn among the
// heavy reads. It is safe for concurrent use.
type Exports struct {
	transfers TransferReader
	events    EventLister
	sessions  StartedFinder
	files     FileOpener
	reads     *Reads
	clock     Clock
	version   string // of this program
}

// NewExports returns the service over its repositories.
func NewExports(transfers TransferReader, events EventLister, sessions StartedFinder, files FileOpener, reads *Reads, clock Clock, version string) *Exports {
	return &Exports{transfers, events, sessions, files, reads, clock, version}
}

// Session returns a session, or not_found. Events exports what the session has at this
// moment, so that the export of an active session ends.
func (s *Exports) Session(ctx context.Context, id string) (*models.Session, error) {
	return s.sessions.Get(ctx, id)
}

// LastStarted returns the session whose monitoring began last, or not_found.
func (s *Exports) LastStarted(ctx context.Context) (*models.Session, error) {
	return s.sessions.LastStarted(ctx)
}

// Events returns the session's events that a filter selects, only those of eventType
// unless it is empty, by Seq: those after the session's ExpiredSeq up to its EventCount.
// It reads the next page while the caller handles one. A page is valid until the next one.
// Events ends with an error if an event could not be read, for example because the session
// was deleted.
func (s *Exports) Events(ctx context.Context, session *models.Session, where *filter.Filter, eventType string) Pages {
	return func(yield func([]models.Event, error) bool) {
		reading, cancel := context.WithCancel(ctx)
		var reader sync.WaitGroup
		defer reader.Wait()
		defer cancel()
		pages := make(chan []models.Event)
		var failed error // the reader's error; valid once pages is closed
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

// read sends the events of a session page by page.
func (s *Exports) read(ctx context.Context, session *models.Session, where *filter.Filter, eventType string, pages chan<- []models.Event) error {
	events := models.EventRange{EventType: eventType, After: session.ExpiredSeq}
	total, limit, window := int64(0), 64, firstWindow
	var memory [2]models.EventMemory // of the next page, and of the one that the caller handles
	for events.After < session.EventCount {
		events.UpTo = min(events.After+window, session.EventCount)
		var page []models.Event
		began := time.Now()
		err := s.reads.Page(ctx, func(ctx context.Context) (err error) {
			began = time.Now()
			page, err = s.transfers.ReadEvents(ctx, session.ID, where, events, limit, exportPageBytes, &memory[0])
			return err
		})
		if err != nil {
			return err
		}
		window = nextWindow(window, time.Since(began))
		size := 1
		for i := range page {
			size += len(page[i].Data) + len(page[i].DataRaw)
			if seq := page[i].Seq; seq > session.BackfilledSeq && seq <= session.BackfillUpTo {
				page[i] = wire.Lift(&page[i]).Event
			}
		}
		if len(page) < limit && size <= exportPageBytes { // the range has no more
			events.After = events.UpTo
		} else {
			events.After = page[len(page)-1].Seq
		}
		if len(page) == 0 {
			continue
		}
		// Ask for no more than fits: PostgreSQL sends everything that it is asked for.
		limit = min(max(exportPageBytes*len(page)/size, 16), exportPageEvents)
		total += int64(len(page))
		select {
		case pages <- page:
			memory[0], memory[1] = memory[1], memory[0]
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	now, err := s.sessions.Get(ctx, session.ID) // an error if the session was deleted
	switch want := session.EventCount - session.ExpiredSeq; {
	case err != nil:
		return err
	case where == nil && eventType == "" && total == want:
		return nil
	case now.ExpiredSeq > session.ExpiredSeq: // perhaps before they were read; selected events cannot be counted
		return models.Errorf(models.CodeConflict, "events of session %s expired during the export: export it again", session.ID)
	case where == nil && eventType == "":
		return models.Errorf(models.CodeConflict, "session %s had %d events, of which %d are there: it is being deleted", session.ID, want, total)
	}
	return nil
}

// An export reads at most a window of events at once, because a filter may select none of
// many. So each read is short, like the others beside it.
const (
	firstWindow = int64(10_000)
	minWindow   = int64(1000)
	maxWindow   = int64(1_000_000)
	windowTime  = 200 * time.Millisecond
)

// nextWindow returns the size of the window after one that took this long.
func nextWindow(window int64, took time.Duration) int64 {
	switch {
	case took < windowTime/2:
		return min(2*window, maxWindow)
	case took > windowTime:
		return max(window/2, minWindow)
	}
	return window
}

// bundlePage is the number of processes of one read.
const bundlePage = 500

// WriteBundle writes the session as a bundle, with its target file if withFile, and
// returns the number of events. It returns not_found if the session has no file to send.
func (s *Exports) WriteBundle(ctx context.Context, w io.Writer, session *models.Session, withFile bool) (events int64, err error) {
	found, err := s.transfers.ListFindings(ctx, session.ID)
	if err != nil {
		return 0, err
	}
	contents := bundle.Contents{
		Session: session, Findings: found, Events: s.Events(ctx, session, nil, ""), Processes: s.processes(ctx, session.ID),
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
	return bundle.Write(w, contents)
}

// processes returns a session's processes by pid and start. Those of an active session
// may include later events than its bundle.
func (s *Exports) processes(ctx context.Context, sessionID string) iter.Seq2[[]models.Process, error] {
	return func(yield func([]models.Process, error) bool) {
		var last *models.Process
		for {
			var page []models.Process
			err := s.reads.Page(ctx, func(ctx context.Context) (err error) {
				page, err = s.transfers.ReadProcesses(ctx, sessionID, last, bundlePage)
				return err
			})
			if err == nil && len(page) == 0 || !yield(page, err) || err != nil {
				return
			}
			last = &page[len(page)-1]
		}
	}
}

// All returns every event that is stored now, oldest first: of one session by Seq, or of
// all sessions by ID if sessionID is empty. It returns not_found if the session does not
// exist.
func (s *Exports) All(ctx context.Context, sessionID string) (Pages, error) {
	if sessionID == "" {
		after := uint64(0)
		upTo, err := s.events.LastID(ctx)
		return s.pages(ctx, func(ctx context.Context, limit int) ([]models.Event, error) {
			events, err := s.events.ListAll(ctx, after, upTo, limit)
			if len(events) > 0 {
				after = events[len(events)-1].ID
			}
			return events, err
		}), err
	}
	session, err := s.sessions.Get(ctx, sessionID)
	if err != nil {
		return nil, err
	}
	after := int64(0)
	return s.pages(ctx, func(ctx context.Context, limit int) ([]models.Event, error) {
		events, err := s.events.ListBySeq(ctx, sessionID, after, session.EventCount, limit)
		if len(events) > 0 {
			after = events[len(events)-1].Seq
		}
		return events, err
	}), nil
}

// pageBytes limits the event data in memory, about.
const pageBytes = 4 << 20

// pages iterates over the pages that next returns, until one is empty. The size of a
// page's events determines the number of events of the next page.
func (s *Exports) pages(ctx context.Context, next func(ctx context.Context, limit int) ([]models.Event, error)) Pages {
	return func(yield func([]models.Event, error) bool) {
		for limit := 16; ; {
			var events []models.Event
			err := s.reads.Page(ctx, func(ctx context.Context) (err error) {
				events, err = next(ctx, limit)
				return err
			})
			if err == nil && len(events) == 0 {
				return
			}
			if !yield(events, err) || err != nil {
				return
			}
			size := 1
			for i := range events {
				size += len(events[i].Data) + len(events[i].DataRaw)
			}
			limit = min(max(pageBytes*len(events)/size, 16), 1000)
		}
	}
}
