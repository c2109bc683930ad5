package e2e

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ospulse/test/s3test"
	"ospulse/test/wait"
)

// withBlocks returns settings with a bucket of blocks.
func withBlocks(env map[string]string, endpoint string) map[string]string {
	all := maps.Clone(env)
	all["BLOCKS_URL"], all["AWS_ACCESS_KEY_ID"], all["AWS_SECRET_ACCESS_KEY"] = "s3://bucket/blocks?endpoint="+endpoint, "id", "hunter2hunter2"
	return all
}

// storedBlocks returns the number of blocks whose data is in the database, and the names
// of the objects that the others use.
func storedBlocks(t *testing.T, env map[string]string) (here int, objects []string) {
	t.Helper()
	db := openDatabase(t, env)
	defer db.Close()
	rows, err := db.QueryContext(t.Context(), "SELECT object FROM blocks")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var object string
		if err := rows.Scan(&object); err != nil {
			t.Fatal(err)
		}
		if object == "" {
			here++
		} else {
			objects = append(objects, object)
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	slices.Sort(objects)
	return here, objects
}

// TestBlocksInABucket checks that a backend with a bucket moves the blocks of sealed
// events there; that events are read as before; that a bucket which is offline makes
// reads fail for now and nothing else; and that a backup has the blocks and needs no
// bucket to be restored.
func TestBlocksInABucket(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		env["DATA_DIR"], env["SEAL_AFTER"] = t.TempDir(), "0s"
		b := startBackend(t, env)
		id := b.create("a.exe")
		const events = 4200
		fillSession(t, b, id, events)
		wait.For(t, "the seal", func() bool {
			here, _ := storedBlocks(t, env)
			return here == 2
		})
		read := func(b *backend) map[string][]byte {
			t.Helper()
			answers := map[string][]byte{id: b.exportAs(t, id, "format=ndjson").body}
			for _, path := range []string{"/events?after=4050&limit=100", "/events?filter=file-77.dll&count=true", "/files", "/histogram?buckets=5"} {
				answers[path] = b.send("GET", "/api/sessions/"+id+path, "").body
			}
			return answers
		}
		want := read(b)
		check := func(what string, b *backend) {
			t.Helper()
			for path, got := range read(b) {
				if !bytes.Equal(got, want[path]) {
					t.Errorf("%s: %s answers\n%.300s\nwas\n%.300s", what, path, got, want[path])
				}
			}
		}
		b.stop()

		s3 := startBucket(t, time.Now())
		bucketed := withBlocks(env, s3.URL)
		b = startBackend(t, bucketed)
		wait.For(t, "the move", func() bool {
			here, objects := storedBlocks(t, env)
			return here == 0 && len(objects) == 2
		})
		check("moved", b)
		if strings.Contains(b.log.String(), "hunter2") {
			t.Error("the log shows the key of the bucket")
		}

		b.stop()
		s3.isDown.Store(true)
		b = startBackend(t, bucketed) // with nothing in memory
		for _, path := range []string{"/api/sessions/" + id + "/events?after=10&limit=5", "/api/sessions/" + id + "/export?format=ndjson", "/api/events/" + id + "?limit=5"} {
			a := b.send("GET", path, "")
			wantError(t, a, http.StatusServiceUnavailable, "unavailable", "BLOCKS_URL")
			if a.header.Get("Retry-After") == "" {
				t.Errorf("%s does not say when to try again", path)
			}
		}
		if checks := b.checks(); !strings.Contains(checks["bucket"], "BLOCKS_URL") || checks["sealed"] != "ok" {
			t.Errorf("/readyz says %q", checks)
		}
		b.sendEvents(id, []string{`{"event_type":"late","data":{"n":1}}`})
		if _, err := runProgram(t, bucketed, "backup", filepath.Join(t.TempDir(), "x")); err == nil || !strings.Contains(err.Error(), "BLOCKS_URL") {
			t.Error("a backup without the bucket: ", err)
		}
		s3.isDown.Store(false)
		wait.For(t, "the bucket in /readyz", func() bool { return b.checks()["bucket"] == "ok" })
		polled := 0
		for n := 1; n > 0; polled += n {
			n = strings.Count(string(b.poll("/api/events/"+id+"?limit=1000").body), `"event_type"`)
		}
		if polled != events+1 {
			t.Errorf("after a poll that failed, polls have %d events, want %d", polled, events+1)
		}
		if c := b.session(id).Completeness; !c.Complete {
			t.Errorf("completeness: %+v", c)
		}
		want = read(b)
		b.stop()

		without := startBackend(t, env)
		wantError(t, without.send("GET", "/api/sessions/"+id+"/events?after=10&limit=5", ""), http.StatusServiceUnavailable, "unavailable", "set BLOCKS_URL")
		without.stop()
		path := filepath.Join(t.TempDir(), "x.backup")
		if _, err := runProgram(t, env, "backup", path); err == nil || !strings.Contains(err.Error(), "set BLOCKS_URL") {
			t.Error("a backup without the setting: ", err)
		}
		if out := mustRun(t, bucketed, "backup", path); !strings.Contains(out, fmt.Sprint(" ", events+1, " events ")) || strings.Contains(out, "warning") {
			t.Error(out)
		}
		eachTarget(t, func(t *testing.T, target map[string]string) {
			mustRun(t, target, "restore", path)
			restored := startBackend(t, target)
			check("restored", restored)
			restored.stop()
			other := s3test.Start(t)
			target["SEAL_AFTER"] = "0s"
			restored = startBackend(t, withBlocks(target, other.URL))
			wait.For(t, "the move", func() bool {
				here, objects := storedBlocks(t, target)
				return here == 0 && len(objects) >= 2
			})
			check("restored and moved", restored)
			restored.mustDelete(id)
			wait.For(t, "the deletion", func() bool {
				here, objects := storedBlocks(t, target)
				return here+len(objects) == 0
			})
		})
	})
}

