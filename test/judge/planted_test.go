//go:build linux

package judge

import (
	"slices"
	"strings"
	"testing"
	"time"

	"ospulse/test/wait"
)

// TestPlantedBugs checks that the judge finds a bug of each kind in the real backend.
func TestPlantedBugs(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		bug     string // its name in package plant
		setup   string
		fault   string // the fault during which it appears
		want    Rule
		spoolMB string
	}{
		{"acknowledge before the commit is durable", "postgres", "database: immediate stop", Lost, "64"},
		{"lose a spooled group", "postgres", "database: fast stop", Lost, "64"},
		{"ignore the mark", "postgres", "network: commits unheard", Duplicated, "64"},
		{"ignore the idempotency key", "postgres", "network: delayed", Duplicated, "64"},
		{"reorder the drain", "postgres", "database: fast stop", Reordered, "64"},
		{"publish before the commit", "postgres", "network: reset", Renumbered, "0"},
		{"skip a seq", "sqlite", "backend: SIGTERM", Gap, "64"},
		{"store half of a batch", "sqlite", "backend: SIGTERM", Lost, "64"},
		{"put an event elsewhere", "sqlite", "backend: SIGTERM", Lost, "64"},
		{"seal a row too few", "sqlite", "backend: SIGTERM", Lost, "64"},
		{"hand an event out twice", "sqlite", "backend: SIGTERM", HandedTwice, "64"},
		{"read past a hole", "sqlite", "backend: SIGTERM", Hole, "64"},
		{"count from a cache", "sqlite", "backend: SIGTERM", Stale, "64"},
		{"drop an event when a stream resumes", "sqlite", "backend: SIGTERM", Hole, "64"},
	} {
		t.Run(strings.ReplaceAll(c.bug, " ", "-"), func(t *testing.T) {
			t.Parallel()
			all := setups()
			s := all[slices.IndexFunc(all, func(s setup) bool { return s.name == c.setup })]
			kinds := faults(s)
			f := kinds[slices.IndexFunc(kinds, func(f fault) bool { return f.name == c.fault })]
			// Without a spool, a failed commit is not repeated.
			w := startWorld(t, s, uint64(time.Now().UnixNano()), "OSPULSE_PLANT="+c.bug, "SPOOL_MAX_MB="+c.spoolMB)
			w.sessions, w.patience = fewSessions, 5*time.Second
			var found []Violation
			for n, began := 0, time.Now(); time.Since(began) < wait.Patience; n++ { // some bugs appear only at the moment of a commit
				r := w.round(n, f)
				found = append(found, r.violations...)
				if slices.ContainsFunc(found, func(v Violation) bool { return v.Rule == c.want }) {
					t.Logf("found in round %d:\n%s", n, summary(r.violations))
					return
				}
			}
			t.Errorf("not found; others: %s", summary(found))
		})
	}
}
