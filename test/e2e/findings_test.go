package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"ospulse/internal/models"
	"ospulse/test/recording"
	"ospulse/test/wait"
)

type findings struct {
	Findings []struct {
		RuleID          string `json:"rule_id"`
		Title           string
		Level           string
		Author, License string
		IsImported      bool `json:"imported"`
		Tags            []string
		Techniques      []struct {
			ID, Name string
			TaggedAs *string `json:"tagged_as"`
			Tactics  []string
		}
		Events  int64
		Failed  int64   `json:"failed_count"`
		Root    *string `json:"root_path"`
		Seqs    []int64
		PID     int64
		Process string `json:"process_name"`
		Target  string
	}
	UpTo  int64 `json:"up_to_seq"`
	Total int64 `json:"event_count"`
}

const secretRead = "5f0f7c0e-2d0e-4b57-9a0c-6c6a4c1d0a01"

// readOf is the event of a program that opens a file.
func readOf(program, path string) string {
	return fmt.Sprintf(`{"event_type":"file_operation","timestamp":"2026-11-22T18:57:39Z","source":"os-pulse-agent","data":{"operation":"OpenFile","filePath":%q,"status":3,"metadata":{"processName":%q,"processId":7}}}`, path, program)
}

// found returns the findings of a session once the rules have been applied to all events.
func (b *backend) found(id string) (list findings) {
	b.t.Helper()
	wait.For(b.t, "the rules are applied", func() bool {
		b.decode(b.send("GET", "/api/sessions/"+id+"/findings", ""), http.StatusOK, &list)
		return list.UpTo == list.Total
	})
	return list
}

// secrets returns the seqs of the finding about secret files, and how many events it has.
func (list findings) secrets() (seqs []int64, events int64) {
	for _, f := range list.Findings {
		if f.RuleID == secretRead {
			return f.Seqs, f.Events
		}
	}
	return nil, 0
}

// TestFindings checks that events are found when they arrive, once each, and after a restart
// too; that more than MaxFindingSeqs are counted; and that findings go with their session.
func TestFindings(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		env["DATA_DIR"] = t.TempDir()
		b := startBackend(t, env)
		id := b.createSession("a.exe", "MZ")["sessionId"].(string)
		post := func(events ...string) {
			t.Helper()
			if a := b.send("POST", "/api/events/batch?sessionId="+id, "["+strings.Join(events, ",")+"]"); a.status != http.StatusOK {
				t.Fatalf("%d %s", a.status, a.body)
			}
		}
		if list := b.found(id); len(list.Findings) > 0 || list.Total != 0 {
			t.Errorf("a session without events has %+v", list)
		}
		post(readOf("cat", "/etc/hosts"), readOf("cat", "/etc/shadow"), readOf("sudo", "/etc/shadow"))
		list := b.found(id)
		if seqs, n := list.secrets(); n != 1 || !slices.Equal(seqs, []int64{2}) {
			t.Errorf("after the first events: %+v", list)
		}
		f := list.Findings[0]
		if f.Level != "high" || f.PID != 7 || f.Process != "cat" || f.Target != "/etc/shadow" || !slices.Contains(f.Tags, "attack.t1003.008") {
			t.Errorf("the finding is %+v", f)
		}
		post(readOf("cat", "/etc/gshadow"))
		if seqs, n := b.found(id).secrets(); n != 2 || !slices.Equal(seqs, []int64{2, 4}) {
			t.Errorf("after more events: %v %d", seqs, n)
		}
		b.stop()

		b = startBackend(t, env)
		many := make([]string, models.MaxFindingSeqs)
		for i := range many {
			many[i] = readOf("cat", "/etc/shadow")
		}
		post(many...)
		seqs, n := b.found(id).secrets()
		if n != 2+models.MaxFindingSeqs || len(seqs) != models.MaxFindingSeqs || seqs[2] != 5 {
			t.Errorf("%d events are counted, %d named", n, len(seqs))
		}

		// What is stored is a function of the events: another run over them finds the same.
		b.stop()
		execute(t, openDatabase(t, env), "UPDATE detections SET rules = 'old'")
		b = startBackend(t, env)
		if again, m := b.found(id).secrets(); m != n || !slices.Equal(again, seqs) {
			t.Errorf("other rules were applied: %d events, then %d", n, m)
		}
		b.send("DELETE", "/api/sessions/"+id, "")
		wait.For(t, "the session is deleted", func() bool {
			var left int
			err := openDatabase(t, env).QueryRowContext(t.Context(), "SELECT COUNT(*) FROM findings").Scan(&left)
			return err == nil && left == 0
		})
		if a := b.send("GET", "/api/sessions/"+id+"/findings", ""); a.status != http.StatusNotFound {
			t.Errorf("the findings of a deleted session are answered %d", a.status)
		}
	})
}

