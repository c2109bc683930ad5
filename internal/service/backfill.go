package service

import (
	"context"
	"crypto/rand"
	"log/slog"
	"time"

	"ospulse/internal/filter"
	"ospulse/internal/models"
	"ospulse/internal/wire"
)

// BackfillRepository stores the results of the backfill. internal/repository implements
// it and documents its contracts.
type BackfillRepository interface {
	Left(ctx context.Context) (models.BackfillLeft, error)
	Next(ctx context.Context) (*models.Session, error)
	Add(ctx context.Context, session *models.Session, upTo int64, stored []models.Event, found []models.Incoming) error
}

// EventReader reads a session's events in the order of Seq. internal/repository
// implements it and documents its contracts.
type EventReader interface {
	ReadEvents(ctx context.Context, sessionID string, where *filter.Filter, events models.EventRange, limit, maxBytes int, memory *models.EventMemory) ([]models.Event, error)
}

// SessionSummer counts the events of a session and stores the counts. *Summaries
// implements it.
type SessionSummer interface {
	Summary(ctx context.Context, session *models.Session) (models.SessionSummary, error)
}

// Backfill reads the events that the existing backend, or a version that did not store
// processes, has stored. It fills in their search columns, processes and counts. One
// backend at a time does so. It is safe for concurrent use.
type Backfill struct {
	backfills BackfillRepository
	events    EventReader
	leases    LeaseRepository
	summer    SessionSummer
	log       *slog.Logger
	holder    string // of the lease
}

// NewBackfill returns the service over its repositories. The caller must call Run to
// start the work.
func NewBackfill(backfills BackfillRepository, events EventReader, leases LeaseRepository, summer SessionSummer, log *slog.Logger) *Backfill {
	return &Backfill{backfills, events, leases, summer, log, rand.Text()}
}

const (
	backfillLease = "backfill"
	// If a backend is killed, others wait for this long.
	backfillLeaseLasts = 5 * time.Second
	backfillLeaseRenew = time.Second
	// backfillRetry is the wait before another attempt, after an error or while another
	// backend does the work.
	backfillRetry = 2 * time.Second
	// backfillReport is the time between two progress lines in the log.
	backfillReport = 5 * time.Second
	// The number of events of a step. It changes so that a step takes about
	// backfillStepTime, because new events of the session wait for the step.
	firstBackfillStep = 100
	maxBackfillStep   = 5000
	backfillStepBytes = 4 << 20
	backfillStepTime  = 250 * time.Millisecond
)

// Left counts the sessions and events that the backfill has not finished.
func (s *Backfill) Left(ctx context.Context) (models.BackfillLeft, error) {
	return s.backfills.Left(ctx)
}

// Run does all work that is left. It returns when none is left or when ctx ends.
func (s *Backfill) Run(ctx context.Context) {
	for {
		err := s.work(ctx)
		if err == nil || ctx.Err() != nil {
			return
		}
		if models.ErrorCode(err) != models.CodeConflict { // another backend does the work, or the session is being deleted
			s.log.Warn("the backfill of old events failed and will be tried again", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(backfillRetry):
		}
	}
}

// backfilling is the state of one pass of the work.
type backfilling struct {
	began, reported, leased time.Time
	total                   models.BackfillLeft // left when the pass began
	step                    int
}

// work backfills all sessions. It returns conflict if another backend does so already.
func (s *Backfill) work(ctx context.Context) error {
	left, err := s.backfills.Left(ctx)
	if err != nil || left.Sessions == 0 {
		return err
	}
	w := &backfilling{began: time.Now(), reported: time.Now(), total: left, step: firstBackfillStep}
	if err := s.lease(ctx, w); err != nil {
		return err
	}
	defer func() {
		releasing, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaseCall)
		defer cancel()
		if err := s.leases.Release(releasing, backfillLease, s.holder); err != nil {
			s.log.Debug("the lease of the backfill could not be released; it ends by itself", "error", err)
		}
	}()
	s.log.Info("filling search columns and processes of old events in the background", "sessions", left.Sessions, "events", left.Events)
	for {
		session, err := s.backfills.Next(ctx)
		switch {
		case models.ErrorCode(err) == models.CodeNotFound:
			s.log.Info("search columns and processes of old events are filled", "sessions", left.Sessions, "events", left.Events, "took", time.Since(w.began).Round(time.Millisecond).String())
			return nil
		case err != nil:
			return err
		}
		if err := s.fill(ctx, w, session); err != nil {
			return err
		}
	}
}

