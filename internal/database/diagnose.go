package database

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"gorm.io/gorm"
)

// Diagnosis is what Diagnose found.
type Diagnosis struct {
	Facts    []string // one line each
	Warnings []string // one line each: what is wrong, and what to do
}

// Diagnose reads the settings of the database that an operator may have to change. It
// changes nothing. A pool has poolSize connections, as in Options.
func (db *DB) Diagnose(ctx context.Context, poolSize int) (Diagnosis, error) {
	return db.dialect.diagnose(db.Read(ctx), poolSize)
}

func (*sqliteDialect) diagnose(conn *gorm.DB, _ int) (d Diagnosis, err error) {
	var s struct {
		Version           string
		SizeBytes, Unused int64
	}
	err = conn.Raw(`SELECT sqlite_version() AS version, page_size * page_count AS size_bytes, page_size * freelist_count AS unused
		FROM pragma_page_size, pragma_page_count, pragma_freelist_count`).Scan(&s).Error
	d.Facts = []string{fmt.Sprintf("SQLite %s, %d MB, of which %d MB are free", s.Version, s.SizeBytes>>20, s.Unused>>20)}
	const most = 1 << 30
	if s.Unused > most && s.Unused > s.SizeBytes/2 {
		d.Warnings = append(d.Warnings, "most of the file is free space: stop the backend, and run ospulse-backend vacuum")
	}
	return d, err
}

// encryptionWarning says what is wrong with the encryption of a connection; "" for nothing,
// and for a server on this machine.
func encryptionWarning(config *pgconn.Config, encrypted bool) string {
	const remedy = ": set sslmode=verify-full in DATABASE_URL"
	switch t := config.TLSConfig; {
	case isLocal(config.Host):
		return ""
	case !encrypted:
		return "the connection is not encrypted" + remedy
	case t == nil || t.InsecureSkipVerify && t.VerifyPeerCertificate == nil:
		return "the server's certificate is not checked" + remedy
	}
	return ""
}

// isLocal reports whether a connection to a host of DATABASE_URL stays on this machine. A
// path is the folder of a Unix socket.
func isLocal(host string) bool {
	address, err := netip.ParseAddr(host)
	return host == "localhost" || strings.HasPrefix(host, "/") || err == nil && address.IsLoopback()
}

func (p *postgresDialect) diagnose(conn *gorm.DB, poolSize int) (d Diagnosis, err error) {
	var s struct {
		Version, Autovacuum, StatementTimeout, ReadOnly string
		Encrypted, Standby                              bool
		Connections                                     int
		SizeBytes                                       int64
	}
	err = conn.Raw(`SELECT current_setting('server_version') AS version, current_setting('autovacuum') AS autovacuum,
		current_setting('statement_timeout') AS statement_timeout, current_setting('default_transaction_read_only') AS read_only,
		COALESCE((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false) AS encrypted, pg_is_in_recovery() AS standby,
		current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int AS connections,
		pg_database_size(current_database()) AS size_bytes`).Scan(&s).Error
	if err != nil {
		return d, err
	}
	d.Facts = []string{fmt.Sprintf("PostgreSQL %s, %d MB, up to %d connections", s.Version, s.SizeBytes>>20, s.Connections)}
	warn := func(condition bool, text string) {
		if condition {
			d.Warnings = append(d.Warnings, text)
		}
	}
	warn(s.Standby || s.ReadOnly == "on", "the server accepts no writes: it is a standby, or default_transaction_read_only is on. For several hosts set target_session_attrs=read-write in DATABASE_URL")
	warn(s.Autovacuum != "on", "autovacuum is off, and the tables grow without end: set autovacuum = on")
	warn(s.StatementTimeout != "0", "statement_timeout is "+s.StatementTimeout+" and ends upgrades and long exports: ALTER ROLE … SET statement_timeout = 0")
	warn(poolSize+ingestConnections > s.Connections, fmt.Sprintf("this backend opens up to %d connections: lower DATABASE_POOL_SIZE, or raise max_connections", poolSize+ingestConnections))
	warning := encryptionWarning(&p.config.Config, s.Encrypted)
	warn(warning != "", warning)
	return d, nil
}
