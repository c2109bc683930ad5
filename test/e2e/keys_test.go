package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"ospulse/internal/apidoc"
	"ospulse/internal/app"
	"ospulse/test/pgtest"
	"ospulse/test/wait"
)

// newKey is the answer to the creation of a key.
type newKey struct {
	Key, ID, Prefix, Name, Role string
	AgentID                     string `json:"agent_id"`
}

// createKey creates a key as the holder of another one; "" while no key is required.
func (b *backend) createKey(by, body string) newKey {
	b.t.Helper()
	var key newKey
	b.decode(b.send("POST", "/api/keys", body, bearer(by)...), http.StatusCreated, &key)
	return key
}

// bearer returns the header of a key; none for "".
func bearer(key string) []string {
	if key == "" {
		return nil
	}
	return []string{"Authorization: Bearer " + key}
}

// createKeys creates a key of each role and returns them by role. Those of agents belong to
// the agents default and other.
func (b *backend) createKeys() map[string]newKey {
	b.t.Helper()
	keys := map[string]newKey{"admin": b.createKey("", `{"name":"Ada","role":"admin"}`)}
	for role, body := range map[string]string{
		"viewer": `{"name":"Vic","role":"viewer"}`, "analyst": `{"name":"Ann","role":"analyst"}`,
		"agent": `{"name":"agent of the lab","role":"agent"}`, "other agent": `{"name":"another","role":"agent","agent":"other"}`,
	} {
		keys[role] = b.createKey(keys["admin"].Key, body)
	}
	return keys
}

// attempt sends a request and returns the status and the beginning of the body. It reads no
// more, because a stream never ends.
func (b *backend) attempt(method, path, body string, header ...string) (int, string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), wait.Patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, b.url+path, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		request.Header.Set(name, value)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		b.t.Fatal(err)
	}
	defer response.Body.Close()
	text := make([]byte, 1000)
	n := 0
	if response.Header.Get("Content-Type") != "text/event-stream" {
		n, _ = io.ReadFull(response.Body, text)
	}
	return response.StatusCode, string(text[:n])
}

// TestEveryRouteOfEveryRole tries each route with each kind of key. The table of roles is in
// openapi.yaml. Without a valid key, answers are the same for what exists and what does not.
func TestEveryRouteOfEveryRole(t *testing.T) {
	t.Parallel()
	b := startBackend(t, nil)
	session := b.createSession("sample.exe", "MZ")["sessionId"].(string)
	keys := b.createKeys()
	admin := keys["admin"].Key
	revoked := b.createKey(admin, `{"name":"revoked","role":"admin"}`)
	if a := b.send("DELETE", "/api/keys/"+revoked.ID, "", bearer(admin)...); a.status != http.StatusOK {
		t.Fatalf("%d %s", a.status, a.body)
	}
	soon := time.Now().Add(time.Second)
	expired := b.createKey(admin, fmt.Sprintf(`{"name":"expired","role":"admin","expires_at":%q}`, soon.UTC().Format(time.RFC3339Nano)))
	<-time.After(time.Until(soon))

	for route, operation := range apidoc.Operations() {
		method, path, _ := strings.Cut(route, " ")
		for _, other := range []string{"seq", "ruleId", "keyId", "workId"} {
			path = strings.ReplaceAll(path, ":"+other, "1")
		}
		if operation.ID == "fetchWork" {
			path += "?wait=1"
		}
		missing := strings.ReplaceAll(path, ":sessionId", "nothing-like-that")
		path = strings.ReplaceAll(path, ":sessionId", session)
		if operation.IsPublic {
			if status, body := b.attempt(method, path, "{}"); status == http.StatusUnauthorized && !slices.Contains([]string{"signIn", "setUp", "enrollAgent"}, operation.ID) {
				t.Errorf("%s needs a key: %s", route, body)
			}
			continue
		}
		var refusals []string
		for name, header := range map[string][]string{
			"no key": nil, "an empty key": {"X-API-Key: "}, "a wrong cookie": {"Cookie: " + cookieOf(b) + "=x"},
		} {
			for _, path := range []string{path, missing} {
				status, body := b.attempt(method, path, "{}", header...)
				if status != http.StatusUnauthorized && status != http.StatusTooManyRequests {
					t.Errorf("%s with %s: %d %s", route, name, status, body)
				}
				if status == http.StatusUnauthorized && name == "no key" {
					refusals = append(refusals, body)
				}
			}
		}
		for name, key := range map[string]string{"a wrong key": "osp_AAAAAAAAAAAAAAAAAAAAAAAAAA", "a revoked key": revoked.Key, "an expired key": expired.Key} {
			if status, body := b.attempt(method, path, "{}", bearer(key)...); status != http.StatusUnauthorized && status != http.StatusTooManyRequests {
				t.Errorf("%s with %s: %d %s", route, name, status, body)
			}
		}
		if slices.Sort(refusals); len(slices.Compact(refusals)) > 1 {
			t.Errorf("%s: the answers without a key differ: %q", route, refusals)
		}
		for _, role := range []string{"agent", "viewer", "analyst", "admin"} {
			if operation.ID == "deleteSession" || operation.ID == "stopMonitor" {
				path = missing // the others need the session
			}
			status, body := b.attempt(method, path, "{}", bearer(keys[role].Key)...)
			mayUse := slices.Contains(operation.Roles, role)
			if isRefused := status == http.StatusForbidden && (strings.Contains(body, "the role of this key") || method == "HEAD"); isRefused == mayUse || status == http.StatusUnauthorized {
				t.Errorf("%s with a key of role %s: %d %s, want it allowed: %t", route, role, status, body, mayUse)
			}
		}
	}
	for _, path := range []string{"/api/nothing", "/nothing", "/api/sessions/x/nothing"} {
		if status, _ := b.attempt("GET", path, ""); status != http.StatusUnauthorized {
			t.Errorf("%s without a key: %d", path, status)
		}
		if status, _ := b.attempt("GET", path, "", bearer(keys["viewer"].Key)...); status != http.StatusNotFound {
			t.Errorf("%s with a key: %d", path, status)
		}
	}
	if text := b.log.String(); slices.ContainsFunc(slices.Collect(maps.Values(keys)), func(k newKey) bool { return strings.Contains(text, k.Key) }) {
		t.Error("the log has a key")
	}
}

