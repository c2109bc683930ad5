package handlers

import (
	"time"

	"ospulse/internal/models"
)

// sessionView is a session in lists, streams and on its own page. Times are RFC 3339,
// UTC, with microseconds.
type sessionView struct {
	ID                string          `json:"id"`
	State             models.State    `json:"state"`
	Name              string          `json:"name"`
	Notes             string          `json:"notes"`
	Tags              []string        `json:"tags"`
	FileName          string          `json:"file_name"`
	FileSHA256        *string         `json:"file_sha256"` // null for a session without a file
	FileSizeBytes     int64           `json:"file_size_bytes"`
	AgentID           *string         `json:"agent_id"`
	Delivered         bool            `json:"delivered"` // the agent has the file
	Mode              models.Mode     `json:"mode"`      // 0 until it is started
	ChosenPIDs        []int64         `json:"chosen_pids"`
	EventCount        int64           `json:"event_count"` // also the newest event's seq
	ExpiredSeq        int64           `json:"expired_seq"` // the events up to it expired
	Findings          findingCounts   `json:"findings"`
	Keep              bool            `json:"keep"` // retention does not remove it
	CreatedAt         string          `json:"created_at"`
	CreatedBy         *string         `json:"created_by"` // the name of a key; null without one
	UpdatedAt         string          `json:"updated_at"`
	ImportedAt        *string         `json:"imported_at"`   // null for a session of this installation
	ImportedFrom      *string         `json:"imported_from"` // its ID in the bundle
	MonitoringStarted *string         `json:"monitoring_started"`
	MonitoringEnded   *string         `json:"monitoring_ended"`
	End               *sessionEndView `json:"end"`                // null until it has ended, and if the reason is unknown
	StartError        *startErrorView `json:"start_error"`        // null unless the start failed or waits for something
	AgentSilentSince  *string         `json:"agent_silent_since"` // null unless it is active and its agent is silent
	Backfill          *backfillView   `json:"backfill"`           // null when the backfill is complete
}

// findingCounts says how many findings a session has.
type findingCounts struct {
	Version int64   `json:"version"` // grows when the findings change
	Highest *string `json:"highest"` // level; null without findings
	models.LevelCounts
}

func newFindingCounts(s *models.Session) findingCounts {
	return findingCounts{s.FindingVersion, orNull(s.Findings.Highest()), s.Findings}
}

// backfillView is the progress of a session's backfill.
type backfillView struct {
	Done  int64 `json:"done"` // events up to this seq have their search columns and processes
	Total int64 `json:"total"`
}

// newBackfillView returns nil when the backfill is complete.
func newBackfillView(s *models.Session) *backfillView {
	if !s.IsBackfilling() {
		return nil
	}
	return &backfillView{s.BackfilledSeq, s.BackfillUpTo}
}

// startErrorView is the reason for which a session's latest start failed or waits.
type startErrorView struct {
	Code       models.Code `json:"code"`
	Text       string      `json:"text"`
	MayHaveRun bool        `json:"may_have_run"` // if true, the session cannot be started again
}

func newStartErrorView(s *models.Session) *startErrorView {
	if s.StartError.Code == "" {
		return nil
	}
	return &startErrorView{s.StartError.Code, s.StartError.Text, s.StartError.MayHaveRun}
}

// sessionEndView is how a session ended.
type sessionEndView struct {
	Reason   models.EndReason `json:"reason"`
	At       string           `json:"at"`
	ExitCode *int64           `json:"exitCode"` // null if there is none, or it is unknown
	Signal   *int64           `json:"signal"`   // null if no signal ended the program
	Text     string           `json:"text"`
}

// newSessionEndView returns nil if it is unknown how the session ended.
func newSessionEndView(s *models.Session) *sessionEndView {
	if s.End.Reason == "" || s.MonitoringEnded == nil {
		return nil
	}
	return &sessionEndView{s.End.Reason, models.FormatTime(*s.MonitoringEnded), s.End.ExitCode, s.End.Signal, s.End.Text}
}

func newSessionView(s *models.Session) sessionView {
	return sessionView{
		ID: s.ID, State: s.State(), Name: s.Name, Notes: s.Notes, Tags: orEmpty(s.Tags),
		FileName: s.FileName, FileSHA256: s.FileSHA256, FileSizeBytes: s.FileSizeBytes,
		AgentID: s.AgentID, Delivered: s.Delivered(), Mode: s.Mode, ChosenPIDs: orEmpty(s.ChosenPIDs),
		EventCount: s.EventCount, ExpiredSeq: s.ExpiredSeq, Findings: newFindingCounts(s), Keep: s.Keep, CreatedAt: models.FormatTime(s.CreatedAt), CreatedBy: orNull(s.CreatedBy), UpdatedAt: models.FormatTime(s.UpdatedAt),
		ImportedAt: optionalTime(s.ImportedAt), ImportedFrom: orNull(s.ImportedFrom),
		MonitoringStarted: optionalTime(s.MonitoringStarted), MonitoringEnded: optionalTime(s.MonitoringEnded),
		End: newSessionEndView(s), StartError: newStartErrorView(s), AgentSilentSince: optionalTime(s.AgentSilentSince), Backfill: newBackfillView(s),
	}
}

// orEmpty returns an empty list for nil, because clients expect arrays and never null.
func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// orNull returns nil for "".
func orNull(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

func optionalTime(t *time.Time) *string {
	if t == nil {
		return nil
	}
	text := models.FormatTime(*t)
	return &text
}
