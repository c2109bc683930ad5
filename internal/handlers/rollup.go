package handlers

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v5"

	"ospulse/internal/analysis"
	"ospulse/internal/filter"
	"ospulse/internal/models"
)

const (
	defaultGroups, maxGroups = 200, 1000
	maxPathText              = 1000 // most bytes of a text to search for in paths
)

// RollupService groups a session's events by file or conversation. *service.Rollups
// implements it and documents its contracts.
type RollupService interface {
	Files(ctx context.Context, sessionID string, where *filter.Filter, selected func(path string) bool, sort analysis.FileSort, after *analysis.Position, limit int) (page analysis.FilePage, seq int64, err error)
	Conversations(ctx context.Context, sessionID string, where *filter.Filter, sort analysis.ConversationSort, after *analysis.Position, limit int) (page analysis.ConversationPage, seq int64, err error)
}

type rollupHandler struct {
	rollups RollupService
	filters Filters
}

// fileList is a page of files.
type fileList struct {
	Files       []fileView `json:"files"`
	Total       int        `json:"total"`
	Others      int64      `json:"others"`
	WithoutPath int64      `json:"without_path"`
	Truncated   bool       `json:"truncated"`
	Seq         int64      `json:"seq"`
	NextCursor  *string    `json:"next_cursor"`
}

type fileView struct {
	Path         string         `json:"path"`
	Reads        int64          `json:"reads"`
	Writes       int64          `json:"writes"`
	Creates      int64          `json:"creates"`
	Renames      int64          `json:"renames"`
	Deletes      int64          `json:"deletes"`
	Others       int64          `json:"others"`
	Failed       int64          `json:"failed"`
	BytesRead    int64          `json:"bytes_read"`
	BytesWritten int64          `json:"bytes_written"`
	Processes    []processCount `json:"processes"`
	ProcessCount int            `json:"process_count"`
	spanView
	RenamedTo *string `json:"renamed_to"`
}

type processCount struct {
	PID   *int64 `json:"pid"`
	Name  string `json:"name"`
	Count int64  `json:"count"`
}

// spanView has the times of the first and the last event.
type spanView struct {
	FirstAt  string `json:"first_at"`
	LastAt   string `json:"last_at"`
	FirstSeq int64  `json:"first_seq"`
	LastSeq  int64  `json:"last_seq"`
}

func newSpanView(s *analysis.Seen) spanView {
	return spanView{models.FormatTime(time.UnixMicro(s.FirstMicros)), models.FormatTime(time.UnixMicro(s.LastMicros)), s.FirstSeq, s.LastSeq}
}

// listFiles sends the operations on each file.
func (h *rollupHandler) listFiles(c *echo.Context) error {
	asked, err := rollupParams(c, h.filters, analysis.FileSorts())
	if err != nil {
		return err
	}
	selected, err := pathParam(c)
	if err != nil {
		return err
	}
	page, seq, err := h.rollups.Files(c.Request().Context(), asked.sessionID, asked.where, selected, asked.sort, asked.after, asked.limit)
	if err != nil {
		return err
	}
	list := fileList{
		Files: make([]fileView, len(page.Files)), Total: page.Total, Others: page.Others, WithoutPath: page.WithoutPath,
		Truncated: page.Truncated, Seq: seq, NextCursor: rollupCursor(string(asked.sort), page.Next),
	}
	for i := range page.Files {
		list.Files[i] = newFileView(&page.Files[i])
	}
	return c.JSON(http.StatusOK, list)
}

func newFileView(f *analysis.File) fileView {
	view := fileView{
		Path: f.Path, Reads: f.Reads, Writes: f.Writes, Creates: f.Creates, Renames: f.Renames, Deletes: f.Deletes, Others: f.Others, Failed: f.Failed,
		BytesRead: f.BytesRead, BytesWritten: f.BytesWritten, ProcessCount: f.ProcessCount,
		Processes: make([]processCount, len(f.Processes)), spanView: newSpanView(&f.Seen),
	}
	for i, p := range f.Processes {
		view.Processes[i] = processCount(p)
	}
	if f.RenamedTo != "" {
		view.RenamedTo = &f.RenamedTo
	}
	return view
}

