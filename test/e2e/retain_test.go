package e2e

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"ospulse/internal/models"
	"ospulse/test/wait"
)

// expiration is a record of what expired.
type expiration struct {
	ID        int64
	SessionID string `json:"session_id"`
	Whole     bool
	FileName  string `json:"file_name"`
	First     int64  `json:"first_seq"`
	Last      int64  `json:"last_seq"`
	Events    int64
	Rule      string
	Setting   string
	Size      int64  `json:"size_bytes"`
	ExpiredAt string `json:"expired_at"`
}

// expirations is the list of records.
type expirations struct {
	Expirations []expiration
	HasMore     bool `json:"has_more"`
	Sessions    int64
	Since       *string
}

func (b *backend) expirations(query string) (list expirations) {
	b.t.Helper()
	b.decode(b.send("GET", "/api/expirations"+query, ""), http.StatusOK, &list)
	return list
}

// endedSession creates a session of a file with some events, and ends it.
func (b *backend) endedSession(fileName, content string, events int) string {
	b.t.Helper()
	id := b.createSession(fileName, content)["sessionId"].(string)
	b.mustStart(id)
	fillSession(b.t, b, id, events)
	b.mustStop(id)
	return id
}

// execute runs a statement directly in the database.
func execute(t testing.TB, db *sql.DB, text string) {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), text); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
}

// daysAgo returns the expression for a time column some days before.
func daysAgo(env map[string]string, column string, days int) string {
	if env["DATABASE_URL"] != "" {
		return fmt.Sprintf("%s = %[1]s - interval '%d days'", column, days)
	}
	return fmt.Sprintf("%s = %[1]s - %d", column, int64(days)*86_400_000_000)
}

// TestRetainDaysAfterALongPause checks that a clock which may be wrong removes nothing at once: the
// backend last ran 400 days ago. A user can still remove what is old.
func TestRetainDaysAfterALongPause(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		env["DATA_DIR"], env["SEAL_AFTER"], env["AGENT_SERVICE_URL"] = t.TempDir(), "never", newTestAgent(t).URL
		b := startBackend(t, env)
		old := b.endedSession("old.exe", "MZ", 5)
		b.stop()
		db := openDatabase(t, env)
		const days = 400
		execute(t, db, "UPDATE sessions SET "+daysAgo(env, "monitoring_ended", days)+", "+daysAgo(env, "updated_at", days))
		execute(t, db, "UPDATE agents SET "+daysAgo(env, "last_seen_at", days))
		execute(t, db, "UPDATE writer_marks SET "+daysAgo(env, "updated_at", days))
		env["RETAIN_DAYS"] = "30"
		b = startBackend(t, env)
		// Retention removes what a user asked for, then what is old, and so on.
		for i := range int64(2) {
			fillSession(t, b, models.UnassignedID, 3)
			b.send("DELETE", "/api/sessions/unassigned/events", "")
			wait.For(t, "the removal", func() bool { return b.session(models.UnassignedID).Completeness.Expired == 3*(i+1) })
		}
		if s := b.session(old); !s.Completeness.Complete {
			t.Errorf("the session: %+v", s)
		}
		// The record has the clock's time all the same.
		records := b.expirations("?session=" + models.UnassignedID).Expirations
		if at, err := time.Parse(time.RFC3339, records[0].ExpiredAt); err != nil || time.Since(at) > 24*time.Hour {
			t.Errorf("the record: %+v, %v", records[0], err)
		}
		if out, err := command(t, env, "expire").Output(); err != nil || !strings.Contains(string(out), "1 removed") {
			t.Errorf("expire printed %s, %v", out, err)
		}
		wantError(t, b.send("GET", "/api/sessions/"+old, ""), http.StatusNotFound, "not_found", "expired on ")
	})
}

