package database

import (
	"context"
	"database/sql"
	"errors"
)

// BadContent reports whether err is about the values to be stored, so that the database
// will never accept them. Every other error may be temporary, or an operator can remove
// its cause. That includes a missing row that another row refers to: it was deleted
// meanwhile.
func (db *DB) BadContent(err error) bool { return db.dialect.badContent(err) }

// Reason returns a sentence that explains err to people. It contains no SQL, path or
// value.
func (db *DB) Reason(err error) string {
	if reason := db.dialect.reason(err); reason != "" {
		return reason
	}
	switch {
	case isLate(err):
		return "the database did not answer in time"
	case errors.Is(err, errWeak):
		return "the database server runs with fsync = off, which is not allowed"
	case db.Unavailable(err):
		return "the database does not answer"
	}
	return "the backend does not know this error; its log has it"
}

// isLate reports whether the context of a statement or of its transaction has ended: then
// database/sql rolls the transaction back, and later statements return ErrTxDone.
func isLate(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, sql.ErrTxDone)
}
