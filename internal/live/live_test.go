package live

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"ospulse/internal/filter"
	"ospulse/internal/models"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// database keeps sessions and events in memory, for several hubs.
type database struct {
	mu       sync.Mutex
	sessions map[string]*models.Session
	events   map[string][]models.Event
	selects  func(*models.Event) bool // what a filter selects
	reads    int                      // of events
	listens  map[string]func(string)  // by hub
	lose     bool                     // no notification arrives
	payloads []string
}

func newDatabase(ids ...string) *database {
	db := &database{sessions: map[string]*models.Session{}, events: map[string][]models.Event{}, listens: map[string]func(string){}}
	for _, id := range ids {
		db.sessions[id] = &models.Session{ID: id}
	}
	return db
}

func (db *database) Get(ctx context.Context, id string) (*models.Session, error) {
	found, err := db.ListByID(ctx, []string{id})
	if len(found) == 0 {
		return nil, models.Errorf(models.CodeNotFound, "no %s", id)
	}
	return &found[0], err
}

func (db *database) ListByID(_ context.Context, ids []string) (found []models.Session, _ error) {
	db.mu.Lock()
	defer db.mu.Unlock()
	for _, id := range ids {
		if s := db.sessions[id]; s != nil {
			found = append(found, *s)
		}
	}
	return found, nil
}

func (db *database) ListHeads(ctx context.Context, ids []string) ([]models.Session, error) {
	return db.ListByID(ctx, ids)
}

func (db *database) ListHeadsAfter(ctx context.Context, after string, limit int) ([]models.Session, error) {
	db.mu.Lock()
	var ids []string
	for id := range db.sessions {
		if id > after {
			ids = append(ids, id)
		}
	}
	db.mu.Unlock()
	slices.Sort(ids)
	return db.ListByID(ctx, ids[:min(len(ids), limit)])
}

func (db *database) List(_ context.Context, id string, where *filter.Filter, page models.EventPage) (found []models.Event, _ error) {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.reads++
	for _, e := range db.events[id][min(int(page.After), len(db.events[id])):] {
		if page.Before > 0 && e.Seq >= page.Before {
			break
		}
		if where != nil && !db.selects(&e) {
			continue
		}
		e.DataRaw = []byte("no list has it")
		if found = append(found, e); len(found) == page.Limit {
			break
		}
	}
	return found, nil
}

// ListWhole returns one event at a time: each page is cut.
func (db *database) ListWhole(ctx context.Context, id string, where *filter.Filter, page models.EventPage, _ int) ([]models.Event, bool, error) {
	found, err := db.List(ctx, id, where, page)
	for i := range found {
		found[i].DataRaw = nil
	}
	return found[:min(1, len(found))], len(found) > 1, err
}

func (db *database) Listen(ctx context.Context, _ string, connected func(), heard func(string)) {
	name := fmt.Sprint(ctx)
	db.mu.Lock()
	db.listens[name] = heard
	db.mu.Unlock()
	connected()
	<-ctx.Done()
}

func (db *database) Notify(_ context.Context, _ string, payloads ...string) error {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.payloads = append(db.payloads, payloads...)
	if db.lose {
		return nil
	}
	for _, heard := range db.listens {
		for _, payload := range payloads {
			go heard(payload)
		}
	}
	return nil
}

// append commits n events. The caller decides whether a hub publishes them.
func (db *database) append(id string, n int) models.Batch {
	return db.appendOf(id, n, func(int64) models.JSON { return models.JSON("{}") })
}

// appendData is append with {"n": seq} as the data of each event.
func (db *database) appendData(id string, n int) models.Batch {
	return db.appendOf(id, n, func(seq int64) models.JSON { return models.JSON(fmt.Sprintf(`{"n":%d}`, seq)) })
}

func (db *database) appendOf(id string, n int, data func(seq int64) models.JSON) models.Batch {
	db.mu.Lock()
	defer db.mu.Unlock()
	batch := models.Batch{Events: make([]models.Incoming, n)}
	for i := range n {
		db.sessions[id].EventCount++
		seq := db.sessions[id].EventCount
		batch.Events[i].Event = models.Event{SessionID: id, Seq: seq, EventType: string("xy"[seq%2]), Data: data(seq)}
		db.events[id] = append(db.events[id], batch.Events[i].Event)
	}
	return batch
}

