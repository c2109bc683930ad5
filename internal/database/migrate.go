package database

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"

	"gorm.io/gorm"

	"ospulse/internal/database/migrations"
	"ospulse/internal/models"
)

// schemaMigration is an applied numbered migration.
type schemaMigration struct {
	Version   int       `gorm:"primaryKey;autoIncrement:false"`
	AppliedAt time.Time `gorm:"column:applied_at;not null"`
	// CompatibleWith is the oldest version whose program works with the schema as this
	// migration leaves it. 0 stands for Version: an older program has applied it.
	CompatibleWith int `gorm:"column:compatible_with;not null;default:0"`
}

// schemaState is the state of a database's schema.
type schemaState struct {
	Version        int // of the newest applied migration; 0 for none
	CompatibleWith int // the oldest version whose program works with it
}

// check returns nil if a program of a version works with the schema.
func (s schemaState) check(latest int) error {
	if s.Version > latest && s.CompatibleWith > latest {
		return fmt.Errorf("the database's schema is version %d, made by a newer OS-Pulse, and works with programs from version %d on; this one has version %d: upgrade it, or use another database", s.Version, s.CompatibleWith, latest)
	}
	return nil
}

// lockRetry is the interval at which a program tries to lock the schema. It does not wait
// in the server, because a waiting statement holds a snapshot, and CREATE INDEX
// CONCURRENTLY waits for all snapshots.
const lockRetry = 100 * time.Millisecond

// Migrate brings the schema up to date. GORM's AutoMigrate creates tables and columns,
// and numbered SQL files do the rest. Both run in transactions. On PostgreSQL, Migrate
// builds indexes of existing tables concurrently, so that other programs can write
// meanwhile. Any number of programs may call Migrate at once. If one stops halfway, the
// next one continues. Migrate does not change a newer schema; it returns an error unless
// that schema declares that this program works with it.
func (db *DB) Migrate(ctx context.Context) error {
	return db.migrateTo(ctx, len(db.loadMigrations()))
}

// migrateTo is Migrate up to a version. Tables and columns are those of this program.
func (db *DB) migrateTo(ctx context.Context, version int) error {
	return db.write.WithContext(ctx).Connection(func(conn *gorm.DB) error {
		conn = conn.Session(&gorm.Session{NewDB: true}) // otherwise each statement would extend the one before
		if err := db.lockMigration(ctx, conn); err != nil {
			return fmt.Errorf("lock the schema: %w", err)
		}
		upgraded, err := db.upgrade(conn)
		if err == nil {
			err = db.migrate(conn, !upgraded, db.loadMigrations()[:version])
		}
		return errors.Join(err, db.dialect.unlockMigration(conn.WithContext(context.WithoutCancel(ctx))))
	})
}

// lockMigration waits until no other program migrates.
func (db *DB) lockMigration(ctx context.Context, conn *gorm.DB) error {
	for waiting := db.newWaiting(); ; {
		locked, err := db.dialect.tryLockMigration(conn)
		if err != nil || locked {
			return err
		}
		waiting.tell()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(lockRetry):
		}
	}
}

// waiting logs from time to time that this program waits for another one.
type waiting struct {
	log  *slog.Logger
	next time.Time
}

func (db *DB) newWaiting() *waiting { return &waiting{db.log, time.Now().Add(waitUntold)} }

// The wait before the first log line, and between two lines.
const (
	waitUntold = time.Second
	waitAgain  = 15 * time.Second
)

func (w *waiting) tell() {
	if time.Now().After(w.next) {
		w.log.Info("waiting for another backend, which is changing the schema of this database")
		w.next = time.Now().Add(waitAgain)
	}
}

// inTransaction runs fn in a durable transaction. It retries while another program has
// locked the database.
func (db *DB) inTransaction(conn *gorm.DB, fn func(tx *gorm.DB) error) error {
	return db.retryWhileBusy(conn.Statement.Context, func() error {
		return conn.Transaction(func(tx *gorm.DB) error {
			if err := db.dialect.makeDurable(tx); err != nil {
				return fmt.Errorf("migrate the schema: %w", err)
			}
			return fn(tx)
		})
	})
}

