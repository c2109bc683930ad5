package repository_test

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"gorm.io/gorm"

	"ospulse/internal/database"
	"ospulse/internal/filter"
	"ospulse/internal/models"
	"ospulse/internal/repository"
	"ospulse/test/dbtest"
	"ospulse/test/s3test"
	"ospulse/test/wait"
)

// openWithBucket opens a database of each kind with the same bucket.
func openWithBucket(t testing.TB, s3 *s3test.Server) map[string]*database.DB {
	t.Helper()
	dbs := map[string]*database.DB{}
	for name, options := range map[string]database.Options{"sqlite": dbtest.SQLite(t), "postgres": dbtest.Postgres(t)} {
		options.Objects = s3.Objects(t)
		dbs[name] = dbtest.Open(t, options)
	}
	return dbs
}

// reopen opens a test's database once more, as a program with other objects.
type reopen func(objects database.Objects) *database.DB

// eachWithBucket runs fn on each database, with a bucket of its own.
func eachWithBucket(t *testing.T, fn func(t *testing.T, db *database.DB, s3 *s3test.Server, open reopen)) {
	t.Helper()
	for name, options := range map[string]func(testing.TB) database.Options{"sqlite": dbtest.SQLite, "postgres": dbtest.Postgres} {
		t.Run(name, func(t *testing.T) {
			s3, o := s3test.Start(t), options(t)
			open := func(objects database.Objects) *database.DB {
				t.Helper()
				o.Objects = objects
				return dbtest.Open(t, o)
			}
			fn(t, open(s3.Objects(t)), s3, open)
		})
	}
}

