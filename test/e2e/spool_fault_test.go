package e2e

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"ospulse/test/pgtest"
	"ospulse/test/wait"
)

// acting is an event of a process, which has rows in every table.
const acting = `{"event_type":"x","source":"%s","data":{"pid":7,"processName":"p"}}`

// postSpooled sends events that must be accepted and spooled.
func (b *backend) postSpooled(names ...string) {
	b.t.Helper()
	for _, name := range names {
		if a := b.send("POST", "/api/events", fmt.Sprintf(acting, name)); a.status != http.StatusAccepted {
			b.t.Errorf("%s got %d %s, want 202", name, a.status, a.body)
		}
	}
}

// checks returns the checks of /readyz.
func (b *backend) checks() map[string]string {
	b.t.Helper()
	var answer struct{ Checks map[string]string }
	if err := json.Unmarshal(b.send("GET", "/readyz", "").body, &answer); err != nil {
		b.t.Fatal(err)
	}
	return answer.Checks
}

// waitForReason waits until /readyz has the reason why the spool waits.
func (b *backend) waitForReason(reason string) {
	b.t.Helper()
	wait.For(b.t, "/readyz that says "+reason, func() bool {
		text := b.checks()["spool"]
		return strings.Contains(text, "events wait on this machine's disk") && strings.Contains(text, reason)
	})
}

