package repository_test

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"ospulse/internal/database"
	"ospulse/internal/filter"
	"ospulse/internal/models"
	"ospulse/internal/repository"
	"ospulse/internal/wire"
	"ospulse/test/dbtest"
	"ospulse/test/s3test"
)

// BenchmarkBucket measures reads of a sealed session of 212,000 real events: with its
// blocks in the database, and in a bucket that answers at once or after 20 ms. It also
// reports the requests to the bucket of each read, and how fast events are sealed and
// moved.
func BenchmarkBucket(b *testing.B) {
	for name, options := range map[string]func(testing.TB) database.Options{"sqlite": dbtest.SQLite, "postgres": dbtest.Postgres} {
		b.Run(name, func(b *testing.B) {
			s3, o := s3test.Start(b), options(b)
			o.Objects = s3.Objects(b)
			db := dbtest.Open(b, o)
			n := storeRecorded(b, db, 8)
			benchReads(b, db, s3, n, "database")
			logSizes(b, db, n)
			began := time.Now()
			moveBlocks(b, db)
			b.Logf("moved %.0f events/s", float64(n)/time.Since(began).Seconds())
			logSizes(b, db, n)
			for _, delay := range []time.Duration{0, 20 * time.Millisecond} {
				s3.Delay.Store(int64(delay))
				benchReads(b, db, s3, n, "bucket "+delay.String())
			}
			s3.Delay.Store(0)
		})
	}
}

// logSizes logs the bytes of an event in the tables of sealed events, with their indexes,
// and in the bucket.
func logSizes(b *testing.B, db *database.DB, n int64) {
	b.Helper()
	if db.Dialect() != "postgres" {
		return
	}
	for _, table := range []string{"segments", "blocks"} {
		var size int64
		if err := db.Read(b.Context()).Exec("VACUUM FULL " + table).Error; err != nil {
			b.Fatal(err)
		}
		if err := db.Read(b.Context()).Raw("SELECT pg_total_relation_size(?::regclass)", table).Scan(&size).Error; err != nil {
			b.Fatal(err)
		}
		b.Logf("%s: %.2f bytes/event", table, float64(size)/float64(n))
	}
	var objects int64
	if err := db.Read(b.Context()).Model(&models.Block{}).Select("SUM(object_bytes)").Scan(&objects).Error; err != nil {
		b.Fatal(err)
	}
	b.Logf("objects: %.2f bytes/event", float64(objects)/float64(n))
}

// storeRecorded stores the recorded events of a build some times in a session "s", seals
// them, and returns their number.
func storeRecorded(b *testing.B, db *database.DB, times int) (n int64) {
	b.Helper()
	file, err := os.Open(filepath.Join("..", "..", "test", "bench", "testdata", "build.ndjson.zst"))
	if err != nil {
		b.Fatal(err)
	}
	defer file.Close()
	plain, err := zstd.NewReader(file)
	if err != nil {
		b.Fatal(err)
	}
	defer plain.Close()
	createSession(b, db, "s")
	var recorded []models.Incoming
	lines := bufio.NewScanner(plain)
	for lines.Buffer(nil, 64<<20); lines.Scan(); {
		in, err := wire.Event([]byte(lines.Text()), noon)
		if err != nil {
			b.Fatal(err)
		}
		in.SessionID = "s"
		recorded = append(recorded, in)
	}
	for range times {
		for from := 0; from < len(recorded); from += 1000 {
			some := recorded[from:min(from+1000, len(recorded))]
			if _, err := appendBatch(b.Context(), repository.NewEvents(db), models.Batch{Events: some}); err != nil {
				b.Fatal(err)
			}
			n += int64(len(some))
		}
	}
	began := time.Now()
	for number := int64(0); number*models.SegmentEvents < n; number++ {
		seal(b, db, "s", number, min((number+1)*models.SegmentEvents, n))
	}
	b.Logf("sealed %.0f events/s", float64(n)/time.Since(began).Seconds())
	return n
}

