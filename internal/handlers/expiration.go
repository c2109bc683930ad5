package handlers

import (
	"context"
	"net/http"
	"strconv"

	"github.com/labstack/echo/v5"

	"ospulse/internal/models"
	"ospulse/internal/service"
)

// Expirations per page.
const defaultExpirations, maxExpirations = 50, 500

// ExpirationService lists what expired. *service.Expirations implements it and documents
// its contracts.
type ExpirationService interface {
	List(ctx context.Context, page models.ExpirationPage) (service.ExpirationList, error)
	RemoveEvents(ctx context.Context, sessionID string) (upTo int64, err error)
}

type expirationHandler struct{ expirations ExpirationService }

// expirationView is a record of what expired.
type expirationView struct {
	ID        uint64            `json:"id"`
	SessionID string            `json:"session_id"`
	Whole     bool              `json:"whole"` // the session itself was removed
	Name      string            `json:"name"`
	FileName  string            `json:"file_name"`
	FirstSeq  int64             `json:"first_seq"`
	LastSeq   int64             `json:"last_seq"` // first_seq − 1 for a session without events
	Events    int64             `json:"events"`
	Rule      models.ExpiryRule `json:"rule"`
	Setting   string            `json:"setting"`
	SizeBytes int64             `json:"size_bytes"` // estimated
	AgeFrom   string            `json:"age_from"`
	ExpiredAt string            `json:"expired_at"`
}

func newExpirationViews(list []models.Expiration) []expirationView {
	views := make([]expirationView, len(list))
	for i := range list {
		e := &list[i]
		views[i] = expirationView{
			ID: e.ID, SessionID: e.SessionID, Whole: e.Whole, Name: e.Name, FileName: e.FileName,
			FirstSeq: e.FirstSeq, LastSeq: e.LastSeq, Events: e.EventCount(), Rule: e.Rule, Setting: e.Setting,
			SizeBytes: e.SizeBytes, AgeFrom: models.FormatTime(e.At), ExpiredAt: models.FormatTime(e.ExpiredAt),
		}
	}
	return views
}

// list sends a page of expirations, newest first.
func (h *expirationHandler) list(c *echo.Context) error {
	page := models.ExpirationPage{}
	var err error
	if page.SessionID, err = textParam(c, "session"); err != nil {
		return err
	}
	if text := c.QueryParam("before"); text != "" {
		if page.Before, err = strconv.ParseUint(text, 10, 63); err != nil || page.Before == 0 {
			return models.Errorf(models.CodeInvalid, "before must be the id of an expiration, not %.100q", text)
		}
	}
	if page.Limit, err = limitParam(c, "limit", defaultExpirations, maxExpirations); err != nil {
		return err
	}
	list, err := h.expirations.List(c.Request().Context(), page)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, struct {
		Expirations []expirationView `json:"expirations"`
		HasMore     bool             `json:"has_more"`
		Sessions    int64            `json:"sessions"` // that expired as a whole
		Since       *string          `json:"since"`    // when the first of them did
	}{newExpirationViews(list.Expirations), list.More, list.Sessions, optionalTime(list.Since)})
}

// removeEvents accepts a request to remove the events that a session has now.
func (h *expirationHandler) removeEvents(c *echo.Context) error {
	id, err := sessionIDParam(c)
	if err != nil {
		return err
	}
	upTo, err := h.expirations.RemoveEvents(c.Request().Context(), id)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusAccepted, map[string]any{"status": "deleting", "up_to_seq": upTo})
}
