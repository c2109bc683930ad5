package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"ospulse/test/recording"
	"ospulse/test/wait"
)

type rule struct {
	ID      string `json:"rule_id"`
	Version string `json:"rule_version"`
	Enabled bool
	Source  string
	Path    string
	State   string
	Title   string
	Text    string
}

// opened returns a rule about files that programs open. id may be "".
func opened(id, title, path string) string {
	text := "title: " + title + "\nlevel: high\ntags: [attack.t1003.008]\nlogsource: {product: linux, category: file_access}\ndetection:\n  s: {TargetFilename: " + path + "}\n  condition: s\n"
	if id != "" {
		text = "id: " + id + "\n" + text
	}
	return text
}

const asYAML = "Content-Type: application/yaml"

// createRule creates a user's rule.
func (b *backend) createRule(text string) (r rule) {
	b.t.Helper()
	b.decode(b.send("POST", "/api/rules", text, asYAML), http.StatusCreated, &r)
	return r
}

// enable turns a rule on or off.
func (b *backend) enable(id string, enabled bool) (r rule) {
	b.t.Helper()
	b.decode(b.send("PUT", "/api/rules/"+url.PathEscape(id)+"/enabled", fmt.Sprintf(`{"enabled":%t}`, enabled)), http.StatusOK, &r)
	return r
}

// postEvents stores events in a session.
func (b *backend) postEvents(id string, events ...string) {
	b.t.Helper()
	if a := b.send("POST", "/api/events/batch?sessionId="+id, "["+strings.Join(events, ",")+"]"); a.status != http.StatusOK {
		b.t.Fatalf("%d %s", a.status, a.body)
	}
}

// seqsOf returns the events that a rule found in a session, once all rules are applied.
func (b *backend) seqsOf(session, rule string) []int64 {
	b.t.Helper()
	for _, f := range b.found(session).Findings {
		if f.RuleID == rule {
			return f.Seqs
		}
	}
	return nil
}

