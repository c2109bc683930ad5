package e2e

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"ospulse/internal/models"
	"ospulse/test/dbtest"
)

// BenchmarkProcessTree measures pages of the process tree over HTTP on loopback, in a
// session with five events per process.
func BenchmarkProcessTree(b *testing.B) {
	for _, database := range []string{"sqlite", "postgres"} {
		for _, n := range []int{20_000, 100_000} {
			b.Run(fmt.Sprint(database, "/", n), func(b *testing.B) {
				env := map[string]string{"AGENT_SERVICE_URL": newTestAgent(b).URL, "DATA_DIR": b.TempDir()}
				if database == "postgres" {
					env["DATABASE_URL"] = dbtest.Postgres(b).URL
				}
				server := startBackend(b, env)
				id := server.startSession()
				began := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
				var events []string
				for i := range n {
					at := models.FormatTime(began.Add(time.Duration(i) * time.Millisecond))
					meta := fmt.Sprintf(`"metadata":{"processId":%d,"processName":"worker-%d"}`, 1000+i/3, i/3)
					events = append(events, fmt.Sprintf(`{"event_type":"process_creation","timestamp":%q,"source":"bench","data":{"operation":"create","newProcessId":%d,"newProcessStartTime":%q,"imagePath":"/usr/bin/worker-%d","commandLine":"worker-%d --quiet /tmp/job/%d",%s}}`, at, 1001+i, at, i+1, i+1, i, meta))
					for j := range 4 {
						events = append(events, fmt.Sprintf(`{"event_type":"file_operation","timestamp":%q,"source":"bench","data":{"operation":"ReadFile","filePath":"/etc/file-%d",%s}}`, at, (i+j)%500, meta))
					}
				}
				for some := range slices.Chunk(events, 3000) {
					// On a busy machine a commit may be slow; the answer is then 202.
					a := server.send("POST", "/api/events/batch?sessionId="+id, "["+strings.Join(some, ",")+"]")
					if a.status != http.StatusOK && a.status != http.StatusAccepted {
						b.Fatal(a.status, string(a.body))
					}
				}
				waitForDrain(b, server)
				waitForSegments(b, env, len(events))
				for _, tt := range []struct{ name, query string }{
					{"first", ""}, {"last", fmt.Sprint("offset=", n-200)}, {"search", "q=job/7777"}, {"search-nothing", "q=nowhere"},
					{"filter", "filter=" + url.QueryEscape("target = /etc/file-7")}, {"filter-text", "filter=" + url.QueryEscape("file-7")},
				} {
					b.Run(tt.name, func(b *testing.B) {
						for b.Loop() {
							if a := server.send("GET", "/api/sessions/"+id+"/process-tree?"+tt.query, ""); a.status != http.StatusOK {
								b.Fatal(a.status, string(a.body))
							}
						}
					})
				}
			})
		}
	}
}
