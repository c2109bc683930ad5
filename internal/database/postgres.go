package database

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/stdlib"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"gorm.io/gorm/migrator"
	"gorm.io/gorm/schema"
)

// minPostgres is the oldest supported server, as server_version_num.
const minPostgres = 12_00_00

// schemaLock is the key of the advisory lock under which the schema changes. The number
// is arbitrary.
const schemaLock int64 = 0x6f73_7075_6c73_65

// defaultApplication is the name under which backends connect.
const defaultApplication = "ospulse"

type postgresDialect struct {
	config      *pgx.ConnConfig // for connections outside of the pools
	application string          // the name under which backends with this URL connect
	texts       sync.Map        // numbered texts of bulk statements

	sync      string // synchronous_commit of every transaction that writes
	allowWeak bool
	seen      durability
	clock     clock
	peers     peers
	unlogged  atomic.Value // string: a table of this program that is empty after a crash; "" for none
}

func (*postgresDialect) name() string { return "postgres" }

// closeStatements does nothing: statements end with their connection.
func (*postgresDialect) closeStatements(*sql.DB) error { return nil }

// sessionLock is the namespace of the advisory locks of sessions. migrationLock is in
// another one: PostgreSQL keeps keys of two numbers apart from keys of one.
const sessionLock = 1

func (*postgresDialect) lockSession(tx *gorm.DB, sessionID string, shared bool) error {
	lock := "SELECT pg_advisory_xact_lock(?, hashtext(?))"
	if shared {
		lock = "SELECT pg_advisory_xact_lock_shared(?, hashtext(?))"
	}
	return tx.Exec(lock, sessionLock, sessionID).Error
}

func (*postgresDialect) viewOptions() *sql.TxOptions {
	return &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}
}

func (d *postgresDialect) transaction(ctx context.Context, write *gorm.DB, fn func(tx *gorm.DB) error) error {
	return write.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if err := d.makeDurable(tx); err != nil {
			return err
		}
		return fn(tx)
	})
}

// migrationLock is the key of the advisory lock that a program holds during all of its
// migrations. It differs from schemaLock: while a program builds an index, an older one
// may wait for schemaLock in a transaction, and the build would wait for that
// transaction.
const migrationLock = schemaLock + 1

func (*postgresDialect) tryLockMigration(conn *gorm.DB) (locked bool, err error) {
	err = conn.Raw("SELECT pg_try_advisory_lock(?)", migrationLock).Scan(&locked).Error
	return locked, err
}

func (*postgresDialect) unlockMigration(conn *gorm.DB) error {
	return conn.Exec("SELECT pg_advisory_unlock(?)", migrationLock).Error
}

func (*postgresDialect) dropInvalidIndex(conn *gorm.DB, name string) error {
	var invalid int64
	err := conn.Raw("SELECT count(*) FROM pg_index WHERE indexrelid = to_regclass(?) AND NOT indisvalid", name).Scan(&invalid).Error
	if err != nil || invalid == 0 {
		return err
	}
	return conn.Exec("DROP INDEX CONCURRENTLY IF EXISTS ?", clause.Column{Name: name}).Error
}

// keepIndexes is a setting of a transaction. It names the tables that get no index in it.
const keepIndexes = "ospulse:keep_indexes"

func (*postgresDialect) leaveIndexes(tx *gorm.DB) *gorm.DB {
	existing := map[string]bool{}
	for _, table := range tables() {
		if tx.Migrator().HasTable(table) {
			existing[tableName(tx, table)] = true
		}
	}
	return tx.Set(keepIndexes, existing)
}

func tableName(tx *gorm.DB, model any) string {
	stmt := &gorm.Statement{DB: tx}
	if err := stmt.Parse(model); err != nil {
		return ""
	}
	return stmt.Schema.Table
}

// buildIndexes builds the models' indexes that are missing or whose build was
// interrupted.
func (d *postgresDialect) buildIndexes(conn *gorm.DB, tables []any, concurrently bool) error {
	how := ""
	if concurrently {
		how = "CONCURRENTLY"
	}
	for _, table := range tables {
		stmt := &gorm.Statement{DB: conn}
		if err := stmt.Parse(table); err != nil {
			return err
		}
		for _, index := range stmt.Schema.ParseIndexes() {
			if err := d.dropInvalidIndex(conn, index.Name); err != nil {
				return err
			}
			if conn.Migrator().HasIndex(table, index.Name) {
				continue
			}
			statement := "CREATE " + index.Class + " INDEX " + how + " IF NOT EXISTS ? ON ? ?"
			if index.Where != "" {
				statement += " WHERE " + index.Where
			}
			columns := conn.Migrator().(migrator.BuildIndexOptionsInterface).BuildIndexOptions(index.Fields, stmt)
			if err := conn.Exec(statement, clause.Column{Name: index.Name}, clause.Table{Name: stmt.Schema.Table}, columns).Error; err != nil {
				return err
			}
		}
	}
	return nil
}

