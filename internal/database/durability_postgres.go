package database

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"gorm.io/gorm"

	"ospulse/internal/models"
)

// beginDurable sets synchronous_commit for the transaction, and reads the settings
// of this connection's server process on which the commit depends. A server,
// database or role whose default is weaker does not matter, and neither does a
// pooler that gives each transaction another connection.
//
// A process takes up a changed configuration between two commands, so a commit may
// follow the change by at most one transaction.
const beginDurable = `SELECT set_config('synchronous_commit', $1, true), current_setting('fsync'), current_setting('full_page_writes'),
	COALESCE(current_setting('data_sync_retry', true), 'off'), current_setting('synchronous_standby_names'), clock_timestamp()`

// syncSettings is the answer to beginDurable, in its order.
type syncSettings struct {
	level, fsync, fullPageWrites, dataSyncRetry, standbys string

	now time.Time // by the server's clock
}

func (s *syncSettings) dest() []any {
	return []any{&s.level, &s.fsync, &s.fullPageWrites, &s.dataSyncRetry, &s.standbys, &s.now}
}

// durability tells what a commit with these settings survives.
func (s *syncSettings) durability() models.Durability {
	switch {
	case s.fsync != "on":
		return models.WeakDurability("fsync is off")
	case s.fullPageWrites != "on":
		return models.WeakDurability("full_page_writes is off") // a page that was torn by a power loss stays torn
	case s.dataSyncRetry != "off":
		return models.WeakDurability("data_sync_retry is on") // the server goes on after a failed fsync, whose pages are lost
	case s.standbys != "" && s.level != "local":
		return models.DurabilityReplicated
	}
	return models.DurabilityDisk
}

// note keeps what a transaction with these settings survives, and gives it. Without
// allowWeak a server that does not sync is an error.
func (d *postgresDialect) note(s *syncSettings) (models.Durability, error) {
	d.clock.set(s.now)
	now := s.durability()
	if unlogged, _ := d.unlogged.Load().(string); unlogged != "" && !now.Weak() {
		now = models.WeakDurability("table " + unlogged + " is unlogged")
	}
	d.seen.set(now)
	if s.fsync != "on" && !d.allowWeak {
		return now, errWeak
	}
	return now, nil
}

// makeDurable is beginDurable in a transaction of GORM.
func (d *postgresDialect) makeDurable(tx *gorm.DB) error {
	var s syncSettings
	err := tx.Raw(beginDurable, d.sync).Row().Scan(s.dest()...)
	if err == nil {
		_, err = d.note(&s)
	}
	return err
}

func (d *postgresDialect) durability() models.Durability { return d.seen.get() }

func (d *postgresDialect) checkDurability(ctx context.Context, write *gorm.DB) error {
	pool, err := write.DB()
	if err != nil {
		return err
	}
	return d.check(ctx, pool)
}

// check looks for tables whose rows do not survive a crash, and at the settings.
func (d *postgresDialect) check(ctx context.Context, pool *sql.DB) error {
	tx, err := pool.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	var unlogged string
	err = tx.QueryRowContext(ctx, `SELECT COALESCE(MIN(relname), '') FROM pg_class
		WHERE relkind = 'r' AND relpersistence = 'u' AND relnamespace = current_schema()::regnamespace`).Scan(&unlogged)
	var s syncSettings
	if err := errors.Join(err, tx.QueryRowContext(ctx, beginDurable, d.sync).Scan(s.dest()...)); err != nil {
		return err
	}
	d.unlogged.Store(unlogged)
	_, err = d.note(&s)
	return err
}
