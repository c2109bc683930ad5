package service

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"ospulse/internal/analysis"
	"ospulse/internal/filter"
	"ospulse/internal/models"
	"ospulse/internal/process"
	"ospulse/internal/segment"
)

// SegmentRepository stores segments and reads the events that they are built from.
// internal/repository implements it and documents its contracts.
type SegmentRepository interface {
	SessionsToSegment(ctx context.Context) ([]models.Session, error)
	Numbers(ctx context.Context, sessionID string) ([]int64, error)
	ListTimes(ctx context.Context, sessionID string) ([]models.Segment, error)
	Create(ctx context.Context, segments []models.Segment) error
	Each(ctx context.Context, sessionID string, span models.Span, fn func(*models.Segment) error) error
	EachHot(ctx context.Context, sessionID string, where *filter.Filter, after, upTo int64, span models.Span, fn func(*models.Event)) error
}

// SpanFinder returns the times of a session's first and last event; nil if it has none.
type SpanFinder interface {
	Span(ctx context.Context, sessionID string) (first, last *time.Time, err error)
}

// Analysis counts the events of a session. It uses segments where they exist, and the
// events elsewhere; the result is the same.
type Analysis struct {
	segments SegmentRepository
	spans    SpanFinder
	sessions SessionFinder
	log      *slog.Logger
	*arrivals
}

// NewAnalysis returns the service over its repositories.
func NewAnalysis(segments SegmentRepository, spans SpanFinder, sessions SessionFinder, log *slog.Logger) *Analysis {
	return &Analysis{segments, spans, sessions, log, newArrivals()}
}

// MaxBuckets is the maximum number of buckets of a histogram.
const MaxBuckets = 1000

// Histogram counts by type the events of a session that a filter selects, in at most
// buckets buckets. A zero end of the span stands for the session's first or last event,
// or for the creation of a session without events. A session without events and a span
// whose end is before its start have no bucket.
func (a *Analysis) Histogram(ctx context.Context, sessionID string, where *filter.Filter, span models.Span, buckets int) (*analysis.Histogram, error) {
	session, err := a.sessions.Get(ctx, sessionID)
	if err != nil {
		return nil, err
	}
	isEmpty := false
	if span.From.IsZero() || span.To.IsZero() {
		first, last, err := a.spans.Span(ctx, sessionID)
		if err != nil {
			return nil, err
		}
		isEmpty = first == nil || last == nil
		if isEmpty {
			first, last = &session.CreatedAt, &session.CreatedAt
		}
		if span.From.IsZero() {
			span.From = *first
		}
		if span.To.IsZero() {
			span.To = *last
		}
	}
	if isEmpty || span.To.UnixMicro() < span.From.UnixMicro() {
		return &analysis.Histogram{Span: span, WidthMicros: 1, UpTo: session.EventCount}, nil
	}
	h := analysis.NewHistogram(span, buckets)
	h.UpTo = session.EventCount
	return h, a.each(ctx, session, where, span, h.Add)
}

// Facet counts the limit most frequent values of a field, one of FacetFields, in the
// events of a session that a filter selects.
func (a *Analysis) Facet(ctx context.Context, sessionID, field string, where *filter.Filter, limit int) (*analysis.Facet, error) {
	session, err := a.sessions.Get(ctx, sessionID)
	if err != nil {
		return nil, err
	}
	f := analysis.NewFacet(field)
	if err := a.each(ctx, session, where, models.Span{}, f.Add); err != nil {
		return nil, err
	}
	f.Close(limit)
	return f, nil
}

// CountProcesses counts, by the processes of a family, the events of a session that a
// filter selects, up to the family's UpTo.
func (a *Analysis) CountProcesses(ctx context.Context, sessionID string, where *filter.Filter, family *process.Family) (*process.Counts, error) {
	session, err := a.sessions.Get(ctx, sessionID)
	if err != nil {
		return nil, err
	}
	session.EventCount = min(session.EventCount, family.UpTo)
	counts := process.NewCounts(family)
	return counts, a.each(ctx, session, where, models.Span{}, func(c *segment.Columns, selected func(int) bool) {
		for i, micros := range c.Micros {
			pid := c.PID.Values[c.PID.Index[i]]
			if pid == nil || !selected(i) {
				continue
			}
			name := ""
			if p := c.Process.Values[c.Process.Index[i]]; p != nil {
				name = *p
			}
			counts.Add(*c.Type.Values[c.Type.Index[i]], *pid, name, time.UnixMicro(micros))
		}
	})
}

// countFunc counts the selected events of some columns.
type countFunc func(c *segment.Columns, selected func(int) bool)

func all(int) bool { return true }

