package e2e

import (
	"net/http"
	"strings"
	"testing"
)

func TestMetrics(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		b := startBackend(t, env)
		b.send("POST", "/api/events", `{"event_type":"x"}`)
		b.send("POST", "/api/events", `{"event_type":null}`)
		b.send("POST", "/api/net/events", `{"events":[{},{},1]}`)
		for range 2 {
			b.send("POST", "/api/events/batch", `[{"event_type":"x"},{"event_type":"y"}]`, "Idempotency-Key: k")
		}
		a := b.send("GET", "/metrics", "")
		if a.status != http.StatusOK {
			t.Fatalf("%d %s", a.status, a.body)
		}
		for _, want := range []string{
			"ospulse_events_accepted_total 7", // including the repeated batch
			"ospulse_events_committed_total 5",
			`ospulse_events_refused_total{reason="invalid"} 2`,
			"ospulse_ingest_group_events_count 4",
			"ospulse_ingest_commit_seconds_count 4",
			"ospulse_ingest_queue_events 0",
			"ospulse_ingest_queue_bytes 0",
			"go_goroutines ",
			"process_resident_memory_bytes ",
			`go_sql_open_connections{db_name="write"}`,
		} {
			if !strings.Contains(string(a.body), "\n"+want) {
				t.Errorf("no %q in\n%s", want, a.body)
			}
		}
	})
}
