package repository_test

import (
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"

	"ospulse/internal/database"
	"ospulse/internal/models"
	"ospulse/internal/repository"
	"ospulse/test/dbtest"
)

func TestHeartbeat(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		agents := repository.NewAgents(db)
		register := func(url string) {
			t.Helper()
			_, err := agents.Register(t.Context(), "holder", time.Hour, func([]models.Agent, bool) models.Agent {
				return models.Agent{ID: models.DefaultAgentID, Name: models.DefaultAgentID, URL: url, ServiceURL: url, Status: models.AgentUnknown}
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		register("http://a")
		if err := agents.SetStatus(t.Context(), &models.Agent{ID: models.DefaultAgentID, Status: models.AgentUp}); err != nil {
			t.Fatal(err)
		}
		said := models.Agent{
			ID: models.DefaultAgentID, Name: "vm", URL: "http://b", Status: models.AgentUnknown, LastSeenAt: &noon, HeartbeatAt: &noon, Address: "192.0.2.1", Version: "1", Platform: "linux",
			Arch: "x64", Sensor: "ebpf", Capabilities: []models.Capability{{Name: "a", Reason: "b", Remedy: "c"}}, SessionIDs: []string{"s"},
			Delivery: models.AgentDelivery{Delivered: 1, Lost: 2, Queued: 3, Spooled: 4},
		}
		for range 2 {
			if err := agents.Heartbeat(t.Context(), &said, 3); err != nil {
				t.Fatal(err)
			}
		}
		register("http://c") // at the next start of the backend
		got, err := agents.Get(t.Context(), models.DefaultAgentID)
		if err != nil {
			t.Fatal(err)
		}
		want := said
		want.ServiceURL = "http://c"
		want.Status, want.URL, want.CreatedAt, want.UpdatedAt = models.AgentUp, "http://c", got.CreatedAt, got.UpdatedAt
		if !got.HeartbeatAt.Equal(noon) || !got.LastSeenAt.Equal(noon) {
			t.Errorf("the times are %v, %v", got.HeartbeatAt, got.LastSeenAt)
		}
		got.HeartbeatAt, got.LastSeenAt = &noon, &noon
		if !reflect.DeepEqual(*got, want) {
			t.Errorf("%+v, not %+v", *got, want)
		}

		// Of many concurrent new agents, only as many as fit are accepted.
		var coming sync.WaitGroup
		errs := make([]error, 8)
		for i := range errs {
			coming.Go(func() {
				errs[i] = agents.Heartbeat(t.Context(), &models.Agent{ID: fmt.Sprint("agent-", i), Name: fmt.Sprint("m", i), Status: models.AgentUnknown, HeartbeatAt: &noon}, 4)
			})
		}
		coming.Wait()
		taken := 0
		for _, err := range errs {
			switch {
			case err == nil:
				taken++
			case models.ErrorCode(err) != models.CodeConflict:
				t.Error(err)
			}
		}
		all, err := agents.List(t.Context(), 100)
		if err != nil || taken != 3 || len(all) != 4 || all[3].Name != "vm" {
			t.Errorf("%d are taken, %+v are listed, %v", taken, all, err)
		}
		if few, err := agents.List(t.Context(), 2); err != nil || len(few) != 2 {
			t.Errorf("%d of 2 are listed, %v", len(few), err)
		}
	})
}
