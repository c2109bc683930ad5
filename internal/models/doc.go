// Package models holds the domain types: sessions, events, processes, agents and target
// files, the filters that select them, and the one error type of all layers.
//
// It knows nothing of HTTP, of GORM's API or of a database dialect. It imports the
// standard library only. The `gorm` struct tags are data for internal/database.
package models
