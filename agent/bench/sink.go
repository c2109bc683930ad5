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

// counts are the numbers of events of a session.
type counts struct {
	Events  int // without reports of losses and of what is left out
	Lost    int // sum of the reports of losses
	LeftOut int // events that the session's selection leaves out
	Pauses  int // of programs
	Matches int // file operations on the requested path
}

// sink replaces the backend. It stores request bodies and parses them only after the end
// of the session, so it costs almost nothing during the measurement.
type sink struct {
	mu       sync.Mutex
	sessions map[string]*kept
}

// kept are the request bodies of a session.
type kept struct {
	bodies []body
	keys   map[string]bool // of the batches; the agent may send one twice
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
	_, _ = io.WriteString(w, "{}") // an agent without the answer sends the batch again
}

// tell answers like a backend, but counts only the event session_end.
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
	_ = json.NewEncoder(w).Encode(a) // fails only if the client is gone
}

// count counts a session's events and deletes them.
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
	_ = json.NewEncoder(w).Encode(all) // fails only if the client is gone
}

// text returns a body's NDJSON.
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

// add counts events in NDJSON, as the agent sends and the backend exports them.
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
		case isOf(line, "events_left_out"):
			var told struct {
				Data struct{ Counts map[string]int }
			}
			if err := json.Unmarshal(line, &told); err != nil {
				return fmt.Errorf("read %s: %w", line, err)
			}
			c.LeftOut = 0 // the counts are those since the start
			for _, n := range told.Data.Counts {
				c.LeftOut += n
			}
			continue
		case isOf(line, "program_paused"):
			c.Pauses++
		case path != "" && isOf(line, "file_operation") && bytes.Contains(line, []byte(path)):
			c.Matches++
		}
		c.Events++
	}
	return nil
}

// isOf reports whether an event has a type. It does not parse the JSON, which would take
// ten times as long.
func isOf(line []byte, eventType string) bool {
	_, rest, found := bytes.Cut(line, []byte(`"event_type":`))
	return found && bytes.HasPrefix(bytes.TrimLeft(rest, " "), []byte(`"`+eventType+`"`))
}
