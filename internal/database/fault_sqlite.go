package database

import (
	"errors"

	modernc "modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

func (*sqliteDialect) badContent(err error) bool {
	e, ok := errors.AsType[*modernc.Error](err)
	if !ok || e.Code() == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY { // about a missing row, not about a value
		return false
	}
	switch e.Code() & 0xff { // the primary result code
	case sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG:
		return true
	}
	return false
}

func (*sqliteDialect) reason(err error) string {
	e, ok := errors.AsType[*modernc.Error](err)
	if !ok {
		return ""
	}
	switch e.Code() & 0xff {
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		return "another program holds the database"
	case sqlite3.SQLITE_CANTOPEN:
		return "the database's file cannot be opened"
	case sqlite3.SQLITE_CONSTRAINT:
		return "a rule of the database refuses the value"
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return "the database's file is damaged"
	case sqlite3.SQLITE_ERROR, sqlite3.SQLITE_SCHEMA:
		return "a table or column that the backend needs is missing in the database, or is another one"
	case sqlite3.SQLITE_FULL:
		return "the database's disk is full"
	case sqlite3.SQLITE_IOERR:
		return "the database's disk reports an error"
	case sqlite3.SQLITE_MISMATCH:
		return "the database takes no such value"
	case sqlite3.SQLITE_NOMEM:
		return "the backend is out of memory"
	case sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH:
		return "the backend may not use the database's file (missing privilege)"
	case sqlite3.SQLITE_READONLY:
		return "the database is read-only"
	case sqlite3.SQLITE_TOOBIG:
		return "the value is larger than the database's limits"
	}
	return "SQLite reports an error"
}
