//go:build linux

// Package journal records on disk which sessions run and what became of each start. If the
// agent is killed, its next run reports the sessions that were cut off. The package must
// not know how sessions are run.
package journal

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"ospulse/agent/internal/durable"
)

// aliveInterval is how often the journal notes that the agent runs.
const aliveInterval = time.Second

const (
	recordSuffix = ".json"
	aliveName    = "alive" // its modification time is the record
)

// Record is a session that runs, or ran when the agent was killed.
type Record struct {
	SessionID string    `json:"session_id"`
	Mode      int       `json:"mode"`
	ProcessID int       `json:"process_id"` // 0: none
	StartID   string    `json:"start_id"`   // "": the backend gave none
	Began     time.Time `json:"began"`
	// Alive is the time until which no event of the session can be missing. Open sets
	// it in the records that it returns, and stores it, since the next run may be
	// killed too.
	Alive time.Time `json:"alive,omitzero"`
}

// Journal keeps one file per running session, in its own folder. All methods may be
// called concurrently, except for the same session.
type Journal struct {
	dir string
}

// Open opens the journal in dir and creates dir if needed. left are the sessions that ran
// when an earlier run was killed, the oldest first. Open removes a record that it cannot
// read and adds the error to faults, since the session is then unknown.
func Open(dir string) (j *Journal, left []Record, faults []error, err error) {
	if err := makeDir(dir); err != nil {
		return nil, nil, nil, err
	}
	j = &Journal{dir}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("read the journal: %w", err)
	}
	var alive time.Time
	if info, err := os.Stat(j.path(aliveName)); err == nil {
		alive = info.ModTime().UTC()
	}
	for _, entry := range entries {
		if !strings.HasSuffix(entry.Name(), recordSuffix) {
			continue
		}
		r, err := j.read(entry.Name())
		if err != nil {
			faults = append(faults, errors.Join(err, os.Remove(j.path(entry.Name()))))
			continue
		}
		if r.Alive.IsZero() {
			r.Alive = r.Began
			if alive.After(r.Began) {
				r.Alive = alive
			}
		}
		if err := j.Begin(r); err != nil { // write it again: the sync of the earlier run may have failed
			return nil, nil, nil, err
		}
		left = append(left, r)
	}
	slices.SortFunc(left, func(a, b Record) int { return a.Began.Compare(b.Began) })
	return j, left, faults, j.note(time.Now())
}

func makeDir(dir string) error {
	if err := durable.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("create the journal's folder: %w", err)
	}
	return nil
}

func (j *Journal) path(name string) string { return filepath.Join(j.dir, name) }

// name returns the file name for a session or a start. It is a hash, because an id may
// have any characters.
func name(id string) string {
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:16]) + recordSuffix
}

func (j *Journal) read(file string) (Record, error) {
	text, err := os.ReadFile(j.path(file))
	if err != nil {
		return Record{}, fmt.Errorf("read the journal: %w", err)
	}
	var r Record
	if err := json.Unmarshal(text, &r); err != nil {
		return Record{}, fmt.Errorf("read the journal's %s: %w", file, err)
	}
	if name(r.SessionID) != file || r.Began.IsZero() {
		return Record{}, fmt.Errorf("the journal's %s does not name its session", file)
	}
	return r, nil
}

// Begin records that a session runs. If it returns no error, the record survives a power
// cut.
func (j *Journal) Begin(r Record) error { return writeRecord(j.path(name(r.SessionID)), r) }

// writeRecord replaces a file atomically. When it returns without an error, the file
// survives a power cut.
func writeRecord(path string, record any) error {
	text, err := json.Marshal(record)
	if err != nil {
		return fmt.Errorf("write the journal: %w", err)
	}
	file, err := os.OpenFile(path+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("write the journal: %w", err)
	}
	_, err = file.Write(text)
	if err = errors.Join(err, file.Sync(), file.Close()); err == nil {
		err = os.Rename(path+".new", path)
	}
	if err == nil {
		err = durable.SyncDir(filepath.Dir(path))
	}
	if err != nil {
		return fmt.Errorf("write the journal: %w", err)
	}
	return nil
}

// End removes the record of a session, if there is one.
func (j *Journal) End(sessionID string) error {
	if err := os.Remove(j.path(name(sessionID))); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("write the journal: %w", err)
	}
	return nil
}

// Clear removes the records of all sessions.
func (j *Journal) Clear() error {
	names, err := filepath.Glob(j.path("*" + recordSuffix))
	for _, path := range names {
		if removeErr := os.Remove(path); !errors.Is(removeErr, fs.ErrNotExist) {
			err = errors.Join(err, removeErr)
		}
	}
	if err != nil {
		return fmt.Errorf("clear the journal: %w", err)
	}
	return nil
}

// Run records every second that the agent is alive, until ctx ends. It records the result
// of safe: the time until which no event can be missing. It calls fault when writing
// starts to fail.
func (j *Journal) Run(ctx context.Context, safe func() time.Time, fault func(error)) {
	ticker := time.NewTicker(aliveInterval)
	defer ticker.Stop()
	for failing := false; ; {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		err := j.note(safe())
		if err != nil && !failing {
			fault(err)
		}
		failing = err != nil
	}
}

func (j *Journal) note(at time.Time) error {
	path := j.path(aliveName)
	err := os.Chtimes(path, at, at)
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.WriteFile(path, nil, 0o600); err == nil {
			err = os.Chtimes(path, at, at)
		}
	}
	if err != nil {
		return fmt.Errorf("note in the journal that the agent runs: %w", err)
	}
	return nil
}
