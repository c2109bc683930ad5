package models

// Lease lets one backend at a time do something, by name. One that is not renewed
// ends by itself, so a backend that dies holds nothing up for long.
type Lease struct {
	Name   string `gorm:"primaryKey;type:varchar(300)"`
	Holder string `gorm:"type:varchar(64);not null"`
	Until  int64  `gorm:"not null"` // microseconds since 1970, by the database's clock
}

// AgentLease names the lease of the backend that asks an agent how it is.
func AgentLease(agentID string) string { return "agent:" + agentID }
