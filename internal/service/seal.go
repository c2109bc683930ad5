package service

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"time"

	"ospulse/internal/models"
)

// SealRepository moves events between rows and segments. internal/repository implements
// it and documents its contracts.
type SealRepository interface {
	ListToSeal(ctx context.Context, after *models.SessionCursor, limit int) ([]models.Session, error)
	StoredAt(ctx context.Context, sessionID string, seq int64) (at time.Time, isRow bool, err error)
	Seal(ctx context.Context, sessionID string, number, upTo int64) (stay string, err error)
	PassOver(ctx context.Context, sessionID string, upTo int64) error
	SetKeepRows(ctx context.Context, sessionID string, keep bool) error
	Unseal(ctx context.Context, sessionID string, number int64) error
	CheckSealed(ctx context.Context, sessionID string, number int64) (nextSession string, nextNumber int64, err error)
}

// Seals seals events that are old enough: it moves them from rows to compressed segments.
// Reads return the same events before and after. One backend at a time does so. It is
// safe for concurrent use.
type Seals struct {
	events   SealRepository
	sessions SessionFinder
	leases   LeaseRepository
	after    time.Duration
	clock    Clock
	log      *slog.Logger
	holder   string // of the lease

	// The sealed segment that Run checked last.
	checkedSession string
	checkedNumber  int64
	nextCheck      time.Time
}

// NewSeals returns the service over its repositories. Run seals events that were stored
// this long ago; none if after is negative.
func NewSeals(events SealRepository, sessions SessionFinder, leases LeaseRepository, after time.Duration, clock Clock, log *slog.Logger) *Seals {
	return &Seals{events: events, sessions: sessions, leases: leases, after: after, clock: clock, log: log, holder: rand.Text(), checkedNumber: -1}
}

const (
	sealLease = "seal"
	// If a backend is killed, others wait for this long.
	sealLeaseLasts = 30 * time.Second
	// maxSealInterval is the most time between two searches for events to seal.
	maxSealInterval = 10 * time.Second
	minSealInterval = 100 * time.Millisecond
	// sealRest is how long the worker rests after a segment, as a multiple of the time
	// that the segment took, so that incoming events and readers go on. The worker rests
	// lateSealRest if it is late by more than sealLate.
	sealRest     = 4
	lateSealRest = 1
	sealLate     = 10 * time.Minute
	// checkRest is how long the worker reads no other sealed segment, as a multiple of the
	// time that one took.
	checkRest = 20
)

