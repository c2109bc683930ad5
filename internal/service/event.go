package service

import (
	"context"
	"errors"
	"iter"
	"slices"
	"time"

	"ospulse/internal/filter"
	"ospulse/internal/models"
	"ospulse/internal/plant"
)

// EventRepository stores events. internal/repository implements it and documents its
// contracts.
type EventRepository interface {
	Append(ctx context.Context, group models.Group) ([]models.Receipt, error)
	Try(ctx context.Context, group models.Group) error
	LastStored(ctx context.Context, writer string) (int64, error)
	Time(local time.Time) time.Time
	ClaimUnsent(ctx context.Context, sessionID string, filter models.EventFilter) ([]int64, error)
	Unclaim(ctx context.Context, sessionID string, seqs []int64) error
	List(ctx context.Context, sessionID string, where *filter.Filter, page models.EventPage) ([]models.Event, error)
	ListWhole(ctx context.Context, sessionID string, where *filter.Filter, page models.EventPage, maxBytes int) (events []models.Event, isCut bool, err error)
	Count(ctx context.Context, sessionID string, where *filter.Filter, part models.EventPage) (int64, error)
	Get(ctx context.Context, sessionID string, seq int64) (*models.Event, error)
	ListSeqs(ctx context.Context, sessionID string, seqs []int64) ([]models.Event, error)
}

// SegmentLister lists the times of a session's segments. *repository.Segments implements
// it.
type SegmentLister interface {
	ListTimes(ctx context.Context, sessionID string) ([]models.Segment, error)
}

// SessionFinder finds sessions.
type SessionFinder interface {
	Get(ctx context.Context, id string) (*models.Session, error)
}

// Events stores and lists events. It is safe for concurrent use.
type Events struct {
	events   EventRepository
	segments SegmentLister
	sessions SessionFinder
	clock    Clock
	polls    keyedLock // by session
}

// NewEvents returns the service over its repositories.
func NewEvents(events EventRepository, segments SegmentLister, sessions SessionFinder, clock Clock) *Events {
	return &Events{events: events, segments: segments, sessions: sessions, clock: clock}
}

// Append chooses each event's session and commits the batches of a group, all or none. It
// returns a receipt for each batch. It does not store a batch again whose key was stored
// before.
func (s *Events) Append(ctx context.Context, group models.Group) ([]models.Receipt, error) {
	for attempt := 1; ; attempt++ {
		receipts, err := s.events.Append(ctx, group)
		if models.ErrorCode(err) != models.CodeNotFound || attempt == maxAttributions {
			return receipts, err
		}
		// A session was deleted after it had been chosen: choose again.
	}
}

// Try does what Append does, and then undoes it. It leaves the chosen SessionID in each
// event.
func (s *Events) Try(ctx context.Context, group models.Group) error {
	return s.events.Try(ctx, group)
}

// maxAttributions limits how often Append chooses sessions for a group, one of which is
// deleted each time.
const maxAttributions = 10

// LastStored returns the number of the writer's last stored batch; 0 if there is none.
func (s *Events) LastStored(ctx context.Context, writer string) (int64, error) {
	return s.events.LastStored(ctx, writer)
}

// Time converts a time of this program to the clock of the database.
func (s *Events) Time(local time.Time) time.Time { return s.events.Time(local) }

// List returns a page of a session's events that a filter selects, in the form of lists,
// and whether there are more.
func (s *Events) List(ctx context.Context, sessionID string, where *filter.Filter, page models.EventPage) (events []models.Event, more bool, err error) {
	return s.list(ctx, sessionID, where, page, func(part models.EventPage) ([]models.Event, bool, error) {
		events, err := s.events.List(ctx, sessionID, where, part)
		return events, false, err
	})
}

// wholePageBytes limits the data of the events of a page, about.
const wholePageBytes = 8 << 20

// ListWhole returns a page like List, of events with their whole data. The page may be
// shorter than its limit although there are more events, if their data is large.
func (s *Events) ListWhole(ctx context.Context, sessionID string, where *filter.Filter, page models.EventPage) (events []models.Event, more bool, err error) {
	size := 0
	return s.list(ctx, sessionID, where, page, func(part models.EventPage) ([]models.Event, bool, error) {
		events, isCut, err := s.events.ListWhole(ctx, sessionID, where, part, max(wholePageBytes-size, 1))
		for i := range events {
			size += len(events[i].Data) + len(events[i].DataRaw)
		}
		return events, isCut, err
	})
}

// list assembles a page from what read returns for each part, up to a part that is cut or
// to damaged events.
func (s *Events) list(ctx context.Context, sessionID string, where *filter.Filter, page models.EventPage,
	read func(part models.EventPage) (events []models.Event, isCut bool, err error)) (events []models.Event, more bool, err error) {
	if _, err := s.sessions.Get(ctx, sessionID); err != nil {
		return nil, false, err
	}
	parts, err := s.parts(ctx, sessionID, where)
	if err != nil {
		return nil, false, err
	}
	if page.Descending {
		slices.Reverse(parts)
	}
	limit := page.Limit + 1 // one more shows whether there are more
	for _, part := range parts {
		part = within(part, page)
		if part.Limit = limit - len(events); part.Limit == 0 {
			break
		}
		if part.Before > 0 && part.After >= part.Before-1 {
			continue
		}
		some, isCut, err := read(part)
		events = append(events, some...)
		if errors.Is(err, models.ErrDamaged) && len(events) > 0 {
			return events, true, nil // the next page begins at the damage, and reports it
		}
		if err != nil {
			return nil, false, err
		}
		if isCut {
			return events, true, nil
		}
	}
	if len(events) == limit {
		return events[:page.Limit], true, nil
	}
	return events, false, nil
}

