package e2e

import (
	"bytes"
	"database/sql"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"ospulse/internal/models"
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
		waitFor(t, "the records", func() bool {
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
		waitFor(t, "the end of the removal", func() bool {
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
		waitFor(t, "an empty session", func() bool { return b.session(models.UnassignedID).Completeness.Expired == n })
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
