package handlers

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/labstack/echo/v5"

	"ospulse/internal/models"
	"ospulse/internal/process"
	"ospulse/internal/service"
)

// Sessions per page.
const (
	defaultSessionsLimit = 50
	maxSessionsLimit     = 500
)

// CatalogService lists, reads, changes and deletes sessions. *service.Catalog
// implements it and documents its contracts.
type CatalogService interface {
	List(ctx context.Context, filter models.SessionFilter) ([]models.Session, *models.SessionCursor, error)
	Get(ctx context.Context, id string) (*models.Session, *models.Agent, error)
	Change(ctx context.Context, id string, change models.SessionChange) (before, after *models.Session, err error)
	Delete(ctx context.Context, id string) error
	OpenFile(ctx context.Context, id string) (*service.StoredFile, error)
}

// Summarizer summarizes sessions. *service.Summaries implements it.
type Summarizer interface {
	Summary(ctx context.Context, session *models.Session) (models.SessionSummary, error)
}

// ProcessService reads the processes of sessions. *service.Processes implements it.
type ProcessService interface {
	Tree(ctx context.Context, sessionID string) (process.Tree, error)
}

type catalogHandler struct {
	sessions     CatalogService
	summaries    Summarizer
	processes    ProcessService
	maxBodyBytes int64
}

// sessionPage is a page of the list of sessions.
type sessionPage struct {
	Sessions   []sessionView `json:"sessions"`
	NextCursor *string       `json:"next_cursor"` // null at the end of the list
}

// list sends a page of the list of sessions, newest first.
func (h *catalogHandler) list(c *echo.Context) error {
	filter, err := sessionFilter(c)
	if err != nil {
		return err
	}
	sessions, next, err := h.sessions.List(c.Request().Context(), filter)
	if err != nil {
		return err
	}
	page := sessionPage{Sessions: make([]sessionView, len(sessions))}
	for i := range sessions {
		page.Sessions[i] = newSessionView(&sessions[i])
	}
	if next != nil {
		page.NextCursor = new(encodeCursor(*next, filter.Severe))
	}
	return c.JSON(http.StatusOK, page)
}

var hashPrefix = regexp.MustCompile(`^[0-9a-f]{4,64}$`)

// sessionFilter reads the query parameters that select sessions.
func sessionFilter(c *echo.Context) (filter models.SessionFilter, err error) {
	switch state := models.State(c.QueryParam("state")); state {
	case "", models.StateCreated, models.StateStarting, models.StateActive, models.StateFailed, models.StateEnded:
		filter.State = state
	default:
		return filter, models.Errorf(models.CodeInvalid, "state must be created, active or ended, not %.100q", state)
	}
	for name, text := range map[string]*string{"agent": &filter.AgentID, "file": &filter.FileName, "tag": &filter.Tag, "q": &filter.Text} {
		if *text, err = textParam(c, name); err != nil {
			return filter, err
		}
	}
	filter.SHA256 = strings.ToLower(c.QueryParam("sha256"))
	if filter.SHA256 != "" && !hashPrefix.MatchString(filter.SHA256) {
		return filter, models.Errorf(models.CodeInvalid, "sha256 must be 4 to 64 hexadecimal digits, the beginning of the file's hash, not %.100q", filter.SHA256)
	}
	if filter.Kept, err = boolParam(c, "keep"); err != nil {
		return filter, err
	}
	if filter.From, err = timeParam(c, "from"); err != nil {
		return filter, err
	}
	if filter.To, err = timeParam(c, "to"); err != nil {
		return filter, err
	}
	if filter.Level, err = levelParam(c); err != nil {
		return filter, err
	}
	switch sort := c.QueryParam("sort"); sort {
	case "", "created":
	case "findings":
		filter.Severe = true
	default:
		return filter, models.Errorf(models.CodeInvalid, "sort must be created or findings, not %.100q", sort)
	}
	if filter.After, err = cursorParam(c, filter.Severe); err != nil {
		return filter, err
	}
	filter.Limit, err = limitParam(c, "limit", defaultSessionsLimit, maxSessionsLimit)
	return filter, err
}

// maxTextParam is the most bytes of a text to search for.
const maxTextParam = 1000

// textParam reads a text to search for, "" if it is missing.
func textParam(c *echo.Context, name string) (string, error) {
	text := c.QueryParam(name)
	if len(text) > maxTextParam || !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
		return "", models.Errorf(models.CodeInvalid, "%s must be a text of at most %d bytes, in UTF-8 and without NUL characters", name, maxTextParam)
	}
	return text, nil
}