// TestKilledWhileMovingBlocks checks that kill -9 while blocks move to a bucket loses no
// block, that two backends move them at once, and that the bucket has nothing else in the
// end.
func TestKilledWhileMovingBlocks(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		env["DATA_DIR"], env["SEAL_AFTER"] = t.TempDir(), "0s"
		const sessions = 12
		s3 := s3test.Start(t)
		b := startBackend(t, env)
		var ids []string
		for range sessions {
			id := b.create("a.exe")
			fillSession(t, b, id, 5)
			ids = append(ids, id)
		}
		wait.For(t, "the seals", func() bool {
			here, _ := storedBlocks(t, env)
			return here == sessions
		})
		b.stop()
		bucketed := withBlocks(env, s3.URL)
		s3.Delay.Store(int64(5 * time.Millisecond))
		freeLease := func() { // a killed backend's lease lasts for half a minute
			execute(t, openDatabase(t, env), "UPDATE leases SET until = 0 WHERE name = 'blocks'")
		}
		for round := range 3 {
			before := len(s3.Keys(t))
			freeLease()
			killWhen(t, command(t, bucketed), func() bool {
				here, _ := storedBlocks(t, env)
				return here == 0 || len(s3.Keys(t)) > before+1+2*round
			})
		}
		s3.Delay.Store(0)
		backends := []*backend{startBackend(t, bucketed)}
		if env["DATABASE_URL"] != "" {
			backends = append(backends, startBackend(t, bucketed))
		}
		freeLease()
		wait.For(t, "the move", func() bool {
			here, _ := storedBlocks(t, env)
			return here == 0
		})
		for _, b := range backends {
			for _, id := range ids {
				if list := b.listEvents(id, "limit=10"); len(list.Events) != 5 {
					t.Errorf("session %s has %d events", id, len(list.Events))
				}
			}
			b.stop()
		}

		execute(t, openDatabase(t, env), "UPDATE unused_objects SET since = 0")
		b = startBackend(t, bucketed)
		defer b.stop()
		wait.For(t, "the sweep", func() bool {
			var found []string
			for _, key := range s3.Keys(t) {
				if !strings.HasSuffix(key, "/ospulse") {
					found = append(found, strings.TrimPrefix(key, "blocks/"))
				}
			}
			slices.Sort(found)
			_, objects := storedBlocks(t, env)
			return slices.Equal(found, objects)
		})
	})
}
