package handlers

import (
	"context"
	"net/http"
	"strconv"
	"strings"

	"github.com/labstack/echo/v5"

	"ospulse/internal/filter"
	"ospulse/internal/models"
	"ospulse/internal/process"
	"ospulse/internal/service"
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
	processView
	Children []processNode `json:"children"`
}

// processView is a process.
type processView struct {
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
		views[i] = processNode{newProcessView(n.Process, n.ParentID), newProcessNodes(n.Children)}
	}
	return views
}

// newProcessView returns the view of a process. parentID is 0 if the parent is unknown.
func newProcessView(p *models.Process, parentID uint64) processView {
	view := processView{
		ID: strconv.FormatUint(p.ID, 10), PID: p.PID, ParentPID: p.ParentPID,
		StartedAt: models.FormatTime(p.StartedAt), StartKnown: p.StartKnown,
		Name: p.Name, Image: p.Image, CommandLine: p.CommandLine,
		FirstSeen: models.FormatTime(p.FirstSeen), LastSeen: models.FormatTime(p.LastSeen),
		EventCounts: orNoCounts(p.EventCounts),
	}
	if parentID != 0 {
		parent := strconv.FormatUint(parentID, 10)
		view.ParentID = &parent
	}
	for _, count := range p.EventCounts {
		view.EventCount += count
	}
	return view
}

// Limits of pages of the process tree.
const (
	defaultProcesses, maxProcesses = 200, 1000
	maxClosed                      = 500
)

// ProcessTrees lists the process trees of sessions, a page at a time.
// *service.ProcessTrees implements it and documents its contracts.
type ProcessTrees interface {
	Page(ctx context.Context, sessionID string, where *filter.Filter, text string, list process.List) (service.ProcessTreePage, error)
}

type processTreeHandler struct {
	trees   ProcessTrees
	filters Filters
}

// processTreePage is a page of the process tree.
type processTreePage struct {
	Rows      []processRow `json:"rows"`
	Offset    int          `json:"offset"`    // rows before the page
	RowCount  int          `json:"row_count"` // of all pages
	Matching  int          `json:"matching"`
	Total     int          `json:"total"`
	Truncated bool         `json:"truncated"`
	UpTo      int64        `json:"up_to"`
}

// processRow is a process in a list of the process tree.
type processRow struct {
	processView
	Depth          int              `json:"depth"`
	HasChildren    bool             `json:"has_children"`
	RowsBelow      int              `json:"rows_below"`
	Matches        bool             `json:"matches"`
	SelectedCounts map[string]int64 `json:"selected_counts,omitempty"`
}

// list sends a page of a session's process tree.
func (h *processTreeHandler) list(c *echo.Context) error {
	id, where, err := sessionAndFilter(c, h.filters)
	if err != nil {
		return err
	}
	text, err := textParam(c, "q")
	if err != nil {
		return err
	}
	list, err := processListParams(c)
	if err != nil {
		return err
	}
	page, err := h.trees.Page(c.Request().Context(), id, where, text, list)
	if err != nil {
		return err
	}
	answer := processTreePage{
		Rows: make([]processRow, len(page.Rows)), Offset: page.Offset, RowCount: page.Total, Matching: page.Matching,
		Total: page.Processes, Truncated: page.Truncated, UpTo: page.UpTo,
	}
	for i, r := range page.Rows {
		answer.Rows[i] = processRow{newProcessView(r.Process, r.ParentID), r.Depth, r.HasChildren, r.Below, r.Matches, r.Counts}
	}
	return c.JSON(http.StatusOK, answer)
}

// processListParams reads which part of a process tree to list.
func processListParams(c *echo.Context) (list process.List, err error) {
	if list.Limit, err = limitParam(c, "limit", defaultProcesses, maxProcesses); err != nil {
		return list, err
	}
	if text := c.QueryParam("offset"); text != "" {
		if list.Offset, err = strconv.Atoi(text); err != nil || list.Offset < 0 {
			return list, models.Errorf(models.CodeInvalid, "offset must be a number of rows, not %.100q", text)
		}
	}
	if text := c.QueryParam("around"); text != "" {
		if list.Around, err = processID("around", text); err != nil {
			return list, err
		}
	}
	if text := c.QueryParam("closed"); text != "" {
		ids := strings.SplitN(text, ",", maxClosed+1)
		if len(ids) > maxClosed {
			return list, models.Errorf(models.CodeInvalid, "closed must have at most %d ids", maxClosed)
		}
		for _, id := range ids {
			closed, err := processID("closed", id)
			if err != nil {
				return list, err
			}
			list.Closed = append(list.Closed, closed)
		}
	}
	return list, nil
}

// processID reads the id of a process.
func processID(name, text string) (uint64, error) {
	id, err := strconv.ParseUint(text, 10, 64)
	if err != nil || id == 0 {
		return 0, models.Errorf(models.CodeInvalid, "%s must be the id of a process, not %.100q", name, text)
	}
	return id, nil
}