// conversationList is a page of conversations.
type conversationList struct {
	Conversations  []conversationView `json:"conversations"`
	Listeners      []listenerView     `json:"listeners"`
	Total          int                `json:"total"`
	Others         int64              `json:"others"`
	WithoutAddress int64              `json:"without_address"`
	WithoutRemote  int64              `json:"without_remote"`
	Truncated      bool               `json:"truncated"`
	Seq            int64              `json:"seq"`
	NextCursor     *string            `json:"next_cursor"`
}

type conversationView struct {
	ID                string         `json:"id"`
	Protocol          string         `json:"protocol"`
	Names             []string       `json:"names"`
	Local             endView        `json:"local"`
	Remote            endView        `json:"remote"`
	Hosts             []string       `json:"hosts"`
	PID               *int64         `json:"pid"`
	ProcessName       string         `json:"process_name"`
	Processes         []processCount `json:"processes"`
	RemotePID         *int64         `json:"remote_pid"`
	RemoteProcessName string         `json:"remote_process_name"`
	Packets           int64          `json:"packets"`
	PacketBytes       int64          `json:"packet_bytes"`
	Calls             int64          `json:"calls"`
	CallBytes         int64          `json:"call_bytes"`
	Errors            int64          `json:"errors"`
	Opened            int64          `json:"opened"`
	Bytes             int64          `json:"bytes"`
	BytesOf           string         `json:"bytes_of"`
	SentBytes         int64          `json:"sent_bytes"`
	ReceivedBytes     int64          `json:"received_bytes"`
	spanView
	Filter string `json:"filter"`
}

type listenerView struct {
	Protocol    string  `json:"protocol"`
	Local       endView `json:"local"`
	PID         *int64  `json:"pid"`
	ProcessName string  `json:"process_name"`
	spanView
	Filter string `json:"filter"`
}

type endView struct {
	Host *string `json:"host"`
	Port *int64  `json:"port"`
}

func newEndView(end analysis.End) (view endView) {
	if end.Host != "" {
		view.Host = &end.Host
	}
	if end.Port >= 0 {
		view.Port = &end.Port
	}
	return view
}

// listConversations sends the conversations.
func (h *rollupHandler) listConversations(c *echo.Context) error {
	asked, err := rollupParams(c, h.filters, analysis.ConversationSorts())
	if err != nil {
		return err
	}
	page, seq, err := h.rollups.Conversations(c.Request().Context(), asked.sessionID, asked.where, asked.sort, asked.after, asked.limit)
	if err != nil {
		return err
	}
	list := conversationList{
		Conversations: make([]conversationView, len(page.Conversations)), Listeners: make([]listenerView, len(page.Listeners)), Total: page.Total, Others: page.Others,
		WithoutAddress: page.WithoutAddress, WithoutRemote: page.WithoutRemote, Truncated: page.Truncated, Seq: seq, NextCursor: rollupCursor(string(asked.sort), page.Next),
	}
	for i := range page.Conversations {
		list.Conversations[i] = newConversationView(&page.Conversations[i])
	}
	for i := range page.Listeners {
		l := &page.Listeners[i]
		list.Listeners[i] = listenerView{l.Protocol, newEndView(l.Local), l.PID, l.Process, newSpanView(&l.Seen), l.Filter}
	}
	return c.JSON(http.StatusOK, list)
}

