package e2e

import (
	"bufio"
	"bytes"
	"database/sql"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"ospulse/internal/database"
	"ospulse/test/dbtest"
	"ospulse/test/wait"
)

// existingTables are the statements with which GORM creates the specification's two
// models.
var existingTables = map[string][]string{
	"postgres": {
		`CREATE TABLE "sessions" ("id" varchar(255),"file_name" varchar(255) NOT NULL,"created_at" timestamptz,"updated_at" timestamptz,"monitoring_started" timestamptz,"monitoring_ended" timestamptz,"is_active" boolean DEFAULT false,PRIMARY KEY ("id"))`,
		`CREATE TABLE "events" ("id" bigserial,"session_id" varchar(255) NOT NULL,"event_type" varchar(100) NOT NULL,"timestamp" timestamptz NOT NULL,"source" varchar(100) NOT NULL,"data" jsonb NOT NULL,"is_sent" boolean DEFAULT false,"created_at" timestamptz,"updated_at" timestamptz,PRIMARY KEY ("id"),CONSTRAINT "fk_sessions_events" FOREIGN KEY ("session_id") REFERENCES "sessions"("id"))`,
	},
	"sqlite": {
		`CREATE TABLE "sessions" ("id" varchar(255),"file_name" varchar(255) NOT NULL,"created_at" datetime,"updated_at" datetime,"monitoring_started" datetime,"monitoring_ended" datetime,"is_active" numeric DEFAULT false,PRIMARY KEY ("id"))`,
		`CREATE TABLE "events" ("id" integer PRIMARY KEY AUTOINCREMENT,"session_id" varchar(255) NOT NULL,"event_type" varchar(100) NOT NULL,"timestamp" datetime NOT NULL,"source" varchar(100) NOT NULL,"data" JSON NOT NULL,"is_sent" numeric DEFAULT false,"created_at" datetime,"updated_at" datetime,CONSTRAINT "fk_sessions_events" FOREIGN KEY ("session_id") REFERENCES "sessions"("id"))`,
	},
}

var existingIndexes = []string{
	`CREATE INDEX IF NOT EXISTS "idx_events_is_sent" ON "events" ("is_sent")`,
	`CREATE INDEX IF NOT EXISTS "idx_events_timestamp" ON "events" ("timestamp")`,
	`CREATE INDEX IF NOT EXISTS "idx_events_session_id" ON "events" ("session_id")`,
}

// openUnmigrated opens the database of a backend without a migration.
func openUnmigrated(t testing.TB, env map[string]string) *database.DB {
	t.Helper()
	options := dbtest.SQLite(t)
	options.Path = filepath.Join(env["DATA_DIR"], "ospulse.db")
	if url := env["DATABASE_URL"]; url != "" {
		options.URL = url
	}
	db, err := database.Open(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	return db
}

// inDatabase runs fn with a connection to a backend's database.
func inDatabase(t testing.TB, env map[string]string, fn func(pool *sql.DB, dialect string)) {
	t.Helper()
	db := openUnmigrated(t, env)
	defer db.Close()
	pools, err := db.Pools()
	if err != nil {
		t.Fatal(err)
	}
	fn(pools["write"], db.Dialect())
}

// existingDatabase creates a database of the existing backend, with its indexes.
func existingDatabase(t testing.TB, env map[string]string, statements ...string) {
	t.Helper()
	inDatabase(t, env, func(pool *sql.DB, dialect string) {
		for _, statement := range slices.Concat(existingTables[dialect], statements, existingIndexes) {
			if _, err := pool.ExecContext(t.Context(), statement); err != nil {
				t.Fatal(statement, ": ", err)
			}
		}
	})
}

// quoted returns a text as an SQL literal.
func quoted(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }

// oldEvent is an event of the existing backend.
type oldEvent struct {
	Type      string          `json:"event_type"`
	Timestamp string          `json:"timestamp"`
	Source    string          `json:"source"`
	Data      json.RawMessage `json:"data"`
}

// oldEvents returns the events that the existing backend makes of real clients'
// requests, each with its own time. jsonb accepts no NUL character and no lone
// surrogate.
func oldEvents(t testing.TB) (events []oldEvent) {
	t.Helper()
	add := func(eventType, source string, data json.RawMessage) {
		if eventType == "" || len(data) == 0 || bytes.Contains(data, []byte(`\u0000`)) || bytes.Contains(data, []byte(`\ud`)) {
			return
		}
		at := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC).Add(time.Duration(len(events)) * time.Millisecond)
		events = append(events, oldEvent{eventType, at.Format("2006-01-02T15:04:05.000Z"), source, data})
	}
	all := readFixtures(t)
	for _, name := range []string{"controller_events.jsonl", "controller_other.jsonl", "http_events.jsonl", "net_events.jsonl"} {
		for _, request := range all[name] {
			var body struct {
				oldEvent
				Events []json.RawMessage
			}
			if json.Unmarshal([]byte(request.Body), &body) != nil {
				continue
			}
			switch {
			case strings.Contains(request.Path, "/http/"):
				add("http_network_operation", "http-interceptor", json.RawMessage(request.Body))
			case strings.Contains(request.Path, "/net/"):
				for _, packet := range body.Events {
					add("raw_network_operation", "network-interceptor", packet)
				}
			default:
				add(body.Type, body.Source, body.Data)
			}
		}
	}
	if len(events) < 1000 {
		t.Fatalf("the fixtures have %d events", len(events))
	}
	return events
}