func receiptOf(batch models.Batch) []models.Receipt {
	n := len(batch.Events)
	return []models.Receipt{{Stored: n, Ranges: []models.SeqRange{{SessionID: batch.Events[0].SessionID, First: batch.Events[0].Seq, Last: batch.Events[n-1].Seq}}}}
}

func (db *database) change(change func()) {
	db.mu.Lock()
	defer db.mu.Unlock()
	change()
}

// start returns a running hub.
func start(t *testing.T, db *database) *Hub {
	h := New(db, db, db, Limits{Streams: 100, PerClient: 50})
	ctx, cancel := context.WithCancel(context.WithValue(context.Background(), h, h.name))
	done := make(chan struct{})
	go func() { h.Run(ctx); close(done) }()
	t.Cleanup(func() { h.Close(); cancel(); <-done })
	return h
}

func subscribe(t *testing.T, h *Hub, id string, after int64) *Stream {
	t.Helper()
	s, err := h.Subscribe(t.Context(), Asked{Client: "c", SessionID: id, After: &after})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if s.ctx.Err() == nil {
			s.Close()
		}
	})
	if u, err := s.Read(); err != nil || u.Session == nil || u.Session.ID != id || u.Seq != after {
		t.Fatalf("the stream begins with %+v, %v, want the session", u, err)
	}
	return s
}

// some gives the stream a filter. whole says whether the filter needs the data.
func (s *Stream) some(selects func(*models.Event) bool, whole bool) *Stream {
	s.where, s.match, s.whole = &filter.Filter{}, selects, whole
	return s
}

func seqsOf(t *testing.T, u Update) (seqs []int64) {
	t.Helper()
	for _, event := range u.Events {
		_, rest, _ := bytes.Cut(event, []byte(`"seq":`)) // decoding whole events would take most of the time of the test
		digits, _, _ := bytes.Cut(rest, []byte(","))
		seq, err := strconv.ParseInt(string(digits), 10, 64)
		if err != nil {
			t.Fatalf("%v in %s", err, event)
		}
		seqs = append(seqs, seq)
	}
	return seqs
}

// readAll returns the seqs of all available events.
func readAll(t *testing.T, s *Stream) []int64 {
	t.Helper()
	var seqs []int64
	for {
		u, err := s.Read()
		if err != nil {
			t.Fatal(err)
		}
		seqs = append(seqs, seqsOf(t, u)...)
		if len(u.Events) > maxUpdateEvents || len(u.Events) > 0 && (u.Last != seqs[len(seqs)-1] || u.Seq < u.Last) {
			t.Errorf("an update has %d events, the last of them %d, and seq %d", len(u.Events), u.Last, u.Seq)
		}
		if u.Changed != nil {
			return seqs
		}
	}
}

func from(first, last int64) (seqs []int64) {
	for seq := first; seq <= last; seq++ {
		seqs = append(seqs, seq)
	}
	return seqs
}

func odd(e *models.Event) bool { return e.Seq%2 == 1 }

func TestStreamReadsFromTheRing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := newDatabase("s")
		h := start(t, db)
		all, some, data := subscribe(t, h, "s", 0), subscribe(t, h, "s", 0).some(odd, false), subscribe(t, h, "s", 0).some(odd, true)
		for range 5 {
			batch := db.append("s", 700)
			h.Published([]models.Batch{batch}, receiptOf(batch))
		}
		if got := readAll(t, all); !slices.Equal(got, from(1, 3500)) {
			t.Errorf("got %d events, want 3500", len(got))
		}
		for name, s := range map[string]*Stream{"some": some, "data": data} {
			if got := readAll(t, s); len(got) != 1750 || got[1749] != 3499 {
				t.Errorf("%s: got %d events, want every other one", name, len(got))
			}
			if s.seq != 3500 {
				t.Errorf("%s: the stream stands at %d, want 3500", name, s.seq)
			}
		}
		if db.reads != 0 {
			t.Errorf("the database was read %d times", db.reads)
		}
		all.topic.mu.Lock()
		defer all.topic.mu.Unlock()
		if first, again := all.topic.ring[0].listed(), some.topic.ring[0].listed(); &first[0] != &again[0] {
			t.Error("an event is written twice")
		}
	})
}

