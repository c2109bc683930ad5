package e2e

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"ospulse/test/wait"
)

// node is a process of the tree.
type node struct {
	ID          string
	PID         int64
	ParentID    *string `json:"parent_id"`
	ParentPID   *int64  `json:"parent_pid"`
	StartedAt   string  `json:"started_at"`
	StartKnown  bool    `json:"start_known"`
	Name, Image string
	CommandLine string           `json:"command_line"`
	FirstSeen   string           `json:"first_seen"`
	LastSeen    string           `json:"last_seen"`
	EventCount  int64            `json:"event_count"`
	EventCounts map[string]int64 `json:"event_counts"`
	Children    []node
}

type tree struct {
	Processes []node
	Total     int64
	Truncated bool
}

func (b *backend) tree(id string) (t tree) {
	b.t.Helper()
	b.decode(b.send("GET", "/api/sessions/"+id+"/processes", ""), http.StatusOK, &t)
	return t
}

// String formats the tree: "name(child child(grandchild))".
func (t tree) String() string { return draw(t.Processes, nil) }

func draw(nodes []node, parent *node) string {
	var texts []string
	for _, n := range nodes {
		text := n.Name
		if parent != nil && (n.ParentID == nil || *n.ParentID != parent.ID) {
			text += "?" // its real parent is another process
		}
		if len(n.Children) > 0 {
			text += "(" + draw(n.Children, &n) + ")"
		}
		texts = append(texts, text)
	}
	return strings.Join(texts, " ")
}

// creation returns an event of a process's creation.
func creation(second int, parent int64, parentName string, pid int64, image string) string {
	return fmt.Sprintf(`{"event_type":"process_creation","timestamp":"2026-11-22T12:00:%02dZ","source":"test","data":{"operation":"create","newProcessId":%d,"imagePath":%q,"commandLine":%q,"metadata":{"processId":%d,"processName":%q}}}`,
		second, pid, image, image+" -x", parent, parentName)
}

func TestProcessTree(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		b := startBackend(t, env)
		id := b.create("a.exe")
		if got := b.tree(id); got.Processes == nil || got.Total != 0 || got.Truncated {
			t.Errorf("without processes: %+v", got)
		}
		for _, event := range []string{
			creation(1, 10, "explorer.exe", 20, "shell.exe"),
			creation(2, 20, "shell.exe", 30, "one.exe"),
			creation(3, 20, "shell.exe", 40, "two.exe"),
			creation(4, 40, "two.exe", 50, "three.exe"),
			creation(5, 10, "explorer.exe", 20, "again.exe"), // the pid is reused
			creation(6, 20, "again.exe", 60, "four.exe"),
			`{"event_type":"file_operation","timestamp":"2026-11-22T12:00:09Z","source":"test","data":{"operation":"read","filePath":"x","metadata":{"processId":30,"processName":"one.exe"}}}`,
			`{"event_type":"file_operation","timestamp":"2026-11-22T12:00:09Z","source":"test","data":{"operation":"read","filePath":"x","metadata":{"processId":99,"processName":"alone.exe"}}}`,
		} {
			if a := b.send("POST", "/api/events?sessionId="+id, event); a.status != http.StatusOK {
				t.Fatalf("%d %s", a.status, a.body)
			}
		}
		got := b.tree(id)
		if want := "explorer.exe(shell.exe(one.exe two.exe(three.exe)) again.exe(four.exe)) alone.exe"; got.String() != want || got.Total != 8 {
			t.Errorf("got %s, %d in all, want %s", got, got.Total, want)
		}
		shell := got.Processes[0].Children[0]
		one := shell.Children[0]
		if shell.PID != 20 || *shell.ParentPID != 10 || *shell.ParentID != got.Processes[0].ID || shell.Image != "shell.exe" || shell.CommandLine != "shell.exe -x" ||
			got.Processes[0].ParentID != nil || got.Processes[0].ParentPID != nil || one.EventCount != 1 || one.EventCounts["file_operation"] != 1 || one.LastSeen != "2026-11-22T12:00:09Z" || one.Children == nil || shell.EventCounts == nil {
			t.Errorf("got %+v", shell)
		}
		again := b.tree(id)
		if again.Processes[0].ID != got.Processes[0].ID {
			t.Error("ids are not stable")
		}
		wantError(t, b.send("GET", "/api/sessions/nobody/processes", ""), http.StatusNotFound, "not_found", "nobody")
	})
}

