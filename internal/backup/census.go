package backup

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"time"

	"ospulse/internal/database"
)

// Report says what a backup has.
type Report struct {
	Head     Head
	Contents Contents
	Sessions int
	Events   int64
	// Gaps are the sessions of which events are missing, as they were in the database.
	Gaps []Gap
}

// Gap is a session that lacks events.
type Gap struct {
	SessionID         string
	Expected, Present int64
}

// census counts the events of each session: those that it should have, and those that
// are rows or in sealed segments.
type census struct {
	columns  map[string]countedColumns // by table
	sessions map[string]*counts
}

type counts struct{ expected, present int64 }

// countedColumns are the places of the columns that count; −1 for none.
type countedColumns struct{ session, number, isSealed int }

func newCensus(head *Head) *census {
	c := &census{columns: map[string]countedColumns{}, sessions: map[string]*counts{}}
	for i := range head.Tables {
		table := &head.Tables[i]
		columns := countedColumns{columnOf(table, "session_id"), columnOf(table, "event_count"), columnOf(table, "is_sealed")}
		switch {
		case table.Name == "sessions":
			columns.session = columnOf(table, "id")
			c.columns[table.Name] = columns
		case table.Name == "events", table.Name == "segments" && columns.isSealed >= 0:
			c.columns[table.Name] = columns
		}
	}
	return c
}

// columnOf returns the index of a column, or −1.
func columnOf(table *database.Table, name string) int {
	return slices.IndexFunc(table.Columns, func(c database.Column) bool { return c.Name == name })
}

func (c *census) add(table *database.Table, fields [][]byte) error {
	columns, ok := c.columns[table.Name]
	if !ok {
		return nil
	}
	session := c.sessions[string(fields[columns.session])]
	if session == nil {
		session = &counts{}
		c.sessions[string(fields[columns.session])] = session
	}
	if table.Name == "events" {
		session.present++
		return nil
	}
	value, err := table.Columns[columns.number].Value(fields[columns.number])
	if err != nil {
		return err
	}
	n, _ := value.(int64)
	if table.Name == "sessions" {
		session.expected = n
		return nil
	}
	isSealed, err := table.Columns[columns.isSealed].Value(fields[columns.isSealed])
	if isSealed == true {
		session.present += n
	}
	return err
}

func (c *census) report(head *Head, contents *Contents) Report {
	r := Report{Head: *head, Contents: *contents}
	for id, session := range c.sessions {
		r.Sessions++
		r.Events += session.present
		if session.present != session.expected {
			r.Gaps = append(r.Gaps, Gap{id, session.expected, session.present})
		}
	}
	slices.SortFunc(r.Gaps, func(a, b Gap) int { return strings.Compare(a.SessionID, b.SessionID) })
	return r
}

// fileNames returns the SHA-256 of the target files whose content should be stored.
func fileNames(ctx context.Context, snapshot *database.Snapshot) (names []string, err error) {
	for i := range snapshot.Tables {
		table := &snapshot.Tables[i]
		if table.Name != "target_files" {
			continue
		}
		name, none := columnOf(table, "sha256"), columnOf(table, "no_content")
		err = snapshot.CopyOut(ctx, table, func(row database.Row) error {
			fields, err := table.Fields(row, nil)
			if err != nil {
				return err
			}
			hasNone, err := table.Columns[none].Value(fields[none])
			if hasNone == false {
				names = append(names, string(fields[name]))
			}
			return err
		})
	}
	slices.Sort(names)
	return names, err
}

// progressInterval is the time between two log lines about a long backup or restore.
const progressInterval = 5 * time.Second

// progress logs from time to time how far a long operation is.
type progress struct {
	what string
	log  *slog.Logger
	next time.Time
}

func newProgress(what string, log *slog.Logger) *progress {
	return &progress{what, log, time.Now().Add(progressInterval)}
}

func (p *progress) tell(args ...any) {
	if now := time.Now(); now.After(p.next) {
		p.log.Info(p.what, args...)
		p.next = now.Add(progressInterval)
	}
}
