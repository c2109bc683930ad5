package handlers

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/labstack/echo/v5"

	"ospulse/internal/attack"
	"ospulse/internal/models"
)

type attackHandler struct {
	findings FindingService
	exports  ExportService // knows the sessions
}

// techniqueView is a technique of ATT&CK that a rule names.
type techniqueView struct {
	ID         string   `json:"id"`
	Name       string   `json:"name"`        // empty if it is unknown
	ParentID   *string  `json:"parent_id"`   // of a sub-technique
	ParentName *string  `json:"parent_name"` // likewise
	State      string   `json:"state"`
	TaggedAs   *string  `json:"tagged_as"` // the ID in the rule, if it is another
	Tactics    []string `json:"tactics"`   // short names
}

func newTechniqueViews(techniques []attack.Technique) []techniqueView {
	views := make([]techniqueView, len(techniques))
	for i := range techniques {
		t := &techniques[i]
		views[i] = techniqueView{
			ID: t.ID, Name: t.Name, ParentID: orNull(t.ParentID), ParentName: orNull(t.ParentName),
			State: string(t.State), TaggedAs: orNull(t.TaggedAs), Tactics: append([]string{}, t.Tactics...),
		}
	}
	return views
}

// scoreView says how much was found.
type scoreView struct {
	Findings int     `json:"findings"`
	Events   int64   `json:"events"`
	Level    *string `json:"level"` // the highest; null without a finding
}

func newScoreView(s attack.Score) scoreView { return scoreView{s.Findings, s.Events, orNull(s.Level)} }

// cellView is a technique with findings.
type cellView struct {
	ID         string  `json:"id"`
	Name       string  `json:"name"`
	ParentID   *string `json:"parent_id"`
	ParentName *string `json:"parent_name"`
	State      string  `json:"state"`
	scoreView
}

func newCellViews(cells []attack.Cell) []cellView {
	views := make([]cellView, len(cells))
	for i := range cells {
		c := &cells[i]
		views[i] = cellView{c.ID, c.Name, orNull(c.ParentID), orNull(c.ParentName), string(c.State), newScoreView(c.Score)}
	}
	return views
}

// columnView is a tactic.
type columnView struct {
	attack.Tactic
	scoreView
	Techniques []cellView `json:"techniques"`
}

// matrix sends the findings of a session by tactic and technique, or as a layer of the
// ATT&CK Navigator.
func (h *attackHandler) matrix(c *echo.Context) error {
	id, err := sessionIDParam(c)
	if err != nil {
		return err
	}
	format := c.QueryParam("format")
	if format != "" && format != "navigator" {
		return models.Errorf(models.CodeInvalid, "format must be navigator, or left out, not %.100q", format)
	}
	found, err := h.findings.Findings(c.Request().Context(), id)
	if err != nil {
		return err
	}
	m := attack.NewMatrix(found.Findings)
	if format == "navigator" {
		session, err := h.exports.Session(c.Request().Context(), id)
		if err != nil {
			return err
		}
		return sendLayer(c, session, m.Layer("OS-Pulse: "+exportName(session), fmt.Sprintf("Findings of session %s. The rules have been applied to %d of %d events.", id, found.UpTo, found.Total)))
	}
	columns := make([]columnView, len(m.Tactics))
	for i := range m.Tactics {
		column := &m.Tactics[i]
		columns[i] = columnView{column.Tactic, newScoreView(column.Score), newCellViews(column.Techniques)}
	}
	return c.JSON(http.StatusOK, struct {
		Version  string       `json:"attack_version"`
		Tactics  []columnView `json:"tactics"`
		Unplaced []cellView   `json:"unplaced"`
		UpTo     int64        `json:"up_to_seq"`
		Total    int64        `json:"event_count"`
	}{attack.Version(), columns, newCellViews(m.Unplaced), found.UpTo, found.Total})
}

func sendLayer(c *echo.Context, session *models.Session, layer attack.Layer) error {
	text, err := json.MarshalIndent(layer, "", " ")
	if err != nil {
		return err
	}
	header := c.Response().Header()
	header.Set("Content-Disposition", disposition(exportName(session)+".attack.json"))
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Cache-Control", "no-store")
	return c.Blob(http.StatusOK, "application/json", text)
}
