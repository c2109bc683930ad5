package service

import (
	"context"
	"encoding/json"
	"math"
	"strings"
	"time"

	"ospulse/internal/jsonscan"
	"ospulse/internal/models"
	"ospulse/internal/wire"
)

// lossPage is how many reports of lost events are read at once.
const lossPage = 200

// maxReasonLen is how many bytes of a reason are given out.
const maxReasonLen = 1000

// SummaryRepository reads what a session's events come to; internal/repository
// implements it and documents its contracts.
type SummaryRepository interface {
	CountByType(ctx context.Context, sessionID string, upTo int64) (map[string]int64, error)
	Span(ctx context.Context, sessionID string) (first, last *time.Time, err error)
	ListMissing(ctx context.Context, sessionID string, upTo int64, limit int) ([]models.SeqSpan, error)
	ListOfType(ctx context.Context, sessionID, eventType string, before int64, limit int) ([]models.Event, error)
}

// Summaries sums sessions up. It is safe for concurrent use.
type Summaries struct {
	events     SummaryRepository
	durability func() models.Durability // of a commit now
}

// NewSummaries returns the service over its repository. durability tells what a
// commit survives now.
func NewSummaries(events SummaryRepository, durability func() models.Durability) *Summaries {
	return &Summaries{events, durability}
}

// Summary says what the events come to that the session had when it was read.
// Events that are stored meanwhile do not make it incomplete.
func (s *Summaries) Summary(ctx context.Context, session *models.Session) (summary models.SessionSummary, err error) {
	if summary.EventCounts, err = s.events.CountByType(ctx, session.ID, session.EventCount); err != nil {
		return summary, err
	}
	if summary.FirstEventAt, summary.LastEventAt, err = s.events.Span(ctx, session.ID); err != nil {
		return summary, err
	}
	c := &summary.Completeness
	c.Expected = session.EventCount
	switch c.Durability = session.Durability; {
	case c.Durability == "" && c.Expected > 0:
		c.Durability = models.DurabilityUnknown
	case c.Durability == "":
		c.Durability = s.durability()
	}
	for _, n := range summary.EventCounts {
		c.Present += n
	}
	if c.Present != c.Expected {
		if c.Missing, err = s.events.ListMissing(ctx, session.ID, c.Expected, models.MaxMissing); err != nil {
			return summary, err
		}
	}
	if summary.EventCounts[models.TypeEventsLost] > 0 {
		err = s.addLosses(ctx, session, c)
	}
	c.Complete = c.Present == c.Expected && c.Lost == 0
	return summary, err
}

// addLosses adds what was reported lost.
func (s *Summaries) addLosses(ctx context.Context, session *models.Session, c *models.Completeness) error {
	for before := session.EventCount + 1; ; {
		reports, err := s.events.ListOfType(ctx, session.ID, models.TypeEventsLost, before, lossPage)
		if err != nil || len(reports) == 0 {
			return err
		}
		for i := range reports {
			loss := readLoss(&reports[i])
			c.Lost += min(loss.Count, math.MaxInt64-c.Lost)
			if len(c.Losses) < models.MaxLosses {
				c.Losses = append(c.Losses, loss)
			}
		}
		before = reports[len(reports)-1].Seq
	}
}

// readLoss reads a report of lost events. A count that cannot be read is 1: that
// something was lost is said by the event itself.
func readLoss(e *models.Event) models.Loss {
	loss := models.Loss{Seq: e.Seq, Timestamp: e.Timestamp, Count: 1}
	var data map[string]json.RawMessage
	_ = json.Unmarshal(e.Payload(), &data) // what is no object tells nothing more
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

// readTime reads a time in a JSON string; nil for anything else.
func readTime(value json.RawMessage) *time.Time {
	var text string
	if json.Unmarshal(value, &text) != nil {
		return nil
	}
	if t, ok := wire.ParseTime(text); ok {
		return &t
	}
	return nil
}
