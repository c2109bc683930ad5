package models

import "time"

// StartGrace is how long a starting session gets the events that name no session,
// counted from the request to its agent. For the same time the backend sends a start
// again if the agent has not received it.
const StartGrace = time.Minute

// SessionRun is a span of time in which an agent monitored for a session, by the clock
// of the database. The database writes it when a session starts or ends: see the
// migration session_runs.
type SessionRun struct {
	ID        uint64    `gorm:"primaryKey;autoIncrement"`
	SessionID string    `gorm:"column:session_id;type:varchar(255);not null;index:idx_session_runs_session"`
	AgentID   string    `gorm:"column:agent_id;type:varchar(255);not null;index:idx_session_runs_agent,priority:1"`
	StartedAt time.Time `gorm:"column:started_at;not null"`
	EndedAt   time.Time `gorm:"column:ended_at;not null;index:idx_session_runs_agent,priority:2"` // in the year 9999 while it lasts

	Session *Session `gorm:"foreignKey:SessionID;references:ID;constraint:OnDelete:CASCADE"`
}