// TestRetainDays checks everything that expires by age, and everything that does not: the
// list of a dry run, sessions, their files and the record of them, the oldest events of
// unassigned, sealed and not, and every read of what is left of it.
func TestRetainDays(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		env["DATA_DIR"], env["SEAL_AFTER"], env["AGENT_SERVICE_URL"] = t.TempDir(), "never", newTestAgent(t).URL
		b := startBackend(t, env)
		shared := b.endedSession("shared.exe", "MZ shared", 5)
		recent := b.endedSession("recent.exe", "MZ shared", 5)
		kept := b.endedSession("kept.exe", "MZ kept", 5)
		alone := b.endedSession("alone.exe", "MZ alone", models.SegmentEvents+10)
		created := b.create("created.exe")
		live := b.startSession()
		b.change(kept, `{"keep":true}`)
		if list, _ := b.list("keep=true"); len(list) != 1 || list[0].ID != kept {
			t.Errorf("marked keep: %+v", list)
		}
		const n, old = 2*models.SegmentEvents + 100, 2 * models.SegmentEvents
		fillSession(t, b, models.UnassignedID, n)
		b.session(models.UnassignedID) // stores totals
		db := openDatabase(t, env)
		execute(t, db, "UPDATE sessions SET "+daysAgo(env, "monitoring_ended", 40)+" WHERE id IN ('"+kept+"', '"+alone+"')")
		execute(t, db, "UPDATE sessions SET "+daysAgo(env, "monitoring_ended", 30)+" WHERE id = '"+shared+"'")
		execute(t, db, "UPDATE sessions SET "+daysAgo(env, "created_at", 50)+", "+daysAgo(env, "updated_at", 50))
		execute(t, db, fmt.Sprintf("UPDATE events SET %s WHERE session_id = 'unassigned' AND seq <= %d", daysAgo(env, "created_at", 35), old))
		run := func(args ...string) string {
			t.Helper()
			p := command(t, env, args...)
			out, err := p.Output()
			if err != nil {
				t.Fatalf("%v: %v %s", args, err, p.stderr.String())
			}
			return string(out)
		}
		run("seal", alone)
		bundle := b.exportAs(t, alone, "format=bundle")
		b.stop()

		env["RETAIN_DAYS"] = "10.5"
		listed := run("expire", "--dry-run")
		for line, want := range []string{"SINCE", alone, "unassigned", "unassigned", shared, "4 would be removed"} {
			if lines := strings.Split(listed, "\n"); !strings.Contains(lines[line], want) {
				t.Errorf("line %d of the dry run has no %s:\n%s", line, want, listed)
			}
		}
		if !strings.Contains(listed, "4097–8192") || !strings.Contains(listed, `"alone.exe"`) {
			t.Errorf("the dry run lists\n%s", listed)
		}
		b = startBackend(t, env)
		wait.For(t, "the records", func() bool {
			return len(b.expirations("").Expirations) == 3 && b.session(models.UnassignedID).Completeness.Expired == old
		})
		for _, id := range []string{shared, alone} {
			wantError(t, b.send("GET", "/api/sessions/"+id, ""), http.StatusNotFound, "not_found", "expired on ")
			wantError(t, b.send("GET", "/api/sessions/"+id+"/events", ""), http.StatusNotFound, "not_found", "by RETAIN_DAYS=10.5")
		}
		for _, id := range []string{recent, kept, created, live} {
			if s := b.session(id); !s.Completeness.Complete {
				t.Errorf("what is left is not complete: %+v", s)
			}
		}
		wait.For(t, "the end of the removal", func() bool {
			var left int
			err := db.QueryRowContext(t.Context(), "SELECT (SELECT COUNT(*) FROM events WHERE session_id = '"+alone+"') + (SELECT COUNT(*) FROM blocks) + (SELECT COUNT(*) FROM sessions WHERE id = '"+alone+"')").Scan(&left)
			return err == nil && left == 0
		})
		if a := b.send("GET", "/api/sessions/"+recent+"/file", ""); a.status != http.StatusOK {
			t.Errorf("a file that another session had is gone: %d %s", a.status, a.body)
		}
		files, err := filepath.Glob(filepath.Join(env["DATA_DIR"], "files", "*"))
		for _, name := range files {
			if content, _ := os.ReadFile(name); bytes.Contains(content, []byte("alone")) {
				t.Errorf("the file of a removed session is still there: %s %v", name, err)
			}
		}

		all := b.expirations("?limit=2")
		if all.Sessions != 2 || all.Since == nil || !all.HasMore || len(all.Expirations) != 2 {
			t.Errorf("the list of expirations: %+v", all)
		}
		all.Expirations = append(all.Expirations, b.expirations("?before="+strconv.FormatInt(all.Expirations[1].ID, 10)).Expirations...)
		slices.SortFunc(all.Expirations, func(a, b expiration) int { return strings.Compare(a.FileName, b.FileName) })
		for i, want := range []expiration{
			{SessionID: models.UnassignedID, First: 1, Last: old, Events: old},
			{SessionID: alone, Whole: true, FileName: "alone.exe", First: 1, Last: models.SegmentEvents + 10, Events: models.SegmentEvents + 10},
			{SessionID: shared, Whole: true, FileName: "shared.exe", First: 1, Last: 5, Events: 5},
		} {
			got := all.Expirations[i]
			want.ID, want.Size, want.ExpiredAt, want.Rule, want.Setting = got.ID, got.Size, got.ExpiredAt, "RETAIN_DAYS", "10.5"
			if got != want || got.Size < 1000 {
				t.Errorf("the record %+v, want %+v", got, want)
			}
		}
		if one := b.expirations("?session=" + alone); len(one.Expirations) != 1 {
			t.Errorf("the records of a session: %+v", one)
		}
		b.wantRest(models.UnassignedID, old, n)
		wantError(t, b.send("GET", "/api/sessions/unassigned/events/5", ""), http.StatusNotFound, "not_found", "event 5 of session unassigned expired on ")

		// A removed session can be imported again, and then its age counts from the import.
		if a := b.importBundle(bundle.body, ""); a.status != http.StatusCreated {
			t.Errorf("the import is answered %d %s", a.status, a.body)
		}
		partial := b.exportAs(t, models.UnassignedID, "format=bundle")
		var copied listed2
		b.decode(b.importBundle(partial.body, "?new_id=true"), http.StatusCreated, &copied)
		b.stop()
		b = startBackend(t, env)
		if s := b.session(alone); !s.Completeness.Complete || s.Completeness.Present != models.SegmentEvents+10 {
			t.Errorf("the imported session: %+v", s)
		}
		b.wantRest(copied.ID, old, n)

		// The rest of unassigned goes when a user asks, and later events stay.
		wantError(t, b.send("DELETE", "/api/sessions/"+recent+"/events", ""), http.StatusConflict, "conflict", "only the session unassigned")
		if a := b.send("DELETE", "/api/sessions/unassigned/events", ""); a.status != http.StatusAccepted || !bytes.Contains(a.body, []byte(fmt.Sprintf(`"up_to_seq":%d`, n))) {
			t.Errorf("the removal is answered %d %s", a.status, a.body)
		}
		wait.For(t, "an empty session", func() bool { return b.session(models.UnassignedID).Completeness.Expired == n })
		fillSession(t, b, models.UnassignedID, 7)
		b.wantRest(models.UnassignedID, n, n+7)
		if last := b.session(models.UnassignedID).Completeness.Expirations; len(last) != 2 || last[0].Rule != "user" || last[0].First != old+1 {
			t.Errorf("records: %+v", last)
		}
	})
}

