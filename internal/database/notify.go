package database

import "context"

// Listen receives the payloads that the programs on this database, including this one,
// send on a channel, until ctx ends. It calls heard for each payload in the order of
// sending. It reconnects after a lost connection and calls connected for each new one:
// payloads from before that are lost. On SQLite it receives nothing.
func (db *DB) Listen(ctx context.Context, channel string, connected func(), heard func(payload string)) {
	db.dialect.listen(ctx, channel, connected, heard)
}

// Notify sends payloads of at most MaxPayload bytes on a channel. It uses its own
// transactions, because commits of transactions that notify wait for each other.
func (db *DB) Notify(ctx context.Context, channel string, payloads ...string) error {
	return db.dialect.notify(db.write.WithContext(ctx), channel, payloads)
}

// MaxPayload is the maximum number of bytes of a payload. PostgreSQL accepts less than
// 8000.
const MaxPayload = 7900
