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

// BackfillRepository keeps what was found of old events; internal/repository implements
// it and documents its contracts.
type BackfillRepository interface {
	Left(ctx context.Context) (models.BackfillLeft, error)
	Next(ctx context.Context) (*models.Session, error)
	Add(ctx context.Context, session *models.Session, upTo int64, stored []models.Event, found []models.Incoming) error
}

// EventReader reads a session's events in the order of Seq; internal/repository
// implements it and documents its contracts.
type EventReader interface {
	ReadEvents(ctx context.Context, sessionID string, where *filter.Filter, events models.EventRange, limit, maxBytes int) ([]models.Event, error)
}

// SessionSummer sums a session up, and keeps the sums; *Summaries is one.
type SessionSummer interface {
	Summary(ctx context.Context, session *models.Session) (models.SessionSummary, error)
}

// Backfill looks at the events of sessions that were stored by the existing backend, or
// by a version that did not note processes: it fills their search columns, processes and
// counts. One backend at a time does so. It is safe for concurrent use.
type Backfill struct {
	backfills BackfillRepository
	events    EventReader
	leases    LeaseRepository
	summer    SessionSummer
	log       *slog.Logger
	holder    string // of the lease
}

// NewBackfill gives the service over its repositories. Run must run for events to be
// looked at.
func NewBackfill(backfills BackfillRepository, events EventReader, leases LeaseRepository, summer SessionSummer, log *slog.Logger) *Backfill {
	return &Backfill{backfills, events, leases, summer, log, rand.Text()}
}

const (
	backfillLease = "backfill"
	// A backend that is killed holds the others up for backfillLeaseLasts.
	backfillLeaseLasts = 5 * time.Second
	backfillLeaseRenew = time.Second
	// backfillRetry is the time until it is tried again, when another backend works or
	// the database is away.
	backfillRetry = 2 * time.Second
	// backfillReport is the time between two lines of the log that tell what is left.
	backfillReport = 5 * time.Second
	// What one step looks at: as much as takes about backfillStepTime, as events that come
	// in for the session wait that long.
	firstBackfillStep = 100
	maxBackfillStep   = 5000
	backfillStepBytes = 4 << 20
	backfillStepTime  = 250 * time.Millisecond
)

// Left gives how much is still to be looked at.
func (s *Backfill) Left(ctx context.Context) (models.BackfillLeft, error) {
	return s.backfills.Left(ctx)
}

// Run looks at all events that are to be looked at. It returns when there is none left,
// or when ctx ends.
func (s *Backfill) Run(ctx context.Context) {
	for {
		err := s.work(ctx)
		if err == nil || ctx.Err() != nil {
			return
		}
		if models.ErrorCode(err) != models.CodeConflict { // another backend works, or the session is being deleted
			s.log.Warn("old events could not be looked at; it is tried again", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(backfillRetry):
		}
	}
}

// backfilling is what Run remembers of its work.
type backfilling struct {
	began, reported, leased time.Time
	total                   models.BackfillLeft // when it began
	step                    int
}

// work looks at all events. It is a conflict if another backend is at it.
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
			s.log.Debug("the lease on old events could not be released; it ends by itself", "error", err)
		}
	}()
	s.log.Info("filling search columns and processes of old events, in the background", "sessions", left.Sessions, "events", left.Events)
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

// lease sees that no other backend works.
func (s *Backfill) lease(ctx context.Context, w *backfilling) error {
	if time.Since(w.leased) < backfillLeaseRenew {
		return nil
	}
	taken, err := s.leases.Take(ctx, backfillLease, s.holder, backfillLeaseLasts)
	if err == nil && !taken {
		err = models.Errorf(models.CodeConflict, "another backend looks at old events")
	}
	w.leased = time.Now()
	return err
}

// fill looks at the events of a session. It reads and lifts the next ones while some are
// stored.
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
		s.log.Debug("the counts of a session are not kept yet; they are when somebody asks for them", "session", session.ID, "error", err)
	}
	return ctx.Err()
}

// lookedAt is what was found of some events.
type lookedAt struct {
	stored []models.Event
	found  []models.Incoming
	upTo   int64
	err    error
}

// ahead looks at some of the events that follow a Seq, and sends what it finds, once.
func (s *Backfill) ahead(ctx context.Context, session *models.Session, after int64, limit int) <-chan lookedAt {
	done := make(chan lookedAt, 1)
	id, upTo := session.ID, session.BackfillUpTo
	go func() {
		some := lookedAt{upTo: upTo} // all, if events are missing
		some.stored, some.err = s.events.ReadEvents(ctx, id, nil, models.EventRange{After: after, UpTo: upTo}, limit, backfillStepBytes)
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

// report tells now and then how much is left.
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
