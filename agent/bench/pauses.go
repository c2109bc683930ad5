//go:build linux

package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"mime/multipart"
	"net/http"
	"os"
	"strconv"
	"syscall"
	"time"

	"ospulse/test/testbed"
)

// pausedRuns is how often a program is spawned and paused.
const pausedRuns = 20

// paused spawns a program that causes that many events (times the scale) as fast as it can,
// while the agent is stopped for a time. The agent pauses the program, so that nothing is lost.
type paused struct {
	events int
	held   time.Duration
}

// measure returns in how many runs nothing was lost, and everything arrived.
func (p paused) measure(ctx context.Context, l *lab) (sample, error) {
	return l.withStage(ctx, stageOptions{content: 256}, func(st *stage) (s sample, err error) {
		name, err := st.upload(ctx, l.self)
		if err != nil {
			return s, err
		}
		for run := range pausedRuns {
			c, want, err := p.run(ctx, l, st, name)
			if err != nil {
				return s, fmt.Errorf("run %d: %w", run+1, err)
			}
			unaccounted := want - c.Matches - c.Lost
			s.Notes = append(s.Notes, fmt.Sprintf("run %d: %d events, %d lost, %d unaccounted, %d pauses", run+1, c.Matches, c.Lost, unaccounted, c.Pauses))
			if c.Lost == 0 && unaccounted == 0 {
				s.Value++
			}
			if c.Pauses == 0 {
				s.Faults = append(s.Faults, fmt.Sprintf("run %d: the program was not paused, so nothing was tested", run+1))
			}
			s.Events, s.Lost = s.Events+c.Events, s.Lost+c.Lost
		}
		return s, nil
	})
}

// run spawns the program once. It returns what arrived, and how many events of the program's
// file should.
func (p paused) run(ctx context.Context, l *lab, st *stage, name string) (c counts, want int, err error) {
	const path = "/tmp/paused"
	rounds := max(1, int(float64(p.events)*l.scale)/eventsPerRound)
	id := rand.Text()
	err = testbed.Post(ctx, st.agent.URL+"/api/start-monitor", map[string]any{
		"sessionId": id, "fileName": name, "mode": 3, "arguments": []string{sampleCommand, path, strconv.Itoa(rounds)},
	})
	if err == nil {
		err = st.holdAgent(ctx, p.held)
	}
	if err == nil {
		err = st.drained(ctx, id)
	}
	if err == nil {
		c, err = st.counts(ctx, id, `"`+path+`"`)
	}
	return c, rounds * eventsPerRound, err
}

// upload uploads a file to the agent and returns its name there.
func (st *stage) upload(ctx context.Context, path string) (name string, err error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	part, err := form.CreateFormFile("file", "sample")
	if err == nil {
		_, err = part.Write(content)
	}
	if err = errors.Join(err, form.Close()); err != nil {
		return "", err
	}
	text, err := testbed.Call(ctx, http.MethodPost, st.agent.URL+"/api/upload-file", form.FormDataContentType(), &body)
	var stored struct{ Filename string }
	if err == nil {
		err = json.Unmarshal(text, &stored)
	}
	return stored.Filename, err
}

// holdAgent stops the agent for a time.
func (st *stage) holdAgent(ctx context.Context, d time.Duration) error {
	if err := st.agent.Signal(syscall.SIGSTOP); err != nil {
		return fmt.Errorf("hold the agent: %w", err)
	}
	waited := pause(ctx, d)
	return errors.Join(waited, st.agent.Signal(syscall.SIGCONT))
}

// sampleCommand makes this program a spawned program: FILE ROUNDS. It does the rounds of
// filesCommand as fast as it can.
const sampleCommand = "be-sample"

func doSample(args []string) error {
	if len(args) != 2 {
		return errors.New("usage: " + sampleCommand + " FILE ROUNDS")
	}
	rounds, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	file, err := newRawFile(args[0])
	if err != nil {
		return err
	}
	for range rounds {
		if fault := file.round(); fault != 0 {
			return fmt.Errorf("work with %s: %w", args[0], fault)
		}
	}
	return nil
}
