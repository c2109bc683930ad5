package repository

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"ospulse/internal/database"
	"ospulse/internal/models"
)

// eventColumns are the columns that Append fills, in the order of eventRow; the
// database gives the IDs.
var eventColumns = []string{ //nolint:gochecknoglobals // a constant
	"session_id", "seq", "event_type", "timestamp", "timestamp_source", "timestamp_text", "source", "data", "data_raw",
	"pid", "process_name", "operation", "target", "is_sent", "created_at", "updated_at",
}

func eventRow(row []any, e *models.Event) []any {
	return append(row[:0], e.SessionID, e.Seq, e.EventType, e.Timestamp, e.TimestampSource, orNil(e.TimestampText), e.Source, cmp.Or(string(e.Data), "null"), bytesOrNil(e.DataRaw),
		orNil(e.PID), orNil(e.ProcessName), orNil(e.Operation), orNil(e.Target), e.IsSent, e.CreatedAt, e.UpdatedAt)
}

// orNil gives what a pointer points at, without the reflection that a driver
// would need for it.
func orNil[T any](p *T) any {
	if p == nil {
		return nil
	}
	return *p
}

func bytesOrNil(b []byte) any {
	if b == nil {
		return nil
	}
	return b
}

// Append stores events, each with its SessionID set, all or none. It gives each
// its Seq: the sessions' counters are advanced in the same transaction, under
// whose row locks no other append to the same session can come between; so the
// numbers have no gaps and follow the order of commit. A session that does not
// exist is not_found.
func (r *Events) Append(ctx context.Context, events []models.Event) error {
	if len(events) == 0 {
		return nil
	}
	counts := map[string]int64{}
	now := time.Now().UTC().Truncate(time.Microsecond)
	for i := range events {
		counts[events[i].SessionID]++
		events[i].CreatedAt, events[i].UpdatedAt = now, now
	}
	err := r.db.Bulk(ctx, func(tx database.Bulk) error {
		next := make(map[string]int64, len(counts))
		for _, id := range slices.Sorted(maps.Keys(counts)) { // one order for all: no deadlock
			last, found, err := tx.QueryInt(ctx, "UPDATE sessions SET event_count = event_count + ? WHERE id = ? RETURNING event_count", counts[id], id)
			if err != nil {
				return err
			}
			if !found {
				return models.Errorf(models.CodeNotFound, "session %s does not exist", id)
			}
			next[id] = last - counts[id] + 1
		}
		for i := range events {
			id := events[i].SessionID
			events[i].Seq = next[id]
			next[id]++
		}
		row := make([]any, 0, len(eventColumns))
		return tx.Insert(ctx, "events", eventColumns, len(events), func(i int) []any { return eventRow(row, &events[i]) })
	})
	return translate(r.db, err, "the event")
}