// listedEvents returns the events of a session as lists have them, without what differs
// after an upgrade.
func (b *backend) listedEvents(id string) (events []map[string]any) {
	b.t.Helper()
	for after := 0; ; after += 1000 {
		var page struct{ Events []map[string]any }
		b.decode(b.send("GET", fmt.Sprintf("/api/sessions/%s/events?limit=1000&after=%d", id, after), ""), http.StatusOK, &page)
		for _, e := range page.Events {
			delete(e, "session_id")
			delete(e, "created_at")
			delete(e, "timestamp_text") // the existing backend does not keep the text that was sent
			delete(e, "preview")        // jsonb changes the white space
			delete(e, "preview_is_cut")
		}
		if events = append(events, page.Events...); len(page.Events) < 1000 {
			return events
		}
	}
}

type sessionBackfill struct {
	State        string
	Backfill     *struct{ Done, Total int64 }
	EventCounts  map[string]int64 `json:"event_counts"`
	Completeness struct {
		Complete bool
		Present  int64
	}
}

func (b *backend) sessionBackfill(id string) (s sessionBackfill) {
	b.t.Helper()
	b.decode(b.send("GET", "/api/sessions/"+id, ""), http.StatusOK, &s)
	return s
}

func (b *backend) isFilled() bool {
	return bytes.Contains(b.send("GET", "/api/health", "").body, []byte(`"backfill":"ok"`))
}

// withoutIDs returns a process tree without its IDs.
func withoutIDs(nodes []node) []node {
	for i := range nodes {
		nodes[i].ID, nodes[i].ParentID = "", nil
		withoutIDs(nodes[i].Children)
	}
	return nodes
}

