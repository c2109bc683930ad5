package service_test

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"ospulse/internal/detect"
	"ospulse/internal/filter"
	"ospulse/internal/models"
	"ospulse/internal/service"
)

// slowEvents are the events of a session of which each page takes a second.
type slowEvents struct{ pages int }

func (slowEvents) Get(_ context.Context, id string) (*models.Session, error) {
	return &models.Session{ID: id, EventCount: 1 << 30}, nil
}

func (slowEvents) List(context.Context, models.SessionFilter) ([]models.Session, error) {
	return []models.Session{{ID: "newest", EventCount: 1 << 30}}, nil
}

func (e *slowEvents) ReadEvents(ctx context.Context, _ string, _ *filter.Filter, _ models.EventRange, _, _ int, _ *models.EventMemory) ([]models.Event, error) {
	e.pages++
	select {
	case <-time.After(time.Second):
		return nil, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// TestTrialIsBounded checks that a trial ends before the time of its read does, and at once
// when its client goes.
func TestTrialIsBounded(t *testing.T) {
	const text = "title: x\nlogsource: {category: file_access}\ndetection: {s: {TargetFilename: /x}, condition: s}\n"
	synctest.Test(t, func(t *testing.T) {
		events := &slowEvents{}
		log := slog.New(slog.DiscardHandler)
		trials := service.NewTrials(events, events, service.NewRules(detect.NewSources(), nil, log), log)
		reads := service.NewReads(1, 20*time.Second)
		var trial service.Trial
		err := reads.Do(t.Context(), func(ctx context.Context, _ func()) (err error) {
			trial, err = trials.Try(ctx, text, nil)
			return err
		})
		if err != nil || trial.IsComplete || trial.Events != 15*models.SegmentEvents || events.pages != 15 || trial.Took != 15*time.Second {
			t.Errorf("%+v, %d pages, %v", trial, events.pages, err)
		}

		events.pages = 0
		trial, err = trials.Try(t.Context(), text, []string{})
		if err != nil || trial.Rule.Title != "x" || len(trial.Sessions) != 0 || events.pages != 0 {
			t.Errorf("a rule that is only checked: %+v, %d pages, %v", trial, events.pages, err)
		}

		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(1500*time.Millisecond, cancel)
		began := time.Now()
		err = reads.Do(ctx, func(ctx context.Context, _ func()) error {
			_, err := trials.Try(ctx, text, []string{"a", "b"})
			return err
		})
		if took := time.Since(began); err == nil || took != 1500*time.Millisecond {
			t.Errorf("a cancelled trial took %s: %v", took, err)
		}
	})
}
