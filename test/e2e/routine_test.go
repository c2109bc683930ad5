package e2e

import (
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ospulse/test/wait"
)

// closed is the event that a program closes a file, which is routine.
func closed(path string) string {
	return strings.Replace(readOf("cat", path), "OpenFile", "CloseFile", 1)
}

// TestRoutine checks that all views of a session select by routine rules and findings, that an
// event to which a finding points is never routine, that a stream waits until it knows, and
// that changed rules count.
func TestRoutine(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		dir := t.TempDir()
		write := func(name, text string) {
			t.Helper()
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		write("evil.yml", "title: Evil is used\nid: evil\nlevel: high\ntags: [attack.t1059.004]\nlogsource: {product: ospulse}\ndetection: {s: {target: /tmp/evil}, condition: s}\n")
		const own = "title: Our own routine\nid: own\nkind: routine\nlogsource: {product: ospulse}\ndetection: {s: {target|startswith: /srv/}, condition: s}\n"
		write("our_files.yml", own)
		write("odd.yml", strings.ReplaceAll(strings.ReplaceAll(own, "own", "odd"), "target|startswith: /srv/", "target|re: ^/home"))
		env["RULES_DIR"] = dir
		b := startBackend(t, env)
		id := b.create("a.exe")
		b.sendEvents(id, []string{
			readOf("cat", "/etc/ld.so.cache"), // 1, routine
			readOf("cat", "/etc/shadow"),      // 2, found
			closed("/tmp/a"),                  // 3, routine
			readOf("cat", "/home/a"),          // 4
			closed("/tmp/evil"),               // 5, found
			readOf("cat", "/srv/a"),           // 6, routine
		})
		b.found(id)
		for filter, want := range map[string][]int64{
			"routine = true": {1, 3, 6}, "not routine = true": {2, 4, 5}, "routine = library_loaded": {1}, "routine = our_files or routine = handle_closed_or_copied": {3, 6}, `routine = "Our own routine"`: {6},
			"finding = true": {2, 5}, "finding = evil": {5}, `finding = "A program read the password hashes"`: {2}, "finding.level >= high": {2, 5}, "technique = T1003": {2}, "technique = T1059 and not routine = true": {5},
			"not routine = true and type = file_operation and target contains /tmp": {5},
		} {
			b.wantSelected(id, filter, want)
		}
		wantError(t, b.send("GET", "/api/sessions/nobody/events?filter=routine%20=%20true", ""), http.StatusNotFound, "not_found", "nobody")
		a := b.send("GET", "/api/rules", "")
		if !strings.Contains(string(a.body), `"cannot_run","error":null,"needs":["a filter, which cannot test target matches`) {
			t.Errorf("the rule that cannot be a filter is listed as %.3000s", a.body)
		}

		hidden := "filter=" + url.QueryEscape("not routine = true")
		if got := b.filePaths(id, hidden); !slices.Equal(got, []string{"/etc/shadow", "/home/a", "/tmp/evil"}) {
			t.Errorf("the files are %v", got)
		}

		// What is found in an event is known after it was stored: the stream waits for it.
		live := b.stream("/api/sessions/" + id + "/stream?" + hidden)
		if m, err := live.next(); err != nil || m.event != "session" {
			t.Fatal(m.event, err)
		}
		for n := int64(7); n < 37; n += 3 {
			b.sendEvents(id, []string{closed("/tmp/evil"), closed("/tmp/a"), readOf("cat", "/home/a")})
			if got := live.seqs(t, 2); !slices.Equal(got, []int64{n, n + 2}) {
				t.Fatalf("the stream has %v of the events from %d on", got, n)
			}
		}

		write("our_files.yml", strings.ReplaceAll(own, "/srv/", "/home/"))
		wait.For(t, "the changed rule counts", func() bool { return slices.Equal(seqs(b.listEvents(id, hidden+"&limit=4")), []int64{2, 5, 6, 7}) })
		if got := b.filePaths(id, hidden); !slices.Equal(got, []string{"/etc/shadow", "/srv/a", "/tmp/evil"}) {
			t.Errorf("after a change of the rules the files are %v", got)
		}
	})
}