func newConversationView(c *analysis.Conversation) conversationView {
	view := conversationView{
		ID: c.ID, Protocol: c.Protocol, Names: orEmpty(c.Names), Local: newEndView(c.Local), Remote: newEndView(c.Remote), Hosts: orEmpty(c.Hosts),
		PID: c.PID, ProcessName: c.Process, Processes: make([]processCount, len(c.Processes)), RemotePID: c.RemotePID, RemoteProcessName: c.RemoteProcess,
		Packets: c.Packets, PacketBytes: c.PacketBytes, Calls: c.Calls, CallBytes: c.CallBytes, Errors: c.Errors, Opened: c.Opened,
		Bytes: c.Bytes, BytesOf: "packets", SentBytes: c.SentBytes, ReceivedBytes: c.ReceivedBytes, spanView: newSpanView(&c.Seen), Filter: c.Filter,
	}
	if c.ByCalls {
		view.BytesOf = "calls"
	}
	for i, p := range c.Processes {
		view.Processes[i] = processCount(p)
	}
	return view
}

// rollupAsked has the parameters of all rollup requests.
type rollupAsked[Sort ~string] struct {
	sessionID string
	where     *filter.Filter
	sort      Sort
	after     *analysis.Position
	limit     int
}

// rollupParams reads the parameters of a rollup. sorts are its sorts, the default
// first.
func rollupParams[Sort ~string](c *echo.Context, filters Filters, sorts []Sort) (asked rollupAsked[Sort], err error) {
	if asked.sessionID, asked.where, err = sessionAndFilter(c, filters); err != nil {
		return asked, err
	}
	if asked.limit, err = limitParam(c, "limit", defaultGroups, maxGroups); err != nil {
		return asked, err
	}
	asked.sort = sorts[0]
	if text := c.QueryParam("sort"); text != "" {
		if asked.sort = Sort(text); !slices.Contains(sorts, asked.sort) {
			return asked, models.Errorf(models.CodeInvalid, "sort must be one of %s, not %.100q", joined(sorts), text)
		}
	}
	asked.after, err = rollupCursorParam(c, string(asked.sort))
	return asked, err
}

func joined[Text ~string](texts []Text) string {
	var b strings.Builder
	for i, text := range texts {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(string(text))
	}
	return b.String()
}

// pathParam reads which paths to include; nil means all.
func pathParam(c *echo.Context) (selected func(path string) bool, err error) {
	text := c.QueryParam("q")
	switch {
	case text == "":
		return nil, nil
	case len(text) > maxPathText:
		return nil, models.Errorf(models.CodeInvalid, "q is %d bytes long; at most %d are taken", len(text), maxPathText)
	}
	where := filter.TargetContains(text)
	var e models.Event
	return func(path string) bool {
		e.Target = &path
		return where.Match(&e)
	}, nil
}

// rollupCursor encodes a place in a sorted list, as encodeCursor does; nil for none.
func rollupCursor(sort string, at *analysis.Position) *string {
	if at == nil {
		return nil
	}
	text := sort + " " + strconv.FormatInt(at.Number, 10) + " " + at.Name
	sum := sha256.Sum256([]byte(text))
	cursor := base64.RawURLEncoding.EncodeToString(append(sum[:cursorCheckLen], text...))
	return &cursor
}

// rollupCursorParam decodes a cursor of rollupCursor for the same sort; nil if there is
// none.
func rollupCursorParam(c *echo.Context, sort string) (*analysis.Position, error) {
	text := c.QueryParam("cursor")
	if text == "" {
		return nil, nil // from the beginning of the list
	}
	if raw, err := base64.RawURLEncoding.Strict().DecodeString(text); err == nil && len(raw) > cursorCheckLen {
		_, rest, _ := strings.Cut(string(raw[cursorCheckLen:]), " ")
		number, name, _ := strings.Cut(rest, " ")
		n, err := strconv.ParseInt(number, 10, 64)
		at := &analysis.Position{Number: n, Name: name}
		if again := rollupCursor(sort, at); err == nil && *again == text {
			return at, nil
		}
	}
	return nil, models.Errorf(models.CodeInvalid, "cursor must be a next_cursor of this list, sorted by %s, not %.100q", sort, text)
}
