package filter_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"ospulse/internal/filter"
	"ospulse/internal/models"
	"ospulse/internal/wire"
	"ospulse/test/odd"
)

// aSession is what is known of a session.
func aSession(t testing.TB) *filter.Known {
	t.Helper()
	where := func(text string) filter.Node { return parse(t, text).Root() }
	return &filter.Known{
		UpTo: 90,
		Routine: []filter.RoutineRule{
			{Names: []string{"library_loaded", "id-1", "A program loaded a library"}, Where: where("target endswith .so")},
			{Names: []string{"path_searched", "id-2", "A program searched the PATH"}, Where: where("data.error = ENOENT")},
		},
		Findings: []models.Finding{
			{RuleID: "f-1", Title: "Secrets are read", Level: "high", Tags: []string{"attack.credential-access", "attack.t1003.008"}, Seqs: []int64{2, 3, 50}},
			{RuleID: "f-2", Title: "A shell", Level: "low", Tags: []string{"attack.t1059"}, Seqs: []int64{3, 60}},
		},
	}
}

// TestKnown checks which events tests of what is known select. Event 1 is routine by one rule,
// event 4 by the other; findings point to events 2, which would be routine, and 3.
func TestKnown(t *testing.T) {
	events := []models.Event{
		{Seq: 1, Target: new("/lib/a.so")}, {Seq: 2, Target: new("/lib/b.so")}, {Seq: 3, Target: new("/etc/shadow")}, {Seq: 4, Data: models.JSON(`{"error":"ENOENT"}`)}, {Seq: 5, Target: new("routine finding technique")},
	}
	for text, want := range map[string][]int64{
		"routine = true": {1, 4}, "routine: true": {1, 4}, "not routine = true": {2, 3, 5}, "routine != true": {2, 3, 5}, "routine = false": {2, 3, 5}, "exists routine": {1, 4}, "routine: *": {1, 4},
		"routine = library_loaded": {1}, `routine = "A program searched the PATH"`: {4}, "routine in (library_loaded, id-2)": {1, 4}, "routine: (path_* or library_loaded)": {1, 4}, "routine contains LOADED": {1}, "routine = nothing": {}, "routine = false or routine = path_searched": {2, 3, 4, 5},
		"finding = true": {2, 3}, "finding = false": {1, 4, 5}, "finding = f-1": {2, 3}, `finding = "A shell"`: {3}, "finding: secrets*": {2, 3}, "not finding = f-2": {1, 2, 4, 5}, `finding = "true"`: {},
		"finding.level = high": {2, 3}, "finding.level >= medium": {2, 3}, "finding.level < medium": {3}, "finding.level <= HIGH": {2, 3}, "finding.level > high": {}, "finding.level in (low, critical)": {3}, "exists finding.level": {2, 3},
		"technique = T1003": {2, 3}, "technique = t1003.008": {2, 3}, "technique = T1059": {3}, "technique = T1059.004": {}, "technique in (T1059, T1)": nil, "technique: T10*": {2, 3}, "technique: *": {2, 3},
		"routine": {5}, "finding": {5}, "technique": {5}, "routine finding": {5}, // words are texts, as before
		"not routine = true and not finding = true": {5},
	} {
		where, err := filter.Parse(text)
		if want == nil {
			if err == nil {
				t.Errorf("%s is accepted", text)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if where, err = where.WithKnown(aSession(t)); err != nil {
			t.Fatal(err)
		}
		got := []int64{}
		for i := range events {
			if where.Match(&events[i]) {
				got = append(got, events[i].Seq)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s selects %v, want %v", text, got, want)
		}
		again, err := filter.Parse(where.String())
		if err != nil || again.String() != where.String() {
			t.Errorf("%s is written as %s, which is read as %s: %v", text, where, again, err)
		}
	}
	for text, want := range map[string]string{
		"finding.level = severe": "expected one of informational, low, medium, high, critical", "routine > 1": "is a text", "technique = attack": "expected a technique such as T1059",
		"finding.title = x": "has nothing inside", strings.Repeat("routine = a or not ", 16) + "routine = a": "more than 16 conditions on routine",
	} {
		if _, err := filter.Parse(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s gives %v", text, err)
		}
	}
}

// TestUnknown checks that tests of what is known are false before a filter is completed, that
// rules have no such fields, and that too many tests of routine rules are refused.
func TestUnknown(t *testing.T) {
	e := models.Event{Seq: 2, Target: new("/lib/b.so")}
	for _, text := range []string{"routine = true", "finding: *", "finding.level >= low", "technique = T1003"} {
		if where := parse(t, text); where.Match(&e) || !where.NamesKnown() || !where.NeedsSession() {
			t.Errorf("%s: matches %v", text, where.Match(&e))
		}
	}
	if parse(t, "target: routine").NamesKnown() {
		t.Error("a value is read as a field")
	}
	for _, name := range []string{"routine", "finding", "finding.level", "technique"} {
		if field, err := filter.FieldOf(name); err == nil {
			t.Errorf("rules have the field %s", field)
		}
	}
	many := &filter.Known{Routine: []filter.RoutineRule{{Names: []string{"a"}, Where: parse(t, "pid in ("+strings.Repeat("1, ", 499)+"1)").Root()}}}
	if _, err := parse(t, strings.Repeat("routine = a ", 16)).WithKnown(many); err != nil {
		t.Errorf("8,000 tests are refused: %v", err)
	}
	many.Routine = append(many.Routine, many.Routine[0])
	if _, err := parse(t, strings.Repeat("routine = a ", 16)).WithKnown(many); models.ErrorCode(err) != models.CodeInvalid {
		t.Errorf("16,000 tests give %v", err)
	}
}

// TestKnownUpTo checks when a filter has to be evaluated again.
func TestKnownUpTo(t *testing.T) {
	complete := func(text string, change func(*filter.Known)) *filter.Filter {
		known := aSession(t)
		change(known)
		where, err := parse(t, text).WithKnown(known)
		if err != nil {
			t.Fatal(err)
		}
		return where
	}
	before := complete("not routine = true", func(*filter.Known) {})
	if before.UpTo(200) != 90 || before.UpTo(7) != 7 || parse(t, "pid = 1").UpTo(200) != 200 {
		t.Errorf("the filter knows up to %d", before.UpTo(200))
	}
	for what, tt := range map[string]struct {
		change func(*filter.Known)
		same   bool
	}{
		"nothing":        {func(*filter.Known) {}, true},
		"a later event":  {func(k *filter.Known) { k.UpTo, k.Findings[0].Seqs = 200, []int64{2, 3, 50, 91} }, true},
		"an event known": {func(k *filter.Known) { k.Findings[0].Seqs = []int64{2, 3, 50, 90} }, false},
		"a rule":         {func(k *filter.Known) { k.Routine = k.Routine[:1] }, false},
	} {
		if complete("not routine = true", tt.change).SelectsAs(before) != tt.same {
			t.Errorf("after a change of %s the filter selects the same: %v", what, !tt.same)
		}
	}
	if again, err := before.WithKnown(&filter.Known{}); err != nil || again.Match(&models.Event{Seq: 1, Target: new("a.so")}) == before.Match(&models.Event{Seq: 1, Target: new("a.so")}) {
		t.Errorf("the filter cannot be completed again: %v", err)
	}
}

// TestBounds checks that the condition without data is weaker than the filter, and that the
// certain one is stronger, for any filter and event; and that among some events a filter
// selects what is said.
func TestBounds(t *testing.T) {
	told := 0
	rapid.Check(t, func(rt *rapid.T) {
		where, err := filter.Parse(odd.Filter(rt, 3))
		if err != nil {
			return
		}
		for seq := range int64(8) {
			in, err := wire.Event([]byte(odd.Event(rt)), time.Unix(0, 0))
			if err != nil {
				rt.Fatal(err)
			}
			e := in.Event
			e.Seq = seq
			is, may, sure := where.Match(&e), true, false
			if bound := where.WithoutData(); bound != nil {
				may = bound.Match(&e)
			}
			if bound := where.Certain(); bound != nil {
				sure = bound.Match(&e)
			}
			if is && !may || sure && !is {
				rt.Fatalf("%s selects the event: %v; without data perhaps %v, certainly %v", where, is, may, sure)
			}
			if where.NeedsData() && may == sure {
				told++
			}
			if got, want := where.Among([]int64{1, 2}, []int64{3, 4}).Match(&e), seq == 1 || seq == 2 || (seq == 3 || seq == 4) && is; got != want {
				rt.Fatalf("%s among some events selects event %d: %v", where, seq, got)
			}
		}
	})
	if told == 0 {
		t.Error("the columns never tell: the test says nothing")
	}
}
