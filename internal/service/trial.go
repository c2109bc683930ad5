package service

import (
	"context"
	"log/slog"
	"time"

	"ospulse/internal/detect"
	"ospulse/internal/models"
)

// TrialSessions finds the sessions of a trial. *repository.Sessions implements it and
// documents its contracts.
type TrialSessions interface {
	Get(ctx context.Context, id string) (*models.Session, error)
	List(ctx context.Context, filter models.SessionFilter) ([]models.Session, error)
}

// Trials applies a rule to stored events without keeping what it finds. The result is what
// Detection finds with the rule: both run the same code. It is safe for concurrent use.
type Trials struct {
	sessions TrialSessions
	events   EventReader
	rules    *Rules // parse what users write
	log      *slog.Logger
}

// NewTrials returns the trials over stored sessions and events.
func NewTrials(sessions TrialSessions, events EventReader, rules *Rules, log *slog.Logger) *Trials {
	return &Trials{sessions, events, rules, log}
}

const (
	// trialSessions is how many sessions a trial evaluates unless the caller names some.
	trialSessions = 20
	// maxTrialSessions is how many sessions the caller may name.
	maxTrialSessions = 100
	// trialSeqs is how many events of a session are named. All are counted.
	trialSeqs = 100
)

// Trial is the result of a trial.
type Trial struct {
	Rule       *detect.Rule
	Sessions   []SessionTrial // in the order of the caller, or the newest first
	Events     int64          // that were evaluated
	IsComplete bool           // false if the time did not suffice for all events
	Took       time.Duration
}

// SessionTrial is what a rule would find in a session.
type SessionTrial struct {
	SessionID string
	Count     int64   // of events that match
	Failed    int64   // of these events
	Seqs      []int64 // of the first of them
	UpTo      int64   // the Seq of the last event that was evaluated; 0 for none
	Total     int64   // the session's events
}

// Try applies the rule of a text to the events of some sessions, or of the newest ones if ids
// is nil. If ids is empty, it only checks the rule. It uses three quarters of the time that ctx leaves, and then returns what it has.
// A rule that cannot run is evaluated nowhere. Errors: invalid for a broken rule, not_found
// for an unknown session.
func (t *Trials) Try(ctx context.Context, text string, ids []string) (Trial, error) {
	began, until := time.Now(), time.Time{}
	if deadline, ok := ctx.Deadline(); ok {
		until = began.Add(time.Until(deadline) * 3 / 4)
	}
	rule, err := t.rules.parse(text)
	if err != nil {
		return Trial{}, err
	}
	rule.Key = rule.ID
	sessions, err := t.selected(ctx, ids)
	if err != nil {
		return Trial{}, err
	}
	trial := Trial{Rule: rule, IsComplete: true, Sessions: []SessionTrial{}}
	running, conditions := detect.Running([]detect.Rule{*rule})
	if len(running) == 0 {
		return trial, nil
	}
	set := &ruleSet{running, detect.Version(running), detect.New(conditions)}
	d := &Detection{events: t.events, log: t.log}
	memory := &models.EventMemory{}
	for i := range sessions {
		found, err := d.try(ctx, set, &sessions[i], until, memory)
		if err != nil {
			return Trial{}, err
		}
		trial.Sessions = append(trial.Sessions, found)
		trial.Events += max(found.UpTo-sessions[i].ExpiredSeq, 0)
		trial.IsComplete = trial.IsComplete && found.UpTo == found.Total
	}
	trial.Took = time.Since(began)
	return trial, nil
}

func (t *Trials) selected(ctx context.Context, ids []string) (sessions []models.Session, err error) {
	if ids == nil {
		return t.sessions.List(ctx, models.SessionFilter{Limit: trialSessions})
	}
	if len(ids) > maxTrialSessions {
		return nil, models.Errorf(models.CodeInvalid, "session_ids has %d sessions; at most %d are taken", len(ids), maxTrialSessions)
	}
	for _, id := range ids {
		session, err := t.sessions.Get(ctx, id)
		if err != nil {
			return nil, err
		}
		sessions = append(sessions, *session)
	}
	return sessions, nil
}

// try applies a set with one rule to the events of a session until a time, if it is not zero.
func (d *Detection) try(ctx context.Context, set *ruleSet, session *models.Session, until time.Time, memory *models.EventMemory) (SessionTrial, error) {
	result := SessionTrial{SessionID: session.ID, Total: session.EventCount, Seqs: []int64{}}
	if session.IsBackfilling() { // the events lack what rules read
		return result, nil
	}
	s := step{Detection: d, id: session.ID, memory: memory, found: map[int]*models.Finding{}}
	var err error
	if s.state, err = s.stateAt(ctx, set, models.Detection{}, session.ExpiredSeq); err != nil {
		return result, err
	}
	for s.state.upTo < session.EventCount && (until.IsZero() || time.Now().Before(until)) {
		if err := s.page(ctx, session.EventCount); err != nil {
			return result, err
		}
	}
	result.UpTo = s.state.upTo
	if found := s.found[0]; found != nil {
		result.Count, result.Failed, result.Seqs = found.Count, found.Failed, found.Seqs[:min(len(found.Seqs), trialSeqs)]
	}
	return result, nil
}