// TestRulesOfUsers checks that users create, read, replace and delete rules, turn rules of
// all sources off and on, and that the findings follow, also after a restart.
func TestRulesOfUsers(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		env["DATA_DIR"], env["RULES_DIR"] = t.TempDir(), t.TempDir()
		if err := os.Mkdir(filepath.Join(env["RULES_DIR"], "a %41"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(env["RULES_DIR"], "a %41", "x.yml"), []byte(opened("", "Of a folder", "/etc/issue")), 0o600); err != nil {
			t.Fatal(err)
		}
		b := startBackend(t, env)
		id := b.createSession("a.exe", "MZ")["sessionId"].(string)
		b.postEvents(id, readOf("cat", "/etc/hosts"), readOf("cat", "/etc/shadow"), readOf("cat", "/etc/issue"))
		want := func(rule string, seqs ...int64) {
			t.Helper()
			wait.For(t, fmt.Sprint(rule, " finds ", seqs), func() bool { return slices.Equal(b.seqsOf(id, rule), seqs) })
		}

		hosts := b.createRule(opened("hosts", "Hosts", "/etc/hosts"))
		if hosts.ID != "hosts" || hosts.Source != "user" || hosts.State != "running" || !hosts.Enabled || hosts.Text != opened("hosts", "Hosts", "/etc/hosts") {
			t.Errorf("created %+v", hosts)
		}
		want("hosts", 1)
		b.postEvents(id, readOf("cat", "/etc/hosts"))
		want("hosts", 1, 4)

		// A new text counts for all events. An editor that read an older one is refused.
		var changed rule
		text, _ := json.Marshal(map[string]string{"text": opened("", "Motd", "/etc/motd")})
		b.decode(b.send("PUT", "/api/rules/hosts?rule_version="+hosts.Version, string(text)), http.StatusOK, &changed)
		want("hosts")
		b.postEvents(id, readOf("cat", "/etc/motd"))
		want("hosts", 5)
		wantError(t, b.send("PUT", "/api/rules/hosts?rule_version="+hosts.Version, opened("hosts", "Lost", "/x"), asYAML), http.StatusConflict, "conflict", "changed meanwhile")
		wantError(t, b.send("PUT", "/api/rules/hosts", opened("hosts", "Lost", "/x"), asYAML), http.StatusBadRequest, "invalid", "rule_version is missing")
		wantError(t, b.send("PUT", "/api/rules/hosts?rule_version="+changed.Version, opened("other", "Lost", "/x"), asYAML), http.StatusBadRequest, "invalid", "id is hosts")
		var read rule
		b.decode(b.send("GET", "/api/rules/hosts", ""), http.StatusOK, &read)
		if read != changed || read.Title != "Motd" || read.Text != opened("", "Motd", "/etc/motd") {
			t.Errorf("read %+v, want %+v", read, changed)
		}

		// Rules of all sources can be turned off and on.
		const ofFolder = "RULES_DIR:a %41/x.yml"
		for _, r := range []struct {
			id  string
			seq int64
		}{{"hosts", 5}, {secretRead, 2}, {ofFolder, 3}} {
			want(r.id, r.seq)
			if off := b.enable(r.id, false); off.ID != r.id || off.State != "off" || off.Enabled || off.Text == "" {
				t.Errorf("turned off: %+v", off)
			}
			want(r.id)
		}
		b.stop()
		b = startBackend(t, env)
		for _, r := range []string{"hosts", secretRead, ofFolder} {
			want(r)
		}
		b.enable("hosts", false) // again
		b.enable(secretRead, true)
		want(secretRead, 2)
		b.enable("hosts", true)
		want("hosts", 5)

		// Only rules of users can be changed and deleted.
		wantError(t, b.send("DELETE", "/api/rules/"+secretRead, ""), http.StatusForbidden, "forbidden", "not a user's")
		wantError(t, b.send("PUT", "/api/rules/"+secretRead+"?rule_version=x", opened("", "x", "/x"), asYAML), http.StatusForbidden, "forbidden", "copy")
		wantError(t, b.send("POST", "/api/rules", opened(secretRead, "x", "/x"), asYAML), http.StatusConflict, "conflict", "exists already")
		wantError(t, b.send("POST", "/api/rules", opened("hosts", "x", "/x"), asYAML), http.StatusConflict, "conflict", "exists already")
		wantError(t, b.send("POST", "/api/rules", opened("a/b", "x", "/x"), asYAML), http.StatusBadRequest, "invalid", "id is")
		if a := b.send("DELETE", "/api/rules/hosts", ""); a.status != http.StatusOK {
			t.Errorf("deleted: %d %s", a.status, a.body)
		}
		want("hosts")
		for _, a := range []answer{b.send("DELETE", "/api/rules/hosts", ""), b.send("GET", "/api/rules/hosts", ""), b.send("PUT", "/api/rules/hosts/enabled", `{"enabled":true}`), b.send("PUT", "/api/rules/hosts?rule_version=x", opened("", "x", "/x"), asYAML)} {
			wantError(t, a, http.StatusNotFound, "not_found", "rule")
		}
		if one, other := b.createRule(opened("", "One", "/x")), b.createRule(opened("", "One", "/x")); one.ID == other.ID || one.Version != other.Version {
			t.Errorf("rules without an id: %+v %+v", one, other)
		}
	})
}

