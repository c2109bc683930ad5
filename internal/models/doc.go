// Package models holds what OS-Pulse is about: sessions, events, processes,
// agents and target files, the filters that select them, and the one error
// type that every layer speaks.
//
// It knows nothing of HTTP, of GORM's API or of a database dialect: it imports
// the standard library only. The `gorm` struct tags are data for
// internal/database.
package models
