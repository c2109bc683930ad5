package e2e

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"ospulse/internal/models"
	"ospulse/test/wait"
)

// TestSealedSessionIsTheSame checks that every read of a session answers the same before
// it is sealed, while it is sealed, and after it is unsealed; that a sealed session takes
// new events; and that nothing is left of it when it is deleted.
func TestSealedSessionIsTheSame(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		env["DATA_DIR"], env["SEAL_AFTER"], env["AGENT_SERVICE_URL"] = t.TempDir(), "never", newTestAgent(t).URL
		b := startBackend(t, env)
		id := b.startSession()
		const n = models.SegmentEvents + 700
		texts, _ := analysedEvents(n)
		b.sendEvents(id, texts)
		db := openDatabase(t, env)
		rows := func(table string) (n int) {
			t.Helper()
			if err := db.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM "+table+" WHERE session_id = '"+id+"'").Scan(&n); err != nil {
				t.Fatal(err)
			}
			return n
		}
		run := func(args ...string) {
			t.Helper()
			out, err := command(t, env, append(args, id)...).Output()
			if err != nil || !bytes.Contains(out, []byte(args[0]+"ed")) {
				t.Fatalf("%s: %v\n%s", args[0], err, out)
			}
		}
		paths := []string{
			"/events?limit=300", "/events?after=4000&limit=300", "/events?before=4150&limit=100", "/events?filter=type%3Dodd", "/events?filter=data.dst_port+%3E+442&count=true", "/events?filter=host4.example&before=3000",
			"/events?filter=no+such+text&count=true", "/events?fields=data.request.url&limit=50", "/events/1", "/events/4096", "/events/4097", "/histogram?buckets=50", "/histogram?buckets=20&filter=type%3Dodd",
			"/facets?field=type", "/facets?field=process&filter=p7.exe", "/files", "/conversations", "/processes",
			"/process-tree?filter=type%3Dodd", "/process-tree?filter=host4.example", "/process-tree?filter=seq+%3C+9&q=p3",
			"/export?format=ndjson", "/export?format=json", "/export?format=csv", "/export?format=ecs", "/export?format=har", "/export?format=ndjson&filter=type%3Dodd",
		}
		read := func() map[string]string {
			t.Helper()
			answers := map[string]string{}
			for _, path := range paths {
				a := b.send("GET", "/api/sessions/"+id+path, "")
				answers[path] = fmt.Sprintf("%d %s", a.status, a.body)
			}
			details := b.session(id) // without the state of the agent
			answers["details"] = fmt.Sprint(details.EventCounts, *details.FirstEventAt, *details.LastEventAt, details.Completeness)
			answers["old export"] = string(b.send("GET", "/api/events/export?sessionId="+id, "").body)
			return answers
		}
		want := read()
		check := func(what string) {
			t.Helper()
			for path, got := range read() {
				if got != want[path] {
					t.Errorf("%s: %s answers\n%.500s\nwas\n%.500s", what, path, got, want[path])
				}
			}
		}
		for path, got := range want {
			if len(got) < 80 && !strings.Contains(path, "no+such") {
				t.Errorf("%s says nothing: %s", path, got)
			}
		}

		run("seal")
		if left, blocks := rows("events"), rows("blocks"); left != 0 || blocks < 2 {
			t.Errorf("%d rows are left, and there are %d blocks", left, blocks)
		}
		check("sealed")
		run("unseal")
		if back, blocks := rows("events"), rows("blocks"); back != n || blocks != 0 {
			t.Errorf("%d rows are back, and %d blocks are left", back, blocks)
		}
		check("unsealed")
		run("seal")
		check("sealed again")

		b.sendEvents(id, []string{`{"event_type":"late","data":{"n":1}}`})
		run("seal")
		if list := b.listEvents(id, "filter=type%3Dlate"); len(list.Events) != 1 || rows("events") != 0 {
			t.Errorf("a late event: %+v", list)
		}
		polled := b.poll("/api/events/" + id + "?limit=1000")
		if polled.status != http.StatusOK || !bytes.Contains(polled.body, []byte(`"late"`)) {
			t.Errorf("a poll is answered %d %.300s", polled.status, polled.body)
		}
		b.mustStop(id)
		b.mustDelete(id)
		wait.For(t, "the deletion", func() bool {
			return !slices.ContainsFunc([]string{"events", "segments", "blocks", "processes"}, func(table string) bool { return rows(table) > 0 })
		})
	})
}

