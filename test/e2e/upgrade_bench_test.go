package e2e

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"ospulse/test/pgtest"
)

// BenchmarkUpgrade measures the upgrade of a database of the existing backend with the
// events of real clients: the time until the backend listens, and the time until the
// backfill is complete. "copy" is the time in which PostgreSQL copies the same rows in
// the same minute, without an index. -benchtime 1000000x sets the number of events.
func BenchmarkUpgrade(b *testing.B) {
	events := oldEvents(b)
	for _, dialect := range []string{"sqlite", "postgres"} {
		b.Run(dialect, func(b *testing.B) {
			env := map[string]string{"DATA_DIR": b.TempDir()}
			integers, times := "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)", "strftime('%Y-%m-%d %H:%M:%f', 1795348800 + i / 1000.0 - i % 7, 'unixepoch') || '+00:00'"
			if dialect == "postgres" {
				server, err := pgtest.Start(b.Context(), pgtest.Options{Durable: true})
				if err != nil {
					b.Fatal(err)
				}
				defer server.Close()
				env["DATABASE_URL"] = server.URL("postgres")
				integers, times = "WITH n(i) AS (SELECT generate_series(1, %d))", "timestamptz '2026-11-22 12:00:00+00' + i * interval '1 ms' - (i % 7) * interval '1 s'"
			}
			n := max(b.N, len(events))
			existingDatabase(b, env, append(sampleStatements(events, dialect),
				fmt.Sprintf("INSERT INTO sessions (id, file_name, is_active) "+integers+" SELECT 's' || i, 'a.exe', i %% 10 = 0 FROM n", 100),
				fmt.Sprintf(integers, n)+` INSERT INTO events (session_id, event_type, "timestamp", source, data, is_sent, created_at, updated_at)
					SELECT 's' || (i % 100 + 1), event_type, at, source, data, i % 2 = 0, at, at FROM (SELECT i, `+times+` AS at FROM n) AS n JOIN samples ON samples.number = i % `+fmt.Sprint(len(events)))...)
			copied := time.Duration(0)
			if dialect == "postgres" {
				inDatabase(b, env, func(pool *sql.DB, _ string) {
					began := time.Now()
					for _, statement := range []string{"CREATE TABLE copied AS SELECT * FROM events", "DROP TABLE copied"} {
						if _, err := pool.ExecContext(b.Context(), statement); err != nil {
							b.Fatal(err)
						}
						copied = max(copied, time.Since(began))
					}
				})
			}
			began := time.Now()
			server := startBackendWithin(b, env, time.Hour)
			b.ReportMetric(time.Since(began).Seconds(), "s-until-it-serves")
			for !server.isFilled() {
				<-time.After(100 * time.Millisecond)
			}
			took := time.Since(began).Seconds()
			b.ReportMetric(took, "s-until-all-is-filled")
			b.ReportMetric(float64(n)/took, "events/s")
			if copied > 0 {
				b.ReportMetric(copied.Seconds(), "s-to-copy")
				b.ReportMetric(took/copied.Seconds(), "times-a-copy")
			}
		})
	}
}

// sampleStatements returns statements that create a table of events to choose from.
func sampleStatements(events []oldEvent, dialect string) []string {
	statements := []string{"CREATE TABLE samples (number integer PRIMARY KEY, event_type text, source text, data " + map[string]string{"sqlite": "text", "postgres": "jsonb"}[dialect] + ")"}
	for i, e := range events {
		data, _ := json.Marshal(e.Data) // keeps the original text
		statements = append(statements, fmt.Sprintf("INSERT INTO samples VALUES (%d, %s, %s, %s)", i, quoted(e.Type), quoted(e.Source), quoted(string(data))))
	}
	return statements
}
