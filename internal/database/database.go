// Package database opens the database, sets it up and keeps its schema current. It is the
// only place that chooses a dialect: GORM hides the differences between SQLite and
// PostgreSQL, and methods of DB hide the rest. It must not know queries of the
// application.
package database

import (
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"log/slog"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"ospulse/internal/models"
)

// Options configures the database.
type Options struct {
	URL        string        // postgres:// or postgresql://; empty for SQLite
	Path       string        // the SQLite file; its folder must exist
	PoolSize   int           // connections besides those of ingest: all others on PostgreSQL, the readers on SQLite
	CacheBytes int64         // SQLite's cache for all connections; 0 is 8 MB for each
	Wait       time.Duration // how long to retry while PostgreSQL cannot be reached
	// Sync is PostgreSQL's synchronous_commit for every transaction that writes: local,
	// remote_write, on or remote_apply; "" is on. SQLite always syncs.
	Sync string
	// AllowWeak accepts a PostgreSQL server that runs with fsync = off. Without it, Open
	// refuses such a server, and transactions that write to it fail as unavailable.
	AllowWeak bool
	// Access is how the program uses the database; 0 is like a backend.
	Access Access
	// Objects has the data of blocks that are not in the database; nil if there is none.
	Objects Objects
	// Migrations are the numbered files, in a folder for each dialect; nil means the
	// embedded ones.
	Migrations fs.FS
	Log        *slog.Logger
}

// Access is how a program uses a database.
type Access int

const (
	// ReadOnly opens a database that exists for Read and Snapshot only.
	ReadOnly Access = iota + 1
	// Exclusive opens a database for Restore. Open returns an error if another program
	// has the SQLite file open. On PostgreSQL, Restore checks it.
	Exclusive
)

// DB is an open database. It is safe for concurrent use.
type DB struct {
	dialect    dialect
	migrations fs.FS // nil for the embedded ones
	log        *slog.Logger
	write      *gorm.DB // one connection on SQLite: there is one writer at a time
	read       *gorm.DB // on PostgreSQL the same pool as write
	ingest     *gorm.DB // for Bulk; on SQLite the same pool as write
	objects    Objects  // nil if there are none

	// turn holds a value while a caller other than ingest uses SQLite's only connection
	// or waits for it; nil on PostgreSQL. A free connection goes to any waiting caller.
	// With the turn, ingest competes with at most one transaction, however many callers
	// wait.
	turn chan struct{}
}

// ingestConnections is the number of PostgreSQL connections for ingest alone: for the
// writer, for draining the spool, and for health checks.
const ingestConnections = 3

// dialect holds the differences between the two databases.
type dialect interface {
	// name is also the name of the folder with the dialect's migrations.
	name() string
	// tryLockMigration tries to lock out other programs that migrate, and reports whether
	// it succeeded. It does not wait. The lock lasts until unlockMigration or the end of
	// the connection.
	tryLockMigration(conn *gorm.DB) (bool, error)
	unlockMigration(conn *gorm.DB) error
	// lockSchema locks out programs that know no other lock, until tx ends.
	lockSchema(tx *gorm.DB) error
	// leaveIndexes returns tx for an AutoMigrate that adds no index to an existing table,
	// which may be large. buildIndexes adds these indexes outside transactions,
	// concurrently or with writers locked out.
	leaveIndexes(tx *gorm.DB) *gorm.DB
	buildIndexes(conn *gorm.DB, tables []any, concurrently bool) error
	// dropInvalidIndex drops an index whose concurrent build was interrupted.
	dropInvalidIndex(conn *gorm.DB, name string) error
	// prepareUpgrade prepares the connection for the steps of an upgrade. restore undoes
	// the preparation.
	prepareUpgrade(conn *gorm.DB) (restore func() error, err error)
	// upgradeStep performs the next step of DB.upgrade, and reports whether more steps
	// may follow.
	upgradeStep(tx *gorm.DB, u *upgrade) (more bool, err error)
	// isBusy reports whether err means that another program has locked the database.
	isBusy(err error) bool
	// unavailable reports whether err means that the database cannot work now, for
	// example because it is offline, overloaded or full. The same statement may succeed
	// later.
	unavailable(err error) bool
	// badContent implements DB.BadContent.
	badContent(err error) bool
	// reason implements DB.Reason. It returns "" for an error of another kind.
	reason(err error) string
	// bulk runs fn in a transaction on a driver connection of the writing pool.
	bulk(ctx context.Context, driverConn any, fn func(Bulk) error) error
	// listen and notify implement DB.Listen and DB.Notify.
	listen(ctx context.Context, channel string, connected func(), heard func(payload string))
	notify(tx *gorm.DB, channel string, payloads []string) error
	// transaction implements DB.Write.
	transaction(ctx context.Context, write *gorm.DB, fn func(tx *gorm.DB) error) error
	// durability and checkDurability implement DB.Durability and DB.CheckDurability.
	durability() models.Durability
	checkDurability(ctx context.Context, write *gorm.DB) error
	// diagnose implements DB.Diagnose.
	diagnose(conn *gorm.DB, poolSize int) (Diagnosis, error)
	// lockSession implements DB.LockSession and DB.ShareSession.
	lockSession(tx *gorm.DB, sessionID string, shared bool) error
	// viewOptions returns the options of a transaction of DB.View.
	viewOptions() *sql.TxOptions
	// snapshot implements DB.Snapshot on a driver connection of the reading pool.
	snapshot(ctx context.Context, driverConn any, fn func(copier) error) error
	// time implements DB.Time.
	time(local time.Time) time.Time
	// makeDurable makes the commit of a just begun transaction as durable as the options
	// require.
	makeDurable(tx *gorm.DB) error
	// closeStatements prepares the connections of the writing pool for closing.
	closeStatements(pool *sql.DB) error
}