// listed2 is an imported session.
type listed2 struct{ ID string }

// wantRest checks every read of a session whose first events have expired, up to n.
func (b *backend) wantRest(id string, expired, n int64) {
	b.t.Helper()
	c := b.session(id).Completeness
	if !c.Complete || c.Expected != n || c.Expired != expired || c.Present != n-expired || len(c.Missing) > 0 {
		b.t.Errorf("completeness: %+v", c)
	}
	left := n - expired
	list := b.listEvents(id, "limit=1000&count=true")
	if int64(len(list.Events)) != left || list.Events[0].Seq != expired+1 || *list.Count != left || list.Expired == nil || list.Expired.First != 1 || list.Expired.Last != expired {
		b.t.Errorf("a list has %d events; expired %+v", len(list.Events), list.Expired)
	}
	if list := b.listEvents(id, "order=desc&limit=1000"); int64(len(list.Events)) != left || list.Expired == nil {
		b.t.Errorf("a list from the end has %d events; expired %+v", len(list.Events), list.Expired)
	}
	if list := b.listEvents(id, fmt.Sprintf("after=%d&filter=pid%%3D102", expired)); list.Expired != nil || len(list.Events) == 0 {
		b.t.Errorf("a list of what is left has %d events; expired %+v", len(list.Events), list.Expired)
	}
	if lines := bytes.Count(b.exportAs(b.t, id, "format=ndjson").body, []byte("\n")); int64(lines) != left {
		b.t.Errorf("an export has %d events", lines)
	}
	if old := b.export(id); int64(len(old)) != left {
		b.t.Errorf("the old export has %d events", len(old))
	}
	s := b.stream("/api/sessions/" + id + "/stream?after=3")
	s.want(b.t, "session")
	if m := s.want(b.t, "expired"); m.lastEventID != strconv.FormatInt(expired, 10) || m.data != fmt.Sprintf(`{"first_seq":4,"last_seq":%d}`, expired) {
		b.t.Errorf("the stream says %+v", m)
	}
	s.wantSeqs(b.t, expired+1, n)
	s.close()
	var histogram struct {
		Buckets []struct{ Counts map[string]int64 }
	}
	b.decode(b.send("GET", "/api/sessions/"+id+"/histogram", ""), http.StatusOK, &histogram)
	total := int64(0)
	for _, bucket := range histogram.Buckets {
		total += bucket.Counts["file_operation"]
	}
	var files struct{ Files []struct{ Path string } }
	b.decode(b.send("GET", "/api/sessions/"+id+"/files?limit=1000", ""), http.StatusOK, &files)
	if total != left || int64(len(files.Files)) != left {
		b.t.Errorf("the histogram counts %d events, and there are %d files", total, len(files.Files))
	}
	if len(b.tree(id).Processes) == 0 {
		b.t.Error("there are no processes")
	}
}

