//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// sinkCommand makes this program the sink.
const sinkCommand = "be-sink"

// counts are of the events of a session.
type counts struct {
	Events  int // without those that tell of losses
	Lost    int // as those tell
	Matches int // file operations that name the path that was asked for
}

// sink is in a backend's place. It keeps what it gets as it comes, and looks at it
// only when the session has ended: meanwhile it costs next to nothing.
type sink struct {
	mu       sync.Mutex
	sessions map[string]*kept
}

// kept is what came of a session.
type kept struct {
	bodies []body
	keys   map[string]bool // a batch may come twice
}

type body struct {
	isZstd bool
	bytes  []byte
}

func newSink() http.Handler {
	s := &sink{sessions: map[string]*kept{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/events/batch", s.take)
	mux.HandleFunc("GET /api/sessions/{session}", s.tell)
	mux.HandleFunc("DELETE /api/sessions/{session}", s.count)
	return mux
}

func (s *sink) take(w http.ResponseWriter, r *http.Request) {
	text, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	session, key := r.URL.Query().Get("sessionId"), r.Header.Get("Idempotency-Key")
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.sessions[session]
	if k == nil {
		k = &kept{keys: map[string]bool{}}
		s.sessions[session] = k
	}
	if key == "" || !k.keys[key] {
		k.keys[key] = true
		k.bodies = append(k.bodies, body{r.Header.Get("Content-Encoding") == "zstd", text})
	}
	_, _ = io.WriteString(w, "{}") // an agent that is gone sends again
}

// tell tells whether a session's last event has come, as a backend does.
func (s *sink) tell(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	k := s.sessions[r.PathValue("session")]
	var last body
	if k != nil {
		last = k.bodies[len(k.bodies)-1]
	}
	s.mu.Unlock()
	text, err := last.text()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	a := arrived{Types: map[string]int{}}
	for line := range bytes.Lines(text) {
		if isOf(line, "session_end") {
			a.Types["session_end"]++
		}
	}
	_ = json.NewEncoder(w).Encode(a) // a bench that is gone is told nothing
}

// count counts a session's events, and forgets them.
func (s *sink) count(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	k := s.sessions[r.PathValue("session")]
	delete(s.sessions, r.PathValue("session"))
	s.mu.Unlock()
	var all counts
	if k != nil {
		for _, b := range k.bodies {
			text, err := b.text()
			if err == nil {
				err = all.add(text, r.URL.Query().Get("path"))
			}
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
		}
	}
	_ = json.NewEncoder(w).Encode(all) // a bench that is gone is told nothing
}

// text gives a body's NDJSON.
func (b body) text() ([]byte, error) {
	if !b.isZstd {
		return b.bytes, nil
	}
	decoder, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil, fmt.Errorf("make a decoder: %w", err)
	}
	defer decoder.Close()
	text, err := decoder.DecodeAll(b.bytes, nil)
	if err != nil {
		return nil, fmt.Errorf("read a batch: %w", err)
	}
	return text, nil
}

// add counts NDJSON of events, of the agent or of a backend's export.
func (c *counts) add(text []byte, path string) error {
	for line := range bytes.Lines(text) {
		switch {
		case isOf(line, "events_lost"):
			var told struct{ Data struct{ Count int } }
			if err := json.Unmarshal(line, &told); err != nil {
				return fmt.Errorf("read %s: %w", line, err)
			}
			c.Lost += told.Data.Count
			continue
		case path != "" && isOf(line, "file_operation") && bytes.Contains(line, []byte(path)):
			c.Matches++
		}
		c.Events++
	}
	return nil
}

// isOf reports whether an event is of a type. Most are counted by this: to read all
// of the JSON would take ten times as long.
func isOf(line []byte, eventType string) bool {
	_, rest, found := bytes.Cut(line, []byte(`"event_type":`))
	return found && bytes.HasPrefix(bytes.TrimLeft(rest, " "), []byte(`"`+eventType+`"`))
}
