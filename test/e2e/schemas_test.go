package e2e

import (
	"bytes"
	"compress/gzip"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"ospulse/internal/database/migrations"
	"ospulse/test/dbtest"
	"ospulse/test/pgtest"
	"ospulse/test/wait"
)

// recordSchema names a program whose databases TestOldSchemas records first:
//
//	go build -o /tmp/backend main.go && go test ./test/e2e -run TestOldSchemas -record /tmp/backend
var recordSchema = flag.String("record", "", "a backend whose databases become testdata") //nolint:gochecknoglobals // a flag

// schemaFile is the database of a program with a version of the schema.
func schemaFile(dialect string, version int) string {
	return filepath.Join(root, "test", "testdata", "schemas", fmt.Sprintf("%s-%02d.gz", dialect, version))
}

// neverRan are versions of the schema that no working program has left.
var neverRan = map[int]bool{2: true}

// schemaEvents are the events in the databases: one of `unassigned`, the others of a session.
var schemaEvents = []string{
	`{"event_type":"probe","source":"old","timestamp":"2026-11-22T10:00:00Z","data":{"n":12345678901234567890.10}}`,
	`{"event_type":"process_creation","source":"old","timestamp":"2026-11-22T10:00:01.123456Z","data":{"commandLine":"sh -c ls","newProcessId":7,"metadata":{"processName":"sh","processId":6}}}`,
	`{"event_type":"file_operation","source":"old","timestamp":"2026-11-22T10:00:02Z","data":{"operation":"ReadFile","filePath":"C:\\ä.txt","status":0,"metadata":{"processName":"sh","processId":7}}}`,
	`{"event_type":"http_network_operation","source":"old","timestamp":"2026-11-22T10:00:03Z","data":{"request":{"method":"GET","url":"http://127.0.0.1/"},"metadata":{"processName":"sh","processId":7}}}`,
}

// TestOldSchemas opens the databases of programs with every version of the schema, and checks
// that their sessions and events are there and that new events are stored.
func TestOldSchemas(t *testing.T) {
	t.Parallel()
	for _, dialect := range []string{"sqlite", "postgres"} {
		t.Run(dialect, func(t *testing.T) {
			if *recordSchema != "" {
				recordDatabase(t, dialect)
			}
			names, err := fs.Glob(migrations.Files, dialect+"/*.sql")
			if err != nil {
				t.Fatal(err)
			}
			for version := 1; version <= len(names); version++ {
				if !neverRan[version] {
					t.Run(strconv.Itoa(version), func(t *testing.T) { openSchema(t, dialect, version) })
				}
			}
		})
	}
}

func openSchema(t *testing.T, dialect string, version int) {
	t.Parallel()
	packed, err := os.Open(schemaFile(dialect, version))
	if errors.Is(err, os.ErrNotExist) {
		t.Fatalf("there is no database with this version of the schema: record it, see recordSchema: %v", err)
	} else if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	unpacked, err := gzip.NewReader(packed)
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(unpacked)
	if err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"DATA_DIR": t.TempDir()}
	if dialect == "sqlite" {
		err = os.WriteFile(filepath.Join(env["DATA_DIR"], "ospulse.db"), content, 0o600)
	} else {
		env["DATABASE_URL"] = dbtest.Postgres(t).URL
		_, err = openDatabase(t, env).ExecContext(t.Context(), string(content))
	}
	if err != nil {
		t.Fatal(err)
	}

	b := startBackend(t, env)
	wait.For(t, "the end of the upgrade", func() bool { return b.send("GET", "/readyz", "").status == http.StatusOK })
	sessions, _ := b.list("")
	var of string
	for _, s := range sessions {
		if s.FileName == "old.exe" {
			of = s.ID
		}
	}
	got := append(b.export("unassigned"), b.export(of)...)
	if len(got) != len(schemaEvents) {
		t.Fatalf("%d events, want %d: %+v", len(got), len(schemaEvents), got)
	}
	for i, e := range got {
		var want exported
		b.decode(answer{status: http.StatusOK, body: []byte(schemaEvents[i])}, http.StatusOK, &want)
		if e.EventType != want.EventType || e.Source != want.Source || !sameJSON(t, e.Data, want.Data) {
			t.Errorf("event %d is %+v, want %+v", i, e, want)
		}
	}
	b.sendEvents("unassigned", []string{`{"event_type":"new"}`})
	if events := b.export("unassigned"); len(events) != 2 || events[1].Seq != 2 {
		t.Errorf("with a new event: %+v", events)
	}
	if out, err := runProgram(t, env, "doctor"); err != nil {
		t.Errorf("doctor: %v\n%s", err, out)
	}
}

// recordDatabase runs the program, stores events, and keeps its database.
func recordDatabase(t *testing.T, dialect string) {
	t.Helper()
	env := map[string]string{"AGENT_SERVICE_URL": newTestAgent(t).URL, "DATA_DIR": t.TempDir(), "SEAL_AFTER": "never"}
	if dialect == "postgres" {
		env["DATABASE_URL"] = dbtest.Postgres(t).URL
	}
	run := func(args ...string) *process {
		p := command(t, env, args...)
		p.Path = *recordSchema
		return p
	}
	p := run()
	p.start(t)
	b := &backend{t: t, url: p.url}
	post := func(event string) {
		t.Helper()
		if a := b.send("POST", "/api/events", event); a.status != http.StatusOK {
			t.Fatalf("%d %s", a.status, a.body)
		}
	}
	post(schemaEvents[0])
	id := b.create("old.exe")
	b.mustStart(id)
	for _, event := range schemaEvents[1:] {
		post(event)
	}
	b.mustStop(id)
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(); err != nil {
		t.Fatal(err, p.stderr.String())
	}
	if err := run("seal", id).Run(); err != nil {
		t.Log("this program does not seal:", err)
	}

	var version int
	db := openDatabase(t, env)
	if err := db.QueryRowContext(t.Context(), "SELECT MAX(version) FROM schema_migrations").Scan(&version); err != nil {
		t.Fatal(err)
	}
	content := dump(t, db, env)
	var packed bytes.Buffer
	w, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Close(), os.WriteFile(schemaFile(dialect, version), packed.Bytes(), 0o644)); err != nil {
		t.Fatal(err)
	}
}

// dump returns SQLite's file, or the statements that make a copy of a PostgreSQL database.
func dump(t *testing.T, db *sql.DB, env map[string]string) []byte {
	t.Helper()
	if env["DATABASE_URL"] == "" {
		copied := filepath.Join(t.TempDir(), "copy.db")
		if _, err := db.ExecContext(t.Context(), "VACUUM INTO ?", copied); err != nil {
			t.Fatal(err)
		}
		content, err := os.ReadFile(copied)
		if err != nil {
			t.Fatal(err)
		}
		return content
	}
	bin, err := pgtest.BinDir()
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), filepath.Join(bin, "pg_dump"), "--inserts", "--no-owner", "--no-privileges", env["DATABASE_URL"]).Output()
	if err != nil {
		t.Fatal(err)
	}
	var statements strings.Builder
	for line := range strings.Lines(string(out)) {
		if !strings.HasPrefix(line, `\`) { // a command of psql
			statements.WriteString(line)
		}
	}
	return []byte(statements.String())
}
