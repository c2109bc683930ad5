package repository

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"time"

	"gorm.io/gorm"

	"ospulse/internal/attribution"
	"ospulse/internal/database"
	"ospulse/internal/models"
	"ospulse/internal/plant"
	"ospulse/internal/process"
)

// eventColumns are the columns that Append fills, in the order of eventRow. The database
// assigns the IDs.
var eventColumns = []string{ //nolint:gochecknoglobals // a constant
	"session_id", "seq", "event_type", "timestamp", "timestamp_source", "timestamp_text", "source", "data", "data_raw",
	"pid", "process_name", "operation", "target", "preview", "is_sent", "created_at", "updated_at",
}

func eventRow(row []any, e *models.Event) []any {
	return append(row[:0], e.SessionID, e.Seq, e.EventType, e.Timestamp, e.TimestampSource, orNil(e.TimestampText), e.Source, jsonOrNull(e.Data), bytesOrNil(e.DataRaw),
		orNil(e.PID), orNil(e.ProcessName), orNil(e.Operation), orNil(e.Target), orNil(e.Preview), e.IsSent, e.CreatedAt, e.UpdatedAt)
}

// insertEvents inserts n events unchanged.
func insertEvents(ctx context.Context, tx database.Bulk, n int, event func(i int) *models.Event) error {
	row := make([]any, 0, len(eventColumns))
	return tx.Insert(ctx, "events", eventColumns, n, func(i int) []any { return eventRow(row, event(i)) })
}

// orNil returns the value that p points at. Drivers need reflection for pointers.
func orNil[T any](p *T) any {
	if p == nil {
		return nil
	}
	return *p
}

// jsonOrNull returns the JSON null for missing data.
func jsonOrNull(data models.JSON) models.JSON {
	if len(data) == 0 {
		return models.JSON("null")
	}
	return data
}

func bytesOrNil(b []byte) any {
	if b == nil {
		return nil
	}
	return b
}

// Append stores the events of a group, all or none, and returns a receipt for each batch.
// It sets the SessionID of each event, as package attribution chooses it, and its Seq. It
// advances the sessions' counters in the same transaction; their row locks keep other
// appends to these sessions out. Therefore the numbers have no gaps and follow the order
// of commit. Append also updates the processes of the sessions. It fails with not_found
// if a session was deleted after it had been chosen.
//
// Of batches with the same key, Append stores the first; the others get its receipt. It
// fails with conflict if a key belongs to another request, and with ErrAlreadyStored if
// the group's mark was stored before.
//
// The error is invalid if the database will never accept one of the events. Any other
// error may be temporary.
func (r *Events) Append(ctx context.Context, group models.Group) ([]models.Receipt, error) {
	receipts := make([]models.Receipt, len(group.Batches))
	err := r.db.Bulk(ctx, func(tx database.Bulk) error { return r.append(ctx, tx, group, receipts, false) })
	return receipts, r.translateAppend(err)
}

// Try does what Append does, and then undoes it. It returns the error that Append would
// return, except an error of the commit.
func (r *Events) Try(ctx context.Context, group models.Group) error {
	err := r.db.Bulk(ctx, func(tx database.Bulk) error {
		return r.append(ctx, tx, group, make([]models.Receipt, len(group.Batches)), true)
	})
	if errors.Is(err, errUndo) {
		return nil
	}
	return r.translateAppend(err)
}

// errUndo ends a transaction without a commit.
var errUndo = errors.New("the transaction was only tried") //nolint:gochecknoglobals // a constant

// translateAppend is translate for an append. A missing row means that a session was
// deleted at this moment.
func (r *Events) translateAppend(err error) error {
	switch {
	case errors.Is(err, gorm.ErrForeignKeyViolated):
		return models.Wrap(err, models.CodeNotFound, "the session does not exist")
	case err != nil && r.db.BadContent(err):
		return models.Wrap(err, models.CodeInvalid, "%s", r.db.Reason(err))
	}
	return translate(r.db, err, "the event")
}

