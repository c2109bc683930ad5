package main

import (
	"context"
	"slices"
	"time"
)

// scenario is a task of the backend, and the limits that it is compared with.
type scenario struct {
	name    string
	unit    unit
	measure func(ctx context.Context, l *lab, dialect string) (measurement, error)
	goals   goals
	against []comparison
}

// unit is what a scenario counts. Each unit has its own table.
type unit string

const (
	anEvent  unit = "event"
	aRequest unit = "request"
)

// goals do not depend on a limit; 0 is none.
type goals struct {
	maxP50, maxP99 time.Duration
	minPerSecond   float64
	maxPeakMB      float64 // of the backend's memory; 0 is usualPeakMB
	maxGrownMB     float64
	maxBytesEach   float64 // on disk
}

// usualPeakMB is the goal for memory unless the scenario sets another.
const usualPeakMB = 150

// comparison is a scenario's ratio to a limit, and its goal.
type comparison struct {
	limit   limit
	byP50   bool    // compare the median latency, not the rate
	byBytes bool    // compare the bytes of an event on disk
	byCPU   bool    // compare the processor time of the backend
	min     float64 // goals of the ratio, 0 is none
	max     float64
}

// limit measures the maximum that the machine can do. Its name is unique per database.
// The zero limit does not exist on this database.
type limit struct {
	name    string
	measure func(ctx context.Context, l *lab) (figures, error)
}

// figures are the result of a limit.
type figures struct {
	perSecond float64 // events
	p50Millis float64
	p99Millis float64
	bytesEach float64 // of an event on disk
	cpuMicros float64 // of the backend
	cpuRatio  float64 // of the scenario to this; the median of pairs of turns
}

func newFigures(t *tally, length time.Duration) figures {
	return figures{perSecond: t.counted / length.Seconds(), p50Millis: millis(t.latencies.percentile(0.50)), p99Millis: millis(t.latencies.percentile(0.99))}
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// scenarios lists the scenarios of a database. Those that share a limit are adjacent.
func scenarios(l *lab, dialect string) []scenario {
	all := slices.Concat(
		ingestScenarios(l.bodies, dialect),
		queryScenarios(l, dialect),
		exportScenarios(l, dialect),
		streamScenarios(),
		realScenarios(l, dialect),
		ruleScenarios(dialect),
		keyScenarios(),
	)
	for i := range all {
		all[i].against = slices.DeleteFunc(all[i].against, func(c comparison) bool { return c.limit.measure == nil })
	}
	return all
}
