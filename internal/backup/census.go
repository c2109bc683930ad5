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

// census counts the events of each session.
type census struct {
	columns  map[string][2]int // by table: the columns that count
	sessions map[string]*counts
}

type counts struct{ expected, present int64 }

// counted are the columns that count: a session's ID, and a number.
var counted = map[string][2]string{ //nolint:gochecknoglobals // a constant
	"sessions": {"id", "event_count"},
	"events":   {"session_id", "seq"},
}

func newCensus(head *Head) *census {
	c := &census{columns: map[string][2]int{}, sessions: map[string]*counts{}}
	for i := range head.Tables {
		table := &head.Tables[i]
		names := counted[table.Name]
		id, number := columnOf(table, names[0]), columnOf(table, names[1])
		if id >= 0 && number >= 0 {
			c.columns[table.Name] = [2]int{id, number}
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
	session := c.sessions[string(fields[columns[0]])]
	if session == nil {
		session = &counts{}
		c.sessions[string(fields[columns[0]])] = session
	}
	if table.Name == "events" {
		session.present++
		return nil
	}
	value, err := table.Columns[columns[1]].Value(fields[columns[1]])
	session.expected, _ = value.(int64)
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