// cookieOf returns the name of the backend's cookie.
func cookieOf(b *backend) string {
	return "ospulse-" + b.url[strings.LastIndex(b.url, ":")+1:]
}

// TestTheFirstKeyClosesTheDoor checks that no key is needed before one exists, that streams
// without a key end when it does, and that revoking the last key opens nothing.
func TestTheFirstKeyClosesTheDoor(t *testing.T) {
	t.Parallel()
	b := startBackend(t, nil)
	var me struct {
		RequiresKey bool `json:"requires_key"`
		Role        string
	}
	b.decode(b.send("GET", "/api/me", ""), http.StatusOK, &me)
	if me.RequiresKey || me.Role != "admin" {
		t.Errorf("before the first key: %+v", me)
	}
	wantError(t, b.send("POST", "/api/keys", `{"name":"Vic","role":"viewer"}`), http.StatusBadRequest, "invalid", "the first key")
	open := b.stream("/api/stream")
	key := b.createKey("", `{"name":"Ada","role":"admin"}`)
	open.wantEnd(t)
	wantError(t, b.send("GET", "/api/sessions", ""), http.StatusUnauthorized, "unauthorized", "a key is required")
	if a := b.send("DELETE", "/api/keys/"+key.ID, "", bearer(key.Key)...); a.status != http.StatusOK {
		t.Fatalf("%d %s", a.status, a.body)
	}
	wantError(t, b.send("GET", "/api/sessions", ""), http.StatusUnauthorized, "unauthorized", "a key is required")
	wantError(t, b.send("GET", "/api/sessions", "", bearer(key.Key)...), http.StatusUnauthorized, "unauthorized", "not valid")
}

// wantEnd reads until the backend ends the stream.
func (s *stream) wantEnd(t testing.TB) {
	t.Helper()
	for {
		if _, err := s.next(); errors.Is(err, context.DeadlineExceeded) {
			t.Fatal("the stream does not end")
		} else if err != nil {
			return
		}
	}
}

// TestRevokedKey checks that the streams of a revoked key end, on the backend that revoked it
// and on another one, and that others stay.
func TestRevokedKey(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		b := startBackend(t, env)
		elsewhere := b
		if env["DATABASE_URL"] != "" {
			elsewhere = startBackend(t, env)
		}
		admin := b.createKey("", `{"name":"Ada","role":"admin"}`).Key
		viewer := b.createKey(admin, `{"name":"Vic","role":"viewer"}`)
		here, there := b.stream("/api/stream", bearer(viewer.Key)...), elsewhere.stream("/api/sessions/unassigned/stream", bearer(viewer.Key)...)
		stays := elsewhere.stream("/api/stream", bearer(admin)...)
		stays.want(t, "ready")
		if a := b.send("DELETE", "/api/keys/"+viewer.ID, "", bearer(admin)...); a.status != http.StatusOK {
			t.Fatalf("%d %s", a.status, a.body)
		}
		here.wantEnd(t)
		there.wantEnd(t)
		wait.For(t, "the other backend to refuse the key", func() bool {
			return elsewhere.send("GET", "/api/sessions", "", bearer(viewer.Key)...).status == http.StatusUnauthorized
		})
		b.createSessionBy(admin, "still.exe")
		stays.want(t, "session")
	})
}

