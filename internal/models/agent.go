package models

import "time"

// DefaultAgentID is the agent at AGENT_SERVICE_URL.
const DefaultAgentID = "default"

// AgentStatus is what the last health check said.
type AgentStatus string

// An agent is unknown until it was asked for the first time.
const (
	AgentUnknown AgentStatus = "unknown"
	AgentUp      AgentStatus = "up"
	AgentDown    AgentStatus = "down"
)

// Agent is a service on a monitored machine that runs or watches programs and
// sends what they do.
type Agent struct {
	ID         string      `gorm:"primaryKey;type:varchar(255)"`
	Name       string      `gorm:"type:varchar(255);not null"`
	URL        string      `gorm:"column:url;type:text;not null"`
	Status     AgentStatus `gorm:"type:varchar(16);not null;default:unknown"`
	LastError  string      `gorm:"column:last_error;type:text;not null;default:''"` // why it is down
	LastSeenAt *time.Time  `gorm:"column:last_seen_at"`                             // the last answer
	CreatedAt  time.Time   `gorm:"autoCreateTime"`
	UpdatedAt  time.Time   `gorm:"autoUpdateTime"`
}
