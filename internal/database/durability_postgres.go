package database

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"gorm.io/gorm"

	"ospulse/internal/models"
)

// beginDurable sets synchronous_commit for the transaction, and reads those settings of
// the connection's server process on which the commit depends. Therefore weaker defaults
// of a server, database or role make no difference, nor does a pooler that gives each
// transaction another connection.
//
// A server process applies a changed configuration between two commands, so at most one
// commit may follow a change.
const beginDurable = `SELECT set_config('synchronous_commit', $1, true), current_setting('fsync'), current_setting('full_page_writes'),
	COALESCE(current_setting('data_sync_retry', true), 'off'), current_setting('synchronous_standby_names'), clock_timestamp()`

// syncSettings holds the result of beginDurable, in its order.
type syncSettings struct {
	level, fsync, fullPageWrites, dataSyncRetry, standbys string

	now time.Time // by the server's clock
}

func (s *syncSettings) dest() []any {
	return []any{&s.level, &s.fsync, &s.fullPageWrites, &s.dataSyncRetry, &s.standbys, &s.now}
}

// durability returns what a commit with these settings survives.
func (s *syncSettings) durability() models.Durability {
	switch {
	case s.fsync != "on":
		return models.WeakDurability("fsync is off")
	case s.fullPageWrites != "on":
		return models.WeakDurability("full_page_writes is off") // a page torn by a power loss stays torn
	case s.dataSyncRetry != "off":
		return models.WeakDurability("data_sync_retry is on") // the server continues after a failed fsync, whose pages are lost
	case s.standbys != "" && s.level != "local":
		return models.DurabilityReplicated
	}
	return models.DurabilityDisk
}

// note stores and returns what a transaction with these settings survives. Without
// allowWeak it returns an error for a server that does not sync.
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

// makeDurable is beginDurable for a transaction of GORM.
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

// check reads the settings, and looks for tables whose rows do not survive a crash.
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