// TestExistingDatabaseUpgrades checks that a database of the existing backend opens,
// and that old clients read the same events. Before the backfill, results are marked as
// incomplete. After it, all results are as if this backend had received the events.
func TestExistingDatabaseUpgrades(t *testing.T) {
	events := oldEvents(t)
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		env["DATA_DIR"] = t.TempDir()
		statements := []string{
			"INSERT INTO sessions (id, file_name, created_at, updated_at, monitoring_started, is_active) VALUES ('old', 'a.exe', '2026-11-22 11:59:00+00:00', '2026-11-22 11:59:00+00:00', '2026-11-22 11:59:30+00:00', true)",
		}
		for i := range events {
			e := &events[(i*7)%len(events)] // IDs are in no order
			statements = append(statements, fmt.Sprintf("INSERT INTO events (id, session_id, event_type, timestamp, source, data, is_sent, created_at, updated_at) VALUES (%d, 'old', %s, %s, %s, %s, false, %[3]s, %[3]s)",
				i+1, quoted(e.Type), quoted(strings.NewReplacer("T", " ", "Z", "+00:00").Replace(e.Timestamp)), quoted(e.Source), quoted(string(e.Data))))
		}
		existingDatabase(t, env, statements...)
		const hold = "INSERT INTO leases (name, holder, until) VALUES ('backfill', 'the test', 9000000000000000)"
		upgraded := openUnmigrated(t, env)
		if err := upgraded.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := upgraded.Close(); err != nil {
			t.Fatal(err)
		}
		inDatabase(t, env, func(pool *sql.DB, _ string) {
			if _, err := pool.ExecContext(t.Context(), hold); err != nil {
				t.Fatal(err)
			}
		})

		b := startBackend(t, env)
		before := b.sessionBackfill("old")
		if before.State != "ended" || before.Backfill == nil || before.Backfill.Done != 0 || before.Backfill.Total != int64(len(events)) || b.isFilled() {
			t.Errorf("before the backfill the session is %+v", before)
		}
		if a := b.send("GET", "/api/sessions/old/export?format=bundle", ""); a.status != http.StatusServiceUnavailable {
			t.Errorf("a bundle before the backfill: %d %.200s", a.status, a.body)
		}
		exportedBefore := b.export("old")
		b.stop()
		inDatabase(t, env, func(pool *sql.DB, _ string) {
			if _, err := pool.ExecContext(t.Context(), "DELETE FROM leases WHERE name = 'backfill'"); err != nil {
				t.Fatal(err)
			}
		})
		b = startBackend(t, env)
		wait.For(t, "the end of the backfill", b.isFilled)

		// Another backend receives the same events.
		other := startBackend(t, map[string]string{})
		for some := range slices.Chunk(events, 500) {
			body, err := json.Marshal(some)
			if err != nil {
				t.Fatal(err)
			}
			other.batch(string(body))
		}
		got, want := b.listedEvents("old"), other.listedEvents("unassigned")
		for i := range want {
			if i >= len(got) || !reflect.DeepEqual(got[i], want[i]) {
				t.Fatalf("event %d of %d is %v, want %v", i+1, len(got), got[min(i, len(got)-1)], want[i])
			}
		}
		if got, want := withoutIDs(b.tree("old").Processes), withoutIDs(other.tree("unassigned").Processes); !reflect.DeepEqual(got, want) || len(want) < 2 {
			t.Errorf("the processes are\n%+v\nwant\n%+v", got, want)
		}
		after, wanted := b.sessionBackfill("old"), other.sessionBackfill("unassigned")
		if after.Backfill != nil || !after.Completeness.Complete || !reflect.DeepEqual(after.EventCounts, wanted.EventCounts) {
			t.Errorf("after the backfill the session is %+v, want the counts %v", after, wanted.EventCounts)
		}
		exportedAfter := b.export("old")
		if len(exportedAfter) != len(events) || len(exportedBefore) != len(events) {
			t.Fatalf("%d and %d events are exported, want %d", len(exportedBefore), len(exportedAfter), len(events))
		}
		for i, e := range exportedAfter {
			if !sameJSON(t, e.Data, events[i].Data) || !sameJSON(t, e.Data, exportedBefore[i].Data) || e.ID != exportedBefore[i].ID || e.Source != events[i].Source || e.EventType != events[i].Type {
				t.Fatalf("event %d reads back as %+v, want %+v", i+1, e, events[i])
			}
		}
		if a := b.send("GET", "/api/sessions/old/export?format=bundle", ""); a.status != http.StatusOK {
			t.Errorf("a bundle after the backfill: %d %.200s", a.status, a.body)
		}
		var polled []exported
		b.decode(b.poll("/api/events/old?limit=1000", oldOrigin), http.StatusOK, &polled)
		if len(polled) != 1000 || polled[0].Seq != int64(len(events)) || polled[0].ID != exportedAfter[len(events)-1].ID {
			t.Errorf("a poll returns %d events", len(polled))
		}
	})
}

