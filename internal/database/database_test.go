package database_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gorm.io/gorm"

	"ospulse/internal/database"
	"ospulse/internal/models"
	"ospulse/test/dbtest"
)

// schema returns the database's own description of tables, columns and indexes.
func schema(t *testing.T, db *database.DB) string {
	t.Helper()
	query := "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name"
	if db.Dialect() == "postgres" {
		query = `SELECT concat_ws(' ', table_name, column_name, data_type, is_nullable, column_default) FROM information_schema.columns WHERE table_schema = 'public'
			UNION SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'
			UNION SELECT concat_ws(' ', conrelid::regclass, conname, pg_get_constraintdef(oid)) FROM pg_constraint WHERE connamespace = 'public'::regnamespace ORDER BY 1`
	}
	var lines []string
	if err := db.Read(t.Context()).Raw(query).Scan(&lines).Error; err != nil {
		t.Fatal(err)
	}
	return strings.Join(lines, "\n")
}

func TestSchemaHasWhatQueriesNeed(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		got := strings.NewReplacer("`", "", `"`, "").Replace(schema(t, db))
		for _, want := range []string{
			"idx_events_session_seq", "(session_id, seq)",
			"claims",
			"idx_sessions_created", "idx_sessions_live", "idx_processes_key",
			"FOREIGN KEY (session_id) REFERENCES sessions(id)",
			"FOREIGN KEY (agent_id) REFERENCES agents(id)",
			"FOREIGN KEY (file_sha256) REFERENCES target_files(sha256)",
		} {
			if !strings.Contains(strings.ReplaceAll(got, ",session_id", ", session_id"), want) &&
				!strings.Contains(strings.ReplaceAll(got, ",", ", "), want) {
				t.Errorf("the schema lacks %q:\n%s", want, got)
			}
		}
		if n := strings.Count(got, "ON events"); n > 3 { // the primary key has one on PostgreSQL, and the constraint of the seq
			t.Errorf("events has too many indexes, each of which costs ingest time:\n%s", got)
		}
		if db.Dialect() == "postgres" && !strings.Contains(got, "events data jsonb NO") {
			t.Error("events.data is not jsonb")
		}
	})
}

func TestMigrateAgainChangesNothing(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		before := schema(t, db)
		if err := db.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
		if after := schema(t, db); after != before {
			t.Errorf("the schema changed from\n%s\nto\n%s", before, after)
		}
		if err := errors.Join(db.Ping(t.Context()), db.CheckSchema(t.Context())); err != nil {
			t.Error(err)
		}
	})
}

// TestOpenWaitsForTheWriter checks that a program that opens the database waits for a
// program that migrates it, however long that takes.
func TestOpenWaitsForTheWriter(t *testing.T) {
	t.Parallel()
	o := dbtest.SQLite(t)
	writer := dbtest.Open(t, o)
	locked, release := make(chan struct{}), make(chan struct{})
	end := sync.OnceFunc(func() { close(release) })
	t.Cleanup(end) // before the database is closed, also if the test fails
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := writer.Write(t.Context(), func(*gorm.DB) error { close(locked); <-release; return nil }); err != nil {
			t.Error(err)
		}
	})
	<-locked
	lines := make(lineWriter, 100)
	o.Log = slog.New(slog.NewTextHandler(lines, nil))
	opened := make(chan error, 1)
	go func() {
		db, err := database.Open(t.Context(), o)
		if err == nil {
			err = db.Close()
		}
		opened <- err
	}()
	lines.wait(t, "waiting for another backend") // after the busy timeout of 5 s
	end()
	wg.Wait()
	if err := <-opened; err != nil {
		t.Error(err)
	}
}

