package database

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"gorm.io/driver/sqlite"
	"gorm.io/gorm"
	"gorm.io/gorm/migrator"
	"gorm.io/gorm/schema"
	modernc "modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"ospulse/internal/durable"
	"ospulse/internal/models"
)

// sqliteDriver is the name under which modernc.org/sqlite registers itself.
const sqliteDriver = "sqlite"

type sqliteDialect struct {
	writer  *sqliteBulk       // used by the holder of the connection
	commits models.Durability // what a commit survives
}

func (*sqliteDialect) name() string { return "sqlite" }

// tryLockMigration has nothing to lock: this program has one writing connection, and
// other programs wait when they begin a transaction.
func (*sqliteDialect) tryLockMigration(*gorm.DB) (bool, error) { return true, nil }

func (*sqliteDialect) unlockMigration(*gorm.DB) error { return nil }

// leaveIndexes returns tx unchanged: there is one writer, which waits in any case.
func (*sqliteDialect) leaveIndexes(tx *gorm.DB) *gorm.DB { return tx }

func (*sqliteDialect) buildIndexes(*gorm.DB, []any, bool) error { return nil }

// lockSession has nothing to lock: transactions that write queue.
func (*sqliteDialect) lockSession(*gorm.DB, string, bool) error { return nil }

// viewOptions returns the default: every read transaction of SQLite is a snapshot.
func (*sqliteDialect) viewOptions() *sql.TxOptions { return nil }

func (*sqliteDialect) dropInvalidIndex(*gorm.DB, string) error { return nil }

// lockSchema has nothing to lock: the transaction began as the only writer.
func (*sqliteDialect) lockSchema(*gorm.DB) error { return nil }

func (*sqliteDialect) unavailable(err error) bool {
	e, ok := errors.AsType[*modernc.Error](err)
	if !ok {
		return false
	}
	switch e.Code() & 0xff { // the primary result code
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR,
		sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_NOMEM:
		return true
	}
	return false
}

func openSQLite(ctx context.Context, o Options) (*DB, error) {
	dialect := &sqliteDialect{}
	db := &DB{dialect: dialect, turn: make(chan struct{}, 1), log: o.Log}
	readers := max(o.PoolSize, runtime.NumCPU())
	if o.Access == ReadOnly {
		return db, db.openReadOnly(ctx, o.Path, readers)
	}
	cacheKiB := int64(maxCacheKiB)
	if o.CacheBytes > 0 {
		cacheKiB = min(max(o.CacheBytes>>10/int64(readers+1), minCacheKiB), maxCacheKiB)
	}
	// The writer opens first: it creates the file and switches it to WAL. Its
	// transactions take the write lock when they begin, so that none fails at its first
	// write because another process was faster.
	options, wait := url.Values{"_txlock": {"immediate"}}, connectTimeout
	if info, err := os.Stat(o.Path); err != nil || info.Size() == 0 {
		options.Add("_pragma", "auto_vacuum(INCREMENTAL)") // for an existing file it would wait for the write lock
	}
	if o.Access == Exclusive { // the WAL's index is in this program's memory
		options.Add("_pragma", "locking_mode(EXCLUSIVE)")
		cacheKiB, wait = exclusiveCacheKiB, time.Second
	}
	write, err := openSQLitePool(ctx, o.Path, 1, cacheKiB, wait, options, openPool)
	if err != nil {
		return nil, err
	}
	db.write, db.ingest = write, write
	pool, err := write.DB()
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	var weakness string
	recoverWAL := func() (err error) {
		weakness, err = durable.RecoverWAL(ctx, pool)
		return err
	}
	if o.Access == Exclusive { // its transaction takes the lock, which the connection keeps
		if err = recoverWAL(); err != nil && dialect.isBusy(err) {
			err = errInUse
		}
	} else {
		err = db.retryWhileBusy(ctx, recoverWAL)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open the SQLite database %s: %w", o.Path, err), db.Close())
	}
	dialect.commits = sqliteDurability(weakness)
	if o.Access == Exclusive {
		db.read = write
		return db, nil
	}
	if db.read, err = openSQLitePool(ctx, o.Path, readers, cacheKiB, wait, url.Values{"_query_only": {"true"}}, openInterruptiblePool); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// openReadOnly opens the readers of a file that exists.
func (db *DB) openReadOnly(ctx context.Context, path string, readers int) error {
	if _, err := os.Stat(path); err != nil {
		return fmt.Errorf("there is no database: %w", err)
	}
	read, err := openSQLitePool(ctx, path, readers, maxCacheKiB, connectTimeout, url.Values{"_query_only": {"true"}, "mode": {"rw"}}, openInterruptiblePool)
	if err != nil {
		return err
	}
	db.read, db.write, db.ingest = read, read, read
	return nil
}

// openSQLitePool opens a pool and waits for the locks of other programs. The pragmas are part of the name, so all of its
// connections have them.
func openSQLitePool(ctx context.Context, path string, size int, cacheKiB int64, wait time.Duration, options url.Values, openPool func(name string) (*sql.DB, error)) (*gorm.DB, error) {
	options["_pragma"] = append(options["_pragma"],
		fmt.Sprintf("busy_timeout(%d)", min(busyTimeout, wait).Milliseconds()),
		"journal_mode(WAL)",
		"synchronous(FULL)", // a commit returns after the disk has it
		"foreign_keys(ON)",
		"journal_size_limit(67108864)",           // bytes the WAL keeps after a checkpoint
		fmt.Sprintf("cache_size(-%d)", cacheKiB), // per connection
	)
	// Times are integers, microseconds since 1970: exact, ordered, cheap to read.
	options["_time_integer_format"] = []string{"unix_micro"}
	options["_inttotime"] = []string{"true"}
	name := url.URL{Scheme: "file", Opaque: (&url.URL{Path: filepath.ToSlash(path)}).EscapedPath(), RawQuery: options.Encode()}
	pool, err := openPool(name.String())
	if err != nil {
		return nil, fmt.Errorf("open SQLite: %w", err)
	}
	pool.SetMaxOpenConns(size)
	pool.SetMaxIdleConns(size)
	g, err := func() (*gorm.DB, error) {
		if err := connectSQLite(ctx, pool, wait); err != nil {
			return nil, err
		}
		return open(&sqliteDialector{&sqlite.Dialector{Conn: pool}})
	}()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open the SQLite database %s: %w", path, err), pool.Close())
	}
	return g, nil
}