// manyEvents returns statements that create n events in ten sessions.
func manyEvents(dialect string, n int) []string {
	if dialect == "postgres" {
		return []string{
			"INSERT INTO sessions (id, file_name, created_at) SELECT 's' || i, 'a.exe', '2026-11-22 11:59:00+00' FROM generate_series(0, 9) AS i",
			fmt.Sprintf(`INSERT INTO events (session_id, event_type, "timestamp", source, data, created_at, updated_at)
				SELECT 's' || i %% 10, 'file_operation', timestamptz '2026-11-22 12:00:00+00' + i * interval '1 ms' - (i %% 7) * interval '1 s', 'os-pulse-controller',
					jsonb_build_object('operation', 'ReadFile', 'filePath', 'C:\' || i, 'metadata', jsonb_build_object('processId', i %% 50, 'processName', 'p' || i %% 50)), now(), now()
				FROM generate_series(1, %d) AS i`, n),
		}
	}
	return []string{
		"INSERT INTO sessions (id, file_name, created_at) WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 9) SELECT 's' || i, 'a.exe', '2026-11-22 11:59:00+00:00' FROM n",
		fmt.Sprintf(`INSERT INTO events (session_id, event_type, "timestamp", source, data, created_at, updated_at)
			WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)
			SELECT 's' || (i %% 10), 'file_operation', strftime('%%Y-%%m-%%d %%H:%%M:%%f', 1795348800 + i / 1000.0 - i %% 7, 'unixepoch') || '+00:00', 'os-pulse-controller',
				json_object('operation', 'ReadFile', 'filePath', 'C:\' || i, 'metadata', json_object('processId', i %% 50, 'processName', 'p' || (i %% 50))), '2026-11-22 12:00:00+00:00', '2026-11-22 12:00:00+00:00'
			FROM n`, n),
	}
}

// contentsOf returns the sessions, events and processes of a database as texts.
func contentsOf(t *testing.T, env map[string]string) (all []string) {
	t.Helper()
	inDatabase(t, env, func(pool *sql.DB, _ string) {
		for _, query := range []string{
			"SELECT id || ' ' || event_count || ' ' || backfilled_seq || ' ' || backfill_up_to FROM sessions ORDER BY id",
			"SELECT session_id || ' ' || count(*) || ' ' || min(seq) || ' ' || max(seq) || ' ' || sum(seq * id) || ' ' || sum(seq * pid) || ' ' || count(DISTINCT target) || ' ' || min(target) FROM events GROUP BY session_id ORDER BY session_id",
			"SELECT session_id || ' ' || pid || ' ' || name || ' ' || event_counts FROM processes ORDER BY session_id, pid, started_at",
		} {
			all = append(all, texts(t, pool, query)...)
		}
	})
	return all
}

// texts returns the result of a query as texts.
func texts(t *testing.T, pool *sql.DB, query string) (found []string) {
	t.Helper()
	rows, err := pool.QueryContext(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			t.Fatal(err)
		}
		found = append(found, text)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return found
}

// killAt starts the program and kills it when its log has a line that contains text.
func killAt(t *testing.T, env map[string]string, text string) {
	t.Helper()
	p := command(t, env)
	stdout, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	found := false
	for lines := bufio.NewScanner(stdout); !found && lines.Scan(); {
		found = strings.Contains(lines.Text(), text)
	}
	if err := p.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	p.Wait() //nolint:errcheck // the error says that it was killed
	if !found {
		t.Errorf("the log has no line %q: %s", text, p.stderr.String())
	}
}