// TestBrokenRuleSaysWhere checks the answers to rules that are refused.
func TestBrokenRuleSaysWhere(t *testing.T) {
	t.Parallel()
	b := startBackend(t, nil)
	for name, tt := range map[string]struct {
		text         string
		line, column int
		reason       string
	}{
		"no title":         {"logsource: {product: linux}\n", 1, 1, "the rule has no title"},
		"unknown modifier": {strings.Replace(opened("", "x", "/x"), "TargetFilename", "TargetFilename|near", 1), 6, 7, "unknown modifier |near"},
		"bad level":        {strings.Replace(opened("", "x", "/x"), "high", "huge", 1), 2, 8, "level is"},
		"bad number":       {strings.Replace(opened("", "x", "/x"), "TargetFilename", "data.status|gt", 1), 6, 7, "number"},
		"not YAML":         {"title: x\n\tlevel: y\n", 2, 0, "found a tab character"},
		"too large":        {"title: " + strings.Repeat("x", 300<<10), 0, 0, "at most 262144 are taken"},
		"empty":            {"\n", 0, 0, "the rule is empty"},
	} {
		a := b.send("POST", "/api/rules", tt.text, asYAML)
		wantError(t, a, http.StatusBadRequest, "invalid", tt.reason)
		var fault struct {
			Line, Column int
			Reason       string
		}
		if err := json.Unmarshal(a.body, &fault); err != nil || fault.Line != tt.line || fault.Column != tt.column || !strings.Contains(fault.Reason, tt.reason) {
			t.Errorf("%s: %s", name, a.body)
		}
	}
	wantError(t, b.send("POST", "/api/rules", opened("", "x", "/x"), "Content-Type: text/csv"), http.StatusUnsupportedMediaType, "unsupported_media", "application/json")
	wantError(t, b.send("POST", "/api/rules", `{"rule":"x"}`), http.StatusBadRequest, "invalid", "rule")
	wantError(t, b.send("POST", "/api/rules", `{}`), http.StatusBadRequest, "invalid", "text is missing")
	wantError(t, b.send("POST", "/api/rules", opened("", "\xff", "/x"), asYAML), http.StatusBadRequest, "invalid", "UTF-8")
	wantError(t, b.send("POST", "/api/rules", strings.Repeat(" ", 3<<20), asYAML), http.StatusRequestEntityTooLarge, "too_large", "2 MB")
	for _, method := range []string{"POST /api/rules", "PUT /api/rules/x", "PUT /api/rules/x/enabled", "DELETE /api/rules/x"} {
		verb, path, _ := strings.Cut(method, " ")
		wantError(t, b.send(verb, path, `{}`, "Origin: http://evil.example", "Sec-Fetch-Site: cross-site"), http.StatusForbidden, "forbidden", "CORS_ORIGINS")
	}
	// A rule that needs what no event has is kept, and says so.
	if r := b.createRule(strings.Replace(opened("", "x", "/x"), "TargetFilename", "LogonId", 1)); r.State != "cannot_run" {
		t.Errorf("a rule about logons is %+v", r)
	}
}

// TestRulesOfManyBackends checks that a rule that one backend stores or turns off counts on
// the other, and that of two changes of one version, one wins.
func TestRulesOfManyBackends(t *testing.T) {
	t.Parallel()
	env := databases(t)["postgres"]
	one, other := startBackend(t, env), startBackend(t, env)
	id := one.createSession("a.exe", "MZ")["sessionId"].(string)
	r := one.createRule(opened("hosts", "Hosts", "/etc/hosts"))
	var read rule
	other.decode(other.send("GET", "/api/rules/hosts", ""), http.StatusOK, &read) // at once
	wait.For(t, "the rule on the other backend", func() bool {
		var list struct{ Rules []rule }
		other.decode(other.send("GET", "/api/rules", ""), http.StatusOK, &list)
		return slices.ContainsFunc(list.Rules, func(r rule) bool { return r.ID == "hosts" })
	})
	other.postEvents(id, readOf("cat", "/etc/hosts"), readOf("cat", "/etc/shadow"))
	wait.For(t, "a finding", func() bool { return len(other.seqsOf(id, "hosts")) == 1 && len(one.seqsOf(id, "hosts")) == 1 })
	one.enable(secretRead, false)
	wait.For(t, "its findings to go", func() bool { return other.seqsOf(id, secretRead) == nil && one.seqsOf(id, secretRead) == nil })

	statuses := make(chan int, 8)
	for i := range 8 {
		b := []*backend{one, other}[i%2]
		go func() {
			a, err := b.trySend("PUT", "/api/rules/hosts?rule_version="+r.Version, opened("hosts", fmt.Sprint("Hosts ", i), "/etc/hosts"), asYAML)
			if err != nil {
				t.Error(err)
			}
			statuses <- a.status
		}()
	}
	won := 0
	for range 8 {
		switch status := <-statuses; status {
		case http.StatusOK:
			won++
		case http.StatusConflict:
		default:
			t.Error("a change is answered ", status)
		}
	}
	if won != 1 {
		t.Errorf("%d of 8 changes of one version were stored", won)
	}
}