// numbered returns n events of about size bytes as lines of JSON, which hardly compress.
func numbered(n, size int) string {
	var body strings.Builder
	for i := range n {
		fmt.Fprintf(&body, `{"event_type":"t%d","timestamp":"2026-11-22T18:57:39Z","data":{"pid":%d,"text":"`, i%3, i%50)
		for body.Len()%size < size-40 {
			fmt.Fprintf(&body, "%016x", rand.Uint64())
		}
		body.WriteString("\"}}\n")
	}
	return body.String()
}

// postBatch stores events in unassigned. It reports the last seq, or the status that is
// not 200.
func (b *backend) postNumbered(body string) (last int64, status int, err error) {
	a, err := b.trySend("POST", "/api/events/batch?sessionId=unassigned", body, "Content-Type: application/x-ndjson")
	if err != nil || a.status != http.StatusOK {
		return 0, a.status, err
	}
	var stored struct {
		Ranges []struct {
			Last int64 `json:"last_seq"`
		} `json:"ranges"`
	}
	err = json.Unmarshal(a.body, &stored)
	if err == nil && len(stored.Ranges) != 1 {
		err = fmt.Errorf("the batch is answered %s", a.body)
	}
	if err != nil {
		return 0, a.status, err
	}
	return stored.Ranges[0].Last, a.status, nil
}