// TestFindingOfAttempts checks that a finding says how many of its events failed, everywhere
// where findings are told: in a recording in which the password hashes are refused, in a bundle
// of it, and after an event that did not fail.
func TestFindingOfAttempts(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		r := newReceiver(t)
		env["DATA_DIR"] = t.TempDir()
		b := startBackend(t, r.settings(env))
		id := b.createSession("dropper", "MZ")["sessionId"].(string)
		for some := range slices.Chunk(recording.Hostile(t, "dropper"), 1000) {
			b.postEvents(id, some...)
		}
		told := func(b *backend, id string) (all []string) {
			t.Helper()
			for _, f := range b.found(id).Findings {
				all = append(all, fmt.Sprint(f.Title, ": ", f.Failed, " of ", f.Events))
			}
			var list findings
			b.decode(b.send("GET", "/api/findings?session="+id, ""), http.StatusOK, &list)
			s := b.story(id)
			for _, f := range list.Findings {
				if one := fmt.Sprint(f.Title, ": ", f.Failed, " of ", f.Events); !slices.Contains(all, one) {
					t.Errorf("only the list of all findings says %s", one)
				}
			}
			for _, f := range s.Findings {
				if one := fmt.Sprint(f.Title, ": ", f.Failed, " of ", f.Events); !slices.Contains(all, one) {
					t.Errorf("only the story says %s", one)
				}
			}
			if len(list.Findings) != len(all) || len(s.Findings) != len(all) {
				t.Errorf("%d findings, %d in the list, %d in the story", len(all), len(list.Findings), len(s.Findings))
			}
			return all
		}
		const tried = "A program read the password hashes: 1 of 1"
		before := told(b, id)
		failed := slices.DeleteFunc(slices.Clone(before), func(one string) bool { return strings.Contains(one, ": 0 of ") })
		if !slices.Equal(failed, []string{tried}) {
			t.Errorf("of all findings %q, these have events that failed: %q", before, failed)
		}
		wait.For(t, "the webhook has the attempt", func() bool {
			return slices.ContainsFunc(r.got(), func(p posted) bool { return p.Rule.ID == secretRead && p.Failed == 1 && p.Events == 1 })
		})

		bundle := b.exportAs(t, id, "format=bundle").body
		if !strings.Contains(unzip(t, bundle)["findings.ndjson"], `"events":1,"failed_count":1,`) {
			t.Errorf("the bundle has %s", unzip(t, bundle)["findings.ndjson"])
		}
		other := startBackend(t, map[string]string{"DATA_DIR": t.TempDir()})
		other.enable(secretRead, false)
		other.importBundle(bundle, "")
		if got := told(other, id); !slices.Equal(got, before) {
			t.Errorf("the import has %q, want %q", got, before)
		}

		b.postEvents(id, readOf("cat", "/etc/shadow"), strings.Replace(readOf("cat", "/etc/gshadow"), `"status":3`, `"status":-1`, 1))
		if got := told(b, id); !slices.Contains(got, "A program read the password hashes: 2 of 3") {
			t.Errorf("after more events: %q", got)
		}
		// Another run over the events finds the same.
		b.stop()
		execute(t, openDatabase(t, env), "UPDATE detections SET rules = 'old'")
		b = startBackend(t, env)
		if got := told(b, id); !slices.Contains(got, "A program read the password hashes: 2 of 3") {
			t.Errorf("after another run: %q", got)
		}
	})
}

