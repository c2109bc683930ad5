package repository_test

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"ospulse/internal/database"
	"ospulse/internal/models"
	"ospulse/internal/repository"
	"ospulse/test/dbtest"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 123_456_000, time.UTC)

func newEvent(sessionID string, at time.Time) models.Event {
	return models.Event{
		SessionID: sessionID, EventType: models.TypeFile, Source: "test", Data: models.JSON(`{}`),
		Timestamp: at, TimestampSource: models.TimestampFromAgent,
	}
}

// batchOf returns a batch without a key.
func batchOf(events ...models.Event) models.Batch {
	incoming := make([]models.Incoming, len(events))
	for i := range events {
		incoming[i].Event = events[i]
	}
	return models.Batch{Events: incoming}
}

// appendGroup stores batches of events that name their sessions.
func appendGroup(ctx context.Context, events *repository.Events, batches ...models.Batch) ([]models.Receipt, error) {
	return events.Append(ctx, named(models.Group{Batches: batches}))
}

// named names the session of each event.
func named(group models.Group) models.Group {
	for _, batch := range group.Batches {
		for i := range batch.Events {
			batch.Events[i].RequestHint = batch.Events[i].SessionID
		}
	}
	return group
}

// appendBatch stores one batch.
func appendBatch(ctx context.Context, events *repository.Events, batch models.Batch) (models.Receipt, error) {
	receipts, err := appendGroup(ctx, events, batch)
	if err != nil {
		return models.Receipt{}, err
	}
	return receipts[0], nil
}

// appendEvents stores events and sets their numbers and IDs.
func appendEvents(t testing.TB, db *database.DB, batch []models.Event) []models.Event {
	t.Helper()
	events := repository.NewEvents(db)
	b := batchOf(batch...)
	if _, err := appendBatch(t.Context(), events, b); err != nil {
		t.Fatal(err)
	}
	ids := map[string]map[int64]uint64{} // by session and seq
	for i := range batch {
		batch[i] = b.Events[i].Event
		id, after := batch[i].SessionID, batch[i].Seq-1
		if ids[id] == nil {
			ids[id] = map[int64]uint64{}
		}
		if _, isKnown := ids[id][batch[i].Seq]; !isKnown {
			stored, err := events.ListBySeq(t.Context(), id, after, after+int64(len(batch)-i), len(batch)-i)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range stored {
				ids[id][e.Seq] = e.ID
			}
		}
		if batch[i].ID = ids[id][batch[i].Seq]; batch[i].ID == 0 {
			t.Fatalf("event %d is not stored", i)
		}
	}
	return batch
}

// createSession creates a session. All have the same file.
func createSession(t testing.TB, db *database.DB, id string) *models.Session {
	t.Helper()
	file := &models.TargetFile{SHA256: strings.Repeat("0", 64), SizeBytes: 1}
	session := &models.Session{ID: id, FileName: "sample", FileSHA256: &file.SHA256}
	if err := repository.NewSessions(db).Create(t.Context(), session, file, func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	return session
}

func TestAppendGivesBackWhatWasStored(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		events := repository.NewEvents(db)
		createSession(t, db, "s")
		pid, name, text := int64(-1), "プロセス", "yesterday"
		want := newEvent("s", noon)
		want.PID, want.ProcessName, want.TimestampText = &pid, &name, &text
		want.Data, want.DataRaw = models.JSON(`{"a": 12345678901234567890}`), []byte("{\"a\" :\"\\u0000\xf0\x9f\x98\x80\"}")
		batch := appendEvents(t, db, []models.Event{want, newEvent("s", noon), newEvent(models.UnassignedID, noon)})
		if batch[0].Seq != 1 || batch[1].Seq != 2 || batch[2].Seq != 1 {
			t.Errorf("seqs are %d, %d and %d, want 1, 2 and 1", batch[0].Seq, batch[1].Seq, batch[2].Seq)
		}
		found, err := events.ListSeqs(t.Context(), "s", []int64{2, 1})
		if err != nil || len(found) != 2 {
			t.Fatalf("found %d, %v", len(found), err)
		}
		got := found[1]
		if !got.Timestamp.Equal(noon) || got.Timestamp.Location() != time.UTC {
			t.Errorf("the time is %v, want %v", got.Timestamp, noon)
		}
		if *got.PID != pid || *got.ProcessName != name || *got.TimestampText != text || got.Operation != nil {
			t.Errorf("hot fields are %v %v %v %v", *got.PID, *got.ProcessName, *got.TimestampText, got.Operation)
		}
		if string(got.Data) != string(want.Data) || string(got.Payload()) != string(want.DataRaw) {
			t.Errorf("data is %s, payload %s", got.Data, got.Payload())
		}
		if got.CreatedAt.IsZero() || got.UpdatedAt.IsZero() || got.IsSent {
			t.Errorf("created %v, updated %v, sent %v", got.CreatedAt, got.UpdatedAt, got.IsSent)
		}
		session, err := repository.NewSessions(db).Get(t.Context(), "s")
		if err != nil || session.EventCount != 2 {
			t.Errorf("the session counts %d events, want 2 (%v)", session.EventCount, err)
		}
	})
}