// TestExpiryLosesNothing checks that kill -9 at any moment of expiry, beside ingest and
// sealing, leaves a session whose events are either there or recorded as expired.
func TestExpiryLosesNothing(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		env["DATA_DIR"], env["SEAL_AFTER"] = t.TempDir(), "0s"
		db := openDatabase(t, env)
		body := numbered(500, 200)
		acked, expired := int64(0), int64(0)
		for round := range rounds(t, 2) {
			env["RETAIN_DAYS"] = "0.000001" // 86 ms
			p := command(t, env)
			p.start(t)
			b := &backend{t: t, url: p.url}
			for posted := 0; posted < 6+round || expired >= b.expiredSeq(); posted++ {
				last, status, err := b.postNumbered(body)
				if err != nil || status != http.StatusOK {
					t.Fatal(status, err)
				}
				acked = last
			}
			if err := p.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			p.Wait() //nolint:errcheck // the error says that it was killed

			env["RETAIN_DAYS"] = "0"
			b = startBackend(t, env)
			c := b.session(models.UnassignedID).Completeness
			if !c.Complete || c.Expected < acked || c.Expired <= expired || c.Present != c.Expected-c.Expired || len(c.Missing) > 0 {
				t.Errorf("after kill -9, %d events were acknowledged: %+v", acked, c)
			}
			next := int64(1) // the records have all expired events
			for _, e := range slices.Backward(c.Expirations) {
				if e.First != next {
					t.Errorf("a record begins with %d, want %d", e.First, next)
				}
				next = e.Last + 1
			}
			var below int64
			err := db.QueryRowContext(t.Context(), fmt.Sprintf("SELECT (SELECT COUNT(*) FROM events WHERE session_id = 'unassigned' AND seq <= %d) + (SELECT COUNT(*) FROM blocks WHERE session_id = 'unassigned' AND last_seq <= %[1]d) + (SELECT COUNT(*) FROM segments WHERE session_id = 'unassigned' AND number < %d)",
				c.Expired, c.Expired/models.SegmentEvents)).Scan(&below)
			if err != nil || below > 0 || next != c.Expired+1 {
				t.Errorf("%d expired rows are left, the records end with %d: %v", below, next-1, err)
			}
			expired = c.Expired
			b.stop()
		}
	})
}

// expiredSeq returns the seq up to which the events of unassigned have expired.
func (b *backend) expiredSeq() int64 {
	b.t.Helper()
	var list struct {
		Sessions []struct {
			ID      string
			Expired int64 `json:"expired_seq"`
		}
	}
	b.decode(b.send("GET", "/api/sessions?limit=500", ""), http.StatusOK, &list)
	for _, s := range list.Sessions {
		if s.ID == models.UnassignedID {
			return s.Expired
		}
	}
	return 0
}

