package e2e

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ospulse/test/dbtest"
	"ospulse/test/wait"
)

// listed is a session of the list. A single session has more fields.
type listed struct {
	ID, State, Name, Notes string
	Tags                   []string
	FileName               string  `json:"file_name"`
	FileSHA256             *string `json:"file_sha256"`
	CreatedAt              string  `json:"created_at"`
	UpdatedAt              string  `json:"updated_at"`
	EventCount             int64   `json:"event_count"`
	Agent                  *struct {
		ID, Name, Status string
		LastError        string  `json:"last_error"`
		LastSeenAt       *string `json:"last_seen_at"`
	}
	EventCounts  map[string]int64 `json:"event_counts"`
	FirstEventAt *string          `json:"first_event_at"`
	LastEventAt  *string          `json:"last_event_at"`
	Completeness struct {
		Complete                bool
		Expected, Present, Lost int64
		Expired                 int64
		Missing, Damaged        []struct {
			First int64 `json:"first_seq"`
			Last  int64 `json:"last_seq"`
		}
		Losses []struct {
			Seq, Count int64
			Timestamp  string
			Reason     string
			From, To   *string
		}
		Expirations []expiration
	}
}

// list returns one page of sessions.
func (b *backend) list(query string) (sessions []listed, next *string) {
	b.t.Helper()
	var page struct {
		Sessions   []listed
		NextCursor *string `json:"next_cursor"`
	}
	b.decode(b.send("GET", "/api/sessions?"+query, ""), http.StatusOK, &page)
	if page.Sessions == nil {
		b.t.Errorf("%s: sessions is null", query)
	}
	return page.Sessions, page.NextCursor
}

// session returns one session.
func (b *backend) session(id string) (s listed) {
	b.t.Helper()
	b.decode(b.send("GET", "/api/sessions/"+id, ""), http.StatusOK, &s)
	return s
}

// change patches a session.
func (b *backend) change(id, body string) (s listed) {
	b.t.Helper()
	b.decode(b.send("PATCH", "/api/sessions/"+id, body), http.StatusOK, &s)
	return s
}

// mustDelete deletes a session.
func (b *backend) mustDelete(id string) {
	b.t.Helper()
	if a := b.send("DELETE", "/api/sessions/"+id, ""); a.status != http.StatusAccepted || strings.TrimSpace(string(a.body)) != `{"status":"deleting"}` {
		b.t.Fatalf("delete: %d %s", a.status, a.body)
	}
}

func TestSessionListPages(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		b := startBackend(t, env)
		var want []string
		for i := range 7 {
			want = append(want, b.create(fmt.Sprintf("%d.exe", i)))
		}
		slices.Reverse(want)
		want = append(want, "unassigned")
		for limit := 1; limit <= 9; limit++ {
			var got []string
			cursor := ""
			for {
				sessions, next := b.list(fmt.Sprintf("limit=%d&cursor=%s", limit, cursor))
				for _, s := range sessions {
					got = append(got, s.ID)
				}
				if limit == 2 && len(got) == 4 {
					b.create("later.exe") // it is listed first, and shifts no page
				}
				if next == nil {
					break
				}
				if len(sessions) != limit {
					t.Fatalf("limit %d: a page of %d that is not the last", limit, len(sessions))
				}
				cursor = *next
			}
			if limit > 2 {
				got = got[1:] // the later one
			}
			if !slices.Equal(got, want) {
				t.Errorf("limit %d: got %q, want %q", limit, got, want)
			}
		}

		_, next := b.list("limit=2")
		good := *next
		for name, bad := range map[string]string{
			"another character": strings.Replace(good, good[10:11], map[bool]string{true: "B", false: "A"}[good[10] == 'A'], 1), "cut": good[:len(good)-1], "longer": good + "A",
			"nonsense": "nonsense", "padded": good + "==", "an id": want[0],
		} {
			a := b.send("GET", "/api/sessions?cursor="+url.QueryEscape(bad), "")
			if a.status != http.StatusBadRequest {
				t.Errorf("%s: %s", name, bad)
			}
			wantError(t, a, http.StatusBadRequest, "invalid", "cursor")
		}
	})
}

