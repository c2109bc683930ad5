package repository

import (
	"context"
	"slices"
	"time"

	"ospulse/internal/database"
	"ospulse/internal/models"
)

// Processes reads the processes of sessions. Events.Append stores them.
type Processes struct{ db *database.DB }

// NewProcesses returns the processes of db.
func NewProcesses(db *database.DB) *Processes { return &Processes{db} }

// List returns the first limit processes of a session in the order of their start, and
// the number of all.
func (r *Processes) List(ctx context.Context, sessionID string, limit int) (processes []models.Process, total int64, err error) {
	err = r.db.Read(ctx).Where("session_id = ?", sessionID).Order("started_at, id").Limit(limit).Find(&processes).Error
	if total = int64(len(processes)); err == nil && len(processes) == limit {
		err = r.db.Read(ctx).Model(&models.Process{}).Where("session_id = ?", sessionID).Count(&total).Error
	}
	return processes, total, translate(r.db, err, "the process")
}

// ListFamily returns what process.NewFamily needs of the first limit processes of a session
// in the order of their start.
func (r *Processes) ListFamily(ctx context.Context, sessionID string, limit int) ([]models.Process, error) {
	rows, err := r.db.Read(ctx).Model(&models.Process{}).Select("id, pid, started_at, start_known, parent_pid, parent_started_at, name").
		Where("session_id = ?", sessionID).Order("started_at, id").Limit(limit).Rows()
	if err != nil {
		return nil, translate(r.db, err, "the process")
	}
	defer rows.Close()
	var processes []models.Process
	for rows.Next() {
		var p models.Process
		if err := rows.Scan(&p.ID, &p.PID, &p.StartedAt, &p.StartKnown, &p.ParentPID, &p.ParentStartedAt, &p.Name); err != nil {
			return nil, translate(r.db, err, "the process")
		}
		processes = append(processes, p)
	}
	return processes, translate(r.db, rows.Err(), "the process")
}

// addedAtOnce is the number of processes that Add adds in one transaction.
const addedAtOnce = 50

// Add adds processes that an agent listed for a session, by their PID and Name, as seen
// at a time. It ignores a process whose pid the session already has. It returns not_found
// if the session does not exist or is being deleted.
func (r *Processes) Add(ctx context.Context, sessionID string, at time.Time, processes []models.Process) error {
	for some := range slices.Chunk(processes, addedAtOnce) {
		err := r.db.BulkBeside(ctx, func(tx database.Bulk) error {
			// The update locks the row, so that no append of events runs meanwhile.
			found := false
			err := tx.Run(ctx, database.Statement{
				Text: "UPDATE sessions SET event_count = event_count WHERE id = ? AND " + visible + " RETURNING id",
				Args: []any{sessionID}, Dest: []any{new(string)}, Row: func() { found = true },
			})
			if err == nil && !found {
				err = models.Errorf(models.CodeNotFound, "session %s does not exist", sessionID)
			}
			if err != nil {
				return err
			}
			statements := make([]database.Statement, len(some))
			for i, p := range some {
				statements[i] = database.Statement{
					Text: "INSERT INTO processes (session_id, pid, started_at, start_known, name, first_seen, last_seen, event_counts) " +
						"SELECT CAST(? AS varchar(255)), CAST(? AS bigint), CAST(? AS timestamptz), CAST(? AS boolean), CAST(? AS text), CAST(? AS timestamptz), CAST(? AS timestamptz), '{}' " +
						"WHERE NOT EXISTS (SELECT 1 FROM processes WHERE session_id = ? AND pid = ?)",
					Args: []any{sessionID, p.PID, at, false, p.Name, at, at, sessionID, p.PID},
				}
			}
			return tx.Finish(ctx, append(statements, familyChanged(sessionID))...)
		})
		if err != nil {
			return translate(r.db, err, "the process")
		}
	}
	return nil
}

// Search returns the IDs of the first limit processes of a session, in the order of their
// start, whose pid, name, image and command line, joined by spaces, contain a text. It
// ignores the case of A to Z.
func (r *Processes) Search(ctx context.Context, sessionID, text string, limit int) (ids []uint64, err error) {
	err = r.db.Read(ctx).Model(&models.Process{}).Where("session_id = ?", sessionID).
		Where(contains(r.db, "(CAST(pid AS text) || ' ' || name || ' ' || image || ' ' || command_line)"), lower(text)).
		Order("started_at, id").Limit(limit).Pluck("id", &ids).Error
	return ids, translate(r.db, err, "the process")
}

// ListByID returns the processes of a session with some IDs, in any order.
func (r *Processes) ListByID(ctx context.Context, sessionID string, ids []uint64) (processes []models.Process, err error) {
	err = r.db.Read(ctx).Where("session_id = ? AND id IN ?", sessionID, ids).Find(&processes).Error
	return processes, translate(r.db, err, "the process")
}