// TestReadersBesideExpiry checks that streams, lists, exports and completeness that begin
// before events expire get each event, or the report that it expired.
func TestReadersBesideExpiry(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		env["SEAL_AFTER"], env["RETAIN_DAYS"] = "0s", "0.000004" // 350 ms
		b := startBackend(t, env)
		body := numbered(700, 200)
		const batches, total = 8, 8 * 700
		var readers sync.WaitGroup
		// read starts to read a stream until it has reported every event, as stored or as expired.
		read := func(query string) (expired *int64) {
			s := b.stream("/api/sessions/unassigned/stream?after=0" + query)
			expired = new(int64)
			readers.Go(func() {
				for next := int64(1); next <= total; {
					m, err := s.next()
					var span struct {
						First int64 `json:"first_seq"`
						Last  int64 `json:"last_seq"`
					}
					switch {
					case err != nil:
						t.Errorf("the stream %q waits for %d: %v", query, next, err)
						return
					case m.event == "expired" && json.Unmarshal([]byte(m.data), &span) == nil:
						if span.First != next || span.Last < next {
							t.Errorf("the stream %q reports %+v, want from %d on", query, span, next)
						}
						next = span.Last + 1
						*expired += span.Last - span.First + 1
					case m.event == "message" && m.data != "":
						events, err := m.events()
						if err != nil || events[0].Seq != next || events[len(events)-1].Seq != next+int64(len(events))-1 {
							t.Errorf("the stream %q got %.80s, want %d: %v", query, m.data, next, err)
							return
						}
						next += int64(len(events))
					}
				}
			})
			return expired
		}
		queries := []string{"", "&fields=data.pid", "&filter=data.pid+%3E%3D+0"}
		for _, query := range queries {
			read(query)
		}
		var late []*int64 // of streams that begin when events have expired
		for i := range batches {
			if i == batches/2 {
				wait.For(t, "the first expiry", func() bool { return b.session(models.UnassignedID).Completeness.Expired > 0 })
				for _, query := range queries {
					late = append(late, read(query))
				}
			}
			if last, status, err := b.postNumbered(body); err != nil || status != http.StatusOK {
				t.Fatal(last, status, err)
			}
			c := b.session(models.UnassignedID).Completeness
			if !c.Complete || c.Present != c.Expected-c.Expired {
				t.Errorf("completeness: %+v", c)
			}
			list := b.listEvents(models.UnassignedID, "after=0&limit=1000")
			first := int64(1)
			if list.Expired != nil {
				first = list.Expired.Last + 1
			}
			if len(list.Events) > 0 && list.Events[0].Seq > first {
				t.Errorf("a list begins with %d, expired %+v", list.Events[0].Seq, list.Expired)
			}
		}
		readers.Wait()
		for i, expired := range late {
			if *expired == 0 {
				t.Errorf("the late stream %q does not say that events have expired", queries[i])
			}
		}
		wait.For(t, "the end of all events", func() bool { return b.session(models.UnassignedID).Completeness.Expired == total })
		wait.For(t, "the end of all processes", func() bool { return len(b.tree(models.UnassignedID).Processes) == 0 })
		if c := b.session(models.UnassignedID).Completeness; !c.Complete || c.Present != 0 {
			t.Errorf("in the end: %+v", c)
		}
	})
}

// TestDatabaseShrinks checks that the space of expired events returns to the file system,
// and that vacuum makes an older SQLite database do so.
func TestDatabaseShrinks(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		env["DATA_DIR"], env["SEAL_AFTER"] = t.TempDir(), "never"
		b := startBackend(t, env)
		for range 4 {
			if _, status, err := b.postNumbered(numbered(750, 2000)); err != nil || status != http.StatusOK {
				t.Fatal(status, err)
			}
		}
		db := openDatabase(t, env)
		size := func() (n int64) {
			t.Helper()
			if env["DATABASE_URL"] == "" {
				info, err := os.Stat(filepath.Join(env["DATA_DIR"], "ospulse.db"))
				if err != nil {
					t.Fatal(err)
				}
				return info.Size()
			}
			execute(t, db, "VACUUM events") // as autovacuum does
			if err := db.QueryRowContext(t.Context(), "SELECT pg_table_size('events')").Scan(&n); err != nil {
				t.Fatal(err)
			}
			return n
		}
		before := size()
		if a := b.send("DELETE", "/api/sessions/unassigned/events", ""); a.status != http.StatusAccepted {
			t.Fatal(a.status, string(a.body))
		}
		wait.For(t, "the removal", func() bool { return b.expiredSeq() == 3000 })
		wait.For(t, "a small database", func() bool { return size() < before/4 })
		if env["DATABASE_URL"] != "" {
			p := command(t, env, "vacuum")
			if err := p.Run(); err == nil || !strings.Contains(p.stderr.String(), "autovacuum") {
				t.Errorf("vacuum on PostgreSQL: %v %s", err, p.stderr.String())
			}
			return
		}
		p := command(t, env, "vacuum")
		if err := p.Run(); err == nil || !strings.Contains(p.stderr.String(), "stop all backends") {
			t.Errorf("vacuum beside a backend: %v %s", err, p.stderr.String())
		}
		b.stop()
		execute(t, db, "PRAGMA auto_vacuum = NONE") // the mode of an older version
		execute(t, db, "VACUUM")
		db.Close()
		for want := range 2 {
			mode := -1
			db := openDatabase(t, env)
			if err := db.QueryRowContext(t.Context(), "PRAGMA auto_vacuum").Scan(&mode); err != nil || mode != 2*want {
				t.Errorf("auto_vacuum is %d, %v", mode, err)
			}
			db.Close()
			if p := command(t, env, "vacuum"); p.Run() != nil {
				t.Errorf("vacuum: %s", p.stderr.String())
			}
		}
	})
}

