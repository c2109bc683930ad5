package models

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"strings"
	"time"
)

// Role is what the holder of a key may do. The table of routes in openapi.yaml says which
// roles each route accepts.
type Role string

// The roles. Agent is for programs on monitored machines, which are hostile: it sends
// events and heartbeats of one agent and reads nothing. Each of the others may also do what
// the one before it may.
const (
	RoleAgent   Role = "agent"
	RoleViewer  Role = "viewer"
	RoleAnalyst Role = "analyst"
	RoleAdmin   Role = "admin"
)

// Roles are all roles.
var Roles = []Role{RoleAgent, RoleViewer, RoleAnalyst, RoleAdmin} //nolint:gochecknoglobals // a constant

// Limits of keys.
const (
	MaxKeys         = 1000 // that are neither revoked nor expired
	MaxKeyNameBytes = 200
)

// APIKey lets its holder use the API. The key itself is shown once and not stored.
type APIKey struct {
	ID         string     `gorm:"primaryKey;type:varchar(32)"`
	Hash       string     `gorm:"type:varchar(64);not null;uniqueIndex:idx_api_keys_hash"` // SHA-256 of the key, in hexadecimal
	Prefix     string     `gorm:"type:varchar(16);not null"`                               // the start of the key, by which people recognize it
	Name       string     `gorm:"type:text;not null"`                                      // the person or program that holds it
	Role       Role       `gorm:"type:varchar(16);not null"`
	AgentID    string     `gorm:"column:agent_id;type:varchar(255);not null;default:''"` // of a key of RoleAgent: the only agent for which it speaks
	AgentName  string     `gorm:"column:agent_name;type:text;not null;default:''"`       // the agent's name when the key was created
	CreatedAt  time.Time  `gorm:"not null"`
	CreatedBy  string     `gorm:"type:text;not null;default:''"` // the name of the actor
	LastUsedAt *time.Time `gorm:"column:last_used_at"`           // to about a minute; nil if never
	ExpiresAt  *time.Time `gorm:"column:expires_at"`             // nil if never
	RevokedAt  *time.Time `gorm:"column:revoked_at"`
}

// IsValid reports whether the key is accepted at a time.
func (k *APIKey) IsValid(at time.Time) bool {
	return k.RevokedAt == nil && (k.ExpiresAt == nil || at.Before(*k.ExpiresAt))
}

// SignIn is a browser that is signed in, with a key or by a person. Its cookie holds a
// random token.
type SignIn struct {
	Hash      string    `gorm:"primaryKey;type:varchar(64)"`                                    // SHA-256 of the token, in hexadecimal
	KeyID     string    `gorm:"column:key_id;type:varchar(32);not null;index:idx_sign_ins_key"` // or the ID of Person
	CreatedAt time.Time `gorm:"not null"`
	ExpiresAt time.Time `gorm:"column:expires_at;not null"`
	Person    Person    `gorm:"embedded"`                                          // the zero Person for a key
	Attempt   *string   `gorm:"type:varchar(64);uniqueIndex:idx_sign_ins_attempt"` // hash of the person's attempt, which works once; nil for a key
}

// Person is somebody who signed in at an OpenID Connect provider.
type Person struct {
	Issuer  string `gorm:"type:text;not null;default:''"`
	Subject string `gorm:"type:text;not null;default:''"` // who it is, for the issuer
	Name    string `gorm:"type:text;not null;default:''"` // what the provider calls them; others may have the same name
	Role    Role   `gorm:"type:varchar(16);not null;default:''"`
}

// ID returns what stands for the person where others have the ID of a key. It is the same
// for each sign-in, and differs from those of all keys.
func (p *Person) ID() string {
	sum := sha256.Sum256([]byte(p.Issuer + " " + p.Subject)) // an issuer has no blanks
	return "oidc-" + strings.ToLower(base32.StdEncoding.EncodeToString(sum[:])[:27])
}

// Actor is who sends a request.
type Actor struct {
	KeyID   string // or the ID of a Person; "" without a key
	Name    string // of the key or person; "" without one
	Role    Role
	AgentID string // of RoleAgent: the only agent for which it speaks; "" for any
	Address string // IP address
}

// IsAnonymous reports whether the actor sent no key, which is allowed only while no key is
// required, or from an address in AGENT_ALLOW.
func (a *Actor) IsAnonymous() bool { return a.KeyID == "" }

// MayDoAnything reports whether the actor sends a request while no key is required. An admin
// with a key may not send events, for example: they would be no agent's.
func (a *Actor) MayDoAnything() bool { return a.IsAnonymous() && a.Role == RoleAdmin }

type actorKey struct{}

// WithActor returns a context of the actor's request.
func WithActor(ctx context.Context, actor Actor) context.Context {
	return context.WithValue(ctx, actorKey{}, actor)
}

// ActorOf returns the actor whose request ctx belongs to; the zero Actor for work of the
// program itself.
func ActorOf(ctx context.Context) Actor {
	actor, _ := ctx.Value(actorKey{}).(Actor)
	return actor
}
