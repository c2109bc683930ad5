package service

import (
	"cmp"
	"context"
	"errors"
	"time"

	"ospulse/internal/models"
)

// The worker deletes a session in short steps with pauses of the same length, so that
// incoming events hardly wait.
const (
	firstStep    = 8                      // rows; their size is not known yet
	stepTime     = 6 * time.Millisecond   // target for the rows of one step
	minStep      = 50                     // rows; the times of a busy machine say little,
	longStep     = 200 * time.Millisecond // unless its rows take this long: then they are large
	maxStep      = 2000
	shortestRest = 2 * time.Millisecond
	longestRest  = 50 * time.Millisecond
)

const (
	// deleteInterval is the interval between two searches for sessions to delete. Delete
	// also wakes the worker.
	deleteInterval = 30 * time.Second

	// importPatience is how long an import may make no progress before it counts as dead.
	importPatience = 15 * time.Minute

	// stopPatience is how long the row of a deleted session waits until the agent knows
	// of its end.
	stopPatience = 24 * time.Hour
)

// Deleter deletes sessions. internal/repository implements it and documents its
// contracts.
type Deleter interface {
	Hide(ctx context.Context, id string, since time.Time, check func(*models.Session) error) error
	HideDeadImports(ctx context.Context, before, since time.Time) error
	ListDeleting(ctx context.Context, after string, limit int) ([]string, error)
	DeleteEvents(ctx context.Context, id string, limit int) (int64, error)
	DeleteProcesses(ctx context.Context, id string, limit int) (int64, error)
	DeleteSegments(ctx context.Context, id string, limit int) (int64, error)
	DeleteBlocks(ctx context.Context, id string, limit int) (int64, error)
	FinishDelete(ctx context.Context, id string, giveUp time.Time, unlink func(sha256 string) error) (done bool, err error)
}

// Delete deletes a session that is not monitored: no query finds it from now on, and Run
// removes its rows. An analyst gets forbidden for a session that was created with another
// key.
func (a *Catalog) Delete(ctx context.Context, id string) error {
	if id == models.UnassignedID {
		return models.Errorf(models.CodeConflict, "the session %s takes the events that belong to no other: it cannot be deleted", id)
	}
	now := a.clock.now()
	err := a.sessions.Hide(ctx, id, now, func(session *models.Session) error {
		actor := models.ActorOf(ctx)
		switch since := session.StartingSince; {
		case actor.Role == models.RoleAnalyst && session.CreatedByKey != actor.KeyID:
			return models.Errorf(models.CodeForbidden, "session %s was created by %s: only an admin may delete it", id, cmp.Or(session.CreatedBy, "somebody without a key"))
		case session.IsActive:
			return models.Errorf(models.CodeConflict, "session %s is being monitored: stop it first", id)
		case session.StartRequested != nil:
			return models.Errorf(models.CodeConflict, "session %s is being started: stop it first", id)
		case since != nil && since.After(now.Add(-models.StartGrace)):
			return models.Errorf(models.CodeConflict, "session %s is being started at the moment: try again", id)
		case since != nil: // an unfinished start: the agent may be at work
			session.StartingSince, session.StopPending = nil, true
		}
		return nil
	})
	if err != nil {
		return err
	}
	a.announce.SessionChanged(id)
	select {
	case a.wake <- struct{}{}:
	default: // Run is awake already
	}
	return nil
}

// Run removes deleted sessions, also those of earlier runs of the program, and dead
// imports, until ctx ends. Any number of backends may run it on one database.
func (a *Catalog) Run(ctx context.Context) {
	ticker := time.NewTicker(deleteInterval)
	defer ticker.Stop()
	for {
		now := a.clock.now()
		err := errors.Join(a.sessions.HideDeadImports(ctx, now.Add(-importPatience), now), a.removeAll(ctx))
		if err != nil && ctx.Err() == nil {
			a.log.Warn("deleted sessions could not be removed; it is tried again", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-a.wake:
		case <-ticker.C:
		}
	}
}

// removeAll removes all deleted sessions. An error of one does not keep it from the
// others.
func (a *Catalog) removeAll(ctx context.Context) error {
	var failed []error
	for after := ""; ; {
		ids, err := a.sessions.ListDeleting(ctx, after, 100)
		if err != nil || len(ids) == 0 {
			return errors.Join(append(failed, err)...)
		}
		for _, id := range ids {
			if err := a.remove(ctx, id); err != nil {
				failed = append(failed, err)
			}
			if ctx.Err() != nil {
				return errors.Join(failed...)
			}
		}
		after = ids[len(ids)-1]
	}
}

// remove removes a deleted session's rows, and then the session.
func (a *Catalog) remove(ctx context.Context, id string) error {
	began, removed := time.Now(), int64(0)
	for _, some := range []func(context.Context, string, int) (int64, error){a.sessions.DeleteEvents, a.sessions.DeleteProcesses, a.sessions.DeleteSegments, a.sessions.DeleteBlocks} {
		n, err := inSteps(ctx, func(limit int) (int64, error) { return some(ctx, id, limit) })
		if removed += n; err != nil {
			return err
		}
	}
	done, err := a.sessions.FinishDelete(ctx, id, a.clock.now().Add(-stopPatience), func(sha256 string) error { return a.files.Delete(ctx, sha256) })
	if err != nil || !done {
		return err
	}
	a.log.Info("a deleted session was removed", "session", id, "rows", removed, "took", time.Since(began).String())
	return nil
}

// inSteps calls step with as many rows as take about stepTime until none is left, and
// returns the number of rows.
func inSteps(ctx context.Context, step func(limit int) (int64, error)) (total int64, err error) {
	rest := time.NewTimer(0)
	defer rest.Stop()
	for limit := firstStep; ; {
		select {
		case <-ctx.Done():
			return total, ctx.Err()
		case <-rest.C:
		}
		began := time.Now()
		n, err := step(limit)
		if total += n; err != nil || n == 0 {
			return total, err
		}
		took := time.Since(began)
		rest.Reset(min(max(took, shortestRest), longestRest))
		if took > 2*stepTime { // is it the rows, or would one row take as long, as on a distant database?
			began = time.Now()
			n, err := step(1)
			if total += n; err != nil || n == 0 {
				return total, err
			}
			took -= min(took, time.Since(began))
		}
		limit = nextStep(limit, took)
	}
}

// nextStep returns the size of the step after one whose rows took this long. It grows
// slowly, because the next rows may be larger.
func nextStep(limit int, took time.Duration) int {
	fitting := int(float64(limit) * float64(stepTime) / float64(max(took, time.Microsecond)))
	if took >= longStep {
		return max(fitting, 1)
	}
	return max(min(fitting, limit+limit/4+1, maxStep), min(limit+limit/4+1, minStep))
}