// TestKilledWhileFindingCountsOnce kills the backend while it applies the rules, several
// times, and checks that each event is found once in the end.
func TestKilledWhileFindingCountsOnce(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		env["DATA_DIR"] = t.TempDir()
		some := make([]string, 300)
		for i := range some {
			some[i] = readOf("cat", "/etc/shadow")
		}
		body, id := "["+strings.Join(some, ",")+"]", ""
		for round := range 5 {
			p := command(t, env)
			p.start(t)
			b := &backend{t: t, url: p.url}
			if round == 0 {
				id = b.createSession("a.exe", "MZ")["sessionId"].(string)
			}
			if a := b.send("POST", "/api/events/batch?sessionId="+id, body); a.status != http.StatusOK {
				t.Fatalf("%d %s", a.status, a.body)
			}
			<-time.After(time.Duration(round) * 40 * time.Millisecond) // another moment of the evaluation each time
			_ = p.Process.Kill()
			_ = p.Wait()
		}
		b := startBackend(t, env)
		if seqs, n := b.found(id).secrets(); n != 1500 || len(seqs) != models.MaxFindingSeqs || seqs[999] != 1000 {
			t.Errorf("%d events are counted, %d named", n, len(seqs))
		}
	})
}

// TestFindingsOfManyBackends checks that two backends on one database find each event once.
func TestFindingsOfManyBackends(t *testing.T) {
	t.Parallel()
	env := databases(t)["postgres"]
	one, other := startBackend(t, env), startBackend(t, env)
	id := one.createSession("a.exe", "MZ")["sessionId"].(string)
	for i := range 40 {
		b := one
		if i%2 == 1 {
			b = other
		}
		if a := b.send("POST", "/api/events/batch?sessionId="+id, "["+readOf("cat", "/etc/shadow")+"]"); a.status != http.StatusOK {
			t.Fatalf("%d %s", a.status, a.body)
		}
	}
	for _, b := range []*backend{one, other} {
		if seqs, n := b.found(id).secrets(); n != 40 || len(seqs) != 40 || !slices.IsSorted(seqs) || seqs[39] != 40 {
			t.Errorf("%d events are counted: %v", n, seqs)
		}
	}
}

// TestFindingsAreTheSame checks that what is found live, in batches of any size and while
// events are sealed, is what is found in the stored events.
func TestFindingsAreTheSame(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		env["DATA_DIR"] = t.TempDir()
		b := startBackend(t, env)
		id := b.createSession("a.exe", "MZ")["sessionId"].(string)
		seed := uint64(time.Now().UnixNano())
		t.Log("seed", seed)
		random := rand.New(rand.NewPCG(seed, 0))
		rest := recording.Events(t, "shell")[:5000]
		for i := 7; i < len(rest); i += 97 {
			rest[i] = readOf("cat", "/etc/shadow")
		}
		for len(rest) > 0 {
			n := min(len(rest), 1+random.IntN(900))
			if a := b.send("POST", "/api/events/batch?sessionId="+id, "["+strings.Join(rest[:n], ",")+"]"); a.status != http.StatusOK {
				t.Fatalf("%d %s", a.status, a.body)
			}
			rest = rest[n:]
			if random.IntN(4) == 0 {
				b.found(id)
			}
		}
		live := b.found(id)
		b.stop()
		execute(t, openDatabase(t, env), "UPDATE detections SET rules = 'old'")
		b = startBackend(t, env)
		if stored := b.found(id); len(live.Findings) == 0 || !reflect.DeepEqual(stored, live) {
			t.Errorf("live: %+v\nstored: %+v", live, stored)
		}
	})
}

