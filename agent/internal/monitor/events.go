//go:build linux

package monitor

import (
	"encoding/json"
	"runtime"
	"time"

	"ospulse/agent/internal/event"
)

// The types of a session's own events.
const (
	typeStart = "session_start"
	typeEnd   = "session_end"
)

// Ending is how a spawned program and its descendants ended.
type Ending struct {
	ExitCode int     `json:"exitCode"`          // -1: unknown
	Signal   int     `json:"signal,omitempty"`  // the one that killed the program; 0: it exited by itself
	Reason   string  `json:"reason"`            // exited, killed, timeout, stopped …
	Detail   any     `json:"sandbox,omitempty"` // further facts from the sandbox
	Seconds  float64 `json:"durationSeconds"`
}

// started is the data of session_start: the keys of the wire contract, then our own.
type started struct {
	SessionID   string    `json:"sessionId"`
	ProcessName string    `json:"processName"`
	ProcessID   int       `json:"processId"`
	Timestamp   eventTime `json:"timestamp"`
	Platform    string    `json:"platform"`
	Arch        string    `json:"arch"`
	Mode        int       `json:"mode"`
	FileName    string    `json:"fileName,omitempty"`
	SHA256      string    `json:"sha256,omitempty"`
	Processes   []int     `json:"processes,omitempty"`
	Run         any       `json:"run,omitempty"` // in mode 3: what is run, and how
	Sensor      string    `json:"sensor"`
	Limits      string    `json:"sensorLimits,omitempty"`
	Selection   any       `json:"selection,omitempty"` // what the session leaves out; nil: nothing
	Excluded    []int     `json:"excludedProcesses"`
	Exclusions  []Own     `json:"exclusions"` // the same processes, described
	Version     string    `json:"agentVersion"`
}

// AppendJSON appends the data of the event.
func (s *started) AppendJSON(out []byte) []byte { return appendJSON(out, s) }

// ended is the data of session_end.
type ended struct {
	SessionID string    `json:"sessionId"`
	Mode      int       `json:"mode"`
	Timestamp eventTime `json:"timestamp"`
	ProcessID int       `json:"processId,omitempty"`
	Ending
}

// AppendJSON appends the data of the event.
func (e *ended) AppendJSON(out []byte) []byte { return appendJSON(out, e) }

func appendJSON(out []byte, value any) []byte {
	text, err := json.Marshal(value)
	if err != nil { // only Ending.Detail and Run can fail
		text, _ = json.Marshal(map[string]string{"error": err.Error()})
	}
	return append(out, text...)
}

// eventTime is a time in the format of events.
type eventTime time.Time

// MarshalJSON writes UTC with microseconds.
func (t eventTime) MarshalJSON() ([]byte, error) {
	return append(event.AppendTime([]byte{'"'}, time.Time(t)), '"'), nil
}

// Arch returns the architecture by the name that the old agents use.
func Arch() string {
	if runtime.GOARCH == "amd64" {
		return "x64"
	}
	return runtime.GOARCH
}
