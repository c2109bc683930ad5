package handlers

import (
	"bytes"
	"context"
	"encoding/json"
	"iter"
	"net/http"
	"strconv"
	"sync"

	"github.com/labstack/echo/v5"

	"ospulse/internal/models"
)

// AuditService reads the audit. *service.Audit implements it and documents its contracts.
type AuditService interface {
	List(ctx context.Context, filter models.AuditFilter) (entries []models.AuditEntry, hasMore bool, err error)
	All(ctx context.Context, filter models.AuditFilter) iter.Seq2[[]models.AuditEntry, error]
}

// Entries per page of the audit.
const (
	defaultAuditLimit = 100
	maxAuditLimit     = 1000
)

type auditHandler struct{ audit AuditService }

// auditView is the JSON form of an entry.
type auditView struct {
	ID        int64           `json:"id"`
	At        string          `json:"at"`
	KeyID     string          `json:"key_id"`
	Actor     string          `json:"actor"`
	Role      models.Role     `json:"role"`
	Address   string          `json:"address"`
	Action    string          `json:"action"`
	SessionID string          `json:"session_id"`
	Target    string          `json:"target"`
	Before    json.RawMessage `json:"before"` // null if unknown
	After     json.RawMessage `json:"after"`  // null if unknown
	State     string          `json:"state"`
	Status    int             `json:"status"` // 0 if not finished
	Code      models.Code     `json:"code"`
	RequestID string          `json:"request_id"`
}

func newAuditView(e *models.AuditEntry) auditView {
	view := auditView{
		ID: e.ID, At: models.FormatTime(e.At), KeyID: e.KeyID, Actor: e.ActorName, Role: e.Role, Address: e.Address, Action: e.Action, SessionID: e.SessionID,
		Target: e.Target, State: "finished", Status: e.Status, Code: e.Code, RequestID: e.RequestID,
	}
	if e.Status == 0 {
		view.State = "not finished"
	}
	if e.Before != "" {
		view.Before = json.RawMessage(e.Before)
	}
	if e.After != "" {
		view.After = json.RawMessage(e.After)
	}
	return view
}

// list sends a page of entries, or all of them as a download.
func (h *auditHandler) list(c *echo.Context) error {
	filter, err := auditFilter(c)
	if err != nil {
		return err
	}
	switch format := c.QueryParam("format"); format {
	case "", "json":
	case "ndjson":
		return h.download(c, filter)
	default:
		return models.Errorf(models.CodeInvalid, "format must be json or ndjson, not %.100q", format)
	}
	entries, hasMore, err := h.audit.List(c.Request().Context(), filter)
	if err != nil {
		return err
	}
	page := struct {
		Entries []auditView `json:"entries"`
		Next    *int64      `json:"next"`
	}{Entries: make([]auditView, len(entries))}
	for i := range entries {
		page.Entries[i] = newAuditView(&entries[i])
	}
	if hasMore {
		page.Next = &entries[len(entries)-1].ID
	}
	return c.JSON(http.StatusOK, page)
}

func auditFilter(c *echo.Context) (filter models.AuditFilter, err error) {
	if filter.From, err = timeParam(c, "from"); err != nil {
		return filter, err
	}
	if filter.To, err = timeParam(c, "to"); err != nil {
		return filter, err
	}
	for name, text := range map[string]*string{"actor": &filter.Actor, "action": &filter.Action, "session": &filter.SessionID} {
		if *text, err = textParam(c, name); err != nil {
			return filter, err
		}
	}
	if text := c.QueryParam("before"); text != "" {
		if filter.BeforeID, err = strconv.ParseInt(text, 10, 64); err != nil || filter.BeforeID < 1 {
			return filter, models.Errorf(models.CodeInvalid, "before must be the ID of an entry, not %.100q", text)
		}
	}
	filter.Limit, err = limitParam(c, "limit", defaultAuditLimit, maxAuditLimit)
	return filter, err
}

// download sends all entries, one per line.
func (h *auditHandler) download(c *echo.Context, filter models.AuditFilter) error {
	response := newPatientWriter(c.Response(), sendTimeout)
	begin := sync.OnceFunc(func() {
		setDownload(response.Header(), "os-pulse-audit.ndjson", ndjsonType)
		response.WriteHeader(http.StatusOK)
	})
	var out bytes.Buffer
	hasBegun := false
	for entries, err := range h.audit.All(c.Request().Context(), filter) {
		if err != nil && hasBegun {
			return brokenOff(err)
		}
		if err != nil {
			return err
		}
		begin()
		hasBegun = true
		encoder := json.NewEncoder(&out)
		for i := range entries {
			if err := encoder.Encode(newAuditView(&entries[i])); err != nil {
				return brokenOff(err)
			}
		}
		if _, err := out.WriteTo(response); err != nil {
			return brokenOff(err)
		}
	}
	begin()
	return brokenOff(response.finish())
}
