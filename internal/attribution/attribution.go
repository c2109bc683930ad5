// Package attribution chooses the session of each incoming event. It consists of pure
// functions: it must not know the database, nor how events arrive.
package attribution

import (
	"cmp"
	"time"

	"ospulse/internal/models"
	"ospulse/internal/plant"
)

// Candidates are the sessions that the events of a group may belong to.
type Candidates struct {
	// Known holds those of the events' hints that are the ID of a visible session, with the
	// session's agent; "" for none.
	Known map[string]string
	// Runs holds the runs of each agent in the order of their start: all runs that are live
	// at the time (see At) of one of its batches, and the last one that ended before.
	Runs map[string][]models.SessionRun
	Now  time.Time // by the clock of the database
	Late bool      // the group waited in a spool
}

// At returns the time as of which a batch is attributed: its receipt if it waited in a
// spool, else now.
func (c *Candidates) At(batch *models.Batch) time.Time {
	if c.Late && !batch.ReceivedAt.IsZero() { // older versions kept none
		return batch.ReceivedAt
	}
	return c.Now
}

// Attribute sets the SessionID of each event. It takes the first of these that exists:
// the session that the request names; the session that the event names; both only if the
// batch may write to that session; the live run of the batch's agent; the agent's last ended run, if the event happened in it; the session
// models.UnassignedID.
func (c *Candidates) Attribute(batches []models.Batch) {
	for i := range batches {
		live, ended := runsAt(c.Runs[cmp.Or(batches[i].AgentID, models.DefaultAgentID)], c.At(&batches[i]))
		mayName := func(id string) bool {
			agentID, isKnown := c.Known[id]
			return isKnown && (!batches[i].OwnSessionsOnly || agentID == batches[i].AgentID)
		}
		for j := range batches[i].Events {
			in := &batches[i].Events[j]
			switch {
			case mayName(in.RequestHint) && !plant.Is("put an event elsewhere"):
				in.SessionID = in.RequestHint
			case mayName(in.SessionHint):
				in.SessionID = in.SessionHint
			case live != nil:
				in.SessionID = live.SessionID
			case happenedIn(&in.Event, ended):
				in.SessionID = ended.SessionID
			default:
				in.SessionID = models.UnassignedID
			}
		}
	}
}

// runsAt returns the live run at a time, the latest of several, and the last run that has
// ended by then; nil for none. runs are in the order of their start.
func runsAt(runs []models.SessionRun, at time.Time) (live, ended *models.SessionRun) {
	for i := range runs {
		switch run := &runs[i]; {
		case run.StartedAt.After(at):
		case run.EndedAt.After(at):
			live = run
		case ended == nil || run.EndedAt.After(ended.EndedAt):
			ended = run
		}
	}
	return live, ended
}

// happenedIn reports whether the event's own time lies within the run.
func happenedIn(e *models.Event, run *models.SessionRun) bool {
	return run != nil && e.TimestampSource == models.TimestampFromAgent && !e.Timestamp.Before(run.StartedAt) && !e.Timestamp.After(run.EndedAt)
}