// Open opens the database and checks that it answers. It does not change the schema.
// While PostgreSQL cannot be reached, Open retries for o.Wait and logs that. The error
// text is for the user and contains no password.
func Open(ctx context.Context, o Options) (*DB, error) {
	open := openPostgres
	if o.URL == "" {
		open = openSQLite
	}
	db, err := open(ctx, o)
	if err != nil {
		return nil, err
	}
	db.migrations, db.log, db.objects = o.Migrations, o.Log, o.Objects
	return db, nil
}

// Dialect returns "sqlite" or "postgres".
func (db *DB) Dialect() string { return db.dialect.name() }

// Read returns a handle for queries that change nothing.
func (db *DB) Read(ctx context.Context) *gorm.DB { return db.read.WithContext(ctx) }

// View runs fn in a transaction that changes nothing. All its queries see the database as
// it was at the first one.
func (db *DB) View(ctx context.Context, fn func(tx *gorm.DB) error) error {
	return db.Read(ctx).Transaction(fn, db.dialect.viewOptions())
}

// Write runs fn in a transaction. It commits when fn returns nil and rolls back
// otherwise. On SQLite, transactions run one after the other, and a transaction goes on
// when ctx ends. Incoming events wait for it, so it must be short.
func (db *DB) Write(ctx context.Context, fn func(tx *gorm.DB) error) error {
	if err := db.takeTurn(ctx); err != nil {
		return err
	}
	defer db.leaveTurn()
	return db.dialect.transaction(ctx, db.write, fn)
}

func (db *DB) takeTurn(ctx context.Context) error {
	if db.turn == nil {
		return nil
	}
	select {
	case db.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (db *DB) leaveTurn() {
	if db.turn != nil {
		<-db.turn
	}
}

// LockSession keeps other transactions from LockSession and ShareSession of the same
// session until tx ends. It does not touch the session's row, which every append locks.
func (db *DB) LockSession(tx *gorm.DB, sessionID string) error {
	return db.dialect.lockSession(tx, sessionID, false)
}

// ShareSession keeps other transactions from LockSession of the same session until tx
// ends.
func (db *DB) ShareSession(tx *gorm.DB, sessionID string) error {
	return db.dialect.lockSession(tx, sessionID, true)
}

// ReadForIngest returns a handle for the few queries of ingest and of health checks. On
// PostgreSQL they do not wait for the connections of Read.
func (db *DB) ReadForIngest(ctx context.Context) *gorm.DB {
	if db.ingest != db.write {
		return db.ingest.WithContext(ctx)
	}
	return db.Read(ctx)
}

// Unavailable reports whether err means that the database cannot work now. The same
// request may succeed later.
func (db *DB) Unavailable(err error) bool {
	return errors.Is(err, sql.ErrConnDone) || isLate(err) || errors.Is(err, errWeak) || db.dialect.unavailable(err)
}

// Pools returns the connection pools by their purpose.
func (db *DB) Pools() (map[string]*sql.DB, error) {
	pools := map[string]*sql.DB{}
	for name, g := range map[string]*gorm.DB{"read": db.read, "write": db.write, "ingest": db.ingest} {
		if name != "write" && g == db.write {
			continue
		}
		pool, err := g.DB()
		if err != nil {
			return nil, err
		}
		pools[name] = pool
	}
	return pools, nil
}

// Ping checks that the database answers.
func (db *DB) Ping(ctx context.Context) error {
	return db.ReadForIngest(ctx).Exec("SELECT 1").Error
}

// Close closes all connections once their queries have ended.
func (db *DB) Close() error {
	var errs []error
	if db.write != nil {
		if pool, err := db.write.DB(); err == nil {
			errs = append(errs, db.dialect.closeStatements(pool))
		}
	}
	for i, g := range []*gorm.DB{db.read, db.write, db.ingest} {
		if g == nil || i != 1 && g == db.write {
			continue
		}
		pool, err := g.DB()
		if err != nil {
			errs = append(errs, err)
			continue
		}
		errs = append(errs, pool.Close())
	}
	return errors.Join(errs...)
}

// open returns GORM over a connection pool.
func open(d gorm.Dialector) (*gorm.DB, error) {
	return gorm.Open(d, &gorm.Config{
		Logger:                 logger.Discard, // callers return errors, and log them once
		NowFunc:                func() time.Time { return time.Now().UTC().Truncate(time.Microsecond) },
		SkipDefaultTransaction: true, // Write begins transactions
		TranslateError:         true,
	})
}