// TestTrialsFindWhatRulesFind checks that a trial of a rule on recorded events tells what the
// rule then finds, and keeps nothing.
func TestTrialsFindWhatRulesFind(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		b := startBackend(t, env)
		var ids []string
		for _, name := range []string{"shell", "python"} {
			id := b.createSession(name, "MZ")["sessionId"].(string)
			for some := range slices.Chunk(recording.Events(t, name)[:6000], 1000) {
				b.postEvents(id, some...)
			}
			ids = append(ids, id)
		}
		type inSession struct {
			ID     string `json:"session_id"`
			Events int64
			Failed int64 `json:"failed_count"`
			Seqs   []int64
			UpTo   int64 `json:"up_to_seq"`
			Total  int64 `json:"event_count"`
		}
		type trial struct {
			Rule     rule
			Sessions []inSession
			Events   int64 `json:"events_evaluated"`
			Complete bool
		}
		rules := map[string]string{
			"children of sh": "logsource: {product: linux, category: process_creation}\ndetection: {s: {ParentImage|endswith: [sh, /python3]}, condition: s}\n",
			"shared objects": "logsource: {product: linux, category: file_access}\ndetection: {s: {TargetFilename|contains: .so}, n: {TargetFilename|endswith: libc.so.6}, condition: s and not n}\n",
			"nothing":        "logsource: {product: linux, category: file_access}\ndetection: {s: {TargetFilename: /no/such/file}, condition: s}\n",
			"attempts":       "logsource: {product: linux, category: file_access}\ndetection: {s: {data.error: ENOENT}, condition: s}\n",
			"all closes":     "logsource: {product: ospulse}\ndetection: {s: {operation: CloseFile}, condition: s}\n",
		}
		matched := 0
		for title, text := range rules {
			text = "title: " + title + "\n" + text
			var given, newest trial
			body, _ := json.Marshal(map[string]any{"text": text, "session_ids": ids})
			b.decode(b.send("POST", "/api/rules/test", string(body)), http.StatusOK, &given)
			b.decode(b.send("POST", "/api/rules/test", text, asYAML), http.StatusOK, &newest)
			if !given.Complete || given.Events != 12000 || len(given.Sessions) != 2 || given.Rule.Title != title {
				t.Errorf("%s: %+v", title, given)
			}
			created := b.createRule(text)
			for i, s := range given.Sessions {
				if s.ID != ids[i] || s.UpTo != 6000 || s.Total != 6000 {
					t.Errorf("%s: session %+v", title, s)
				}
				if !slices.ContainsFunc(newest.Sessions, func(other inSession) bool { return reflect.DeepEqual(other, s) }) {
					t.Errorf("%s: without session_ids: %+v", title, newest)
				}
				var events, failed int64
				var seqs []int64
				wait.For(t, "the rule is applied", func() bool {
					// The rules are read before the answer, and applied after it.
					var list findings
					b.decode(b.send("GET", "/api/sessions/"+s.ID+"/findings", ""), http.StatusOK, &list)
					events, failed, seqs = 0, 0, nil
					for _, f := range list.Findings {
						if f.RuleID == created.ID {
							events, failed, seqs = f.Events, f.Failed, f.Seqs
						}
					}
					return list.UpTo == list.Total && (events > 0 || s.Events == 0)
				})
				if events != s.Events || failed != s.Failed || !slices.Equal(seqs[:min(len(seqs), 100)], s.Seqs) && events > 0 {
					t.Errorf("%s: the trial found %d, %d failed %v, the rule %d, %d failed %v", title, s.Events, s.Failed, s.Seqs, events, failed, seqs)
				}
				if title == "attempts" && (failed == 0 || failed != events) {
					t.Errorf("%d of %d attempts failed", failed, events)
				}
				if events > 0 {
					matched++
				}
			}
		}
		if matched < 5 {
			t.Errorf("the rules match in %d sessions only", matched)
		}
		var list struct{ Rules []rule }
		b.decode(b.send("GET", "/api/rules", ""), http.StatusOK, &list)
		if n := len(slices.DeleteFunc(list.Rules, func(r rule) bool { return r.Source != "user" })); n != len(rules) {
			t.Errorf("%d rules of users are stored", n)
		}
		wantError(t, b.send("POST", "/api/rules/test", "title: x\n", asYAML), http.StatusBadRequest, "invalid", "line 1: the rule has no logsource")
		wantError(t, b.send("POST", "/api/rules/test", `{"text":"title: x","session_ids":5}`), http.StatusBadRequest, "invalid", "session_ids")
		wantError(t, b.send("GET", "/api/rules/test", ""), http.StatusNotFound, "not_found", "rule")
		body, _ := json.Marshal(map[string]any{"text": opened("", "x", "/x"), "session_ids": []string{"none"}})
		wantError(t, b.send("POST", "/api/rules/test", string(body)), http.StatusNotFound, "not_found", "session none")
		var idle trial
		b.decode(b.send("POST", "/api/rules/test", strings.Replace(opened("", "x", "/x"), "TargetFilename", "LogonId", 1), asYAML), http.StatusOK, &idle)
		if idle.Rule.State != "cannot_run" || len(idle.Sessions) != 0 || idle.Events != 0 {
			t.Errorf("a rule that cannot run: %+v", idle)
		}
	})
}

