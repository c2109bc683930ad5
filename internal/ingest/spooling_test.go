package ingest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ospulse/internal/ingest"
	"ospulse/internal/ingest/spool"
	"ospulse/internal/models"
)

// soon is longer than the queue needs to notice that the database is back.
const soon = 5 * time.Second

// away is the error of an unreachable database.
func away() error { return models.Errorf(models.CodeUnavailable, "away") }

// database stores batches and their writers' marks like the real one, and is also the
// meter. A test may change its behaviour.
type database struct {
	mu     sync.Mutex
	last   map[string]int64 // by writer
	stored []string         // the batches' names and keys, in order
	events []string         // their events' types
	told   []string         // those that were published
	asked  int              // number of attempts to store

	accepted, committed, spooled, rejected int

	away  bool
	gate  chan struct{}                   // if not nil, each commit waits for a value
	fails func(models.Batch) error        // if not nil, reports whether a batch cannot be stored
	lose  func() bool                     // if not nil, reports whether the result of a commit is lost
	stale func(last int64) (number int64) // if not nil, what LastStored returns
}

func (d *database) Append(ctx context.Context, group models.Group) ([]models.Receipt, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked++
	if d.away {
		return nil, away()
	}
	if gate := d.gate; gate != nil {
		d.mu.Unlock()
		var err error
		select {
		case <-gate:
		case <-ctx.Done():
			err = models.Wrap(ctx.Err(), models.CodeUnavailable, "too slow")
		}
		d.mu.Lock()
		if err != nil {
			return nil, err
		}
	}
	if last, ok := d.last[group.Mark.Writer]; ok && group.Mark.First <= last {
		return nil, models.ErrAlreadyStored
	}
	names := make([]string, len(group.Batches))
	receipts := make([]models.Receipt, len(group.Batches))
	for i, b := range group.Batches {
		if d.fails != nil {
			if err := d.fails(b); err != nil {
				return nil, err
			}
		}
		names[i] = name(b)
		receipts[i] = models.Receipt{Stored: len(b.Events)}
	}
	if d.last == nil {
		d.last = map[string]int64{}
	}
	d.last[group.Mark.Writer] = group.Mark.First + int64(len(group.Batches)) - 1
	d.stored = append(d.stored, names...)
	for _, b := range group.Batches {
		for i := range b.Events {
			d.events = append(d.events, b.Events[i].EventType)
		}
	}
	if d.lose != nil && d.lose() {
		return nil, away()
	}
	return receipts, nil
}

func (d *database) Try(_ context.Context, group models.Group) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.away {
		return away()
	}
	for _, b := range group.Batches {
		if d.fails != nil {
			if err := d.fails(b); err != nil {
				return err
			}
		}
	}
	return nil
}

func (*database) Time(local time.Time) time.Time { return local }

func (d *database) LastStored(_ context.Context, writer string) (int64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.away {
		return 0, away()
	}
	if d.stale != nil {
		return d.stale(d.last[writer]), nil
	}
	return d.last[writer], nil
}

func (d *database) count(n *int, events int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	*n += events
}

func (d *database) Accepted(events int)                   { d.count(&d.accepted, events) }
func (d *database) Committed(events int, _ time.Duration) { d.count(&d.committed, events) }
func (d *database) Spooled(events int)                    { d.count(&d.spooled, events) }
func (d *database) Rejected(events int)                   { d.count(&d.rejected, events) }

func (d *database) Published(batches []models.Batch, _ []models.Receipt) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, b := range batches {
		d.told = append(d.told, name(b))
	}
}

// set changes the behaviour of the database.
func (d *database) set(change func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change()
}

func (d *database) setAway(is bool) { d.set(func() { d.away = is }) }

func (d *database) wantStored(t *testing.T, want ...string) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if !slices.Equal(d.stored, want) {
		t.Errorf("the database has %q, want %q", d.stored, want)
	}
}

// wantCounted checks what the meter has counted since the start.
func (d *database) wantCounted(t *testing.T, accepted, committed, spooled, rejected int) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	got := [...]int{d.accepted, d.committed, d.spooled, d.rejected}
	if want := [...]int{accepted, committed, spooled, rejected}; got != want {
		t.Errorf("counted as accepted, committed, spooled and rejected are %v, want %v", got, want)
	}
}

// name returns the name of a batch's first event and the batch's key.
func name(b models.Batch) string {
	if b.Key != "" {
		return b.Events[0].EventType + " " + b.Key
	}
	return b.Events[0].EventType
}

