package config

import (
	"errors"
	"strings"

	"github.com/jackc/pgx/v5"
)

// DatabaseURL is a PostgreSQL connection URL that does not show its password:
// printed, logged or marshalled it reads postgres://user:***@host:5432/name?***.
// The zero value means that none is set.
type DatabaseURL struct {
	// raw is behind a pointer because fmt prints unexported fields as they are:
	// of a pointer it shows the address.
	raw   *string
	shown string
}

// Reveal returns the URL with its password, to connect with; "" if none is set.
func (u DatabaseURL) Reveal() string {
	if u.raw == nil {
		return ""
	}
	return *u.raw
}

// String returns the URL with *** for the password, and for the query, which may
// contain another one; "" if none is set.
func (u DatabaseURL) String() string { return u.shown }

// MarshalText is String, for JSON and slog.
func (u DatabaseURL) MarshalText() ([]byte, error) { return []byte(u.shown), nil }

// databaseURL takes what pgx connects to, as far as it is clear where the
// password ends: an '@' or '/' in it must be percent-encoded.
func databaseURL(value string) (DatabaseURL, error) {
	scheme, rest, _ := strings.Cut(value, "://")
	if scheme != "postgres" && scheme != "postgresql" {
		return DatabaseURL{}, errors.New("postgres://user:password@host:5432/database, " +
			"or no value for the embedded SQLite database")
	}
	user, place, found := strings.Cut(rest, "@")
	if !found {
		user, place = "", rest
	}
	if strings.Contains(user, "/") || strings.Contains(place, "@") {
		return DatabaseURL{}, errors.New("a URL with one @, before the host; " +
			"in the password and elsewhere write %40 for @, %2F for /, %25 for %")
	}
	place, options, hasOptions := strings.Cut(place, "?")
	if !parses(value) {
		switch {
		case !parses("postgres://localhost"):
			return DatabaseURL{}, errors.New("the variables beside it that PostgreSQL clients read " +
				"(PGSSLMODE, PGPORT, PGSERVICE, ...) to be right, or unset")
		case parses(strings.TrimSuffix(value, "?"+options)):
			return DatabaseURL{}, errors.New("after the ? only options that PostgreSQL has " +
				"(sslmode, sslrootcert, target_session_attrs, ...), with values that it takes and files that exist")
		default:
			return DatabaseURL{}, errors.New("postgres://user:password@host:5432/database " +
				"(or several as host1:5432,host2:5432), with ports from 1 to 65535, " +
				"and in the password %40 for @, %2F for /, %25 for %, %20 for a blank")
		}
	}

	shown := scheme + "://"
	if found {
		name, _, hasPassword := strings.Cut(user, ":")
		if hasPassword {
			name += ":***"
		}
		shown += name + "@"
	}
	shown += place
	if hasOptions {
		shown += "?***"
	}
	return DatabaseURL{raw: &value, shown: shown}, nil
}

// parses reports whether pgx understands url. The errors of pgx stay here: they
// redact a malformed URL as well as they can, but not for certain.
func parses(url string) bool {
	_, err := pgx.ParseConfig(url)
	return err == nil
}