type listedFinding struct {
	SessionID   string `json:"session_id"`
	SessionName string `json:"session_name"`
	FileName    string `json:"file_name"`
	RuleID      string `json:"rule_id"`
	Level       string
	FirstAt     string `json:"first_at"`
	Events      int64
}

// listFindings returns all findings that a query selects, read in pages of a limit.
func (b *backend) listFindings(query string, limit int) (all []listedFinding) {
	b.t.Helper()
	for cursor, more := "", true; more; {
		var page struct {
			Findings   []listedFinding
			NextCursor *string `json:"next_cursor"`
		}
		b.decode(b.send("GET", fmt.Sprintf("/api/findings?limit=%d&cursor=%s&%s", limit, cursor, query), ""), http.StatusOK, &page)
		if all = append(all, page.Findings...); page.NextCursor != nil {
			cursor = *page.NextCursor
		}
		more = page.NextCursor != nil
	}
	return all
}

// findingCounts are the findings of a session as lists of sessions show them.
type findingCounts struct {
	Version                                    int64
	Highest                                    *string
	Informational, Low, Medium, High, Critical int64
}

// TestFindingsOfAllSessions checks the order, the pages and the filters of the list of all
// findings, and the counts in the sessions.
func TestFindingsOfAllSessions(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		b := startBackend(t, env)
		b.createRule(strings.NewReplacer("high", "critical", "attack.t1003.008", "attack.T1059").Replace(opened("crit", "Crit", "/c")))
		b.createRule(strings.NewReplacer("high", "low", "attack.t1003.008", "attack.t10591, team.blue").Replace(opened("low", "Low", "/l")))
		at := func(minute int, path string) string {
			return strings.Replace(readOf("cat", path), "18:57:39Z", fmt.Sprintf("18:%02d:39.123456Z", minute), 1)
		}
		var ids []string
		for i := range 6 {
			id := b.createSession(fmt.Sprintf("%d.exe", i), "MZ")["sessionId"].(string)
			ids = append(ids, id)
			b.postEvents(id, at(10+i, "/etc/shadow"), at(20, "/c"), at(i, "/l"), at(30, "/l"))
		}
		for _, id := range ids {
			wait.For(t, "the findings", func() bool { return len(b.found(id).Findings) == 3 })
		}
		key := func(f listedFinding) string { return f.Level + " " + f.FirstAt + " " + f.FileName }
		var want []string
		sorted := slices.Clone(ids)
		slices.Sort(sorted)
		for _, id := range slices.Backward(sorted) { // of the same moment
			want = append(want, fmt.Sprintf("critical 2026-11-22T18:20:39.123456Z %d.exe", slices.Index(ids, id)))
		}
		for i := range slices.Backward(ids) {
			want = append(want, fmt.Sprintf("high 2026-11-22T18:%d:39.123456Z %d.exe", 10+i, i))
		}
		for i := range slices.Backward(ids) {
			want = append(want, fmt.Sprintf("low 2026-11-22T18:0%d:39.123456Z %d.exe", i, i))
		}
		for _, limit := range []int{1, 4, 5, 500} {
			var got []string
			for _, f := range b.listFindings("", limit) {
				got = append(got, key(f))
			}
			if !slices.Equal(got, want) {
				t.Errorf("in pages of %d: %v\nwant %v", limit, got, want)
			}
		}
		for query, n := range map[string]int{
			"level=critical": 6, "level=high": 12, "level=informational": 18, "technique=T1059": 6, "technique=t1003": 6, "technique=T1003.008": 6, "technique=T1003.001": 0,
			"tag=team.blue": 6, "tag=ATTACK.t1059": 6, "tag=attack": 0, "rule=low": 6, "rule=low&level=high": 0, "session=" + ids[2]: 3, "session=none": 0, "session=" + ids[2] + "&rule=crit": 1,
		} {
			if got := b.listFindings(query, 4); len(got) != n {
				t.Errorf("%s selects %d findings, want %d: %+v", query, len(got), n, got)
			}
		}
		for query, words := range map[string]string{"level=huge": "level must be", "technique=1059": "technique must be", "limit=0": "limit must be", "cursor=x": "next_cursor", "tag=%00": "tag must be"} {
			wantError(t, b.send("GET", "/api/findings?"+query, ""), http.StatusBadRequest, "invalid", words)
		}

		counts := func(id string) findingCounts {
			t.Helper()
			var one, listed struct {
				ID       string
				Findings findingCounts
			}
			wait.For(t, "the same counts in the session and the list", func() bool { // they are two moments
				var list struct {
					Sessions []struct {
						ID       string
						Findings findingCounts
					}
				}
				b.decode(b.send("GET", "/api/sessions/"+id, ""), http.StatusOK, &one)
				b.decode(b.send("GET", "/api/sessions", ""), http.StatusOK, &list)
				for _, s := range list.Sessions {
					if s.ID == id {
						listed = s
					}
				}
				return reflect.DeepEqual(one, listed)
			})
			return one.Findings
		}
		before := counts(ids[0])
		if before.Version == 0 || before.Highest == nil || *before.Highest != "critical" || before.Critical != 1 || before.High != 1 || before.Low != 1 || before.Medium != 0 {
			t.Errorf("the counts are %+v", before)
		}
		b.enable("crit", false)
		wait.For(t, "the critical finding to go", func() bool { return counts(ids[0]).Critical == 0 })
		if after := counts(ids[0]); *after.Highest != "high" || after.High != 1 || after.Low != 1 || after.Version <= before.Version {
			t.Errorf("the counts are %+v", after)
		}
		if none := counts("unassigned"); none != (findingCounts{}) {
			t.Errorf("a session without events has %+v", none)
		}
		b.send("DELETE", "/api/sessions/"+ids[1], "")
		if left := b.listFindings("", 500); len(left) != 10 {
			t.Errorf("after the deletion of a session and a rule there are %d findings", len(left))
		}
	})
}