// TestConcurrentAppendsNumberWithoutGaps runs fifty writers that append to two sessions
// in either order while others give up in the middle. Every session's seqs must be 1…n,
// in the order of IDs.
func TestConcurrentAppendsNumberWithoutGaps(t *testing.T) {
	const writers, rounds = 50, 8
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		events := repository.NewEvents(db)
		createSession(t, db, "a")
		createSession(t, db, "b")
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				for round := range rounds {
					first, second := "a", "b"
					if (w+round)%2 == 0 {
						first, second = second, first
					}
					batch := batchOf(newEvent(first, noon), newEvent(second, noon), newEvent(first, noon))
					if _, err := appendBatch(t.Context(), events, batch); err != nil {
						t.Error(err)
					}
					gone, cancel := context.WithTimeout(t.Context(), time.Duration(round)*100*time.Microsecond)
					_, _ = appendBatch(gone, events, batchOf(newEvent("a", noon))) // may or may not be stored
					cancel()
				}
			})
		}
		wg.Wait()
		for _, id := range []string{"a", "b"} {
			session, err := repository.NewSessions(db).Get(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			stored, err := events.ListBySeq(t.Context(), id, 0, 1<<40, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			if int64(len(stored)) != session.EventCount || len(stored) < writers*rounds*3/2 {
				t.Errorf("session %s has %d events and counts %d", id, len(stored), session.EventCount)
			}
			for i, event := range stored {
				if event.Seq != int64(i+1) || i > 0 && event.ID <= stored[i-1].ID {
					t.Fatalf("session %s: event %d has seq %d and ID %d", id, i, event.Seq, event.ID)
				}
			}
		}
	})
}

func TestClaimUnsent(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		events := repository.NewEvents(db)
		createSession(t, db, "s")
		batch := []models.Event{newEvent(models.UnassignedID, noon)}
		for i := range 10 {
			batch = append(batch, newEvent("s", noon.Add(time.Duration(i)*time.Second)))
		}
		appendEvents(t, db, batch)
		claim := func(filter models.EventFilter) []int64 {
			t.Helper()
			ids, err := events.ClaimUnsent(t.Context(), "s", filter)
			if err != nil {
				t.Fatal(err)
			}
			return ids
		}
		id := func(i int) int64 { return int64(i + 1) }
		if got, want := claim(models.EventFilter{Limit: 2}), []int64{id(9), id(8)}; !slices.Equal(got, want) {
			t.Errorf("first claim is %v, want the newest %v", got, want)
		}
		span := models.EventFilter{Start: noon.Add(2 * time.Second), End: noon.Add(4 * time.Second), Limit: 100}
		if got, want := claim(span), []int64{id(4), id(3), id(2)}; !slices.Equal(got, want) {
			t.Errorf("claim of a span is %v, want %v, both ends included", got, want)
		}
		if err := events.Unclaim(t.Context(), "s", []int64{id(3)}); err != nil {
			t.Fatal(err)
		}
		if got, want := claim(models.EventFilter{Limit: 100}), []int64{id(7), id(6), id(5), id(3), id(1), id(0)}; !slices.Equal(got, want) {
			t.Errorf("the rest is %v, want %v", got, want)
		}
		if got := claim(models.EventFilter{Limit: 100}); got == nil || len(got) != 0 {
			t.Errorf("nothing is left, yet a claim gives %v", got)
		}
	})
}