// createSessionBy uploads a file with a key and returns the session.
func (b *backend) createSessionBy(key, fileName string) string {
	b.t.Helper()
	const boundary = "ospulse-test-boundary"
	body := "--" + boundary + "\r\nContent-Disposition: form-data; name=\"file\"; filename=\"" + fileName + "\"\r\n\r\nMZ\r\n--" + boundary + "--\r\n"
	var created struct{ SessionID string }
	b.decode(b.send("POST", "/api/create-session", body, append(bearer(key), "Content-Type: multipart/form-data; boundary="+boundary)...), http.StatusOK, &created)
	return created.SessionID
}

// TestAgentsKey checks what a hostile agent can do with its key: it sends the events and the
// heartbeats of its own agent, whatever it claims.
func TestAgentsKey(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		agent := newTestAgent(t)
		env["AGENT_SERVICE_URL"] = agent.URL
		b := startBackend(t, env)
		keys := b.createKeys()
		admin, own, other := bearer(keys["admin"].Key), bearer(keys["agent"].Key), bearer(keys["other agent"].Key)
		session := b.createSessionBy(keys["analyst"].Key, "sample.exe")
		if a := b.send("POST", "/api/start-monitor", `{"sessionId":"`+session+`","mode":1}`, bearer(keys["analyst"].Key)...); a.status != http.StatusOK {
			t.Fatalf("start: %d %s", a.status, a.body)
		}
		for name, send := range map[string]func(header ...string) answer{
			"the request's session": func(header ...string) answer {
				return b.send("POST", "/api/events?sessionId="+session, `{"event_type":"x"}`, header...)
			},
			"the event's session": func(header ...string) answer {
				return b.send("POST", "/api/events", `{"event_type":"x","data":{"metadata":{"sessionId":"`+session+`"}}}`, header...)
			},
			"another agent's name": func(header ...string) answer {
				return b.send("POST", "/api/events", `{"event_type":"x"}`, append(header, "X-OSPulse-Agent: default")...)
			},
		} {
			var stored struct {
				SessionID string `json:"session_id"`
			}
			b.decode(send(other...), http.StatusOK, &stored)
			if stored.SessionID != "unassigned" {
				t.Errorf("%s: the event of another agent went to %s", name, stored.SessionID)
			}
			b.decode(send(own...), http.StatusOK, &stored)
			if stored.SessionID != session {
				t.Errorf("%s: the agent's own event went to %s", name, stored.SessionID)
			}
		}
		heartbeat := func(name, url string, header []string) string {
			var heard struct{ ID string }
			b.decode(b.send("POST", "/api/agents/heartbeat", `{"name":"`+name+`","url":"`+url+`","sessions":[]}`, header...), http.StatusOK, &heard)
			return heard.ID
		}
		if id := heartbeat("lab", agent.URL, own); id != "default" {
			t.Errorf("the agent's heartbeat belongs to %s", id)
		}
		if id := heartbeat("lab", agent.URL, other); id != keys["other agent"].AgentID {
			t.Errorf("the other agent's heartbeat belongs to %s, not %s", id, keys["other agent"].AgentID)
		}
		var list struct{ Agents []knownAgent }
		b.decode(b.send("GET", "/api/agents", "", admin...), http.StatusOK, &list)
		names := map[string]string{}
		for _, a := range list.Agents {
			names[a.ID] = a.Name
		}
		if names["default"] != "lab" || names[keys["other agent"].AgentID] != "lab ("+keys["other agent"].AgentID+")" {
			t.Errorf("the agents' names are %v", names)
		}
	})
}

