package service

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"time"

	"ospulse/internal/jsonscan"
	"ospulse/internal/models"
)

// lossPage is the number of loss reports of one read.
const lossPage = 200

// maxReasonLen limits the bytes of a returned reason.
const maxReasonLen = 1000

// SummaryRepository reads the data of summaries. internal/repository implements it and
// documents its contracts.
type SummaryRepository interface {
	Totals(ctx context.Context, sessionID string) (totals *models.SessionTotals, expired int64, err error)
	SaveTotals(ctx context.Context, totals *models.SessionTotals, expired int64) error
	CountByType(ctx context.Context, sessionID string, after, upTo int64) (counts map[string]int64, expired int64, err error)
	Span(ctx context.Context, sessionID string) (first, last *time.Time, err error)
	ListMissing(ctx context.Context, sessionID string, after, upTo int64, limit int) (spans []models.SeqSpan, expired int64, err error)
	ListOfType(ctx context.Context, sessionID, eventType string, before int64, limit int) ([]models.Event, error)
	ListDamages(ctx context.Context, sessionID string, limit int) ([]models.Damage, error)
	AtOneMoment(ctx context.Context, sessionID string, fn func(ctx context.Context) error) error
}

// ExpirationLister lists what expired. internal/repository implements it.
type ExpirationLister interface {
	ListExpirations(ctx context.Context, page models.ExpirationPage) ([]models.Expiration, error)
}

// Summaries summarizes sessions. It is safe for concurrent use.
type Summaries struct {
	events     SummaryRepository
	expired    ExpirationLister
	reads      *Reads
	durability func() models.Durability // of a commit at present
}

// NewSummaries returns the service over its repositories. If many events of a session are
// not counted yet, the count waits for its turn among the heavy reads. durability
// returns what a commit survives now.
func NewSummaries(events SummaryRepository, expired ExpirationLister, reads *Reads, durability func() models.Durability) *Summaries {
	return &Summaries{events, expired, reads, durability}
}

// Summary returns the summary of the events that the session had when it was read. Events
// that are stored meanwhile do not make it incomplete.
func (s *Summaries) Summary(ctx context.Context, session *models.Session) (summary models.SessionSummary, err error) {
	totals, expired, err := s.totals(ctx, session)
	if err != nil {
		return summary, err
	}
	summary.EventCounts = totals.EventCounts
	if summary.FirstEventAt, summary.LastEventAt, err = s.events.Span(ctx, session.ID); err != nil {
		return summary, err
	}
	c := &summary.Completeness
	c.Expected, c.Expired = session.EventCount, min(expired, session.EventCount)
	if expired > 0 {
		if c.Expirations, err = s.expired.ListExpirations(ctx, models.ExpirationPage{SessionID: session.ID, Limit: models.MaxExpirations}); err != nil {
			return summary, err
		}
	}
	switch c.Durability = session.Durability; {
	case c.Durability == "" && c.Expected > 0:
		c.Durability = models.DurabilityUnknown
	case c.Durability == "":
		c.Durability = s.durability()
	}
	c.Present, c.Missing, c.Lost = sum(totals.EventCounts), totals.Missing, totals.Lost
	if summary.EventCounts[models.TypeEventsLost] > 0 {
		err = s.addLosses(ctx, session, c)
	}
	leftOutErr := s.addLeftOut(ctx, session, summary.EventCounts, c)
	damages, damagesErr := s.events.ListDamages(ctx, session.ID, models.MaxMissing)
	for _, d := range damages {
		c.Damaged = append(c.Damaged, d.SeqSpan)
	}
	c.Complete = c.Present == c.Expected-c.Expired && c.Lost == 0 && len(c.Damaged) == 0
	return summary, errors.Join(err, leftOutErr, damagesErr)
}

const (
	// totalsStep is the number of new events after which it pays to store a session's
	// totals.
	totalsStep = models.SegmentEvents
	// totalsWindow is the number of events that one query counts.
	totalsWindow = 50_000
)

// totals returns the totals of a session up to its EventCount, and the Seq up to which its
// events have expired. It starts from the stored totals.
func (s *Summaries) totals(ctx context.Context, session *models.Session) (t *models.SessionTotals, expired int64, err error) {
	count := func(ctx context.Context, step int64) (err error) {
		if t, expired, err = s.events.Totals(ctx, session.ID); err != nil {
			return err
		}
		if t.Seq > session.EventCount && expired <= session.EventCount { // those of another session that had this ID
			t = &models.SessionTotals{SessionID: session.ID, Seq: expired, EventCounts: map[string]int64{}}
		}
		if session.EventCount-t.Seq <= totalsWindow {
			return s.count(ctx, t, expired, session.EventCount, step)
		}
		return s.reads.Do(ctx, func(ctx context.Context, _ func()) error {
			return s.count(ctx, t, expired, session.EventCount, step)
		})
	}
	if err = count(ctx, totalsStep); !errors.Is(err, errExpired) {
		return t, expired, err
	}
	// Events expire faster than they are counted.
	err = s.events.AtOneMoment(ctx, session.ID, func(ctx context.Context) error { return count(ctx, math.MaxInt64) })
	return t, expired, err
}

// errExpired means that events expired while they were counted.
var errExpired = errors.New("events expired meanwhile") //nolint:gochecknoglobals // a constant