func keyed(key, name string) models.Batch {
	b := batch(name)
	b.Key, b.Digest = key, "digest"
	return b
}

// disk is a real spool which records rejected batches, and may fail to drop.
type disk struct {
	*spool.Spool
	rejected  []string // the names and reasons
	dropFails int      // number of drops that fail
}

func (d *disk) SetAside(ctx context.Context, mark models.Mark, reported models.Batch, refused []models.Refused) error {
	for _, r := range refused {
		d.rejected = append(d.rejected, fmt.Sprintf("%s: %s", r.Event.EventType, r.Reason))
	}
	return d.Spool.SetAside(ctx, mark, reported, refused)
}

func (d *disk) Drop(ctx context.Context, lastID int64) error {
	if d.dropFails > 0 {
		d.dropFails--
		return errors.New("the disk does not work")
	}
	return d.Spool.Drop(ctx, lastID)
}

func openDisk(t *testing.T, maxBytes int64) *disk {
	t.Helper()
	s, err := spool.Open(t.Context(), t.TempDir(), maxBytes)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return &disk{Spool: s}
}

// start runs a queue inside a synctest bubble until stop is called or the test ends.
func start(t *testing.T, db *database, kept ingest.Spool) (q *ingest.Queue, stop func()) {
	q = ingest.New(db, kept, limits, db, db, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { q.Run(ctx); close(done) }()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return q, stop
}

// spooled sends requests that must be accepted and spooled.
func spooled(t *testing.T, q *ingest.Queue, batches ...models.Batch) {
	t.Helper()
	for _, b := range batches {
		receipt, err := q.Append(t.Context(), b)
		if err != nil || receipt.Spooled != len(b.Events) || receipt.Stored != 0 || receipt.Ranges == nil || len(receipt.Faults) != len(b.Faults) {
			t.Errorf("%s, which is to be spooled, got %+v, %v", name(b), receipt, err)
		}
	}
}

// direct sends requests that must be stored at once.
func direct(t *testing.T, q *ingest.Queue, batches ...models.Batch) {
	t.Helper()
	for _, b := range batches {
		receipt, err := q.Append(t.Context(), b)
		if err != nil || receipt.Spooled != 0 || receipt.Stored != len(b.Events) {
			t.Errorf("%s, which is to be stored, got %+v, %v", name(b), receipt, err)
		}
	}
}

// wantDrained waits for some time, after which the spool must be empty.
func wantDrained(t *testing.T, kept *disk) {
	t.Helper()
	pass(soon)
	if events, size := kept.Backlog(); events != 0 || size != 0 {
		t.Errorf("%d events in %d bytes are left in the spool", events, size)
	}
}

// pass lets the bubble's time pass.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func TestSpooledIsStoredInOrderWhenTheDatabaseIsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, kept := &database{}, openDisk(t, 1<<20)
		q, _ := start(t, db, kept)
		direct(t, q, batch("1"))
		db.setAway(true)
		faulty := batch("3", "3")
		faulty.Faults = []models.ItemFault{{Index: 1, Error: "no event"}}
		spooled(t, q, batch("2"), faulty)
		pass(time.Minute)
		spooled(t, q, batch("4"))
		if events, _ := kept.Backlog(); events != 4 {
			t.Errorf("the spool has %d events, want 4", events)
		}
		db.wantStored(t, "1")

		db.setAway(false)
		wantDrained(t, kept)
		direct(t, q, batch("5"), batch("6"))
		db.wantStored(t, "1", "2", "3", "4", "5", "6")
		db.wantCounted(t, 7, 7, 4, 0)

		db.setAway(true) // again
		spooled(t, q, batch("7"))
		db.setAway(false)
		wantDrained(t, kept)
		direct(t, q, batch("8"))
		db.wantStored(t, "1", "2", "3", "4", "5", "6", "7", "8")
		if !slices.Equal(db.told, db.stored) {
			t.Errorf("%q were published, want what is stored", db.told)
		}
	})
}

// TestRequestsDuringTheDrainWaitBehindIt checks that no request overtakes the spool,
// even if the database is back.
func TestRequestsDuringTheDrainWaitBehindIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, kept := &database{}, openDisk(t, 1<<20)
		q, _ := start(t, db, kept)
		db.setAway(true)
		spooled(t, q, batch("1"), batch("2"))
		db.set(func() { db.away, db.gate = false, make(chan struct{}) })
		pass(soon) // the drain waits at the gate
		spooled(t, q, batch("3"))
		db.wantStored(t)
		close(db.gate)
		wantDrained(t, kept)
		direct(t, q, batch("4"))
		db.wantStored(t, "1", "2", "3", "4")
	})
}