// TestIdempotencyKeyOfAnotherAgent checks that a hostile agent cannot take the key of another
// agent's request, also while the database is away. A request that was sent before the agent
// had a key is recognized.
func TestIdempotencyKeyOfAnotherAgent(t *testing.T) {
	t.Parallel()
	server, url := startPostgres(t)
	b := startBackend(t, map[string]string{"DATABASE_URL": url, "COMMIT_TIMEOUT": "4s"})
	stored := func(eventType string, header ...string) (r receipt) {
		t.Helper()
		var a answer
		wait.For(t, "the receipt of a batch", func() bool { // 202 while a busy database is too slow
			a = b.send("POST", "/api/events/batch", `[{"event_type":"`+eventType+`"}]`, header...)
			return a.status == http.StatusOK
		})
		b.decode(a, http.StatusOK, &r)
		return r
	}
	before := stored("old", "Idempotency-Key: old")
	keys := b.createKeys()
	own, hostile := bearer(keys["agent"].Key), bearer(keys["other agent"].Key)
	if again := stored("old", append(own, "Idempotency-Key: old")...); !reflect.DeepEqual(again, before) {
		t.Errorf("the repeated request gets %+v, not %+v", again, before)
	}
	stored("hostile", append(hostile, "Idempotency-Key: taken")...)
	if r := stored("own", append(own, "Idempotency-Key: taken")...); r.Stored != 1 {
		t.Errorf("the agent's own batch gets %+v", r)
	}
	if err := server.Stop(pgtest.Fast); err != nil {
		t.Fatal(err)
	}
	for _, sender := range [][]string{hostile, own, own} {
		wait.For(t, "a batch in the spool", func() bool {
			return b.send("POST", "/api/events/batch", `[{"event_type":"spooled"}]`, append(sender, "Idempotency-Key: spooled")...).status == http.StatusAccepted
		})
	}
	if err := server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	wait.For(t, "an empty spool", func() bool {
		return bytes.Contains(b.send("GET", "/readyz", "", bearer(keys["viewer"].Key)...).body, []byte(`"spool":"ok"`))
	})
	counts := map[string]int{}
	for line := range bytes.Lines(b.send("GET", "/api/sessions/unassigned/export?format=ndjson", "", bearer(keys["analyst"].Key)...).body) {
		var event struct {
			Type string `json:"event_type"`
		}
		if err := json.Unmarshal(line, &event); err != nil {
			t.Fatal(err)
		}
		counts[event.Type]++
	}
	if want := map[string]int{"old": 1, "hostile": 1, "own": 1, "spooled": 2}; !maps.Equal(counts, want) {
		t.Errorf("the backend has %v, want %v", counts, want)
	}
}

// TestOwnersOfSessions checks that an analyst deletes only what was created with the same
// key, and an admin everything.
func TestOwnersOfSessions(t *testing.T) {
	t.Parallel()
	b := startBackend(t, nil)
	before := b.createSession("before.exe", "MZ")["sessionId"].(string)
	keys := b.createKeys()
	ann, bob := keys["analyst"], b.createKey(keys["admin"].Key, `{"name":"Bob","role":"analyst"}`)
	mine, copied := b.createSessionBy(ann.Key, "mine.exe"), struct{ SessionID string }{}
	b.decode(b.send("POST", "/api/sessions/"+mine+"/copy", "", bearer(bob.Key)...), http.StatusOK, &copied)
	var listed struct {
		CreatedBy *string `json:"created_by"`
	}
	b.decode(b.send("GET", "/api/sessions/"+mine, "", bearer(bob.Key)...), http.StatusOK, &listed)
	if listed.CreatedBy == nil || *listed.CreatedBy != "Ann" {
		t.Errorf("the session was created by %v", listed.CreatedBy)
	}
	wantError(t, b.send("DELETE", "/api/sessions/"+mine, "", bearer(bob.Key)...), http.StatusForbidden, "forbidden", "created by Ann")
	wantError(t, b.send("DELETE", "/api/sessions/"+before, "", bearer(ann.Key)...), http.StatusForbidden, "forbidden", "only an admin")
	for id, key := range map[string]string{mine: ann.Key, copied.SessionID: bob.Key, before: keys["admin"].Key} {
		if a := b.send("DELETE", "/api/sessions/"+id, "", bearer(key)...); a.status != http.StatusAccepted {
			t.Errorf("delete %s: %d %s", id, a.status, a.body)
		}
	}
}

