//go:build linux

package judge

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"
)

// number reads a setting of the run.
func number(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatal(name, ": ", err)
	}
	return n
}

// TestTorture injects faults into each set-up while clients use it, and checks the
// clients' records. By default it injects every kind of fault once, into one of the
// set-ups, with few clients. `make torture` sets TORTURE_FAULTS, the number of all
// faults. TORTURE_MINUTES ends the run sooner. TORTURE_SEED repeats a run, as exactly
// as timing permits. TORTURE_SETUP and TORTURE_ROUND limit it to one round.
func TestTorture(t *testing.T) {
	seed := number(t, "TORTURE_SEED", uint64(time.Now().UnixNano()))
	total := int(number(t, "TORTURE_FAULTS", 0))
	var end time.Time // zero: no limit
	if minutes := number(t, "TORTURE_MINUTES", 0); minutes > 0 {
		end = time.Now().Add(time.Duration(minutes) * time.Minute)
	}
	var report report
	t.Run("setups", func(t *testing.T) {
		for _, s := range setups() {
			if only := os.Getenv("TORTURE_SETUP"); only != "" && only != s.name {
				continue
			}
			t.Run(s.name, func(t *testing.T) {
				t.Parallel()
				kinds := faults(s)
				if only := os.Getenv("TORTURE_FAULT"); only != "" {
					kinds = slices.DeleteFunc(kinds, func(f fault) bool { return !strings.Contains(f.name, only) })
				}
				if total == 0 {
					kinds = slices.DeleteFunc(kinds, func(f fault) bool { return f.turn(s, seed) != s.name })
				}
				rounds := len(kinds)
				if total > 0 {
					rounds = total * s.share() / 100
				}
				first := int(number(t, "TORTURE_ROUND", 0))
				if os.Getenv("TORTURE_ROUND") != "" {
					rounds = first + 1
				}
				over := func(n int) bool { return n >= rounds || !end.IsZero() && time.Now().After(end) }
				for n := first; !over(n); n += roundsOfWorld {
					t.Run(fmt.Sprint("from ", n), func(t *testing.T) {
						w := startWorld(t, s, seed)
						if total == 0 {
							w.sessions = fewSessions
						}
						for i := n; i < n+roundsOfWorld && !over(i); i++ {
							r := w.round(i, kinds[i%len(kinds)])
							report.add(s.name, &r)
							if broken := slices.DeleteFunc(r.violations, func(v Violation) bool { return v.Rule == Announced }); len(broken) > 0 {
								t.Errorf("%s, round %d (TORTURE_SEED=%d TORTURE_FAULTS=%d TORTURE_SETUP=%s TORTURE_ROUND=%d):\n%s", r.fault, i, seed, total, s.name, i, summary(broken))
							}
						}
					})
				}
			})
		}
	})
	t.Logf("TORTURE_SEED=%d\n%s", seed, report.String())
}

// roundsOfWorld is the number of rounds after which a set-up is created anew: the data
// of the rounds would fill its small disks.
const roundsOfWorld = 50

// fewSessions is the number of sessions that clients use at once in a short run.
const fewSessions = 4

// share is the percentage of all faults that a set-up gets.
func (s setup) share() int {
	switch {
	case s.standby && !s.sync:
		return 2
	case s.standby:
		return 20
	case s.postgres:
		return 40
	}
	return 38
}

// row is the report of one kind of fault in one set-up.
type row struct {
	fault, setup                                      string
	faults, histories, acked                          int
	lost, duplicated, reordered, misplaced, announced int
	others                                            int // violations of the other rules
	outage                                            time.Duration
}

// report accumulates the rounds.
type report struct {
	mu   sync.Mutex
	rows map[string]*row
}

func (r *report) add(setup string, res *result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.rows == nil {
		r.rows = map[string]*row{}
	}
	key := res.fault + " " + setup
	if r.rows[key] == nil {
		r.rows[key] = &row{fault: res.fault, setup: setup}
	}
	r.rows[key].add(res)
}

func (row *row) add(res *result) {
	row.faults++
	row.histories += res.histories
	row.acked += res.acked
	row.outage = max(row.outage, res.outage)
	for _, v := range res.violations {
		switch v.Rule {
		case Announced:
			row.announced += v.Events
		case Lost:
			row.lost += v.Events
		case Duplicated:
			row.duplicated += v.Events
		case Reordered:
			row.reordered += v.Events
		case Invented:
			row.misplaced += v.Events
		default:
			row.others += v.Events
		}
	}
}

// String returns the table as Markdown.
func (r *report) String() string {
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 1, ' ', 0)
	line := func(cells ...any) {
		for _, cell := range cells {
			_, _ = fmt.Fprintf(w, "| %v\t", cell) // writes to a Builder never fail
		}
		_, _ = fmt.Fprintln(w, "|")
	}
	line("fault", "set-up", "faults", "histories", "acknowledged", "lost as announced", "lost", "duplicated", "reordered", "misplaced", "other", "longest outage")
	line("---", "---", "--:", "--:", "--:", "--:", "--:", "--:", "--:", "--:", "--:", "--:")
	sum := row{fault: "all"}
	rows := slices.SortedFunc(maps.Values(r.rows), func(a, b *row) int { return cmp.Or(cmp.Compare(a.fault, b.fault), cmp.Compare(a.setup, b.setup)) })
	for _, one := range append(rows, &sum) {
		line(one.fault, one.setup, one.faults, one.histories, one.acked, one.announced, one.lost, one.duplicated, one.reordered, one.misplaced, one.others, one.outage.Round(100*time.Millisecond))
		sum.faults += one.faults
		sum.histories += one.histories
		sum.acked += one.acked
		sum.announced += one.announced
		sum.lost += one.lost
		sum.duplicated += one.duplicated
		sum.reordered += one.reordered
		sum.misplaced += one.misplaced
		sum.others += one.others
		sum.outage = max(sum.outage, one.outage)
	}
	_ = w.Flush() // likewise
	return text.String()
}
