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

// maxStarts is how many starts are remembered: the newest, and all that run.
const maxStarts = 4096

// StartState is what became of a start.
type StartState string

// A start is starting, then running, then ended; or else not_run or failed.
const (
	StartUnknown  StartState = "unknown" // this agent never heard of it
	StartStarting StartState = "starting"
	StartRunning  StartState = "running"
	StartEnded    StartState = "ended"
	StartNotRun   StartState = "not_run" // nothing ran, nothing will, and the session has no event of it
	StartFailed   StartState = "failed"  // it failed after the session had begun: the session has events of it
)

// Start is a start of a session that a backend asked for, by the backend's id of it.
type Start struct {
	ID        string     `json:"start_id"`
	SessionID string     `json:"session_id"`
	State     StartState `json:"state"`
	ProcessID int        `json:"process_id"` // of what runs or ran; 0: none
	Code      string     `json:"code"`       // of a refusal; "" for none
	Reason    string     `json:"reason"`     // why it did not run, failed or ended
	At        time.Time  `json:"at"`         // when it came to its state
}

// Starts remembers starts on disk, so that none is carried out twice, and so that a
// backend can ask what became of one, also after the agent was killed. Each has a
// file in a folder of its own. Its methods may be called at any time.
type Starts struct {
	dir string

	mu   sync.Mutex
	byID map[string]Start
}

// OpenStarts gives the starts in dir, which it makes if need be. left are the
// sessions that ran when the last run of the agent was killed: their starts have
// ended. A start that was under way and is of none of them did not run. A file that
// cannot be read is left alone, and told of in faults.
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
		return Start{}, fmt.Errorf("the file %s is of no start", file)
	}
	return start, nil
}

// Get gives a start. One that is not known is StartUnknown.
func (s *Starts) Get(id string) Start {
	s.mu.Lock()
	defer s.mu.Unlock()
	if start, known := s.byID[id]; known {
		return start
	}
	return Start{ID: id, State: StartUnknown}
}

// Put keeps a start in place of what was known of it, as of now. When it returns
// without an error, that survives a power cut. Calls for one start must follow one
// another.
func (s *Starts) Put(start Start) error {
	start.At = time.Now().UTC().Truncate(time.Microsecond)
	s.mu.Lock()
	s.byID[start.ID] = start
	err := s.forget()
	s.mu.Unlock()
	return errors.Join(err, writeRecord(filepath.Join(s.dir, name(start.ID)), start))
}

// forget removes the oldest starts that are over, if there are too many.
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
