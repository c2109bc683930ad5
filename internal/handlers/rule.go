package handlers

import (
	"context"
	"mime"
	"net/http"
	"net/url"

	"github.com/labstack/echo/v5"

	"ospulse/internal/detect"
	"ospulse/internal/models"
	"ospulse/internal/service"
	"ospulse/internal/sigma"
)

// RuleService has the detection rules. *service.Rules implements it and documents its
// contracts.
type RuleService interface {
	List() []detect.Rule
	Get(ctx context.Context, id string) (*detect.Rule, string, error)
	Create(ctx context.Context, text string) (*detect.Rule, error)
	Replace(ctx context.Context, id, version, text string) (*detect.Rule, error)
	Delete(ctx context.Context, id string) error
	SetEnabled(ctx context.Context, id string, enabled bool) error
}

// TrialService tries rules. *service.Trials implements it and documents its contract.
type TrialService interface {
	Try(ctx context.Context, text string, ids []string) (service.Trial, error)
}

type ruleHandler struct {
	rules        RuleService
	trials       TrialService
	reads        ReadLimiter
	maxBodyBytes int64
}

// ruleView is a rule. Of a broken one only the members up to Kind are known.
type ruleView struct {
	ID        string   `json:"rule_id"`
	Version   string   `json:"rule_version"`
	Enabled   bool     `json:"enabled"`
	Source    string   `json:"source"`
	Path      string   `json:"path"`
	State     string   `json:"state"`
	Error     *string  `json:"error"` // why it is broken
	Needs     []string `json:"needs"`
	Kind      string   `json:"kind"`
	Title     string   `json:"title"`
	Level     string   `json:"level"`
	Tags      []string `json:"tags"`
	Author    string   `json:"author"`
	License   string   `json:"license"`
	LogSource string   `json:"log_source"`
	Condition string   `json:"condition"` // in the filter language, with the tests that only rules have
}

func newRuleView(r *detect.Rule) ruleView {
	v := ruleView{ID: r.Key, Version: r.Hash, Enabled: !r.IsOff, Source: r.Origin, Path: r.Path, State: "broken", Needs: []string{}, Tags: []string{}}
	if r.Err != nil {
		v.Error = new(r.Err.Error())
		return v
	}
	v.State, v.Kind = "cannot_run", "detection"
	if r.CanRun() {
		v.State, v.Condition = "running", r.Where.String()
	}
	if r.IsOff {
		v.State = "off"
	}
	if r.Kind == sigma.Routine {
		v.Kind = string(r.Kind)
	}
	v.Needs, v.Tags = append(v.Needs, r.Needs...), append(v.Tags, r.Tags...)
	v.Title, v.Level, v.Author, v.License, v.LogSource = r.Title, string(r.Level), r.Author, r.License, r.Source.String()
	return v
}

// ruleDetail is a rule with its text.
type ruleDetail struct {
	ruleView
	Text string `json:"text"`
}

// list sends all rules.
func (h *ruleHandler) list(c *echo.Context) error {
	rules := h.rules.List()
	views := make([]ruleView, len(rules))
	for i := range rules {
		views[i] = newRuleView(&rules[i])
	}
	return c.JSON(http.StatusOK, map[string]any{"rules": views})
}

// get sends a rule with its text.
func (h *ruleHandler) get(c *echo.Context) error {
	rule, text, err := h.rules.Get(c.Request().Context(), ruleIDParam(c))
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, ruleDetail{newRuleView(rule), text})
}

// create stores a rule of a user.
func (h *ruleHandler) create(c *echo.Context) error {
	text, err := h.readText(c)
	if err != nil {
		return err
	}
	rule, err := h.rules.Create(c.Request().Context(), text)
	if err != nil {
		return err
	}
	n := note(c)
	n.target = rule.Key
	n.changed(nil, map[string]string{"version": rule.Hash, "title": rule.Title})
	return c.JSON(http.StatusCreated, ruleDetail{newRuleView(rule), text})
}

// replace replaces the text of a user's rule.
func (h *ruleHandler) replace(c *echo.Context) error {
	version := c.QueryParam("rule_version")
	if version == "" {
		return models.Errorf(models.CodeInvalid, "rule_version is missing: it is that of the rule that was changed, so that no change of others is lost")
	}
	text, err := h.readText(c)
	if err != nil {
		return err
	}
	rule, err := h.rules.Replace(c.Request().Context(), ruleIDParam(c), version, text)
	if err != nil {
		return err
	}
	note(c).changed(map[string]string{"version": version}, map[string]string{"version": rule.Hash, "title": rule.Title})
	return c.JSON(http.StatusOK, ruleDetail{newRuleView(rule), text})
}