// TestStreamGivesFields checks that a stream with fields gets them from the ring and
// from the database, and that other streams get the same events as before.
func TestStreamGivesFields(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := newDatabase("s")
		db.selects = odd
		h := start(t, db)
		fields, err := filter.ParsePaths("data.n")
		if err != nil {
			t.Fatal(err)
		}
		after := int64(0)
		asked := Asked{Client: "c", SessionID: "s", After: &after, Fields: fields}
		s, err := h.Subscribe(t.Context(), asked)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		asked.Where = &filter.Filter{}
		some, err := h.Subscribe(t.Context(), asked)
		if err != nil {
			t.Fatal(err)
		}
		defer some.Close()
		some.match = odd
		plain := subscribe(t, h, "s", 0)
		db.appendData("s", 10)          // of another program, in no ring
		batch := db.appendData("s", 10) // of this program
		h.Published([]models.Batch{batch}, receiptOf(batch))
		for name, want := range map[*Stream]struct {
			events int
			fields bool
		}{s: {20, true}, some: {10, true}, plain: {20, false}} {
			events := 0
			for {
				u, err := name.Read()
				if err != nil {
					t.Fatal(err)
				}
				for _, event := range u.Events {
					var e struct {
						Seq    int64
						Fields map[string]int64
					}
					if err := json.Unmarshal(event, &e); err != nil || (e.Fields != nil) != want.fields || want.fields && e.Fields["data.n"] != e.Seq {
						t.Errorf("%v, %s", err, event)
					}
					events++
				}
				if u.Changed != nil {
					break
				}
			}
			if events != want.events || name.seq != 20 {
				t.Errorf("a stream gave %d events up to %d, want %d", events, name.seq, want.events)
			}
		}
	})
}

// TestStreamReadsWhatOthersStored checks that events which another program stored are
// read once for all streams, and separately for a stream that needs the data.
func TestStreamReadsWhatOthersStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := newDatabase("s")
		db.selects = odd
		h, other := start(t, db), start(t, db)
		var streams []*Stream
		for range 20 {
			streams = append(streams, subscribe(t, h, "s", 0))
		}
		data := subscribe(t, h, "s", 0).some(odd, true)
		synctest.Wait()
		for range 10 { // alternately
			batch := db.append("s", 7)
			other.Published([]models.Batch{batch}, receiptOf(batch))
			batch = db.append("s", 5)
			h.Published([]models.Batch{batch}, receiptOf(batch))
		}
		<-time.After(announceInterval)
		synctest.Wait()
		for i, s := range streams {
			if got := readAll(t, s); !slices.Equal(got, from(1, 120)) {
				t.Errorf("stream %d got %v, want 1 to 120", i, got)
			}
		}
		if db.reads > 10 {
			t.Errorf("the database was read %d times for 10 gaps", db.reads)
		}
		if got := readAll(t, data); len(got) != 60 || got[59] != 119 {
			t.Errorf("the stream with a filter got %v", got)
		}
	})
}

// TestRingIsBounded checks that a ring stays within its limits, and that a stream which
// needs older events reads the database.
func TestRingIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := newDatabase("s", "big")
		h := start(t, db)
		s, big := subscribe(t, h, "s", 0), subscribe(t, h, "big", 0)
		for range 10 {
			batch := db.append("s", 1000)
			h.Published([]models.Batch{batch}, receiptOf(batch))
		}
		if n := len(s.topic.ring); n != ringEvents {
			t.Errorf("the ring has %d events, want %d", n, ringEvents)
		}
		for range 30 {
			batch := db.append("big", 1)
			batch.Events[0].Data = models.JSON(`"` + strings.Repeat("x", 1<<20) + `"`)
			h.Published([]models.Batch{batch}, receiptOf(batch))
		}
		if n := len(big.topic.ring); n != 3 || big.topic.bytes > ringBytes {
			t.Errorf("the ring has %d events of 1 MB, %d bytes", n, big.topic.bytes)
		}
		if got := readAll(t, s); !slices.Equal(got, from(1, 10_000)) {
			t.Errorf("got %d events, want all", len(got))
		}
		if got := readAll(t, big); !slices.Equal(got, from(1, 30)) {
			t.Errorf("got %v, want all", got)
		}
		if sum := s.topic.bytes + big.topic.bytes; h.ringBytes.Load() != sum {
			t.Errorf("%d bytes are counted, of %d", h.ringBytes.Load(), sum)
		}
		topic := s.topic
		s.Close()
		big.Close()
		batch := db.append("s", 1)
		topic.publish(batch.Events) // it was just looked up
		if h.ringBytes.Load() != 0 || len(h.topics) != 0 || h.open != 0 || len(h.clients) != 0 {
			t.Errorf("%d bytes, %d topics and %d streams are left", h.ringBytes.Load(), len(h.topics), h.open)
		}
	})
}

