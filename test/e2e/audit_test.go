package e2e

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ospulse/internal/apidoc"
	"ospulse/test/wait"
)

// auditLine is an entry of the audit's download.
type auditLine struct {
	Actor, Action, State string
	SessionID            string `json:"session_id"`
	Status               int
}

// auditOf returns the entries of an action, newest first.
func (b *backend) auditOf(key, action string) (lines []auditLine) {
	b.t.Helper()
	for text := range bytes.Lines(b.send("GET", "/api/audit?format=ndjson&action="+action, "", bearer(key)...).body) {
		var line auditLine
		if err := json.Unmarshal(text, &line); err != nil {
			b.t.Fatal(err)
		}
		lines = append(lines, line)
	}
	return lines
}

// neverComplete is a trigger that keeps the backend busy when it completes an entry.
func neverComplete(env map[string]string) []string {
	if env["DATABASE_URL"] != "" {
		return []string{
			"CREATE FUNCTION never() RETURNS trigger AS $$ BEGIN PERFORM pg_sleep(3600); RETURN NEW; END $$ LANGUAGE plpgsql",
			"CREATE TRIGGER never BEFORE UPDATE ON audit_entries FOR EACH ROW EXECUTE FUNCTION never()",
		}
	}
	return []string{"CREATE TRIGGER never BEFORE UPDATE ON audit_entries BEGIN SELECT COUNT(*) FROM (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n); END"}
}

// TestKilledDuringAnAction kills the backend in the middle of a download, and between a
// change and the completion of its entry. Both are in the audit as not finished.
func TestKilledDuringAnAction(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		env["DATA_DIR"] = filepath.Join(t.TempDir(), "data")
		var p *process
		var b *backend
		start := func() {
			p = command(t, env)
			p.start(t)
			b = &backend{t: t, url: p.url}
		}
		kill := func() {
			if err := p.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = p.Wait() // it was killed
		}
		start()
		keys := b.createKeys()
		admin, ann := keys["admin"].Key, keys["analyst"].Key
		const boundary = "ospulse-test-boundary"
		body := "--" + boundary + "\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.exe\"\r\n\r\nMZ" + strings.Repeat("x", 32<<20) + "\r\n--" + boundary + "--\r\n"
		var created struct{ SessionID string }
		b.decode(b.send("POST", "/api/create-session", body, append(bearer(ann), "Content-Type: multipart/form-data; boundary="+boundary)...), http.StatusOK, &created)
		session := created.SessionID

		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, b.url+"/api/sessions/"+session+"/file", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("X-API-Key", ann)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		if response.StatusCode != http.StatusOK {
			t.Fatal(response.Status)
		}
		unfinished := auditLine{Actor: "Ann", Action: "downloadSessionFile", State: "not finished", SessionID: session}
		if lines := b.auditOf(admin, "downloadSessionFile"); len(lines) != 1 || lines[0] != unfinished {
			t.Errorf("during the download, the audit has %+v", lines)
		}
		kill()
		if n, err := io.Copy(io.Discard, response.Body); err == nil {
			t.Errorf("%d bytes are read of a download that was to be cut", n)
		}
		response.Body.Close()
		start()
		if lines := b.auditOf(admin, "downloadSessionFile"); len(lines) != 1 || lines[0] != unfinished {
			t.Errorf("after a download that was cut, the audit has %+v", lines)
		}

		db := openDatabase(t, env)
		for _, statement := range neverComplete(env) {
			execute(t, db, statement)
		}
		ended := make(chan error, 1)
		go func() {
			_, err := b.trySend("PATCH", "/api/sessions/"+session, `{"name":"changed"}`, bearer(ann)...)
			ended <- err
		}()
		wait.For(t, "the change", func() bool {
			return bytes.Contains(b.send("GET", "/api/sessions/"+session, "", bearer(ann)...).body, []byte(`"changed"`))
		})
		kill()
		if err := wait.Receive(t, "the end of the request", ended); err == nil {
			t.Error("the change was answered")
		}
		start()
		unfinished.Action = "updateSession"
		if lines := b.auditOf(admin, "updateSession"); len(lines) != 1 || lines[0] != unfinished {
			t.Errorf("after a change whose entry was not completed, the audit has %+v", lines)
		}
	})
}