// cursorCheckLen is the number of bytes of a cursor's checksum.
const cursorCheckLen = 6

// severeCursor begins the cursors of a list that has the most severe findings first.
const severeCursor = "findings "

// encodeCursor encodes a place in the list of sessions. A list that has the most severe
// findings first has cursors of its own. Their content is not secret, but clients must not
// rely on it.
func encodeCursor(cursor models.SessionCursor, severe bool) string {
	text := strconv.FormatInt(cursor.CreatedAt.UnixMicro(), 10) + " " + cursor.ID
	if severe {
		text = severeCursor + strconv.Itoa(cursor.Rank) + " " + text
	}
	return sealCursor(text)
}

// sealCursor encodes the text of a cursor with a checksum.
func sealCursor(text string) string {
	sum := sha256.Sum256([]byte(text))
	return base64.RawURLEncoding.EncodeToString(append(sum[:cursorCheckLen], text...))
}

// openCursor returns the text of a cursor that sealCursor encoded.
func openCursor(cursor string) (text string, ok bool) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(cursor)
	if err != nil || len(raw) <= cursorCheckLen {
		return "", false
	}
	text = string(raw[cursorCheckLen:])
	return text, sealCursor(text) == cursor
}

// cursorParam decodes a cursor of encodeCursor; nil if there is none.
func cursorParam(c *echo.Context, severe bool) (*models.SessionCursor, error) {
	given := c.QueryParam("cursor")
	if given == "" {
		return nil, nil // from the beginning of the list
	}
	text, ok := openCursor(given)
	rank := 0
	if severe && ok {
		var number string
		text, ok = strings.CutPrefix(text, severeCursor)
		number, text, _ = strings.Cut(text, " ")
		rank, _ = strconv.Atoi(number) // sealCursor has checked it
	}
	micros, id, _ := strings.Cut(text, " ")
	if n, err := strconv.ParseInt(micros, 10, 64); ok && err == nil && models.ValidID(id) {
		return &models.SessionCursor{Rank: rank, CreatedAt: time.UnixMicro(n).UTC(), ID: id}, nil
	}
	return nil, models.Errorf(models.CodeInvalid, "cursor must be a next_cursor of this list, not %.100q", given)
}

// sessionDetails is a session on its own page.
type sessionDetails struct {
	sessionView
	Agent        *agentView       `json:"agent"` // null for a session without one
	EventCounts  map[string]int64 `json:"event_counts"`
	FirstEventAt *string          `json:"first_event_at"`
	LastEventAt  *string          `json:"last_event_at"`
	Completeness completenessView `json:"completeness"`
}

// completenessView says whether all events of a session are present.
type completenessView struct {
	Complete bool       `json:"complete"` // nothing is missing, damaged, or was reported lost
	Expected int64      `json:"expected"` // events that were given a seq
	Expired  int64      `json:"expired"`  // the events up to this seq expired; they are not missing
	Present  int64      `json:"present"`  // those of them that are stored
	Missing  []seqSpan  `json:"missing"`  // the first 100 spans
	Damaged  []seqSpan  `json:"damaged"`  // the first 100 spans of stored events that cannot be read
	Lost     int64      `json:"lost"`     // events that were reported lost
	Losses   []lossView `json:"losses"`   // the newest 100 reports, newest first

	Expirations []expirationView `json:"expirations"` // the newest 100 records, newest first

	Selection *models.Selection `json:"selection"` // what the agent leaves out on request; null: it says nothing of it
	LeftOut   map[string]int64  `json:"left_out"`  // how many events, by class

	Durability       models.Durability `json:"durability"`         // the worst of its events, as committed
	AgentSilentSince *string           `json:"agent_silent_since"` // later events may be missing
}

type seqSpan struct {
	First int64 `json:"first_seq"`
	Last  int64 `json:"last_seq"`
}

type lossView struct {
	Seq       int64   `json:"seq"` // seq of the report
	Timestamp string  `json:"timestamp"`
	Count     int64   `json:"count"`
	Reason    string  `json:"reason"`
	From      *string `json:"from"`
	To        *string `json:"to"`
}

// get sends a session with a summary of its events.
func (h *catalogHandler) get(c *echo.Context) error {
	id, err := sessionIDParam(c)
	if err != nil {
		return err
	}
	session, agent, err := h.sessions.Get(c.Request().Context(), id)
	if err != nil {
		return err
	}
	summary, err := h.summaries.Summary(c.Request().Context(), session)
	if err != nil {
		return err
	}
	details := sessionDetails{
		sessionView: newSessionView(session), EventCounts: orNoCounts(summary.EventCounts),
		FirstEventAt: optionalTime(summary.FirstEventAt), LastEventAt: optionalTime(summary.LastEventAt),
		Completeness: newCompletenessView(&summary.Completeness),
	}
	details.Completeness.AgentSilentSince = details.AgentSilentSince
	if agent != nil {
		view := newAgentView(agent)
		details.Agent = &view
	}
	return c.JSON(http.StatusOK, details)
}

