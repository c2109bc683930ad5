package models_test

import (
	"testing"

	"ospulse/internal/models"
)

// TestFailedEventsAreCounted checks that a finding counts which of its events failed, also
// those that are merged, and says so.
func TestFailedEventsAreCounted(t *testing.T) {
	of := func(failed ...bool) *models.Finding {
		f := &models.Finding{}
		for i, one := range failed {
			f.Add(&models.Event{Seq: int64(i + 1)}, one, nil)
		}
		return f
	}
	for _, tt := range []struct {
		first, later []bool
		failed       int64
		text         string
	}{
		{nil, nil, 0, ""},
		{[]bool{false}, []bool{false}, 0, ""},
		{[]bool{true}, nil, 1, "attempt failed"},
		{[]bool{true}, []bool{true, true}, 3, "attempt failed"},
		{[]bool{true}, []bool{false}, 1, "1 of 2 failed"},
		{[]bool{false, true}, []bool{true}, 2, "2 of 3 failed"},
	} {
		f := of(tt.first...)
		f.Merge(of(tt.later...))
		if f.Failed != tt.failed || f.Count != int64(len(tt.first)+len(tt.later)) || f.FailedText() != tt.text {
			t.Errorf("%v and %v: %d of %d failed, %q", tt.first, tt.later, f.Failed, f.Count, f.FailedText())
		}
	}
}

// TestRootPathIsThatOfAllEvents checks that a finding says that its processes have another root
// only if all have: one event of the machine's own files must not be taken for a jail's.
func TestRootPathIsThatOfAllEvents(t *testing.T) {
	of := func(roots []string) *models.Finding {
		f := &models.Finding{}
		for i, root := range roots {
			var rootPath *string
			if root != "" {
				rootPath = &root
			}
			f.Add(&models.Event{Seq: int64(i + 1)}, false, rootPath)
		}
		return f
	}
	for _, tt := range []struct {
		first, later []string
		want         string
	}{
		{[]string{""}, []string{""}, ""},
		{[]string{"/jail"}, []string{"/jail"}, "/jail"},
		{[]string{"/jail", "/other"}, []string{"/"}, "/jail"},
		{[]string{"/jail", ""}, []string{"/jail"}, ""},
		{[]string{"", "/jail"}, []string{"/jail"}, ""},
		{[]string{"/jail"}, []string{"/jail", ""}, ""},
	} {
		f := of(tt.first)
		f.Merge(of(tt.later))
		got := ""
		if f.RootPath != nil {
			got = *f.RootPath
		}
		if got != tt.want {
			t.Errorf("%q and %q: %q, want %q", tt.first, tt.later, got, tt.want)
		}
	}
}
