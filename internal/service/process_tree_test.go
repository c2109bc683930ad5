package service

import (
	"context"
	"testing"
	"time"

	"ospulse/internal/filter"
	"ospulse/internal/models"
	"ospulse/internal/process"
)

// manyProcesses is a session with some processes, which have no parents.
type manyProcesses int

func (n manyProcesses) Get(_ context.Context, id string) (*models.Session, error) {
	return &models.Session{ID: id}, nil
}

func (n manyProcesses) ListFamily(_ context.Context, _ string, limit int) ([]models.Process, error) {
	return n.list(min(int(n), limit)), nil
}

func (n manyProcesses) list(count int) []models.Process {
	processes := make([]models.Process, count)
	for i := range processes {
		processes[i] = models.Process{ID: uint64(i + 1), PID: int64(i), StartedAt: time.UnixMicro(int64(i)), StartKnown: true}
	}
	return processes
}

func (n manyProcesses) Search(context.Context, string, string, int) ([]uint64, error) {
	return nil, nil
}

func (n manyProcesses) ListByID(_ context.Context, _ string, ids []uint64) ([]models.Process, error) {
	processes := n.list(len(ids))
	for i, id := range ids {
		processes[i].ID = id
	}
	return processes, nil
}

// TestProcessTreeIsBounded checks that the tree of a session with too many processes has
// the first ones and says so, and that such a session is not filtered by processes: an event
// could belong to a process that is left out.
func TestProcessTreeIsBounded(t *testing.T) {
	for _, more := range []bool{false, true} {
		session := manyProcesses(maxFamily)
		if more {
			session++
		}
		families := NewFamilies(session, session)
		trees := NewProcessTrees(session, families, nil)
		page, err := trees.Page(t.Context(), "s", nil, "", process.List{Offset: maxFamily - 1, Limit: 10})
		if err != nil || len(page.Rows) != 1 || page.Rows[0].Row.ID != maxFamily || page.Processes != maxFamily || page.Total != maxFamily || page.Truncated != more {
			t.Errorf("%d processes, %d rows, truncated %v, error %v", page.Processes, page.Total, page.Truncated, err)
		}
		if page, err := trees.Page(t.Context(), "s", nil, "x", process.List{Limit: 10}); err != nil || page.Total != 0 {
			t.Errorf("a search that finds nothing has %d rows, error %v", page.Total, err)
		}
		where, err := filter.Parse("under(1)")
		if err != nil {
			t.Fatal(err)
		}
		if _, err = families.Complete(t.Context(), "s", where); (models.ErrorCode(err) == models.CodeInvalid) != more {
			t.Errorf("a filter with a process: %v", err)
		}
		if !more {
			continue
		}
		if _, err = trees.Page(t.Context(), "s", where, "", process.List{Limit: 10}); models.ErrorCode(err) != models.CodeInvalid {
			t.Errorf("a tree with a filter: %v", err)
		}
	}
}