// TestExpireCommandRefuses checks the errors of the command, and that it and others create
// no database.
func TestExpireCommandRefuses(t *testing.T) {
	env := map[string]string{"DATA_DIR": t.TempDir()}
	for _, tt := range []struct{ args, days, want string }{
		{"expire", "0", "neither RETAIN_DAYS nor RETAIN_GB is set"}, {"expire now", "1", "--dry-run or nothing"}, {"expire --all", "1", "--dry-run or nothing"},
		{"expire", "-1", "a number from 0"}, {"vacuum now", "1", "takes no arguments"}, {"vacuum", "1", "there is no database"},
		{"expire --dry-run", "1", "there is no database"}, {"seal x", "1", "there is no database"}, {"unseal x", "1", "there is no database"},
	} {
		env["RETAIN_DAYS"] = tt.days
		p := command(t, env, strings.Fields(tt.args)...)
		if err := p.Run(); err == nil || !strings.Contains(p.stderr.String(), tt.want) {
			t.Errorf("%s: %v %s", tt.args, err, p.stderr.String())
		}
	}
	if left, err := os.ReadDir(env["DATA_DIR"]); err != nil || len(left) > 0 {
		t.Errorf("the commands left %v, %v", left, err)
	}
	for _, name := range []string{"expire", "vacuum"} {
		if out, err := command(t, env, name, "--help").Output(); err != nil || !bytes.Contains(out, []byte("Usage: ospulse-backend "+name)) {
			t.Errorf("help: %v %s", err, out)
		}
	}
}

// TestEventsWithoutRoom checks that events are answered 503 below MIN_FREE_MB, and only if
// the database is on that disk.
func TestEventsWithoutRoom(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		env["MIN_FREE_MB"] = "1073741824"
		b := startBackend(t, env)
		var health struct {
			Disk struct {
				State       string
				HasDatabase bool `json:"has_database"`
			}
		}
		state, hasDatabase, status := "full", true, http.StatusServiceUnavailable
		if env["DATABASE_URL"] != "" {
			state, hasDatabase, status = "ok", false, http.StatusOK
		}
		wait.For(t, "the state of the disk", func() bool {
			b.decode(b.send("GET", "/api/health", ""), http.StatusOK, &health)
			return health.Disk.State == state
		})
		a := b.send("POST", "/api/events", `{"event_type":"x"}`)
		if a.status != status || health.Disk.HasDatabase != hasDatabase {
			t.Errorf("an event is answered %d %s; %+v", a.status, a.body, health)
		}
		if status != http.StatusOK {
			wantError(t, a, status, "unavailable", "MIN_FREE_MB")
			if a.header.Get("Retry-After") == "" {
				t.Error("there is no Retry-After")
			}
		}
	})
}