// TestSignIn checks the cookie of a browser: what it is like, that it works for reads,
// streams and downloads, that signing out ends it, and that each sign-in has another one.
func TestSignIn(t *testing.T) {
	t.Parallel()
	b := startBackend(t, nil)
	wantError(t, b.send("POST", "/api/sign-in", `{"key":"osp_x"}`), http.StatusConflict, "conflict", "requires no key")
	keys := b.createKeys()
	signIn := func(key string, header ...string) (answer, *http.Cookie) {
		a := b.send("POST", "/api/sign-in", `{"key":"`+key+`"}`, header...)
		cookies := (&http.Response{Header: a.header}).Cookies()
		if len(cookies) != 1 {
			return a, nil
		}
		return a, cookies[0]
	}
	a, cookie := signIn(keys["viewer"].Key)
	if cookie == nil || cookie.Name != cookieOf(b) || !cookie.HttpOnly || cookie.SameSite != http.SameSiteStrictMode || cookie.Secure || cookie.Path != "/" || time.Until(cookie.Expires) > 13*time.Hour {
		t.Fatalf("%d %s: the cookie is %v", a.status, a.body, cookie)
	}
	if _, second := signIn(keys["viewer"].Key, "Cookie: "+cookie.Name+"="+cookie.Value); second == nil || second.Value == cookie.Value {
		t.Errorf("a sign-in keeps the token that the browser had: %v", second)
	}
	with := "Cookie: " + cookie.Name + "=" + cookie.Value
	var me struct{ Name, Role string }
	b.decode(b.send("GET", "/api/me", "", with), http.StatusOK, &me)
	if me.Name != "Vic" || me.Role != "viewer" {
		t.Errorf("the cookie is that of %+v", me)
	}
	stream := b.stream("/api/stream", with)
	stream.want(t, "ready")
	wantError(t, b.send("POST", "/api/monitor/stop", `{"sessionId":"unassigned"}`, with), http.StatusForbidden, "forbidden", "role")
	wantError(t, b.send("POST", "/api/sign-out", "", with, "Origin: http://evil.example"), http.StatusForbidden, "forbidden", "evil.example")
	if a := b.send("POST", "/api/sign-out", "", with); a.status != http.StatusOK || !strings.Contains(a.header.Get("Set-Cookie"), "Max-Age=0") {
		t.Errorf("%d %s %v", a.status, a.body, a.header)
	}
	var listed struct {
		Keys []struct {
			Name string
			Used *string `json:"last_used_at"`
		}
	}
	b.decode(b.send("GET", "/api/keys", "", bearer(keys["admin"].Key)...), http.StatusOK, &listed)
	for _, k := range listed.Keys {
		if wasUsed := k.Name == "Vic" || k.Name == "Ada"; (k.Used != nil) != wasUsed {
			t.Errorf("the last use of the key of %s is %v", k.Name, k.Used)
		}
	}
	stream.wantEnd(t)
	wantError(t, b.send("GET", "/api/me", "", with), http.StatusUnauthorized, "unauthorized", "not valid")
	if a, cookie := signIn(keys["agent"].Key); cookie != nil || a.status != http.StatusForbidden {
		t.Errorf("an agent signs in: %d %s", a.status, a.body)
	}
	_, cookie = signIn(keys["analyst"].Key)
	with = "Cookie: " + cookie.Name + "=" + cookie.Value
	if a := b.send("DELETE", "/api/keys/"+keys["analyst"].ID, "", bearer(keys["admin"].Key)...); a.status != http.StatusOK {
		t.Fatal(a.status)
	}
	wantError(t, b.send("GET", "/api/me", "", with), http.StatusUnauthorized, "unauthorized", "not valid")
}

// TestWrongKeysAreSlowedDown checks that an address can try few keys, and that a valid key
// still passes.
func TestWrongKeysAreSlowedDown(t *testing.T) {
	t.Parallel()
	b := startBackend(t, nil)
	keys := b.createKeys()
	statuses := map[int]int{}
	for range 50 {
		a := b.send("GET", "/api/sessions", "", "X-API-Key: osp_wrong")
		statuses[a.status]++
		if a.status == http.StatusTooManyRequests && a.header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
	}
	if statuses[http.StatusUnauthorized] < 5 || statuses[http.StatusTooManyRequests] < 20 || len(statuses) != 2 {
		t.Errorf("the statuses of 50 wrong keys are %v", statuses)
	}
	if a := b.send("GET", "/api/sessions", "", "X-API-Key: "+keys["viewer"].Key); a.status != http.StatusOK {
		t.Errorf("a valid key gets %d %s", a.status, a.body)
	}
}

// TestKeysWithoutTheDatabase checks that a known key still sends events while the database is
// away.
func TestKeysWithoutTheDatabase(t *testing.T) {
	t.Parallel()
	server, url := startPostgres(t)
	b := startBackend(t, map[string]string{"DATABASE_URL": url, "COMMIT_TIMEOUT": "4s"})
	keys := b.createKeys()
	if err := server.Stop(pgtest.Fast); err != nil {
		t.Fatal(err)
	}
	wait.For(t, "an event in the spool", func() bool {
		a := b.send("POST", "/api/events", `{"event_type":"x"}`, bearer(keys["agent"].Key)...)
		return a.status == http.StatusAccepted
	})
	if a := b.send("POST", "/api/events", `{"event_type":"x"}`, bearer("osp_unknown")...); a.status != http.StatusServiceUnavailable && a.status != http.StatusUnauthorized {
		t.Errorf("an unknown key gets %d %s", a.status, a.body)
	}
}

