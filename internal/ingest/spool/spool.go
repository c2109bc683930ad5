// Package spool keeps groups of events on this machine's disk while the database
// is away: a bounded queue in a file of its own, from which nothing is lost when
// the program or the machine stops at any moment.
//
// It knows nothing of the database that the events are for.
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

// schema: groups wait in the order of their ids. rejected keeps what is set aside: a
// body of batches that have so many events together, or that cannot be read. token
// names a row in whatever file it is. Bodies are JSON, see record.
const schema = `
CREATE TABLE IF NOT EXISTS groups (
	id INTEGER PRIMARY KEY AUTOINCREMENT, writer TEXT NOT NULL, first INTEGER NOT NULL, batches INTEGER NOT NULL, events INTEGER NOT NULL, body BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS rejected (
	id INTEGER PRIMARY KEY, reason TEXT NOT NULL, rejected_at TEXT NOT NULL, body BLOB NOT NULL
);
PRAGMA user_version = 1; -- a write, which takes the lock`

// setAsideSchema adds to a file of an older version what rejected had not.
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

	weakness string // why what is in it may not survive a power loss; "" for a disk

	mu       sync.Mutex
	events   int
	size     int64 // of the bodies, in bytes
	setAside int   // events
}

// Open opens a spool in a folder, which it makes when it is not there. Several
// programs may share the folder: each holds a file of its own until Close, and
// takes over what is left in the files that nobody holds. The spool takes up to
// maxBytes; with 0 it takes nothing, and gives only what was left.
func Open(ctx context.Context, dir string, maxBytes int64) (*Spool, error) {
	if err := durable.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open the spool %s: %w", dir, err)
	}
	var own *Spool
	for n := 1; n <= maxFiles; n++ {
		path := filepath.Join(dir, strconv.Itoa(n)+".db")
		if own != nil { // only those that are there
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

// maxFiles is how many programs may share a folder.
const maxFiles = 100

// ErrHeld is for a file that another program holds.
var ErrHeld = errors.New("another program holds it") //nolint:gochecknoglobals // a constant

// openFile opens one file, which it makes when it is not there.
func openFile(ctx context.Context, path string) (*Spool, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600) // SQLite would have others read it
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

// load brings the file's schema up to date and counts what is in it.
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

// takeOver moves what another spool has to the end of this one. The groups come in
// one transaction and are dropped from the other file afterwards: a crash leaves all
// of them in one file or in both, and never some of a writer's here and some there.
// Two programs that then drain the files side by side store each group once, as the
// mark tells; of a divided writer, the mark of the later groups would hide the earlier
// ones. What is set aside counts once by its token.
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

// copyGroups adds the groups of another file, and returns the ID of the last one
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

// Close gives the file back; what is in it stays.
func (s *Spool) Close() error { return s.db.Close() }

// Backlog gives what waits: events, and the bytes that they take of MaxBytes.
func (s *Spool) Backlog() (events int, sizeBytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.events, s.size
}

// Weakness says why what is in the spool may not survive a power loss; "" is a disk.
func (s *Spool) Weakness() string { return s.weakness }

// MaxBytes is how much the spool takes.
func (s *Spool) MaxBytes() int64 { return s.maxBytes }

// SetAsideEvents gives how many events are set aside.
func (s *Spool) SetAsideEvents() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.setAside
}

// Append adds a group. When it returns nil, the group is on the disk; a full spool
// or disk is unavailable.
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

// Oldest gives the groups that waited longest as one, with about maxEvents events,
// and the ID of the last one. Their numbers follow one another. A spool that is
// empty gives no batches.
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
			break // it is the first one next time
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

// Drop removes the groups up to an ID: they are stored.
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
		// The disk gets its space back. It is no fault when that fails now.
		_, _ = s.db.ExecContext(ctx, "PRAGMA incremental_vacuum")
		_, _ = s.db.ExecContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)")
	}
	return nil
}

func now() string { return time.Now().UTC().Format(time.RFC3339) }

// record is an event as the spool keeps it: its JSON as text, which keeps every
// byte of it.
type record struct {
	models.Incoming
	Data    string
	DataRaw *string
}

// batchRecord is a batch as the spool keeps it.
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
	encoder.SetEscapeHTML(false) // a page's markup would take six times its space
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