// Limits of the page cache of a connection.
const (
	minCacheKiB = 512
	maxCacheKiB = 8192
	// exclusiveCacheKiB is for a program that fills a whole database.
	exclusiveCacheKiB = 65536
)

func openPool(name string) (*sql.DB, error) { return sql.Open(sqliteDriver, name) }

// busyTimeout is how long a statement of SQLite waits for a lock.
const busyTimeout = 5 * time.Second

// connectTimeout limits how long a backend waits for another program's lock on the file.
const connectTimeout = time.Minute

// connectSQLite makes the first connection. While another program turns a new file to
// WAL, SQLite returns SQLITE_BUSY at once, so connectSQLite retries.
func connectSQLite(ctx context.Context, pool *sql.DB, wait time.Duration) error {
	timeout := time.NewTimer(wait)
	defer timeout.Stop()
	retry := time.NewTicker(20 * time.Millisecond)
	defer retry.Stop()
	for {
		err := pool.PingContext(ctx)
		if e, ok := errors.AsType[*modernc.Error](err); !ok || e.Code()&0xff != sqlite3.SQLITE_BUSY {
			return err
		}
		select {
		case <-retry.C:
		case <-timeout.C:
			return err
		case <-ctx.Done():
			return err
		}
	}
}

// sqliteDialector is GORM's SQLite dialector over modernc.org/sqlite.
type sqliteDialector struct{ *sqlite.Dialector }

// DataTypeOf stores JSON as text: a column declared jsonb would have numeric affinity and
// convert large numbers to floats.
func (d *sqliteDialector) DataTypeOf(field *schema.Field) string {
	if field.DataType == "jsonb" {
		return "text"
	}
	return d.Dialector.DataTypeOf(field)
}

func (d *sqliteDialector) Migrator(db *gorm.DB) gorm.Migrator {
	return sqliteMigrator{sqlite.Migrator{Migrator: migrator.Migrator{Config: migrator.Config{
		DB: db, Dialector: d, CreateIndexAfterCreateTable: true,
	}}}}
}

// Translate translates the errors of modernc.org/sqlite, which the embedded dialector
// does not know.
func (d *sqliteDialector) Translate(err error) error {
	e, ok := errors.AsType[*modernc.Error](err)
	if !ok {
		return err
	}
	switch e.Code() {
	case sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_UNIQUE:
		return fmt.Errorf("%w: %w", gorm.ErrDuplicatedKey, err)
	case sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
		return fmt.Errorf("%w: %w", gorm.ErrForeignKeyViolated, err)
	}
	return err
}

// sqliteMigrator creates tables, columns and indexes, and changes nothing that exists. To
// change a column, GORM would rebuild the table on SQLite, which empties the tables that
// refer to it.
type sqliteMigrator struct{ sqlite.Migrator }

func (sqliteMigrator) MigrateColumn(any, *schema.Field, gorm.ColumnType) error { return nil }

func (sqliteMigrator) MigrateColumnUnique(any, *schema.Field, gorm.ColumnType) error { return nil }

func (sqliteMigrator) CreateConstraint(_ any, name string) error {
	return fmt.Errorf("constraint %s is new: SQLite adds none to a table that exists; write a migration", name)
}