// TestProcessTreeHasLimits checks that a chain of thousands of processes is returned in
// a form that every JSON reader accepts, and that more than 10,000 processes are
// truncated.
func TestProcessTreeHasLimits(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		b := startBackend(t, env)
		id := b.create("a.exe")
		for first := 0; first < 10_500; first += 1500 {
			var events []string
			for pid := first; pid < first+1500; pid++ {
				events = append(events, creation(1, int64(pid), fmt.Sprint(pid), int64(pid+1), fmt.Sprint(pid+1)))
			}
			// On a busy machine a commit may be slow; the answer is then 202.
			if a := b.send("POST", "/api/events/batch?sessionId="+id, "["+strings.Join(events, ",")+"]"); a.status != http.StatusOK && a.status != http.StatusAccepted {
				t.Fatalf("%d %.300s", a.status, a.body)
			}
		}
		waitForDrain(t, b)
		got := b.tree(id)
		count, deepest := 0, 0
		var walk func(nodes []node, depth int)
		walk = func(nodes []node, depth int) {
			for _, n := range nodes {
				count++
				deepest = max(deepest, depth)
				walk(n.Children, depth+1)
			}
		}
		walk(got.Processes, 1)
		if count != 10_000 || deepest != 500 || got.Total != 10_501 || !got.Truncated {
			t.Errorf("%d processes, %d deep, of %d, truncated %v", count, deepest, got.Total, got.Truncated)
		}
		page := b.treePage(id, "q=10500&limit=1000&offset=10000")
		if last := page.Rows[len(page.Rows)-1]; page.Matching != 1 || page.RowCount != 10_501 || page.Total != 10_501 || len(page.Rows) != 501 || last.Name != "10500" || last.Depth != 10_500 || !last.Matches || page.Rows[499].Matches {
			t.Errorf("the search has %d matching processes in %d rows of %d; the last one is %+v", page.Matching, page.RowCount, page.Total, last)
		}
		if page := b.treePage(id, "limit=1000&around="+page.Rows[500].ID); page.Offset != 10_000 || page.Matching != 10_501 {
			t.Errorf("the last process is on the page after %d rows of %d", page.Offset, page.Matching)
		}
	})
}

// treePage is a page of the process tree.
type treePage struct {
	Rows []struct {
		node
		Depth          int
		HasChildren    bool `json:"has_children"`
		Matches        bool
		SelectedCounts map[string]int64 `json:"selected_counts"`
	}
	Offset    int
	RowCount  int `json:"row_count"`
	Matching  int
	Total     int
	Truncated bool
	UpTo      int64 `json:"up_to"`
}

func (b *backend) treePage(id, query string) (p treePage) {
	b.t.Helper()
	b.decode(b.send("GET", "/api/sessions/"+id+"/process-tree?"+query, ""), http.StatusOK, &p)
	return p
}

// String formats the rows: a dot for each level, + for children, - for an ancestor that does
// not match, and the number of selected events.
func (p treePage) String() string {
	var texts []string
	for _, r := range p.Rows {
		text := strings.Repeat(".", r.Depth) + r.Name
		if r.HasChildren {
			text += "+"
		}
		if !r.Matches {
			text += "-"
		}
		for _, eventType := range slices.Sorted(maps.Keys(r.SelectedCounts)) {
			text += fmt.Sprintf("/%d %s", r.SelectedCounts[eventType], eventType)
		}
		texts = append(texts, text)
	}
	return strings.Join(texts, " ")
}

// TestProcessTreePages checks the search, the filter and the pages of the process tree.
func TestProcessTreePages(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		b := startBackend(t, env)
		id := b.create("a.exe")
		if got := b.treePage(id, ""); got.Rows == nil || got.Total != 0 || got.RowCount != 0 || got.UpTo != 0 {
			t.Errorf("without processes: %+v", got)
		}
		b.sendEvents(id, []string{
			creation(1, 10, "explorer", 20, "shell"),
			creation(2, 20, "shell", 30, `one'%_ÄÖ`),
			creation(3, 20, "shell", 40, "two"),
			creation(4, 40, "two", 50, "three"),
			creation(5, 10, "explorer", 20, "again"), // the pid is used again
			readBy(3, 20, "shell", "/a"),
			readBy(6, 20, "again", "/a"), readBy(7, 20, "again", "/b"), readBy(7, 50, "three", "/b"),
			readBy(9, 99, "alone", "/c"), // its parent is unknown
			`{"event_type":"note","timestamp":"2026-11-22T12:00:07Z","source":"test","data":{}}`,
		})
		one := `one'%_ÄÖ`
		ids := b.treePage(id, "")
		idOf := func(name string) string {
			for _, r := range ids.Rows {
				if r.Name == name {
					return r.ID
				}
			}
			t.Fatal("there is no process ", name)
			return ""
		}
		filter := func(text string) string { return "filter=" + url.QueryEscape(text) }
		for query, want := range map[string]string{
			"":                                "explorer+ .shell+ .." + one + " ..two+ ...three .again alone",
			"limit=2&offset=3":                "..two+ ...three",
			"limit=9&offset=7":                "",
			"closed=" + idOf("shell"):         "explorer+ .shell+ .again alone",
			"limit=3&around=" + idOf("three"): "..two+ ...three .again",
			"limit=1&q=alone&around=" + idOf("three"): "",
			"q=THREE":                          "explorer+- .shell+- ..two+- ...three",
			"q=50+three":                       "explorer+- .shell+- ..two+- ...three",
			"q=three+-x":                       "explorer+- .shell+- ..two+- ...three",
			"q=" + url.QueryEscape(`'%_Ä`):     "explorer+- .shell+- .." + one,
			"q=%25":                            "explorer+- .shell+- .." + one,
			"q=nothing":                        "",
			filter("target = /b"):              "explorer+- .shell+- ..two+- ...three/1 file_operation .again/1 file_operation",
			filter("target = /b") + "&q=again": "explorer+- .again/1 file_operation",
			filter("pid = 20 and type = file_operation"):                              "explorer+- .shell/1 file_operation .again/2 file_operation",
			filter("data.filePath = /a"):                                              "explorer+- .shell/1 file_operation .again/1 file_operation",
			filter(`under("` + idOf("shell") + `") and time >= 2026-11-22T12:00:03Z`): "explorer+- .shell+/1 file_operation/1 process_creation ..two+/1 process_creation ...three/1 file_operation",
			filter("type = note"):                                                     "",
			filter("seq = 10"):                                                        "alone/1 file_operation",
		} {
			if got := b.treePage(id, query).String(); got != want {
				t.Errorf("%q: got %s, want %s", query, got, want)
			}
		}
		if got := b.treePage(id, filter("target = /b")+"&limit=1"); got.Matching != 2 || got.RowCount != 5 || got.Total != 7 || got.UpTo != 11 || got.Truncated {
			t.Errorf("got %+v", got)
		}
		row := b.treePage(id, "q=three").Rows[3]
		if parent := ids.Rows[3]; row.PID != 50 || *row.ParentID != parent.ID || *row.ParentPID != 40 || row.Image != "three" || row.EventCounts["file_operation"] != 1 || row.SelectedCounts != nil {
			t.Errorf("got %+v", row)
		}
		for query, message := range map[string]string{"limit=1001": "limit", "offset=-1": "offset", "offset=x": "offset", "around=x": "around", "closed=1,,2": "closed", "closed=" + strings.Repeat("1,", 500) + "1": "500", "filter=(": "filter", "q=%00": "q must be"} {
			wantError(t, b.send("GET", "/api/sessions/"+id+"/process-tree?"+query, ""), http.StatusBadRequest, "invalid", message)
		}
		wantError(t, b.send("GET", "/api/sessions/nobody/process-tree", ""), http.StatusNotFound, "not_found", "nobody")

		b.sendEvents(id, []string{creation(12, 50, "three", 60, "late")})
		if got := b.treePage(id, "q=late").String(); got != "explorer+- .shell+- ..two+- ...three+- ....late" {
			t.Errorf("then there is %s", got)
		}
	})
}

