//go:build linux

package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// files measures programs that cause events by file operations, each at rate events a
// second, or as fast as possible if rate is 0.
type files struct {
	programs, rate, events int           // events of each program, times the scale
	held                   time.Duration // how long the agent is stopped meanwhile
	isReal                 bool          // with a backend instead of the sink
}

func (f files) measure(ctx context.Context, l *lab) (sample, error) {
	return l.withStage(ctx, stageOptions{content: 256, isReal: f.isReal}, func(st *stage) (s sample, err error) {
		dir, err := os.MkdirTemp(l.dir, "files-")
		if err != nil {
			return s, err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
		rounds := max(1, int(float64(f.events)*l.scale)/eventsPerRound)
		path := filepath.Join(dir, "file")
		var programs []*held
		var pids []int
		for i := range f.programs {
			h, err := start(ctx, load{command: []string{l.self, filesCommand, path + strconv.Itoa(i), strconv.Itoa(rounds), strconv.Itoa(f.rate)}})
			if err != nil {
				return s, err
			}
			defer h.end()                                        //nolint:gocritic // few
			if _, err := h.stdout.ReadString('\n'); err != nil { // it is ready
				return s, err
			}
			programs, pids = append(programs, h), append(pids, h.pid())
		}
		id, err := st.session(ctx, pids, func(string) (err error) {
			s.Value, err = f.goOn(ctx, st, programs, rounds*eventsPerRound)
			return err
		})
		if err != nil {
			return s, err
		}
		for _, h := range programs {
			if err := h.finish(); err != nil {
				return s, err
			}
		}
		err = s.count(ctx, st, id, `"`+path, f.programs*rounds*eventsPerRound)
		if err == nil && f.held > 0 && s.Lost == 0 {
			s.Faults = append(s.Faults, "nothing was lost, so the reports of losses were not tested")
		}
		return s, err
	})
}

// goOn releases the programs, which cause that many events each, and returns the rate of
// all together.
func (f files) goOn(ctx context.Context, st *stage, programs []*held, events int) (rate float64, err error) {
	for _, h := range programs {
		if err := h.release(); err != nil {
			return 0, err
		}
	}
	if f.held > 0 {
		if err := st.holdAgent(ctx, f.held); err != nil {
			return 0, err
		}
	}
	for _, h := range programs {
		seconds, err := h.seconds()
		if err != nil {
			return 0, err
		}
		rate += float64(events) / seconds
	}
	return rate, nil
}
