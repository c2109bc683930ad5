package rules_test

import (
	"encoding/json"
	"io/fs"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"ospulse/internal/analysis"
	"ospulse/internal/detect"
	"ospulse/internal/filter"
	"ospulse/internal/models"
	"ospulse/internal/rules"
	"ospulse/internal/sigma"
	"ospulse/internal/wire"
	"ospulse/test/recording"
)

// story are the events of a session; the rule is tried on the last.
type story []map[string]any

func own(t testing.TB) []detect.Rule {
	t.Helper()
	all, _, err := detect.Load(rules.Files())
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// stories returns the tests of a rule: those that it must match, and those that it must not.
func stories(t *testing.T, r detect.Rule) (match, not []story) {
	t.Helper()
	text, err := fs.ReadFile(rules.Files(), r.Path)
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Tests struct{ Match, Not []story }
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	return file.Tests.Match, file.Tests.Not
}

// received returns an event of a story as it is received.
func received(t *testing.T, e map[string]any) models.Event {
	t.Helper()
	for name, usual := range map[string]any{"timestamp": "2026-11-22T18:57:39Z", "source": "os-pulse-agent"} {
		if e[name] == nil {
			e[name] = usual
		}
	}
	body, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	in, err := wire.Event(body, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return in.Event
}

// TestRules checks that each rule is complete, and that it matches its events and not the
// others.
func TestRules(t *testing.T) {
	technique := regexp.MustCompile(`^attack\.t\d{4}(\.\d{3})?$`)
	tactic := regexp.MustCompile(`^attack\.[a-z][a-z-]+$`)
	uuid := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	names := map[string]string{}
	for _, r := range own(t) {
		t.Run(r.Path, func(t *testing.T) {
			if r.Err != nil {
				t.Fatal(r.Err)
			}
			if !r.CanRun() || len(r.Needs) > 0 {
				t.Errorf("it needs %v", r.Needs)
			}
			for what, ok := range map[string]bool{
				"id": uuid.MatchString(r.ID), "title": r.Title != "", "description": r.Description != "", "author": r.Author == "OS-Pulse", "date": r.Date != "", "status": r.Status != "",
				"technique": r.Kind != sigma.Detection || slices.ContainsFunc(r.Tags, technique.MatchString),
				"tactic":    r.Kind != sigma.Detection || slices.ContainsFunc(r.Tags, func(tag string) bool { return tactic.MatchString(tag) && !technique.MatchString(tag) }),
				"product":   r.Source.Product == filepath.Dir(r.Path) || r.Source.Product == "ospulse" || r.Source.Product == "" && filepath.Dir(r.Path) != "routine" || r.Source.Product == "linux" && filepath.Dir(r.Path) == "routine",
				"kind":      (r.Kind == sigma.Routine) == (filepath.Dir(r.Path) == "routine"),
				"level":     r.Kind != sigma.Routine || r.Level == sigma.Informational,
			} {
				if !ok {
					t.Errorf("its %s is wrong", what)
				}
			}
			for _, key := range []string{r.ID, r.Title} {
				if other := names[key]; other != "" {
					t.Errorf("%s also has %q", other, key)
				}
				names[key] = r.Path
			}
			match, not := stories(t, r)
			if len(match) == 0 || len(not) == 0 {
				t.Error("it has no tests.match or no tests.not")
			}
			for _, s := range match {
				if !matches(t, r, s) {
					t.Errorf("it does not match %v", s)
				}
			}
			for _, s := range not {
				if matches(t, r, s) {
					t.Errorf("it matches %v", s)
				}
			}
		})
	}
}

// TestCoverage checks that there are rules for what users expect, and that nobody removes them
// unnoticed.
func TestCoverage(t *testing.T) {
	technique := regexp.MustCompile(`^attack\.t\d{4}(\.\d{3})?$`)
	perFolder, techniques := map[string]int{}, map[string]bool{}
	for _, r := range own(t) {
		perFolder[filepath.Dir(r.Path)]++
		for _, tag := range r.Tags {
			if technique.MatchString(tag) {
				techniques[tag] = true
			}
		}
	}
	for folder, least := range map[string]int{"linux": 100, "windows": 40, "routine": 10} {
		if perFolder[folder] < least {
			t.Errorf("%s has %d rules, want at least %d", folder, perFolder[folder], least)
		}
	}
	if len(techniques) < 60 {
		t.Errorf("the rules name %d techniques, want at least 60", len(techniques))
	}
}

// matches reports whether a rule matches the last event of a story.
func matches(t *testing.T, r detect.Rule, s story) (matched bool) {
	t.Helper()
	session := detect.New([]filter.Node{r.Where}).NewSession()
	for _, e := range s {
		event := received(t, e)
		matched = len(session.Match(&event)) > 0
	}
	return matched
}

// TestBenignWork checks that nothing high is found in recordings of everyday work, and at
// most three rules of level medium match in each.
func TestBenignWork(t *testing.T) {
	running, conditions := detect.Running(own(t))
	engine := detect.New(conditions)
	for _, name := range []string{"apt", "build", "http", "npm", "package", "python", "shell"} {
		t.Run(name, func(t *testing.T) {
			session, found := engine.NewSession(), map[int]int{}
			for n, text := range recording.Events(t, name) {
				in, err := wire.Event([]byte(text), time.Now())
				if err != nil {
					t.Fatal(err)
				}
				for _, rule := range session.Match(&in.Event) {
					if running[rule].Kind == sigma.Routine {
						continue
					}
					if found[rule]++; found[rule] == 1 && running[rule].Level != sigma.Low && running[rule].Level != sigma.Informational {
						t.Logf("%s: %s: event %d: %.300s", running[rule].Level, running[rule].Title, n+1, text)
					}
				}
			}
			medium := 0
			for rule := range maps.Keys(found) {
				switch running[rule].Level {
				case sigma.High, sigma.Critical:
					t.Errorf("%s is found", running[rule].Title)
				case sigma.Medium:
					medium++
				}
			}
			if medium > 3 {
				t.Errorf("%d rules of level medium match", medium)
			}
		})
	}
}

// TestSentences checks that each rule has a sentence of its own, and that the story tells it of
// the rule's events with all of its values.
func TestSentences(t *testing.T) {
	for _, r := range own(t) {
		if r.Kind == sigma.Routine {
			continue
		}
		t.Run(r.Path, func(t *testing.T) {
			match, _ := stories(t, r)
			for _, s := range match {
				told := analysis.NewStory(analysis.Limits{Groups: 100, Bytes: 1 << 20})
				var last models.Event
				for i, e := range s {
					if i == len(s)-1 { // an attempt that failed has the sentence of its kind
						if status, isNumber := e["data"].(map[string]any)["status"].(int); isNumber && status < 0 {
							e["data"].(map[string]any)["status"] = 0
						}
					}
					last = received(t, e)
					last.Seq = int64(i + 1)
					told.Add(&last, analysis.StoryValues(last.Data))
				}
				steps := told.Tell([]analysis.Finding{{Level: string(r.Level), Tags: r.Tags, Sentence: r.Sentence, Seqs: []int64{last.Seq}, Events: []models.Event{last}}}).Steps
				at := slices.IndexFunc(steps, func(step analysis.Step) bool { return len(step.Findings) > 0 })
				if at < 0 {
					t.Fatalf("no step has the finding: %+v", steps)
				}
				var text, words strings.Builder
				for _, part := range steps[at].Parts {
					if part.Text == "" && part.As != "program" { // which the dashboard calls unknown
						t.Errorf("{%s} has no value in %+v", part.As, s[len(s)-1])
					}
					text.WriteString(part.Text)
					if part.As != "" {
						part.Text = "{" + part.As + "}"
					}
					words.WriteString(part.Text)
				}
				want := r.Sentence
				if !strings.Contains(words.String(), "{bytes}") {
					want = strings.Replace(want, " ({bytes})", "", 1)
				}
				if words.String() != want && steps[at].Kind != "renamed" && steps[at].Kind != "linked" {
					t.Errorf("the sentence is %q, not %q", words.String(), want)
				}
				t.Log(text.String())
			}
		})
	}
}
