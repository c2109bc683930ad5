package repository_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"ospulse/internal/database"
	"ospulse/internal/models"
	"ospulse/internal/repository"
	"ospulse/test/dbtest"
)

// TestSessionRuns checks that runs follow every change of a session's state.
func TestSessionRuns(t *testing.T) {
	start := func(s *models.Session) { now := time.Now(); s.StartingSince = &now }
	active := func(s *models.Session) { s.IsActive, s.StartingSince = true, nil }
	directly := func(s *models.Session) { s.IsActive = true }
	fail := func(s *models.Session) { s.StartingSince = nil }
	end := func(s *models.Session) { s.IsActive = false }
	rename := func(s *models.Session) { s.Name = "x" }
	const open, grace, ended = "open", "a minute", "ended"
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		agent := models.DefaultAgentID
		if _, err := repository.NewAgents(db).Register(t.Context(), "holder", 0, func([]models.Agent, bool) models.Agent {
			return models.Agent{ID: agent, Status: models.AgentUnknown}
		}); err != nil {
			t.Fatal(err)
		}
		sessions := repository.NewSessions(db)
		n := 0
		for name, tt := range map[string]struct {
			steps []func(*models.Session)
			want  []string
		}{
			"created":           {[]func(*models.Session){rename}, nil},
			"being started":     {[]func(*models.Session){start, rename}, []string{grace}},
			"active":            {[]func(*models.Session){start, active, rename}, []string{open}},
			"active at once":    {[]func(*models.Session){directly}, []string{open}},
			"ended":             {[]func(*models.Session){start, active, end, rename}, []string{ended}},
			"start that failed": {[]func(*models.Session){start, fail}, []string{ended}},
			"twice":             {[]func(*models.Session){start, active, end, start, active}, []string{ended, open}},
			"after a failure":   {[]func(*models.Session){start, fail, start, active, end}, []string{ended, ended}},
			"asked again":       {[]func(*models.Session){start, start, active}, []string{grace, open}},
		} {
			n++
			id := fmt.Sprint("s", n)
			createSession(t, db, id)
			before := time.Now().Add(-time.Second)
			for _, step := range tt.steps {
				if _, err := sessions.Update(t.Context(), id, func(s *models.Session) error { s.AgentID = &agent; step(s); return nil }); err != nil {
					t.Fatal(err)
				}
			}
			var runs []models.SessionRun
			if err := db.Read(t.Context()).Where("session_id = ?", id).Order("id").Find(&runs).Error; err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, run := range runs {
				after := time.Now().Add(time.Second)
				if run.AgentID != agent || run.StartedAt.Before(before) || run.StartedAt.After(after) {
					t.Errorf("%s: %+v", name, run)
				}
				switch {
				case run.EndedAt.Year() == 9999:
					got = append(got, open)
				case run.EndedAt.Equal(run.StartedAt.Add(models.StartGrace)):
					got = append(got, grace)
				case !run.EndedAt.Before(run.StartedAt) && run.EndedAt.Before(after):
					got = append(got, ended)
				}
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("%s: the runs are %q, want %q", name, got, tt.want)
			}
		}
	})
}
