package database

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"ospulse/internal/models"
)

// durabilityInterval is the time between two checks of WatchDurability.
const durabilityInterval = time.Minute

// errWeak is the error of a transaction whose commit would promise more than the
// server keeps.
var errWeak = errors.New("the PostgreSQL server runs with fsync = off, and a crash of its machine can lose or destroy every event: set fsync = on, or allow it with DATABASE_ALLOW_WEAK=true")

// durability is what commits survived when it was last seen. It is safe for
// concurrent use.
type durability struct{ seen atomic.Value }

func (d *durability) get() models.Durability {
	seen, _ := d.seen.Load().(models.Durability)
	return seen
}

func (d *durability) set(seen models.Durability) { d.seen.Store(seen) }

// Durability tells what a commit survives, by the latest transaction or
// CheckDurability.
func (db *DB) Durability() models.Durability { return db.dialect.durability() }

// CheckDurability reads again what a commit survives; of a database that does not
// answer it returns what was last seen. The error says that the database is weak,
// and that this is not allowed.
func (db *DB) CheckDurability(ctx context.Context) (models.Durability, error) {
	err := db.dialect.checkDurability(ctx, db.ingest)
	if !errors.Is(err, errWeak) {
		err = nil
	}
	return db.Durability(), err
}

// WatchDurability checks the durability every minute until ctx ends, and logs when
// it becomes worse or better. Open has checked it before.
func (db *DB) WatchDurability(ctx context.Context, log *slog.Logger) {
	tick := time.NewTicker(durabilityInterval)
	defer tick.Stop()
	last := db.Durability()
	logDurability(log, last)
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		checking, cancel := context.WithTimeout(ctx, durabilityInterval/2)
		now, _ := db.CheckDurability(checking) // the log tells of a weak database, allowed or not
		cancel()
		if now != last {
			logDurability(log, now)
		}
		last = now
	}
}

func logDurability(log *slog.Logger, d models.Durability) {
	if d.Weak() {
		log.Warn("the database may lose acknowledged events when its machine crashes or loses power", "durability", string(d))
		return
	}
	log.Info("what a commit survives", "durability", string(d))
}