// Count returns the number of a session's events that a filter selects.
func (s *Events) Count(ctx context.Context, sessionID string, where *filter.Filter) (int64, error) {
	session, err := s.sessions.Get(ctx, sessionID)
	if err != nil {
		return 0, err
	}
	if where == nil {
		if plant.Is("count from a cache") {
			session.EventCount--
		}
		return session.EventCount - session.ExpiredSeq, nil
	}
	parts, err := s.parts(ctx, sessionID, where)
	if err != nil {
		return 0, err
	}
	total := int64(0)
	for _, part := range parts {
		n, err := s.events.Count(ctx, sessionID, where, part)
		if err != nil {
			return 0, err
		}
		total += n
	}
	return total, nil
}

// parts returns the parts of a session, in the order of Seq, that contain all events
// which the filter may select by their time. Segments know the times of their events.
// Events without a segment always form a part.
func (s *Events) parts(ctx context.Context, sessionID string, where *filter.Filter) ([]models.EventPage, error) {
	span := where.Span()
	if span == (models.Span{}) {
		return []models.EventPage{{}}, nil
	}
	segments, err := s.segments.ListTimes(ctx, sessionID)
	if err != nil {
		return nil, err
	}
	var parts []models.EventPage
	done := int64(0) // everything up to this Seq is in parts, or not selected
	for i := range segments {
		segment := &segments[i]
		if !span.From.IsZero() && segment.LastTime.Before(span.From) || !span.To.IsZero() && segment.FirstTime.After(span.To) {
			if segment.FirstSeq() > done+1 {
				parts = append(parts, models.EventPage{After: done, Before: segment.FirstSeq()})
			}
			done = segment.LastSeq()
		}
	}
	parts = append(parts, models.EventPage{After: done})
	if len(parts) > maxParts { // the times are out of order
		parts = []models.EventPage{{After: parts[0].After}}
	}
	return parts, nil
}

// maxParts limits the number of queries of one list.
const maxParts = 16

// within narrows a part to the bounds of a page.
func within(part, page models.EventPage) models.EventPage {
	part.Descending = page.Descending
	part.After = max(part.After, page.After)
	if part.Before == 0 || page.Before > 0 && page.Before < part.Before {
		part.Before = page.Before
	}
	return part
}

// Get returns one event of a session with its whole data.
func (s *Events) Get(ctx context.Context, sessionID string, seq int64) (*models.Event, error) {
	if _, err := s.sessions.Get(ctx, sessionID); err != nil {
		return nil, err
	}
	return s.events.Get(ctx, sessionID, seq)
}

// ExpiredSeq returns the Seq up to which a session's events have expired.
func (s *Events) ExpiredSeq(ctx context.Context, sessionID string) (int64, error) {
	session, err := s.sessions.Get(ctx, sessionID)
	if err != nil {
		return 0, err
	}
	return session.ExpiredSeq, nil
}

// claimTimeout limits the database work of a claim. The work continues when the poller
// disconnects, because a half-made claim could not be undone.
const claimTimeout = 15 * time.Second

// Pages is a sequence of events that is read during the iteration. It ends after the
// first error.
type Pages = iter.Seq2[[]models.Event, error]

// ClaimUnsent marks the session's newest unsent events as sent and passes them to
// deliver, newest first. Each event goes to one caller only. If deliver fails or ctx has
// ended by then, ClaimUnsent marks all of them as unsent again.
func (s *Events) ClaimUnsent(ctx context.Context, sessionID string, filter models.EventFilter, deliver func(Pages) error) error {
	if _, err := s.sessions.Get(ctx, sessionID); err != nil {
		return err
	}
	claiming, cancel := context.WithTimeout(context.WithoutCancel(ctx), claimTimeout)
	defer cancel()
	seqs, err := s.claim(claiming, sessionID, filter)
	if err == nil {
		err = deliver(s.claimedPages(ctx, sessionID, seqs))
	}
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		return nil
	}
	unclaiming, cancel := context.WithTimeout(context.WithoutCancel(ctx), claimTimeout)
	defer cancel()
	return errors.Join(err, s.events.Unclaim(unclaiming, sessionID, seqs))
}

// claim lets the polls of a session take turns. Those of other backends are few.
func (s *Events) claim(ctx context.Context, sessionID string, filter models.EventFilter) ([]int64, error) {
	unlock, err := s.polls.lock(ctx, sessionID)
	if err != nil {
		return nil, models.Wrap(err, models.CodeUnavailable, "other polls of this session take too long")
	}
	defer unlock()
	return s.events.ClaimUnsent(ctx, sessionID, filter)
}

// claimedPages reads claimed events a few at a time.
func (s *Events) claimedPages(ctx context.Context, sessionID string, seqs []int64) Pages {
	return func(yield func([]models.Event, error) bool) {
		for some := range slices.Chunk(seqs, 50) {
			if events, err := s.events.ListSeqs(ctx, sessionID, some); !yield(events, err) || err != nil {
				return
			}
		}
	}
}