// wantSources checks that exactly these events are stored, in this order.
func (b *backend) wantSources(want ...string) {
	b.t.Helper()
	waitForDrain(b.t, b)
	var a answer
	wait.For(b.t, "an export", func() bool { // the backend may first use a connection from before a restart
		a = b.send("GET", "/api/events/export?sessionId=unassigned", "")
		return a.status == http.StatusOK
	})
	var events []exported
	b.decode(a, http.StatusOK, &events)
	var got []string
	for _, e := range events {
		if got = append(got, e.Source); e.Seq != int64(len(got)) {
			b.t.Errorf("event %d has seq %d", len(got), e.Seq)
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		b.t.Errorf("stored are %v, want %v", got, want)
	}
}

// ordinaryRole creates a role that only owns the database, as operators do, and returns
// its URL. A superuser has every privilege.
func ordinaryRole(t *testing.T, server *pgtest.Server) string {
	t.Helper()
	if err := server.Exec(t.Context(), "CREATE ROLE app LOGIN; ALTER DATABASE ospulse OWNER TO app"); err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(server.URL("ospulse"))
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.User("app")
	return u.String()
}

// admin runs statements as the superuser.
func admin(t *testing.T, server *pgtest.Server, statements string) {
	t.Helper()
	db, err := sql.Open("pgx", server.URL("ospulse"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(context.Background(), statements); err != nil {
		t.Fatal(err)
	}
}

// TestSpoolOutlastsAMissingPrivilege checks that events which were acknowledged while
// the database was away survive a missing privilege.
func TestSpoolOutlastsAMissingPrivilege(t *testing.T) {
	t.Parallel()
	server, _ := startPostgres(t)
	b := startBackend(t, map[string]string{"DATABASE_URL": ordinaryRole(t, server)})
	admin(t, server, "REVOKE INSERT ON events FROM app")
	if err := server.Stop(pgtest.Fast); err != nil {
		t.Fatal(err)
	}
	b.postSpooled("1", "2", "3", "4", "5")
	if err := server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.waitForReason("missing privilege")
	b.postSpooled("6")
	if strings.Contains(b.log.String(), "the database has all events") {
		t.Error("the log claims what is not so")
	}
	admin(t, server, "GRANT INSERT ON events TO app")
	b.wantSources("1", "2", "3", "4", "5", "6")
	if metrics := string(b.send("GET", "/metrics", "").body); !strings.Contains(metrics, "ospulse_events_rejected_total 0\n") || !strings.Contains(metrics, "ospulse_spool_set_aside_events 0\n") {
		t.Error("the metrics tell of events that are set aside")
	}
	if a := b.send("POST", "/api/events", fmt.Sprintf(acting, "7")); a.status != http.StatusOK {
		t.Errorf("afterwards an event gets %d %s", a.status, a.body)
	}
}

// raising returns statements that make every insert of an event fail with a SQLSTATE,
// and that undo this.
func raising(code string) [2]string {
	return [2]string{
		`CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'as told' USING ERRCODE = '` + code + `'; END $$;
			CREATE TRIGGER fail BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION fail()`,
		"DROP FUNCTION fail CASCADE",
	}
}

// TestNoFaultOfPostgresCostsAnEvent checks that no fault of the database loses an
// acknowledged event: the events wait in order, /readyz has the reason, and they are
// stored after the repair.
func TestNoFaultOfPostgresCostsAnEvent(t *testing.T) {
	t.Parallel()
	server, _ := startPostgres(t)
	b := startBackend(t, map[string]string{"DATABASE_URL": ordinaryRole(t, server)})
	const disconnect = `; SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'`
	faults := map[string]struct {
		sql    [2]string // to break it, to repair it
		reason string
	}{
		"no INSERT":          {[2]string{"REVOKE INSERT ON events FROM app", "GRANT INSERT ON events TO app"}, "missing privilege"},
		"no SELECT":          {[2]string{"REVOKE SELECT ON sessions FROM app", "GRANT SELECT ON sessions TO app"}, "missing privilege"},
		"no UPDATE":          {[2]string{"REVOKE UPDATE ON sessions FROM app", "GRANT UPDATE ON sessions TO app"}, "missing privilege"},
		"renamed table":      {[2]string{"ALTER TABLE processes RENAME TO gone", "ALTER TABLE gone RENAME TO processes"}, "missing in the database"},
		"dropped table":      {[2]string{"CREATE TABLE kept (LIKE writer_marks INCLUDING ALL); INSERT INTO kept SELECT * FROM writer_marks; DROP TABLE writer_marks", "ALTER TABLE kept RENAME TO writer_marks; ALTER TABLE writer_marks OWNER TO app"}, "missing in the database"},
		"missing column":     {[2]string{"ALTER TABLE events RENAME COLUMN preview TO gone", "ALTER TABLE events RENAME COLUMN gone TO preview"}, "missing in the database"},
		"another type":       {[2]string{"ALTER TABLE events ALTER pid TYPE boolean USING pid > 0", "ALTER TABLE events ALTER pid TYPE bigint USING 7"}, "the database"},
		"new NOT NULL":       {[2]string{"ALTER TABLE events ADD COLUMN extra int NOT NULL DEFAULT 1; ALTER TABLE events ALTER extra DROP DEFAULT", "ALTER TABLE events DROP extra"}, "refuses every event"},
		"rule for all":       {[2]string{"ALTER TABLE events ADD CONSTRAINT never CHECK (seq < 0) NOT VALID", "ALTER TABLE events DROP CONSTRAINT never"}, "refuses every event"},
		"counter behind":     {[2]string{"UPDATE sessions SET event_count = 0 WHERE id = 'unassigned'; INSERT INTO events (session_id, seq, event_type, timestamp, source, data) SELECT 'unassigned', n, 'x', now(), 'x', '1' FROM generate_series(1, 1000) n ON CONFLICT DO NOTHING", "DELETE FROM events WHERE event_type = 'x' AND source = 'x'; UPDATE sessions SET event_count = (SELECT COALESCE(MAX(seq), 0) FROM events WHERE session_id = 'unassigned') WHERE id = 'unassigned'"}, "refuses every event"},
		"read-only":          {[2]string{"ALTER ROLE app SET default_transaction_read_only = on" + disconnect, "ALTER ROLE app RESET default_transaction_read_only" + disconnect}, "read-only"},
		"statement timeout":  {[2]string{"ALTER ROLE app SET statement_timeout = 100; CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(60); RETURN NEW; END $$; CREATE TRIGGER fail BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION fail()" + disconnect, "ALTER ROLE app RESET statement_timeout; DROP FUNCTION fail CASCADE" + disconnect}, "took too long"},
		"no connection":      {[2]string{"ALTER ROLE app CONNECTION LIMIT 0" + disconnect, "ALTER ROLE app CONNECTION LIMIT -1"}, "no connection left"},
		"no login":           {[2]string{"ALTER ROLE app NOLOGIN" + disconnect, "ALTER ROLE app LOGIN"}, "role or password"},
		"deadlock":           {raising("40P01"), "another one"},
		"serialization":      {raising("40001"), "another one"},
		"lock timeout":       {raising("55P03"), "holds a lock"},
		"damaged page":       {raising("XX001"), "damaged data"},
		"damaged index":      {raising("XX002"), "damaged index"},
		"internal error":     {raising("XX000"), "error of its own"},
		"full disk":          {raising("53100"), "disk is full"},
		"out of memory":      {raising("53200"), "out of memory"},
		"disk error":         {raising("58030"), "reports an error"},
		"raised by somebody": {raising("P0001"), "refuses the statement"},
		"division by zero":   {raising("22012"), "refuses every event"}, // class 22, but not the event's fault
	}
	var want []string
	for name, fault := range faults {
		before := len(want)
		admin(t, server, fault.sql[0])
		for i := range 3 {
			want = append(want, fmt.Sprintf("%s %d", name, i))
		}
		b.postSpooled(want[before:]...)
		b.waitForReason(fault.reason)
		if text := b.checks()["spool"]; strings.Contains(text, "INSERT") || strings.Contains(text, "as told") {
			t.Errorf("%s: /readyz shows what is behind it: %s", name, text)
		}
		admin(t, server, fault.sql[1])
		waitForDrain(t, b)
		if t.Failed() {
			t.Fatal("it was ", name)
		}
	}
	b.wantSources(want...)
	if text := b.checks()["set_aside"]; text != "ok" {
		t.Errorf("set aside: %s", text)
	}
}

// TestNoFaultOfSQLiteCostsAnEvent checks the same on SQLite.
func TestNoFaultOfSQLiteCostsAnEvent(t *testing.T) {
	t.Parallel()
	env := map[string]string{"DATA_DIR": t.TempDir()}
	b := startBackend(t, env)
	db := openDatabase(t, env)
	var want []string
	for name, fault := range map[string]struct {
		sql    [2]string
		reason string
	}{
		"renamed table":  {[2]string{"ALTER TABLE processes RENAME TO gone", "ALTER TABLE gone RENAME TO processes"}, "missing in the database"},
		"missing column": {[2]string{"ALTER TABLE events RENAME COLUMN preview TO gone", "ALTER TABLE events RENAME COLUMN gone TO preview"}, "missing in the database"},
		"rule for all":   {[2]string{"CREATE TRIGGER fail BEFORE INSERT ON events BEGIN SELECT RAISE(ABORT, 'as told'); END", "DROP TRIGGER fail"}, "refuses every event"},
	} {
		before := len(want)
		if _, err := db.ExecContext(t.Context(), fault.sql[0]); err != nil {
			t.Fatal(err)
		}
		for i := range 3 {
			want = append(want, fmt.Sprintf("%s %d", name, i))
		}
		b.postSpooled(want[before:]...)
		b.waitForReason(fault.reason)
		if _, err := db.ExecContext(t.Context(), fault.sql[1]); err != nil {
			t.Fatal(err)
		}
		waitForDrain(t, b)
	}
	b.wantSources(want...)
}

// TestRefusedEventIsVisible checks that an event which the database refuses because of
// its content costs no other event. Its sender gets the error or, if it was already
// acknowledged, it stays visible until an operator has it stored again.
func TestRefusedEventIsVisible(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		env["DATA_DIR"] = t.TempDir()
		refuse, allow := "ALTER TABLE events ADD CONSTRAINT bad CHECK (source NOT LIKE 'bad%')", "ALTER TABLE events DROP CONSTRAINT bad"
		if env["DATABASE_URL"] == "" {
			refuse, allow = "CREATE TRIGGER bad BEFORE INSERT ON events WHEN NEW.source LIKE 'bad%' BEGIN SELECT RAISE(ABORT, 'bad'); END", "DROP TRIGGER bad"
		}
		b := startBackend(t, env)
		db := openDatabase(t, env)
		exec := func(statement string) {
			t.Helper()
			if _, err := db.ExecContext(t.Context(), statement); err != nil {
				t.Fatal(err)
			}
		}
		exec(refuse)
		event := func(name string) string { return fmt.Sprintf(acting, name) }
		wantError(t, b.send("POST", "/api/events", event("bad")), http.StatusBadRequest, "invalid", "events[0]: a rule of the database refuses the value")
		a := b.send("POST", "/api/events/batch", "["+event("1")+`,{"event_type":7},`+event("bad")+","+event("2")+"]", "Idempotency-Key: k")
		if a.status != http.StatusOK || !bytes.Contains(a.body, []byte(`"stored":2`)) || !bytes.Contains(a.body, []byte(`{"index":2,"error":"a rule of the database`)) || !bytes.Contains(a.body, []byte(`{"index":1,`)) {
			t.Errorf("a batch with a refused event got %d %s", a.status, a.body)
		}
		if again := b.send("POST", "/api/events/batch", "["+event("1")+`,{"event_type":7},`+event("bad")+","+event("2")+"]", "Idempotency-Key: k"); !bytes.Equal(again.body, a.body) {
			t.Errorf("the same again got %d %s", again.status, again.body)
		}
		b.wantSources("1", "2")

		exec("ALTER TABLE processes RENAME TO gone")
		b.postSpooled("3", "bad 4", "5")
		if a := b.send("POST", "/api/events/batch", "["+event("6")+","+event("bad 7")+","+event("8")+"]"); a.status != http.StatusAccepted {
			t.Errorf("%d %s", a.status, a.body)
		}
		exec("ALTER TABLE gone RENAME TO processes")
		b.wantSources("1", "2", "3", "os-pulse-backend", "5", "6", "os-pulse-backend", "8")
		reports := 0
		for _, e := range b.export("unassigned") {
			if e.EventType == "events_lost" {
				reports++
				if !bytes.Contains(e.Data, []byte("refused_by_database")) || !bytes.Contains(e.Data, []byte("a rule of the database refuses the value")) {
					t.Errorf("the report says %s", e.Data)
				}
			}
		}
		if text := b.checks()["set_aside"]; reports != 2 || !strings.HasPrefix(text, "2 acknowledged events are set aside") {
			t.Errorf("%d reports, /readyz says %s", reports, text)
		}
		if a := b.send("GET", "/api/sessions/unassigned", ""); !bytes.Contains(a.body, []byte(`"lost":2`)) {
			t.Errorf("the session does not tell of the loss: %s", a.body)
		}
		if log := b.log.String(); strings.Contains(log, "the database has all events") || !strings.Contains(log, `"set_aside":2`) {
			t.Error("the log claims what is not so")
		}
		exec(allow)
	})
}
