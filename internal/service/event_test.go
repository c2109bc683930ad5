package service

import (
	"context"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"ospulse/internal/filter"
	"ospulse/internal/models"
)

// vanishing is a repository in which the chosen sessions are deleted a number of times
// before the events can be stored.
type vanishing struct {
	EventRepository
	left, asked int
}

func (r *vanishing) Append(_ context.Context, group models.Group) ([]models.Receipt, error) {
	r.asked++
	if r.left--; r.left >= 0 {
		return nil, models.Errorf(models.CodeNotFound, "session deleted does not exist")
	}
	return make([]models.Receipt, len(group.Batches)), nil
}

// TestEventsOfADeletedSessionAreAttributedAgain checks that Append chooses again when a
// session is deleted after it was chosen, but not forever.
func TestEventsOfADeletedSessionAreAttributedAgain(t *testing.T) {
	for times, stored := range map[int]bool{0: true, 1: true, 9: true, 1000: false} {
		repository := &vanishing{left: times}
		group := models.Group{Batches: []models.Batch{{Events: make([]models.Incoming, 2)}}}
		_, err := NewEvents(repository, nil, nil, time.Now).Append(t.Context(), group)
		if (err == nil) != stored || repository.asked > 10 {
			t.Errorf("deleted %d times: %v after %d attempts", times, err, repository.asked)
		}
	}
}

// segmented is a session whose event i has the time times[i-1]. Segments cover some of
// its events.
type segmented struct {
	EventRepository
	times    []int64 // microseconds
	segments []models.Segment
}

// present finds every session.
type present struct{}

func (present) Get(_ context.Context, id string) (*models.Session, error) {
	return &models.Session{ID: id}, nil
}

func (s *segmented) ListTimes(context.Context, string) ([]models.Segment, error) {
	return s.segments, nil
}

func (s *segmented) List(_ context.Context, _ string, where *filter.Filter, page models.EventPage) (found []models.Event, _ error) {
	for i, micros := range s.times {
		e := models.Event{Seq: int64(i + 1), Timestamp: time.UnixMicro(micros).UTC()}
		if where.Match(&e) && e.Seq > page.After && (page.Before == 0 || e.Seq < page.Before) {
			found = append(found, e)
		}
	}
	if page.Descending {
		slices.Reverse(found)
	}
	return found[:min(page.Limit, len(found))], nil
}

func (s *segmented) Count(ctx context.Context, id string, where *filter.Filter, part models.EventPage) (int64, error) {
	part.Limit = len(s.times)
	found, err := s.List(ctx, id, where, part)
	return int64(len(found)), err
}

// TestListsByTimeMissNothing checks that a list by time contains every event of the
// span, whatever the segments and the order of the times.
func TestListsByTimeMissNothing(t *testing.T) {
	const n = 3*models.SegmentEvents + 100
	rapid.Check(t, func(t *rapid.T) {
		s := &segmented{times: make([]int64, n)}
		jitter := rapid.SampledFrom([]int64{1, 3000, 10 * n}).Draw(t, "jitter")
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		for i := range s.times {
			s.times[i] = int64(i) + random.Int64N(jitter)
		}
		for number := range int64(3) {
			if rapid.IntRange(0, 5).Draw(t, "missing") > 0 {
				of := s.times[number*models.SegmentEvents:][:models.SegmentEvents]
				s.segments = append(s.segments, models.Segment{Number: number, FirstTime: time.UnixMicro(slices.Min(of)).UTC(), LastTime: time.UnixMicro(slices.Max(of)).UTC()})
			}
		}
		micros := rapid.Int64Range(0, n)
		moment := func() string { return time.UnixMicro(micros.Draw(t, "time")).UTC().Format(time.RFC3339Nano) }
		text := rapid.SampledFrom([]string{
			"time >= " + moment(), "time < " + moment() + " and seq > 7", "time > " + moment() + " and time <= " + moment(),
			"(time > " + moment() + " and time > " + moment() + ") and not time > " + moment(), "time > " + moment() + " or seq < 10", "time = " + moment(),
		}).Draw(t, "filter")
		where, err := filter.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		seq := rapid.OneOf(rapid.Just(int64(0)), rapid.Int64Range(1, n))
		page := models.EventPage{After: seq.Draw(t, "after"), Before: seq.Draw(t, "before"), Limit: rapid.SampledFrom([]int{1, 10, n}).Draw(t, "limit"), Descending: rapid.Bool().Draw(t, "descending")}
		more := page
		more.Limit++
		want, _ := s.List(t.Context(), "s", where, more)
		events := NewEvents(s, s, present{}, time.Now)
		got, isMore, err := events.List(t.Context(), "s", where, page)
		if err != nil || isMore != (len(want) > page.Limit) || !slices.EqualFunc(got, want[:min(len(want), page.Limit)], func(a, b models.Event) bool { return a.Seq == b.Seq }) {
			t.Fatalf("%s, %+v: %d events, more %t, %v, want %d", text, page, len(got), isMore, err, len(want))
		}
		all, _ := s.Count(t.Context(), "s", where, models.EventPage{})
		if counted, err := events.Count(t.Context(), "s", where); err != nil || counted != all {
			t.Fatalf("%s: it counts %d, %v, want %d", text, counted, err, all)
		}
	})
}
