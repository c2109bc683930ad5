package handlers

import (
	"cmp"
	"context"
	"net/http"
	"strconv"

	"github.com/labstack/echo/v5"

	"ospulse/internal/analysis"
	"ospulse/internal/models"
	"ospulse/internal/service"
)

// StoryService tells what happened in a session. *service.Stories implements it and
// documents its contracts.
type StoryService interface {
	Story(ctx context.Context, sessionID string) (service.Story, error)
	Origin(ctx context.Context, sessionID, path string, pid int64) (steps []analysis.Step, home string, err error)
}

type storyHandler struct{ stories StoryService }

// storyView is the story of a session.
type storyView struct {
	Steps         []stepView    `json:"steps"`
	OrdinarySteps int           `json:"ordinary_steps"`
	LeftOut       int64         `json:"left_out_events"`
	Counts        countsView    `json:"counts"`
	Sections      []sectionView `json:"sections"`
	Home          string        `json:"home"`
	Findings      []foundView   `json:"findings"`
	UpTo          int64         `json:"up_to_seq"`
	RulesTo       int64         `json:"rules_up_to_seq"`
	Total         int64         `json:"event_count"`
}

// countsView is what the first line counts.
type countsView struct {
	Processes    int       `json:"processes"`
	Downloaded   tallyView `json:"downloaded_and_run"`
	Startup      tallyView `json:"startup_changes"`
	Refused      tallyView `json:"secrets_refused"`
	Read         tallyView `json:"secrets_read"`
	Destinations tallyView `json:"destinations"`
	OwnDeletions tallyView `json:"own_deletions"`
}

// sectionView lists objects of one kind.
type sectionView struct {
	Kind    string       `json:"kind"`
	Total   int          `json:"total"`
	Objects []objectView `json:"objects"`
}

type objectView struct {
	Text     string   `json:"text"`
	As       string   `json:"as"`
	Programs []string `json:"programs"`
	Note     string   `json:"note"`
	Bytes    int64    `json:"bytes"`
	Events   int64    `json:"events"`
	Seqs     []int64  `json:"seqs"`
}

func newSectionViews(sections []analysis.Section) []sectionView {
	views := make([]sectionView, len(sections))
	for i, s := range sections {
		views[i] = sectionView{s.Kind, s.Total, make([]objectView, len(s.Objects))}
		for j, o := range s.Objects {
			views[i].Objects[j] = objectView(o)
		}
	}
	return views
}

type tallyView struct {
	Count int     `json:"count"`
	Seqs  []int64 `json:"seqs"`
}

func newTallyView(t analysis.Tally) tallyView {
	return tallyView{t.N, append([]int64{}, t.Seqs[:min(len(t.Seqs), maxTallySeqs)]...)}
}

// maxTallySeqs is the most seqs of a count: as many as a filter can name.
const maxTallySeqs = 100

// stepView is a line of a story.
type stepView struct {
	Kind     string     `json:"kind"`
	Class    string     `json:"class"`
	Parts    []partView `json:"parts"`
	Findings []int      `json:"findings"` // places in the list
	Ordinary bool       `json:"ordinary"`
	PID      *int64     `json:"pid"`
	Objects  int        `json:"objects"`
	Events   int64      `json:"events"`
	Seqs     []int64    `json:"seqs"`
	spanView
}

type partView struct {
	Text string `json:"text"`
	As   string `json:"as"`
}

type foundView struct {
	RuleID string `json:"rule_id"`
	Title  string `json:"title"`
	Level  string `json:"level"`
	Events int64  `json:"events"`
	Failed int64  `json:"failed_count"` // of these events

	RootPath *string `json:"root_path"`
}

func newStepViews(steps []analysis.Step) []stepView {
	views := make([]stepView, len(steps))
	for i := range steps {
		s := &steps[i]
		views[i] = stepView{s.Kind, s.Class, make([]partView, len(s.Parts)), append([]int{}, s.Findings...), s.Ordinary, s.PID, s.Objects, s.Events, append([]int64{}, s.Seqs...), newSpanView(&s.Seen)}
		for j, part := range s.Parts {
			views[i].Parts[j] = partView(part)
		}
	}
	return views
}

// origin sends why a file or a process exists.
func (h *storyHandler) origin(c *echo.Context) error {
	id, err := sessionIDParam(c)
	if err != nil {
		return err
	}
	path, text := c.QueryParam("path"), c.QueryParam("pid")
	pid, err := strconv.ParseInt(cmp.Or(text, "0"), 10, 64)
	switch {
	case err != nil:
		return models.Errorf(models.CodeInvalid, "pid must be a whole number, not %.100q", text)
	case (path == "") == (text == ""):
		return models.Errorf(models.CodeInvalid, "either path or pid must say what the question is about")
	case len(path) > maxPathText:
		return models.Errorf(models.CodeInvalid, "the path must be at most %d bytes long", maxPathText)
	}
	steps, home, err := h.stories.Origin(c.Request().Context(), id, path, pid)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, struct {
		Steps []stepView `json:"steps"`
		Home  string     `json:"home"`
	}{newStepViews(steps), home})
}

// get sends the story of a session.
func (h *storyHandler) get(c *echo.Context) error {
	id, err := sessionIDParam(c)
	if err != nil {
		return err
	}
	story, err := h.stories.Story(c.Request().Context(), id)
	if err != nil {
		return err
	}
	view := storyView{
		Steps: newStepViews(story.Steps), Sections: newSectionViews(story.Sections), OrdinarySteps: story.Ordinary, LeftOut: story.LeftOut, Home: story.Home, Findings: make([]foundView, len(story.Findings)),
		UpTo: story.UpTo, RulesTo: story.RulesTo, Total: story.Total,
		Counts: countsView{
			story.Processes, newTallyView(story.Downloaded), newTallyView(story.Startup), newTallyView(story.Refused), newTallyView(story.Read),
			newTallyView(story.Destinations), newTallyView(story.OwnDeletions),
		},
	}
	for i := range story.Findings {
		f := &story.Findings[i]
		view.Findings[i] = foundView{f.RuleID, f.Title, f.Level, f.Count, f.Failed, f.RootPath}
	}
	return c.JSON(http.StatusOK, view)
}
