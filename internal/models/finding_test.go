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
			f.Add(&models.Event{Seq: int64(i + 1)}, one)
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
