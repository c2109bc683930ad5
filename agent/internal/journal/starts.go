//go:build linux

package journal

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// maxStarts is how many starts are kept: the newest, and all that are not over.
const maxStarts = 4096

// StartState is the state of a start.
type StartState string

// The states. A start goes from starting to running to ended, or from starting to not_run
// or failed.
const (
	StartUnknown  StartState = "unknown" // the agent does not know the id
	StartStarting StartState = "starting"
	StartRunning  StartState = "running"
	StartEnded    StartState = "ended"
	StartNotRun   StartState = "not_run" // nothing ran or will run; the session has no event of this start
	StartFailed   StartState = "failed"  // it failed after session_start: the session has events of this start
)

// Start is one start of a session. The backend chose its ID.
type Start struct {
	ID        string     `json:"start_id"`
	SessionID string     `json:"session_id"`
	State     StartState `json:"state"`
	ProcessID int        `json:"process_id"` // of the spawned program; 0: none
	Code      string     `json:"code"`       // of a refusal; "" for none
	Reason    string     `json:"reason"`     // why it did not run, why it failed, or how it ended
	At        time.Time  `json:"at"`         // when it reached State
}

// Starts records starts on disk. The agent uses it to run each start at most once, and to
// answer a backend that asks for the state of a start, even after the agent was killed.
// Starts keeps one file per start, in its own folder. All methods may be called
// concurrently.
type Starts struct {
	dir string

	mu   sync.Mutex
	byID map[string]Start
}

// OpenStarts opens the starts in dir and creates dir if needed. left are the sessions that
// ran when the last run of the agent was killed: OpenStarts marks their starts as ended.
// It marks every other start that was starting as not_run. It keeps a file that it cannot
// read and adds the error to faults.
func OpenStarts(dir string, left []Record) (s *Starts, faults []error, err error) {
	if err := makeDir(dir); err != nil {
		return nil, nil, err
	}
	s = &Starts{dir: dir, byID: map[string]Start{}}
	files, err := filepath.Glob(filepath.Join(dir, "*"+recordSuffix))
	if err != nil {
		return nil, nil, fmt.Errorf("read the starts: %w", err)
	}
	for _, file := range files {
		start, err := readStart(file)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		s.byID[start.ID] = start
		isLeft := slices.ContainsFunc(left, func(r Record) bool { return r.StartID == start.ID })
		switch {
		case start.State == StartRunning || start.State == StartStarting && isLeft:
			start.State, start.Reason = StartEnded, "the agent was ended while the session ran, and restarted"
		case start.State == StartStarting:
			start.State, start.Reason = StartNotRun, "the agent was ended before it ran anything, and restarted"
		default:
			continue
		}
		if err := s.Put(start); err != nil {
			return nil, nil, err
		}
	}
	return s, faults, nil
}

func readStart(file string) (Start, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return Start{}, fmt.Errorf("read a start: %w", err)
	}
	var start Start
	if err := json.Unmarshal(text, &start); err != nil {
		return Start{}, fmt.Errorf("read the start %s: %w", file, err)
	}
	if name(start.ID) != filepath.Base(file) {
		return Start{}, fmt.Errorf("the file %s does not name its start", file)
	}
	return start, nil
}

// Get returns a start. If the id is not known, its State is StartUnknown.
func (s *Starts) Get(id string) Start {
	s.mu.Lock()
	defer s.mu.Unlock()
	if start, known := s.byID[id]; known {
		return start
	}
	return Start{ID: id, State: StartUnknown}
}

// Put stores a start, replaces its earlier state, and sets At to now. When it returns
// without an error, the start survives a power cut. The caller must not call Put
// concurrently for the same start.
func (s *Starts) Put(start Start) error {
	start.At = time.Now().UTC().Truncate(time.Microsecond)
	s.mu.Lock()
	s.byID[start.ID] = start
	err := s.forget()
	s.mu.Unlock()
	return errors.Join(err, writeRecord(filepath.Join(s.dir, name(start.ID)), start))
}

// forget removes the oldest starts that are over, if there are more than maxStarts. The
// caller holds mu.
func (s *Starts) forget() error {
	if len(s.byID) <= maxStarts {
		return nil
	}
	var over []Start
	for _, start := range s.byID {
		if start.State != StartStarting && start.State != StartRunning {
			over = append(over, start)
		}
	}
	slices.SortFunc(over, func(a, b Start) int { return a.At.Compare(b.At) })
	var failed []error
	for _, start := range over[:min(len(over), maxStarts/8)] {
		failed = append(failed, os.Remove(filepath.Join(s.dir, name(start.ID))))
		delete(s.byID, start.ID)
	}
	return errors.Join(failed...)
}