// TestDrainEndsWhileClientsGoOn checks that the drain empties the spool even if, during
// each commit of a slow database, clients send as many events as it stores.
func TestDrainEndsWhileClientsGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, kept := &database{away: true}, openDisk(t, 1<<20)
		q, _ := start(t, db, kept)
		spooled(t, q, batch("1"))
		gate := make(chan struct{})
		db.set(func() { db.away, db.gate = false, gate })
		ctx, cancel := context.WithCancel(t.Context())
		var going sync.WaitGroup
		defer func() {
			cancel()
			going.Wait()
			close(gate)
		}()
		going.Go(func() {
			for ctx.Err() == nil {
				select {
				case <-time.After(2 * time.Second):
				case <-ctx.Done():
				}
				select {
				case gate <- struct{}{}:
				case <-ctx.Done():
				}
			}
		})
		direct := make(chan struct{})
		going.Go(func() {
			for ctx.Err() == nil {
				receipt, err := q.Append(ctx, batch("more"))
				if err != nil {
					if ctx.Err() == nil {
						t.Error(err)
					}
					return
				}
				if receipt.Spooled == 0 {
					close(direct)
					return
				}
				<-time.After(time.Second)
			}
		})
		select {
		case <-direct:
		case <-time.After(time.Minute):
			events, _ := kept.Backlog()
			t.Errorf("after a minute the spool still holds %d events", events)
		}
	})
}

func TestDatabaseThatIsAwayIsAskedNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, kept := &database{away: true}, openDisk(t, 1<<20)
		asked := 0
		db.stale = func(last int64) int64 { asked++; return last }
		q, _ := start(t, db, kept)
		for i := range 20 {
			spooled(t, q, batch(fmt.Sprint(i)))
		}
		db.set(func() { // readable, but not writable
			if db.asked != 1 {
				t.Errorf("the requests asked it %d times", db.asked)
			}
			db.away, db.asked, db.fails = false, 0, func(models.Batch) error { return away() }
		})
		pass(time.Minute)
		db.set(func() {
			if db.asked < 25 || db.asked > 45 || db.asked != asked {
				t.Errorf("in a minute it was asked %d times what it has, and %d times to store", asked, db.asked)
			}
			db.fails = nil
		})
		wantDrained(t, kept)
	})
}

// TestLostAnswerIsStoredOnce checks a commit whose result was lost, so that its batch
// is in the database and in the spool.
func TestLostAnswerIsStoredOnce(t *testing.T) {
	once := func() func() bool {
		lost := false
		return func() bool { defer func() { lost = true }(); return !lost }
	}
	for name, act := range map[string]func(t *testing.T, db *database, q *ingest.Queue){
		"of a request": func(t *testing.T, db *database, q *ingest.Queue) {
			db.set(func() { db.lose = once() })
			spooled(t, q, batch("1"))
			pass(soon)
			direct(t, q, batch("2"), batch("3"))
		},
		"of a request, with others behind it": func(t *testing.T, db *database, q *ingest.Queue) {
			db.set(func() { db.lose = func() bool { db.away = true; return true } })
			spooled(t, q, batch("1"), batch("2"), batch("3"))
			db.set(func() { db.away, db.lose = false, nil })
		},
		"of the drain": func(t *testing.T, db *database, q *ingest.Queue) {
			db.setAway(true)
			spooled(t, q, batch("1"), batch("2"), batch("3"))
			db.set(func() { db.away, db.lose = false, once() })
		},
		"of a commit that comes after the question what was stored": func(t *testing.T, db *database, q *ingest.Queue) {
			asked := false
			db.set(func() {
				db.lose = func() bool { db.away = true; return true }
				db.stale = func(last int64) int64 {
					if asked {
						return last
					}
					asked = true
					return 0
				}
			})
			spooled(t, q, batch("1"), batch("2"), batch("3"))
			db.set(func() { db.away, db.lose = false, nil })
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				db, kept := &database{}, openDisk(t, 1<<20)
				q, _ := start(t, db, kept)
				act(t, db, q)
				wantDrained(t, kept)
				direct(t, q, batch("4"))
				db.wantStored(t, "1", "2", "3", "4")
				if len(kept.rejected) != 0 {
					t.Errorf("rejected are %q", kept.rejected)
				}
			})
		})
	}
}

