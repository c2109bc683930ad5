package handlers

import (
	"net/http"
	"strconv"

	"ospulse/internal/models"

	"github.com/labstack/echo/v5"

	"ospulse/internal/process"
)

// processTree has a session's processes.
type processTree struct {
	Processes []processNode `json:"processes"` // roots: those with an unknown parent
	Total     int64         `json:"total"`     // processes of the session
	Truncated bool          `json:"truncated"` // Processes has only the first ones
}

// processNode is a process with its children. Processes deeper than 500 levels are at
// the last level; their parent_id names their parent.
type processNode struct {
	ID          string           `json:"id"`
	PID         int64            `json:"pid"`
	ParentID    *string          `json:"parent_id"`
	ParentPID   *int64           `json:"parent_pid"`
	StartedAt   string           `json:"started_at"`
	StartKnown  bool             `json:"start_known"` // if false, started_at is the time of its first event
	Name        string           `json:"name"`
	Image       string           `json:"image"`
	CommandLine string           `json:"command_line"`
	FirstSeen   string           `json:"first_seen"`
	LastSeen    string           `json:"last_seen"`
	EventCount  int64            `json:"event_count"`
	EventCounts map[string]int64 `json:"event_counts"`
	Children    []processNode    `json:"children"`
}

// listProcesses sends a session's processes as a tree.
func (h *catalogHandler) listProcesses(c *echo.Context) error {
	id, err := sessionIDParam(c)
	if err != nil {
		return err
	}
	tree, err := h.processes.Tree(c.Request().Context(), id)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, processTree{newProcessNodes(tree.Roots), tree.Total, tree.Truncated})
}

func newProcessNodes(nodes []*process.Node) []processNode {
	views := make([]processNode, len(nodes))
	for i, n := range nodes {
		views[i] = processNode{
			ID: strconv.FormatUint(n.ID, 10), PID: n.PID, ParentPID: n.ParentPID,
			StartedAt: models.FormatTime(n.StartedAt), StartKnown: n.StartKnown,
			Name: n.Name, Image: n.Image, CommandLine: n.CommandLine,
			FirstSeen: models.FormatTime(n.FirstSeen), LastSeen: models.FormatTime(n.LastSeen),
			EventCounts: orNoCounts(n.EventCounts), Children: newProcessNodes(n.Children),
		}
		if n.ParentID != 0 {
			parent := strconv.FormatUint(n.ParentID, 10)
			views[i].ParentID = &parent
		}
		for _, count := range n.EventCounts {
			views[i].EventCount += count
		}
	}
	return views
}
