package repository

import (
	"bytes"
	"context"
	"slices"
	"strings"

	"ospulse/internal/database"
	"ospulse/internal/models"
	"ospulse/internal/process"
)

// backfilling selects the sessions whose backfill is not complete. The condition of
// their index is the same text.
const backfilling = "(backfilled_seq < backfill_up_to)"

// Backfills adds search columns and processes to events that were stored without them.
type Backfills struct{ db *database.DB }

// NewBackfills returns the backfills of db.
func NewBackfills(db *database.DB) *Backfills { return &Backfills{db} }

// Left counts the sessions whose backfill is not complete, and their events that it has
// not read yet.
func (r *Backfills) Left(ctx context.Context) (left models.BackfillLeft, err error) {
	err = r.db.Read(ctx).Model(&models.Session{}).Select("COUNT(*) AS sessions, COALESCE(SUM(backfill_up_to - backfilled_seq), 0) AS events").
		Where(backfilling + " AND " + visible).Scan(&left).Error
	return left, translate(r.db, err, "the session")
}

// Next returns the newest session whose backfill is not complete, or not_found.
func (r *Backfills) Next(ctx context.Context) (*models.Session, error) {
	var session models.Session
	err := r.db.Read(ctx).Where(backfilling + " AND " + visible).Order("created_at DESC, id DESC").Take(&session).Error
	if err != nil {
		return nil, translate(r.db, err, "a session to backfill")
	}
	return &session, nil
}

// Add stores what the backfill found in the events of a session that follow its
// BackfilledSeq, up to the seq upTo: their search columns, the form in which their data
// is kept, and their processes. stored holds the same events as found, in the same
// order, as the database has them. Add returns conflict if another backend was faster or
// the session is being deleted.
func (r *Backfills) Add(ctx context.Context, session *models.Session, upTo int64, stored []models.Event, found []models.Incoming) error {
	err := r.db.BulkBeside(ctx, func(tx database.Bulk) error {
		incoming := make([]*models.Incoming, len(found))
		for i := range found {
			incoming[i] = &found[i]
		}
		seen := process.NewGroup(incoming)
		isThere := false
		claim := database.Statement{
			Text: "UPDATE sessions SET backfilled_seq = ? WHERE id = ? AND backfilled_seq = ? AND " + visible + " RETURNING id",
			Args: []any{upTo, session.ID, session.BackfilledSeq},
			Dest: []any{new(string)},
			Row:  func() { isThere = true },
		}
		if err := tx.Run(ctx, append([]database.Statement{claim}, readProcesses(seen)...)...); err != nil {
			return err
		}
		if !isThere {
			return models.Errorf(models.CodeConflict, "session %s is being deleted, or another backend backfills it", session.ID)
		}
		if more := readMissing(seen); len(more) > 0 {
			if err := tx.Run(ctx, more...); err != nil {
				return err
			}
		}
		writes, err := writeProcesses(seen)
		if err != nil {
			return err
		}
		return tx.Finish(ctx, append(writes, liftStatements(stored, found)...)...)
	})
	return translate(r.db, err, "the event")
}

// liftStatements returns statements that store the search columns that differ, and the
// data that is kept in another form.
func liftStatements(stored []models.Event, found []models.Incoming) []database.Statement {
	var statements []database.Statement
	var lifted []any // arguments of liftUpdates, event by event
	for i := range found {
		was, now := &stored[i], &found[i].Event
		if !sameHotFields(was, now) {
			lifted = append(lifted, int64(now.ID), orNil(now.PID), orNil(now.ProcessName), orNil(now.Operation), orNil(now.Target), orNil(now.Preview))
		}
		if !bytes.Equal(was.Data, now.Data) || !bytes.Equal(was.DataRaw, now.DataRaw) {
			statements = append(statements, database.Statement{
				Text: "UPDATE events SET data = ?, data_raw = ? WHERE id = ?",
				Args: []any{jsonOrNull(now.Data), bytesOrNil(now.DataRaw), int64(now.ID)},
			})
		}
	}
	const columns = 6
	for size := len(liftUpdates) - 1; size >= 0; size-- {
		n := columns << size
		for ; len(lifted) >= n; lifted = lifted[n:] {
			statements = append(statements, database.Statement{Text: liftUpdates[size], Args: slices.Clip(lifted[:n])})
		}
	}
	return statements
}

// liftUpdates are statements that store the search columns of 1, 2, 4 … events.
var liftUpdates = func() (texts [7]string) { //nolint:gochecknoglobals // a constant
	for i := range texts {
		texts[i] = "UPDATE events SET pid = v.column2, process_name = v.column3, operation = v.column4, target = v.column5, preview = v.column6 FROM (VALUES " +
			"(CAST(? AS bigint), CAST(? AS bigint), CAST(? AS text), CAST(? AS text), CAST(? AS text), CAST(? AS text))" + strings.Repeat(", (?, ?, ?, ?, ?, ?)", 1<<i-1) +
			") AS v WHERE events.id = v.column1"
	}
	return texts
}()

func sameHotFields(a, b *models.Event) bool {
	return same(a.PID, b.PID) && same(a.ProcessName, b.ProcessName) && same(a.Operation, b.Operation) && same(a.Target, b.Target) && same(a.Preview, b.Preview)
}

func same[T comparable](a, b *T) bool {
	return a == nil && b == nil || a != nil && b != nil && *a == *b
}
