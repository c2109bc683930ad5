package models

// AgentRequest is a request of a backend to an agent that fetches its work, and the agent's
// answer. The backend that made it removes it.
type AgentRequest struct {
	ID      string `gorm:"primaryKey;type:varchar(32)"`
	AgentID string `gorm:"column:agent_id;type:varchar(255);not null;index:idx_agent_requests_agent"`
	Method  string `gorm:"type:varchar(16);not null"`
	Path    string `gorm:"type:text;not null"`
	StartID string `gorm:"column:start_id;type:varchar(64);not null;default:''"` // "" if it is about no start
	Body    []byte // JSON; nil for none
	// FileSHA256 is the target file that the agent downloads with the request; "" for none.
	FileSHA256 string `gorm:"column:file_sha256;type:varchar(64);not null;default:''"`
	Until      int64  `gorm:"not null"` // the agent may take it until then; microseconds since 1970, by the database's clock
	IsTaken    bool   `gorm:"column:is_taken;not null;default:false"`
	Status     int    `gorm:"not null;default:0"` // of the agent's answer; 0 until it is there
	Answer     []byte // its body
}

// Enrollment lets a new agent get its key once. Its token is shown once and not stored.
type Enrollment struct {
	Hash      string `gorm:"primaryKey;type:varchar(64)"` // SHA-256 of the token, in hexadecimal
	AgentID   string `gorm:"column:agent_id;type:varchar(255);not null"`
	AgentName string `gorm:"column:agent_name;type:text;not null"`
	CreatedBy string `gorm:"type:text;not null;default:''"` // the name of the actor
	Until     int64  `gorm:"not null"`                      // microseconds since 1970, by the database's clock
}