// moveBlocks moves all blocks of a database to the bucket.
func moveBlocks(t testing.TB, db *database.DB) {
	t.Helper()
	for moved := 1; moved > 0; {
		var err error
		if moved, err = repository.NewBlocks(db).Move(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// storeSealed stores n events in a sealed session.
func storeSealed(t testing.TB, db *database.DB, id string, n int64) {
	t.Helper()
	createSession(t, db, id)
	var batch []models.Event
	for range n {
		batch = append(batch, newEvent(id, noon))
	}
	if _, err := appendBatch(t.Context(), repository.NewEvents(db), batchOf(batch...)); err != nil {
		t.Fatal(err)
	}
	for number := int64(0); number*models.SegmentEvents < n; number++ {
		seal(t, db, id, number, min((number+1)*models.SegmentEvents, n))
	}
}

// objectsOf returns the names of the objects that blocks use, and of those that are noted
// as unused.
func objectsOf(t testing.TB, db *database.DB) (used, unused []string) {
	t.Helper()
	err := errors.Join(
		db.Read(t.Context()).Model(&models.Block{}).Where("object <> ''").Order("object").Pluck("object", &used).Error,
		db.Read(t.Context()).Model(&models.UnusedObject{}).Order("name").Pluck("name", &unused).Error)
	if err != nil {
		t.Fatal(err)
	}
	return used, unused
}

// blockKeys returns the keys of the bucket without the marker.
func blockKeys(t testing.TB, s3 *s3test.Server) (keys []string) {
	t.Helper()
	for _, key := range s3.Keys(t) {
		if !strings.HasSuffix(key, "/ospulse") {
			keys = append(keys, key)
		}
	}
	return keys
}

// TestMovedBlocksLeaveTheDatabase checks that the data of moved blocks is in the bucket
// only, and that objects of deleted blocks are removed, however the blocks were deleted,
// but not while reads that have begun may need them.
func TestMovedBlocksLeaveTheDatabase(t *testing.T) {
	eachWithBucket(t, func(t *testing.T, db *database.DB, s3 *s3test.Server, _ reopen) {
		blocks, segments := repository.NewBlocks(db), repository.NewSegments(db)
		for _, id := range []string{"kept", "unsealed", "deleted"} {
			storeSealed(t, db, id, 50)
		}
		moveBlocks(t, db)
		var left int64
		if err := db.Read(t.Context()).Model(&models.Block{}).Where("length(data) > 0").Count(&left).Error; err != nil || left != 0 {
			t.Errorf("the database has the data of %d blocks: %v", left, err)
		}
		if used, unused := objectsOf(t, db); len(used) != 3 || len(unused) != 0 || len(blockKeys(t, s3)) != 3 {
			t.Fatalf("used are %q, unused are %q, in the bucket are %q", used, unused, s3.Keys(t))
		}
		if err := segments.Unseal(t.Context(), "unsealed", 0); err != nil {
			t.Fatal(err)
		}
		err := db.Write(t.Context(), func(tx *gorm.DB) error { // by cascade
			return tx.Where("id = 'deleted'").Delete(&models.Session{}).Error
		})
		if err != nil {
			t.Fatal(err)
		}
		used, unused := objectsOf(t, db)
		if len(used) != 1 || len(unused) != 2 {
			t.Fatalf("used are %q, unused are %q", used, unused)
		}
		if removed, err := blocks.Sweep(t.Context(), time.Hour); removed != 0 || err != nil || len(blockKeys(t, s3)) != 3 {
			t.Errorf("%d objects were removed early: %v", removed, err)
		}
		if removed, err := blocks.Sweep(t.Context(), -time.Hour); removed != 2 || err != nil {
			t.Errorf("%d objects were removed: %v", removed, err)
		}
		if keys := blockKeys(t, s3); len(keys) != 1 || !strings.HasSuffix(keys[0], used[0]) {
			t.Errorf("in the bucket are %q, used is %q", keys, used)
		}
		if _, unused := objectsOf(t, db); len(unused) != 0 {
			t.Errorf("unused are %q", unused)
		}
		for _, id := range []string{"kept", "unsealed"} {
			if found, err := repository.NewEvents(db).ListBySeq(t.Context(), id, 0, 50, 100); err != nil || len(found) != 50 {
				t.Errorf("%s has %d events: %v", id, len(found), err)
			}
		}
	})
}

// TestMovesAndSweepsAtOnce checks that concurrent moves, seals, unseals and sweeps without
// any delay never remove an object that a block uses.
func TestMovesAndSweepsAtOnce(t *testing.T) {
	eachWithBucket(t, func(t *testing.T, db *database.DB, _ *s3test.Server, _ reopen) {
		blocks, segments := repository.NewBlocks(db), repository.NewSegments(db)
		const sessions = 4
		for i := range sessions {
			storeSealed(t, db, fmt.Sprint("s", i), 20)
		}
		var workers, sweeps sync.WaitGroup
		done := make(chan struct{})
		sweeps.Go(func() {
			for {
				if _, err := blocks.Sweep(t.Context(), -time.Hour); err != nil {
					t.Error(err)
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
		for range 2 {
			workers.Go(func() {
				for range 40 {
					if _, err := blocks.Move(t.Context()); err != nil && models.ErrorCode(err) != models.CodeConflict {
						t.Error(err)
					}
				}
			})
		}
		workers.Go(func() {
			for i := range 20 {
				id := fmt.Sprint("s", i%sessions)
				// A sweep without delay may remove what this reads; then it is tried again.
				if err := segments.Unseal(t.Context(), id, 0); err != nil && models.ErrorCode(err) != models.CodeConflict {
					t.Error(err)
				}
				if _, err := segments.Seal(t.Context(), id, 0, 20); err != nil && models.ErrorCode(err) != models.CodeConflict {
					t.Error(err)
				}
			}
		})
		workers.Wait()
		close(done)
		sweeps.Wait()
		for i := range sessions {
			if found, err := repository.NewEvents(db).ListBySeq(t.Context(), fmt.Sprint("s", i), 0, 20, 100); err != nil || len(found) != 20 {
				t.Errorf("session %d has %d events: %v", i, len(found), err)
			}
		}
	})
}

// TestSweepWaitsForNoMove checks that a sweep leaves out the objects that another transaction is
// about to use. Each of the two would wait for rows of the other, and one would fail.
func TestSweepWaitsForNoMove(t *testing.T) {
	s3, options := s3test.Start(t), dbtest.Postgres(t) // SQLite has one writer at a time
	options.Objects = s3.Objects(t)
	db := dbtest.Open(t, options)
	blocks := repository.NewBlocks(db)
	if err := blocks.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	err := db.Write(t.Context(), func(tx *gorm.DB) error {
		return tx.Create(&[]models.UnusedObject{{Name: "old/a"}, {Name: "old/b"}}).Error
	})
	if err != nil {
		t.Fatal(err)
	}
	err = db.Write(t.Context(), func(tx *gorm.DB) error {
		if err := tx.Where("name = 'old/a'").Delete(&models.UnusedObject{}).Error; err != nil {
			return err
		}
		swept := make(chan error)
		go func() {
			removed, err := blocks.Sweep(t.Context(), 0)
			if err == nil && removed != 1 {
				err = fmt.Errorf("%d objects were removed", removed)
			}
			swept <- err
		}()
		return wait.Receive(t, "the end of the sweep", swept)
	})
	if _, unused := objectsOf(t, db); err != nil || len(unused) != 0 {
		t.Errorf("unused are %q: %v", unused, err)
	}
}

// TestObjectsThatCannotBeRead checks the errors of reads: a missing or changed object is
// damage with its session and events; a bucket that is offline, or is another one, and a
// program without a bucket are temporary, and note no damage.
func TestObjectsThatCannotBeRead(t *testing.T) {
	eachWithBucket(t, func(t *testing.T, db *database.DB, s3 *s3test.Server, open reopen) {
		for _, id := range []string{"good", "changed", "exchanged", "missing"} {
			storeSealed(t, db, id, 10)
			moveBlocks(t, db)
		}
		key := func(id string) string {
			t.Helper()
			var block models.Block
			if err := db.Read(t.Context()).Where("session_id = ?", id).Take(&block).Error; err != nil {
				t.Fatal(err)
			}
			return "some/blocks/" + block.Object
		}
		read := func(db *database.DB, id string) error {
			t.Helper()
			found, err := repository.NewEvents(db).List(t.Context(), id, nil, models.EventPage{Limit: 20})
			if err == nil && len(found) != 10 {
				t.Errorf("%s has %d events", id, len(found))
			}
			return err
		}
		damages := func() (found []string) {
			t.Helper()
			all, err := repository.NewEvents(db).ListDamages(t.Context(), "", 10)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range all {
				found = append(found, fmt.Sprint(d.SessionID, d.SeqSpan))
			}
			return found
		}
		wantUnavailable := func(what string, err error, text string) {
			t.Helper()
			if models.ErrorCode(err) != models.CodeUnavailable || !strings.Contains(err.Error(), text) || errors.Is(err, models.ErrDamaged) {
				t.Errorf("%s: %v", what, err)
			}
		}

		s3.Refuses.Store(true)
		wantUnavailable("offline", read(db, "good"), "BLOCKS_URL")
		if _, _, err := repository.NewSegments(db).CheckSealed(t.Context(), "", -1); models.ErrorCode(err) != models.CodeUnavailable {
			t.Errorf("offline, checked by the worker: %v", err)
		}
		if failure := db.Objects().Failure(); !strings.Contains(failure, "BLOCKS_URL") {
			t.Errorf("the failure is %q", failure)
		}
		s3.Refuses.Store(false)
		if err := read(db, "good"); err != nil || db.Objects().Failure() != "" {
			t.Errorf("online again: %v, %q", err, db.Objects().Failure())
		}

		content := s3.Read(t, key("changed"))
		content[len(content)/2] ^= 1
		s3.Write(t, key("changed"), content)
		s3.Write(t, key("exchanged"), s3.Read(t, key("good"))) // a valid block
		s3.Remove(t, key("missing"))
		for _, id := range []string{"changed", "exchanged", "missing"} {
			if err := read(db, id); !errors.Is(err, models.ErrDamaged) || !strings.Contains(err.Error(), "events 1 to 10 of session "+id) {
				t.Errorf("%s: %v", id, err)
			}
		}
		want := []string{"changed{1 10}", "exchanged{1 10}", "missing{1 10}"}
		if got := damages(); !reflect.DeepEqual(got, want) {
			t.Errorf("damages are %q", got)
		}
		if err := read(db, "good"); err != nil {
			t.Error(err)
		}

		other := s3test.Start(t)
		elsewhere := open(other.Objects(t))
		wantUnavailable("another bucket", read(elsewhere, "good"), "another bucket")
		if err := repository.NewBlocks(elsewhere).Check(t.Context()); err == nil || len(other.Keys(t)) != 0 {
			t.Errorf("another bucket is taken for this one: %v, %q", err, other.Keys(t))
		}
		wantUnavailable("no bucket", read(open(nil), "good"), "set BLOCKS_URL")
		if got := damages(); !reflect.DeepEqual(got, want) {
			t.Errorf("damages are %q", got)
		}
	})
}

// TestLostMarkerIsReplaced checks that a bucket without its marker is recognized by a
// known object, and gets a marker again.
func TestLostMarkerIsReplaced(t *testing.T) {
	eachWithBucket(t, func(t *testing.T, db *database.DB, s3 *s3test.Server, _ reopen) {
		storeSealed(t, db, "s", 3)
		moveBlocks(t, db)
		for _, key := range s3.Keys(t) {
			if strings.HasSuffix(key, "/ospulse") {
				s3.Remove(t, key)
			}
		}
		if err := repository.NewBlocks(db).Check(t.Context()); err != nil || len(s3.Keys(t)) != 2 {
			t.Errorf("%v; in the bucket are %q", err, s3.Keys(t))
		}
	})
}

// TestNothingMovesToABucketThatIsOffline checks that blocks stay in the database, where
// they are read, and that nothing is noted for each try.
func TestNothingMovesToABucketThatIsOffline(t *testing.T) {
	eachWithBucket(t, func(t *testing.T, db *database.DB, s3 *s3test.Server, _ reopen) {
		storeSealed(t, db, "s", 3)
		s3.Refuses.Store(true)
		if _, err := repository.NewBlocks(db).Move(t.Context()); models.ErrorCode(err) != models.CodeUnavailable {
			t.Errorf("the move returns %v", err)
		}
		if used, unused := objectsOf(t, db); len(used)+len(unused) != 0 {
			t.Errorf("used are %q, unused %q", used, unused)
		}
		if found, err := repository.NewEvents(db).ListBySeq(t.Context(), "s", 0, 3, 5); err != nil || len(found) != 3 {
			t.Errorf("%d events: %v", len(found), err)
		}
	})
}

// TestReadersReadAhead checks that a reader which goes from segment to segment reads every
// object once, ahead of its use, in both directions; that others read no more than they
// need; and that segments which the filter skips are not read.
func TestReadersReadAhead(t *testing.T) {
	eachWithBucket(t, func(t *testing.T, db *database.DB, s3 *s3test.Server, _ reopen) {
		const segments, n = 3, 3 * models.SegmentEvents
		storeSealed(t, db, "s", n)
		moveBlocks(t, db)
		requests := func(what string, want int64, read func()) {
			t.Helper()
			before := s3.Requests.Load()
			read()
			wait.For(t, what, func() bool { return s3.Requests.Load()-before >= want })
			if got := s3.Requests.Load() - before; got != want {
				t.Errorf("%s: %d requests, want %d", what, got, want)
			}
		}
		list := func(events *repository.Events, text string, page models.EventPage, want int) {
			t.Helper()
			where, err := filter.Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			found, err := events.List(t.Context(), "s", where, page)
			if err != nil || len(found) != want {
				t.Fatalf("%d events, want %d: %v", len(found), want, err)
			}
			for i := 1; i < want; i++ {
				if step := found[i].Seq - found[i-1].Seq; step != 1 && !page.Descending || step != -1 && page.Descending {
					t.Fatalf("event %d follows %d", found[i].Seq, found[i-1].Seq)
				}
			}
		}
		requests("upwards", segments, func() { list(repository.NewEvents(db), "", models.EventPage{Limit: n + 1}, n) })
		requests("downwards", segments, func() { list(repository.NewEvents(db), "", models.EventPage{Limit: n + 1, Descending: true}, n) })
		requests("an absent word", 0, func() { list(repository.NewEvents(db), "noeventhasthisword", models.EventPage{Limit: 5}, 0) })
		events := repository.NewEvents(db)
		requests("a page", 1, func() { list(events, "", models.EventPage{Limit: 5}, 5) })
		requests("the page of the next segment, and what follows", segments-1, func() { list(events, "", models.EventPage{After: models.SegmentEvents, Limit: 5}, 5) })
		requests("what was read ahead", 0, func() { list(events, "", models.EventPage{After: 2 * models.SegmentEvents, Limit: 5}, 5) })
	})
}

// TestUsedBytesCountObjects checks that moving blocks to a bucket does not make room for
// RETAIN_GB.
func TestUsedBytesCountObjects(t *testing.T) {
	eachWithBucket(t, func(t *testing.T, db *database.DB, s3 *s3test.Server, _ reopen) {
		used := func() int64 {
			t.Helper()
			n, err := repository.NewRetention(db).UsedBytes(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		createSession(t, db, "s")
		e := newEvent("s", noon)
		random := make([]byte, 2<<20)
		rand.Read(random)
		e.Data = models.JSON(`"` + hex.EncodeToString(random) + `"`)
		appendEvents(t, db, []models.Event{e})
		seal(t, db, "s", 0, 1)
		before := used()
		moveBlocks(t, db)
		if after := used(); after < before-(1<<20) || after > before+(1<<20) || before < 2<<20 {
			t.Errorf("%d bytes are used, %d before the move", after, before)
		}
		if len(blockKeys(t, s3)) != 1 {
			t.Errorf("in the bucket are %q", s3.Keys(t))
		}
	})
}