// TestSparseFilterGoesOn checks that a filter which selects few events reads the
// database in windows and reports its progress.
func TestSparseFilterGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := newDatabase("s")
		db.selects = func(e *models.Event) bool { return e.Seq%70_000 == 0 }
		db.append("s", 200_000)
		h := start(t, db)
		s := subscribe(t, h, "s", 0).some(db.selects, false)
		var steps []int64
		var seqs int
		for {
			u, err := s.Read()
			if err != nil {
				t.Fatal(err)
			}
			if u.Changed != nil {
				break
			}
			seqs += len(u.Events)
			steps = append(steps, u.Seq)
		}
		if seqs != 2 || steps[len(steps)-1] != 200_000 || !slices.IsSorted(steps) {
			t.Errorf("got %d events in the steps %v, want 2", seqs, steps)
		}
		if db.reads < 5 || db.reads > 20 {
			t.Errorf("it took %d reads: the windows do not grow", db.reads)
		}
	})
}

// TestLostWordsOnlyDelay checks that a lost notification only delays what it announced.
func TestLostWordsOnlyDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := newDatabase("s", "t")
		db.lose = true
		h, other := start(t, db), start(t, db)
		s := subscribe(t, h, "s", 0)
		all, err := h.SubscribeSessions(t.Context(), "c")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(all.Close)
		for range 3 {
			batch := db.append("s", 3)
			other.Published([]models.Batch{batch}, receiptOf(batch))
			db.change(func() {
				db.sessions["s"].UpdatedAt = time.Now()
				db.sessions[fmt.Sprint("new ", batch.Events[0].Seq)] = &models.Session{ID: fmt.Sprint("new ", batch.Events[0].Seq)}
			})
			other.SessionChanged("s")
			<-time.After(pollInterval)
			synctest.Wait()
			if u, err := s.Read(); err != nil || u.Session == nil || u.Session.EventCount != batch.Events[2].Seq {
				t.Errorf("got %+v, %v, want the session", u, err)
			}
			if got := readAll(t, s); !slices.Equal(got, from(batch.Events[0].Seq, batch.Events[2].Seq)) {
				t.Errorf("got %v, want three events", got)
			}
			changes, _ := all.Read(10)
			if len(changes) != 2 || changes[0].Session == nil || changes[1].Session == nil {
				t.Errorf("of the sessions got %+v, want a changed and a new one", changes)
			}
		}
		db.change(func() { delete(db.sessions, "s"); delete(db.sessions, "new 1") })
		<-time.After(pollInterval)
		synctest.Wait()
		if u, err := s.Read(); err != nil || !u.Deleted {
			t.Errorf("got %+v, %v, want that it is deleted", u, err)
		}
		changes, _ := all.Read(10)
		if len(changes) != 2 || changes[0].Session != nil || changes[1].Session != nil {
			t.Errorf("of the sessions got %+v, want that two are gone", changes)
		}
		if _, changed := all.Read(10); changed == nil {
			t.Error("there is more, and should not be")
		}
	})
}

