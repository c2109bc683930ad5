//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// files are programs that do so many file operations each, at a rate, or at 0 as
// fast as they can.
type files struct {
	programs, rate, events int
	held                   time.Duration // that the agent is stopped meanwhile
	isReal                 bool          // with a backend
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
			s.Faults = append(s.Faults, "nothing was lost, so that nothing is known of how it is told")
		}
		return s, err
	})
}

// goOn releases programs that do so many events each, and gives the rate of all
// together.
func (f files) goOn(ctx context.Context, st *stage, programs []*held, events int) (rate float64, err error) {
	for _, h := range programs {
		if err := h.release(); err != nil {
			return 0, err
		}
	}
	if f.held > 0 {
		if err := st.agent.Signal(syscall.SIGSTOP); err != nil {
			return 0, fmt.Errorf("hold the agent: %w", err)
		}
		waited := pause(ctx, f.held)
		if err := errors.Join(waited, st.agent.Signal(syscall.SIGCONT)); err != nil {
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