// orNoCounts returns an empty map for nil, as orEmpty returns a list.
func orNoCounts(counts map[string]int64) map[string]int64 {
	if counts == nil {
		return map[string]int64{}
	}
	return counts
}

func newCompletenessView(c *models.Completeness) completenessView {
	view := completenessView{
		Complete: c.Complete, Expected: c.Expected, Expired: c.Expired, Present: c.Present, Lost: c.Lost, Durability: c.Durability,
		Missing: make([]seqSpan, len(c.Missing)), Damaged: make([]seqSpan, len(c.Damaged)), Losses: make([]lossView, len(c.Losses)),
		Expirations: newExpirationViews(c.Expirations), Selection: c.Selection, LeftOut: orNoCounts(c.LeftOut),
	}
	for i, span := range c.Damaged {
		view.Damaged[i] = seqSpan(span)
	}
	for i, span := range c.Missing {
		view.Missing[i] = seqSpan(span)
	}
	for i, loss := range c.Losses {
		view.Losses[i] = lossView{
			Seq: loss.Seq, Timestamp: models.FormatTime(loss.Timestamp), Count: loss.Count, Reason: loss.Reason,
			From: optionalTime(loss.From), To: optionalTime(loss.To),
		}
	}
	return view
}

// optional is a member of a JSON object that may be missing, and may be null.
type optional[T any] struct {
	given bool
	value T // the zero value for null
}

func (o *optional[T]) UnmarshalJSON(text []byte) error {
	o.given = true
	return json.Unmarshal(text, &o.value)
}

// orNil returns nil for a missing member, which stays unchanged.
func (o *optional[T]) orNil() *T {
	if !o.given {
		return nil
	}
	return &o.value
}

// tagList is a list of strings that refuses null, which encoding/json would read as "".
type tagList []string

func (l *tagList) UnmarshalJSON(text []byte) error {
	var tags []*string
	if json.Unmarshal(text, &tags) != nil {
		return models.Errorf(models.CodeInvalid, "tags must be an array of texts, or null")
	}
	*l = nil
	for _, tag := range tags {
		if tag == nil {
			return models.Errorf(models.CodeInvalid, "tags must be an array of texts, or null")
		}
		*l = append(*l, *tag)
	}
	return nil
}

// noteText is a string; null is "".
type noteText string

func (n *noteText) UnmarshalJSON(text []byte) error {
	var value *string
	if json.Unmarshal(text, &value) != nil {
		return models.Errorf(models.CodeInvalid, "name and notes must be texts, or null")
	}
	if *n = ""; value != nil {
		*n = noteText(*value)
	}
	return nil
}

// change sets a session's name, notes, tags and keep. Missing members stay unchanged, and
// null clears.
func (h *catalogHandler) change(c *echo.Context) error {
	id, err := sessionIDParam(c)
	if err != nil {
		return err
	}
	var request struct {
		Name  optional[noteText] `json:"name"`
		Notes optional[noteText] `json:"notes"`
		Tags  optional[tagList]  `json:"tags"`
		Keep  optional[bool]     `json:"keep"`
	}
	if err := readJSON(c, h.maxBodyBytes, &request); err != nil {
		return err
	}
	before, after, err := h.sessions.Change(c.Request().Context(), id, models.SessionChange{
		Name: (*string)(request.Name.orNil()), Notes: (*string)(request.Notes.orNil()), Tags: (*[]string)(request.Tags.orNil()), Keep: request.Keep.orNil(),
	})
	if err != nil {
		return err
	}
	note(c).changed(notesOf(before), notesOf(after))
	return c.JSON(http.StatusOK, newSessionView(after))
}

// notesOf returns what change can set, for the audit.
func notesOf(s *models.Session) map[string]any {
	return map[string]any{"name": s.Name, "notes": s.Notes, "tags": orEmpty(s.Tags), "keep": s.Keep}
}

// delete deletes a session. Its events and files are removed in the background.
func (h *catalogHandler) delete(c *echo.Context) error {
	id, err := sessionIDParam(c)
	if err != nil {
		return err
	}
	if err := h.sessions.Delete(c.Request().Context(), id); err != nil {
		return err
	}
	return c.JSON(http.StatusAccepted, map[string]string{"status": "deleting"})
}
