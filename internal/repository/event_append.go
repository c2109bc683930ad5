package repository

import (
	"cmp"
	"context"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"gorm.io/gorm"

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

// Append stores the events of batches, each with its SessionID set, all or none
// of all batches, and gives a receipt for each. It gives each event its Seq: the
// sessions' counters are advanced in the same transaction, under whose row locks
// no other append to the same session can come between; so the numbers have no
// gaps and follow the order of commit. A session that does not exist is
// not_found.
//
// Of batches with the same key the first one is stored, and the others get its
// receipt; a key that belongs to another request is a conflict, and nothing is
// stored then.
func (r *Events) Append(ctx context.Context, batches []models.Batch) ([]models.Receipt, error) {
	receipts := make([]models.Receipt, len(batches))
	err := r.db.Bulk(ctx, func(tx database.Bulk) error {
		a := appending{ctx: ctx, tx: tx, now: time.Now().UTC().Truncate(time.Microsecond)}
		repeated, err := a.claimKeys(batches)
		if err != nil {
			return err
		}
		if err := a.insert(batches, repeated); err != nil {
			return err
		}
		for i := range batches {
			if !repeated[i] {
				receipts[i] = receipt(&batches[i])
				if err := a.keepReceipt(&batches[i], receipts[i]); err != nil {
					return err
				}
			}
		}
		for i := range batches { // the first of a key may be among these batches
			if repeated[i] {
				if receipts[i], err = a.keptReceipt(&batches[i]); err != nil {
					return err
				}
			}
		}
		return nil
	})
	return receipts, translate(r.db, err, "the event")
}

// DeleteKeys forgets the idempotency keys from before a time.
func (r *Events) DeleteKeys(ctx context.Context, before time.Time) error {
	err := r.db.Write(ctx, func(tx *gorm.DB) error {
		return tx.Where("created_at < ?", before).Delete(&models.IdempotencyKey{}).Error
	})
	return translate(r.db, err, "the key")
}

// appending is the work of one Append inside its transaction.
type appending struct {
	ctx context.Context //nolint:containedctx // it lives as long as the call
	tx  database.Bulk
	now time.Time
}

// claimKeys tells, for each batch, whether its key was there before. A key that
// another transaction is just adding is waited for.
func (a *appending) claimKeys(batches []models.Batch) (repeated []bool, err error) {
	repeated = make([]bool, len(batches))
	var keyed []int
	for i := range batches {
		if batches[i].Key != "" {
			keyed = append(keyed, i)
		}
	}
	// One order for all who add keys: no deadlock. Of equal keys the first comes
	// first.
	slices.SortStableFunc(keyed, func(i, j int) int { return cmp.Compare(batches[i].Key, batches[j].Key) })
	for _, i := range keyed {
		var one int
		added, err := a.tx.QueryRow(a.ctx, "INSERT INTO idempotency_keys (key, digest, receipt, created_at) VALUES (?, ?, '', ?) ON CONFLICT (key) DO NOTHING RETURNING 1",
			[]any{batches[i].Key, batches[i].Digest, a.now}, &one)
		if err != nil {
			return nil, err
		}
		repeated[i] = !added
	}
	return repeated, nil
}

// insert numbers the events of those batches that are not repeated, and stores
// them.
func (a *appending) insert(batches []models.Batch, repeated []bool) error {
	var events []*models.Event
	counts := map[string]int64{}
	for i := range batches {
		if repeated[i] {
			continue
		}
		for j := range batches[i].Events {
			e := &batches[i].Events[j].Event
			e.CreatedAt, e.UpdatedAt = a.now, a.now
			counts[e.SessionID]++
			events = append(events, e)
		}
	}
	if len(events) == 0 {
		return nil
	}
	next := make(map[string]int64, len(counts))
	for _, id := range slices.Sorted(maps.Keys(counts)) { // one order for all: no deadlock
		var last int64
		found, err := a.tx.QueryRow(a.ctx, "UPDATE sessions SET event_count = event_count + ? WHERE id = ? RETURNING event_count", []any{counts[id], id}, &last)
		if err != nil {
			return err
		}
		if !found {
			return models.Errorf(models.CodeNotFound, "session %s does not exist", id)
		}
		next[id] = last - counts[id] + 1
	}
	for _, e := range events {
		e.Seq = next[e.SessionID]
		next[e.SessionID]++
	}
	row := make([]any, 0, len(eventColumns))
	return a.tx.Insert(a.ctx, "events", eventColumns, len(events), func(i int) []any { return eventRow(row, events[i]) })
}

// receipt sums up a batch that was stored. Its events of one session have
// numbers without a gap: no other batch's come between.
func receipt(batch *models.Batch) models.Receipt {
	r := models.Receipt{Stored: len(batch.Events), Ranges: []models.SeqRange{}, Faults: batch.Faults}
	place := map[string]int{}
	for i := range batch.Events {
		e := &batch.Events[i].Event
		p, ok := place[e.SessionID]
		if !ok {
			p = len(r.Ranges)
			place[e.SessionID] = p
			r.Ranges = append(r.Ranges, models.SeqRange{SessionID: e.SessionID, First: e.Seq})
		}
		r.Ranges[p].Last = e.Seq
	}
	return r
}

func (a *appending) keepReceipt(batch *models.Batch, r models.Receipt) error {
	if batch.Key == "" {
		return nil
	}
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return a.tx.Exec(a.ctx, "UPDATE idempotency_keys SET receipt = ? WHERE key = ?", string(text), batch.Key)
}

func (a *appending) keptReceipt(batch *models.Batch) (r models.Receipt, err error) {
	var digest, text string
	found, err := a.tx.QueryRow(a.ctx, "SELECT digest, receipt FROM idempotency_keys WHERE key = ?", []any{batch.Key}, &digest, &text)
	switch {
	case err != nil:
		return r, err
	case !found: // it was deleted as too old just now
		return r, models.Errorf(models.CodeUnavailable, "the key has just expired; send the request again")
	case digest != batch.Digest:
		return r, models.Errorf(models.CodeConflict, "the Idempotency-Key was used for another request: take a new key for each")
	}
	r.Repeated = true
	return r, json.Unmarshal([]byte(text), &r)
}
