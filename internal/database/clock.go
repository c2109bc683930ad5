package database

import (
	"sync"
	"time"
)

// clock converts times of this program into those of a server's clock, by the last
// time that the server told. Between, it counts monotonic time: it does not matter
// that somebody sets this machine's clock while the server is away. It is safe for
// concurrent use.
type clock struct {
	mu            sync.Mutex
	server, local time.Time // the same moment
}

func (c *clock) set(server time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.server, c.local = server, time.Now()
}

func (c *clock) time(local time.Time) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.server.IsZero() {
		return local
	}
	return c.server.Add(local.Sub(c.local))
}

// Time gives a time of this program by the clock of the database, which several
// programs share.
func (db *DB) Time(local time.Time) time.Time {
	return db.dialect.time(local).UTC().Truncate(time.Microsecond)
}

// time is this machine's: SQLite has no other clock.
func (*sqliteDialect) time(local time.Time) time.Time { return local }

func (d *postgresDialect) time(local time.Time) time.Time { return d.clock.time(local) }
