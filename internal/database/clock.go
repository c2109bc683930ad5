package database

import (
	"sync"
	"time"
)

// clock converts times of this program to a server's clock, by the server's last known
// time. Between updates it counts monotonic time, so that setting this machine's clock
// makes no difference while the server is away. It is safe for concurrent use.
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

// Time converts a time of this program to the clock of the database, which all backends
// share.
func (db *DB) Time(local time.Time) time.Time {
	return db.dialect.time(local).UTC().Truncate(time.Microsecond)
}

// time returns this machine's time: SQLite has no other clock.
func (*sqliteDialect) time(local time.Time) time.Time { return local }

func (d *postgresDialect) time(local time.Time) time.Time { return d.clock.time(local) }