// TestRetainGB checks that the oldest sessions go until the rest fits, and no others.
func TestRetainGB(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		env["DATA_DIR"], env["SEAL_AFTER"], env["AGENT_SERVICE_URL"] = t.TempDir(), "never", newTestAgent(t).URL
		b := startBackend(t, env)
		var ids []string
		for i := range 4 { // of 8 MB
			ids = append(ids, b.endedSession(fmt.Sprintf("%d.exe", i), strings.Repeat(string(rune('a'+i)), 8<<20), 3))
		}
		b.change(ids[0], `{"keep":true}`)
		db := openDatabase(t, env)
		if env["DATABASE_URL"] == "" { // the free space of a database counts 0
			execute(t, db, "CREATE TABLE padding AS SELECT zeroblob(6000000) AS x")
			execute(t, db, "DROP TABLE padding")
		}
		p := command(t, env, "expire", "--dry-run")
		p.Env = append(p.Env, "RETAIN_GB=1")
		if out, err := p.Output(); err != nil || !bytes.Contains(out, []byte("0 would be removed")) {
			t.Errorf("with enough space: %v %s", err, out)
		}
		var used float64 // of all tables, without the files
		size := "SELECT (SELECT page_count FROM pragma_page_count) * 4096 - (SELECT freelist_count FROM pragma_freelist_count) * 4096"
		if env["DATABASE_URL"] != "" {
			size = "SELECT pg_database_size(current_database()) - pg_total_relation_size('events') - pg_total_relation_size('segments') - pg_total_relation_size('blocks')"
		}
		if err := db.QueryRowContext(t.Context(), size).Scan(&used); err != nil {
			t.Fatal(err)
		}
		b.stop()
		env["RETAIN_GB"] = strconv.FormatFloat((used+26*(1<<20))/(1<<30), 'f', 6, 64) // three of four files fit
		b = startBackend(t, env)
		wait.For(t, "an expiration", func() bool { return b.expirations("").Sessions > 0 })
		b.stop()
		b = startBackend(t, env) // and nothing else expires
		wait.For(t, "another look", func() bool { return strings.Contains(b.log.String(), `"listening"`) })
		list := b.expirations("")
		if list.Sessions != 1 || list.Expirations[0].SessionID != ids[1] || list.Expirations[0].Rule != "RETAIN_GB" || list.Expirations[0].Size < 8<<20 {
			t.Errorf("what expired: %+v", list)
		}
	})
}

// BenchmarkExpireSealed measures the removal of a session of 1,000,000 sealed events, which
// are 245 copies of a segment, while the backend does nothing else.
func BenchmarkExpireSealed(b *testing.B) {
	for name := range databases(b) {
		b.Run(name, func(b *testing.B) {
			for range b.N {
				env := databases(b)[name]
				env["DATA_DIR"], env["SEAL_AFTER"], env["RETAIN_DAYS"] = b.TempDir(), "0s", "0"
				back := startBackend(b, env)
				id := back.createSession("a.exe", "MZ")["sessionId"].(string)
				fillSession(b, back, id, models.SegmentEvents)
				db := openDatabase(b, env)
				wait.For(b, "the seal", func() bool {
					var n int
					return db.QueryRowContext(b.Context(), "SELECT COUNT(*) FROM segments WHERE is_sealed AND session_id = '"+id+"'").Scan(&n) == nil && n == 1
				})
				back.stop()
				const copies = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 244) "
				execute(b, db, "INSERT INTO segments (session_id, number, first_time, last_time, event_count, is_sealed, min_id, max_id, skip, columns) "+
					copies+"SELECT session_id, i, first_time, last_time, event_count, is_sealed, min_id + 4096 * i, max_id + 4096 * i, skip, columns FROM segments, n WHERE session_id = '"+id+"'")
				execute(b, db, "INSERT INTO blocks (session_id, first_seq, last_seq, data) "+copies+"SELECT session_id, first_seq + 4096 * i, last_seq + 4096 * i, data FROM blocks, n WHERE session_id = '"+id+"'")
				execute(b, db, "UPDATE sessions SET event_count = 245 * 4096, sealed_seq = 245 * 4096, monitoring_ended = created_at, "+daysAgo(env, "updated_at", 1)+" WHERE id = '"+id+"'")
				env["RETAIN_DAYS"] = "0.00001"
				back = startBackend(b, env)
				var line struct {
					Msg  string
					Took string
				}
				wait.For(b, "the removal", func() bool {
					for text := range strings.Lines(back.log.String()) {
						if json.Unmarshal([]byte(text), &line) == nil && line.Msg == "a deleted session was removed" {
							return true
						}
					}
					return false
				})
				took, err := time.ParseDuration(line.Took)
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(took.Milliseconds()), "ms/removal")
				back.stop()
			}
		})
	}
}
