package database_test

import (
	"errors"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"gorm.io/gorm"

	"ospulse/internal/database"
	"ospulse/internal/database/migrations"
	"ospulse/test/dbtest"
	"ospulse/test/wait"
)

// withMigrations returns the numbered files of this program and more files by name, the
// same for each dialect.
func withMigrations(t *testing.T, more map[string]string) fs.FS {
	t.Helper()
	all := fstest.MapFS{}
	for _, dialect := range []string{"sqlite", "postgres"} {
		names, err := fs.Glob(migrations.Files, dialect+"/*.sql")
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			text, err := fs.ReadFile(migrations.Files, name)
			if err != nil {
				t.Fatal(err)
			}
			all[name] = &fstest.MapFile{Data: text}
		}
		for name, text := range more {
			all[dialect+"/"+name] = &fstest.MapFile{Data: []byte(text)}
		}
	}
	return all
}

// reopen opens the database of o with other migrations, as another version does.
func reopen(t *testing.T, o database.Options, files fs.FS) *database.DB {
	t.Helper()
	o.Migrations = files
	db, err := database.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

// next returns the name of the nth migration after those of this program.
func next(t *testing.T, n int, name string) string {
	t.Helper()
	names, err := fs.Glob(migrations.Files, "postgres/*.sql")
	if err != nil {
		t.Fatal(err)
	}
	const digits = "0123456789"
	n += len(names)
	return "00" + digits[n/10:n/10+1] + digits[n%10:n%10+1] + "_" + name + ".sql"
}

// TestOlderProgramBesideANewerSchema checks that a program leaves a newer schema alone
// and works with it if the schema is marked as compatible, and is refused otherwise.
func TestOlderProgramBesideANewerSchema(t *testing.T) {
	for name, options := range map[string]func(testing.TB) database.Options{"sqlite": dbtest.SQLite, "postgres": dbtest.Postgres} {
		t.Run(name, func(t *testing.T) {
			o := options(t)
			old := dbtest.Open(t, o)
			more := map[string]string{
				next(t, 1, "column"): "-- A column that no older program knows.\n-- compatible: 1\nALTER TABLE sessions ADD COLUMN of_the_future varchar(10) DEFAULT 'x';",
				next(t, 2, "table"):  "-- compatible: 3\nCREATE TABLE of_the_future (id integer);",
			}
			if err := reopen(t, o, withMigrations(t, more)).Migrate(t.Context()); err != nil {
				t.Fatal(err)
			}
			before := schema(t, old)
			if err := errors.Join(old.CheckSchema(t.Context()), old.Migrate(t.Context()), old.CheckSchema(t.Context())); err != nil {
				t.Error("the older program does not work: ", err)
			}
			if after := schema(t, old); after != before {
				t.Errorf("the older program changed the schema from\n%s\nto\n%s", before, after)
			}
			more[next(t, 3, "end")] = "DROP TABLE of_the_future;" // not marked as compatible
			if err := reopen(t, o, withMigrations(t, more)).Migrate(t.Context()); err != nil {
				t.Fatal(err)
			}
			for what, err := range map[string]error{"Migrate": old.Migrate(t.Context()), "CheckSchema": old.CheckSchema(t.Context())} {
				if err == nil || !strings.Contains(err.Error(), "made by a newer OS-Pulse") {
					t.Errorf("%s says %v, want a word about a newer schema", what, err)
				}
			}
		})
	}
}

// TestBadMigrationsPanic checks that a migration that cannot be parsed panics.
// Migrations are part of the program.
func TestBadMigrationsPanic(t *testing.T) {
	for what, file := range map[string][2]string{
		"a gap":                         {next(t, 2, "x"), "SELECT 1;"},
		"compatible with the future":    {next(t, 1, "x"), "-- compatible: 99\nSELECT 1;"},
		"more than indexes":             {next(t, 1, "x"), "CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON events (pid);\nDROP TABLE events;"},
		"an index that may be there":    {next(t, 1, "x"), "CREATE INDEX CONCURRENTLY i ON events (pid);"},
		"two statements that are alike": {next(t, 1, "x"), "CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON events (pid); DROP TABLE events;"},
	} {
		t.Run(what, func(t *testing.T) {
			db := reopen(t, dbtest.SQLite(t), withMigrations(t, map[string]string{file[0]: file[1]}))
			defer func() {
				if recover() == nil {
					t.Error("it was taken")
				}
			}()
			_ = db.Migrate(t.Context())
		})
	}
}

// blockBuilds keeps concurrent index builds from completing: they wait until all older
// snapshots are gone.
func blockBuilds(t *testing.T, db *database.DB) (release func()) {
	t.Helper()
	tx := db.Read(t.Context()).Begin()
	for _, statement := range []string{"SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", "SELECT count(*) FROM sessions"} {
		if err := tx.Exec(statement).Error; err != nil {
			t.Fatal(err)
		}
	}
	return func() { tx.Rollback() }
}

// eventually waits until a query returns a positive number.
func eventually(t *testing.T, db *database.DB, what, query string, args ...any) {
	t.Helper()
	wait.For(t, what, func() bool {
		var n int64
		if err := db.Read(t.Context()).Raw(query, args...).Scan(&n).Error; err != nil {
			t.Fatal(err)
		}
		return n > 0
	})
}

const waitingBuild = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE 'CREATE % CONCURRENTLY %'"

const indexState = "SELECT count(*) FROM pg_index WHERE indexrelid = to_regclass(?) AND indisvalid = ?"

func fillEvents(t *testing.T, db *database.DB, first, n int) {
	t.Helper()
	err := db.Write(t.Context(), func(tx *gorm.DB) error {
		return tx.Exec(`INSERT INTO events (session_id, seq, event_type, "timestamp", source, data)
			SELECT 'unassigned', seq, 'x', now(), 'x', '{}' FROM generate_series(?::bigint, ?::bigint) AS seq`, first, first+n-1).Error
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestIndexesAreBuiltWhileOthersWrite checks that others write while a large index is
// built, and that starting programs wait and do not block the build. This holds for a
// numbered migration and for an index of a model. The next program completes an
// interrupted build.
func TestIndexesAreBuiltWhileOthersWrite(t *testing.T) {
	numbered := "of_the_future"
	files := withMigrations(t, map[string]string{
		next(t, 1, "index"): "-- compatible: 1\nCREATE INDEX CONCURRENTLY IF NOT EXISTS " + numbered + " ON events (source, seq);\n",
		next(t, 2, "after"): "-- compatible: 1\nCREATE TABLE after_the_index (id integer);",
	})
	for name, tt := range map[string]struct {
		index  string
		before string // a statement that drops an index of the model, or nothing
		rows   int
	}{
		"of a numbered migration": {numbered, "SELECT 1", 100_000},
		"of a model":              {"idx_events_session_seq", "DROP INDEX idx_events_session_seq", 1000},
		"with a condition":        {"idx_segments_ids", "DROP INDEX idx_segments_ids", 1000},
	} {
		t.Run(name, func(t *testing.T) {
			o := dbtest.Postgres(t)
			old := dbtest.Open(t, o)
			definition := func() (text string) {
				t.Helper()
				if err := old.Read(t.Context()).Raw("SELECT COALESCE(pg_get_indexdef(to_regclass(?)), '')", tt.index).Scan(&text).Error; err != nil {
					t.Fatal(err)
				}
				return text
			}
			before := definition()
			fillEvents(t, old, 1, tt.rows)
			if err := old.Write(t.Context(), func(tx *gorm.DB) error { return tx.Exec(tt.before).Error }); err != nil {
				t.Fatal(err)
			}

			release := blockBuilds(t, old)
			ended := make(chan error)
			go func() { ended <- reopen(t, o, files).Migrate(t.Context()) }()
			eventually(t, old, "a build that waits", waitingBuild)
			fillEvents(t, old, tt.rows+1, 1)
			eventually(t, old, "the end of the build's connection", strings.Replace(waitingBuild, "count(*)", "count(pg_terminate_backend(pid))", 1))
			if err := <-ended; err == nil {
				t.Error("the interrupted migration says that it is complete")
			}
			release()
			eventually(t, old, "what the interrupted build left", indexState, tt.index, false)

			release = blockBuilds(t, old)
			for range 3 { // one builds, the others wait for it
				go func() { ended <- reopen(t, o, files).Migrate(t.Context()) }()
			}
			eventually(t, old, "a build that waits", waitingBuild)
			fillEvents(t, old, tt.rows+2, 1)
			if err := old.CheckSchema(t.Context()); err != nil {
				t.Error("an older program stops working meanwhile: ", err)
			}
			release()
			for range 3 {
				if err := <-ended; err != nil {
					t.Error(err)
				}
			}
			for _, index := range []string{tt.index, numbered} {
				eventually(t, old, "the complete index "+index, indexState, index, true)
			}
			if after := definition(); before != "" && after != before {
				t.Errorf("the index became %s, want %s", after, before)
			}
			eventually(t, old, "the migration after the index", "SELECT count(*) FROM pg_class WHERE relname = 'after_the_index'")
			if err := errors.Join(old.CheckSchema(t.Context()), old.Migrate(t.Context())); err != nil {
				t.Error(err)
			}
		})
	}
}