// BenchmarkManySegments measures what workers ask again and again, with the rows of 10⁹
// sealed events in 1,000 sessions. Their packed values are short here: the statements do
// not read them.
func BenchmarkManySegments(b *testing.B) {
	const sessions, each = 1000, 244
	db := dbtest.Open(b, dbtest.Postgres(b))
	for i := range sessions {
		createSession(b, db, fmt.Sprint("session-", i+1))
	}
	const all = each * models.SegmentEvents
	if err := db.Read(b.Context()).Exec("UPDATE sessions SET event_count = ?, sealed_seq = ?", all, all).Error; err != nil {
		b.Fatal(err)
	}
	for _, text := range []string{
		"INSERT INTO segments (session_id, number, first_time, last_time, is_sealed, min_id, max_id, columns, skip) SELECT 'session-' || s, n, now(), now(), TRUE, (s * 1000 + n)::bigint * 4096, (s * 1000 + n)::bigint * 4096 + 4095, '0123456789abcdef0123', '0123456789abcdef0123' FROM generate_series(1, ?) AS s, generate_series(0, ? - 1) AS n",
		"INSERT INTO blocks (session_id, first_seq, last_seq, data, object, object_bytes) SELECT 'session-' || s, n * 4096 + 1, n * 4096 + 4096, '', repeat('0', 118), 150000 FROM generate_series(1, ?) AS s, generate_series(0, ? - 1) AS n",
	} {
		if err := db.Read(b.Context()).Exec(text, sessions, each).Error; err != nil {
			b.Fatal(err)
		}
	}
	if err := db.Read(b.Context()).Exec("VACUUM ANALYZE").Error; err != nil {
		b.Fatal(err)
	}
	logSizes(b, db, sessions*each*models.SegmentEvents)
	segments := repository.NewSegments(db)
	for _, ask := range []struct {
		name string
		run  func() error
	}{
		{"sessions to segment", func() error { _, err := segments.SessionsToSegment(b.Context()); return err }},
		{"sessions to seal", func() error { _, err := segments.ListToSeal(b.Context(), nil, 100); return err }},
		{"segments to check", func() error { _, _, err := segments.CheckSealed(b.Context(), "z", 0); return err }},
		{"used bytes", func() error { _, err := repository.NewRetention(db).UsedBytes(b.Context()); return err }},
	} {
		b.Run(ask.name, func(b *testing.B) {
			for b.Loop() {
				if err := ask.run(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func benchReads(b *testing.B, db *database.DB, s3 *s3test.Server, n int64, place string) {
	b.Helper()
	search := func(text string) func(b *testing.B) {
		return func(b *testing.B) {
			b.Helper()
			where, err := filter.Parse(text)
			if err != nil {
				b.Fatal(err)
			}
			if found, err := repository.NewEvents(db).List(b.Context(), "s", where, models.EventPage{Limit: 100}); err != nil || len(found) != 0 {
				b.Fatal(len(found), err)
			}
		}
	}
	for _, read := range []struct {
		name string
		run  func(b *testing.B)
	}{
		{"page", func(b *testing.B) {
			b.Helper()
			after := rand.Int64N(n - 100)
			if found, err := repository.NewEvents(db).List(b.Context(), "s", nil, models.EventPage{After: after, Limit: 100}); err != nil || len(found) != 100 {
				b.Fatal(len(found), err)
			}
		}},
		{"export", func(b *testing.B) {
			b.Helper()
			transfers := repository.NewTransfers(db)
			var memory models.EventMemory
			for after := int64(0); after < n; {
				found, err := transfers.ReadEvents(b.Context(), "s", nil, models.EventRange{After: after, UpTo: n}, 1000, 4<<20, &memory)
				if err != nil {
					b.Fatal(err)
				}
				after = found[len(found)-1].Seq
			}
		}},
		{"absent word", search("noeventhasthisword")},
		{"every block", search("data.bytesTransferred = 123456789012")},
	} {
		b.Run(fmt.Sprintf("%s/%s", place, read.name), func(b *testing.B) {
			before := s3.Requests.Load()
			for b.Loop() {
				read.run(b)
			}
			b.ReportMetric(float64(s3.Requests.Load()-before)/float64(b.N), "requests/op")
		})
	}
}