// TestMissingEventsArePassedOverByNoOne checks that no stream skips events that the
// database has lost.
func TestMissingEventsArePassedOverByNoOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := newDatabase("s")
		h := start(t, db)
		near, far := subscribe(t, h, "s", 0), subscribe(t, h, "s", 0)
		db.append("s", 10_000)
		lost := db.events["s"]
		db.events["s"] = nil
		near.topic.advance(10)
		if _, err := near.Read(); models.ErrorCode(err) != models.CodeUnavailable {
			t.Errorf("got %v, want unavailable", err)
		}
		far.topic.advance(10_000)
		if _, err := far.Read(); models.ErrorCode(err) != models.CodeUnavailable {
			t.Errorf("got %v, want unavailable", err)
		}
		db.events["s"] = lost
		for _, s := range []*Stream{near, far} {
			if got := readAll(t, s); !slices.Equal(got, from(1, 10_000)) {
				t.Errorf("got %d events, want all", len(got))
			}
		}
	})
}

func TestSubscribeRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := newDatabase("s")
		db.append("s", 5)
		h := start(t, db)
		six := int64(6)
		for id, after := range map[string]*int64{"s": &six, "none": nil} {
			want := map[string]models.Code{"s": models.CodeInvalid, "none": models.CodeNotFound}[id]
			if _, err := h.Subscribe(t.Context(), Asked{SessionID: id, After: after}); models.ErrorCode(err) != want {
				t.Errorf("%s: got %v, want %s", id, err, want)
			}
		}
		for range 50 {
			subscribe(t, h, "s", 5)
		}
		if _, err := h.Subscribe(t.Context(), Asked{Client: "c", SessionID: "s"}); models.ErrorCode(err) != models.CodeOverloaded || !strings.Contains(err.Error(), "STREAMS_PER_CLIENT") {
			t.Errorf("one more for a client got %v", err)
		}
		if len(h.topics) != 1 || h.topics["s"].streams != 50 || h.open != 50 {
			t.Errorf("those that were refused left something: %d topics, %d streams", len(h.topics), h.open)
		}
		h.Close()
		if _, err := h.Subscribe(t.Context(), Asked{Client: "d", SessionID: "s"}); models.ErrorCode(err) != models.CodeUnavailable {
			t.Errorf("after the end got %v", err)
		}
	})
}

// TestRepeatedBatchIsNotPublished checks that a batch which was stored earlier, under
// other numbers, is not published.
func TestRepeatedBatchIsNotPublished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := newDatabase("s")
		h := start(t, db)
		s := subscribe(t, h, "s", 0)
		repeated, batch := models.Batch{Events: []models.Incoming{{Event: models.Event{SessionID: "s"}}}}, db.append("s", 1)
		h.Published([]models.Batch{repeated, batch}, []models.Receipt{{Stored: 1, Repeated: true, Ranges: []models.SeqRange{{SessionID: "s", First: 1, Last: 9}}}, receiptOf(batch)[0]})
		if got := readAll(t, s); !slices.Equal(got, from(1, 1)) {
			t.Errorf("got %v, want the one that is new", got)
		}
	})
}

// TestAnnouncementsFit checks that many announcements at once are split into payloads
// of the permitted size, and that all arrive.
func TestAnnouncementsFit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := newDatabase()
		h, other := start(t, db), start(t, db)
		for i := range 300 {
			id := fmt.Sprintf("%03d%s", i, strings.Repeat("\x01", 252))
			db.change(func() { db.sessions[id] = &models.Session{ID: id} })
		}
		all, err := other.SubscribeSessions(t.Context(), "c")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(all.Close)
		ids, _ := db.ListHeadsAfter(t.Context(), "", 1000)
		for i := range ids {
			db.change(func() { db.sessions[ids[i].ID].UpdatedAt = time.Now() })
			h.SessionChanged(ids[i].ID)
		}
		<-time.After(2 * announceInterval)
		synctest.Wait()
		for _, payload := range db.payloads {
			if len(payload) > maxPayload {
				t.Errorf("a payload has %d bytes", len(payload))
			}
		}
		if changes, _ := all.Read(1000); len(changes) != 300 {
			t.Errorf("%d of 300 words came through", len(changes))
		}
	})
}

// follower follows a session's stream.
type follower struct {
	s    *Stream
	kind int // 0 gets all events, 1 and 2 those that a filter selects
	seqs []int64
}