func (*postgresDialect) lockSchema(tx *gorm.DB) error {
	return tx.Exec("SELECT pg_advisory_xact_lock(?)", schemaLock).Error
}

func (*postgresDialect) unavailable(err error) bool {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		// Classes of Appendix A of the PostgreSQL manual: connection exception,
		// insufficient resources, operator intervention, system error; and the
		// refusal of writes by a server that is now a standby.
		return strings.HasPrefix(e.Code, "08") || strings.HasPrefix(e.Code, "53") ||
			strings.HasPrefix(e.Code, "57") || strings.HasPrefix(e.Code, "58") || e.Code == "25006"
	}
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		return true
	}
	if _, ok := errors.AsType[net.Error](err); ok {
		return true
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || // the server crashed
		errors.Is(err, driver.ErrBadConn) || errors.Is(err, net.ErrClosed) || pgconn.Timeout(err) ||
		strings.Contains(fmt.Sprint(err), "conn closed") // pgx has no error value for it
}

func openPostgres(ctx context.Context, o Options) (*DB, error) {
	config, err := pgx.ParseConfig(o.URL)
	if err != nil {
		return nil, fmt.Errorf("open PostgreSQL: %w", err) // pgx keeps the password out of it
	}
	config.RuntimeParams["timezone"] = "UTC"
	application := cmp.Or(config.RuntimeParams["application_name"], defaultApplication)
	config.RuntimeParams["application_name"] = application
	if o.Access == Exclusive {
		config.RuntimeParams["application_name"] = "restore of " + application
	}
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = 5 * time.Second
	}
	d := &postgresDialect{config: config, application: application, sync: cmp.Or(o.Sync, "on"), allowWeak: o.AllowWeak}
	db := &DB{dialect: d}
	pool, ingest := d.pool(config, o.PoolSize, stdlib.OptionShouldPing(alwaysPing)), d.pool(uncancelled(config), ingestConnections, stdlib.OptionBeforeConnect(refuseCancel))
	err = func() (err error) {
		if err := waitForPostgres(ctx, pool, o); err != nil {
			return err
		}
		if err := checkPostgres(ctx, pool); err != nil {
			return err
		}
		if err := d.check(ctx, pool); err != nil {
			return err
		}
		if db.write, err = openPostgresPool(pool); err != nil {
			return err
		}
		db.read = db.write
		db.ingest, err = openPostgresPool(ingest)
		return err
	}()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open the PostgreSQL database %q on %s: %w", config.Database, net.JoinHostPort(config.Host, fmt.Sprint(config.Port)), err), pool.Close(), ingest.Close())
	}
	return db, nil
}

// lockTimeout ends a transaction of ingest that waits for another one. The program has
// given up long before.
const lockTimeout = 10 * time.Second

// uncancelled is the configuration of connections that refuseCancel changed.
func uncancelled(config *pgx.ConnConfig) *pgx.ConnConfig {
	config = config.Copy()
	config.RuntimeParams["lock_timeout"] = strconv.FormatInt(lockTimeout.Milliseconds(), 10)
	return config
}

// refuseCancel keeps pgx from cancelling a closed connection's statement in the server. A
// COMMIT that waits for a synchronous standby must not be cancelled: the server would
// make the transaction visible although no standby has it, and after a failover the seqs
// that a reader saw would belong to other events.
func refuseCancel(_ context.Context, config *pgx.ConnConfig) error {
	var connected atomic.Bool
	dial := config.DialFunc
	config.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		if connected.Load() { // pgx dials again only to cancel
			return nil, errors.New("commits are not cancelled")
		}
		return dial(ctx, network, address)
	}
	config.AfterConnect = func(context.Context, *pgconn.PgConn) error {
		connected.Store(true)
		return nil
	}
	return nil
}

// alwaysPing makes the pool test a connection before each use. A restart of the server
// kills all connections of the pool, and without the test each dead one would fail a
// request. The ingest pool does not need it: a group that meets a dead connection goes
// to the spool.
func alwaysPing(context.Context, stdlib.ShouldPingParams) bool { return true }

