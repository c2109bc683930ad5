package service

import (
	"context"
	"sync"
	"time"

	"ospulse/internal/filter"
	"ospulse/internal/models"
	"ospulse/internal/process"
)

// FamilyRepository reads the processes of sessions. internal/repository implements it and
// documents its contracts.
type FamilyRepository interface {
	ListFamily(ctx context.Context, sessionID string, limit int) ([]models.Process, error)
}

// Limits of families. A process takes some 170 bytes.
const (
	maxFamily       = 200_000 // processes of a session
	maxKeptFamilies = 4
)

// Families knows who started whom in a session. It keeps the families of the sessions that
// were asked for last. It is safe for concurrent use.
type Families struct {
	processes FamilyRepository
	sessions  SessionFinder

	mu   sync.Mutex
	kept []keptFamily // the one that was used last is last
}

// keptFamily is the family of a session with a certain ProcessVersion. A session that was
// deleted and imported again has another creation time.
type keptFamily struct {
	sessionID string
	createdAt time.Time
	version   int64
	*process.Family
}

// NewFamilies returns the service over its repositories.
func NewFamilies(processes FamilyRepository, sessions SessionFinder) *Families {
	return &Families{processes: processes, sessions: sessions}
}

// Complete returns a filter for the events of a session that knows the session's processes,
// if the filter names some. It returns not_found for an unknown session, and invalid if the
// session has no such process.
func (s *Families) Complete(ctx context.Context, sessionID string, where *filter.Filter) (*filter.Filter, error) {
	if !where.NamesProcesses() {
		return where, nil
	}
	family, err := s.Of(ctx, sessionID)
	if err == nil {
		err = checkWhole(family, sessionID)
	}
	if err != nil {
		return nil, err
	}
	return where.WithProcesses(family)
}

// checkWhole returns invalid for a family that is truncated: it may not know the process
// of an event.
func checkWhole(family *process.Family, sessionID string) error {
	if family.Truncated {
		return models.Errorf(models.CodeInvalid, "session %s has more than %d processes, too many to select events by their process", sessionID, maxFamily)
	}
	return nil
}

// Of returns the family of a session. It is truncated if the session has too many
// processes.
func (s *Families) Of(ctx context.Context, sessionID string) (*process.Family, error) {
	session, err := s.sessions.Get(ctx, sessionID)
	if err != nil {
		return nil, err
	}
	wanted := keptFamily{sessionID: sessionID, createdAt: session.CreatedAt, version: session.ProcessVersion}
	if wanted.Family = s.take(&wanted); wanted.Family == nil {
		// The processes are read after the session, so they are of its version or later.
		processes, err := s.processes.ListFamily(ctx, sessionID, maxFamily+1)
		if err != nil {
			return nil, err
		}
		wanted.Family = process.NewFamily(processes[:min(len(processes), maxFamily)])
		wanted.Truncated = len(processes) > maxFamily
	}
	s.put(wanted)
	return wanted.KnownUpTo(session.EventCount), nil
}

// take removes the family of a session, and returns it if it has the wanted version.
func (s *Families) take(wanted *keptFamily) (found *process.Family) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, k := range s.kept {
		if k.sessionID == wanted.sessionID {
			s.kept = append(s.kept[:i:i], s.kept[i+1:]...)
			if k.createdAt.Equal(wanted.createdAt) && k.version == wanted.version {
				found = k.Family
			}
			break
		}
	}
	return found
}

func (s *Families) put(k keptFamily) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept = append(s.kept, k)
	if len(s.kept) > maxKeptFamilies {
		s.kept = s.kept[1:]
	}
}