// TestAuditThatTakesNoEntry checks that nothing audited happens while the database takes no
// entry, except a stop, the revocation of a key, and downloads while no key is required. The
// first two do not wait for a database that hangs.
func TestAuditThatTakesNoEntry(t *testing.T) {
	t.Parallel()
	server, url := startPostgres(t)
	for _, statement := range []string{"CREATE ROLE app LOGIN", "ALTER DATABASE ospulse OWNER TO app", "CREATE DATABASE fresh OWNER app"} {
		if err := server.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	admin := openDatabase(t, map[string]string{"DATABASE_URL": url})
	execute(t, admin, "GRANT ALL ON SCHEMA public TO app")
	agent := newTestAgent(t)
	env := map[string]string{"DATABASE_URL": strings.Replace(url, "//postgres@", "//app@", 1), "AGENT_SERVICE_URL": agent.URL, "DATA_DIR": filepath.Join(t.TempDir(), "data")}
	b := startBackend(t, env)
	session := b.startSession()
	const revoke, grant = "REVOKE INSERT ON audit_entries FROM app", "GRANT INSERT ON audit_entries TO app"

	execute(t, admin, revoke)
	if a := b.send("GET", "/api/sessions/"+session+"/file", ""); a.status != http.StatusOK {
		t.Errorf("a download while no key is required: %d %s", a.status, a.body)
	}
	wantError(t, b.send("PATCH", "/api/sessions/"+session, `{"name":"changed"}`), http.StatusServiceUnavailable, "unavailable", "the audit cannot record this")
	execute(t, admin, grant)

	keys := b.createKeys()
	key := bearer(keys["admin"].Key)
	state := func() string {
		t.Helper()
		return string(b.send("GET", "/api/sessions", "", key...).body) + string(b.send("GET", "/api/rules", "", key...).body)
	}
	before := state()
	execute(t, admin, revoke)
	for route, operation := range apidoc.Operations() {
		if !operation.IsAudited || operation.IsPublic || slices.Contains([]string{"stopMonitor", "revokeKey", "endSignIns"}, operation.ID) { // these end harm
			continue
		}
		method, path, _ := strings.Cut(route, " ")
		path = strings.NewReplacer(":sessionId", session, ":ruleId", "1").Replace(path)
		a := b.send(method, path, `{"sessionId":"`+session+`","mode":1}`, key...)
		if method == http.MethodHead {
			if a.status != http.StatusServiceUnavailable {
				t.Errorf("%s: %d", route, a.status)
			}
			continue
		}
		wantError(t, a, http.StatusServiceUnavailable, "unavailable", "the audit cannot record this")
	}
	if a := b.send("POST", "/api/sign-in", `{"key":"`+keys["viewer"].Key+`"}`); a.status != http.StatusServiceUnavailable || a.header.Get("Set-Cookie") != "" {
		t.Errorf("a sign-in: %d %s", a.status, a.body)
	}
	if after := state(); after != before {
		t.Errorf("before: %s\nafter: %s", before, after)
	}
	if a := b.send("POST", "/api/events", `{"event_type":"x"}`, bearer(keys["agent"].Key)...); a.status != http.StatusOK {
		t.Errorf("an event: %d %s", a.status, a.body)
	}
	if a := b.send("POST", "/api/monitor/stop", `{"sessionId":"`+session+`"}`, key...); a.status != http.StatusOK {
		t.Errorf("a stop: %d %s", a.status, a.body)
	}
	lock, err := admin.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lock.ExecContext(t.Context(), "LOCK TABLE audit_entries"); err != nil {
		t.Fatal(err)
	}
	if a := b.send("DELETE", "/api/keys/"+keys["other agent"].ID, "", key...); a.status != http.StatusOK {
		t.Errorf("a revocation while the audit is locked: %d %s", a.status, a.body)
	}
	if err := lock.Rollback(); err != nil {
		t.Fatal(err)
	}
	if a := b.send("DELETE", "/api/keys/"+keys["viewer"].ID, "", key...); a.status != http.StatusOK {
		t.Errorf("a revocation: %d %s", a.status, a.body)
	}
	if out, err := runProgram(t, env, "keys", "create", "--role", "admin"); err == nil || out != "" || !strings.Contains(err.Error(), "the audit cannot record this") {
		t.Errorf("the command creates a key: %q, %v", out, err)
	}
	mustRun(t, env, "keys", "revoke", keys["analyst"].ID)
	for _, action := range []string{"stopMonitor", "revokeKey"} {
		if !strings.Contains(b.log.String(), `"action":"`+action+`"`) {
			t.Errorf("the log does not have the entry of %s", action)
		}
	}

	fresh := openDatabase(t, map[string]string{"DATABASE_URL": server.URL("fresh")})
	execute(t, fresh, "GRANT ALL ON SCHEMA public TO app")
	b = startBackend(t, map[string]string{"DATABASE_URL": strings.Replace(server.URL("fresh"), "//postgres@", "//app@", 1), "HOST": "0.0.0.0"})
	_, rest, _ := strings.Cut(b.log.String(), "#setup=")
	token, _, _ := strings.Cut(rest, `"`)
	execute(t, fresh, revoke)
	wantError(t, b.send("POST", "/api/setup", `{"token":"`+token+`"}`), http.StatusServiceUnavailable, "unavailable", "the audit cannot record this")
	execute(t, fresh, grant)
	var first newKey
	b.decode(b.send("POST", "/api/setup", `{"token":"`+token+`"}`), http.StatusCreated, &first)
	if lines := b.auditOf(first.Key, "setUp"); len(lines) != 1 || lines[0].Status != http.StatusCreated || lines[0].Actor != "admin" || lines[0].State != "finished" {
		t.Errorf("the audit has %+v", lines)
	}
}