func (d *postgresDialect) pool(config *pgx.ConnConfig, size int, options ...stdlib.OptionOpenDB) *sql.DB {
	options = append(options, stdlib.OptionAfterConnect(func(_ context.Context, c *pgx.Conn) error {
		d.peers.note(c.PgConn().Conn())
		c.TypeMap().RegisterType(&pgtype.Type{Name: "timestamptz", OID: pgtype.TimestamptzOID, Codec: &pgtype.TimestamptzCodec{ScanLocation: time.UTC}})
		return nil
	}))
	pool := stdlib.OpenDB(*config, options...)
	pool.SetMaxOpenConns(size)
	pool.SetMaxIdleConns(size) // a new connection costs more than most queries
	pool.SetConnMaxIdleTime(5 * time.Minute)
	return pool
}

func openPostgresPool(pool *sql.DB) (*gorm.DB, error) {
	return open(&postgresDialector{postgres.New(postgres.Config{Conn: pool}).(*postgres.Dialector)})
}

// waitForPostgres returns when the server answers, when its error is permanent (such as a
// wrong password), or after o.Wait.
func waitForPostgres(ctx context.Context, pool *sql.DB, o Options) error {
	deadline := time.Now().Add(o.Wait)
	for attempt := 1; ; attempt++ {
		err := pool.PingContext(ctx)
		if err == nil || ctx.Err() != nil {
			return err
		}
		err = &connectError{err}
		if !(*postgresDialect)(nil).unavailable(err) { // no such database, a wrong password: waiting does not help
			return err
		}
		left := time.Until(deadline)
		if left <= 0 {
			if o.Wait > 0 {
				return fmt.Errorf("it did not come up within %s: %w", o.Wait, err)
			}
			return err
		}
		o.Log.Warn("waiting for PostgreSQL", "attempt", attempt, "left", left.Round(time.Second).String(), "error", err.Error())
		timer := time.NewTimer(min(left, time.Second))
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}

// connectError says in one line, and without repetition, why no connection could be made.
// pgx returns a line for each address and kind of connection that it tried.
type connectError struct{ err error }

func (e *connectError) Error() string {
	var parts []string
	for line := range strings.Lines(e.err.Error()) {
		if line = strings.TrimSpace(line); !slices.Contains(parts, line) {
			parts = append(parts, line)
		}
	}
	return strings.Join(parts, " ")
}

func (e *connectError) Unwrap() error { return e.err }

// checkPostgres refuses servers on which the application would fail later.
func checkPostgres(ctx context.Context, pool *sql.DB) error {
	var (
		version          int
		name, dbEncoding string
	)
	err := pool.QueryRowContext(ctx, `SELECT current_setting('server_version_num')::int, current_setting('server_version'), current_setting('server_encoding')`).
		Scan(&version, &name, &dbEncoding)
	switch {
	case err != nil:
		return err
	case version < minPostgres:
		return fmt.Errorf("the server is PostgreSQL %s; version 12 or newer is needed", name)
	case dbEncoding != "UTF8":
		return fmt.Errorf("the database's encoding is %s; UTF8 is needed (CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0)", dbEncoding)
	}
	return nil
}

// postgresDialector is GORM's PostgreSQL dialector with a migrator that only adds.
type postgresDialector struct{ *postgres.Dialector }

func (d *postgresDialector) Migrator(db *gorm.DB) gorm.Migrator {
	return postgresMigrator{postgres.Migrator{Migrator: migrator.Migrator{Config: migrator.Config{
		DB: db, Dialector: d, CreateIndexAfterCreateTable: true,
	}}}}
}

// postgresMigrator changes no existing column. Numbered migrations do that, in the same
// way for every database.
type postgresMigrator struct{ postgres.Migrator }

func (postgresMigrator) MigrateColumn(any, *schema.Field, gorm.ColumnType) error { return nil }

// CreateIndex skips the tables in the setting keepIndexes.
func (m postgresMigrator) CreateIndex(value any, name string) error {
	if found, ok := m.DB.Get(keepIndexes); ok && found.(map[string]bool)[tableName(m.DB, value)] {
		return nil
	}
	return m.Migrator.CreateIndex(value, name)
}

func (postgresMigrator) MigrateColumnUnique(any, *schema.Field, gorm.ColumnType) error { return nil }
