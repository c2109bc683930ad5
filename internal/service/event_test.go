package service

import (
	"context"
	"testing"
	"time"

	"ospulse/internal/models"
)

// vanishing is a repository in which the sessions that were chosen are deleted so
// many times before the events can be stored.
type vanishing struct {
	EventRepository
	left, asked int
}

func (r *vanishing) Append(_ context.Context, group models.Group, _ models.Asking, attribute models.AttributeFunc) ([]models.Receipt, error) {
	r.asked++
	if r.left--; r.left >= 0 {
		attribute(group.Batches, models.Candidates{Live: "deleted"})
		return nil, models.Errorf(models.CodeNotFound, "session deleted does not exist")
	}
	attribute(group.Batches, models.Candidates{})
	return make([]models.Receipt, len(group.Batches)), nil
}

// Events whose session is deleted after it was chosen for them go elsewhere.
func TestEventsOfADeletedSessionAreAttributedAgain(t *testing.T) {
	for times, found := range map[int]bool{0: true, 1: true, 9: true, 1000: false} {
		repository := &vanishing{left: times}
		group := models.Group{Batches: []models.Batch{{Events: make([]models.Incoming, 2)}}}
		_, err := NewEvents(repository, nil, time.Now).Append(t.Context(), group)
		if (err == nil) != found || repository.asked > 10 {
			t.Errorf("deleted %d times: %v after %d attempts", times, err, repository.asked)
		}
		if id := group.Batches[0].Events[1].SessionID; found && id != models.UnassignedID {
			t.Errorf("deleted %d times: they went to %s", times, id)
		}
	}
}
