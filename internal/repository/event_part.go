package repository

import (
	"context"
	"database/sql"
	"strings"

	"ospulse/internal/database"
	"ospulse/internal/filter"
	"ospulse/internal/jsonscan"
	"ospulse/internal/models"
	"ospulse/internal/segment"
)

// EachPart calls fn for each event of a part that a filter selects, in the order of Seq.
// fn receives the event's hot fields and the values of the part's keys in its Data as
// JSON, nil for missing keys. Both are valid until fn returns; fn may keep the event's
// texts. The part should be small, because it is read in one view.
func (r *Events) EachPart(ctx context.Context, sessionID string, where *filter.Filter, part models.EventPart, fn func(e *models.Event, values [][]byte)) error {
	m := membersOf(r.db, part.Keys)
	where = filter.OfTypes(where, part.Types...)
	err := r.views.in(ctx, sessionID, func(v view) error {
		return v.read(where, models.EventPage{After: part.After, Before: part.UpTo + 1}, m.form(), func(e *models.Event) (bool, error) {
			fn(e, m.values)
			return true, nil
		})
	})
	return translate(r.db, err, "the event")
}

// members reads some members of data, event by event.
type members struct {
	columns string // follow hotColumns
	args    []any
	dest    []any
	read    func() // sets values to those of the scanned row

	values [][]byte // of the last event
	tree   jsonscan.Tree

	block   *segment.Block // the last one, and its members
	ofBlock *segment.Members
}

// form returns the form of events with these members. It sets values for each event.
func (m *members) form() form {
	return form{
		columns: hotColumns + m.columns, args: m.args,
		row: func() ([]any, func() *models.Event) {
			dest, take := hot.row()
			return append(dest, m.dest...), func() *models.Event {
				m.read()
				return take()
			}
		},
		sealed: func(s *sealedSegment, e *models.Event, i int) error {
			block, place, err := s.blockOf(i)
			if err != nil {
				return err
			}
			if block != m.block {
				m.block, m.ofBlock = block, block.Members(&m.tree, len(m.values))
			}
			if err := m.ofBlock.Pick(place, m.values); err != nil {
				return s.damaged(err)
			}
			return s.hotEvent(e, i)
		},
	}
}

// pick sets values to the members of data.
func (m *members) pick(data []byte) {
	clear(m.values)
	m.tree.Pick(data, m.values)
}

// membersOf returns the members for the keys. PostgreSQL extracts them from jsonb, so
// that it does not print and send the rest of data. SQLite's own JSON functions read
// numbers as floats; therefore this process reads the whole data and extracts the members
// itself.
func membersOf(db *database.DB, keys []string) *members {
	m := &members{values: make([][]byte, len(keys))}
	for i, key := range keys {
		m.tree.Key(key).Want(i)
	}
	if db.Dialect() == "postgres" {
		m.columns = strings.Repeat(", data->?::text", len(keys))
		raw := make([]sql.RawBytes, len(keys))
		for i, key := range keys {
			m.args = append(m.args, key)
			m.dest = append(m.dest, &raw[i])
		}
		m.read = func() {
			for i := range raw {
				m.values[i] = raw[i]
			}
		}
		return m
	}
	var data sql.RawBytes
	m.columns, m.dest, m.read = ", data", []any{&data}, func() { m.pick(data) }
	return m
}

// FirstID returns the smallest ID of a session's first events; 0 if it has none. Event
// IDs are never reused, so FirstID distinguishes a session from a deleted one with the
// same ID.
func (r *Events) FirstID(ctx context.Context, sessionID string) (uint64, error) {
	var ids []uint64
	err := r.db.Read(ctx).Raw("SELECT id FROM events WHERE session_id = ? AND seq = 1 UNION ALL SELECT min_id FROM segments WHERE session_id = ? AND number = 0 AND is_sealed", sessionID, sessionID).Scan(&ids).Error
	if err != nil || len(ids) == 0 {
		return 0, translate(r.db, err, "the event")
	}
	return ids[0], nil
}
