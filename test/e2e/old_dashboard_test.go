package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

const oldOrigin = "Origin: http://localhost:5173"

// TestOldPollLimits checks that a poll treats a limit like the old backend.
func TestOldPollLimits(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		b := startBackend(t, env)
		post := func(n int) {
			t.Helper()
			const event = `{"event_type":"x","timestamp":"2026-11-28T12:00:00Z"}`
			b.batch("[" + strings.Repeat(event+",", n-1) + event + "]")
		}
		post(1001) // more than any limit permits
		for limit, want := range map[string]int{
			"limit=0": 10, "limit=abc": 10, "limit=-5": 10, "limit=": 10, "": 10, "limit=1.5": 10, "limit=99999999999999999999": 10, "limit=5000": 1000, "limit=1001": 1000, "limit=1000": 1000, "limit=7": 7,
			"end=2026-11-28T12:00:00Z&limit=3": 3,
		} {
			var page []json.RawMessage
			b.decode(b.poll("/api/events/unassigned?"+limit), http.StatusOK, &page)
			if len(page) != want {
				t.Fatalf("%q returns %d events, want %d", limit, len(page), want)
			}
			post(want) // replaces the events that this poll returned
		}
	})
}

// TestDownloadReport checks that an old dashboard, which names no session, gets the
// session that it started last, and that all other clients get all sessions.
func TestDownloadReport(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		env["AGENT_SERVICE_URL"], env["DATA_DIR"] = newTestAgent(t).URL, t.TempDir()
		b := startBackend(t, env)
		report := func(header ...string) string {
			t.Helper()
			var events []exported
			b.decode(b.send("GET", "/api/events/export", "", header...), http.StatusOK, &events)
			var types []string
			for _, e := range events {
				types = append(types, e.EventType)
			}
			return strings.Join(types, " ")
		}
		want := func(when, want string, header ...string) {
			t.Helper()
			if got := report(header...); got != want {
				t.Errorf("%s: %q, want %q", when, got, want)
			}
		}
		post := func(id, eventType string) {
			t.Helper()
			if a := b.send("POST", "/api/events?sessionId="+id, `{"event_type":"`+eventType+`"}`); a.status != http.StatusOK {
				t.Fatal(string(a.body))
			}
		}
		start := func(name string, header ...string) string {
			t.Helper()
			id := b.createSession(name, name)["sessionId"].(string)
			if a := b.send("POST", "/api/start-monitor", fmt.Sprintf(`{"sessionId":%q,"mode":1}`, id), header...); a.status != http.StatusOK {
				t.Fatal(string(a.body))
			}
			post(id, name)
			return id
		}
		post("unassigned", "nobodys")
		want("nothing was started", "nobodys", oldOrigin)
		start("first", oldOrigin)
		start("second", oldOrigin)
		want("two were started", "second", oldOrigin)
		start("others")
		want("somebody else started one", "second", oldOrigin)
		want("a link of its page", "second", "Referer: http://localhost:5173/report?x")
		want("a program", "nobodys first second others")
		want("a page of another origin", "nobodys first second others", "Referer: http://example.org/")
		var named []exported
		b.decode(b.send("GET", "/api/events/export?sessionId=unassigned", "", oldOrigin), http.StatusOK, &named)
		if len(named) != 1 || named[0].EventType != "nobodys" {
			t.Errorf("a session that is named: %v", named)
		}
		b.stop()
		b = startBackend(t, env)
		want("after a restart", "others", oldOrigin)
		third := start("third", oldOrigin)
		want("after a start", "third", oldOrigin)
		b.mustStop(third)
		b.mustDelete(third)
		want("after it was deleted", "others", oldOrigin)
	})
}

// TestEmptyType checks that an event with an empty type is stored.
func TestEmptyType(t *testing.T) {
	b := startBackend(t, nil)
	if a := b.send("POST", "/api/events", `{"event_type":"","source":"s","data":{"n":1.0}}`); a.status != http.StatusOK {
		t.Fatal(a.status, string(a.body))
	}
	if e := b.export("unassigned")[0]; e.EventType != "unknown" || string(e.Data) != `{"n":1.0}` {
		t.Errorf("%+v", e)
	}
}
