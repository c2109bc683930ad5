package service

import (
	"context"
	"errors"
	"iter"
	"maps"
	"slices"
	"time"

	"ospulse/internal/models"
)

// startGrace is how long a session whose agent was asked to start, and has not
// answered, already gets events. A start that takes longer has failed.
const startGrace = time.Minute

// EventRepository keeps events; internal/repository implements it and documents
// its contracts.
type EventRepository interface {
	Append(ctx context.Context, batches []models.Batch) ([]models.Receipt, error)
	ClaimUnsent(ctx context.Context, sessionID string, filter models.EventFilter) ([]uint64, error)
	Unclaim(ctx context.Context, ids []uint64) error
	ListByID(ctx context.Context, ids []uint64) ([]models.Event, error)
	ListBySeq(ctx context.Context, sessionID string, after, upTo int64, limit int) ([]models.Event, error)
	ListAll(ctx context.Context, after, upTo uint64, limit int) ([]models.Event, error)
	LastID(ctx context.Context) (uint64, error)
}

// SessionFinder finds the sessions that events may belong to.
type SessionFinder interface {
	Get(ctx context.Context, id string) (*models.Session, error)
	ListExisting(ctx context.Context, ids []string) ([]string, error)
	GetLiveID(ctx context.Context, agentID string, startingAfter time.Time) (string, error)
	GetLastEnded(ctx context.Context, agentID string) (*models.Session, error)
}

// Events takes events in and gives them out. It is safe for concurrent use.
type Events struct {
	events   EventRepository
	sessions SessionFinder
	clock    Clock
}

// NewEvents gives the service over its repositories.
func NewEvents(events EventRepository, sessions SessionFinder, clock Clock) *Events {
	return &Events{events, sessions, clock}
}

// Append finds each event's session and stores the batches, all or none; when it
// returns they are committed. It gives a receipt for each batch. A batch whose
// key was seen before is not stored again.
func (s *Events) Append(ctx context.Context, batches []models.Batch) ([]models.Receipt, error) {
	if err := s.attribute(ctx, batches); err != nil {
		return nil, err
	}
	return s.events.Append(ctx, batches)
}

// attribute sets the SessionID of each event: the session that it names, if
// there is one; else the session that its agent works for, since agents name
// sessions of their own or none; else the last one that ended, when the event
// happened in its time; else the session that takes everything.
func (s *Events) attribute(ctx context.Context, batches []models.Batch) error {
	known, err := s.knownSessions(ctx, batches)
	if err != nil {
		return err
	}
	var fallback func(*models.Event) string
	for in := range incoming(batches) {
		switch {
		case known[in.RequestHint]:
			in.SessionID = in.RequestHint
		case known[in.SessionHint]:
			in.SessionID = in.SessionHint
		default:
			if fallback == nil {
				if fallback, err = s.sessionOfAgent(ctx, models.DefaultAgentID); err != nil {
					return err
				}
			}
			in.SessionID = fallback(&in.Event)
		}
	}
	return nil
}

// incoming walks over the events of batches.
func incoming(batches []models.Batch) iter.Seq[*models.Incoming] {
	return func(yield func(*models.Incoming) bool) {
		for _, batch := range batches {
			for i := range batch.Events {
				if !yield(&batch.Events[i]) {
					return
				}
			}
		}
	}
}

// knownSessions gives those of the hints that name a session.
func (s *Events) knownSessions(ctx context.Context, batches []models.Batch) (map[string]bool, error) {
	hints := map[string]bool{}
	for in := range incoming(batches) {
		for _, hint := range []string{in.RequestHint, in.SessionHint} {
			if models.ValidID(hint) {
				hints[hint] = true
			}
		}
	}
	known := map[string]bool{}
	if len(hints) == 0 {
		return known, nil
	}
	found, err := s.sessions.ListExisting(ctx, slices.Collect(maps.Keys(hints)))
	for _, id := range found {
		known[id] = true
	}
	return known, err
}

// sessionOfAgent gives the rule for an agent's events that name no session.
func (s *Events) sessionOfAgent(ctx context.Context, agentID string) (func(*models.Event) string, error) {
	live, err := s.sessions.GetLiveID(ctx, agentID, s.clock.now().Add(-startGrace))
	if err == nil {
		return func(*models.Event) string { return live }, nil
	}
	if models.ErrorCode(err) != models.CodeNotFound {
		return nil, err
	}
	ended, err := s.sessions.GetLastEnded(ctx, agentID)
	if models.ErrorCode(err) == models.CodeNotFound {
		return func(*models.Event) string { return models.UnassignedID }, nil
	}
	if err != nil {
		return nil, err
	}
	return func(e *models.Event) string {
		if e.TimestampSource == models.TimestampFromAgent && ended.MonitoringStarted != nil &&
			!e.Timestamp.Before(*ended.MonitoringStarted) && !e.Timestamp.After(*ended.MonitoringEnded) {
			return ended.ID
		}
		return models.UnassignedID
	}, nil
}

// claimTimeout bounds the database work of a claim, which goes on when the
// poller has gone: a claim that is half made could not be taken back.
const claimTimeout = 15 * time.Second

// Pages is a sequence of events that is read while it is walked over; it ends
// after the first error.
type Pages = iter.Seq2[[]models.Event, error]

// ClaimUnsent marks the session's newest unsent events as sent and hands them to
// deliver, newest first. Each event goes to one caller only. If deliver fails or
// ctx has ended by then, all of them are unsent again.
func (s *Events) ClaimUnsent(ctx context.Context, sessionID string, filter models.EventFilter, deliver func(Pages) error) error {
	if _, err := s.sessions.Get(ctx, sessionID); err != nil {
		return err
	}
	claiming, cancel := context.WithTimeout(context.WithoutCancel(ctx), claimTimeout)
	defer cancel()
	ids, err := s.events.ClaimUnsent(claiming, sessionID, filter)
	if err != nil {
		return err
	}
	if err = deliver(s.claimedPages(ctx, ids)); err == nil {
		err = ctx.Err()
	}
	if err == nil {
		return nil
	}
	unclaiming, cancel := context.WithTimeout(context.WithoutCancel(ctx), claimTimeout)
	defer cancel()
	return errors.Join(err, s.events.Unclaim(unclaiming, ids))
}

// claimedPages reads claimed events a few at a time.
func (s *Events) claimedPages(ctx context.Context, ids []uint64) Pages {
	return func(yield func([]models.Event, error) bool) {
		for some := range slices.Chunk(ids, 50) {
			if events, err := s.events.ListByID(ctx, some); !yield(events, err) || err != nil {
				return
			}
		}
	}
}

// Export gives every event that is stored now, oldest first: of one session by
// Seq or, when sessionID is empty, of all by ID. A session that does not exist
// is not_found.
func (s *Events) Export(ctx context.Context, sessionID string) (Pages, error) {
	if sessionID == "" {
		after := uint64(0)
		upTo, err := s.events.LastID(ctx)
		return pages(func(limit int) ([]models.Event, error) {
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
	return pages(func(limit int) ([]models.Event, error) {
		events, err := s.events.ListBySeq(ctx, sessionID, after, session.EventCount, limit)
		if len(events) > 0 {
			after = events[len(events)-1].Seq
		}
		return events, err
	}), nil
}

// pageBytes is about how much event data a walk over all events has in memory.
const pageBytes = 4 << 20

// pages walks over what next gives until it gives nothing. The size of the
// events of one page decides how many go into the following one.
func pages(next func(limit int) ([]models.Event, error)) Pages {
	return func(yield func([]models.Event, error) bool) {
		for limit := 16; ; {
			events, err := next(limit)
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