// lease takes or renews the lease of the backfill, or returns conflict if another
// backend has it.
func (s *Backfill) lease(ctx context.Context, w *backfilling) error {
	if time.Since(w.leased) < backfillLeaseRenew {
		return nil
	}
	taken, err := s.leases.Take(ctx, backfillLease, s.holder, backfillLeaseLasts)
	if err == nil && !taken {
		err = models.Errorf(models.CodeConflict, "another backend backfills old events")
	}
	w.leased = time.Now()
	return err
}

// fill backfills a session. It reads and parses the next events while it stores the ones
// before.
func (s *Backfill) fill(ctx context.Context, w *backfilling, session *models.Session) error {
	ctx, cancel := context.WithCancel(ctx)
	next := s.ahead(ctx, session, session.BackfilledSeq, w.step)
	defer func() {
		cancel()
		if next != nil {
			<-next
		}
	}()
	for session.IsBackfilling() {
		if err := s.lease(ctx, w); err != nil {
			return err
		}
		s.report(ctx, w)
		some := <-next
		next = nil
		if some.err != nil {
			return some.err
		}
		if some.upTo < session.BackfillUpTo {
			next = s.ahead(ctx, session, some.upTo, w.step)
		}
		began := time.Now()
		if err := s.backfills.Add(ctx, session, some.upTo, some.stored, some.found); err != nil {
			return err
		}
		session.BackfilledSeq = some.upTo
		if took := time.Since(began); took < backfillStepTime/2 {
			w.step = min(2*w.step, maxBackfillStep)
		} else if took > backfillStepTime {
			w.step = max(w.step/2, firstBackfillStep)
		}
	}
	if _, err := s.summer.Summary(ctx, session); err != nil && ctx.Err() == nil {
		s.log.Debug("the counts of a session could not be stored; the next request for them stores them", "session", session.ID, "error", err)
	}
	return ctx.Err()
}

// lookedAt holds some events, and what was found in them.
type lookedAt struct {
	stored []models.Event
	found  []models.Incoming
	upTo   int64
	err    error
}

// ahead reads up to limit events that follow the seq after, and sends them once with
// what it found in them.
func (s *Backfill) ahead(ctx context.Context, session *models.Session, after int64, limit int) <-chan lookedAt {
	done := make(chan lookedAt, 1)
	id, upTo := session.ID, session.BackfillUpTo
	go func() {
		some := lookedAt{upTo: upTo} // the last seq of the session, if events are missing
		some.stored, some.err = s.events.ReadEvents(ctx, id, nil, models.EventRange{After: after, UpTo: upTo}, limit, backfillStepBytes, nil)
		if n := len(some.stored); n > 0 {
			some.upTo = some.stored[n-1].Seq
		}
		some.found = make([]models.Incoming, len(some.stored))
		for i := range some.stored {
			some.found[i] = wire.Lift(&some.stored[i])
		}
		done <- some
	}()
	return done
}

// report logs from time to time how much is left.
func (s *Backfill) report(ctx context.Context, w *backfilling) {
	if time.Since(w.reported) < backfillReport {
		return
	}
	w.reported = time.Now()
	if left, err := s.backfills.Left(ctx); err == nil {
		done := max(w.total.Events-left.Events, 0)
		s.log.Info("filling old events", "sessions_left", left.Sessions, "events", done, "total", w.total.Events, "percent", 100*done/max(w.total.Events, 1))
	}
}