func TestConcurrentClaimsShareTheEvents(t *testing.T) {
	const total, pollers, writers = 2000, 10, 5
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		events := repository.NewEvents(db)
		createSession(t, db, "s")
		var (
			wg       sync.WaitGroup
			mu       sync.Mutex
			claimed  = map[int64]int{}
			appended = make(chan struct{})
		)
		for range pollers {
			wg.Go(func() {
				for done := false; ; {
					ids, err := events.ClaimUnsent(t.Context(), "s", models.EventFilter{Limit: 37})
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					for _, id := range ids {
						claimed[id]++
					}
					mu.Unlock()
					if len(ids) == 0 && done {
						return
					}
					select {
					case <-appended:
						done = true
					default:
					}
				}
			})
		}
		var appends sync.WaitGroup
		for w := range writers {
			appends.Go(func() {
				for i := range total / writers / 20 {
					batch := make([]models.Event, 20)
					for j := range batch {
						batch[j] = newEvent("s", noon.Add(time.Duration(w*7+i*3+j)*time.Millisecond))
					}
					if _, err := appendBatch(t.Context(), events, batchOf(batch...)); err != nil {
						t.Error(err)
					}
				}
			})
		}
		appends.Wait()
		close(appended)
		wg.Wait()
		if len(claimed) != total {
			t.Errorf("%d of %d events were claimed", len(claimed), total)
		}
		for id, times := range claimed {
			if times != 1 {
				t.Fatalf("event %d was claimed %d times", id, times)
			}
		}
	})
}

func TestListAllGoesByID(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		events := repository.NewEvents(db)
		createSession(t, db, "s")
		var batch []models.Event
		for i := range 7 {
			batch = append(batch, newEvent([]string{"s", models.UnassignedID}[i%2], noon))
		}
		appendEvents(t, db, batch)
		upTo := batch[5].ID
		var got []string
		for after := uint64(0); ; {
			page, err := events.ListAll(t.Context(), after, upTo, 4)
			if err != nil {
				t.Fatal(err)
			}
			if len(page) == 0 {
				break
			}
			for _, e := range page {
				got = append(got, fmt.Sprint(e.ID))
			}
			after = page[len(page)-1].ID
		}
		if len(got) != 6 || !slices.IsSortedFunc(got, func(a, b string) int { return len(a) - len(b) }) {
			t.Errorf("got %v, want six by ID", got)
		}
	})
}

func TestReceiptsTellTheNumbers(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		createSession(t, db, "s")
		faults := []models.ItemFault{{Index: 3, Error: "no event"}}
		first, second := batchOf(newEvent("s", noon), newEvent(models.UnassignedID, noon), newEvent("s", noon)), batchOf(newEvent("s", noon))
		first.Faults = faults
		receipts, err := appendGroup(t.Context(), repository.NewEvents(db), first, second)
		if err != nil {
			t.Fatal(err)
		}
		want := []models.Receipt{
			{Stored: 3, Ranges: []models.SeqRange{{SessionID: "s", First: 1, Last: 2}, {SessionID: models.UnassignedID, First: 1, Last: 1}}, Faults: faults},
			{Stored: 1, Ranges: []models.SeqRange{{SessionID: "s", First: 3, Last: 3}}},
		}
		if !reflect.DeepEqual(receipts, want) {
			t.Errorf("got %+v, want %+v", receipts, want)
		}
	})
}

func TestRepeatedKeyIsStoredOnce(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		events := repository.NewEvents(db)
		keyed := func(key, digest string, n int) models.Batch {
			b := batchOf(slices.Repeat([]models.Event{newEvent(models.UnassignedID, noon)}, n)...)
			b.Key, b.Digest = key, digest
			return b
		}
		// In one group, the first batch of each key is stored and the others get its
		// receipt.
		receipts, err := appendGroup(t.Context(), events, keyed("b", "1", 2), keyed("a", "2", 1), keyed("b", "1", 2), keyed("", "", 1))
		if err != nil {
			t.Fatal(err)
		}
		if !receipts[2].Repeated || receipts[0].Repeated {
			t.Errorf("got %+v, want the third repeated", receipts)
		}
		receipts[2].Repeated = false
		if receipts[0].Stored != 2 || !reflect.DeepEqual(receipts[0], receipts[2]) || receipts[1].Ranges[0].First != 3 || receipts[3].Ranges[0].Last != 4 {
			t.Errorf("got %+v", receipts)
		}
		again, err := appendBatch(t.Context(), events, keyed("b", "1", 2))
		again.Repeated = false
		if err != nil || !reflect.DeepEqual(again, receipts[0]) {
			t.Errorf("the same again got %+v, %v; want %+v", again, err, receipts[0])
		}
		if _, err := appendGroup(t.Context(), events, keyed("", "", 1), keyed("b", "other", 2)); models.ErrorCode(err) != models.CodeConflict {
			t.Errorf("another request of the key got %v, want a conflict", err)
		}
		if session, err := repository.NewSessions(db).Get(t.Context(), models.UnassignedID); err != nil || session.EventCount != 4 {
			t.Errorf("%d events are stored, %v; want 4", session.EventCount, err)
		}
	})
}

