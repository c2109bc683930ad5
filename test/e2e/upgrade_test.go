package e2e

import (
	"io/fs"
	"log/slog"
	"net/http"
	"testing"
	"testing/fstest"

	"ospulse/internal/database"
	"ospulse/internal/database/migrations"
	"ospulse/test/dbtest"
)

// TestOlderBackendServesBesideANewerSchema checks that backends keep serving while a
// newer one changes the schema, and that an older backend may start afterwards, if the
// newer schema is marked as compatible.
func TestOlderBackendServesBesideANewerSchema(t *testing.T) {
	env := map[string]string{"DATABASE_URL": dbtest.Postgres(t).URL}
	b := startBackend(t, env)
	l := startLoad(b.url, 0, 20)
	l.waitFor(t, 200)

	files := fstest.MapFS{}
	names, err := fs.Glob(migrations.Files, "postgres/*.sql")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		text, err := fs.ReadFile(migrations.Files, name)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = &fstest.MapFile{Data: text}
	}
	number := func(n int) string { return string([]byte{'0', '0', byte('0' + n/10), byte('0' + n%10)}) }
	files["postgres/"+number(len(names)+1)+"_column.sql"] = &fstest.MapFile{Data: []byte("-- compatible: 1\nALTER TABLE events ADD COLUMN of_the_future varchar(10) DEFAULT 'x';")}
	files["postgres/"+number(len(names)+2)+"_index.sql"] = &fstest.MapFile{Data: []byte("-- compatible: 1\nCREATE INDEX CONCURRENTLY IF NOT EXISTS idx_of_the_future ON events (of_the_future);")}
	newer, err := database.Open(t.Context(), database.Options{URL: env["DATABASE_URL"], PoolSize: 2, AllowWeak: true, Migrations: files, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := newer.Migrate(t.Context()); err != nil {
		t.Error(err)
	}
	if err := newer.Close(); err != nil {
		t.Error(err)
	}

	l.waitFor(t, 400)
	l.end()
	if len(l.failed) > 0 {
		t.Errorf("answers other than 200: %v", l.failed)
	}
	late := startBackend(t, env)
	for _, backend := range []*backend{b, late} {
		if a := backend.send("GET", "/readyz", ""); a.status != http.StatusOK {
			t.Errorf("a backend is not ready: %s", a.body)
		}
	}
	wantStored(t, late, l)
}
