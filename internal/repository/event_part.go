package repository

import (
	"context"
	"database/sql"
	"strings"

	"gorm.io/gorm"

	"ospulse/internal/database"
	"ospulse/internal/filter"
	"ospulse/internal/jsonscan"
	"ospulse/internal/models"
)

// partColumns are the columns that EachPart reads of every event.
const partColumns = "seq, timestamp, event_type, operation, process_name, target, pid"

// EachPart calls fn for each event of a part that a filter selects, in the order of Seq.
// fn receives the event's hot fields and the values of the part's keys in its Data as
// JSON, nil for missing keys. Both are valid until fn returns; fn may keep the event's
// texts. One statement reads the part, so it should be small.
func (r *Events) EachPart(ctx context.Context, sessionID string, where *filter.Filter, part models.EventPart, fn func(e *models.Event, values [][]byte)) error {
	members := membersOf(r.db, part.Keys)
	query := inPart(filtered(r.db.Read(ctx).Model(&models.Event{}), where), sessionID, part)
	rows, err := members.selected(query).Rows()
	if err != nil {
		return translate(r.db, err, "the event")
	}
	defer rows.Close()
	var e models.Event
	dest := append([]any{&e.Seq, &e.Timestamp, &e.EventType, &e.Operation, &e.ProcessName, &e.Target, &e.PID}, members.dest...)
	for rows.Next() {
		e.Operation, e.ProcessName, e.Target, e.PID = nil, nil, nil, nil // fn may have kept the texts
		if err := rows.Scan(dest...); err != nil {
			return translate(r.db, err, "the event")
		}
		fn(&e, members.read())
	}
	return translate(r.db, rows.Err(), "the event")
}

// inPart restricts a query to a part and orders it.
func inPart(query *gorm.DB, sessionID string, part models.EventPart) *gorm.DB {
	return query.Where("session_id = ? AND seq > ? AND seq <= ? AND event_type IN ?", sessionID, part.After, part.UpTo, part.Types).Order("seq")
}

// members reads some members of data, row by row.
type members struct {
	columns string // follow partColumns
	args    []any
	dest    []any
	read    func() [][]byte
}

func (m *members) selected(query *gorm.DB) *gorm.DB {
	return query.Select(partColumns+m.columns, m.args...)
}

// membersOf returns the members for the keys. PostgreSQL extracts them from jsonb, so
// that it does not print and send the rest of data. SQLite's own JSON functions read
// numbers as floats; therefore this process reads the whole data and extracts the members
// itself.
func membersOf(db *database.DB, keys []string) *members {
	values := make([][]byte, len(keys))
	if db.Dialect() == "postgres" {
		m := &members{columns: strings.Repeat(", data->?::text", len(keys))}
		raw := make([]sql.RawBytes, len(keys))
		for i, key := range keys {
			m.args = append(m.args, key)
			m.dest = append(m.dest, &raw[i])
		}
		m.read = func() [][]byte {
			for i := range raw {
				values[i] = raw[i]
			}
			return values
		}
		return m
	}
	var data sql.RawBytes
	var tree jsonscan.Tree
	for i, key := range keys {
		tree.Key(key).Want(i)
	}
	return &members{columns: ", data", dest: []any{&data}, read: func() [][]byte {
		clear(values)
		tree.Pick(data, values)
		return values
	}}
}

// FirstID returns the ID of a session's first event; 0 if it has none. Event IDs are
// never reused, so FirstID distinguishes a session from a deleted one with the same ID.
func (r *Events) FirstID(ctx context.Context, sessionID string) (uint64, error) {
	var ids []uint64
	err := r.db.Read(ctx).Model(&models.Event{}).Where("session_id = ? AND seq = 1", sessionID).Pluck("id", &ids).Error
	if err != nil || len(ids) == 0 {
		return 0, translate(r.db, err, "the event")
	}
	return ids[0], nil
}