// count adds the events up to the seq upTo to the totals, which count the events after
// expired, a window at a time. It stores the totals after every step of events, so that no
// request counts the same events again. It returns errExpired if later events have expired.
func (s *Summaries) count(ctx context.Context, t *models.SessionTotals, expired, upTo, step int64) error {
	for kept := t.Seq; t.Seq < upTo; {
		if err := s.add(ctx, t, expired, min(t.Seq+totalsWindow, upTo)); err != nil {
			return err
		}
		if t.Seq-kept < step {
			continue
		}
		if err := s.events.SaveTotals(ctx, t, expired); err != nil && models.ErrorCode(err) != models.CodeConflict { // it was deleted, or events expired
			return err
		}
		kept = t.Seq
	}
	return nil
}

// add adds the events up to a Seq to the totals.
func (s *Summaries) add(ctx context.Context, t *models.SessionTotals, expired, upTo int64) error {
	counts, stillExpired, err := s.events.CountByType(ctx, t.SessionID, t.Seq, upTo)
	if err == nil && stillExpired != expired {
		err = errExpired
	}
	if err != nil {
		return err
	}
	for eventType, n := range counts {
		t.EventCounts[eventType] += n
	}
	if sum(counts) != upTo-t.Seq {
		spans, stillExpired, err := s.events.ListMissing(ctx, t.SessionID, t.Seq, upTo, models.MaxMissing+1)
		if err == nil && stillExpired != expired {
			err = errExpired
		}
		if err != nil {
			return err
		}
		for _, span := range spans {
			if last := len(t.Missing) - 1; last >= 0 && t.Missing[last].Last+1 == span.First {
				t.Missing[last].Last = span.Last
			} else {
				t.Missing = append(t.Missing, span)
			}
		}
		t.Missing = t.Missing[:min(len(t.Missing), models.MaxMissing)]
	}
	if counts[models.TypeEventsLost] > 0 {
		lost, err := s.lost(ctx, t.SessionID, t.Seq, upTo)
		if err != nil {
			return err
		}
		t.Lost += min(lost, math.MaxInt64-t.Lost)
	}
	t.Seq = upTo
	return nil
}

func sum(counts map[string]int64) (total int64) {
	for _, n := range counts {
		total += n
	}
	return total
}

// lost sums up the loss reports with a Seq in (after, upTo].
func (s *Summaries) lost(ctx context.Context, sessionID string, after, upTo int64) (total int64, err error) {
	for before := upTo + 1; ; {
		reports, err := s.events.ListOfType(ctx, sessionID, models.TypeEventsLost, before, lossPage)
		if err != nil || len(reports) == 0 {
			return total, err
		}
		for i := range reports {
			if reports[i].Seq <= after {
				return total, nil
			}
			total += min(readLoss(&reports[i]).Count, math.MaxInt64-total)
		}
		before = reports[len(reports)-1].Seq
	}
}

// addLosses adds the newest loss reports.
func (s *Summaries) addLosses(ctx context.Context, session *models.Session, c *models.Completeness) error {
	reports, err := s.events.ListOfType(ctx, session.ID, models.TypeEventsLost, session.EventCount+1, models.MaxLosses)
	for i := range reports {
		c.Losses = append(c.Losses, readLoss(&reports[i]))
	}
	return err
}

// addLeftOut adds what the agent leaves out. A report of it has the counts since the start, so
// the newest one is enough. What cannot be read is missing.
func (s *Summaries) addLeftOut(ctx context.Context, session *models.Session, counts map[string]int64, c *models.Completeness) error {
	newest := func(eventType string) (data map[string]json.RawMessage, err error) {
		if counts[eventType] == 0 {
			return nil, nil
		}
		events, err := s.events.ListOfType(ctx, session.ID, eventType, session.EventCount+1, 1)
		if len(events) > 0 {
			_ = json.Unmarshal(events[0].Payload(), &data) // data that is no object has no members
		}
		return data, err
	}
	start, err := newest(models.TypeSessionStart)
	if json.Unmarshal(start["selection"], &c.Selection) != nil || checkSelection(c.Selection) != nil {
		c.Selection = nil
	}
	report, reportErr := newest(models.TypeLeftOut)
	if json.Unmarshal(report["counts"], &c.LeftOut) != nil || len(c.LeftOut) > maxSelected {
		c.LeftOut = nil
	}
	return errors.Join(err, reportErr)
}

// readLoss reads a loss report. An unreadable count is 1, because the report itself says
// that something was lost.
func readLoss(e *models.Event) models.Loss {
	loss := models.Loss{Seq: e.Seq, Timestamp: e.Timestamp, Count: 1}
	var data map[string]json.RawMessage
	_ = json.Unmarshal(e.Payload(), &data) // data that is no object has no members
	if count, ok := jsonscan.Integer(data["count"]); ok && count > 0 {
		loss.Count = count
	}
	_ = json.Unmarshal(data["reason"], &loss.Reason)
	if len(loss.Reason) > maxReasonLen {
		loss.Reason = strings.ToValidUTF8(loss.Reason[:maxReasonLen], "") + "…"
	}
	loss.From, loss.To = readTime(data["from"]), readTime(data["to"])
	return loss
}

// readTime reads a time from a JSON string; nil for anything else.
func readTime(value json.RawMessage) *time.Time {
	var text string
	if json.Unmarshal(value, &text) != nil {
		return nil
	}
	if t, ok := models.ParseTime(text); ok {
		return &t
	}
	return nil
}
