// Package spool keeps groups of events on this machine's disk while the database is
// unavailable. It is a bounded queue in its own file. A crash of the program or the
// machine loses nothing.
//
// The package knows nothing of the database that the events go to.
package spool

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	modernc "modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"ospulse/internal/durable"
	"ospulse/internal/models"
)

// schema: groups wait in the order of their ids. rejected has the entries that are set
// aside: a body of batches with that many events together, or one that cannot be read.
// token identifies a row across files. Bodies are JSON, see record.
const schema = `
CREATE TABLE IF NOT EXISTS groups (
	id INTEGER PRIMARY KEY AUTOINCREMENT, writer TEXT NOT NULL, first INTEGER NOT NULL, batches INTEGER NOT NULL, events INTEGER NOT NULL, body BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS rejected (
	id INTEGER PRIMARY KEY, reason TEXT NOT NULL, rejected_at TEXT NOT NULL, body BLOB NOT NULL
);
PRAGMA user_version = 1; -- a write, which takes the lock`

// setAsideSchema adds the columns that rejected lacks in files of older versions.
const setAsideSchema = `
ALTER TABLE rejected ADD COLUMN events INTEGER NOT NULL DEFAULT 1;
ALTER TABLE rejected ADD COLUMN token TEXT;
UPDATE rejected SET token = hex(randomblob(16)), events = CASE WHEN json_valid(CAST(body AS TEXT)) THEN
	(SELECT COALESCE(SUM(json_array_length(batch.value, '$.Events')), 0) FROM json_each(CAST(body AS TEXT)) AS batch) ELSE 1 END;
CREATE UNIQUE INDEX rejected_token ON rejected (token);`

// Spool is an open spool. It is safe for concurrent use.
type Spool struct {
	db       *sql.DB
	maxBytes int64

	weakness string // why a power loss may lose groups; "" if it does not

	mu       sync.Mutex
	events   int
	size     int64 // bytes of the bodies
	setAside int   // events
}

// Open opens a spool in a folder and creates the folder if needed. Several programs may
// share it: each holds a file of its own until Close, and takes over the groups in
// files that no program holds. The spool takes up to maxBytes. With 0 it takes no new
// groups, and returns only those left by earlier runs.
func Open(ctx context.Context, dir string, maxBytes int64) (*Spool, error) {
	if err := durable.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open the spool %s: %w", dir, err)
	}
	var own *Spool
	for n := 1; n <= maxFiles; n++ {
		path := filepath.Join(dir, strconv.Itoa(n)+".db")
		if own != nil { // take over existing files only
			if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
				continue
			}
		}
		s, err := openFile(ctx, path)
		switch {
		case errors.Is(err, ErrHeld):
			continue
		case err == nil && own == nil:
			own = s
			own.maxBytes = maxBytes
			continue
		case err == nil:
			err = errors.Join(own.takeOver(ctx, s), s.Close())
		}
		if err != nil {
			err = fmt.Errorf("open the spool %s: %w", path, err)
			if own != nil {
				err = errors.Join(err, own.Close())
			}
			return nil, err
		}
	}
	if own == nil {
		return nil, fmt.Errorf("open the spool %s: %d other programs hold one there", dir, maxFiles)
	}
	return own, nil
}

// maxFiles is how many programs can share a folder.
const maxFiles = 100

// ErrHeld means that another program holds the file.
var ErrHeld = errors.New("another program holds it") //nolint:gochecknoglobals // a constant