// append fills receipts. With undo it returns errUndo at the end.
func (r *Events) append(ctx context.Context, tx database.Bulk, group models.Group, receipts []models.Receipt, undo bool) error {
	batches := group.Batches
	a := appending{ctx: ctx, db: r.db, tx: tx, now: time.Now().UTC().Truncate(time.Microsecond)}
	candidates, repeated, err := a.begin(group)
	if err != nil {
		return err
	}
	candidates.Attribute(batches)
	writes, err := a.insert(batches, repeated)
	if err != nil {
		return err
	}
	for i := range batches {
		if !repeated[i] {
			receipts[i] = receipt(&batches[i])
			if writes, err = keepReceipt(writes, &batches[i], receipts[i]); err != nil {
				return err
			}
		}
	}
	if !undo && !slices.Contains(repeated, true) {
		return tx.Finish(ctx, writes...)
	}
	if err := tx.Run(ctx, writes...); err != nil {
		return err
	}
	if undo {
		return errUndo
	}
	for i := range batches { // the first of a key may be among these batches
		if repeated[i] {
			if receipts[i], err = a.keptReceipt(&batches[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// LastStored returns the number of the writer's last stored batch; 0 if there is none.
// The answer is as durable as an append: LastStored commits as well, and that commit
// waits for a synchronous standby to have everything before it. A commit interrupted by a
// crash of the server may be visible without being replicated.
func (r *Events) LastStored(ctx context.Context, writer string) (number int64, err error) {
	err = r.db.Bulk(ctx, func(tx database.Bulk) error {
		return tx.Run(ctx, database.Statement{
			Text: "UPDATE writer_marks SET updated_at = ? WHERE writer = ? RETURNING number",
			Args: []any{time.Now().UTC().Truncate(time.Microsecond), writer},
			Dest: []any{&number},
			Row:  func() {},
		})
	})
	return number, translate(r.db, err, "the mark")
}

// Time converts a time of this program to the clock of the database.
func (r *Events) Time(local time.Time) time.Time { return r.db.Time(local) }

// appending is the state of one Append inside its transaction.
type appending struct {
	ctx context.Context //nolint:containedctx // it lives as long as the call
	db  *database.DB
	tx  database.Bulk
	now time.Time
}

// begin sets the group's mark, claims the batches' keys and finds the candidates, in one
// round trip.
func (a *appending) begin(group models.Group) (candidates attribution.Candidates, repeated []bool, err error) {
	var statements []database.Statement
	marked := group.Mark.Writer == "" || plant.Is("ignore the mark")
	if !marked {
		statements = append(statements, a.markStatement(group, &marked))
	}
	claims, repeated := a.claimStatements(group.Batches)
	statements = append(statements, claims...)
	candidates.Now, candidates.Late = a.db.Time(time.Now()), group.Late
	statements = append(statements, candidateStatements(group.Batches, &candidates)...)
	err = a.tx.Run(a.ctx, statements...)
	if err == nil && !marked {
		err = models.ErrAlreadyStored
	}
	return candidates, repeated, err
}

// markStatement returns a statement that sets marked if the mark is new.
func (a *appending) markStatement(group models.Group, marked *bool) database.Statement {
	last := group.Mark.First + int64(len(group.Batches)) - 1
	return database.Statement{
		Text: "INSERT INTO writer_marks (writer, number, updated_at) VALUES (?, ?, ?) ON CONFLICT (writer) " +
			"DO UPDATE SET number = excluded.number, updated_at = excluded.updated_at WHERE writer_marks.number < ? RETURNING number",
		Args: []any{group.Mark.Writer, last, a.now, group.Mark.First},
		Dest: []any{new(int64)},
		Row:  func() { *marked = true },
	}
}

// claimStatements returns statements that insert the batches' keys. They set repeated for
// each key that existed. A statement waits if another transaction is inserting the same
// key. The request of an agent is also repeated if it was stored under the key as the agent
// sent it: by an older version, or before the agent had a key of its own.
func (a *appending) claimStatements(batches []models.Batch) (statements []database.Statement, repeated []bool) {
	repeated = make([]bool, len(batches))
	var keyed []int
	keys := make([]string, len(batches))
	for i := range batches {
		keys[i] = batches[i].StoredKey()
		if keys[i] != "" && !plant.Is("ignore the idempotency key") {
			keyed = append(keyed, i)
		}
	}
	// All transactions insert keys in one order, so that they cannot deadlock. The sort
	// is stable: the first of equal keys stays the first.
	slices.SortStableFunc(keyed, func(i, j int) int { return cmp.Compare(keys[i], keys[j]) })
	for _, i := range keyed {
		repeated[i] = true
		statements = append(statements, database.Statement{
			Text: "INSERT INTO idempotency_keys (key, digest, receipt, created_at) SELECT ?, ?, '', ? " +
				"WHERE NOT EXISTS (SELECT 1 FROM idempotency_keys WHERE key = ? AND digest = ?) ON CONFLICT (key) DO NOTHING RETURNING key",
			Args: []any{keys[i], batches[i].Digest, a.now, batches[i].Key, batches[i].Digest},
			Dest: []any{new(string)},
			Row:  func() { repeated[i] = false },
		})
	}
	return statements, repeated
}

// candidateStatements returns statements that find the sessions that the events may
// belong to.
func candidateStatements(batches []models.Batch, found *attribution.Candidates) []database.Statement {
	found.Known, found.Runs = map[string]string{}, map[string][]models.SessionRun{}
	var id, ofAgent string
	var statements []database.Statement
	for agentID, span := range spans(batches, found) {
		var run models.SessionRun
		add := func() {
			read := run
			if !found.Late && read.StartedAt.After(found.Now) { // the run has begun, whatever the clocks say
				read.StartedAt = found.Now
			}
			found.Runs[agentID] = append(found.Runs[agentID], read)
		}
		const runs = "SELECT session_id, started_at, session_runs.ended_at FROM session_runs JOIN sessions ON sessions.id = session_id WHERE session_runs.agent_id = ? AND " + visible
		dest := []any{&run.SessionID, &run.StartedAt, &run.EndedAt}
		statements = append(statements,
			database.Statement{Text: runs + " AND ended_at <= ? ORDER BY ended_at DESC LIMIT 1", Args: []any{agentID, span.From}, Dest: dest, Row: add},
			database.Statement{Text: runs + " AND ended_at > ? AND started_at <= ? ORDER BY started_at, session_runs.id", Args: []any{agentID, span.From, span.To}, Dest: dest, Row: add})
	}
	for some := range slices.Chunk(hints(batches), askedAtOnce) {
		statements = append(statements, database.Statement{
			Text: "SELECT id, COALESCE(agent_id, '') FROM sessions WHERE id IN (?, ?, ?, ?, ?, ?, ?, ?) AND " + visible,
			Args: filled(nil, some),
			Dest: []any{&id, &ofAgent},
			Row:  func() { found.Known[id] = ofAgent },
		})
	}
	return statements
}

// endOfTime is after every start of a run.
var endOfTime = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC) //nolint:gochecknoglobals // a constant

// spans returns, for each agent, the span of the times as of which its batches are
// attributed. For batches that did not wait in a spool, it has no end: a live run may
// start in the future if a clock was set back.
func spans(batches []models.Batch, found *attribution.Candidates) map[string]models.Span {
	spans := map[string]models.Span{}
	for i := range batches {
		agentID := cmp.Or(batches[i].AgentID, models.DefaultAgentID)
		span, at := spans[agentID], found.At(&batches[i])
		if span.From.IsZero() || at.Before(span.From) {
			span.From = at
		}
		if at.After(span.To) {
			span.To = at
		}
		if !found.Late {
			span.To = endOfTime
		}
		spans[agentID] = span
	}
	return spans
}

// hints returns the distinct hints that may be the ID of a session.
func hints(batches []models.Batch) []string {
	asked := map[string]bool{}
	var hints []string
	for i := range batches {
		for j := range batches[i].Events {
			in := &batches[i].Events[j]
			for _, hint := range [...]string{in.RequestHint, in.SessionHint} {
				if !asked[hint] && models.ValidID(hint) {
					asked[hint] = true
					hints = append(hints, hint)
				}
			}
		}
	}
	return hints
}

// askedAtOnce is the number of values that one statement looks for. The text is the same
// for any number of values, so that the statement stays prepared.
const askedAtOnce = 8

// filled appends askedAtOnce arguments. The last value fills the places of missing ones.
func filled[T any](args []any, values []T) []any {
	for i := range askedAtOnce {
		args = append(args, values[min(i, len(values)-1)])
	}
	return args
}

// insert numbers and inserts the events of the batches that are not repeated. It returns
// the statements that store their processes.
func (a *appending) insert(batches []models.Batch, repeated []bool) ([]database.Statement, error) {
	var incoming []*models.Incoming
	counts := map[string]int64{}
	for i := range batches {
		if repeated[i] {
			continue
		}
		for j := range batches[i].Events {
			if j > 0 && plant.Is("store half of a batch") {
				break
			}
			in := &batches[i].Events[j]
			in.CreatedAt, in.UpdatedAt = a.now, a.now
			counts[in.SessionID]++
			incoming = append(incoming, in)
		}
	}
	if len(incoming) == 0 {
		return nil, nil
	}
	next := make(map[string]int64, len(counts))
	var statements, weaker []database.Statement
	var last int64
	var durability string
	for _, id := range slices.Sorted(maps.Keys(counts)) { // all transactions use one order: no deadlock
		if plant.Is("skip a seq") {
			counts[id]++
		}
		statements = append(statements, database.Statement{
			Text: "UPDATE sessions SET event_count = event_count + ? WHERE id = ? AND deleting_since IS NULL RETURNING event_count, durability",
			Args: []any{counts[id], id},
			Dest: []any{&last, &durability},
			Row: func() {
				next[id] = last - counts[id] + 1
				if durability == "" && last > counts[id] { // an older version stored some
					durability = string(models.DurabilityUnknown)
				}
				weaker = noteDurability(weaker, a.tx, id, durability)
			},
		})
	}
	seen := process.NewGroup(incoming)
	if err := a.tx.Run(a.ctx, append(statements, readProcesses(seen)...)...); err != nil {
		return nil, err
	}
	if more := readMissing(seen); len(more) > 0 {
		if err := a.tx.Run(a.ctx, more...); err != nil {
			return nil, err
		}
	}
	for _, in := range incoming {
		seq, ok := next[in.SessionID]
		if !ok {
			return nil, models.Errorf(models.CodeNotFound, "session %s does not exist", in.SessionID)
		}
		in.Seq = seq
		next[in.SessionID] = seq + 1
	}
	if err := insertEvents(a.ctx, a.tx, len(incoming), func(i int) *models.Event { return &incoming[i].Event }); err != nil {
		return nil, err
	}
	writes, err := writeProcesses(seen)
	return append(writes, weaker...), err
}

// noteDurability adds a statement to writes if this transaction is less durable than the
// session's earlier ones.
func noteDurability(writes []database.Statement, tx database.Bulk, sessionID, had string) []database.Statement {
	if now := tx.Durability(); now.WorseThan(models.Durability(had)) {
		writes = append(writes, database.Statement{Text: "UPDATE sessions SET durability = ? WHERE id = ?", Args: []any{string(now), sessionID}})
	}
	return writes
}

// receipt returns the receipt of a stored batch. The batch's events of one session have
// consecutive numbers.
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

// keepReceipt adds a statement to writes that stores the receipt with the batch's key.
func keepReceipt(writes []database.Statement, batch *models.Batch, r models.Receipt) ([]database.Statement, error) {
	if batch.Key == "" {
		return writes, nil
	}
	sessionID := ""
	if len(r.Ranges) > 0 {
		sessionID = r.Ranges[0].SessionID
	}
	text, err := json.Marshal(r)
	return append(writes, database.Statement{
		Text: "UPDATE idempotency_keys SET receipt = ?, session_id = ? WHERE key = ?", Args: []any{string(text), sessionID, batch.StoredKey()},
	}), err
}

func (a *appending) keptReceipt(batch *models.Batch) (r models.Receipt, err error) {
	var digest, text string
	found := false
	err = a.tx.Run(a.ctx, database.Statement{
		Text: "SELECT digest, receipt FROM idempotency_keys WHERE key IN (?, ?) ORDER BY digest = ? DESC LIMIT 1",
		Args: []any{batch.StoredKey(), batch.Key, batch.Digest}, Dest: []any{&digest, &text}, Row: func() { found = true },
	})
	switch {
	case err != nil:
		return r, err
	case !found: // it has just expired
		return r, models.Errorf(models.CodeUnavailable, "the key has just expired; send the request again")
	case digest != batch.Digest:
		return r, models.Errorf(models.CodeConflict, "the Idempotency-Key was used for another request: take a new key for each")
	}
	r.Repeated = true
	return r, json.Unmarshal([]byte(text), &r)
}
