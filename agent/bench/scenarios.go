//go:build linux

package main

import (
	"context"
	"fmt"
	"runtime"
	"time"
)

// measurement is measured once in each round of its scenario.
type measurement struct {
	name string
	unit string
	of   string // the measurement of the scenario that is its base, if any
	goal goal
	run  func(context.Context, *lab) (sample, error)
}

// goal is the goal of the ratio if there is a base, else of the figure.
type goal struct {
	limit   float64 // 0: no goal
	isLeast bool    // limit is a minimum, not a maximum
}

// scenario is a group of measurements that alternate.
type scenario struct {
	name         string
	once         bool // in one round only
	measurements []measurement
}

func scenarios() []scenario {
	var all []scenario
	for _, w := range works() {
		const untraced = "untraced"
		all = append(all, scenario{name: "build of " + w.name, measurements: []measurement{
			{untraced, "s", "", goal{}, w.alone()},
			{"untraced, beside a session", "s", untraced, goal{limit: 1.02}, w.beside},
			{"traced, contents off", "s", untraced, goal{limit: 1.15}, w.traced(stageOptions{})},
			{"traced, contents on", "s", untraced, goal{limit: 1.3}, w.traced(stageOptions{content: 256})},
			{"the same, without reads, closes, failed lookups", "s", untraced, goal{}, w.traced(stageOptions{content: 256, more: []string{"--leave-out", "reads,closes,lookups"}})},
			{"the same, without files of /usr", "s", untraced, goal{}, w.traced(stageOptions{content: 256, more: []string{"--leave-out-paths", "/usr"}})},
			{"contents on, backend beside", "s", untraced, goal{}, w.traced(stageOptions{content: 256, isReal: true})},
			{"strace -f -o /dev/null", "s", untraced, goal{}, w.alone("strace", "-f", "-o", "/dev/null")},
		}})
	}
	for _, c := range []calls{{"copy", "beside: read and write 64 KiB", 200_000, 1.02}, {"read", "beside: read 4 KiB", 3_000_000, 0}, {"getpid", "beside: getpid", 5_000_000, 0}} {
		all = append(all, scenario{name: c.name, measurements: []measurement{
			{"no session", "s", "", goal{}, c.alone},
			{"beside eBPF programs that do nothing", "s", "no session", goal{}, c.besideNothing},
			{"beside a session", "s", "no session", goal{limit: c.limit}, c.beside},
		}})
	}
	return append(all,
		scenario{name: "files: 100,000 events/s", measurements: []measurement{{"delivered or told as lost", "/s", "", goal{99_000, true}, files{programs: 1, rate: 100_000, events: 500_000}.measure}}},
		scenario{name: "files: the same, backend beside", once: true, measurements: []measurement{{"stored or told as lost", "/s", "", goal{}, files{programs: 1, rate: 100_000, events: 500_000, isReal: true}.measure}}},
		scenario{name: "files: as fast as all processors can", measurements: []measurement{{"delivered or told as lost", "/s", "", goal{}, files{programs: runtime.NumCPU(), events: 500_000}.measure}}},
		scenario{name: "files: the same, the agent held for 2 s", measurements: []measurement{{"delivered or told as lost", "/s", "", goal{}, files{programs: runtime.NumCPU(), events: 500_000, held: 2 * time.Second}.measure}}},
		scenario{name: "pauses: a spawned program, the agent held for 2 s", once: true, measurements: []measurement{{"runs in which nothing is lost", "of 20", "", goal{pausedRuns, true}, paused{events: 200_000, held: 2 * time.Second}.measure}}},
		scenario{name: "start", measurements: []measurement{{"until /health answers", "s", "", goal{limit: 1}, startToReady}}},
		scenario{name: "idle", once: true, measurements: []measurement{{"growth of the event rate", "×", "", goal{limit: 1.5}, idle}}},
	)
}

// measureAll runs the chosen scenarios and returns their samples in the order of the
// measurements. With an error it returns the samples of the scenarios before it. Each
// round begins with another measurement, so that none always follows the same one. A
// first run without a sample loads the files into memory.
func (l *lab) measureAll(ctx context.Context, all []scenario, o options) (map[string][][]sample, error) {
	samples := map[string][][]sample{}
	for _, s := range all {
		if !o.Scenarios.MatchString(s.name) {
			continue
		}
		of := make([][]sample, len(s.measurements))
		rounds := o.Rounds
		if s.once {
			rounds = 1
		} else {
			l.say("%s: warm-up", s.name)
			if _, err := s.measurements[0].run(ctx, l); err != nil {
				return samples, fmt.Errorf("%s: %w", s.name, err)
			}
		}
		for round := range rounds {
			for turn := range s.measurements {
				i := (round + turn) % len(s.measurements)
				m := s.measurements[i]
				got, err := m.run(ctx, l)
				if err != nil {
					return samples, fmt.Errorf("%s, %s: %w", s.name, m.name, err)
				}
				l.say("%s, round %d of %d: %s: %.4g %s %s", s.name, round+1, rounds, m.name, got.Value, m.unit, got.Faults)
				of[i] = append(of[i], got)
			}
		}
		samples[s.name] = of
	}
	if len(samples) == 0 {
		return nil, fmt.Errorf("no scenario has a name like %q", o.Scenarios)
	}
	return samples, nil
}