// TestProcessTreeKnowsWhatRuns checks that processes which run when monitoring starts
// are in the tree before they act.
func TestProcessTreeKnowsWhatRuns(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		agent := newTestAgent(t)
		env["AGENT_SERVICE_URL"] = agent.URL
		b := startBackend(t, env)
		all, chosen, spawned, failed := b.create("a.exe"), b.create("b.exe"), b.create("c.exe"), b.create("d.exe")
		start := func(id string, mode int, processes string) {
			t.Helper()
			if a := b.send("POST", "/api/start-monitor", fmt.Sprintf(`{"sessionId":%q,"mode":%d%s}`, id, mode, processes)); a.status != http.StatusOK {
				t.Fatalf("%d %s", a.status, a.body)
			}
			b.mustStop(id)
		}
		if a := b.send("POST", "/api/events?sessionId="+all, `{"event_type":"file_operation","data":{"metadata":{"processId":2,"processName":"Bash"}}}`); a.status != http.StatusOK {
			t.Fatalf("%d %s", a.status, a.body)
		}
		start(all, 1, "")
		wait.For(t, "the processes of mode 1", func() bool { return b.tree(all).Total == 3 })
		if got := b.tree(all); got.String() != "Bash ash zsh" || got.Processes[0].EventCount != 1 || got.Processes[1].StartKnown || got.Processes[1].EventCount != 0 {
			t.Errorf("got %s: %+v", got, got)
		}
		agent.handle(agentList, hangUp) // its failure has no effect
		start(failed, 1, "")
		wait.For(t, "the failure is logged", func() bool { return strings.Contains(b.log.String(), "processes could not be added") })
		agent.handle(agentList, say(http.StatusOK, "application/json", `[{"name":"one","pid":1},{"name":"two","pid":2},{"name":"again","pid":2},{"name":"se\u0000ven","pid":7},{"name":"three","pid":3}]`))
		start(spawned, 3, "")
		start(chosen, 2, `,"processes":[2,7]`)
		wait.For(t, "the processes of mode 2", func() bool { return b.tree(chosen).Total > 1 })
		if got := b.tree(chosen); got.String() != "again se\ufffdven" || got.Total != 2 {
			t.Errorf("got %s", got)
		}
		if got := b.tree(spawned); got.Total != 0 {
			t.Errorf("got %s for a file that was only starting", got)
		}
		// The events of the chosen process belong to it.
		if a := b.send("POST", "/api/events?sessionId="+all, `{"event_type":"file_operation","data":{"metadata":{"processId":3,"processName":"zsh"}}}`); a.status != http.StatusOK {
			t.Fatalf("%d %s", a.status, a.body)
		}
		if got := b.tree(all); got.Total != 3 || got.String() != "Bash ash zsh" {
			t.Errorf("then it is %s", got)
		}
	})
}
