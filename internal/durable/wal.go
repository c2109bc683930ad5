package durable

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
)

// RecoverWAL prepares a SQLite database for its first commit: it sees that each
// commit syncs the write-ahead log (WAL), and makes the WAL on the disk be the one
// that is read. pool has one connection, whose transactions begin as writers. It
// returns what Weakness says of the database's folder.
//
// A commit whose fsync failed is no part of the database as long as the program
// runs: SQLite rolls it back, and the next commit overwrites its frames. But when
// the program is killed before that, the frames are still in the page cache, and
// SQLite takes them for a commit when it opens the WAL again. The disk may never
// get them (see Rewrite). Later commits would be synced behind a hole, at which
// recovery ends after a power loss. So the WAL is first written and synced again.
func RecoverWAL(ctx context.Context, pool *sql.DB) (weakness string, err error) {
	var path, mode string
	var synchronous int
	err = errors.Join(
		pool.QueryRowContext(ctx, "SELECT file FROM pragma_database_list WHERE name = 'main'").Scan(&path),
		pool.QueryRowContext(ctx, "PRAGMA journal_mode").Scan(&mode),
		pool.QueryRowContext(ctx, "PRAGMA synchronous").Scan(&synchronous),
	)
	const full = 2
	switch {
	case err != nil:
		return "", err
	case mode != "wal" || synchronous < full:
		return "", fmt.Errorf("the file system does not let SQLite sync each commit to a write-ahead log (journal_mode %s, synchronous %d): use a local disk", mode, synchronous)
	}
	// The write lock keeps other programs from adding to the WAL or resetting it.
	tx, err := pool.BeginTx(ctx, nil)
	if err != nil {
		return "", err
	}
	dir := filepath.Dir(path)
	err = Rewrite(path + "-wal")
	if err == nil { // the program that made it may have been killed before it synced the entry
		err = SyncDir(dir)
	}
	if err := errors.Join(err, tx.Rollback()); err != nil {
		return "", fmt.Errorf("sync the write-ahead log: %w", err)
	}
	return Weakness(dir), nil
}