// TestStreamsMissNothingInAnyOrder checks that each stream gets each event that it
// selects once, in order, while programs write alternately, notifications are late or
// lost, and streams are closed and resumed.
func TestStreamsMissNothingInAnyOrder(t *testing.T) {
	for seed := range uint64(8) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 0))
			db := newDatabase("s")
			db.selects = odd
			hubs := []*Hub{start(t, db), start(t, db)}
			db.lose = seed%2 == 0
			follow := func(f *follower, after int64) {
				f.s = subscribe(t, hubs[random.IntN(2)], "s", after)
				if f.kind > 0 {
					f.s.some(odd, f.kind == 2)
				}
			}
			var followers []*follower
			for i := range 9 {
				f := &follower{kind: i % 3}
				follow(f, 0)
				followers = append(followers, f)
			}
			for range 300 {
				switch random.IntN(4) {
				case 0, 1:
					batch := db.append("s", 1+random.IntN(20)*random.IntN(40))
					hub := hubs[random.IntN(2)]
					if random.IntN(10) > 0 { // else the program died before it published
						hub.Published([]models.Batch{batch}, receiptOf(batch))
					}
				case 2:
					f := followers[random.IntN(len(followers))]
					for range random.IntN(4) {
						u, err := f.s.Read()
						if err != nil {
							t.Fatal(err)
						}
						f.seqs = append(f.seqs, seqsOf(t, u)...)
					}
					if random.IntN(3) == 0 {
						after := f.s.seq
						f.s.Close()
						follow(f, after)
					}
				case 3:
					<-time.After(time.Duration(random.IntN(100)) * time.Millisecond)
				}
			}
			<-time.After(2 * pollInterval)
			for i, f := range followers {
				f.seqs = append(f.seqs, readAll(t, f.s)...)
				want := from(1, db.sessions["s"].EventCount)
				if f.kind > 0 {
					want = slices.DeleteFunc(want, func(seq int64) bool { return seq%2 == 0 })
				}
				if !slices.Equal(f.seqs, want) {
					t.Errorf("seed %d: follower %d got %d events of %d, or not in order", seed, i, len(f.seqs), len(want))
				}
			}
		})
	}
}

// TestRingHoldsEventsOnly checks that an event in a ring keeps nothing of its request
// in memory, and that an event which the ring will not keep is not copied.
func TestRingHoldsEventsOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := newDatabase("s")
		h := start(t, db)
		s := subscribe(t, h, "s", 0)
		var freed atomic.Bool
		func() {
			body := make([]byte, 16<<20)
			copy(body, `"small"`)
			runtime.AddCleanup(&body[0], func(freed *atomic.Bool) { freed.Store(true) }, &freed)
			batch := db.append("s", 1)
			batch.Events[0].Data = body[:7]
			h.Published([]models.Batch{batch}, receiptOf(batch))
		}()
		if n := len(s.topic.ring); n != 1 || string(s.topic.ring[0].event.Data) != `"small"` || h.RingBytes() > 2*itemBytes {
			t.Errorf("the ring has %d events, %d bytes", n, h.RingBytes())
		}
		for !freed.Load() {
			runtime.GC()
		}
	})
}

