package database

import (
	"errors"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// foreignKeyViolation is about a missing row, not about a value.
const foreignKeyViolation = "23503"

// badContent uses the classes of Appendix A of the PostgreSQL manual: data exception,
// integrity constraint violation, program limit exceeded.
func (*postgresDialect) badContent(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || e.Code == foreignKeyViolation {
		return false
	}
	return strings.HasPrefix(e.Code, "22") || strings.HasPrefix(e.Code, "23") || strings.HasPrefix(e.Code, "54")
}

// postgresReasons holds a sentence for each prefix of a SQLSTATE. The first match counts.
var postgresReasons = []struct{ code, reason string }{ //nolint:gochecknoglobals // a constant
	{"08", "the connection to the database broke"},
	{"22", "the database takes no such value"},
	{"23503", "the database misses a row that another one refers to"},
	{"23", "a rule of the database refuses the value"},
	{"25006", "the database is read-only"},
	{"28", "the database refuses the backend's role or password"},
	{"3D", "the database does not exist"},
	{"40", "the database undid the transaction because it got in the way of another one"},
	{"42501", "the backend's role lacks a privilege in the database (missing privilege)"},
	{"42", "a table, column or function that the backend needs is missing in the database, or is another one"},
	{"53100", "the database's disk is full"},
	{"53200", "the database is out of memory"},
	{"53300", "the database has no connection left"},
	{"53", "the database lacks a resource"},
	{"54", "the value is larger than the database's limits"},
	{"55P03", "somebody else holds a lock in the database"},
	{"55", "an object of the database is not in the state that is needed"},
	{"57014", "the database cancelled the statement, which took too long"},
	{"57", "the database is starting, stopping, or ended the connection"},
	{"58", "the database's machine reports an error, as of its disk"},
	{"XX001", "the database reports damaged data"},
	{"XX002", "the database reports a damaged index"},
	{"XX", "the database reports an error of its own"},
	{"", "the database refuses the statement"},
}

func (*postgresDialect) reason(err error) string {
	e, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return ""
	}
	for _, known := range postgresReasons {
		if strings.HasPrefix(e.Code, known.code) {
			return known.reason + " (SQLSTATE " + e.Code + ")"
		}
	}
	return ""
}
