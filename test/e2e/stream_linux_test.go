package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"ospulse/test/pgtest"
)

// TestStreamOutlivesADatabaseThatIsAway checks that a stream stays open while the
// database is away, and then has the spooled events.
func TestStreamOutlivesADatabaseThatIsAway(t *testing.T) {
	t.Parallel()
	server, url := startPostgres(t)
	here, there := twoBackends(t, map[string]string{"DATABASE_URL": url})
	streams := []*stream{here.stream("/api/sessions/unassigned/stream?after=0"), there.stream("/api/sessions/unassigned/stream?after=0")}
	all := here.stream("/api/stream")
	all.want(t, "ready")
	next := int64(1)
	for range 2 {
		here.post("a", "b")
		if err := server.Stop(pgtest.Immediate); err != nil {
			t.Fatal(err)
		}
		for range 10 {
			if a := here.send("POST", "/api/events/batch", eventsNamed("c", "d")); a.status != http.StatusAccepted {
				t.Fatalf("while it is away: %d %s", a.status, a.body)
			}
		}
		if a := here.send("GET", "/api/sessions/unassigned/stream", ""); a.status != http.StatusServiceUnavailable {
			t.Errorf("a new stream meanwhile got %d %s", a.status, a.body)
		}
		if err := server.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, s := range streams {
			s.wantSeqs(t, next, next+21)
		}
		next += 22
		for m := all.want(t, "session"); !strings.Contains(m.data, fmt.Sprintf(`"event_count":%d,`, next-1)); {
			m = all.want(t, "session")
		}
	}
}