// TestKeyBelongsToItsAgent checks that an agent cannot take the key of another one, and that
// a request is recognized that was stored before the agent had a key.
func TestKeyBelongsToItsAgent(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		events := repository.NewEvents(db)
		key := strings.Repeat("k", 255)
		var stored int64
		for _, step := range []struct {
			agent, digest string // agent "" has no key
			want          string
		}{
			{"hostile", "1", "stored"}, {"lab", "2", "stored"}, {"lab", "2", "repeated"}, {"hostile", "1", "repeated"}, {"lab", "3", "conflict"},
			{"", "4", "stored"}, {"", "4", "repeated"}, {"", "1", "conflict"},
			{"other", "4", "repeated"}, {"other", "5", "stored"}, {"other", "5", "repeated"}, {"other", "4", "repeated"}, {"other", "6", "conflict"},
			{strings.Repeat("a", 255), "1", "stored"},
		} {
			b := batchOf(newEvent(models.UnassignedID, noon))
			b.Key, b.Digest, b.AgentID, b.OwnSessionsOnly = key, step.digest, step.agent, step.agent != ""
			receipt, err := appendBatch(t.Context(), events, b)
			got := string(models.ErrorCode(err))
			switch {
			case err == nil && receipt.Repeated:
				got = "repeated"
			case err == nil:
				got = "stored"
				stored++
			}
			if got != step.want || err == nil && receipt.Stored != 1 {
				t.Errorf("%+v: %s, %+v, %v", step, got, receipt, err)
			}
		}
		if session, err := repository.NewSessions(db).Get(t.Context(), models.UnassignedID); err != nil || session.EventCount != stored {
			t.Errorf("%d events are stored, %v; want %d", session.EventCount, err, stored)
		}
	})
}

// TestOldKeysAreDeletedButTheNewest checks that the newest key of each session is kept:
// an agent that was offline for long repeats its last request.
func TestOldKeysAreDeletedButTheNewest(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		events := repository.NewEvents(db)
		const kept = 64
		want := map[string]bool{} // whether the key must remain
		for session, n := range map[string]int{"many": kept + 600, "few": 3, models.UnassignedID: kept + 1} {
			if session != models.UnassignedID {
				createSession(t, db, session)
			}
			for i := range n {
				b := batchOf(newEvent(session, noon))
				b.Key, b.Digest = fmt.Sprint(session, " ", i), "d"
				if _, err := appendBatch(t.Context(), events, b); err != nil {
					t.Fatal(err)
				}
				want[b.Key] = i >= n-kept
			}
		}
		if err := events.DeleteKeys(t.Context(), time.Now().Add(-time.Hour)); err != nil {
			t.Fatal(err)
		}
		var all int64
		if err := db.Read(t.Context()).Model(&models.IdempotencyKey{}).Count(&all).Error; err != nil || all != int64(len(want)) {
			t.Errorf("%d of %d keys are left that are not old, %v", all, len(want), err)
		}
		if err := events.DeleteKeys(t.Context(), time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		var left []string
		if err := db.Read(t.Context()).Model(&models.IdempotencyKey{}).Pluck("key", &left).Error; err != nil {
			t.Fatal(err)
		}
		for _, key := range left {
			if !want[key] {
				t.Errorf("key %s is left", key)
			}
			delete(want, key)
		}
		for key, isKept := range want {
			if isKept {
				t.Errorf("key %s is deleted", key)
			}
		}
	})
}

// TestConcurrentRepetitionsAreStoredOnce sends many concurrent batches with few keys,
// as repeated requests to replicas do.
func TestConcurrentRepetitionsAreStoredOnce(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		var wg sync.WaitGroup
		for w := range 20 {
			wg.Go(func() {
				events := repository.NewEvents(db)
				for round := range 10 {
					var batches []models.Batch
					for k := range 3 {
						b := batchOf(newEvent(models.UnassignedID, noon))
						b.Key, b.Digest = fmt.Sprint((w+round*k)%10), "same"
						batches = append(batches, b)
					}
					if _, err := appendGroup(t.Context(), events, batches...); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		if session, err := repository.NewSessions(db).Get(t.Context(), models.UnassignedID); err != nil || session.EventCount != 10 {
			t.Errorf("%d events are stored of ten keys, %v", session.EventCount, err)
		}
	})
}