// retryWhileBusy runs fn again until it fails with another error than that another
// program has locked the database, or ctx ends. Each try waits for the busy timeout.
func (db *DB) retryWhileBusy(ctx context.Context, fn func() error) error {
	for waiting := db.newWaiting(); ; waiting.tell() {
		if err := fn(); err == nil || !db.dialect.isBusy(err) || ctx.Err() != nil {
			return err
		}
	}
}

// migrate does the work of Migrate. The caller holds the lock. othersWork says whether
// other programs may use the database: then migrate builds the indexes of existing
// tables concurrently. Otherwise it builds them faster, with writers locked out.
func (db *DB) migrate(conn *gorm.DB, othersWork bool, all []migration) error {
	for isFirst := true; ; isFirst = false {
		var state schemaState
		err := db.inTransaction(conn, func(tx *gorm.DB) (err error) {
			if state, err = db.prepare(tx, isFirst, len(all)); err != nil {
				return err
			}
			for state.Version < len(all) && all[state.Version].concurrent == nil {
				if err := all[state.Version].apply(tx); err != nil {
					return err
				}
				state.Version++
			}
			return nil
		})
		if err != nil {
			return err
		}
		if state.Version > len(all) {
			return nil
		}
		if isFirst {
			if err := db.dialect.buildIndexes(conn, tables(), othersWork); err != nil {
				return fmt.Errorf("build the indexes of tables: %w", err)
			}
		}
		if state.Version == len(all) {
			return nil
		}
		if err := db.applyConcurrently(conn, all[state.Version]); err != nil {
			return err
		}
	}
}

// prepare locks out older programs, which know no other lock, and reads the state of the
// schema. The first time it also updates tables and columns, unless the schema is newer
// than this program.
func (db *DB) prepare(tx *gorm.DB, isFirst bool, latest int) (schemaState, error) {
	if err := db.dialect.lockSchema(tx); err != nil {
		return schemaState{}, fmt.Errorf("lock the schema: %w", err)
	}
	if isFirst {
		if err := tx.AutoMigrate(&schemaMigration{}); err != nil {
			return schemaState{}, fmt.Errorf("migrate the schema: %w", err)
		}
	}
	state, err := readSchemaState(tx)
	if err != nil {
		return state, err
	}
	if err := state.check(latest); err != nil || !isFirst || state.Version > latest {
		return state, err
	}
	if err := db.dialect.leaveIndexes(tx).AutoMigrate(tables()...); err != nil {
		return state, fmt.Errorf("migrate the schema: %w", err)
	}
	return state, nil
}

// tables returns the models that have a table.
func tables() []any {
	return []any{
		&models.Agent{},
		&models.Installation{},
		&models.TargetFile{},
		&models.Session{},
		&models.SessionRun{},
		&models.Event{},
		&models.Process{},
		&models.Segment{},
		&models.Block{},
		&models.Claim{},
		&models.UnusedObject{},
		&models.SessionTotals{},
		&models.Expiration{},
		&models.Detection{},
		&models.Finding{},
		&models.ImportedFinding{},
		&models.Notice{},
		&models.UserRule{},
		&models.RuleOff{},
		&models.RuleRevision{},
		&models.IdempotencyKey{},
		&models.APIKey{},
		&models.SignIn{},
		&models.Enrollment{},
		&models.AgentRequest{},
		&models.AuditEntry{},
		&models.WriterMark{},
		&models.Lease{},
	}
}

// readSchemaState also reads the table of an older program.
func readSchemaState(tx *gorm.DB) (state schemaState, err error) {
	columns := "COALESCE(MAX(version), 0) AS version, COALESCE(MAX(version), 0) AS compatible_with"
	if tx.Migrator().HasColumn(&schemaMigration{}, "compatible_with") {
		columns = "COALESCE(MAX(version), 0) AS version, COALESCE(MAX(CASE WHEN compatible_with = 0 THEN version ELSE compatible_with END), 0) AS compatible_with"
	}
	if err := tx.Model(&schemaMigration{}).Select(columns).Scan(&state).Error; err != nil {
		return state, fmt.Errorf("read the schema's version: %w", err)
	}
	return state, nil
}

