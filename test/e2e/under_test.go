package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// ids returns the ids of the tree's processes by their names.
func (t tree) ids() map[string]string {
	ids := map[string]string{}
	var add func(nodes []node)
	add = func(nodes []node) {
		for _, n := range nodes {
			ids[n.Name] = n.ID
			add(n.Children)
		}
	}
	add(t.Processes)
	return ids
}

// readBy returns an event that a process reads a file.
func readBy(second int, pid int64, name, path string) string {
	return fmt.Sprintf(`{"event_type":"file_operation","timestamp":"2026-11-22T12:00:%02dZ","source":"test","data":{"operation":"read","filePath":%q,"metadata":{"processId":%d,"processName":%q}}}`, second, path, pid, name)
}

// wantSelected checks that a filter selects the same events in the list, its count, the export,
// the replay of the stream and the histogram.
func (b *backend) wantSelected(id, filter string, want []int64) {
	b.t.Helper()
	query := "filter=" + url.QueryEscape(filter)
	list := b.listEvents(id, query+"&count=true")
	var exported []int64
	for line := range strings.Lines(string(b.exportAs(b.t, id, query).body)) {
		var e listedEvent
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			b.t.Fatal(err, line)
		}
		exported = append(exported, e.Seq)
	}
	replayed := b.stream("/api/sessions/"+id+"/stream?after=0&"+query).seqs(b.t, len(want))
	for what, got := range map[string][]int64{"the list": seqs(list), "the export": exported, "the replay": replayed} {
		if !slices.Equal(got, want) {
			b.t.Errorf("%s: %s has %v, want %v", filter, what, got, want)
		}
	}
	var h histogram
	b.decode(b.send("GET", "/api/sessions/"+id+"/histogram?"+query, ""), http.StatusOK, &h)
	total := int64(0)
	for _, bucket := range h.Buckets {
		for _, n := range bucket.Counts {
			total += n
		}
	}
	if *list.Count != int64(len(want)) || total != int64(len(want)) {
		b.t.Errorf("%s: %d are counted, %d over time, want %d", filter, *list.Count, total, len(want))
	}
}

// filePaths returns the paths of the files of the events that a query selects, in order.
func (b *backend) filePaths(id, query string) (paths []string) {
	b.t.Helper()
	var list struct{ Files []struct{ Path string } }
	b.decode(b.send("GET", "/api/sessions/"+id+"/files?sort=path&"+query, ""), http.StatusOK, &list)
	for _, f := range list.Files {
		paths = append(paths, f.Path)
	}
	return paths
}

// TestUnder checks that all views of a session select the events of a process and its
// descendants, that a pid which is used again is another process, and that a stream and a
// kept rollup follow children that come later.
func TestUnder(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		b := startBackend(t, env)
		id := b.create("a.exe")
		b.sendEvents(id, []string{
			creation(1, 10, "explorer", 20, "shell"), // 1
			creation(2, 20, "shell", 30, "one"),      // 2
			readBy(3, 30, "one", "/a"),               // 3
			readBy(3, 20, "shell", "/b"),             // 4
			readBy(3, 10, "explorer", "/c"),          // 5
			creation(5, 10, "explorer", 20, "again"), // 6
			readBy(6, 20, "again", "/d"),             // 7
			`{"event_type":"note","timestamp":"2026-11-22T12:00:07Z","source":"test","data":{}}`, // 8
		})
		ids := b.tree(id).ids()
		for filter, want := range map[string][]int64{
			`under("` + ids["shell"] + `")`: {2, 3, 4}, `only("` + ids["shell"] + `")`: {2, 4}, `under(` + ids["explorer"] + `)`: {1, 2, 3, 4, 5, 6, 7},
			`under("` + ids["again"] + `")`: {7}, `not under("` + ids["explorer"] + `")`: {8}, `under("` + ids["shell"] + `") and data.filePath = /a or type = note`: {3, 8},
		} {
			b.wantSelected(id, filter, want)
		}
		wantError(t, b.send("GET", "/api/sessions/"+id+"/events?filter="+url.QueryEscape(`under("99999999")`), ""), http.StatusBadRequest, "invalid", "no process 99999999")
		wantError(t, b.send("GET", "/api/sessions/nobody/events?filter="+url.QueryEscape(`under("1")`), ""), http.StatusNotFound, "not_found", "nobody")

		query := "filter=" + url.QueryEscape(`under("`+ids["shell"]+`")`)
		if got := b.filePaths(id, query); !slices.Equal(got, []string{"/a", "/b"}) {
			t.Errorf("the files are %v", got)
		}
		live := b.stream("/api/sessions/" + id + "/stream?" + query)
		if m, err := live.next(); err != nil || m.event != "session" {
			t.Fatal(m.event, err)
		}
		b.sendEvents(id, []string{creation(8, 30, "one", 40, "child"), readBy(8, 40, "child", "/e"), readBy(8, 10, "explorer", "/c")}) // 9, 10, 11
		b.sendEvents(id, []string{readBy(9, 50, "orphan", "/f")})                                                                      // 12: its parent comes later
		b.sendEvents(id, []string{creation(9, 40, "child", 50, "orphan"), readBy(10, 50, "orphan", "/g")})                             // 13, 14
		var streamed []int64
		for !slices.Contains(streamed, 14) {
			streamed = append(streamed, live.seqs(t, 1)...)
		}
		early := func(seq int64) bool { return seq == 12 } // the stream may evaluate it before or after it knows the parent
		if got := slices.DeleteFunc(streamed, early); !slices.Equal(got, []int64{9, 10, 13, 14}) {
			t.Errorf("the stream has %v", got)
		}
		if got := b.filePaths(id, query); !slices.Equal(got, []string{"/a", "/b", "/e", "/f", "/g"}) {
			t.Errorf("the files of children are missing: %v", got)
		}
		if got := seqs(b.listEvents(id, query)); !slices.Equal(got, []int64{2, 3, 4, 9, 10, 12, 13, 14}) {
			t.Errorf("the list has %v", got)
		}
		var facet struct{ Values []struct{ Value string } }
		b.decode(b.send("GET", "/api/sessions/"+id+"/facets?field=process&"+query, ""), http.StatusOK, &facet)
		if len(facet.Values) != 4 {
			t.Errorf("the facet has %v", facet.Values)
		}
	})
}