// TestFindingsAreTold checks that streams hear of changed findings, once each, from this
// backend and from another one, and if the notification is lost; and that this moves no
// stream.
func TestFindingsAreTold(t *testing.T) {
	for _, lose := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			db := newDatabase("s")
			db.lose = lose
			hubs := []*Hub{start(t, db), start(t, db)}
			batch := db.append("s", 3)
			hubs[0].Published([]models.Batch{batch}, receiptOf(batch))
			db.change(func() { db.sessions["s"].FindingVersion = 7 }) // before the streams
			s := subscribe(t, hubs[0], "s", 1)
			all, err := hubs[0].SubscribeSessions(t.Context(), "c")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(all.Close)
			if got := readAll(t, s); !slices.Equal(got, []int64{2, 3}) {
				t.Errorf("got %v", got)
			}
			all.Read(10)
			for i, hub := range hubs {
				version := int64(8 + i)
				db.change(func() { db.sessions["s"].FindingVersion = version })
				hub.FindingsChanged("s")
				if hub == hubs[0] {
					<-time.After(time.Millisecond) // without a poll
				} else {
					<-time.After(pollInterval + countInterval)
				}
				synctest.Wait()
				if u, err := s.Read(); err != nil || u.Found == nil || u.Found.FindingVersion != version || u.Seq != 3 || u.Session != nil {
					t.Errorf("lose %t, hub %d: got %+v, %v, want the findings", lose, i, u, err)
				}
				if u, err := s.Read(); err != nil || u.Changed == nil {
					t.Errorf("lose %t, hub %d: then got %+v, %v, want nothing", lose, i, u, err)
				}
				changes, _ := all.Read(10)
				if len(changes) != 1 || !changes[0].Found || changes[0].Changed || changes[0].Session.FindingVersion != version {
					t.Errorf("lose %t, hub %d: of all sessions got %+v", lose, i, changes)
				}
			}
			// A change of both is told as both.
			db.change(func() { db.sessions["s"].FindingVersion, db.sessions["s"].UpdatedAt = 20, time.Now() })
			hubs[0].SessionChanged("s")
			synctest.Wait()
			first, _ := s.Read()
			second, _ := s.Read()
			if first.Session == nil || second.Found == nil {
				t.Errorf("of a change of both got %+v and %+v", first, second)
			}
			if changes, _ := all.Read(10); len(changes) != 1 || !changes[0].Found || !changes[0].Changed {
				t.Errorf("of a change of both got %+v", changes)
			}
			batch = db.append("s", 2)
			hubs[0].Published([]models.Batch{batch}, receiptOf(batch))
			if got := readAll(t, s); !slices.Equal(got, []int64{4, 5}) {
				t.Errorf("the stream went on with %v", got)
			}
		})
	}
}

// TestStreamWaitsUntilItsFilterKnows checks that a stream whose filter names findings neither
// sends nor passes over an event before its findings are known, from the ring and from the
// database, and that it asks again by itself.
func TestStreamWaitsUntilItsFilterKnows(t *testing.T) {
	for name, text := range map[string]string{"ring": "finding = true", "database": "finding = true and not data.x = 1"} {
		published := name == "ring"
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				db := newDatabase("s")
				h := start(t, db)
				known := &filter.Known{UpTo: 2, Findings: []models.Finding{{Seqs: []int64{2}}}}
				renew := func(_ context.Context, where *filter.Filter) (*filter.Filter, error) { return where.WithKnown(known) }
				where, err := filter.Parse(text)
				if err == nil {
					where, err = renew(t.Context(), where)
				}
				if err != nil {
					t.Fatal(err)
				}
				after := int64(0)
				s, err := h.Subscribe(t.Context(), Asked{Client: "c", SessionID: "s", After: &after, Where: where, Renew: renew})
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				db.selects = func(e *models.Event) bool { return s.where.Match(e) }
				batch := db.append("s", 3000)
				if published {
					h.Published([]models.Batch{batch}, receiptOf(batch))
				} else {
					s.topic.saw(db.sessions["s"], false)
				}
				if got := readAll(t, s); !slices.Equal(got, []int64{2}) || s.seq != 2 {
					t.Errorf("the stream has %v and stands at %d, although it knows only 2 events", got, s.seq)
				}
				known = &filter.Known{UpTo: 2990, Findings: []models.Finding{{Seqs: []int64{2, 3, 2990, 3000}}}}
				u, err := s.Read()
				if err != nil || u.Changed == nil && len(u.Events) == 0 {
					t.Fatal(u, err)
				}
				got := append(seqsOf(t, u), readAll(t, s)...)
				if !slices.Equal(got, []int64{3, 2990}) || s.seq != 2990 {
					t.Errorf("the stream has %v and stands at %d", got, s.seq)
				}
				known = &filter.Known{UpTo: 3000, Findings: known.Findings}
				if u, err = s.Read(); err != nil || u.Changed != nil && len(u.Events) == 0 {
					<-u.Changed // it is not the hub that closes it: no event comes
					u, err = s.Read()
				}
				if got := seqsOf(t, u); err != nil || !slices.Equal(got, []int64{3000}) {
					t.Errorf("at last the stream has %v, %v", got, err)
				}
			})
		})
	}
}
