package repository

import (
	"database/sql"

	"ospulse/internal/models"
	"ospulse/internal/segment"
)

// form says which fields of events a reader gets.
type form struct {
	columns string // of the table events
	args    []any  // of columns
	// row returns the targets for the columns, and a function that returns the event of
	// the scanned row. The event is valid until the next scan.
	row func() (dest []any, take func() *models.Event)
	// sealed sets e to event i of a segment.
	sealed func(s *sealedSegment, e *models.Event, i int) error
	// isHot says that sealed needs no more than the segment's columns.
	isHot bool
	// isTransfer says that the reader reads a whole session, and does not come back to a segment
	// that it has passed.
	isTransfer bool
}

// The forms of events.
//
//nolint:gochecknoglobals // constants
var (
	// whole has all fields but IsSent.
	whole = form{
		columns: exportedColumns + ", preview, updated_at",
		row: func() ([]any, func() *models.Event) {
			r := &storedRow{}
			return r.dest(), r.take
		},
		sealed: (*sealedSegment).event,
	}
	// listed has Data only without a Preview, and never DataRaw.
	listed = form{
		columns: "id, seq, event_type, timestamp, timestamp_source, timestamp_text, source, CASE WHEN preview IS NULL THEN data END AS data, NULL AS data_raw, " +
			"pid, process_name, operation, target, created_at, preview",
		row: func() ([]any, func() *models.Event) {
			r := &storedRow{}
			return r.dest()[:exportedCount+1], r.take
		},
		sealed: func(s *sealedSegment, e *models.Event, i int) error {
			err := s.event(e, i)
			e.DataRaw = nil
			if e.Preview != nil {
				e.Data = models.JSON("null")
			}
			return err
		},
	}
	// hot has Seq and the hot fields.
	hot = form{
		columns: hotColumns,
		row: func() ([]any, func() *models.Event) {
			e := &models.Event{}
			return []any{&e.Seq, &e.Timestamp, &e.EventType, &e.Source, &e.Operation, &e.ProcessName, &e.Target, &e.PID}, func() *models.Event { return e }
		},
		sealed: (*sealedSegment).hotEvent,
		isHot:  true,
	}
)

// exported returns the form that also lacks Preview and UpdatedAt. The Data of sealed
// events lies in the given memory.
func exported(memory *models.EventMemory) form {
	return form{
		columns:    exportedColumns,
		isTransfer: true,
		row: func() ([]any, func() *models.Event) {
			r := &storedRow{}
			return r.dest()[:exportedCount], r.take
		},
		sealed: func(s *sealedSegment, e *models.Event, i int) error {
			return s.read(e, i, func(b *segment.Block, e *models.Event, i int) (err error) {
				memory.Data, err = b.Exported(e, i, memory.Data)
				return err
			})
		},
	}
}

// exportedColumns are the first columns of storedRow, exportedCount in number.
const (
	exportedColumns = "id, seq, event_type, timestamp, timestamp_source, timestamp_text, source, data, data_raw, " +
		"pid, process_name, operation, target, created_at"
	exportedCount = 14
)

const hotColumns = "seq, timestamp, event_type, source, operation, process_name, target, pid"

// storedRow is the scan target of an event. GORM's own scan takes several times as long.
type storedRow struct {
	id, seq                         int64
	eventType, timeSource, source   string
	timeText, name, operation, path sql.NullString
	preview                         sql.NullString
	pid                             sql.NullInt64
	event, taken                    models.Event
}

func (r *storedRow) dest() []any {
	return []any{&r.id, &r.seq, &r.eventType, &r.event.Timestamp, &r.timeSource, &r.timeText, &r.source, &r.event.Data, &r.event.DataRaw,
		&r.pid, &r.name, &r.operation, &r.path, &r.event.CreatedAt, &r.preview, &r.event.UpdatedAt}
}

// take returns the scanned event.
func (r *storedRow) take() *models.Event {
	e := &r.taken
	*e = r.event
	e.ID, e.Seq = uint64(r.id), r.seq
	e.EventType, e.TimestampSource, e.Source = r.eventType, r.timeSource, r.source
	e.TimestampText, e.ProcessName, e.Operation, e.Target, e.Preview = textOrNil(r.timeText), textOrNil(r.name), textOrNil(r.operation), textOrNil(r.path), textOrNil(r.preview)
	if r.pid.Valid {
		pid := r.pid.Int64
		e.PID = &pid
	}
	r.event = models.Event{} // the reader owns its data now
	return e
}

func textOrNil(text sql.NullString) *string {
	if !text.Valid {
		return nil
	}
	return &text.String
}
