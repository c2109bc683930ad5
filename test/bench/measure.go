package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"ospulse/internal/database"
	"ospulse/test/testbed"
)

// measurement is the result of one run of a scenario; 0 is unknown. Processor time is
// in microseconds per unit of the scenario.
type measurement struct {
	PerSecond   float64 `json:"per_second"`
	P50Millis   float64 `json:"p50_ms"`
	P99Millis   float64 `json:"p99_ms"`
	BackendCPU  float64 `json:"backend_cpu_us,omitempty"`
	DatabaseCPU float64 `json:"database_cpu_us,omitempty"`
	LoadCPU     float64 `json:"load_cpu_us,omitempty"`
	PeakMB      float64 `json:"peak_mb,omitempty"` // the backend's memory
	GrownMB     float64 `json:"grown_mb,omitempty"`
	BytesEach   float64 `json:"bytes,omitempty"` // of an event on disk

	Limits []compared `json:"-"` // as in scenario.against
}

// compared is a limit's figure, a rate, milliseconds, bytes or microseconds, and the
// scenario's ratio to it.
type compared struct{ limit, ratio float64 }

// results are the measurements of each round, by database and scenario.
type results map[string]map[string][]measurement

// measureAll runs the chosen scenarios and their limits, round after round. It finishes
// one database before the next, because the sessions for the queries take much disk.
func (l *lab) measureAll(ctx context.Context, o options) (results, error) {
	all, isAny := results{}, false
	for _, dialect := range o.databases {
		all[dialect] = map[string][]measurement{}
		for round := range o.Rounds {
			known := map[string]figures{}
			for _, s := range scenarios(l, dialect) {
				if !o.Scenarios.MatchString(s.name) {
					continue
				}
				isAny = true
				where := fmt.Sprintf("%s, round %d of %d", dialect, round+1, o.Rounds)
				m, err := l.measureBoth(ctx, where, dialect, s, known)
				if err != nil {
					return nil, fmt.Errorf("%s: %w", where, err)
				}
				all[dialect][s.name] = append(all[dialect][s.name], m)
			}
		}
		if err := l.removeArchives(); err != nil {
			return nil, err
		}
	}
	if !isAny {
		return nil, fmt.Errorf("no scenario has a name like %q", o.Scenarios)
	}
	return all, nil
}

// measureBoth measures a scenario and right after it those of its limits that are not
// in known.
func (l *lab) measureBoth(ctx context.Context, where, dialect string, s scenario, known map[string]figures) (measurement, error) {
	l.say("%s: %s", where, s.name)
	m, err := s.measure(ctx, l, dialect)
	if err != nil {
		return m, fmt.Errorf("%s: %w", s.name, err)
	}
	for _, c := range s.against {
		f, ok := known[c.limit.name]
		if !ok {
			l.say("%s:   %s", where, c.limit.name)
			if f, err = c.limit.measure(ctx, l); err != nil {
				return m, fmt.Errorf("%s: %w", c.limit.name, err)
			}
			known[c.limit.name] = f
		}
		m.Limits = append(m.Limits, c.compare(m, f))
	}
	return m, nil
}

func (c *comparison) compare(m measurement, f figures) compared {
	switch {
	case c.byP50:
		return compared{f.p50Millis, m.P50Millis / f.p50Millis}
	case c.byBytes:
		return compared{f.bytesEach, m.BytesEach / f.bytesEach}
	case c.byCPU:
		return compared{f.cpuMicros, f.cpuRatio}
	}
	return compared{f.perSecond, m.PerSecond / f.perSecond}
}

// observe runs work for the time of a measurement. The result includes the processor
// time and memory that it took.
func (l *lab) observe(backend *testbed.Process, dialect string, work func(window) (*tally, error)) (measurement, error) {
	if err := testbed.ResetPeak(backend.Pid); err != nil {
		return measurement{}, err
	}
	var used usage
	t, err := work(window{
		warmUp: warmUp, length: l.time,
		opened: func() { used = readUsage(backend.Pid, dialect) },
		closed: func() { used = readUsage(backend.Pid, dialect).since(used) },
	})
	if err != nil {
		return measurement{}, err
	}
	f := newFigures(t, l.time)
	return measurement{
		PerSecond: f.perSecond, P50Millis: f.p50Millis, P99Millis: f.p99Millis,
		BackendCPU: micros(used.backend) / t.counted, DatabaseCPU: micros(used.database) / t.counted, LoadCPU: micros(used.load) / t.counted,
		PeakMB: testbed.Megabytes(testbed.PeakBytes(backend.Pid)),
	}, nil
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// send runs a load against a server.
func (l *lab) send(ctx context.Context, load load, url string, w window) (t *tally, err error) {
	c, err := load.dial(ctx, url)
	if err != nil {
		return &tally{}, err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	workers, err := c.workers(ctx, w.warmUp+w.length)
	if err != nil {
		return &tally{}, err
	}
	tallies, err := drive(ctx, w, workers)
	return merge(tallies), err
}

// verify compares the number of acknowledged events with the events in a database and
// with the counts of its sessions. All must belong to the started session. It migrates the
// database, which an older version may have filled.
func verify(ctx context.Context, o database.Options, acknowledged int64) (err error) {
	db, err := database.Open(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := db.Migrate(ctx); err != nil {
		return err
	}
	pools, err := db.Pools()
	if err != nil {
		return err
	}
	var stored, counted, attributed int64
	err = pools["write"].QueryRowContext(ctx, `SELECT (SELECT COUNT(*) FROM events) + (SELECT CAST(COALESCE(SUM(event_count), 0) AS bigint) FROM segments WHERE is_sealed),
		(SELECT CAST(COALESCE(SUM(event_count), 0) AS bigint) FROM sessions),
		(SELECT CAST(COALESCE(SUM(event_count), 0) AS bigint) FROM sessions WHERE id <> 'unassigned')`).Scan(&stored, &counted, &attributed)
	if err == nil && (stored != acknowledged || counted != acknowledged || attributed != acknowledged) {
		err = fmt.Errorf("EVENTS DO NOT ADD UP: %d were acknowledged, the database has %d, its sessions count %d, %d of them in the started session",
			acknowledged, stored, counted, attributed)
	}
	return err
}
