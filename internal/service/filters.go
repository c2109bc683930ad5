package service

import (
	"context"
	"sync"
	"time"

	"ospulse/internal/attack"
	"ospulse/internal/detect"
	"ospulse/internal/filter"
	"ospulse/internal/models"
)

// Filters completes filters with what is known of a session: its processes, its findings, and
// the routine rules that are in force. It is safe for concurrent use.
type Filters struct {
	families  *Families
	detection *Detection

	mu   sync.Mutex
	kept []keptFindings // the one that was used last is last
}

// keptFindings are the findings of a session after some progress of its detection. A session
// that was deleted and imported again has another creation time.
type keptFindings struct {
	detection models.Detection
	createdAt time.Time
	findings  []models.Finding
}

// maxKeptFindings is how many sessions' findings are kept. A finding takes some 10 KB.
const maxKeptFindings = 8

// NewFilters returns the service over those that know processes and findings.
func NewFilters(families *Families, detection *Detection) *Filters {
	return &Filters{families: families, detection: detection}
}

// Complete returns a filter for the events of a session that knows what it names: processes,
// routine rules and findings. It returns not_found for an unknown session, and invalid if the
// session has no such process or the routine rules have too many tests.
func (s *Filters) Complete(ctx context.Context, sessionID string, where *filter.Filter) (*filter.Filter, error) {
	if where.NamesKnown() {
		known, err := s.known(ctx, sessionID)
		if err != nil {
			return nil, err
		}
		if where, err = where.WithKnown(known); err != nil {
			return nil, err
		}
	}
	return s.families.Complete(ctx, sessionID, where)
}

func (s *Filters) known(ctx context.Context, sessionID string) (*filter.Known, error) {
	session, err := s.detection.sessions.Get(ctx, sessionID)
	if err != nil {
		return nil, err
	}
	// The findings are read after the progress, so they are of it or later.
	progress, upTo, err := s.detection.progress(ctx, sessionID)
	if err != nil {
		return nil, err
	}
	wanted := keptFindings{detection: progress, createdAt: session.CreatedAt}
	found, isKept := s.take(&wanted)
	if !isKept {
		if found, err = s.detection.stored.ListOfSession(ctx, sessionID); err != nil {
			return nil, err
		}
		for i := range found {
			found[i].Tags = attack.WithCurrent(found[i].Tags)
		}
	}
	wanted.findings = found
	s.put(wanted)
	return &filter.Known{Routine: detect.Routine(s.detection.rules.List()), Findings: found, UpTo: upTo}, nil
}

// take removes the findings of a session, and returns them if they are of the wanted progress.
func (s *Filters) take(wanted *keptFindings) (found []models.Finding, isKept bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, k := range s.kept {
		if k.detection.SessionID == wanted.detection.SessionID {
			s.kept = append(s.kept[:i:i], s.kept[i+1:]...)
			return k.findings, k.createdAt.Equal(wanted.createdAt) && k.detection.Rules == wanted.detection.Rules && k.detection.UpTo == wanted.detection.UpTo
		}
	}
	return nil, false
}

func (s *Filters) put(k keptFindings) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept = append(s.kept, k)
	if len(s.kept) > maxKeptFindings {
		s.kept = s.kept[1:]
	}
}

// progress returns how far rules have been applied to a session, as it is stored, and the Seq
// up to which all findings of these rules are stored.
func (d *Detection) progress(ctx context.Context, sessionID string) (stored models.Detection, upTo int64, err error) {
	// What was seen is read first: what was found in it has been stored before.
	d.mu.Lock()
	seen, rules := int64(0), ""
	if state := d.known[sessionID]; state != nil {
		seen, rules = state.seen, state.set.version
	}
	d.mu.Unlock()
	if stored, err = d.stored.GetDetection(ctx, sessionID); err != nil {
		return stored, 0, err
	}
	stored.SessionID, upTo = sessionID, stored.UpTo
	if stored.Rules == rules {
		upTo = max(upTo, seen)
	}
	return stored, upTo, nil
}
