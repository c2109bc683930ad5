package ingest_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"ospulse/internal/ingest"
	"ospulse/internal/models"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var limits = ingest.Limits{GroupEvents: 10, GroupBytes: 1 << 20, QueueEvents: 20, QueueBytes: 1 << 20, Commit: time.Minute}

// store records groups, and lets a test block a commit.
type store struct {
	mu                  sync.Mutex
	groups              [][]string
	published           []string // what was committed, in order
	accepted, committed atomic.Int64
	gate                chan struct{} // if not nil, each commit waits for a value
	fails               func(names []string) error
	faults              []models.ItemFault // faults of the last batch that was stored
}

func (s *store) Append(ctx context.Context, group models.Group) ([]models.Receipt, error) {
	batches := group.Batches
	if s.gate != nil {
		select {
		case <-s.gate:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	var names []string
	receipts := make([]models.Receipt, len(batches))
	for i, b := range batches {
		for j := range b.Events {
			names = append(names, b.Events[j].EventType)
		}
		receipts[i] = models.Receipt{Stored: len(b.Events), Ranges: []models.SeqRange{{SessionID: b.Events[0].EventType}}}
	}
	if s.fails != nil {
		if err := s.fails(names); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.groups = append(s.groups, names)
	s.faults = batches[len(batches)-1].Faults
	return receipts, nil
}

func (s *store) Try(_ context.Context, group models.Group) error {
	var names []string
	for _, b := range group.Batches {
		for i := range b.Events {
			names = append(names, b.Events[i].EventType)
		}
	}
	if s.fails == nil {
		return nil
	}
	return s.fails(names)
}

func (*store) Time(local time.Time) time.Time { return local }

func (s *store) LastStored(context.Context, string) (int64, error) { return 0, nil }

func (s *store) Spooled(int) {}

func (s *store) Rejected(int) {}

func (s *store) Accepted(events int) { s.accepted.Add(int64(events)) }

func (s *store) Committed(events int, _ time.Duration) { s.committed.Add(int64(events)) }

func (s *store) Published(batches []models.Batch, _ []models.Receipt) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range batches {
		for i := range b.Events {
			s.published = append(s.published, b.Events[i].EventType)
		}
	}
}

// noSpool accepts nothing.
type noSpool struct{ ingest.Spool }

func (noSpool) Append(context.Context, models.Group) error {
	return models.Errorf(models.CodeUnavailable, "there is no spool")
}

func (noSpool) Backlog() (int, int64) { return 0, 0 }

func batch(names ...string) models.Batch {
	incoming := make([]models.Incoming, len(names))
	for i, name := range names {
		incoming[i].EventType = name
	}
	return models.Batch{Events: incoming}
}

// run starts the queue inside a synctest bubble and ends it with the test.
func run(t *testing.T, s *store, limits ingest.Limits) *ingest.Queue {
	q := ingest.New(s, noSpool{}, limits, s, s, slog.New(slog.DiscardHandler))
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { q.Run(ctx); close(done) }()
	t.Cleanup(func() { stop(); <-done })
	return q
}

func TestLoneRequestIsCommittedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &store{}
		q := run(t, s, limits)
		began := time.Now()
		receipt, err := q.Append(t.Context(), batch("a", "b"))
		if err != nil || receipt.Stored != 2 {
			t.Errorf("got %v, %v", receipt, err)
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("it waited %s for company", took)
		}
	})
}

func TestWhatComesDuringACommitIsOneGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &store{gate: make(chan struct{})}
		roomy := limits
		roomy.QueueEvents = 40
		q := run(t, s, roomy)
		var wg sync.WaitGroup
		send := func(name string) {
			wg.Go(func() {
				receipt, err := q.Append(t.Context(), batch(name, name+"'"))
				if err != nil || receipt.Stored != 2 || receipt.Ranges[0].SessionID != name {
					t.Errorf("%s got %v, %v", name, receipt, err)
				}
			})
			synctest.Wait()
		}
		for i := range 8 { // the first is being committed while the others come
			send(fmt.Sprint(i))
		}
		for range 3 {
			s.gate <- struct{}{}
		}
		wg.Wait()
		if s.accepted.Load() != 16 || s.committed.Load() != 16 {
			t.Errorf("%d events were counted as accepted and %d as committed, of 16", s.accepted.Load(), s.committed.Load())
		}
		if got, want := fmt.Sprint(s.groups), "[[0 0'] [1 1' 2 2' 3 3' 4 4' 5 5'] [6 6' 7 7']]"; got != want {
			t.Errorf("groups are %s, want %s", got, want)
		}
		if got, want := fmt.Sprint(s.published), fmt.Sprint(slices.Concat(s.groups...)); got != want {
			t.Errorf("published are %s, want %s", got, want)
		}
	})
}