func TestSessionListFilters(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		agent := newTestAgent(t)
		env["AGENT_SERVICE_URL"] = agent.URL
		b := startBackend(t, env)
		hashOf := func(content string) string {
			sum := sha256.Sum256([]byte(content))
			return hex.EncodeToString(sum[:])
		}
		ids := map[string]string{"unassigned": "unassigned"}
		for name, content := range map[string]string{"Setup_100%.EXE": "a", "MÜLL.exe": "b", "other.bin": "b"} {
			ids[name] = b.createSession(name, content)["sessionId"].(string)
		}
		b.change(ids["other.bin"], `{"name":"Case 7","notes":"Seen in Över\nthe WILD","tags":["apt","a\"b","x,\"y","back\\"]}`)
		b.mustStart(ids["other.bin"])
		b.mustStart(ids["MÜLL.exe"])
		b.mustStop(ids["MÜLL.exe"])
		boundary := b.session(ids["other.bin"]).CreatedAt

		for query, want := range map[string][]string{
			"":                          {"Setup_100%.EXE", "MÜLL.exe", "other.bin", "unassigned"},
			"unknown=1":                 {"Setup_100%.EXE", "MÜLL.exe", "other.bin", "unassigned"},
			"state=active":              {"other.bin"},
			"state=ended":               {"MÜLL.exe"},
			"state=created":             {"Setup_100%.EXE", "unassigned"},
			"agent=default":             {"Setup_100%.EXE", "MÜLL.exe", "other.bin"},
			"agent=nobody":              {},
			"file=.ExE":                 {"Setup_100%.EXE", "MÜLL.exe"},
			"file=%25":                  {"Setup_100%.EXE"},
			"file=_":                    {"Setup_100%.EXE"},
			"file=m%C3%9Cll":            {"MÜLL.exe"},
			"file=m%C3%BCll":            {}, // beyond ASCII, matching is case-sensitive on both databases
			"file=%5C":                  {},
			"file='":                    {},
			"sha256=" + hashOf("b"):     {"MÜLL.exe", "other.bin"},
			"sha256=" + hashOf("b")[:4]: {"MÜLL.exe", "other.bin"},
			"sha256=" + strings.ToUpper(hashOf("a")[:9]): {"Setup_100%.EXE"},
			"sha256=0000":                         {},
			"tag=apt":                             {"other.bin"},
			"tag=ap":                              {},
			"tag=" + url.QueryEscape(`a"b`):       {"other.bin"},
			"tag=b":                               {},
			"tag=y":                               {},
			"tag=" + url.QueryEscape(`x,"y`):      {"other.bin"},
			"tag=" + url.QueryEscape(`back\`):     {"other.bin"},
			"tag=back":                            {},
			"q=case+7":                            {"other.bin"},
			"q=wild":                              {"other.bin"},
			"q=OTHER":                             {"other.bin"},
			"q=%C3%B6ver":                         {},
			"q=exe&state=ended":                   {"MÜLL.exe"},
			"from=" + boundary + "&state=active":  {"other.bin"},
			"to=" + boundary + "&state=active":    {"other.bin"},
			"from=2100-01-01":                     nil,
			"from=2100-01-01T00:00:00Z":           {},
			"to=2000-01-01T00:00:00Z":             {},
			"from=2000-01-01T00:00:00Z&limit=500": {"Setup_100%.EXE", "MÜLL.exe", "other.bin", "unassigned"},
		} {
			if want == nil {
				wantError(t, b.send("GET", "/api/sessions?"+query, ""), http.StatusBadRequest, "invalid", "from")
				continue
			}
			sessions, _ := b.list(query)
			got := map[string]bool{}
			for _, s := range sessions {
				got[s.ID] = true
			}
			wanted := map[string]bool{}
			for _, name := range want {
				wanted[ids[name]] = true
			}
			if !maps.Equal(got, wanted) {
				t.Errorf("%s: got %v, want %q", query, got, want)
			}
		}
		for query, words := range map[string]string{
			"state=on": "state", "sha256=abc": "sha256", "sha256=ghij": "sha256", "sha256=" + hashOf("a") + "0": "sha256",
			"limit=0": "limit", "limit=501": "limit", "limit=x": "limit", "to=yesterday": "to", "q=%00": "q", "file=%FF": "file", "tag=" + strings.Repeat("x", 1001): "tag", "agent=%00": "agent",
		} {
			wantError(t, b.send("GET", "/api/sessions?"+query, ""), http.StatusBadRequest, "invalid", words)
		}
	})
}

func TestSessionDetails(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		agent := newTestAgent(t)
		env["AGENT_SERVICE_URL"] = agent.URL
		env["DATA_DIR"] = t.TempDir()
		env["SEAL_AFTER"] = "never" // the test changes what is stored
		b := startBackend(t, env)
		id := b.create("a.exe")
		empty := b.session(id)
		if empty.EventCounts == nil || empty.FirstEventAt != nil || empty.LastEventAt != nil || !empty.Completeness.Complete ||
			empty.Completeness.Missing == nil || empty.Completeness.Losses == nil || empty.State != "created" {
			t.Errorf("without events: %+v", empty)
		}
		wait.For(t, "the agent is up", func() bool {
			s := b.session(id)
			return s.Agent != nil && s.Agent.Status == "up" && s.Agent.LastSeenAt != nil
		})
		if s := b.session("unassigned"); s.Agent != nil || s.FileSHA256 != nil {
			t.Errorf("unassigned: %+v", s)
		}
		post := func(body string) {
			t.Helper()
			if a := b.send("POST", "/api/events?sessionId="+id, body); a.status != http.StatusOK {
				t.Fatalf("%d %s", a.status, a.body)
			}
		}
		post(`{"event_type":"x","timestamp":"2026-11-22T12:00:05Z","data":{}}`)
		post(`{"event_type":"x","timestamp":"2026-11-22T12:00:01Z","data":{}}`)
		post(`{"event_type":"y","timestamp":"2026-11-22T12:00:03Z","data":{}}`)
		s := b.session(id)
		if want := map[string]int64{"x": 2, "y": 1}; !maps.Equal(s.EventCounts, want) || *s.FirstEventAt != "2026-11-22T12:00:01Z" || *s.LastEventAt != "2026-11-22T12:00:05Z" ||
			!s.Completeness.Complete || s.Completeness.Expected != 3 || s.Completeness.Present != 3 || s.EventCount != 3 {
			t.Errorf("got %+v", s)
		}

		// Valid and malformed reports of lost events.
		for _, data := range []string{
			`{"count":41.0,"reason":"ring buffer full","from":"2026-11-22T12:00:01Z","to":"2026-11-22T12:00:02.5Z"}`,
			`{"count":-5}`, `{"count":1.5,"reason":7,"from":"never"}`, `[]`, `null`, `{"count":"many"}`,
		} {
			post(`{"event_type":"events_lost","timestamp":"2026-11-22T12:00:04Z","data":` + data + `}`)
		}
		c := b.session(id).Completeness
		if c.Complete || c.Lost != 41+5 || len(c.Losses) != 6 || c.Losses[5].Count != 41 || c.Losses[5].Reason != "ring buffer full" || c.Losses[5].Seq != 4 ||
			*c.Losses[5].From != "2026-11-22T12:00:01Z" || *c.Losses[5].To != "2026-11-22T12:00:02.500000Z" || c.Losses[0].From != nil || c.Losses[0].Reason != "" {
			t.Errorf("losses: %+v", c)
		}
		post(`{"event_type":"events_lost","data":{"count":9223372036854775807}}`)
		if c := b.session(id).Completeness; c.Lost != 1<<63-1 {
			t.Errorf("lost %d", c.Lost)
		}
		for range 120 {
			post(`{"event_type":"events_lost"}`)
		}
		if c := b.session(id).Completeness; len(c.Losses) != 100 || c.Losses[0].Seq != 130 {
			t.Errorf("%d losses are listed, from seq %d", len(c.Losses), c.Losses[0].Seq)
		}

		// Events are missing in the database.
		db := openDatabase(t, env)
		if _, err := db.ExecContext(t.Context(), "DELETE FROM events WHERE session_id = '"+id+"' AND (seq IN (1, 3) OR seq BETWEEN 20 AND 29 OR seq = 130)"); err != nil {
			t.Fatal(err)
		}
		c = b.session(id).Completeness
		if c.Complete || c.Expected != 130 || c.Present != 117 || fmt.Sprint(c.Missing) != "[{1 1} {3 3} {20 29} {130 130}]" {
			t.Errorf("missing: %+v", c)
		}
		for _, id := range []string{"nobody", "%00", "%FF", strings.Repeat("x", 300)} {
			wantError(t, b.send("GET", "/api/sessions/"+id, ""), http.StatusNotFound, "not_found", "does not exist")
		}
	})
}

// TestLeftOut: a session says what its agent leaves out on request, and how much. That is no
// loss.
func TestLeftOut(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		b := startBackend(t, env)
		id := b.create("a.exe")
		for _, step := range []struct{ event, want string }{
			{`{"event_type":"x"}`, `null {}`},
			{`{"event_type":"session_start","data":{"mode":1}}`, `null {}`},
			{`{"event_type":"session_start","data":{"selection":{"leaveOut":["closes"],"leaveOutPaths":["/usr"]}}}`, `{"leaveOut":["closes"],"leaveOutPaths":["/usr"]} {}`},
			{`{"event_type":"events_left_out","data":{"counts":{"closes":7}}}`, `{"leaveOut":["closes"],"leaveOutPaths":["/usr"]} {"closes":7}`},
			{`{"event_type":"events_left_out","data":{"counts":{"closes":9,"paths":4294967296}}}`, `{"leaveOut":["closes"],"leaveOutPaths":["/usr"]} {"closes":9,"paths":4294967296}`},
			{`{"event_type":"events_left_out","data":{"counts":{"closes":"many"}}}`, `{"leaveOut":["closes"],"leaveOutPaths":["/usr"]} {}`},
			{`{"event_type":"session_start","data":{"selection":{"leaveOut":[7]}}}`, `null {}`},
			{`{"event_type":"session_start","data":[]}`, `null {}`},
		} {
			if a := b.send("POST", "/api/events?sessionId="+id, step.event); a.status != http.StatusOK {
				t.Fatalf("%d %s", a.status, a.body)
			}
			var s struct {
				Completeness struct {
					Complete  bool            `json:"complete"`
					Lost      int64           `json:"lost"`
					Selection json.RawMessage `json:"selection"`
					LeftOut   json.RawMessage `json:"left_out"`
				} `json:"completeness"`
			}
			b.decode(b.send("GET", "/api/sessions/"+id, ""), http.StatusOK, &s)
			c := s.Completeness
			if got := string(c.Selection) + " " + string(c.LeftOut); got != step.want || !c.Complete || c.Lost != 0 {
				t.Errorf("after %s: %s (complete: %v, lost: %d), want %s", step.event, got, c.Complete, c.Lost, step.want)
			}
		}
	})
}

func TestSessionNotes(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		b := startBackend(t, env)
		id := b.create("a.exe")
		before := b.session(id)
		s := b.change(id, `{"name":"  A name  ","notes":"line\n\ttwo  ","tags":[" a ","b","a","ü"]}`)
		if s.Name != "A name" || s.Notes != "line\n\ttwo  " || !slices.Equal(s.Tags, []string{"a", "b", "ü"}) || s.UpdatedAt <= before.UpdatedAt || s.CreatedAt != before.CreatedAt {
			t.Errorf("got %+v", s)
		}
		if s := b.change(id, `{"name":"B"}`); s.Name != "B" || s.Notes == "" || len(s.Tags) != 3 {
			t.Errorf("absent is not left alone: %+v", s)
		}
		if s := b.change(id, `{}`); s.Name != "B" {
			t.Errorf("nothing changed %+v", s)
		}
		if s := b.change(id, `{"name":null,"notes":null,"tags":null}`); s.Name != "" || s.Notes != "" || s.Tags == nil || len(s.Tags) != 0 {
			t.Errorf("null does not clear: %+v", s)
		}
		long := func(n int) string { return strings.Repeat("ü", n) }
		b.change(id, `{"name":"`+long(200)+`","notes":"`+long(32<<10)+`","tags":["`+long(100)+`"]}`)
		if s := b.session(id); s.Name != long(200) || s.Notes != long(32<<10) {
			t.Error("what is just not too long is not kept")
		}
		if s := b.change("unassigned", `{"name":"The rest"}`); s.Name != "The rest" {
			t.Errorf("unassigned: %+v", s)
		}
		var many []string
		for i := range 51 {
			many = append(many, fmt.Sprint(i))
		}
		tags, _ := json.Marshal(many)
		for body, words := range map[string]string{
			`{"name":"` + long(201) + `"}`: "name", `{"notes":"` + long(32<<10) + `x"}`: "notes", `{"tags":["` + long(101) + `"]}`: "tag", `{"tags":` + string(tags) + `}`: "tags",
			`{"name":"a\u0000b"}`: "name", `{"name":"a\nb"}`: "name", `{"notes":"\u0000"}`: "notes", `{"tags":["a\u0007"]}`: "tag", `{"tags":[" "]}`: "tags", `{"tags":[null]}`: "tags",
			`{"tags":"a"}`: "tags", `{"tags":[1]}`: "tags", `{"name":1}`: "name", `{"state":"ended"}`: "state", `[]`: "object", ``: "empty", `{"name":"x"`: "JSON", `{"name":"x"} x`: "",
		} {
			wantError(t, b.send("PATCH", "/api/sessions/"+id, body, "Content-Type: application/json"), http.StatusBadRequest, "invalid", words)
		}
		for _, body := range []string{"{\"name\":\"a\xffb\",\"notes\":\"\xc3\"}", `{"name":"\ud800","notes":"\udc00x","tags":["\ud800"]}`} {
			if a := b.send("PATCH", "/api/sessions/"+id, body); a.status != http.StatusOK && a.status != http.StatusBadRequest {
				t.Errorf("broken UTF-8: %d %s", a.status, a.body)
			}
		}
		wantError(t, b.send("PATCH", "/api/sessions/nobody", `{"name":"x"}`), http.StatusNotFound, "not_found", "nobody")
	})
}

// rows counts a session's rows in a table.
func rows(t *testing.T, env map[string]string, table, id string) (n int) {
	t.Helper()
	db := openDatabase(t, env)
	defer db.Close()
	column := "session_id"
	if table == "sessions" {
		column = "id"
	}
	if err := db.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM "+table+" WHERE "+column+" = '"+id+"'").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// waitUntilGone waits until a deleted session is removed completely.
func waitUntilGone(t *testing.T, env map[string]string, id string) {
	t.Helper()
	wait.For(t, "session "+id+" is removed", func() bool { return rows(t, env, "sessions", id) == 0 })
	if n := rows(t, env, "events", id) + rows(t, env, "processes", id); n != 0 {
		t.Errorf("%d rows are left", n)
	}
}

// packets returns the body of a batch with events of several processes.
func packets(n int) string {
	events := make([]string, n)
	for i := range events {
		events[i] = fmt.Sprintf(`{"event_type":"file_operation","timestamp":"2026-11-22T12:00:00Z","data":{"operation":"read","filePath":"C:\\%d","metadata":{"processId":%d,"processName":"a.exe"}}}`, i, i%50)
	}
	return "[" + strings.Join(events, ",") + "]"
}

// fill stores n events in a session.
func (b *backend) fill(id string, n int) {
	b.t.Helper()
	for n > 0 {
		some := min(n, 2000)
		if a := b.send("POST", "/api/events/batch?sessionId="+id, packets(some)); a.status != http.StatusOK {
			b.t.Fatalf("%d %.300s", a.status, a.body)
		}
		n -= some
	}
}

func TestDeleteSession(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		agent := newTestAgent(t)
		env["AGENT_SERVICE_URL"], env["DATA_DIR"] = agent.URL, t.TempDir()
		b := startBackend(t, env)
		first, second := b.createSession("a.exe", "shared")["sessionId"].(string), b.createSession("b.exe", "shared")["sessionId"].(string)
		b.fill(first, 1000)
		b.fill(second, 10)
		if rows(t, env, "processes", first) != 50 {
			t.Fatal("there are no processes to delete")
		}
		wantError(t, b.send("DELETE", "/api/sessions/unassigned", ""), http.StatusConflict, "conflict", "unassigned")
		wantError(t, b.send("DELETE", "/api/sessions/nobody", ""), http.StatusNotFound, "not_found", "nobody")
		b.mustStart(first)
		wantError(t, b.send("DELETE", "/api/sessions/"+first, ""), http.StatusConflict, "conflict", "stop it")
		b.mustStop(first)

		b.mustDelete(first)
		// It is hidden at once.
		for _, request := range [][3]string{
			{"GET", "/api/sessions/" + first, ""}, {"PATCH", "/api/sessions/" + first, `{"name":"x"}`}, {"DELETE", "/api/sessions/" + first, ""},
			{"GET", "/api/sessions/" + first + "/file", ""}, {"GET", "/api/sessions/" + first + "/processes", ""}, {"GET", "/api/events/" + first, ""},
			{"GET", "/api/events/export?sessionId=" + first, ""}, {"POST", "/api/start-monitor", `{"sessionId":"` + first + `","mode":1}`},
			{"POST", "/api/monitor/stop", `{"sessionId":"` + first + `"}`}, {"POST", "/api/list-processes", `{"sessionId":"` + first + `"}`},
		} {
			wantError(t, b.send(request[0], request[1], request[2]), http.StatusNotFound, "not_found", first)
		}
		if sessions, _ := b.list("file=a.exe"); len(sessions) != 0 {
			t.Error("it is listed")
		}
		// An event that names it goes to another session.
		var stored struct {
			SessionID string `json:"session_id"`
		}
		b.decode(b.send("POST", "/api/events?sessionId="+first, `{"event_type":"late"}`), http.StatusOK, &stored)
		if stored.SessionID != "unassigned" {
			t.Errorf("an event went to %s", stored.SessionID)
		}
		waitUntilGone(t, env, first)
		if there := filesIn(t, filepath.Join(env["DATA_DIR"], "files")); len(there) != 1 {
			t.Errorf("the file that another session has: %q", there)
		}
		if s := b.session(second); s.EventCount != 10 || !s.Completeness.Complete {
			t.Errorf("the other session: %+v", s)
		}
		b.mustDelete(second)
		waitUntilGone(t, env, second)
		wait.For(t, "the file is gone", func() bool { return len(filesIn(t, filepath.Join(env["DATA_DIR"], "files"))) == 0 })
		if id := b.createSession("again.exe", "shared")["sessionId"].(string); b.send("GET", "/api/sessions/"+id+"/file?raw=true", "").status != http.StatusOK {
			t.Error("the same file cannot be stored again")
		}
	})
}

// TestDeletedSessionIsStopped checks that a session whose stop did not reach the agent
// is not removed before the agent has received it.
func TestDeletedSessionIsStopped(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		agent := newTestAgent(t)
		env["AGENT_SERVICE_URL"], env["DATA_DIR"], env["AGENT_POLL_INTERVAL"] = agent.URL, t.TempDir(), "1s"
		b := startBackend(t, env)
		id := b.create("a.exe")
		b.mustStart(id)
		agent.handle(agentStop, hangUp)
		b.mustStop(id)
		b.mustDelete(id)
		wantError(t, b.send("GET", "/api/sessions/"+id, ""), http.StatusNotFound, "not_found", id)
		told := agent.stopsOf(id)
		agent.handle(agentStop, say(http.StatusOK, "application/json", `{}`))
		wait.For(t, "the agent is told", func() bool { return agent.stopsOf(id) > told })
		wait.For(t, "nothing is pending", func() bool {
			var n int
			if err := openDatabase(t, env).QueryRowContext(t.Context(), "SELECT COUNT(*) FROM sessions WHERE stop_pending").Scan(&n); err != nil {
				t.Fatal(err)
			}
			return n == 0
		})
		b.mustDelete(b.create("another.exe")) // wakes the worker
		waitUntilGone(t, env, id)
	})
}

// TestKilledWhileDeleting checks that a backend which is killed while it removes a
// session continues after its next start, and removes abandoned imports, too.
func TestKilledWhileDeleting(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		env["DATA_DIR"] = t.TempDir()
		b := startBackend(t, env)
		id, dead, alive := b.create("a.exe"), b.create("dead.exe"), b.create("alive.exe")
		b.fill(id, 5000)
		b.fill(dead, 10)
		b.stop()
		db := openDatabase(t, env)
		for id, age := range map[string]time.Duration{dead: 16 * time.Minute, alive: 12 * time.Minute} {
			since, placeholder := any(time.Now().Add(-age)), "$1"
			if env["DATABASE_URL"] == "" {
				since, placeholder = time.Now().Add(-age).UnixMicro(), "?"
			}
			if _, err := db.ExecContext(t.Context(), "UPDATE sessions SET importing_since = "+placeholder+" WHERE id = '"+id+"'", since); err != nil {
				t.Fatal(err)
			}
		}
		p := command(t, env)
		p.start(t)
		request, err := http.NewRequestWithContext(t.Context(), "DELETE", p.url+"/api/sessions/"+id, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil || response.StatusCode != http.StatusAccepted {
			t.Fatal("delete: ", err)
		}
		response.Body.Close()
		wait.For(t, "some events are deleted", func() bool { return rows(t, env, "events", id) < 5000 })
		if err := p.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		p.Wait() //nolint:errcheck // the error says that it was killed
		if left := rows(t, env, "events", id); left == 0 {
			t.Fatal("it was killed too late")
		}
		b = startBackend(t, env)
		wantError(t, b.send("GET", "/api/sessions/"+id, ""), http.StatusNotFound, "not_found", id)
		waitUntilGone(t, env, id)
		waitUntilGone(t, env, dead)
		wantError(t, b.send("GET", "/api/sessions/"+alive, ""), http.StatusNotFound, "not_found", alive)
		if rows(t, env, "sessions", alive) != 1 {
			t.Error("an import that goes on was deleted")
		}
	})
}

// TestDeleteDoesNotBlockIngest checks that, while a large session is removed, another
// session gets all its events at the usual speed. A backend with its own database and
// nothing to remove measures the usual speed.
func TestDeleteDoesNotBlockIngest(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		env["DATA_DIR"] = t.TempDir()
		b := startBackend(t, env)
		n := rounds(t, 1) * 5000
		large, other := b.create("large.exe"), b.create("other.exe")
		b.fill(large, n)
		restingEnv := map[string]string{}
		if env["DATABASE_URL"] != "" {
			restingEnv["DATABASE_URL"] = dbtest.Postgres(t).URL
		}
		resting := startBackend(t, restingEnv)
		post := func(b *backend, path string) time.Duration {
			began := time.Now()
			if a := b.send("POST", path, `{"event_type":"x"}`); a.status != http.StatusOK && a.status != http.StatusAccepted {
				t.Fatalf("%d %s", a.status, a.body)
			}
			return time.Since(began)
		}
		db := openDatabase(t, env)
		b.mustDelete(large)
		began := time.Now()
		gone := make(chan struct{})
		go func() { // in parallel: a query between two POSTs would let the worker rest
			defer close(gone)
			tick := time.NewTicker(20 * time.Millisecond)
			defer tick.Stop()
			for left := 1; left > 0 && time.Since(began) < wait.Patience; <-tick.C {
				if err := db.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM sessions WHERE id = '"+large+"'").Scan(&left); err != nil {
					t.Error(err)
					return
				}
			}
		}()
		var during, usual []time.Duration
		for isGone := false; !isGone; {
			during = append(during, post(b, "/api/events?sessionId="+other))
			usual = append(usual, post(resting, "/api/events"))
			select {
			case <-gone:
				isGone = true
			default:
			}
		}
		slices.Sort(during)
		slices.Sort(usual)
		p99 := func(took []time.Duration) time.Duration { return took[len(took)*99/100] }
		took := time.Since(began)
		t.Logf("%d events were deleted in %s; p99 of a POST: %s usually, %s meanwhile (median %s, longest %s, of %d)", n, took.Round(time.Millisecond),
			p99(usual), p99(during), during[len(during)/2], during[len(during)-1], len(during))
		// A deletion that blocks ingest blocks it all the time. A busy machine slows both.
		if p99(during) > max(500*time.Millisecond, 10*p99(usual), took/4) {
			t.Errorf("a POST takes %s, and usually %s", p99(during), p99(usual))
		}
		waitUntilGone(t, env, large)
		wait.For(t, "all events are stored", func() bool { return b.session(other).EventCount == int64(len(during)) })
		if s := b.session(other); !s.Completeness.Complete {
			t.Errorf("the other session: %+v", s)
		}
	})
}

// TestDeleteWhileEventsPourIn checks that acknowledged events which name a session that
// is being deleted are stored in another one.
func TestDeleteWhileEventsPourIn(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		env["DATA_DIR"] = t.TempDir()
		b := startBackend(t, env)
		var ids []string
		for i := range 12 {
			ids = append(ids, b.create(fmt.Sprint(i)))
		}
		var (
			current      atomic.Int32
			acknowledged = make([]map[string]int, 6) // events by session
			writers      sync.WaitGroup
			done         = make(chan struct{})
		)
		for w := range acknowledged {
			acknowledged[w] = map[string]int{}
			writers.Go(func() {
				for {
					select {
					case <-done:
						return
					default:
					}
					a, err := b.trySend("POST", "/api/events?sessionId="+ids[current.Load()], `{"event_type":"x"}`)
					var s struct {
						SessionID string `json:"session_id"`
					}
					if err != nil || a.status != http.StatusOK || json.Unmarshal(a.body, &s) != nil {
						t.Errorf("%v: %d %s", err, a.status, a.body)
						return
					}
					acknowledged[w][s.SessionID]++
				}
			})
		}
		for i, id := range ids[:11] {
			wait.For(t, "it has events", func() bool { return rows(t, env, "events", id) > 20 })
			b.mustDelete(id) // the writers still send to it
			current.Store(int32(i + 1))
		}
		wait.For(t, "the last one has events", func() bool { return rows(t, env, "events", ids[11]) > 20 })
		close(done)
		writers.Wait()
		for _, id := range ids[:11] {
			waitUntilGone(t, env, id)
		}
		total := map[string]int{}
		for _, w := range acknowledged {
			for id, n := range w {
				total[id] += n
			}
		}
		for _, id := range []string{"unassigned", ids[11]} {
			if s := b.session(id); s.EventCount != int64(total[id]) || !s.Completeness.Complete {
				t.Errorf("%s has %d events, %d were acknowledged: %+v", id, s.EventCount, total[id], s.Completeness)
			}
		}
	})
}

// TestDeleteChangeAndStartAtOnce checks that either the deletion or the start succeeds,
// and completely.
func TestDeleteChangeAndStartAtOnce(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		agent := newTestAgent(t)
		env["AGENT_SERVICE_URL"], env["DATA_DIR"] = agent.URL, t.TempDir()
		b := startBackend(t, env)
		for range 15 {
			id := b.create("a.exe")
			var requests sync.WaitGroup
			var deleted, started atomic.Int32
			for _, request := range [][3]string{
				{"DELETE", "/api/sessions/" + id, ""}, {"DELETE", "/api/sessions/" + id, ""}, {"PATCH", "/api/sessions/" + id, `{"name":"x"}`},
				{"POST", "/api/start-monitor", `{"sessionId":"` + id + `","mode":1}`}, {"GET", "/api/sessions/" + id, ""},
			} {
				requests.Go(func() {
					a, err := b.trySend(request[0], request[1], request[2])
					switch {
					case err != nil || a.status >= 500:
						t.Errorf("%s: %v, %d %s", request[0], err, a.status, a.body)
					case request[0] == "DELETE" && a.status == http.StatusAccepted:
						deleted.Add(1)
					case request[0] == "POST" && a.status == http.StatusOK:
						started.Add(1)
					}
				})
			}
			requests.Wait()
			if deleted.Load()+started.Load() != 1 {
				t.Errorf("deleted %d times and started %d times", deleted.Load(), started.Load())
			}
			if started.Load() == 1 {
				b.mustStop(id)
			} else {
				waitUntilGone(t, env, id)
			}
		}
	})
}

// TestUploadWhileItsFileIsDeleted checks that an upload of a content which is being
// deleted always has its bytes.
func TestUploadWhileItsFileIsDeleted(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		env["DATA_DIR"] = t.TempDir()
		b, other := startBackend(t, env), startBackend(t, env) // two replicas with one folder
		var clients sync.WaitGroup
		for i := range 4 {
			clients.Go(func() {
				via := []*backend{b, other}[i%2]
				body := "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"x\"\r\n\r\nsame\r\n--b--\r\n"
				for range rounds(t, 25) {
					var created struct{ SessionID string }
					a, err := via.trySend("POST", "/api/create-session", body, "Content-Type: multipart/form-data; boundary=b")
					if err != nil || a.status != http.StatusOK || json.Unmarshal(a.body, &created) != nil {
						t.Errorf("upload: %v, %d %s", err, a.status, a.body)
						return
					}
					if a, err = via.trySend("GET", "/api/sessions/"+created.SessionID+"/file?raw=true", ""); err != nil || a.status != http.StatusOK || string(a.body) != "same" {
						t.Errorf("the file: %v, %d %s", err, a.status, a.body)
					}
					if a, err = via.trySend("DELETE", "/api/sessions/"+created.SessionID, ""); err != nil || a.status != http.StatusAccepted {
						t.Errorf("delete: %v, %d %s", err, a.status, a.body)
					}
				}
			})
		}
		clients.Wait()
		wait.For(t, "no file is left", func() bool { return len(filesIn(t, filepath.Join(env["DATA_DIR"], "files"))) == 0 })
	})
}

// unzipInfected reads the only file of a zip with the password infected. It is an
// independent implementation of the decryption of APPNOTE.TXT 6.1.
func unzipInfected(t *testing.T, archive []byte) (name, content string) {
	t.Helper()
	reader, err := zip.NewReader(bytes.NewReader(archive), int64(len(archive)))
	if err != nil || len(reader.File) != 1 {
		t.Fatalf("no zip of one file: %v", err)
	}
	raw, err := reader.File[0].OpenRaw()
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(raw)
	if err != nil {
		t.Fatal(err)
	}
	k0, k1, k2 := uint32(0x12345678), uint32(0x23456789), uint32(0x34567890)
	step := func(c uint32, b byte) uint32 { return crc32.IEEETable[byte(c)^b] ^ c>>8 }
	update := func(b byte) {
		k0 = step(k0, b)
		k1 = (k1+k0&0xff)*134775813 + 1
		k2 = step(k2, byte(k1>>24))
	}
	for _, b := range []byte("infected") {
		update(b)
	}
	for i := range text {
		x := k2 | 2
		text[i] ^= byte((x & 0xffff) * ((x & 0xffff) ^ 1) >> 8)
		update(text[i])
	}
	if text = text[12:]; crc32.ChecksumIEEE(text) != reader.File[0].CRC32 {
		t.Error("the password is another one")
	}
	return reader.File[0].Name, string(text)
}

func TestSessionFile(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		env["DATA_DIR"] = t.TempDir()
		b := startBackend(t, env)
		content := "MZ\x00\xff" + strings.Repeat("<script>alert(1)</script>", 10_000)
		for stored, want := range map[string]string{
			"sample.exe": "sample.exe", "../../etc/пароль.html": "пароль.html", "": storedAs(content)[9:][:16] + ".bin",
			"CON.exe": "_CON.exe", "trailing.exe.": "trailing.exe", "lpt¹.txt . ": "_lpt¹.txt",
			"a;b, c'(d)é.exe": "a;b, c'(d)é.exe", "100%22.exe": "100%22.exe",
		} {
			id := b.createNamed(stored, content)
			a := b.send("GET", "/api/sessions/"+id+"/file", "")
			if name, got := unzipInfected(t, a.body); a.status != http.StatusOK || name != want || got != content {
				t.Errorf("%q: the zip has %d bytes under the name %q", stored, len(got), name)
			}
			if a.header.Get("Content-Type") != "application/zip" || a.header.Get("Content-Length") != fmt.Sprint(len(a.body)) || bytes.Contains(a.body, []byte("script")) {
				t.Errorf("%q: the zip's header is %v", stored, a.header)
			}
			wantDownload(t, a, want+".zip")
			raw := b.send("GET", "/api/sessions/"+id+"/file?raw=true", "")
			if raw.status != http.StatusOK || string(raw.body) != content || raw.header.Get("Content-Type") != "application/octet-stream" {
				t.Errorf("%q: raw is %d, %v", stored, raw.status, raw.header)
			}
			wantDownload(t, raw, want)
			if part := b.send("GET", "/api/sessions/"+id+"/file?raw=true", "", "Range: bytes=1-3"); part.status != http.StatusPartialContent || string(part.body) != content[1:4] {
				t.Errorf("a range is %d %q", part.status, part.body)
			}
			for _, query := range []string{"", "?raw=true"} {
				whole := b.send("GET", "/api/sessions/"+id+"/file"+query, "")
				if head := b.send("HEAD", "/api/sessions/"+id+"/file"+query, ""); head.status != http.StatusOK || len(head.body) != 0 || head.header.Get("Content-Length") != fmt.Sprint(len(whole.body)) {
					t.Errorf("HEAD%s is %d, %v", query, head.status, head.header)
				}
			}
		}
		id := b.createSession("b.exe", "other")["sessionId"].(string)
		wantError(t, b.send("GET", "/api/sessions/"+id+"/file?raw=perhaps", ""), http.StatusBadRequest, "invalid", "raw")
		wantError(t, b.send("GET", "/api/sessions/unassigned/file", ""), http.StatusNotFound, "not_found", "no file")
		wantError(t, b.send("GET", "/api/sessions/nobody/file", ""), http.StatusNotFound, "not_found", "nobody")
		path := filepath.Join(env["DATA_DIR"], storedAs("other"))
		if err := os.WriteFile(path, []byte("oth"), 0o600); err != nil {
			t.Fatal(err)
		}
		wantError(t, b.send("GET", "/api/sessions/"+id+"/file", ""), http.StatusInternalServerError, "internal", "damaged")
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		for _, query := range []string{"", "?raw=true"} {
			wantError(t, b.send("GET", "/api/sessions/"+id+"/file"+query, ""), http.StatusNotFound, "not_found", "not on this machine")
		}
	})
}

// createNamed creates a session with a file whose name may have any character.
func (b *backend) createNamed(fileName, content string) string {
	b.t.Helper()
	var created map[string]any
	b.decode(b.upload("form-data; name=\"file\"; filename*=UTF-8''"+url.PathEscape(fileName), content), http.StatusOK, &created)
	return created["sessionId"].(string)
}

// wantDownload checks that a browser saves an answer under a name and does nothing else
// with it.
func wantDownload(t *testing.T, a answer, name string) {
	t.Helper()
	kind, rest, _ := strings.Cut(a.header.Get("Content-Disposition"), ";")
	_, encoded, _ := strings.Cut(rest, "filename*=UTF-8''")
	got, err := url.PathUnescape(encoded)
	if kind != "attachment" || err != nil || got != name || strings.ContainsAny(encoded, `"' ;,()<>@:\/[]?={}`) || !strings.HasPrefix(rest, ` filename="`) {
		t.Errorf("Content-Disposition: %s, want the name %q", a.header.Get("Content-Disposition"), name)
	}
	if a.header.Get("X-Content-Type-Options") != "nosniff" || !strings.Contains(a.header.Get("Content-Security-Policy"), "sandbox") {
		t.Errorf("the header is %v", a.header)
	}
}