// each calls count with the hot fields of the session's events, in no order. Columns may
// contain events outside of the span, which count must ignore. selected reports whether
// the filter selects an event.
func (a *Analysis) each(ctx context.Context, session *models.Session, where *filter.Filter, span models.Span, count countFunc) error {
	rows := func(after, upTo int64) error {
		if after >= upTo {
			return nil
		}
		c := &segment.Columns{}
		err := a.segments.EachHot(ctx, session.ID, where, after, upTo, span, func(e *models.Event) {
			if c.Append(e); c.Len() == models.SegmentEvents {
				count(c, all)
				c = &segment.Columns{}
			}
		})
		if c.Len() > 0 {
			count(c, all)
		}
		return err
	}
	if where.NeedsData() { // segments have no data
		return rows(0, session.EventCount)
	}
	segments, err := a.segments.ListTimes(ctx, session.ID)
	if err != nil {
		return err
	}
	// Ignore segments that were built after the session was read.
	segments = slices.DeleteFunc(segments, func(s models.Segment) bool { return s.LastSeq() > session.EventCount })
	counted := map[int64]bool{}
	err = a.segments.Each(ctx, session.ID, span, func(s *models.Segment) error {
		place, listed := slices.BinarySearchFunc(segments, s.Number, func(s models.Segment, number int64) int { return cmp.Compare(s.Number, number) })
		if !listed || segments[place].EventCount != s.EventCount {
			return nil
		}
		c, err := segment.DecodeColumns(s.Columns)
		if err != nil {
			a.log.Warn("a segment is damaged; its events are read instead", "session", session.ID, "number", s.Number, "error", err)
			return nil
		}
		counted[s.Number] = true
		if selected := c.Select(where, s.FirstSeq(), nil); where != nil {
			count(c, func(i int) bool { return selected[i] })
		} else {
			count(c, all)
		}
		return nil
	})
	if err != nil {
		return err
	}
	after := int64(0)
	for i := range segments {
		s := &segments[i]
		if !counted[s.Number] && (span == models.Span{} || !s.LastTime.Before(span.From) && !s.FirstTime.After(span.To)) {
			continue
		}
		if err := rows(after, s.FirstSeq()-1); err != nil {
			return err
		}
		after = s.LastSeq()
	}
	return rows(after, session.EventCount)
}

// segmentInterval is the interval between two searches for events to build segments from.
const segmentInterval = 2 * time.Second

// Run builds segments of present and future events until ctx ends. It rests as long as it
// works, so that other work goes on.
func (a *Analysis) Run(ctx context.Context) {
	ticker := time.NewTicker(segmentInterval)
	defer ticker.Stop()
	given := map[string]int64{} // numbers of segments that were tried
	for {
		logRetried(ctx, a.log, "segments cannot be made; it is tried again", errors.Join(a.storeArrived(ctx), a.makeSegments(ctx, given)))
		for isDue := false; !isDue; {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				isDue = true
			case <-a.some:
				if err := a.storeArrived(ctx); err != nil {
					isDue = true // the segments are made from the events
				}
			}
		}
	}
}

// storeArrived stores the segments of arrived events.
func (a *Analysis) storeArrived(ctx context.Context) error {
	var segments []models.Segment
	for _, s := range a.take() {
		made, err := newSegment(s.sessionID, s.number, &s.columns)
		if err == nil {
			segments = append(segments, made)
		} else if !errors.Is(err, segment.ErrTooLarge) {
			return err
		}
	}
	if len(segments) == 0 {
		return nil
	}
	return a.segments.Create(ctx, segments)
}

// makeSegments builds all missing segments.
func (a *Analysis) makeSegments(ctx context.Context, given map[string]int64) error {
	sessions, err := a.segments.SessionsToSegment(ctx)
	if err != nil {
		return err
	}
	for i := range sessions {
		session := &sessions[i]
		numbers, err := a.segments.Numbers(ctx, session.ID)
		if err != nil {
			return err
		}
		if len(numbers) == 0 {
			delete(given, session.ID) // the ID may return: a session can be deleted and imported
		}
		upTo := session.EventCount / models.SegmentEvents
		for number := max(given[session.ID], firstSegment(session)); number < upTo; number++ {
			if _, made := slices.BinarySearch(numbers, number); made {
				continue
			}
			began := time.Now()
			if err := a.makeSegment(ctx, session.ID, number); err != nil {
				return err
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(time.Since(began)):
			}
		}
		given[session.ID] = upTo
	}
	return nil
}

// firstSegment returns the number of the first segment of which no event has expired.
func firstSegment(session *models.Session) int64 {
	return (session.ExpiredSeq + models.SegmentEvents - 1) / models.SegmentEvents
}

// makeSegment builds a segment. It builds none if an event is missing or the hot fields
// are too large for a segment; Analysis reads these events themselves.
func (a *Analysis) makeSegment(ctx context.Context, sessionID string, number int64) error {
	c := &segment.Columns{}
	first := number * models.SegmentEvents
	err := a.segments.EachHot(ctx, sessionID, nil, first, first+models.SegmentEvents, models.Span{}, c.Append)
	if err != nil {
		return err
	}
	if c.Len() != models.SegmentEvents {
		if _, err := a.sessions.Get(ctx, sessionID); err != nil {
			return nil //nolint:nilerr // it is being deleted: there is nothing to be made
		}
		a.log.Error("events are missing", "session", sessionID, "after_seq", first, "present", c.Len(), "expected", models.SegmentEvents)
		return nil
	}
	made, err := newSegment(sessionID, number, c)
	if errors.Is(err, segment.ErrTooLarge) {
		a.log.Info("some events are counted without a segment", "session", sessionID, "after_seq", first, "reason", err)
		return nil
	}
	if err != nil {
		return err
	}
	return a.segments.Create(ctx, []models.Segment{made})
}