func TestReplicasMayMigrateAtOnce(t *testing.T) {
	for name, options := range map[string]func(testing.TB) database.Options{"sqlite": dbtest.SQLite, "postgres": dbtest.Postgres} {
		t.Run(name, func(t *testing.T) {
			o := options(t)
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() {
					db, err := database.Open(t.Context(), o)
					if err != nil {
						t.Error(err)
						return
					}
					defer func() {
						if err := db.Close(); err != nil {
							t.Error(err)
						}
					}()
					if err := db.Migrate(t.Context()); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
		})
	}
}

func TestNewerSchemaIsRefused(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		err := db.Write(t.Context(), func(tx *gorm.DB) error {
			return tx.Exec("INSERT INTO schema_migrations (version, applied_at) VALUES (999, ?)", time.Now()).Error
		})
		if err != nil {
			t.Fatal(err)
		}
		before := schema(t, db)
		if err := db.Migrate(t.Context()); err == nil || !strings.Contains(err.Error(), "version 999, made by a newer OS-Pulse") {
			t.Errorf("got %v, want a word about a newer schema", err)
		}
		if db.CheckSchema(t.Context()) == nil {
			t.Error("CheckSchema is content with a newer schema")
		}
		if after := schema(t, db); after != before {
			t.Error("the refused schema was changed")
		}
	})
}

// TestOldDataKeepsOpening checks that the upgrade of a schema adds a missing column and
// keeps every row and an unknown column of another version.
func TestOldDataKeepsOpening(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		err := db.Write(t.Context(), func(tx *gorm.DB) error {
			for _, statement := range []string{
				"ALTER TABLE sessions DROP COLUMN chosen_pids",
				"ALTER TABLE findings DROP COLUMN failed_count",
				"ALTER TABLE imported_findings DROP COLUMN failed_count",
				"ALTER TABLE sessions ADD COLUMN of_another_version varchar(10) DEFAULT 'kept'",
				"INSERT INTO sessions (id, file_name, created_at, updated_at) SELECT 'old', 'x', created_at, updated_at FROM sessions",
				"INSERT INTO events (session_id, seq, event_type, timestamp, source, data) SELECT id, 1, 'x', created_at, 'x', '{}' FROM sessions",
				"INSERT INTO findings (session_id, rule_id, version, title, level, event_count, first_at, last_at) SELECT 'old', 'r', '1', 'x', 'low', 7, created_at, created_at FROM sessions WHERE id = 'old'",
				"INSERT INTO imported_findings (session_id, rule_id, version, title, level, event_count, first_at, last_at) SELECT session_id, rule_id, version, title, level, event_count, first_at, last_at FROM findings",
			} {
				if err := tx.Exec(statement).Error; err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
		var kept string
		var events int64
		if err := db.Read(t.Context()).Raw("SELECT of_another_version FROM sessions WHERE id = 'old' AND chosen_pids IS NULL").Scan(&kept).Error; err != nil || kept != "kept" {
			t.Errorf("got %q, %v", kept, err)
		}
		if err := db.Read(t.Context()).Model(&models.Event{}).Count(&events).Error; err != nil || events != 2 {
			t.Errorf("%d events are left of 2, %v", events, err)
		}
		for _, table := range []string{"findings", "imported_findings"} {
			var failed []int64
			if err := db.Read(t.Context()).Table(table).Where("event_count = 7").Pluck("failed_count", &failed).Error; err != nil || !slices.Equal(failed, []int64{0}) {
				t.Errorf("%s: events that failed are %v, %v", table, failed, err)
			}
		}
	})
}

func TestForeignKeysAreReal(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		err := db.Write(t.Context(), func(tx *gorm.DB) error {
			return tx.Create(&models.Event{SessionID: "nobody", Seq: 1, EventType: "x", Source: "x", Timestamp: time.Now()}).Error
		})
		if !errors.Is(err, gorm.ErrForeignKeyViolated) {
			t.Errorf("an event of no session: got %v, want a foreign key violation", err)
		}
		err = db.Write(t.Context(), func(tx *gorm.DB) error {
			return tx.Create(&models.Session{ID: models.UnassignedID}).Error
		})
		if !errors.Is(err, gorm.ErrDuplicatedKey) {
			t.Errorf("a session twice: got %v, want a duplicated key", err)
		}
	})
}