// CheckSchema checks that this program works with the schema.
func (db *DB) CheckSchema(ctx context.Context) error {
	state, err := readSchemaState(db.ReadForIngest(ctx))
	if err != nil {
		return err
	}
	latest := len(db.loadMigrations())
	if state.Version < latest {
		return fmt.Errorf("the schema is at version %d, not %d", state.Version, latest)
	}
	return state.check(latest)
}

// migration is a numbered file.
type migration struct {
	name           string
	version        int
	compatibleWith int
	text           string
	concurrent     []concurrentIndex // not nil: the indexes that the text builds outside a transaction
}

// concurrentIndex is an index that is built while others write.
type concurrentIndex struct{ name, statement string }

var (
	compatibleHeader  = regexp.MustCompile(`(?m)^-- compatible: (\d+)$`)
	concurrentIndexes = regexp.MustCompile(`(?m)^CREATE (?:UNIQUE )?INDEX CONCURRENTLY IF NOT EXISTS (\w+) ON [^;]+;$`)
)

// parseMigration parses a file. It panics if the file is out of order or invalid, because
// files are part of the program.
func parseMigration(name, text string, version int) migration {
	m := migration{name: name, version: version, compatibleWith: version, text: text}
	number, _, _ := strings.Cut(path.Base(name), "_")
	if n, err := strconv.Atoi(number); err != nil || n != version {
		panic("database: migration " + name + " is out of order")
	}
	if header := compatibleHeader.FindStringSubmatch(text); header != nil {
		n, err := strconv.Atoi(header[1])
		if err != nil || n < 1 || n > version {
			panic("database: migration " + name + " is compatible with no version that there was")
		}
		m.compatibleWith = n
	}
	if !strings.Contains(text, "CONCURRENTLY") {
		return m
	}
	rest := text
	for _, found := range concurrentIndexes.FindAllStringSubmatch(text, -1) {
		m.concurrent = append(m.concurrent, concurrentIndex{found[1], found[0]})
		rest = strings.Replace(rest, found[0], "", 1)
	}
	for line := range strings.Lines(rest) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "--") {
			panic("database: migration " + name + " builds indexes concurrently, and may do nothing else: " + line)
		}
	}
	return m
}

// loadMigrations returns the files of the dialect in their order.
func (db *DB) loadMigrations() []migration {
	files := db.migrations
	if files == nil {
		files = migrations.Files
	}
	names, err := fs.Glob(files, path.Join(db.Dialect(), "*.sql"))
	if err != nil || len(names) == 0 {
		panic("database: no migrations for " + db.Dialect())
	}
	all := make([]migration, len(names))
	for i, name := range names {
		text, err := fs.ReadFile(files, name)
		if err != nil {
			panic("database: " + err.Error())
		}
		all[i] = parseMigration(name, string(text), i+1)
	}
	return all
}

func (m *migration) apply(tx *gorm.DB) error {
	if err := tx.Exec(m.text).Error; err != nil {
		return fmt.Errorf("apply migration %s: %w", m.name, err)
	}
	return m.note(tx)
}

func (m *migration) note(tx *gorm.DB) error {
	applied := schemaMigration{Version: m.version, AppliedAt: tx.NowFunc(), CompatibleWith: m.compatibleWith}
	if err := tx.Create(&applied).Error; err != nil {
		return fmt.Errorf("note migration %s: %w", m.name, err)
	}
	return nil
}

// applyConcurrently applies a migration outside a transaction. It completes each of its
// indexes, or leaves an invalid one that the next program replaces.
func (db *DB) applyConcurrently(conn *gorm.DB, m migration) error {
	for _, index := range m.concurrent {
		if err := db.dialect.dropInvalidIndex(conn, index.name); err != nil {
			return fmt.Errorf("drop the index %s, whose build was interrupted: %w", index.name, err)
		}
		if err := conn.Exec(index.statement).Error; err != nil {
			return fmt.Errorf("apply migration %s: %w", m.name, err)
		}
	}
	return db.inTransaction(conn, m.note)
}