// openFile opens one file and creates it if needed.
func openFile(ctx context.Context, path string) (*Spool, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600) // SQLite would let other users read it
	if err != nil {
		return nil, err
	}
	if err := file.Close(); err != nil {
		return nil, err
	}
	options := url.Values{"_pragma": {
		"auto_vacuum(INCREMENTAL)",
		"locking_mode(EXCLUSIVE)",
		"journal_mode(WAL)",
		"synchronous(FULL)", // a commit is on the disk when it returns
	}, "_txlock": {"immediate"}}
	name := url.URL{Scheme: "file", Opaque: (&url.URL{Path: filepath.ToSlash(path)}).EscapedPath(), RawQuery: options.Encode()}
	db, err := sql.Open("sqlite", name.String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	s := &Spool{db: db}
	if _, err = db.ExecContext(ctx, schema); err == nil {
		s.weakness, err = durable.RecoverWAL(ctx, db)
	}
	if err == nil {
		err = s.load(ctx)
	}
	if e, ok := errors.AsType[*modernc.Error](err); ok && e.Code()&0xff == sqlite3.SQLITE_BUSY {
		err = ErrHeld
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return s, nil
}

// load updates the file's schema and counts its contents.
func (s *Spool) load(ctx context.Context) error {
	var isCurrent bool
	err := s.db.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM pragma_table_info('rejected') WHERE name = 'token')").Scan(&isCurrent)
	if err == nil && !isCurrent {
		err = s.write(ctx, func(tx *sql.Tx) error { _, err := tx.ExecContext(ctx, setAsideSchema); return err })
	}
	return errors.Join(err,
		s.db.QueryRowContext(ctx, "SELECT COALESCE(SUM(events), 0), COALESCE(SUM(LENGTH(body)), 0) FROM groups").Scan(&s.events, &s.size),
		s.countSetAside(ctx))
}

// write runs fn in a transaction.
func (s *Spool) write(ctx context.Context, fn func(tx *sql.Tx) error) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if err := fn(tx); err != nil {
		return err
	}
	return tx.Commit()
}

// takeOver moves the contents of another spool to the end of this one. One transaction
// copies the groups, and then they are dropped from the other file. After a crash, all
// of them are in one file or in both, and a writer's groups are never divided. Two
// programs that drain both files store each group once, because of its mark. With a
// divided writer, the mark of the later groups would hide the earlier ones. The token
// prevents duplicates of what is set aside.
func (s *Spool) takeOver(ctx context.Context, other *Spool) error {
	if err := s.takeOverSetAside(ctx, other); err != nil {
		return err
	}
	var lastID int64
	events, size := other.Backlog()
	if err := s.write(ctx, func(tx *sql.Tx) (err error) {
		lastID, err = copyGroups(ctx, tx, other.db)
		return err
	}); err != nil {
		return err
	}
	s.mu.Lock()
	s.events += events
	s.size += size
	s.mu.Unlock()
	return other.Drop(ctx, lastID)
}

// copyGroups copies the groups of another file, and returns the ID of the last one
// there.
func copyGroups(ctx context.Context, to *sql.Tx, from *sql.DB) (lastID int64, err error) {
	rows, err := from.QueryContext(ctx, "SELECT id, writer, first, batches, events, body FROM groups ORDER BY id")
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	for rows.Next() {
		var (
			mark            models.Mark
			batches, events int
			body            []byte
		)
		if err := rows.Scan(&lastID, &mark.Writer, &mark.First, &batches, &events, &body); err != nil {
			return 0, err
		}
		if _, err := to.ExecContext(ctx, insertGroup, mark.Writer, mark.First, batches, events, body); err != nil {
			return 0, err
		}
	}
	return lastID, rows.Err()
}

// Close releases the file; its contents stay.
func (s *Spool) Close() error { return s.db.Close() }

// Backlog returns the waiting events, and the bytes that they take of MaxBytes.
func (s *Spool) Backlog() (events int, sizeBytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.events, s.size
}

// Weakness returns why a power loss may lose spooled groups, "" if it does not.
func (s *Spool) Weakness() string { return s.weakness }

// MaxBytes returns the limit of the spool's size.
func (s *Spool) MaxBytes() int64 { return s.maxBytes }

// SetAsideEvents returns how many events are set aside.
func (s *Spool) SetAsideEvents() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.setAside
}

// Append adds a group. The group is on the disk when it returns nil. It returns
// unavailable if the spool or the disk is full.
func (s *Spool) Append(ctx context.Context, group models.Group) error {
	if s.maxBytes == 0 {
		return models.Errorf(models.CodeUnavailable, "the database is not available at the moment; try again")
	}
	body, events, err := encode(group.Batches)
	if err != nil {
		return err
	}
	if _, size := s.Backlog(); size+int64(len(body)) > s.maxBytes {
		return models.Errorf(models.CodeUnavailable, "the database does not store events at the moment, and the %d MB kept for that are full; try again", s.maxBytes>>20)
	}
	if err := s.add(ctx, group.Mark, len(group.Batches), events, body); err != nil {
		return models.Wrap(err, models.CodeUnavailable, "the database does not store events at the moment, and they cannot be kept on this machine's disk; try again")
	}
	return nil
}