// TestStreamsTellFindings checks that both streams, also of another backend, tell that the
// findings of a session changed, with the counts and without an id.
func TestStreamsTellFindings(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		here, there := twoBackends(t, env)
		id := here.createSession("a.exe", "MZ")["sessionId"].(string)
		here.postEvents(id, readOf("cat", "/etc/hosts"))
		here.found(id)
		streams := map[string]*stream{}
		for name, b := range map[string]*backend{"here": here, "there": there} {
			streams[name+" one"] = b.stream("/api/sessions/" + id + "/stream?after=0")
			streams[name+" all"] = b.stream("/api/stream")
			streams[name+" one"].wantSeqs(t, 1, 1)
			streams[name+" all"].want(t, "ready")
		}
		version := int64(0)
		told := func(high int64) {
			t.Helper()
			newest := version
			for name, s := range streams {
				for {
					m, err := s.next()
					if err != nil {
						t.Fatal(name, err)
					}
					if m.event != "findings" {
						continue
					}
					var message struct {
						ID       string
						Findings findingCounts
					}
					if err := json.Unmarshal([]byte(m.data), &message); err != nil || message.ID != id || strings.HasSuffix(name, "all") && m.lastEventID != "" {
						t.Errorf("%s: %+v, %v", name, m, err)
					}
					if message.Findings.High == high && message.Findings.Version > version {
						newest = max(newest, message.Findings.Version)
						break
					}
				}
			}
			version = newest
		}
		here.postEvents(id, readOf("cat", "/etc/shadow"))
		told(1)
		here.enable(secretRead, false)
		told(0)
		// The id of the last message is still that of the last event.
		here.postEvents(id, readOf("cat", "/etc/hosts"))
		for name, s := range streams {
			if strings.HasSuffix(name, "all") {
				continue
			}
			for {
				m, err := s.next()
				if err != nil {
					t.Fatal(name, err)
				}
				if m.event == "findings" && m.lastEventID != "2" {
					t.Errorf("%s: a message about findings has the id %s", name, m.lastEventID)
				}
				if events, err := m.events(); err == nil && events[0].Seq == 3 {
					break
				}
			}
		}
	})
}