// TestAllowedAgent checks that an agent without a key can send events from an address of
// AGENT_ALLOW, and do nothing else.
func TestAllowedAgent(t *testing.T) {
	t.Parallel()
	b := startBackend(t, map[string]string{"AGENT_ALLOW": "127.0.0.0/8, ::1"})
	b.createKeys()
	if a := b.send("POST", "/api/events", `{"event_type":"x"}`); a.status != http.StatusOK {
		t.Errorf("%d %s", a.status, a.body)
	}
	wantError(t, b.send("GET", "/api/sessions", ""), http.StatusForbidden, "forbidden", "role")
	wantError(t, b.send("POST", "/api/events", `{"event_type":"x"}`, bearer("osp_wrong")...), http.StatusUnauthorized, "unauthorized", "not valid")
	if !strings.Contains(b.log.String(), "AGENT_ALLOW is set") {
		t.Error("the log has no warning")
	}
}

// TestSetupLink checks the first start of a backend that other machines can reach: its link
// creates one admin's key, once.
func TestSetupLink(t *testing.T) {
	t.Parallel()
	b := startBackend(t, map[string]string{"HOST": "0.0.0.0"})
	wantError(t, b.send("GET", "/api/sessions", ""), http.StatusUnauthorized, "unauthorized", "a key is required")
	if a := b.send("GET", "/healthz", ""); a.status != http.StatusOK {
		t.Errorf("/healthz: %d", a.status)
	}
	_, rest, _ := strings.Cut(b.log.String(), "#setup=")
	token, _, found := strings.Cut(rest, `"`)
	if !found {
		t.Fatal("the log has no link")
	}
	wantError(t, b.send("POST", "/api/setup", `{"token":"wrong"}`), http.StatusUnauthorized, "unauthorized", "link")
	var key newKey
	b.decode(b.send("POST", "/api/setup", `{"token":"`+token+`","name":"Ada"}`), http.StatusCreated, &key)
	wantError(t, b.send("POST", "/api/setup", `{"token":"`+token+`"}`), http.StatusUnauthorized, "unauthorized", "once")
	if a := b.send("GET", "/api/keys", "", bearer(key.Key)...); a.status != http.StatusOK || key.Role != "admin" || key.Name != "Ada" {
		t.Errorf("%d %+v", a.status, key)
	}
}

// TestAudit checks that the audit has what actors did, with what it was before and after, and
// not the keys; and that it can be filtered and downloaded.
func TestAudit(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		b := startBackend(t, env)
		keys := b.createKeys()
		admin, ann := bearer(keys["admin"].Key), bearer(keys["analyst"].Key)
		session := b.createSessionBy(keys["analyst"].Key, "sample.exe")
		b.send("PATCH", "/api/sessions/"+session, `{"name":"first"}`, ann...)
		b.send("PATCH", "/api/sessions/"+session, `{"name":"second"}`, ann...)
		b.send("GET", "/api/sessions/"+session+"/file", "", ann...)
		b.send("POST", "/api/rules", `{"text":"x"}`, ann...) // refused
		signedIn := b.send("POST", "/api/sign-in", `{"key":"`+keys["viewer"].Key+`"}`)
		cookie, _, _ := strings.Cut(signedIn.header.Get("Set-Cookie"), ";")
		b.send("POST", "/api/sign-out", "", "Cookie: "+cookie)
		b.send("POST", "/api/sign-out", "", "Cookie: "+cookie)                        // not recorded: nobody signs out
		b.send("POST", "/api/sign-in", `{"key":"osp_wrong"}`)                         // refused
		b.send("GET", "/api/sessions", "", ann...)                                    // not recorded
		b.send("DELETE", "/api/keys/"+keys["viewer"].ID, "", admin...)                //
		b.send("DELETE", "/api/sessions/"+session, "", bearer(keys["viewer"].Key)...) // not recorded: nobody sent it
		type entry struct {
			ID            int64
			Actor, Action string
			Session       string `json:"session_id"`
			Target        string
			Before, After json.RawMessage
			Status        int
		}
		list := func(query string) (lines []string, entries []entry) {
			t.Helper()
			var page struct {
				Entries []entry
				Next    *int64
			}
			b.decode(b.send("GET", "/api/audit?"+query, "", admin...), http.StatusOK, &page)
			for _, e := range page.Entries {
				lines = append(lines, fmt.Sprintf("%s %s %d", e.Actor, e.Action, e.Status))
			}
			return lines, page.Entries
		}
		lines, entries := list("")
		slices.Reverse(lines)
		want := []string{
			" createKey 201", "Ada createKey 201", "Ada createKey 201", "Ada createKey 201", "Ada createKey 201", "Ann createSession 200", "Ann updateSession 200", "Ann updateSession 200",
			"Ann downloadSessionFile 200", "Ann createRule 403", "Vic signIn 200", "Vic signOut 200", " signIn 401", "Ada revokeKey 200",
		}
		if !slices.Equal(lines, want) {
			t.Errorf("got  %q\nwant %q", lines, want)
		}
		for _, e := range entries {
			if e.Action == "updateSession" && (e.Session != session || !bytes.Contains(e.Before, []byte(`"first"`)) == bytes.Contains(e.After, []byte(`"second"`))) {
				t.Errorf("a change is %+v: %s, %s", e, e.Before, e.After)
			}
		}
		if lines, _ := list("actor=Ann&action=updateSession&session=" + session + "&limit=1"); len(lines) != 1 {
			t.Errorf("filtered: %q", lines)
		}
		if lines, _ := list(fmt.Sprintf("before=%d&from=2020-01-01T00:00:00Z&to=2099-01-01T00:00:00Z", entries[0].ID)); len(lines) != len(want)-1 {
			t.Errorf("the next page: %q", lines)
		}
		download := b.send("GET", "/api/audit?format=ndjson", "", admin...)
		if n := bytes.Count(download.body, []byte("\n")); n != len(want) || !strings.HasPrefix(download.header.Get("Content-Disposition"), "attachment") {
			t.Errorf("%d lines of the download, %v", n, download.header)
		}
		for _, k := range keys {
			if bytes.Contains(download.body, []byte(k.Key)) {
				t.Error("the audit has a key")
			}
		}
	})
}