// TestSlowCommitGoesToTheSpool checks that a commit which takes too long is given up,
// because its requests wait.
func TestSlowCommitGoesToTheSpool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, kept := &database{gate: make(chan struct{})}, openDisk(t, 1<<20)
		q, _ := start(t, db, kept)
		began := time.Now()
		spooled(t, q, batch("1"))
		if took := time.Since(began); took != limits.Commit {
			t.Errorf("it took %s, want %s", took, limits.Commit)
		}
		close(db.gate)
		wantDrained(t, kept)
		direct(t, q, batch("2"))
		db.wantStored(t, "1", "2")
	})
}

// TestNextRunStoresTheRestOnce checks a program that ended after it stored a part of
// its spool and before it dropped it.
func TestNextRunStoresTheRestOnce(t *testing.T) {
	for name, last := range map[string]int64{"nothing stored": 0, "a part of a group": 1, "one group": 2, "more than that": 3, "everything": 4} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				all := []string{"1", "2", "3", "4"}
				db, kept := &database{}, openDisk(t, 1<<20)
				if last > 0 {
					db.last, db.stored = map[string]int64{"earlier": last}, slices.Clone(all[:last])
				}
				for first := range slices.Values([]int64{1, 3}) {
					group := models.Group{Batches: []models.Batch{batch(all[first-1]), batch(all[first])}, Mark: models.Mark{Writer: "earlier", First: first}}
					if err := kept.Append(t.Context(), group); err != nil {
						t.Fatal(err)
					}
				}
				q, _ := start(t, db, kept)
				wantDrained(t, kept)
				direct(t, q, batch("5"))
				db.wantStored(t, "1", "2", "3", "4", "5")
			})
		})
	}
}

// TestNextRunStoresWhatSeveralLeft checks that the groups of several earlier runs have
// marks of their own.
func TestNextRunStoresWhatSeveralLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, kept := &database{away: true, last: map[string]int64{"v": 1}, stored: []string{"1"}}, openDisk(t, 1<<20)
		for i, mark := range []models.Mark{{Writer: "v", First: 1}, {Writer: "v", First: 2}, {Writer: "w", First: 1}} {
			if err := kept.Append(t.Context(), models.Group{Batches: []models.Batch{batch(fmt.Sprint(i + 1))}, Mark: mark}); err != nil {
				t.Fatal(err)
			}
		}
		q, _ := start(t, db, kept)
		spooled(t, q, batch("4")) // behind the left-over groups
		db.setAway(false)
		wantDrained(t, kept)
		db.wantStored(t, "1", "2", "3", "4")
	})
}

// TestSpooledThatIsRefusedIsSetAside checks that an event which the database refuses is
// set aside and replaced by its report, and that the others are stored in order.
func TestSpooledThatIsRefusedIsSetAside(t *testing.T) {
	for name, batches := range map[string][][]string{
		"alone":         {{"bad"}},
		"the first":     {{"bad", "good"}, {"2"}, {"3"}},
		"in the middle": {{"1"}, {"2"}, {"a", "b", "bad", "c"}, {"4"}, {"5"}},
		"the last":      {{"1"}, {"2"}, {"a", "bad"}},
		"many":          {{"bad"}, {"2"}, {"bad", "bad", "a", "bad"}, {"bad", "bad"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				db, kept := &database{away: true, fails: func(b models.Batch) error {
					for i := range b.Events {
						if b.Events[i].EventType == "bad" {
							return models.Errorf(models.CodeInvalid, "bad row")
						}
					}
					return nil
				}}, openDisk(t, 1<<20)
				q, _ := start(t, db, kept)
				bad := 0
				var want []string
				for _, names := range batches {
					spooled(t, q, batch(names...))
					for _, name := range names {
						if name == "bad" {
							bad++
							name = models.TypeEventsLost
						}
						want = append(want, name)
					}
				}
				db.setAway(false)
				wantDrained(t, kept)
				direct(t, q, batch("last"))
				if got := fmt.Sprint(db.events); got != fmt.Sprint(append(want, "last")) {
					t.Errorf("stored are %s, want %s", got, want)
				}
				if got := strings.Join(kept.rejected, ", "); got != strings.Repeat(", bad: bad row", bad)[2:] || kept.SetAsideEvents() != bad || db.rejected != bad {
					t.Errorf("set aside are %s, %d of them; %d are counted", got, kept.SetAsideEvents(), db.rejected)
				}
			})
		})
	}
}

