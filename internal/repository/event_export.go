package repository

import (
	"context"
	"database/sql"

	"ospulse/internal/database"
	"ospulse/internal/filter"
	"ospulse/internal/models"
)

// Transfers exports and imports whole sessions.
type Transfers struct{ db *database.DB }

// NewTransfers returns the transfers of db.
func NewTransfers(db *database.DB) *Transfers { return &Transfers{db} }

// exportedColumns are the columns of exportedRow.
const exportedColumns = "id, seq, event_type, timestamp, timestamp_source, timestamp_text, source, data, data_raw, " +
	"pid, process_name, operation, target, created_at"

// exportedRow is the scan target of an exported event. GORM's own scan takes several
// times as long per row.
type exportedRow struct {
	id, seq                         int64
	eventType, timeSource, source   string
	timeText, name, operation, path sql.NullString
	pid                             sql.NullInt64
	event                           models.Event
}

func (r *exportedRow) dest() []any {
	return []any{&r.id, &r.seq, &r.eventType, &r.event.Timestamp, &r.timeSource, &r.timeText, &r.source, &r.event.Data, &r.event.DataRaw,
		&r.pid, &r.name, &r.operation, &r.path, &r.event.CreatedAt}
}

// take returns the scanned event.
func (r *exportedRow) take(sessionID string) models.Event {
	e := r.event
	e.ID, e.SessionID, e.Seq = uint64(r.id), sessionID, r.seq
	e.EventType, e.TimestampSource, e.Source = r.eventType, r.timeSource, r.source
	e.TimestampText, e.ProcessName, e.Operation, e.Target = textOrNil(r.timeText), textOrNil(r.name), textOrNil(r.operation), textOrNil(r.path)
	if r.pid.Valid {
		pid := r.pid.Int64
		e.PID = &pid
	}
	r.event = models.Event{} // the caller owns its data now
	return e
}

func textOrNil(text sql.NullString) *string {
	if !text.Valid {
		return nil
	}
	return &text.String
}

// ReadEvents returns the first events of a range that a filter selects, by Seq: up to
// limit, and no more once their data exceeds maxBytes. It does not read Preview, IsSent
// and UpdatedAt. It holds no connection when it returns, so that a slow client cannot
// block the database.
func (r *Transfers) ReadEvents(ctx context.Context, sessionID string, where *filter.Filter, events models.EventRange, limit, maxBytes int) ([]models.Event, error) {
	query := filtered(r.db.Read(ctx), where).Model(&models.Event{}).Select(exportedColumns).
		Where("session_id = ? AND seq > ? AND seq <= ?", sessionID, events.After, events.UpTo)
	if events.EventType != "" {
		query = query.Where("event_type = ?", events.EventType)
	}
	rows, err := query.Order("seq").Limit(limit).Rows()
	if err != nil {
		return nil, translate(r.db, err, "the event")
	}
	defer rows.Close()
	page := make([]models.Event, 0, limit)
	var row exportedRow
	dest := row.dest()
	for size := 0; size < maxBytes && rows.Next(); {
		if err := rows.Scan(dest...); err != nil {
			return nil, translate(r.db, err, "the event")
		}
		page = append(page, row.take(sessionID))
		size += len(page[len(page)-1].Data) + len(page[len(page)-1].DataRaw)
	}
	return page, translate(r.db, rows.Err(), "the event")
}

// ReadProcesses returns up to limit processes of a session by pid and start, those that
// follow the process after; from the first if after is nil.
func (r *Transfers) ReadProcesses(ctx context.Context, sessionID string, after *models.Process, limit int) ([]models.Process, error) {
	query := r.db.Read(ctx).Where("session_id = ?", sessionID)
	if after != nil {
		query = query.Where("(pid > ? OR (pid = ? AND started_at > ?))", after.PID, after.PID, after.StartedAt)
	}
	var processes []models.Process
	err := query.Order("pid, started_at").Limit(limit).Find(&processes).Error
	return processes, translate(r.db, err, "the process")
}
