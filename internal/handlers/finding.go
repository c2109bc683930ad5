package handlers

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v5"

	"ospulse/internal/attack"
	"ospulse/internal/models"
	"ospulse/internal/service"
)

// FindingService lists what rules found. *service.Detection implements it and documents its
// contracts.
type FindingService interface {
	Findings(ctx context.Context, sessionID string) (service.Findings, error)
	List(ctx context.Context, filter models.FindingFilter) ([]models.ListedFinding, *models.FindingCursor, error)
}

type findingHandler struct{ findings FindingService }

// findingView is what a rule found in a session, with the first events.
type findingView struct {
	findingHead
	Seqs []int64 `json:"seqs"`
}

// findingHead is what a rule found in a session.
type findingHead struct {
	RuleID      string          `json:"rule_id"`
	Version     string          `json:"rule_version"`
	Title       string          `json:"title"`
	Level       string          `json:"level"`
	Tags        []string        `json:"tags"`
	Tactics     []string        `json:"tactics"` // short names
	Techniques  []techniqueView `json:"techniques"`
	Author      string          `json:"author"`
	License     string          `json:"license"`
	Events      int64           `json:"events"`
	Failed      int64           `json:"failed_count"` // of these events
	FirstAt     string          `json:"first_at"`
	LastAt      string          `json:"last_at"`
	PID         *int64          `json:"pid"` // of the first event, as the next two
	ProcessName *string         `json:"process_name"`
	Target      *string         `json:"target"`
	RootPath    *string         `json:"root_path"` // of the processes, if none has the machine's
	IsImported  bool            `json:"imported"`  // found by a rule of the backend that exported the session
}

func newFindingHead(f *models.Finding) findingHead {
	named := attack.Of(f.Tags)
	return findingHead{
		RuleID: f.RuleID, Version: f.Version, Title: f.Title, Level: f.Level, Tags: append([]string{}, f.Tags...), Tactics: named.Tactics, Techniques: newTechniqueViews(named.Techniques), Author: f.Author, License: f.License,
		Events: f.Count, Failed: f.Failed, FirstAt: models.FormatTime(f.FirstAt), LastAt: models.FormatTime(f.LastAt),
		PID: f.PID, ProcessName: f.ProcessName, Target: f.Target, RootPath: f.RootPath, IsImported: f.IsImported,
	}
}

// list sends the findings of a session, the most severe first.
func (h *findingHandler) list(c *echo.Context) error {
	id, err := sessionIDParam(c)
	if err != nil {
		return err
	}
	found, err := h.findings.Findings(c.Request().Context(), id)
	if err != nil {
		return err
	}
	views := make([]findingView, len(found.Findings))
	for i := range found.Findings {
		views[i] = findingView{newFindingHead(&found.Findings[i]), found.Findings[i].Seqs}
	}
	return c.JSON(http.StatusOK, struct {
		Findings []findingView `json:"findings"`
		UpTo     int64         `json:"up_to_seq"` // the last event to which the rules have been applied
		Total    int64         `json:"event_count"`
	}{views, found.UpTo, found.Total})
}

// Findings per page.
const defaultFindings, maxFindings = 50, 500

// listedFindingView is a finding in a list over sessions.
type listedFindingView struct {
	SessionID   string `json:"session_id"`
	SessionName string `json:"session_name"`
	FileName    string `json:"file_name"`
	findingHead
}

// listAll sends a page of the findings of all sessions, the most severe and newest first.
func (h *findingHandler) listAll(c *echo.Context) error {
	filter, err := findingFilter(c)
	if err != nil {
		return err
	}
	found, next, err := h.findings.List(c.Request().Context(), filter)
	if err != nil {
		return err
	}
	page := struct {
		Findings   []listedFindingView `json:"findings"`
		NextCursor *string             `json:"next_cursor"` // null at the end of the list
	}{Findings: make([]listedFindingView, len(found))}
	for i := range found {
		f := &found[i]
		page.Findings[i] = listedFindingView{f.SessionID, f.SessionName, f.FileName, newFindingHead(&f.Finding)}
	}
	if next != nil {
		page.NextCursor = new(encodeFindingCursor(next))
	}
	return c.JSON(http.StatusOK, page)
}

// levelParam reads the lowest level of findings to select, "" if it is missing.
func levelParam(c *echo.Context) (string, error) {
	level := c.QueryParam("level")
	if level != "" && !slices.Contains(models.FindingLevels, level) {
		return "", models.Errorf(models.CodeInvalid, "level must be informational, low, medium, high or critical, not %.100q", level)
	}
	return level, nil
}

var techniqueID = regexp.MustCompile(`^[Tt][0-9]{4}(\.[0-9]{3})?$`)

// findingFilter reads the query parameters that select findings.
func findingFilter(c *echo.Context) (filter models.FindingFilter, err error) {
	level, err := levelParam(c)
	if err != nil {
		return filter, err
	}
	filter.Levels = models.FindingLevels[:slices.Index(models.FindingLevels, cmp.Or(level, "informational"))+1]
	if id := c.QueryParam("technique"); id != "" {
		if !techniqueID.MatchString(id) {
			return filter, models.Errorf(models.CodeInvalid, "technique must be a technique of ATT&CK such as T1059 or T1059.004, not %.100q", id)
		}
		filter.Techniques = attack.SameAs(strings.ToUpper(id))
	}
	for name, text := range map[string]*string{"tag": &filter.Tag, "rule": &filter.RuleID, "session": &filter.SessionID} {
		if *text, err = textParam(c, name); err != nil {
			return filter, err
		}
	}
	if filter.After, err = findingCursorParam(c); err != nil {
		return filter, err
	}
	filter.Limit, err = limitParam(c, "limit", defaultFindings, maxFindings)
	return filter, err
}

// encodeFindingCursor encodes a place in the list of findings.
func encodeFindingCursor(cursor *models.FindingCursor) string {
	text, _ := json.Marshal([]string{cursor.Level, strconv.FormatInt(cursor.FirstAt.UnixMicro(), 10), cursor.SessionID, cursor.RuleID}) // cannot fail
	return sealCursor(string(text))
}

// findingCursorParam decodes a cursor of encodeFindingCursor; nil if there is none.
func findingCursorParam(c *echo.Context) (*models.FindingCursor, error) {
	given := c.QueryParam("cursor")
	if given == "" {
		return nil, nil // from the beginning of the list
	}
	var parts []string
	if text, ok := openCursor(given); ok && json.Unmarshal([]byte(text), &parts) == nil && len(parts) == 4 {
		micros, err := strconv.ParseInt(parts[1], 10, 64)
		if err == nil && slices.Contains(models.FindingLevels, parts[0]) {
			return &models.FindingCursor{Level: parts[0], FirstAt: time.UnixMicro(micros).UTC(), SessionID: parts[2], RuleID: parts[3]}, nil
		}
	}
	return nil, models.Errorf(models.CodeInvalid, "cursor must be a next_cursor of this list, not %.100q", given)
}