// TestAuditOfOddNames checks that no name or ID keeps an entry out of the audit, or the audit
// from being read.
func TestAuditOfOddNames(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		env["DATA_DIR"] = filepath.Join(t.TempDir(), "data")
		settings := maps.Clone(env)
		settings["DATABASE_ALLOW_WEAK"] = "true"
		var out bytes.Buffer
		odd := "tag \U000e0001 and \u200b"
		if err := app.Run(t.Context(), []string{"keys", "create", "--role", "admin", "--name", odd}, func(name string) string { return settings[name] }, &out); err != nil {
			t.Fatal(err)
		}
		b := startBackend(t, env)
		admin := bearer(strings.TrimSpace(out.String()))
		for _, id := range []string{"%00", "%ff%fe", strings.Repeat("x", 5000), strings.Repeat("%e2%82%ac", 200)} {
			if a := b.send("DELETE", "/api/sessions/"+id, "", admin...); a.status != http.StatusNotFound {
				t.Errorf("%.20s: %d %s", id, a.status, a.body)
			}
		}
		var page struct {
			Entries []struct {
				Action string
				After  struct{ Name string }
			}
		}
		b.decode(b.send("GET", "/api/audit", "", admin...), http.StatusOK, &page)
		if len(page.Entries) != 5 || page.Entries[4].After.Name != odd {
			t.Errorf("the audit has %+v", page.Entries)
		}
	})
}

// TestRevokedKeyCutsADownload checks that a download whose key is revoked breaks off: half of
// it must not look whole.
func TestRevokedKeyCutsADownload(t *testing.T) {
	t.Parallel()
	b := startBackend(t, nil)
	keys := b.createKeys()
	event := `{"event_type":"x","data":"` + strings.Repeat("x", 1<<20) + `"}`
	for range 48 { // more than the connection holds
		if a := b.send("POST", "/api/events", event, bearer(keys["agent"].Key)...); a.status != http.StatusOK {
			t.Fatalf("%d %s", a.status, a.body)
		}
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, b.url+"/api/sessions/unassigned/export?format=ndjson", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+keys["analyst"].Key)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if a := b.send("DELETE", "/api/keys/"+keys["analyst"].ID, "", bearer(keys["admin"].Key)...); a.status != http.StatusOK {
		t.Fatal(a.status)
	}
	if n, err := io.Copy(io.Discard, response.Body); err == nil {
		t.Errorf("the download of %d bytes ends as if it were whole, with the trailer %v", n, response.Trailer)
	}
}