// TestKilledUpgradeContinues checks that an upgrade which is killed several times has
// the same result as an uninterrupted one.
func TestKilledUpgradeContinues(t *testing.T) {
	const n = 21_000
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		whole := map[string]string{"DATA_DIR": t.TempDir()}
		dialect := "sqlite"
		if env["DATABASE_URL"] != "" {
			dialect = "postgres"
			whole["DATABASE_URL"] = dbtest.Postgres(t).URL
		}
		env["DATA_DIR"] = t.TempDir()
		for _, e := range []map[string]string{whole, env} {
			e["SEAL_AFTER"] = "never" // the rows are compared
			existingDatabase(t, e, manyEvents(dialect, n)...)
		}
		b := startBackend(t, whole)
		wait.For(t, "the end of the backfill", b.isFilled)
		b.stop()
		for _, moment := range []string{"is upgraded now", `"msg":"upgrading"`, "is upgraded; ", "filling search columns"} {
			killAt(t, env, moment)
		}
		b = startBackend(t, env)
		wait.For(t, "the end of the backfill", b.isFilled)
		b.stop()
		want := contentsOf(t, whole)
		if got := contentsOf(t, env); !slices.Equal(got, want) || len(want) < 50 {
			t.Errorf("the database has\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	})
}

// TestTwoBackendsUpgradeOnce checks that two backends that start at once upgrade the
// database together or one after the other, and that both serve.
func TestTwoBackendsUpgradeOnce(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		env["DATA_DIR"] = t.TempDir()
		dialect := "sqlite"
		if env["DATABASE_URL"] != "" {
			dialect = "postgres"
		}
		existingDatabase(t, env, manyEvents(dialect, 15_000)...)
		first := command(t, env)
		started := make(chan struct{})
		go func() {
			defer close(started)
			first.start(t)
		}()
		second := startBackend(t, env)
		<-started
		wait.For(t, "the end of the backfill", second.isFilled)
		for _, url := range []string{first.url, second.url} {
			b := &backend{t: t, url: url}
			if a := b.send("GET", "/readyz", ""); a.status != http.StatusOK {
				t.Errorf("a backend is not ready: %s", a.body)
			}
			if s := b.sessionBackfill("s3"); s.Completeness.Present != 1500 || !s.Completeness.Complete {
				t.Errorf("a session is %+v", s)
			}
		}
		if err := first.Process.Kill(); err != nil {
			t.Error(err)
		}
		first.Wait() //nolint:errcheck // the error says that it was killed
	})
}

// TestProcessesOfSchema1AreFilled checks that sessions from before processes were
// stored get their process tree, once.
func TestProcessesOfSchema1AreFilled(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		env["DATA_DIR"], env["SEAL_AFTER"] = t.TempDir(), "never" // the test changes the rows
		b := startBackend(t, env)
		id := b.create("a.exe")
		for _, to := range []string{"?sessionId=" + id, ""} {
			for i, event := range []string{creation(1, 10, "explorer.exe", 20, "shell.exe"), creation(2, 20, "shell.exe", 30, "one.exe")} {
				if a := b.send("POST", "/api/events"+to, event); a.status != http.StatusOK {
					t.Fatal(i, string(a.body))
				}
			}
		}
		want, wantOther := b.tree(id), b.tree("unassigned")
		b.stop()
		inDatabase(t, env, func(pool *sql.DB, _ string) {
			for _, statement := range []string{
				"DELETE FROM processes WHERE session_id <> 'unassigned'", // it has events from before and after that time
				"DELETE FROM schema_migrations WHERE version > 4", "DROP INDEX idx_sessions_backfill",
				"UPDATE schema_migrations SET applied_at = (SELECT MAX(created_at) FROM events) WHERE version = 2",
				"UPDATE events SET created_at = (SELECT applied_at FROM schema_migrations WHERE version = 1)",
			} {
				if _, err := pool.ExecContext(t.Context(), statement); err != nil {
					t.Fatal(statement, ": ", err)
				}
			}
		})
		b = startBackend(t, env)
		wait.For(t, "the end of the backfill", b.isFilled)
		for id, want := range map[string]tree{id: want, "unassigned": wantOther} {
			if got := b.tree(id); !reflect.DeepEqual(withoutIDs(got.Processes), withoutIDs(want.Processes)) {
				t.Errorf("the processes are %+v, want %+v", got, want)
			}
		}
	})
}