// TestSealRefusesBadArguments checks the errors of the commands.
func TestSealRefusesBadArguments(t *testing.T) {
	env := map[string]string{"DATA_DIR": t.TempDir()}
	startBackend(t, env)
	for _, tt := range []struct{ args, want string }{
		{"seal", "takes the ID of a session"}, {"unseal a b", "takes the ID of a session"}, {"seal nothing", "does not exist"}, {"unseal nothing", "does not exist"},
	} {
		p := command(t, env, strings.Fields(tt.args)...)
		if err := p.Run(); err == nil || !strings.Contains(p.stderr.String(), tt.want) {
			t.Errorf("%s: %v %s", tt.args, err, p.stderr.String())
		}
	}
	if out, err := command(t, env, "seal", "--help").Output(); err != nil || !bytes.Contains(out, []byte("unseal SESSION")) {
		t.Errorf("help: %v %s", err, out)
	}
}

// TestDamageIsNamed checks that damage of a sealed segment is reported by reads of its
// events, by the session and by /readyz, that other events can be read, and that the
// reports end when the damage is repaired.
func TestDamageIsNamed(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		env["DATA_DIR"], env["SEAL_AFTER"] = t.TempDir(), "0s"
		b := startBackend(t, env)
		id := b.create("a.exe")
		fillSession(t, b, id, models.SegmentEvents+10)
		db := openDatabase(t, env)
		wait.For(t, "the seal", func() bool {
			var n int
			err := db.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM segments WHERE is_sealed AND session_id = '"+id+"'").Scan(&n)
			return err == nil && n == 2
		})
		var block []byte
		const of = " WHERE first_seq = 1"
		if err := db.QueryRowContext(t.Context(), "SELECT data FROM blocks"+of).Scan(&block); err != nil {
			t.Fatal(err)
		}
		store := func(data []byte) {
			t.Helper()
			if _, err := db.ExecContext(t.Context(), fmt.Sprintf("UPDATE blocks SET data = "+binaryLiteral(env)+of, data)); err != nil {
				t.Fatal(err)
			}
		}
		damaged := bytes.Clone(block)
		damaged[len(damaged)/2] ^= 1
		store(damaged)
		// An old poll that claims damaged events fails. The next one passes over them; so does
		// the first one if the worker has found the damage before.
		polled := b.send("GET", "/api/events/"+id+"?limit=1000", "")
		if polled.status != http.StatusOK {
			polled = b.poll("/api/events/" + id + "?limit=1000")
		}
		if n := strings.Count(string(polled.body), `"event_type"`); polled.status != http.StatusOK || n != 10 {
			t.Errorf("a poll is answered %d, with %d events", polled.status, n)
		}
		const name = "the events 1 to 4096 of session "
		if a := b.send("GET", "/api/sessions/"+id+"/events?after=100&limit=5", ""); a.status != http.StatusInternalServerError || !bytes.Contains(a.body, []byte(name+id)) {
			t.Errorf("a read of damaged events is answered %d %s", a.status, a.body)
		}
		if list := b.listEvents(id, "after=4096"); len(list.Events) != 10 {
			t.Errorf("%d events after the damage can be read", len(list.Events))
		}
		if list := b.listEvents(id, "before=4101&order=desc&limit=50"); len(list.Events) != 4 || !list.HasMore {
			t.Errorf("a page that reaches the damage has %d events, and says that there are more: %v", len(list.Events), list.HasMore)
		}
		if c := b.session(id).Completeness; c.Complete || c.Present != models.SegmentEvents+10 || fmt.Sprint(c.Damaged) != "[{1 4096}]" {
			t.Errorf("completeness: %+v", c)
		}
		if text := b.checks()["sealed"]; !strings.HasPrefix(text, name+id+" cannot be read") {
			t.Errorf("/readyz says %s", text)
		}
		store(block)
		wait.For(t, "the end of the reports", func() bool { return b.checks()["sealed"] == "ok" })
		if c := b.session(id).Completeness; !c.Complete || len(c.Damaged) > 0 {
			t.Errorf("completeness after the repair: %+v", c)
		}

		// The worker finds damage that nobody reads.
		store(damaged)
		wait.For(t, "a report without a read", func() bool { return b.checks()["sealed"] != "ok" })
	})
}

// binaryLiteral returns the format of a literal of bytes.
func binaryLiteral(env map[string]string) string {
	if env["DATABASE_URL"] != "" {
		return `'\x%x'`
	}
	return "X'%x'"
}
