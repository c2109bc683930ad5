//go:build linux

package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"ospulse/test/testbed"
)

// drainTimeout is how long the agent may take to deliver all events of a session.
const drainTimeout = 3 * time.Minute

// session starts a session, calls fn and stops the session. It returns the ID when all
// events are delivered. With pids the session has mode 2, else mode 1.
func (st *stage) session(ctx context.Context, pids []int, fn func(id string) error) (id string, err error) {
	id, url, stop := rand.Text(), st.agent.URL, "/api/stop-monitor"
	if st.isReal { // like a user
		url, stop = st.backend.URL, "/api/monitor/stop"
		if id, err = testbed.UploadFile(ctx, url, "sample.sh", "true\n"); err != nil {
			return "", err
		}
	}
	request := map[string]any{"sessionId": id, "mode": 1}
	if len(pids) > 0 {
		request["mode"], request["processes"] = 2, pids
	}
	if err := testbed.Post(ctx, url+"/api/start-monitor", request); err != nil {
		return "", err
	}
	if err := fn(id); err != nil {
		return "", err
	}
	if err := testbed.Post(ctx, url+stop, map[string]any{"sessionId": id}); err != nil {
		return "", err
	}
	return id, st.drained(ctx, id)
}

// drained waits until the session's last event has arrived.
func (st *stage) drained(ctx context.Context, session string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, drainTimeout, fmt.Errorf("the session's end has not arrived after %s", drainTimeout))
	defer cancel()
	for {
		a, err := st.arrived(ctx, session)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil || a.isEnded():
			return err
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}

// arrived counts the events of a session that have arrived.
type arrived struct {
	Events int            `json:"event_count"`
	Types  map[string]int `json:"event_counts"`
}

func (a arrived) isEnded() bool { return a.Types["session_end"] > 0 }

func (st *stage) arrived(ctx context.Context, session string) (a arrived, err error) {
	text, err := testbed.Call(ctx, http.MethodGet, st.backend.URL+"/api/sessions/"+session, "", nil)
	if err == nil {
		err = json.Unmarshal(text, &a)
	}
	return a, err
}

// counts counts the events of an ended session, and those that name path.
func (st *stage) counts(ctx context.Context, session, path string) (c counts, err error) {
	if !st.isReal {
		text, err := testbed.Call(ctx, http.MethodDelete, st.backend.URL+"/api/sessions/"+session+"?path="+url.QueryEscape(path), "", nil)
		if err == nil {
			err = json.Unmarshal(text, &c)
		}
		return c, err
	}
	err = st.export(ctx, session, func(line []byte) error { return c.add(line, path) })
	return c, err
}

// export calls each with every event of a session that a real backend has stored.
func (st *stage) export(ctx context.Context, session string, each func(line []byte) error) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, st.backend.URL+"/api/sessions/"+session+"/export?format=ndjson", nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("export: %s", response.Status)
	}
	for lines := bufio.NewReaderSize(response.Body, 1<<20); ; {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			if err := each(line); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("read the export: %w", err)
		}
	}
}

// pause waits for d or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