// TestRulesDir checks that rules of a folder are applied beside those of the program, that a
// changed, a new and a broken file count within seconds, and that the rules stay if the folder
// is gone.
func TestRulesDir(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, title, path string) {
		t.Helper()
		text := "title: " + title + "\nid: " + name + "\nauthor: A. Person\nlicense: DRL 1.1\nlogsource: {product: linux, category: file_access}\ndetection: {s: {TargetFilename: " + path + "}, condition: s}\n"
		if err := os.WriteFile(filepath.Join(dir, name+".yml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("hosts", "Hosts", "/etc/hosts")
	b := startBackend(t, map[string]string{"RULES_DIR": dir})
	id := b.createSession("a.exe", "MZ")["sessionId"].(string)
	if a := b.send("POST", "/api/events/batch?sessionId="+id, "["+readOf("cat", "/etc/hosts")+","+readOf("cat", "/etc/issue")+","+readOf("cat", "/etc/shadow")+"]"); a.status != http.StatusOK {
		t.Fatalf("%d %s", a.status, a.body)
	}
	titles := func() (all []string) {
		for _, f := range b.found(id).Findings {
			all = append(all, f.Title)
		}
		return all
	}
	has := func(what string, title string) {
		t.Helper()
		wait.For(t, what, func() bool { return slices.Contains(titles(), title) })
	}
	has("a rule of the folder", "Hosts")
	has("a rule of the program", "A program read the password hashes")

	write("issue", "Issue", "/etc/issue")
	if err := os.WriteFile(filepath.Join(dir, "broken.yml"), []byte("title: x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	has("a new rule", "Issue")
	write("hosts", "Names of hosts", "/etc/hosts")
	has("a changed rule", "Names of hosts")
	if slices.Contains(titles(), "Hosts") {
		t.Error("the old rule's finding is left")
	}
	var list struct {
		Rules []struct {
			ID     string `json:"rule_id"`
			Source string
			Path   string
			State  string
			Error  *string
			Author string
		}
	}
	b.decode(b.send("GET", "/api/rules", ""), http.StatusOK, &list)
	states := map[string]string{}
	for _, r := range list.Rules {
		if states[r.Source+" "+r.Path] = r.State; r.State == "broken" && (r.Error == nil || !strings.Contains(*r.Error, "line 1: the rule has no logsource")) {
			t.Errorf("the broken rule says %v", r.Error)
		}
	}
	if states["RULES_DIR hosts.yml"] != "running" || states["RULES_DIR broken.yml"] != "broken" || states["OS-Pulse linux/secret_files_read.yml"] != "running" {
		t.Errorf("the rules are %v", states)
	}

	// The values of placeholders count for rules of the folder and of users, and when they change.
	const needs = "title: Needs\nid: needs\nlogsource: {product: linux, category: file_access}\ndetection: {s: {TargetFilename|expand: '%files%'}, condition: s}\n"
	users := strings.Replace(strings.Replace(needs, "Needs", "Users", 1), "id: needs", "id: users", 1)
	if a := b.send("POST", "/api/rules", users, "Content-Type: application/yaml"); a.status != http.StatusCreated || !strings.Contains(string(a.body), "the values of %files%") {
		t.Errorf("a rule without its values: %d %s", a.status, a.body)
	}
	for name, text := range map[string]string{"needs.yml": needs, "placeholders.yml": "files: [/etc/none, /etc/issue]\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	has("a rule with a placeholder", "Needs")
	has("a user's rule with a placeholder", "Users")
	if err := os.WriteFile(filepath.Join(dir, "placeholders.yml"), []byte("files: [/etc/none]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	wait.For(t, "other values", func() bool { return !slices.Contains(titles(), "Needs") && !slices.Contains(titles(), "Users") })

	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	wait.For(t, "a warning", func() bool { return strings.Contains(b.log.String(), "the old ones stay") })
	has("the old rules", "Names of hosts")
	b.stop()
	p := command(t, map[string]string{"DATA_DIR": t.TempDir(), "PORT": "0", "RULES_DIR": dir})
	if err := p.Run(); err == nil || !strings.Contains(p.stderr.String(), "the folder of RULES_DIR cannot be read: open "+dir) {
		t.Errorf("a start without the folder: %v %s", err, p.stderr.String())
	}
}

// TestFindingsInAnotherRoot checks that findings say that all of their processes have another
// root directory than the agent, in the answers of the API and after a restart. Once an event
// of a process with the machine's root matches, they no longer do.
func TestFindingsInAnotherRoot(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		env["DATA_DIR"] = t.TempDir()
		b := startBackend(t, env)
		id := b.createSession("a.sh", "MZ")["sessionId"].(string)
		post := func(event string) {
			t.Helper()
			if a := b.send("POST", "/api/events?sessionId="+id, event); a.status != http.StatusOK {
				t.Fatalf("%d %s", a.status, a.body)
			}
		}
		jailed := func(root string) string {
			return strings.Replace(readOf("cat", "/etc/shadow"), `"processId"`, fmt.Sprintf(`"rootPath":%q,"mountNamespace":4026531841,"processId"`, root), 1)
		}
		root := func() string {
			t.Helper()
			listed := b.found(id).Findings
			var all findings
			b.decode(b.send("GET", "/api/findings?session="+id, ""), http.StatusOK, &all)
			told := b.story(id)
			if len(listed) != 1 || len(all.Findings) != 1 || len(told.Findings) != 1 {
				t.Fatalf("the findings are %+v, %+v, %+v", listed, all, told)
			}
			text := func(root *string) string {
				if root == nil {
					return ""
				}
				return *root
			}
			if text(all.Findings[0].Root) != text(listed[0].Root) || text(told.Findings[0].Root) != text(listed[0].Root) {
				t.Errorf("the roots are %+v, %+v, %+v", listed, all, told)
			}
			return text(listed[0].Root)
		}
		post(jailed("/srv/jail"))
		if got := root(); got != "/srv/jail" {
			t.Errorf("the root is %q", got)
		}
		b.stop()
		b = startBackend(t, env)
		post(jailed("/"))
		if got := root(); got != "/srv/jail" {
			t.Errorf("after another container: %q", got)
		}
		post(readOf("cat", "/etc/shadow"))
		post(jailed("/srv/jail"))
		if got := root(); got != "" {
			t.Errorf("after the machine's own file: %q", got)
		}
	})
}

// TestSessionsByFindings checks that sessions are listed by the highest level of their findings,
// page by page, and that a level selects those with such a finding or a more severe one.
func TestSessionsByFindings(t *testing.T) {
	folder := t.TempDir()
	for _, level := range models.FindingLevels {
		rule := "title: " + level + "\nlevel: " + level + "\nlogsource: {product: ospulse}\ndetection: {s: {target: /" + level + "}, condition: s}\n"
		if err := os.WriteFile(filepath.Join(folder, level+".yml"), []byte(rule), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		env["DATA_DIR"], env["RULES_DIR"] = t.TempDir(), folder
		b := startBackend(t, env)
		found := []string{"low", "", "critical informational", "high", "low high", "informational", "medium low"}
		ids := make([]string, len(found))
		for i, levels := range found {
			ids[i] = b.create(fmt.Sprint(i, ".sh"))
			for level := range strings.FieldsSeq(levels) {
				if a := b.send("POST", "/api/events?sessionId="+ids[i], readOf("cat", "/"+level)); a.status != http.StatusOK {
					t.Fatalf("%d %s", a.status, a.body)
				}
			}
			b.found(ids[i])
		}
		names := func(query string) (got string) {
			for cursor := ""; ; {
				sessions, next := b.list(query + "&limit=2&cursor=" + cursor)
				for _, s := range sessions {
					if i := slices.Index(ids, s.ID); i >= 0 {
						got += fmt.Sprint(i)
					}
				}
				if next == nil {
					return got
				}
				cursor = *next
			}
		}
		for query, want := range map[string]string{
			"sort=findings": "2436051", "sort=created": "6543210", "level=high": "432", "level=low&sort=findings": "24360", "level=critical": "2", "level=informational": "654320", "level=medium&sort=findings&q=4.sh": "4",
		} {
			if got := names(query); got != want {
				t.Errorf("%s lists %s, want %s", query, got, want)
			}
		}
		_, next := b.list("limit=1&sort=findings")
		_, newest := b.list("limit=1")
		for _, query := range []string{"level=none", "sort=name", "cursor=" + *next, "cursor=" + *newest + "&sort=findings"} {
			wantError(t, b.send("GET", "/api/sessions?"+query, ""), http.StatusBadRequest, "invalid", strings.Split(query, "=")[0])
		}
	})
}

// TestAttack checks that the findings of a session name their techniques, also those that
// newer versions of ATT&CK replaced, and the matrix and the layer made of them.
func TestAttack(t *testing.T) {
	folder := t.TempDir()
	rule := "title: Tools off\nid: 00000000-0000-4000-8000-000000000001\nlevel: medium\ntags: [attack.defense-evasion, attack.t1562.001, attack.t9999]\nlogsource: {product: ospulse}\ndetection:\n  s: {target: /etc/gshadow}\n  condition: s\n"
	if err := os.WriteFile(filepath.Join(folder, "a.yml"), []byte(rule), 0o600); err != nil {
		t.Fatal(err)
	}
	b := startBackend(t, map[string]string{"RULES_DIR": folder})
	id := b.createSession("a.exe", "MZ")["sessionId"].(string)
	if a := b.send("POST", "/api/events/batch?sessionId="+id, "["+readOf("cat", "/etc/shadow")+","+readOf("cat", "/etc/gshadow")+"]"); a.status != http.StatusOK {
		t.Fatalf("%d %s", a.status, a.body)
	}
	var names []string
	for _, f := range b.found(id).Findings {
		for _, one := range f.Techniques {
			names = append(names, fmt.Sprint(f.Level, " ", one.ID, " ", one.Name, " ", one.TaggedAs != nil, one.Tactics))
		}
	}
	if want := []string{"high T1003.008 /etc/passwd and /etc/shadow false [credential-access]", "medium T1685 Disable or Modify Tools true [defense-impairment]", "medium T9999  false [defense-impairment]"}; !slices.Equal(names, want) {
		t.Errorf("the techniques are %q", names)
	}
	var matrix struct {
		Version string `json:"attack_version"`
		Tactics []struct {
			Name, Level      string
			Findings, Events int
			Techniques       []struct {
				ID, State, Level string
				Events           int
			}
		}
		UpTo int64 `json:"up_to_seq"`
	}
	b.decode(b.send("GET", "/api/sessions/"+id+"/attack", ""), http.StatusOK, &matrix)
	var got []string
	for _, tactic := range matrix.Tactics {
		if tactic.Findings > 0 {
			got = append(got, fmt.Sprint(tactic.Name, " ", tactic.Findings, tactic.Events, " ", tactic.Level, tactic.Techniques))
		}
	}
	if want := []string{"Defense Impairment 1 1 medium[{T1685 current medium 1} {T9999 unknown medium 1}]", "Credential Access 1 2 high[{T1003.008 current high 2}]"}; !slices.Equal(got, want) || matrix.Version != "19.2" || len(matrix.Tactics) != 15 || matrix.UpTo != 2 {
		t.Errorf("the matrix is %+v: %q", matrix, got)
	}
	var listed struct{ Findings []struct{ Title string } }
	a := b.send("GET", "/api/sessions/"+id+"/attack?format=navigator", "")
	var layer struct {
		Description string
		Techniques  []struct {
			ID    string `json:"techniqueID"`
			Score int
		}
	}
	b.decode(a, http.StatusOK, &layer)
	if got := fmt.Sprint(layer.Techniques); got != "[{T1685 3} {T1003.008 4}]" || !strings.HasSuffix(layer.Description, "2 of 2 events. Not in the matrix of ATT&CK 19.2: T9999.") {
		t.Errorf("the layer is %+v", layer)
	}
	if name := a.header.Get("Content-Disposition"); !strings.Contains(name, `attachment; filename="a_exe-`+id[:8]+`.attack.json"`) {
		t.Errorf("the layer is sent as %s", name)
	}
	// A rule that names a revoked technique is found by the one that replaced it, and by others
	// that it replaced.
	for _, technique := range []string{"T1685", "T1562.001", "t1562"} {
		b.decode(b.send("GET", "/api/findings?technique="+technique, ""), http.StatusOK, &listed)
		if len(listed.Findings) != 1 || listed.Findings[0].Title != "Tools off" {
			t.Errorf("of %s: %+v", technique, listed)
		}
	}
	var events struct{ Events []struct{ Seq int } }
	b.decode(b.send("GET", "/api/sessions/"+id+"/events?filter=technique%20%3D%20T1685", ""), http.StatusOK, &events)
	if len(events.Events) != 1 || events.Events[0].Seq != 2 {
		t.Errorf("the events of the technique are %+v", events)
	}
	for path, status := range map[string]int{"/api/sessions/" + id + "/attack?format=svg": http.StatusBadRequest, "/api/sessions/none/attack": http.StatusNotFound, "/api/sessions/none/attack?format=navigator": http.StatusNotFound} {
		if a := b.send("GET", path, ""); a.status != status {
			t.Errorf("%s is answered %d %s", path, a.status, a.body)
		}
	}
}

// TestFactsAfterRestart checks that a backend which starts again knows what earlier events
// said about processes and hosts.
func TestFactsAfterRestart(t *testing.T) {
	folder := t.TempDir()
	rule := "title: Evil is connected\nid: 00000000-0000-4000-8000-000000000003\nlevel: high\nlogsource: {product: linux, category: network_connection}\ndetection:\n  s: {DestinationHostname: evil.example, Image: /usr/bin/curl}\n  condition: s\n"
	if err := os.WriteFile(filepath.Join(folder, "a.yml"), []byte(rule), 0o600); err != nil {
		t.Fatal(err)
	}
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		env["DATA_DIR"], env["RULES_DIR"] = t.TempDir(), folder
		b := startBackend(t, env)
		id := b.createSession("a.exe", "MZ")["sessionId"].(string)
		post := func(eventType, data string) {
			t.Helper()
			body := `{"event_type":"` + eventType + `","timestamp":"2026-11-22T18:57:39Z","source":"os-pulse-agent","data":{` + data + `,"status":0,"metadata":{"processName":"curl","processId":7}}}`
			if a := b.send("POST", "/api/events?sessionId="+id, body); a.status != http.StatusOK {
				t.Fatalf("%d %s", a.status, a.body)
			}
		}
		found := func() bool {
			for _, f := range b.found(id).Findings {
				if f.Title == "Evil is connected" {
					return true
				}
			}
			return false
		}
		post("process_creation", `"imagePath":"/usr/bin/curl","arguments":["curl"],"newProcessId":7`)
		post("network_operation", `"operation":"Receive","dns":[{"response":true,"questions":[{"name":"evil.example"}],"answers":[{"name":"evil.example","type":"A","data":"192.0.2.7"}]}]`)
		if found() {
			t.Error("it is found before the connection")
		}
		wait.For(t, "the progress is stored", func() bool {
			var upTo int
			err := openDatabase(t, env).QueryRowContext(t.Context(), "SELECT MAX(up_to) FROM detections").Scan(&upTo)
			return err == nil && upTo == 2
		})
		b.stop()
		b = startBackend(t, env)
		post("network_operation", `"operation":"Connect","dst":"192.0.2.7","dst_port":443`)
		if !found() {
			t.Errorf("after the restart: %+v", b.found(id))
		}
	})
}
