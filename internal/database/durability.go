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

// errWeak is the error of a transaction that the server would not make durable.
var errWeak = errors.New("the PostgreSQL server runs with fsync = off, and a crash of its machine can lose or destroy every event: set fsync = on, or allow it with DATABASE_ALLOW_WEAK=true")

// durability holds what commits survived at the last check. It is safe for concurrent
// use.
type durability struct{ seen atomic.Value }

func (d *durability) get() models.Durability {
	seen, _ := d.seen.Load().(models.Durability)
	return seen
}

func (d *durability) set(seen models.Durability) { d.seen.Store(seen) }

// Durability returns what a commit survives, as the latest transaction or CheckDurability
// found it.
func (db *DB) Durability() models.Durability { return db.dialect.durability() }

// CheckDurability checks what a commit survives. If the database does not answer, it
// returns the last result. The error says that the database is weak and that the options
// do not allow that.
func (db *DB) CheckDurability(ctx context.Context) (models.Durability, error) {
	err := db.dialect.checkDurability(ctx, db.ingest)
	if !errors.Is(err, errWeak) {
		err = nil
	}
	return db.Durability(), err
}

// WatchDurability checks the durability every minute until ctx ends, and logs when it
// changes. Open has checked it before.
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
		now, _ := db.CheckDurability(checking) // the log reports a weak database whether or not it is allowed
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
