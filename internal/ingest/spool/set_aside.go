package spool

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"ospulse/internal/models"
)

// SetAside moves refused events of a waiting batch to the events that are set aside,
// and replaces the batch by reported, all or nothing. mark names the batch.
func (s *Spool) SetAside(ctx context.Context, mark models.Mark, reported models.Batch, refused []models.Refused) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	grown := 0
	err := s.write(ctx, func(tx *sql.Tx) error {
		var id, first int64
		var body []byte
		err := tx.QueryRowContext(ctx, "SELECT id, first, body FROM groups WHERE writer = ? AND first <= ? AND first + batches > ? ORDER BY id LIMIT 1",
			mark.Writer, mark.First, mark.First).Scan(&id, &first, &body)
		if err != nil {
			return err
		}
		batches, err := decode(body)
		if err != nil {
			return err
		}
		batches[mark.First-first] = reported
		replaced, _, err := encode(batches)
		if err != nil {
			return err
		}
		grown = len(replaced) - len(body)
		if _, err := tx.ExecContext(ctx, "UPDATE groups SET body = ? WHERE id = ?", replaced, id); err != nil {
			return err
		}
		for _, r := range refused {
			// On a retry, the event goes to the session of its report.
			r.Event.RequestHint = r.Event.SessionID
			alone, _, err := encode([]models.Batch{{Events: []models.Incoming{r.Event}, ReceivedAt: reported.ReceivedAt, AgentID: reported.AgentID}})
			if err != nil {
				return err
			}
			if err := addSetAside(ctx, tx, rand.Text(), r.Reason, now(), 1, alone); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		s.size += int64(grown)
		s.setAside += len(refused)
	}
	return err
}

// setAsideGroup sets aside a group that cannot be read, and replaces it by a report of
// its events.
func (s *Spool) setAsideGroup(ctx context.Context, id int64, cause error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	events, grown := 0, 0
	err := s.write(ctx, func(tx *sql.Tx) error {
		var batches int
		var body []byte
		if err := tx.QueryRowContext(ctx, "SELECT batches, events, body FROM groups WHERE id = ?", id).Scan(&batches, &events, &body); err != nil {
			return err
		}
		in := make([]models.Batch, batches)
		in[0].Events = []models.Incoming{models.LossReport(time.Now(), models.LossDamaged, map[string]any{"count": events})}
		replaced, _, err := encode(in)
		if err != nil {
			return err
		}
		grown = len(replaced) - len(body)
		if _, err := tx.ExecContext(ctx, "UPDATE groups SET body = ?, events = 1 WHERE id = ?", replaced, id); err != nil {
			return err
		}
		return addSetAside(ctx, tx, rand.Text(), "it cannot be read: "+cause.Error(), now(), events, body)
	})
	if err == nil {
		s.events += 1 - events
		s.size += int64(grown)
		s.setAside += events
	}
	return err
}

func addSetAside(ctx context.Context, tx *sql.Tx, token, reason, at string, events int, body []byte) error {
	_, err := tx.ExecContext(ctx, "INSERT INTO rejected (token, reason, rejected_at, events, body) VALUES (?, ?, ?, ?, ?) ON CONFLICT (token) DO NOTHING",
		token, reason, at, events, body)
	return err
}

func (s *Spool) countSetAside(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.db.QueryRowContext(ctx, "SELECT COALESCE(SUM(events), 0) FROM rejected").Scan(&s.setAside)
}

// takeOverSetAside moves the events that another spool has set aside to this one.
func (s *Spool) takeOverSetAside(ctx context.Context, other *Spool) error {
	for {
		var (
			id                int64
			token, reason, at string
			events            int
			body              []byte
		)
		err := other.db.QueryRowContext(ctx, "SELECT id, token, reason, rejected_at, events, body FROM rejected ORDER BY id LIMIT 1").
			Scan(&id, &token, &reason, &at, &events, &body)
		if errors.Is(err, sql.ErrNoRows) {
			return s.countSetAside(ctx)
		}
		if err != nil {
			return err
		}
		if err := s.write(ctx, func(tx *sql.Tx) error { return addSetAside(ctx, tx, token, reason, at, events, body) }); err != nil {
			return err
		}
		if _, err := other.db.ExecContext(ctx, "DELETE FROM rejected WHERE id = ?", id); err != nil {
			return err
		}
	}
}

// Kept is one entry that is set aside: an event, or all events of a group that cannot
// be read.
type Kept struct {
	ID     int64     // in the file
	At     time.Time // when it was set aside
	Reason string
	Count  int               // events
	Events []models.Incoming // nil if they cannot be read
}

// Files returns the files of a spool folder, in the order of their numbers.
func Files(dir string) ([]string, error) {
	if _, err := os.Stat(dir); err != nil {
		return nil, err
	}
	var files []string
	for n := 1; n <= maxFiles; n++ {
		path := filepath.Join(dir, strconv.Itoa(n)+".db")
		if _, err := os.Stat(path); err == nil {
			files = append(files, path)
		}
	}
	return files, nil
}

// OpenFile opens one file of a folder, to inspect the events that are set aside. It
// returns ErrHeld if a running program holds the file.
func OpenFile(ctx context.Context, path string) (*Spool, error) { return openFile(ctx, path) }

// ListSetAside returns the entries that are set aside, oldest first.
func (s *Spool) ListSetAside(ctx context.Context) ([]Kept, error) {
	rows, err := s.db.QueryContext(ctx, "SELECT id, reason, rejected_at, events, body FROM rejected ORDER BY id")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []Kept
	for rows.Next() {
		var k Kept
		var at string
		var body []byte
		if err := rows.Scan(&k.ID, &k.Reason, &at, &k.Count, &body); err != nil {
			return nil, err
		}
		k.At, _ = time.Parse(time.RFC3339, at) // in the format of now
		if batches, err := decode(body); err == nil {
			for _, batch := range batches {
				k.Events = append(k.Events, batch.Events...)
			}
		}
		all = append(all, k)
	}
	return all, rows.Err()
}

// Retry moves the entry with an ID to the end of the waiting groups, as a group of its
// own. It returns an error if the entry cannot be read.
func (s *Spool) Retry(ctx context.Context, id int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	events, body := 0, []byte(nil)
	err := s.write(ctx, func(tx *sql.Tx) error {
		var token string
		if err := tx.QueryRowContext(ctx, "SELECT token, events, body FROM rejected WHERE id = ?", id).Scan(&token, &events, &body); err != nil {
			return err
		}
		batches, err := decode(body)
		if err != nil {
			return fmt.Errorf("it cannot be read: %w", err)
		}
		// The mark contains the token, so draining a copy of this file too stores
		// nothing twice.
		if _, err := tx.ExecContext(ctx, "INSERT INTO groups (writer, first, batches, events, body) VALUES (?, 1, ?, ?, ?)", "retry-"+token, len(batches), events, body); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, "DELETE FROM rejected WHERE id = ?", id)
		return err
	})
	if err == nil {
		s.events += events
		s.size += int64(len(body))
		s.setAside -= events
	}
	return err
}
