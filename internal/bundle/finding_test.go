package bundle_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"ospulse/internal/bundle"
	"ospulse/internal/models"
)

func exampleFindings() []models.Finding {
	pid, name, target, root := int64(7), "cmd.exe", `C:\a<b>`, "/srv/jail"
	return []models.Finding{
		{RuleID: "a", Version: "1", Title: "A", Level: "low", Tags: []string{}, Count: 1, Seqs: []int64{3}, FirstAt: noon, LastAt: noon},
		{RuleID: "b", Version: "2", Title: "Ü <b>", Level: "critical", Tags: []string{"attack.t1059"}, Author: "x", License: "MIT", Count: 5000, Failed: 4999, Seqs: []int64{1, 3}, FirstAt: noon, LastAt: noon.Add(time.Hour), PID: &pid, ProcessName: &name, Target: &target, RootPath: &root},
	}
}

// bundleWith writes the example as a bundle with findings.
func bundleWith(t testing.TB, found []models.Finding) []byte {
	t.Helper()
	session, processes := exampleSession()
	var out bytes.Buffer
	if _, err := bundle.Write(&out, bundle.Contents{Session: session, Events: pages(exampleEvents(t)), Processes: pages(processes), Findings: found, CreatedAt: noon}); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func findingsOf(t *testing.T, content []byte) []models.Finding {
	t.Helper()
	if err := read(content, limits); err != nil {
		t.Fatal(err)
	}
	opened, err := bundle.Open(bytes.NewReader(content), int64(len(content)), limits)
	if err != nil {
		t.Fatal(err)
	}
	return collect(t, opened.Findings())
}

func TestFindingsComeBack(t *testing.T) {
	want := exampleFindings()
	if got := findingsOf(t, bundleWith(t, []models.Finding{want[1], want[0]})); !reflect.DeepEqual(got, want) {
		t.Errorf("the findings are\n%+v, want\n%+v", got, want)
	}
	if got := findingsOf(t, bundleOf(t)); got != nil {
		t.Errorf("a bundle without findings has %+v", got)
	}
	// A bundle is of the oldest version that can say what it has.
	for _, tt := range []struct {
		failed   int64
		rootPath *string
		version  string
	}{{0, nil, `"version": 4`}, {1, nil, `"version": 5`}, {0, want[1].RootPath, `"version": 6`}} {
		one := want[0]
		one.Failed, one.RootPath = tt.failed, tt.rootPath
		list := parts(t, bundleWith(t, []models.Finding{one}))
		text := map[string]string{}
		for _, part := range list {
			text[part.name] = part.content
		}
		if !strings.Contains(text["manifest.json"], tt.version) || strings.Contains(text["findings.ndjson"], "failed_count") != (tt.failed > 0) || strings.Contains(text["findings.ndjson"], "root_path") != (tt.rootPath != nil) {
			t.Errorf("want %s: %s %s", tt.version, text["manifest.json"], text["findings.ndjson"])
		}
	}
	// The events of an active session that come while it is exported are not in its bundle.
	later := []models.Finding{want[0], {RuleID: "c", Level: "low", Count: 3, Failed: 3, Seqs: []int64{2, 3, 4}, FirstAt: noon, LastAt: noon}, {RuleID: "d", Level: "low", Count: 1, Failed: 1, Seqs: []int64{4}, FirstAt: noon, LastAt: noon}}
	got := findingsOf(t, bundleWith(t, later))
	if len(got) != 2 || got[1].RuleID != "c" || got[1].Count != 2 || got[1].Failed != 2 || !reflect.DeepEqual(got[1].Seqs, []int64{2, 3}) || len(later[1].Seqs) != 3 {
		t.Errorf("with later events: %+v", got)
	}
	for failed, kept := range map[int64]int64{0: 0, 1: 0, 2: 1} { // the later event may be one of those that failed
		later[1].Failed = failed
		if got := findingsOf(t, bundleWith(t, later)); got[1].Failed != kept {
			t.Errorf("%d of 3 events failed, and at least %d of the first two, want %d", failed, got[1].Failed, kept)
		}
	}
}

// TestHostileFindingsAreRefused checks that no finding is taken that no backend makes.
func TestHostileFindingsAreRefused(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(f map[string]any)
		want   string
	}{
		"no rule":          {func(f map[string]any) { f["rule_id"] = "" }, "rule_id"},
		"a long rule":      {func(f map[string]any) { f["rule_id"] = strings.Repeat("x", 256) }, "rule_id is 256"},
		"a rule twice":     {func(f map[string]any) { f["rule_id"] = "a" }, "does not come after"},
		"no order":         {func(f map[string]any) { f["rule_id"] = "A" }, "does not come after"},
		"a level":          {func(f map[string]any) { f["level"] = "extreme" }, "level must be"},
		"a member":         {func(f map[string]any) { f["imported"] = true }, "unknown field"},
		"a missing member": {func(f map[string]any) { delete(f, "title") }, "title is missing"},
		"no seqs":          {func(f map[string]any) { f["seqs"] = []int{} }, "seqs must have"},
		"null":             {func(f map[string]any) { f["seqs"] = nil }, "seqs must have"},
		"no events":        {func(f map[string]any) { f["events"] = 0 }, "seqs must have"},
		"failed events":    {func(f map[string]any) { f["failed_count"] = 5001 }, "failed_count must be from 0 to 5000"},
		"no number":        {func(f map[string]any) { f["failed_count"] = -1 }, "failed_count must be"},
		"too many seqs":    {func(f map[string]any) { f["events"] = 1 }, "seqs must have from 1 to 1"},
		"seqs that fall":   {func(f map[string]any) { f["seqs"] = []int{3, 1} }, "seqs must rise"},
		"seqs twice":       {func(f map[string]any) { f["seqs"] = []int{1, 1} }, "seqs must rise"},
		"a later seq":      {func(f map[string]any) { f["seqs"] = []int{1, 4} }, "seqs must rise from 1 to 3"},
		"seq 0":            {func(f map[string]any) { f["seqs"] = []int{0} }, "seqs must rise"},
		"times":            {func(f map[string]any) { f["last_at"] = "2020-01-01T00:00:00.123456Z" }, "last_at is before"},
		"no time":          {func(f map[string]any) { f["first_at"] = "noon" }, "no time"},
		"a NUL":            {func(f map[string]any) { f["target"] = "a\x00" }, ""},
		"a NUL in a root":  {func(f map[string]any) { f["root_path"] = "/\x00" }, ""},
		"tags":             {func(f map[string]any) { f["tags"] = make([]string, 1001) }, "tags has 1001"},
	} {
		t.Run(name, func(t *testing.T) {
			list := parts(t, bundleWith(t, exampleFindings()))
			for i := range list {
				if list[i].name != "findings.ndjson" {
					continue
				}
				lines := strings.Split(list[i].content, "\n")
				var f map[string]any
				if err := json.Unmarshal([]byte(lines[1]), &f); err != nil {
					t.Fatal(err)
				}
				tt.change(f)
				text, err := json.Marshal(f)
				if err != nil {
					t.Fatal(err)
				}
				list[i].content = lines[0] + "\n" + string(text) + "\n"
			}
			if err := read(pack(t, list), limits); err == nil {
				t.Error("an entry is not what the manifest says, and was taken")
			}
			err := read(pack(t, resealed(t, list, nil)), limits)
			if err == nil || !strings.Contains(err.Error(), "findings.ndjson, line 2: ") || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v; want one about %q", err, tt.want)
			}
		})
	}
	for name, change := range map[string]func(m map[string]any){
		"an older version": func(m map[string]any) { m["version"] = 3 },
		"fewer findings":   func(m map[string]any) { m["findings"] = 1 },
		"more findings":    func(m map[string]any) { m["findings"] = 3 },
		"negative":         func(m map[string]any) { m["findings"] = -1 },
	} {
		if err := read(pack(t, resealed(t, parts(t, bundleWith(t, exampleFindings())), change)), limits); err == nil {
			t.Errorf("%s: it is taken", name)
		}
	}
	if err := read(pack(t, resealed(t, parts(t, bundleOf(t)), func(m map[string]any) { m["version"] = 4 })), limits); err == nil || !strings.Contains(err.Error(), "findings.ndjson") {
		t.Errorf("version 4 without findings: %v", err)
	}
}
