package repository_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"gorm.io/gorm"

	"ospulse/internal/backup"
	"ospulse/internal/database"
	"ospulse/internal/database/migrations"
	"ospulse/internal/models"
	"ospulse/internal/repository"
	"ospulse/internal/sample"
	"ospulse/test/dbtest"
)

var quiet = slog.New(slog.DiscardHandler) //nolint:gochecknoglobals // a constant

var takenAt = time.Date(2026, 1, 2, 3, 4, 5, 678_901_000, time.UTC) //nolint:gochecknoglobals // a constant

// each runs fn for each kind of database.
func each(t *testing.T, fn func(t *testing.T, options func(testing.TB) database.Options)) {
	t.Helper()
	for name, options := range map[string]func(testing.TB) database.Options{"sqlite": dbtest.SQLite, "postgres": dbtest.Postgres} {
		t.Run(name, func(t *testing.T) { fn(t, options) })
	}
}

func store(t *testing.T) *sample.Store {
	t.Helper()
	s, err := sample.Open(filepath.Join(t.TempDir(), "files"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// place stores a target file and returns its SHA-256.
func place(t *testing.T, files *sample.Store, content string) string {
	t.Helper()
	upload, err := files.Receive(strings.NewReader(content), 1<<20)
	if err == nil {
		err = upload.Place(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	return upload.File.SHA256
}

func hashOf(content string) string {
	sum := sha256.Sum256([]byte(content))
	return hex.EncodeToString(sum[:])
}

func create(t *testing.T, db *database.DB, files *sample.Store) ([]byte, backup.Report) {
	t.Helper()
	var out bytes.Buffer
	report, err := backup.Create(t.Context(), &out, db, files, "test", takenAt, quiet)
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes(), report
}

// restore opens a database for a restore and restores a backup.
func restore(t *testing.T, file []byte, o database.Options, files *sample.Store, options backup.Options) error {
	t.Helper()
	o.Access = database.Exclusive
	db, err := database.Open(t.Context(), o)
	if err != nil {
		return err
	}
	from := bytes.NewReader(file)
	report, err := backup.Verify(t.Context(), from, quiet)
	if err == nil {
		if options.Settle == nil {
			options.Settle = repository.SettleRestored
		}
		err = backup.Restore(t.Context(), from, &report, db, files, options, quiet)
	}
	return errors.Join(err, db.Close())
}

func mustRestore(t *testing.T, file []byte, o database.Options, files *sample.Store) {
	t.Helper()
	if err := restore(t, file, o, files, backup.Options{}); err != nil {
		t.Fatal(err)
	}
}

// fill stores rows with values that a copy may change.
func fill(t *testing.T, db *database.DB, files *sample.Store) {
	t.Helper()
	file, none, agent := place(t, files, "MZ"), hashOf("not stored"), "agent"
	first, last := time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(9999, 12, 31, 23, 59, 59, 999_999_000, time.UTC)
	empty, pid := "", int64(-1<<63)
	rows := []any{
		&models.Agent{ID: agent, Name: "ä\U0001F600\n\t\"'\\", LastSeenAt: &first, Capabilities: []models.Capability{{Name: "x"}}},
		&models.Installation{Number: 1, ID: "the old one"},
		&models.Lease{Name: "session:s", Holder: "the old one", Until: 1 << 60},
		&models.TargetFile{SHA256: file, SizeBytes: 2}, &models.TargetFile{SHA256: none, SizeBytes: 10, NoContent: true},
		&models.Session{ID: "s", FileName: "a", AgentID: &agent, FileSHA256: &file, MonitoringStarted: &first, MonitoringEnded: &last, EventCount: 3, Tags: []string{"a,b"}, ChosenPIDs: []int64{1, 1 << 62}},
		&models.Session{ID: "t", FileSHA256: &none},
		&models.SessionRun{SessionID: "s", AgentID: agent, StartedAt: first, EndedAt: last},
		&models.Event{ID: 5, SessionID: "s", Seq: 1, EventType: "x", Timestamp: first, Source: "x", Data: models.JSON(`{"b": 1, "a":[12345678901234567890, 1.50 ,-0]}`)},
		&models.Event{ID: 6, SessionID: "s", Seq: 2, EventType: "x", Timestamp: last, TimestampText: &empty, Source: "x", Data: models.JSON(`null`), DataRaw: []byte("\"\\u0000\xff\""), PID: &pid, ProcessName: &empty, IsSent: true},
		&models.Event{ID: 1 << 40, SessionID: "s", Seq: 3, EventType: "x", Timestamp: takenAt, Source: "x", Data: models.JSON(`"` + strings.Repeat("ü", 3<<20) + `"`), DataRaw: []byte{}},
		&models.Process{SessionID: "s", PID: 1, StartedAt: takenAt, FirstSeen: first, LastSeen: last, EventCounts: map[string]int64{"x": 1}},
		&models.Segment{SessionID: "s", FirstTime: first, LastTime: last, Columns: []byte{0, 1, 2, 255}},
		&models.SessionTotals{SessionID: "s", Seq: 3, Missing: []models.SeqSpan{{First: 1, Last: 2}}},
		&models.IdempotencyKey{Key: "\tk", Digest: "d", Receipt: "{}", CreatedAt: takenAt},
		&models.WriterMark{Writer: "w", Number: 7, UpdatedAt: takenAt},
	}
	err := db.Write(t.Context(), func(tx *gorm.DB) error {
		for _, row := range rows {
			if err := tx.Create(row).Error; err != nil {
				return err
			}
		}
		return tx.Delete(&models.Event{}, 1<<40).Error // its number is not given again
	})
	if err == nil {
		err = db.Write(t.Context(), func(tx *gorm.DB) error { return tx.Exec("UPDATE sessions SET event_count = 2 WHERE id = 's'").Error })
	}
	if err == nil && db.Dialect() == "postgres" { // where a chosen number does not count
		err = db.Write(t.Context(), func(tx *gorm.DB) error {
			return tx.Exec("SELECT setval(pg_get_serial_sequence('events', 'id'), ?)", int64(1)<<40).Error
		})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestRestoredRowsAreTheSame checks that every value of every table survives a copy from
// each database to each database and back, that files come along, and that numbers
// continue.
func TestRestoredRowsAreTheSame(t *testing.T) {
	each(t, func(t *testing.T, source func(testing.TB) database.Options) {
		db, files := dbtest.Open(t, source(t)), store(t)
		fill(t, db, files)
		file, report := create(t, db, files)
		if report.Sessions != 3 || report.Events != 2 || len(report.Gaps) > 0 || report.Contents.Files != 1 {
			t.Errorf("%+v", report)
		}
		for _, table := range []string{"agents", "target_files", "sessions", "session_runs", "events", "processes", "segments", "session_totals", "idempotency_keys", "writer_marks"} {
			if report.Contents.Tables[table].Rows == 0 {
				t.Errorf("no rows of %s", table)
			}
		}
		each(t, func(t *testing.T, target func(testing.TB) database.Options) {
			o, elsewhere := target(t), store(t)
			mustRestore(t, file, o, elsewhere)
			db := dbtest.Open(t, o)
			_, again := create(t, db, elsewhere)
			for table, want := range report.Contents.Tables {
				if got := again.Contents.Tables[table]; got != want {
					t.Errorf("%s: %+v became %+v", table, want, got)
				}
			}
			if ok, err := elsewhere.Has(t.Context(), hashOf("MZ")); !ok || err != nil {
				t.Error("the target file did not come along: ", err)
			}
			next := models.Event{SessionID: "s", Seq: 3, EventType: "x", Timestamp: takenAt, Source: "x"}
			err := db.Write(t.Context(), func(tx *gorm.DB) error { return tx.Create(&next).Error })
			if err != nil || next.ID <= 1<<40 {
				t.Errorf("the next event has the number %d, %v", next.ID, err)
			}
			for _, model := range []any{&models.Lease{}, &models.Installation{}} {
				n := int64(-1)
				if err := db.Read(t.Context()).Model(model).Count(&n).Error; err != nil || n != 0 {
					t.Errorf("%d rows of %T were restored, %v", n, model, err)
				}
			}
		})
	})
}

// TestRestoreIsAllOrNothing checks that a restore which fails after it has stored
// everything leaves the database as it was, also one with --replace.
func TestRestoreIsAllOrNothing(t *testing.T) {
	source, files := dbtest.Open(t, dbtest.SQLite(t)), store(t)
	fill(t, source, files)
	file, _ := create(t, source, files)
	each(t, func(t *testing.T, target func(testing.TB) database.Options) {
		o := target(t)
		wantFailure := func(options backup.Options, words string) {
			t.Helper()
			if err := restore(t, file, o, store(t), options); err == nil || !strings.Contains(err.Error(), words) {
				t.Errorf("got %v, want %q", err, words)
			}
		}
		fail := func(context.Context, *database.Restoration) error { return errors.New("no") }
		content := func() map[string]backup.Sum {
			db, err := database.Open(t.Context(), o)
			if err == nil {
				err = db.Migrate(t.Context())
			}
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			_, report := create(t, db, files)
			delete(report.Contents.Tables, "schema_migrations") // Migrate notes the time
			return report.Contents.Tables
		}
		wantFailure(backup.Options{Settle: fail}, "no")
		if n := content()["sessions"].Rows; n != 1 {
			t.Errorf("%d sessions after a restore that failed", n)
		}
		mustRestore(t, file, o, store(t))
		before := content()
		wantFailure(backup.Options{}, "--replace")
		wantFailure(backup.Options{Replace: true, Settle: fail}, "no")
		if after := content(); !maps.Equal(before, after) {
			t.Errorf("a restore that failed changed the database:\n%v\n%v", before, after)
		}
		if err := restore(t, file, o, store(t), backup.Options{Replace: true}); err != nil {
			t.Error(err)
		}
		if after := content(); !maps.Equal(before, after) {
			t.Errorf("a restore over the same rows changed them:\n%v\n%v", before, after)
		}
	})
}

// TestRestoreNeedsTheDatabaseAlone checks that nothing is restored into a database that a
// backend uses.
func TestRestoreNeedsTheDatabaseAlone(t *testing.T) {
	source, files := dbtest.Open(t, dbtest.SQLite(t)), store(t)
	file, _ := create(t, source, files)
	each(t, func(t *testing.T, target func(testing.TB) database.Options) {
		o := target(t)
		db, err := database.Open(t.Context(), o)
		if err == nil {
			err = db.Ping(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := restore(t, file, o, store(t), backup.Options{}); err == nil || !strings.Contains(err.Error(), "another program uses the database") {
			t.Errorf("got %v", err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		mustRestore(t, file, o, store(t))
	})
}

// migrationsUpTo returns the numbered files up to a version.
func migrationsUpTo(t *testing.T, version int) fs.FS {
	t.Helper()
	some := fstest.MapFS{}
	for _, dialect := range []string{"sqlite", "postgres"} {
		names, err := fs.Glob(migrations.Files, dialect+"/*.sql")
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names[:version] {
			text, err := fs.ReadFile(migrations.Files, name)
			if err != nil {
				t.Fatal(err)
			}
			some[name] = &fstest.MapFile{Data: text}
		}
	}
	return some
}

// TestOlderSchemaIsMigrated checks that a backup of an older schema is migrated like the
// database itself would be.
func TestOlderSchemaIsMigrated(t *testing.T) {
	each(t, func(t *testing.T, source func(testing.TB) database.Options) {
		old, files := source(t), store(t)
		old.Migrations = migrationsUpTo(t, 4)
		db := dbtest.Open(t, old)
		fill(t, db, files)
		// Migration 5 finds events from the time before migration 2.
		err := db.Write(t.Context(), func(tx *gorm.DB) error {
			return tx.Exec("UPDATE schema_migrations SET applied_at = ? WHERE version = 2", time.Now().Add(time.Hour).UTC()).Error
		})
		if err != nil {
			t.Fatal(err)
		}
		file, report := create(t, db, files)
		if report.Head.Schema != 4 {
			t.Fatalf("%+v", report.Head)
		}
		each(t, func(t *testing.T, target func(testing.TB) database.Options) {
			o := target(t)
			mustRestore(t, file, o, store(t))
			db := dbtest.Open(t, o)
			var session models.Session
			err := errors.Join(db.CheckSchema(t.Context()), db.Read(t.Context()).Take(&session, "id = 's'").Error)
			if err != nil || session.BackfillUpTo != 2 {
				t.Errorf("migration 5 was not applied to the restored rows: up to %d, %v", session.BackfillUpTo, err)
			}
		})
	})
}

// TestOtherSchemaIsRefused checks that a backup of a newer schema is refused, and a
// database of a newer schema than the backup's.
func TestOtherSchemaIsRefused(t *testing.T) {
	files, oldProgram := store(t), dbtest.SQLite(t)
	oldProgram.Migrations = migrationsUpTo(t, 4)
	newer, _ := create(t, dbtest.Open(t, dbtest.SQLite(t)), files)
	older, _ := create(t, dbtest.Open(t, oldProgram), files)
	oldProgram.Path += ".new"
	if err := restore(t, newer, oldProgram, files, backup.Options{}); err == nil || !strings.Contains(err.Error(), "made by a newer OS-Pulse") {
		t.Errorf("a newer backup: %v", err)
	}
	o := dbtest.SQLite(t)
	db, err := database.Open(t.Context(), o)
	if err == nil {
		err = errors.Join(db.Migrate(t.Context()), db.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := restore(t, older, o, files, backup.Options{}); err == nil || !strings.Contains(err.Error(), "restore into a new database") {
		t.Errorf("an older backup into a database of this version: %v", err)
	}
}

// TestFilesThatAreNotWhole checks that a target file which the storage does not have, or
// has damaged, is reported and does not prevent a backup or a restore.
func TestFilesThatAreNotWhole(t *testing.T) {
	db, files := dbtest.Open(t, dbtest.SQLite(t)), store(t)
	gone, damaged := hashOf("gone"), place(t, files, "damaged")
	err := db.Write(t.Context(), func(tx *gorm.DB) error {
		return tx.Create([]models.TargetFile{{SHA256: gone, SizeBytes: 4}, {SHA256: damaged, SizeBytes: 7}, {SHA256: place(t, files, "whole"), SizeBytes: 5}}).Error
	})
	if err != nil {
		t.Fatal(err)
	}
	content, err := files.Open(t.Context(), damaged)
	if err != nil {
		t.Fatal(err)
	}
	content.Close()
	if err := os.WriteFile(content.(*os.File).Name(), []byte("dAmaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	file, report := create(t, db, files)
	if c := report.Contents; c.Files != 2 || len(c.Missing) != 1 || c.Missing[0] != gone || len(c.Damaged) != 1 || c.Damaged[0] != damaged {
		t.Errorf("%+v", c)
	}
	elsewhere := store(t)
	mustRestore(t, file, dbtest.SQLite(t), elsewhere)
	for content, want := range map[string]bool{"gone": false, "damaged": false, "whole": true} {
		if got, err := elsewhere.Has(t.Context(), hashOf(content)); got != want || err != nil {
			t.Errorf("%s: %v, %v", content, got, err)
		}
	}
}

// TestGapsAreReported checks that a backup says which sessions lack events.
func TestGapsAreReported(t *testing.T) {
	db, files := dbtest.Open(t, dbtest.SQLite(t)), store(t)
	fill(t, db, files)
	if err := db.Write(t.Context(), func(tx *gorm.DB) error { return tx.Exec("DELETE FROM events WHERE seq = 1").Error }); err != nil {
		t.Fatal(err)
	}
	_, report := create(t, db, files)
	if want := (backup.Gap{SessionID: "s", Expected: 2, Present: 1}); len(report.Gaps) != 1 || report.Gaps[0] != want {
		t.Errorf("%+v", report.Gaps)
	}
}
