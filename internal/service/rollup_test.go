package service

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ospulse/internal/analysis"
	"ospulse/internal/filter"
	"ospulse/internal/models"
)

// parts serves sessions of count file events with a hundred different paths.
type parts struct {
	mu      sync.Mutex
	count   int64
	firstID uint64
	reads   []models.EventPart
	read    func(ctx context.Context, n int) error // called in the middle of each read with the number of reads so far
}

func (p *parts) Get(_ context.Context, id string) (*models.Session, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return &models.Session{ID: id, EventCount: p.count}, nil
}

func (p *parts) FirstID(context.Context, string) (uint64, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.firstID, nil
}

func (p *parts) EachPart(ctx context.Context, _ string, where *filter.Filter, part models.EventPart, fn func(*models.Event, [][]byte)) error {
	p.mu.Lock()
	p.reads = append(p.reads, part)
	n := len(p.reads)
	p.mu.Unlock()
	for seq := part.After + 1; seq <= part.UpTo; seq++ {
		path, operation := fmt.Sprint("p", seq%100), "ReadFile"
		e := models.Event{Seq: seq, EventType: models.TypeFile, Target: &path, Operation: &operation, Timestamp: time.UnixMicro(seq)}
		if where.Match(&e) {
			fn(&e, make([][]byte, len(part.Keys)))
		}
		if seq == part.After+100 && p.read != nil {
			if err := p.read(ctx, n); err != nil {
				return err
			}
		}
	}
	return ctx.Err()
}

// total requests the files and returns the number of their events.
func (p *parts) total(ctx context.Context, s *Rollups, id string, where *filter.Filter) (total, seq int64, err error) {
	page, seq, err := s.Files(ctx, id, where, nil, analysis.FilesByPath, nil, 1000)
	for i := range page.Files {
		total += page.Files[i].Reads
	}
	return total, seq, err
}

func TestRollupIsMadeOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &parts{count: 20_000, firstID: 1, read: func(context.Context, int) error { <-time.After(time.Second); return nil }}
		s := NewRollups(p, p, 64<<20)
		var asking sync.WaitGroup
		for range 10 {
			asking.Go(func() {
				if total, seq, err := p.total(t.Context(), s, "s", nil); total != 20_000 || seq != 20_000 || err != nil {
					t.Errorf("%d events up to %d, %v", total, seq, err)
				}
			})
		}
		asking.Wait()
		if len(p.reads) != 3 || p.reads[1].After != rollupWindow || p.reads[2].UpTo != 20_000 {
			t.Errorf("it was read so: %+v", p.reads)
		}
		p.count = 20_010
		if total, seq, err := p.total(t.Context(), s, "s", nil); total != 20_010 || seq != 20_010 || err != nil {
			t.Errorf("%d events up to %d, %v", total, seq, err)
		}
		if last := p.reads[len(p.reads)-1]; len(p.reads) != 4 || last.After != 20_000 || last.UpTo != 20_010 {
			t.Errorf("what came is read so: %+v", p.reads[3:])
		}
	})
}

// TestRollupGoesOnAfterCancel checks that the next request continues the work of a
// cancelled one.
func TestRollupGoesOnAfterCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	p := &parts{count: 5 * rollupWindow, firstID: 1, read: func(_ context.Context, n int) error {
		if n == 3 {
			cancel()
		}
		return nil
	}}
	s := NewRollups(p, p, 64<<20)
	if _, _, err := p.total(ctx, s, "s", nil); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if total, _, err := p.total(t.Context(), s, "s", nil); total != p.count || err != nil || len(p.reads) != 5 {
		t.Errorf("%d events in %d reads, %v", total, len(p.reads), err)
	}
}

