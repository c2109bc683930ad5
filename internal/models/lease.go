package models

// Lease lets one backend at a time do something, by name. It expires unless the holder
// renews it, so a dead backend does not block others for long.
type Lease struct {
	Name   string `gorm:"primaryKey;type:varchar(300)"`
	Holder string `gorm:"type:varchar(64);not null"`
	Until  int64  `gorm:"not null"` // microseconds since 1970, by the database's clock
}

// AgentLease returns the name of the lease of the backend that checks an agent's
// health.
func AgentLease(agentID string) string { return "agent:" + agentID }