func TestFullQueueIsOverloaded(t *testing.T) {
	big := batch("big")
	big.Events[0].Data = make([]byte, 1<<20)
	for name, tt := range map[string]struct{ first, second models.Batch }{
		"by count": {batch(make([]string, 15)...), batch(make([]string, 6)...)},
		"by bytes": {batch("small"), big},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &store{gate: make(chan struct{})}
				q := run(t, s, limits)
				var wg sync.WaitGroup
				for range 2 { // one is being committed, one waits
					wg.Go(func() {
						if _, err := q.Append(t.Context(), tt.first); err != nil {
							t.Error(err)
						}
					})
					synctest.Wait()
				}
				if _, err := q.Append(t.Context(), tt.second); models.ErrorCode(err) != models.CodeOverloaded {
					t.Errorf("got %v, want overloaded", err)
				}
				close(s.gate)
				wg.Wait()
				if _, err := q.Append(t.Context(), tt.second); err != nil {
					t.Errorf("an empty queue refuses it: %v", err)
				}
			})
		})
	}
}

// TestAgentsTakeTurns checks that an agent that sends all it can fills half of the queue, that
// another agent still finds room and is served next, and that each one's order stays.
func TestAgentsTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &store{gate: make(chan struct{})}
		small := limits
		small.GroupEvents = 3
		q := run(t, s, small)
		var wg sync.WaitGroup
		refused := 0
		send := func(agent, name string) {
			wg.Go(func() {
				b := batch(name)
				b.AgentID = agent
				if _, err := q.Append(t.Context(), b); models.ErrorCode(err) == models.CodeOverloaded {
					refused++
				} else if err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		for i := range 30 { // the first is being committed
			send("mad", fmt.Sprint("m", i))
		}
		if events, _ := q.Depth(); events != small.QueueEvents/2 || refused != 29-small.QueueEvents/2 {
			t.Errorf("the mad agent has %d events waiting and %d refused, of a queue of %d", events, refused, small.QueueEvents)
		}
		for i := range 3 {
			send("calm", fmt.Sprint("c", i))
		}
		close(s.gate)
		wg.Wait()
		if got, want := fmt.Sprint(s.groups[:4]), "[[m0] [m1 c0 m2] [c1 m3 c2] [m4 m5 m6]]"; got != want {
			t.Errorf("groups are %s, want %s", got, want)
		}
	})
}

func TestClientThatGivesUpCostsNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &store{gate: make(chan struct{})}
		q := run(t, s, limits)
		ctx, giveUp := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := q.Append(ctx, batch("gone")); !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
		})
		synctest.Wait()
		wg.Go(func() {
			if _, err := q.Append(t.Context(), batch("stays")); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		giveUp()
		synctest.Wait()
		close(s.gate)
		wg.Wait()
	})
}

// refusing returns the error of a database that refuses events whose type begins with
// "bad".
func refusing(names []string) error {
	for _, name := range names {
		if strings.HasPrefix(name, "bad") {
			return models.Errorf(models.CodeInvalid, "no %s here", name)
		}
	}
	return nil
}

func TestOneBadRequestCostsNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &store{gate: make(chan struct{}), fails: refusing}
		q := run(t, s, limits)
		var wg sync.WaitGroup
		for i, name := range []string{"a", "b", "c", "bad", "d", "e"} {
			wg.Go(func() {
				if _, err := q.Append(t.Context(), batch(name)); (models.ErrorCode(err) == models.CodeInvalid) != (name == "bad") {
					t.Errorf("request %d, %s, got %v", i, name, err)
				}
			})
			synctest.Wait()
		}
		close(s.gate)
		wg.Wait()
		if got := fmt.Sprint(s.published); got != "[a b c d e]" {
			t.Errorf("published are %s, want all but the bad one", got)
		}
	})
}