// TestRollupInParts checks that a rollup which stops after a time says how far it is, and that the
// next call continues.
func TestRollupInParts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &parts{count: 5*rollupWindow + 7, firstID: 1, read: func(context.Context, int) error {
			<-time.After(400 * time.Millisecond)
			return nil
		}}
		s := NewRollups(p, p, 64<<20)
		var got []int64
		for range 3 {
			err := s.within(t.Context(), time.Second, byStory, "s", nil, func(_ rollup, upTo int64) { got = append(got, upTo) })
			if err != nil {
				t.Fatal(err)
			}
		}
		if want := []int64{3 * rollupWindow, p.count, p.count}; !slices.Equal(got, want) {
			t.Errorf("the rollup is up to %v, want %v", got, want)
		}
	})
}

// TestRollupAfterAFailure checks that a read that fails in the middle counts nothing
// twice.
func TestRollupAfterAFailure(t *testing.T) {
	away := errors.New("away")
	p := &parts{count: 3 * rollupWindow, firstID: 1, read: func(_ context.Context, n int) error {
		if n == 2 {
			return away
		}
		return nil
	}}
	s := NewRollups(p, p, 64<<20)
	if _, _, err := p.total(t.Context(), s, "s", nil); !errors.Is(err, away) {
		t.Error(err)
	}
	if total, _, err := p.total(t.Context(), s, "s", nil); total != p.count || err != nil {
		t.Errorf("%d events, want %d, %v", total, p.count, err)
	}
}

// TestRollupOfAnotherSession checks that a session which was deleted and imported
// again, with the same ID, gets a new rollup of its own events.
func TestRollupOfAnotherSession(t *testing.T) {
	p := &parts{count: 500, firstID: 1}
	s := NewRollups(p, p, 64<<20)
	for _, firstID := range []uint64{1, 2} {
		p.firstID = firstID
		if total, seq, err := p.total(t.Context(), s, "s", nil); total != p.count || seq != p.count || err != nil {
			t.Errorf("%d events up to %d, want %d, %v", total, seq, p.count, err)
		}
		p.count = 300
	}
	p.count, p.firstID = 0, 0
	if total, seq, err := p.total(t.Context(), s, "s", nil); total != 0 || seq != 0 || err != nil {
		t.Errorf("%d events up to %d of none, %v", total, seq, err)
	}
}

func TestRollupsAreForgotten(t *testing.T) {
	p := &parts{count: 1000, firstID: 1}
	s := NewRollups(p, p, 64<<20)
	for i := range 40 {
		where, err := filter.Parse(fmt.Sprint("seq > ", i))
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if total, _, err := p.total(t.Context(), s, "s", where); total != p.count-int64(i) || err != nil {
				t.Errorf("%d events, %v", total, err)
			}
		}
		if _, _, err := p.total(t.Context(), s, "always", nil); err != nil {
			t.Error(err)
		}
	}
	if len(s.kept) != maxRollups || len(p.reads) != 41 {
		t.Errorf("%d are kept, after %d reads", len(s.kept), len(p.reads))
	}
	for _, kept := range s.kept {
		kept.bytes = 64 << 20 / 3
	}
	if _, _, err := p.total(t.Context(), s, "always", nil); err != nil || len(s.kept) > 4 || s.kept[rollupKey{byFile, "always", ""}] == nil {
		t.Errorf("%d are kept, %v", len(s.kept), err)
	}
}

// TestFewRollupsAreMadeAtATime checks that the number of concurrent scans is limited.
func TestFewRollupsAreMadeAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now, most := 0, 0
		p := &parts{count: 500, firstID: 1}
		p.read = func(context.Context, int) error {
			p.mu.Lock()
			now++
			most = max(most, now)
			p.mu.Unlock()
			<-time.After(time.Second)
			p.mu.Lock()
			now--
			p.mu.Unlock()
			return nil
		}
		s := NewRollups(p, p, 64<<20)
		var asking sync.WaitGroup
		for i := range 8 {
			asking.Go(func() {
				if total, _, err := p.total(t.Context(), s, fmt.Sprint(i), nil); total != 500 || err != nil {
					t.Errorf("%d events, %v", total, err)
				}
			})
		}
		asking.Wait()
		if most != rollupScans {
			t.Errorf("%d at a time, want %d", most, rollupScans)
		}
	})
}
