package models

import "time"

// DefaultAgentID is the ID of the first configured agent: the one at AGENT_SERVICE_URL
// of every backend that names no other.
const DefaultAgentID = "default"

// MaxAgents is the largest number of stored agents.
const MaxAgents = 100

// AgentStatus is the result of the last health check or heartbeat.
type AgentStatus string

// An agent is unknown until its first health check or heartbeat.
const (
	AgentUnknown AgentStatus = "unknown"
	AgentUp      AgentStatus = "up"
	AgentDown    AgentStatus = "down"
)

// Agent is a service on a monitored machine that runs or watches programs and sends
// their events.
type Agent struct {
	ID         string      `gorm:"primaryKey;type:varchar(255)"`
	Name       string      `gorm:"type:varchar(255);not null"`
	URL        string      `gorm:"column:url;type:text;not null"`
	Status     AgentStatus `gorm:"type:varchar(16);not null;default:unknown"`
	LastError  string      `gorm:"column:last_error;type:text;not null;default:''"` // why it is down
	LastSeenAt *time.Time  `gorm:"column:last_seen_at"`                             // the last answer or heartbeat
	// ServiceURL is the AGENT_SERVICE_URL of the backends whose own agent this is. Only
	// an operator sets it, and backends call no other URL. It is "" for an agent that
	// is known only by its heartbeats.
	ServiceURL string `gorm:"column:service_url;type:text;not null;default:''"`

	CreatedAt time.Time `gorm:"autoCreateTime"`
	UpdatedAt time.Time `gorm:"autoUpdateTime"`

	// The last heartbeat of the agent. The fields are empty for an agent that sends none.
	HeartbeatAt  *time.Time    `gorm:"column:heartbeat_at"`                  // the last one
	Address      string        `gorm:"type:varchar(64);not null;default:''"` // its IP address
	Version      string        `gorm:"type:text;not null;default:''"`
	Platform     string        `gorm:"type:text;not null;default:''"`
	Arch         string        `gorm:"type:text;not null;default:''"`
	Sensor       string        `gorm:"type:text;not null;default:''"`
	Capabilities []Capability  `gorm:"type:text;serializer:json"`
	StartOptions *StartOptions `gorm:"column:start_options;type:text;serializer:json"` // nil if it reports none
	SessionIDs   []string      `gorm:"column:session_ids;type:text;serializer:json"`   // sessions that it reports as running
	Delivery     AgentDelivery `gorm:"type:text;serializer:json"`
	EventClasses []string      `gorm:"column:event_classes;type:text;serializer:json"` // that a session can leave out
	// FetchesWork says that the agent asks the backend for its work. The backend does not
	// call it then.
	FetchesWork bool `gorm:"column:fetches_work;not null;default:false"`
}

// Capability is something that an agent may be able to do on its machine.
type Capability struct {
	Name      string `json:"name"`
	Supported bool   `json:"supported"`
	Reason    string `json:"reason"` // why it is not supported
	Remedy    string `json:"remedy"` // how to make it supported
}

// StartOptions are what the start of a file may ask of an agent, and what it gets if it
// does not ask.
type StartOptions struct {
	Networks       []string `json:"networks"`        // all that are allowed: none, nat, host
	Network        string   `json:"network"`         // the one without a request
	TimeoutSeconds int      `json:"timeout_seconds"` // the most, and without a request
	MinMemoryMB    int      `json:"min_memory_mb"`
	MemoryMB       int      `json:"memory_mb"` // the most, and without a request
}

// AgentDelivery counts an agent's events by their fate since the agent was started.
type AgentDelivery struct {
	Delivered int64 `json:"delivered"`
	Lost      int64 `json:"lost"`
	Queued    int64 `json:"queued_events"`  // in its memory
	Spooled   int64 `json:"spooled_events"` // on its disk
}