// Run seals present and future events until ctx ends. It also reads the sealed segments
// one after the other, at most one in each interval, to find damage before a user needs
// them.
func (s *Seals) Run(ctx context.Context) {
	ticker := time.NewTicker(sealInterval(s.after))
	defer ticker.Stop()
	for {
		logRetried(ctx, s.log, "events cannot be sealed; it is tried again", s.work(ctx))
		s.check(ctx)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// sealInterval returns the time between two searches for events to seal.
func sealInterval(after time.Duration) time.Duration {
	if after < 0 {
		return maxSealInterval
	}
	return min(max(after/4, minSealInterval), maxSealInterval)
}

// check reads the next sealed segment, unless it read one a short time ago.
func (s *Seals) check(ctx context.Context) {
	began := time.Now()
	if began.Before(s.nextCheck) {
		return
	}
	defer func() { s.nextCheck = began.Add(checkRest * time.Since(began)) }()
	session, number, err := s.events.CheckSealed(ctx, s.checkedSession, s.checkedNumber)
	if err != nil && ctx.Err() == nil && models.ErrorCode(err) == models.CodeInternal {
		s.log.Error("a sealed segment is damaged", "error", err)
	}
	if s.checkedSession, s.checkedNumber = session, number; session == "" {
		s.checkedNumber = -1
	}
}

// work seals everything that is due. An error of one session does not keep it from the
// others.
func (s *Seals) work(ctx context.Context) error {
	if s.after < 0 {
		return nil
	}
	var failed []error
	for after := (*models.SessionCursor)(nil); ; {
		sessions, err := s.events.ListToSeal(ctx, after, 100)
		if err != nil || len(sessions) == 0 {
			return errors.Join(append(failed, err)...)
		}
		for i := range sessions {
			if taken, err := s.leases.Take(ctx, sealLease, s.holder, sealLeaseLasts); err != nil || !taken {
				return err
			}
			if err := s.session(ctx, &sessions[i], s.clock.now().Add(-s.after)); err != nil {
				failed = append(failed, err)
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
		last := &sessions[len(sessions)-1]
		after = &models.SessionCursor{CreatedAt: last.CreatedAt, ID: last.ID}
	}
}

// session seals the events of a session that were stored before a time, segment by
// segment. It seals an incomplete segment only if the session has ended or was never
// started. Events of a segment whose first events have expired stay rows.
func (s *Seals) session(ctx context.Context, session *models.Session, before time.Time) error {
	state := session.State()
	isLive := state == models.StateActive || state == models.StateStarting ||
		session.MonitoringEnded != nil && session.MonitoringEnded.After(before)
	session.SealedSeq = max(session.SealedSeq, firstSegment(session)*models.SegmentEvents)
	for session.SealedSeq < session.EventCount {
		number := session.SealedSeq / models.SegmentEvents
		upTo := min((number+1)*models.SegmentEvents, session.EventCount)
		if upTo%models.SegmentEvents != 0 && isLive {
			return nil
		}
		at, isRow, err := s.events.StoredAt(ctx, session.ID, upTo)
		if err != nil || isRow && !at.Before(before) {
			return err
		}
		rest := time.Duration(sealRest)
		if before.Sub(at) > sealLate {
			rest = lateSealRest
		}
		began := time.Now()
		if err := s.segment(ctx, session.ID, number, upTo); err != nil {
			return err
		}
		session.SealedSeq = upTo
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(rest * time.Since(began)):
		}
		if _, err := s.leases.Take(ctx, sealLease, s.holder, sealLeaseLasts); err != nil {
			return err
		}
	}
	return nil
}

// segment seals the events of a segment up to a Seq, or logs why it does not.
func (s *Seals) segment(ctx context.Context, sessionID string, number, upTo int64) error {
	stay, err := s.events.Seal(ctx, sessionID, number, upTo)
	if err != nil || stay == "" {
		return err
	}
	s.log.Warn("some events stay in the table", "session", sessionID, "after_seq", number*models.SegmentEvents, "up_to_seq", upTo, "reason", stay)
	return s.events.PassOver(ctx, sessionID, upTo)
}

// Seal seals all events of a session now, and lets Run seal its future events. progress
// is called after each segment.
func (s *Seals) Seal(ctx context.Context, sessionID string, progress func(upTo, total int64)) error {
	session, err := s.sessions.Get(ctx, sessionID)
	if err != nil {
		return err
	}
	if session.IsBackfilling() {
		return models.Errorf(models.CodeUnavailable, "session %s is not upgraded completely: try again later", sessionID)
	}
	if err := s.events.SetKeepRows(ctx, sessionID, false); err != nil {
		return err
	}
	for upTo := firstSegment(session) * models.SegmentEvents; upTo < session.EventCount; progress(upTo, session.EventCount) {
		number := upTo / models.SegmentEvents
		upTo = min((number+1)*models.SegmentEvents, session.EventCount)
		if err := untilAlone(ctx, func() error { return s.segment(ctx, sessionID, number, upTo) }); err != nil {
			return err
		}
	}
	return nil
}

// untilAlone calls fn again while it returns conflict, because a backend may seal the same
// segment, for a minute at most.
func untilAlone(ctx context.Context, fn func() error) error {
	for began := time.Now(); ; {
		err := fn()
		if models.ErrorCode(err) != models.CodeConflict || time.Since(began) > time.Minute {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Unseal moves all events of a session back to rows, where they stay.
func (s *Seals) Unseal(ctx context.Context, sessionID string, progress func(upTo, total int64)) error {
	session, err := s.sessions.Get(ctx, sessionID)
	if err != nil {
		return err
	}
	if err := s.events.SetKeepRows(ctx, sessionID, true); err != nil {
		return err
	}
	for upTo := int64(0); upTo < session.EventCount; progress(upTo, session.EventCount) {
		number := upTo / models.SegmentEvents
		if err := untilAlone(ctx, func() error { return s.events.Unseal(ctx, sessionID, number) }); err != nil {
			return err
		}
		upTo = min((number+1)*models.SegmentEvents, session.EventCount)
	}
	return nil
}