// TestBadEventCostsNoOther checks that an event which cannot be stored costs no other
// event of its request, and is identified by its index in the request.
func TestBadEventCostsNoOther(t *testing.T) {
	for name, tt := range map[string]struct {
		names  []string
		faults []models.ItemFault // of items that could not be decoded
		stored string
		want   []models.ItemFault
	}{
		"the first":         {[]string{"bad", "a", "b"}, nil, "[a b]", []models.ItemFault{{Index: 0, Error: "no bad here"}}},
		"two":               {[]string{"a", "bad1", "b", "c", "bad2"}, nil, "[a b c]", []models.ItemFault{{Index: 1, Error: "no bad1 here"}, {Index: 4, Error: "no bad2 here"}}},
		"after other fault": {[]string{"a", "bad", "b"}, []models.ItemFault{{Index: 0, Error: "x"}, {Index: 3, Error: "y"}}, "[a b]", []models.ItemFault{{Index: 0, Error: "x"}, {Index: 2, Error: "no bad here"}, {Index: 3, Error: "y"}}},
		"all":               {[]string{"bad1", "bad2"}, []models.ItemFault{{Index: 0, Error: "x"}}, "[]", nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &store{fails: refusing}
				b := batch(tt.names...)
				b.Faults = tt.faults
				receipt, err := run(t, s, limits).Append(t.Context(), b)
				if tt.want == nil {
					if models.ErrorCode(err) != models.CodeInvalid || !strings.HasPrefix(err.Error(), "events[0]: x") {
						t.Errorf("got %v", err)
					}
				} else if err != nil || len(s.groups) != 1 || receipt.Stored != len(tt.names)-len(tt.want)+len(tt.faults) {
					t.Errorf("got %+v, %v", receipt, err)
				}
				if got := fmt.Sprint(s.published); got != tt.stored {
					t.Errorf("published are %s, want %s", got, tt.stored)
				}
				if tt.want != nil && !slices.Equal(s.faults, tt.want) {
					t.Errorf("the faults are %v, want %v", s.faults, tt.want)
				}
			})
		})
	}
}

// TestDatabaseThatRefusesEverythingCostsNothing checks that a database which refuses
// every event is treated as faulty: the events wait, and no request is blamed.
func TestDatabaseThatRefusesEverythingCostsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &store{fails: func([]string) error { return models.Errorf(models.CodeInvalid, "a rule refuses it") }}
		if _, err := run(t, s, limits).Append(t.Context(), batch("a", "b")); models.ErrorCode(err) != models.CodeUnavailable {
			t.Errorf("without a spool it got %v, want unavailable", err)
		}
	})
}

func TestUnavailableDatabaseIsAskedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		s := &store{gate: make(chan struct{}), fails: func([]string) error {
			asked++
			return models.Errorf(models.CodeUnavailable, "away")
		}}
		q := run(t, s, limits)
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() {
				if _, err := q.Append(t.Context(), batch("x")); models.ErrorCode(err) != models.CodeUnavailable {
					t.Errorf("got %v", err)
				}
			})
			synctest.Wait()
		}
		close(s.gate)
		wg.Wait()
		if asked != 2 { // the first request, then the group of the others
			t.Errorf("it was asked %d times", asked)
		}
	})
}

func TestStopCommitsWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &store{gate: make(chan struct{})}
		q := ingest.New(s, noSpool{}, limits, s, s, slog.New(slog.DiscardHandler))
		ctx, stop := context.WithCancel(t.Context())
		var running, waiting sync.WaitGroup
		running.Go(func() { q.Run(ctx) })
		for range 5 {
			waiting.Go(func() {
				if _, err := q.Append(t.Context(), batch("x")); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		stop()
		close(s.gate)
		waiting.Wait()
		running.Wait()
		if _, err := q.Append(t.Context(), batch("late")); models.ErrorCode(err) != models.CodeUnavailable {
			t.Errorf("a request after the end got %v", err)
		}
	})
}