// TestRepairDuringTheSearchCostsNoEvent checks that no event is lost if the database is
// repaired during the search for the bad event.
func TestRepairDuringTheSearchCostsNoEvent(t *testing.T) {
	for after := range 12 { // attempts
		synctest.Test(t, func(t *testing.T) {
			attempts := 0
			db, kept := &database{away: true, fails: func(models.Batch) error {
				if attempts++; attempts <= after {
					return models.Errorf(models.CodeInvalid, "a column is missing")
				}
				return nil
			}}, openDisk(t, 1<<20)
			q, _ := start(t, db, kept)
			spooled(t, q, batch("1", "2", "3"), batch("4"))
			db.setAway(false)
			wantDrained(t, kept)
			direct(t, q, batch("5"))
			if got := fmt.Sprint(db.events); got != "[1 2 3 4 5]" || kept.SetAsideEvents() != 0 {
				t.Errorf("repaired after %d attempts: %s, %d are set aside", after, got, kept.SetAsideEvents())
			}
		})
	}
}

// TestSpoolWaitsForEveryOtherFault checks that a transient fault costs no event: the
// spool waits, keeps the order, and WaitsFor returns the reason.
func TestSpoolWaitsForEveryOtherFault(t *testing.T) {
	for name, fault := range map[string]error{
		"of the database":           models.Errorf(models.CodeInternal, "the role lacks a privilege"),
		"unknown":                   errors.New("a bug"),
		"a session that is deleted": models.Errorf(models.CodeNotFound, "session s does not exist"),
		"of all values":             models.Errorf(models.CodeInvalid, "a column is missing"),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				db, kept := &database{fails: func(models.Batch) error { return fault }}, openDisk(t, 1<<20)
				q, _ := start(t, db, kept)
				spooled(t, q, batch("1"), batch("2", "3"), batch("4"))
				pass(time.Hour)
				if events, _ := kept.Backlog(); events != 4 || kept.SetAsideEvents() != 0 {
					t.Errorf("%d events wait, %d are set aside; want 4 and 0", events, kept.SetAsideEvents())
				}
				why := q.WaitsFor()
				if e, ok := errors.AsType[*models.Error](fault); why == "" || ok && !strings.Contains(why, e.Message) {
					t.Errorf("it waits for %q", why)
				}
				db.set(func() { db.fails = nil })
				wantDrained(t, kept)
				direct(t, q, batch("5"))
				db.wantStored(t, "1", "2", "4", "5")
				if why := q.WaitsFor(); why != "" || db.rejected != 0 {
					t.Errorf("in the end it waits for %q, and %d are rejected", why, db.rejected)
				}
			})
		})
	}
}

// TestSpooledWhoseKeyIsTakenIsStoredWithoutIt checks that an acknowledged batch is
// stored even if its key is taken by another one.
func TestSpooledWhoseKeyIsTakenIsStoredWithoutIt(t *testing.T) {
	for name, tt := range map[string]struct{ batches, want []string }{
		"alone":          {[]string{"taken"}, []string{"0"}},
		"between others": {[]string{"a", "b", "taken", "c"}, []string{"0 a", "1 b", "2", "3 c"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				db, kept := &database{away: true, fails: func(b models.Batch) error {
					if b.Key == "taken" {
						return models.Errorf(models.CodeConflict, "the key belongs to another request")
					}
					return nil
				}}, openDisk(t, 1<<20)
				q, _ := start(t, db, kept)
				for i, key := range tt.batches {
					spooled(t, q, keyed(key, fmt.Sprint(i)))
				}
				db.setAway(false)
				wantDrained(t, kept)
				db.wantStored(t, tt.want...)
				if len(kept.rejected) != 0 || db.rejected != 0 {
					t.Errorf("rejected are %q, counted %d", kept.rejected, db.rejected)
				}
			})
		})
	}
}

func TestFullSpool(t *testing.T) {
	refused := func(t *testing.T, q *ingest.Queue, name string) {
		t.Helper()
		b := batch(name)
		b.Events[0].Data = bytes.Repeat([]byte("1"), 2000)
		if receipt, err := q.Append(t.Context(), b); models.ErrorCode(err) != models.CodeUnavailable {
			t.Errorf("%s got %+v, %v; want unavailable", name, receipt, err)
		}
	}
	t.Run("from the start", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			db, kept := &database{away: true}, openDisk(t, 0)
			q, _ := start(t, db, kept)
			refused(t, q, "refused")
			refused(t, q, "refused too")
			db.setAway(false)
			direct(t, q, batch("1")) // at once
			db.wantStored(t, "1")
			db.wantCounted(t, 3, 1, 0, 0)
		})
	})
	t.Run("after some", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			db, kept := &database{away: true}, openDisk(t, 2000)
			q, _ := start(t, db, kept)
			spooled(t, q, batch("1"))
			refused(t, q, "refused") // and the next smaller one is not
			spooled(t, q, batch("2"))
			db.setAway(false)
			wantDrained(t, kept)
			direct(t, q, batch("3"))
			db.wantStored(t, "1", "2", "3")
			db.wantCounted(t, 4, 3, 2, 0)
		})
	})
}