// TestKeysCommand checks the command keys, before the first start and beside a running
// backend.
func TestKeysCommand(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		env["DATA_DIR"] = filepath.Join(t.TempDir(), "data")
		settings := maps.Clone(env)
		settings["DATABASE_ALLOW_WEAK"] = "true"
		run := func(args ...string) (string, error) {
			var out bytes.Buffer
			err := app.Run(t.Context(), append([]string{"keys"}, args...), func(name string) string { return settings[name] }, &out)
			return strings.TrimSpace(out.String()), err
		}
		admin, err := run("create", "--role", "admin", "--name", "Ada")
		if err != nil || !strings.HasPrefix(admin, "osp_") {
			t.Fatalf("%q, %v", admin, err)
		}
		b := startBackend(t, env)
		wantError(t, b.send("GET", "/api/sessions", ""), http.StatusUnauthorized, "unauthorized", "")
		viewer, err := run("create", "--role", "viewer", "--expires", "90d")
		if err != nil {
			t.Fatal(err)
		}
		stream := b.stream("/api/stream", bearer(viewer)...)
		stream.want(t, "ready")
		table, err := run("list")
		if err != nil || !strings.Contains(table, `"Ada"`) || !strings.Contains(table, "valid until") || strings.Contains(table, admin) {
			t.Errorf("%s, %v", table, err)
		}
		var id string
		for line := range strings.Lines(table) {
			if strings.Contains(line, "viewer") {
				id = strings.Fields(line)[0]
			}
		}
		if out, err := run("revoke", id); err != nil || !strings.Contains(out, "revoked") {
			t.Errorf("%q, %v", out, err)
		}
		stream.wantEnd(t)
		for _, args := range [][]string{{"create"}, {"create", "--role", "king"}, {"create", "--role", "admin", "--expires", "yesterday"}, {"create", "--role", "viewer", "--agent", "x"}, {"revoke"}, {"revoke", "nobody"}, {"list", "x"}, {"sing"}, {"create", "--role", "admin", "more"}} {
			if out, err := run(args...); err == nil || out != "" {
				t.Errorf("keys %v: %q, %v", args, out, err)
			}
		}
	})
}

// TestTLS checks that the backend serves HTTPS and HTTP/2 with its own certificate, and that
// the cookie is then for TLS only.
func TestTLS(t *testing.T) {
	t.Parallel()
	b := startBackend(t, map[string]string{"TLS": "self-signed"})
	var shown struct {
		SHA256 string `json:"certificate_sha256"`
	}
	for line := range strings.Lines(b.log.String()) {
		if strings.Contains(line, "certificate_sha256") {
			if err := json.Unmarshal([]byte(line), &shown); err != nil {
				t.Fatal(err)
			}
		}
	}
	var pinned error
	transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{
		InsecureSkipVerify: true, //nolint:gosec // VerifyConnection compares the fingerprint
		VerifyConnection: func(state tls.ConnectionState) error {
			if got := fmt.Sprintf("%x", sha256.Sum256(state.PeerCertificates[0].Raw)); got != shown.SHA256 {
				pinned = errors.New("the certificate is " + got + ", not " + shown.SHA256)
			}
			return pinned
		},
	}}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	post := func(path, body string, to any) answer {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.url+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/json")
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if err := json.NewDecoder(response.Body).Decode(to); err != nil {
			t.Fatal(err)
		}
		if response.ProtoMajor != 2 {
			t.Errorf("%s is answered in %s", path, response.Proto)
		}
		return answer{response.StatusCode, response.Header, nil}
	}
	var key newKey
	if created := post("/api/keys", `{"name":"Ada","role":"admin"}`, &key); created.status != http.StatusCreated {
		t.Fatal(created.status)
	}
	if cookie := post("/api/sign-in", `{"key":"`+key.Key+`"}`, &struct{}{}).header.Get("Set-Cookie"); !strings.Contains(cookie, "; Secure") {
		t.Errorf("the cookie is %q", cookie)
	}
}

// TestQuotaOfAKey checks that a key that sends too much is told to wait, and that another
// agent is not.
func TestQuotaOfAKey(t *testing.T) {
	t.Parallel()
	b := startBackend(t, map[string]string{"AGENT_MB_PER_SECOND": "0.01", "MAX_BODY_MB": "1"})
	keys := b.createKeys()
	event := `{"event_type":"x","data":"` + strings.Repeat("x", 300<<10) + `"}`
	var statuses []int
	for range 6 {
		statuses = append(statuses, b.send("POST", "/api/events", event, bearer(keys["agent"].Key)...).status)
	}
	if statuses[0] != http.StatusOK || !slices.Contains(statuses, http.StatusTooManyRequests) {
		t.Errorf("the mad agent gets %v", statuses)
	}
	if a := b.send("POST", "/api/events", event, bearer(keys["other agent"].Key)...); a.status != http.StatusOK {
		t.Errorf("the other agent gets %d %s", a.status, a.body)
	}
}
