package database

import "context"

// Listen hears what the programs that share this database say on a channel, until
// ctx ends: heard is called for each payload, in the order in which they were
// said; the program hears its own too. A connection that is lost is made anew.
// connected is called each time when one stands: what was said before is lost.
// Where programs cannot speak through the database, as on SQLite, nothing is
// heard.
func (db *DB) Listen(ctx context.Context, channel string, connected func(), heard func(payload string)) {
	db.dialect.listen(ctx, channel, connected, heard)
}

// Notify says something on a channel, each payload at most MaxPayload bytes. It
// does so in transactions of its own: those that notify wait for each other when
// they commit.
func (db *DB) Notify(ctx context.Context, channel string, payloads ...string) error {
	return db.dialect.notify(db.write.WithContext(ctx), channel, payloads)
}

// MaxPayload is how many bytes one payload may have; PostgreSQL takes less than
// 8000.
const MaxPayload = 7900