// TestTooManyRules checks that the number of users' rules is limited, that as many as there may
// be are applied, and that a deletion makes room.
func TestTooManyRules(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		env["DATA_DIR"] = t.TempDir()
		startBackend(t, env).stop()
		execute(t, openDatabase(t, env), "INSERT INTO user_rules (id, text, version, size_bytes, created_at, updated_at) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)"+
			" SELECT 'r' || i, 'title: Rule ' || i || '\nlogsource: {product: linux, category: file_access}\ndetection: {s: {TargetFilename|endswith: /etc/file' || i || '}, condition: s}\n', 'v' || i, 100, CURRENT_TIMESTAMP, CURRENT_TIMESTAMP FROM n")
		b := startBackend(t, env)
		wantError(t, b.send("POST", "/api/rules", opened("more", "x", "/x"), asYAML), http.StatusConflict, "conflict", "5000 rules")
		id := b.createSession("a.exe", "MZ")["sessionId"].(string)
		b.postEvents(id, readOf("cat", "/etc/file4711"), readOf("cat", "/etc/file1"))
		if a, c := b.seqsOf(id, "r4711"), b.seqsOf(id, "r1"); !slices.Equal(a, []int64{1}) || !slices.Equal(c, []int64{2}) {
			t.Errorf("found %v and %v", a, c)
		}
		if a := b.send("DELETE", "/api/rules/r4711", ""); a.status != http.StatusOK {
			t.Errorf("%d %s", a.status, a.body)
		}
		b.createRule(opened("more", "x", "/x"))
		wantError(t, b.send("POST", "/api/rules", opened("most", "x", "/x"), asYAML), http.StatusConflict, "conflict", "5000 rules")
	})
}