// delete deletes a user's rule.
func (h *ruleHandler) delete(c *echo.Context) error {
	if err := h.rules.Delete(c.Request().Context(), ruleIDParam(c)); err != nil {
		return err
	}
	return c.JSON(http.StatusOK, map[string]string{"status": "deleted"})
}

// enable turns a rule on or off.
func (h *ruleHandler) enable(c *echo.Context) error {
	var request struct {
		Enabled *bool `json:"enabled"`
	}
	if err := readJSON(c, h.maxBodyBytes, &request); err != nil {
		return err
	}
	if request.Enabled == nil {
		return models.Errorf(models.CodeInvalid, "enabled is missing: true or false")
	}
	note(c).changed(nil, request)
	if err := h.rules.SetEnabled(c.Request().Context(), ruleIDParam(c), *request.Enabled); err != nil {
		return err
	}
	return h.get(c)
}

// ruleIDParam returns the rule's ID of the path, which may have any characters.
func ruleIDParam(c *echo.Context) string {
	id := c.Param("ruleId")
	if c.Request().URL.RawPath == "" { // the path was decoded
		return id
	}
	if unescaped, err := url.PathUnescape(id); err == nil {
		return unescaped
	}
	return id
}

// maxRuleBody is the most bytes of a body with a rule: JSON may escape each byte.
const maxRuleBody = 8 * sigma.MaxBytes

const yamlType = "application/yaml"

// ruleRequest is a body with a rule.
type ruleRequest struct {
	Text *string `json:"text"`
}

// readText returns the text of the rule that is the body, or that its JSON has.
func (h *ruleHandler) readText(c *echo.Context) (string, error) {
	var request ruleRequest
	return h.readRule(c, &request, &request.Text)
}

// readRule reads a body: the text of a rule, or a JSON object with it, which it decodes into
// request. It returns the text.
func (h *ruleHandler) readRule(c *echo.Context, request any, text **string) (string, error) {
	limit := min(h.maxBodyBytes, maxRuleBody)
	if mediaType, _, err := mime.ParseMediaType(c.Request().Header.Get("Content-Type")); err == nil && mediaType == yamlType {
		body, err := readBody(c, limit, yamlType)
		return string(body), err
	}
	if err := readJSON(c, limit, request); err != nil {
		return "", err
	}
	if *text == nil {
		return "", models.Errorf(models.CodeInvalid, "text is missing: the rule, in YAML")
	}
	return **text, nil
}

// trialView is the answer of a trial of a rule.
type trialView struct {
	Rule       ruleView           `json:"rule"`
	Sessions   []sessionTrialView `json:"sessions"`
	Events     int64              `json:"events_evaluated"`
	IsComplete bool               `json:"complete"`
	TookMS     int64              `json:"took_ms"`
}

// sessionTrialView is what a rule would find in a session.
type sessionTrialView struct {
	SessionID string  `json:"session_id"`
	Events    int64   `json:"events"`       // that match
	Failed    int64   `json:"failed_count"` // of these events
	Seqs      []int64 `json:"seqs"`         // of the first of them
	UpTo      int64   `json:"up_to_seq"`
	Total     int64   `json:"event_count"`
}

// try sends what a rule would find.
func (h *ruleHandler) try(c *echo.Context) error {
	var request struct {
		Text       *string  `json:"text"` // not embedded: errors name the field by its path
		SessionIDs []string `json:"session_ids"`
	}
	text, err := h.readRule(c, &request, &request.Text)
	if err != nil {
		return err
	}
	for _, id := range request.SessionIDs {
		if err := checkSessionID(id); err != nil {
			return err
		}
	}
	var trial service.Trial
	// After the body was read: a slow client takes no turn of others.
	err = h.reads.Do(c.Request().Context(), func(ctx context.Context, _ func()) (err error) {
		trial, err = h.trials.Try(ctx, text, request.SessionIDs)
		return err
	})
	if err != nil {
		return err
	}
	view := trialView{newRuleView(trial.Rule), make([]sessionTrialView, len(trial.Sessions)), trial.Events, trial.IsComplete, trial.Took.Milliseconds()}
	for i, s := range trial.Sessions {
		view.Sessions[i] = sessionTrialView{s.SessionID, s.Count, s.Failed, s.Seqs, s.UpTo, s.Total}
	}
	return c.JSON(http.StatusOK, view)
}
