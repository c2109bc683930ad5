package database

import (
	"context"
	"errors"
)

// BadContent reports whether err is about the values that were to be stored: the
// database will never take them, however often it is asked. Every other error may
// go away: with time, or when an operator repairs something. A missing row that
// another one refers to is of the second kind: it was deleted meanwhile.
func (db *DB) BadContent(err error) bool { return db.dialect.badContent(err) }

// Reason says in a sentence for people what err means. It holds no SQL, no path and
// no value.
func (db *DB) Reason(err error) string {
	if reason := db.dialect.reason(err); reason != "" {
		return reason
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "the database did not answer in time"
	case errors.Is(err, errWeak):
		return "the database server runs with fsync = off, which is not allowed"
	case db.Unavailable(err):
		return "the database does not answer"
	}
	return "the backend does not know this error; its log has it"
}