func TestEverySQLiteConnectionHasThePragmas(t *testing.T) {
	db := dbtest.Open(t, dbtest.SQLite(t))
	want := map[string]string{"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1", "busy_timeout": "5000"}
	pool, err := db.Read(t.Context()).DB()
	if err != nil {
		t.Fatal(err)
	}
	for range 4 {
		conn, err := pool.Conn(t.Context()) // keep it, so that each one is a different connection
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		for name, value := range want {
			var got string
			if err := conn.QueryRowContext(t.Context(), "PRAGMA "+name).Scan(&got); err != nil || got != value {
				t.Errorf("%s is %q, want %q (%v)", name, got, value, err)
			}
		}
		if _, err := conn.ExecContext(t.Context(), "DELETE FROM sessions"); err == nil {
			t.Error("a reader can write")
		}
	}
}

func TestSQLiteTakesAnyPath(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a b?c#d%20&e'ü.db")
	o := dbtest.SQLite(t)
	o.Path = path
	dbtest.Open(t, o)
	if found, err := filepath.Glob(filepath.Join(filepath.Dir(path), "*.db")); err != nil || len(found) != 1 || found[0] != path {
		t.Errorf("the file is %v, want %s", found, path)
	}
}

func TestPostgresThatIsAwayIsWaitedFor(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	o := dbtest.Postgres(t)
	o.URL, o.Wait = "postgres://someone:secret@"+address+"/db", 50*time.Millisecond
	_, err = database.Open(t.Context(), o)
	if err == nil || !strings.Contains(err.Error(), "did not come up within 50ms") || strings.Contains(err.Error(), "secret") {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	o.Wait = time.Hour
	if _, err := database.Open(ctx, o); err == nil {
		t.Error("a cancelled Open succeeded")
	}
}

func TestPostgresThatRefusesIsNotWaitedFor(t *testing.T) {
	o := dbtest.Postgres(t)
	o.URL += "_not_there"
	o.URL = strings.Replace(o.URL, "?sslmode=disable_not_there", "_not_there?sslmode=disable", 1)
	o.Wait = time.Hour
	if _, err := database.Open(t.Context(), o); err == nil || !strings.Contains(err.Error(), "does not exist") {
		t.Errorf("got %v, want a word about a database that does not exist", err)
	}
}

func TestJSONIsPackedByLZ4WhereTheServerHasIt(t *testing.T) {
	db := dbtest.Open(t, dbtest.Postgres(t))
	var packed []string
	err := db.Read(t.Context()).Raw(`SELECT attcompression::text FROM pg_attribute, pg_settings
		WHERE attrelid = 'events'::regclass AND attname IN ('data', 'data_raw')
		AND name = 'default_toast_compression' AND 'lz4' = ANY (enumvals)`).Scan(&packed).Error
	if err != nil {
		t.Fatal(err)
	}
	for _, method := range packed { // empty on a server without lz4
		if method != "l" {
			t.Errorf("a JSON column is packed by %q, want lz4", method)
		}
	}
	t.Logf("%d columns were looked at", len(packed))
}

// TestGivingUpInATransactionKeepsTheConnection checks that a caller who cancels in the
// middle of a transaction does not close the writing connection of SQLite. Bulk
// statements are prepared on it, and freeing them after it was closed crashed the
// program.
func TestGivingUpInATransactionKeepsTheConnection(t *testing.T) {
	db := dbtest.Open(t, dbtest.SQLite(t))
	write := func(ctx context.Context, statement string) error {
		return db.Write(ctx, func(tx *gorm.DB) error {
			var n int64
			return tx.Raw(statement).Scan(&n).Error
		})
	}
	if err := write(t.Context(), "CREATE TEMP TABLE of_this_connection (n integer)"); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		ctx, cancel := context.WithCancel(t.Context())
		err := db.Write(ctx, func(tx *gorm.DB) error {
			time.AfterFunc(time.Millisecond, cancel) // the transaction has begun by then
			var n int64
			return tx.Raw("WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 20000) SELECT COUNT(*) FROM numbers").Scan(&n).Error
		})
		if err != nil {
			t.Error(err)
		}
		cancel()
	}
	if err := write(t.Context(), "SELECT n FROM of_this_connection"); err != nil {
		t.Error("it is another connection: ", err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := write(gone, "SELECT 1"); !errors.Is(err, context.Canceled) {
		t.Errorf("a transaction of a caller who was gone gave %v", err)
	}
}
