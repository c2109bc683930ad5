package main

import (
	"context"
	"slices"
	"time"
)

// scenario is something that the backend does, and what it is compared with.
type scenario struct {
	name    string
	unit    unit
	measure func(ctx context.Context, l *lab, dialect string) (measurement, error)
	goals   goals
	against []comparison
}

// unit is what a scenario counts; each has a table of its own.
type unit string

const (
	anEvent  unit = "event"
	aRequest unit = "request"
)

// goals are those that concern no limit; 0 is none.
type goals struct {
	maxP50, maxP99 time.Duration
	minPerSecond   float64
	maxPeakMB      float64 // of the backend's memory; 0 is usualPeakMB
	maxGrownMB     float64
}

// usualPeakMB is a goal of every scenario that has no other.
const usualPeakMB = 150

// comparison is a scenario's ratio to a limit, and its goal.
type comparison struct {
	limit limit
	byP50 bool    // the median latency is compared, not the events a second
	min   float64 // the goal, likewise max; 0 is none
	max   float64
}

// limit is what the machine can do at most. Its name is unique on a database; the
// zero limit is one that the database does not have.
type limit struct {
	name    string
	measure func(ctx context.Context, l *lab) (figures, error)
}

// figures are what was measured of a limit.
type figures struct {
	perSecond float64 // events
	p50Millis float64
	p99Millis float64
}

func newFigures(t *tally, length time.Duration) figures {
	return figures{t.counted / length.Seconds(), millis(t.latencies.percentile(0.50)), millis(t.latencies.percentile(0.99))}
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// scenarios lists what is measured on a database; those that share a limit come
// one after the other.
func scenarios(l *lab, dialect string) []scenario {
	all := slices.Concat(
		ingestScenarios(l.bodies, dialect),
		queryScenarios(l, dialect),
		exportScenarios(l, dialect),
		streamScenarios(),
	)
	for i := range all {
		all[i].against = slices.DeleteFunc(all[i].against, func(c comparison) bool { return c.limit.measure == nil })
	}
	return all
}