const insertGroup = "INSERT INTO groups (writer, first, batches, events, body) VALUES (?, ?, ?, ?, ?)"

func (s *Spool) add(ctx context.Context, mark models.Mark, batches, events int, body []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := s.db.ExecContext(ctx, insertGroup, mark.Writer, mark.First, batches, events, body)
	if err == nil {
		s.events += events
		s.size += int64(len(body))
	}
	return err
}

// Oldest returns the oldest groups merged into one of about maxEvents events, and the
// ID of the last one. Their marks are consecutive. An empty spool returns no batches.
func (s *Spool) Oldest(ctx context.Context, maxEvents int) (group models.Group, lastID int64, err error) {
	rows, err := s.db.QueryContext(ctx, "SELECT id, writer, first, events, body FROM groups ORDER BY id LIMIT ?", maxEvents)
	if err != nil {
		return models.Group{}, 0, err
	}
	defer rows.Close()
	for taken := 0; taken < maxEvents && rows.Next(); {
		var (
			id     int64
			mark   models.Mark
			events int
			body   []byte
		)
		if err := rows.Scan(&id, &mark.Writer, &mark.First, &events, &body); err != nil {
			return models.Group{}, 0, err
		}
		next := models.Mark{Writer: group.Mark.Writer, First: group.Mark.First + int64(len(group.Batches))}
		if lastID > 0 && (mark != next || taken+events > maxEvents) {
			break
		}
		batches, err := decode(body)
		if err != nil && lastID > 0 {
			break // the next call handles it as its first group
		}
		if err != nil {
			if err := errors.Join(rows.Close(), s.setAsideGroup(ctx, id, err)); err != nil {
				return models.Group{}, 0, err
			}
			return s.Oldest(ctx, maxEvents)
		}
		if lastID == 0 {
			group.Mark = mark
		}
		group.Batches = append(group.Batches, batches...)
		taken += events
		lastID = id
	}
	return group, lastID, rows.Err()
}

// Drop removes the groups up to an ID, after they were stored.
func (s *Spool) Drop(ctx context.Context, lastID int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var events int
	var size int64
	err := s.write(ctx, func(tx *sql.Tx) error {
		if err := tx.QueryRowContext(ctx, "SELECT COALESCE(SUM(events), 0), COALESCE(SUM(LENGTH(body)), 0) FROM groups WHERE id <= ?", lastID).Scan(&events, &size); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "DELETE FROM groups WHERE id <= ?", lastID)
		return err
	})
	if err != nil {
		return err
	}
	s.events -= events
	s.size -= size
	if s.events == 0 {
		// Return the space to the disk. A failure does no harm.
		_, _ = s.db.ExecContext(ctx, "PRAGMA incremental_vacuum")
		_, _ = s.db.ExecContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)")
	}
	return nil
}

func now() string { return time.Now().UTC().Format(time.RFC3339) }

// record is an event in the spool. Its JSON is a string, which keeps every byte.
type record struct {
	models.Incoming
	Data    string
	DataRaw *string
}

// batchRecord is a batch in the spool.
type batchRecord struct {
	models.Batch
	Events []record
}

func encode(batches []models.Batch) (body []byte, events int, err error) {
	records := make([]batchRecord, len(batches))
	for i := range batches {
		records[i] = batchRecord{batches[i], make([]record, len(batches[i].Events))}
		events += len(batches[i].Events)
		for j, in := range batches[i].Events {
			r := record{Incoming: in, Data: string(in.Data)}
			if in.DataRaw != nil {
				raw := string(in.DataRaw)
				r.DataRaw = &raw
			}
			records[i].Events[j] = r
		}
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false) // escaping would make HTML up to six times as long
	err = encoder.Encode(records)
	return out.Bytes(), events, err
}

func decode(body []byte) ([]models.Batch, error) {
	var records []batchRecord
	if err := json.Unmarshal(body, &records); err != nil {
		return nil, err
	}
	batches := make([]models.Batch, len(records))
	for i := range records {
		batches[i] = records[i].Batch
		batches[i].Events = make([]models.Incoming, len(records[i].Events))
		for j, r := range records[i].Events {
			batches[i].Events[j] = r.Incoming
			batches[i].Events[j].Data = models.JSON(r.Data)
			if r.DataRaw != nil {
				batches[i].Events[j].DataRaw = []byte(*r.DataRaw)
			}
		}
	}
	return batches, nil
}