// TestSpoolThatCannotDropStoresOnce checks that a group which was stored and could not
// be dropped is read again and not stored twice.
func TestSpoolThatCannotDropStoresOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, kept := &database{away: true}, openDisk(t, 1<<20)
		kept.dropFails = 2
		q, _ := start(t, db, kept)
		spooled(t, q, batch("1"), batch("2"))
		db.setAway(false)
		wantDrained(t, kept)
		direct(t, q, batch("3"))
		db.wantStored(t, "1", "2", "3")
	})
}

func TestRunEndsWhileTheSpoolIsNotEmpty(t *testing.T) {
	for name, back := range map[string]func(db *database){
		"the database is away":        func(*database) {},
		"the database hangs":          func(db *database) { db.away, db.gate = false, make(chan struct{}) },
		"the database stores nothing": func(db *database) { db.away, db.fails = false, func(models.Batch) error { return away() } },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				db, kept := &database{away: true}, openDisk(t, 1<<20)
				q, stop := start(t, db, kept)
				spooled(t, q, batch("1"), batch("2"))
				db.set(func() { back(db) })
				pass(soon)
				began := time.Now()
				stop()
				if took := time.Since(began); took != 0 {
					t.Errorf("it took %s", took)
				}
				db.wantStored(t)
				if events, _ := kept.Backlog(); events != 2 {
					t.Errorf("the spool has %d events, want 2", events)
				}

				db.set(func() { db.away, db.gate, db.fails = false, nil, nil })
				next, _ := start(t, db, kept)
				wantDrained(t, kept)
				direct(t, next, batch("3"))
				db.wantStored(t, "1", "2", "3")
			})
		})
	}
}

// TestNothingIsLostOrDoubledInAnyTrouble checks that every acknowledged request is
// stored once, in the client's order, however the database fails.
func TestNothingIsLostOrDoubledInAnyTrouble(t *testing.T) {
	const clients, each = 5, 60
	for seed := range uint64(8) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				random := rand.New(rand.NewPCG(seed, 0))
				db, kept := &database{}, openDisk(t, 1<<20)
				began, ended := time.Now(), false
				trouble := func() bool { return !ended && time.Since(began)%(20*time.Second) < 10*time.Second }
				db.fails = func(models.Batch) error {
					if trouble() && random.IntN(5) == 0 {
						return away()
					}
					return nil
				}
				db.lose = func() bool { return trouble() && random.IntN(3) == 0 }
				q, stop := start(t, db, kept)
				var sending sync.WaitGroup
				for client := range clients {
					sending.Go(func() {
						for i := range each {
							b := batch(fmt.Sprint(client, " ", i))
							b.Events[0].Data = models.JSON("{}")
							if receipt, err := q.Append(t.Context(), b); err != nil || receipt.Spooled+receipt.Stored != 1 {
								t.Errorf("%s got %+v, %v", name(b), receipt, err)
							}
							<-time.After(time.Duration(1+client*7+i%13) * 100 * time.Millisecond)
						}
					})
				}
				sending.Wait()
				stop() // the next run of the program stores the rest
				db.set(func() { ended = true })
				start(t, db, kept)
				wantDrained(t, kept)
				if len(db.stored) != clients*each {
					t.Errorf("%d batches are stored, want %d", len(db.stored), clients*each)
				}
				for client := range clients {
					i := 0
					for _, stored := range db.stored {
						if !strings.HasPrefix(stored, fmt.Sprint(client, " ")) {
							continue
						}
						if want := fmt.Sprint(client, " ", i); stored != want {
							t.Errorf("%q is stored, want %q", stored, want)
						}
						i++
					}
				}
				if db.spooled == 0 || db.spooled == db.accepted {
					t.Errorf("%d of %d events were spooled: it is no test", db.spooled, db.accepted)
				}
			})
		})
	}
}
