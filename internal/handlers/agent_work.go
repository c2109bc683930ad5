package handlers

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"time"

	"github.com/labstack/echo/v5"

	"ospulse/internal/jsonscan"
	"ospulse/internal/models"
)

// AgentWork carries requests to agents that fetch them. *service.AgentWork implements it and
// documents its contracts.
type AgentWork interface {
	Fetch(ctx context.Context, agentID string, wait time.Duration) (*models.AgentRequest, error)
	Answer(ctx context.Context, agentID, id string, status int, body []byte) error
	OpenFile(ctx context.Context, agentID, id string) (io.ReadSeekCloser, error)
}

// A request for work waits usualWorkWait seconds, or as many as it says up to maxWorkWait.
// That is shorter than the minute in which many proxies end a silent connection.
const (
	usualWorkWait = 25
	maxWorkWait   = 50
)

type agentWorkHandler struct {
	work         AgentWork
	maxBodyBytes int64
}

// workView is the JSON form of a request to an agent.
type workView struct {
	ID      string          `json:"id"`
	Method  string          `json:"method"`
	Path    string          `json:"path"`
	StartID string          `json:"start_id"`
	Body    json.RawMessage `json:"body"`
	HasFile bool            `json:"has_file"`
}

// fetch sends the next request for the agent, or null if none comes in time.
func (h *agentWorkHandler) fetch(c *echo.Context) error {
	agentID, err := workAgent(c)
	if err != nil {
		return err
	}
	seconds, err := limitParam(c, "wait", usualWorkWait, maxWorkWait)
	if err != nil {
		return err
	}
	request, err := h.work.Fetch(c.Request().Context(), agentID, time.Duration(seconds)*time.Second)
	if err != nil {
		return err
	}
	c.Response().Header().Set("Cache-Control", "no-store")
	if request == nil {
		return c.JSON(http.StatusOK, map[string]*workView{"work": nil})
	}
	view := workView{request.ID, request.Method, request.Path, request.StartID, json.RawMessage("null"), request.FileSHA256 != ""}
	if len(request.Body) > 0 {
		view.Body = request.Body
	}
	return c.JSON(http.StatusOK, map[string]*workView{"work": &view})
}

// answer takes an agent's answer to a request.
func (h *agentWorkHandler) answer(c *echo.Context) error {
	agentID, err := workAgent(c)
	if err != nil {
		return err
	}
	status, err := limitParam(c, "status", http.StatusOK, 599)
	if err != nil {
		return err
	}
	body, err := readBody(c, h.maxBodyBytes, jsonType)
	if err != nil {
		return err
	}
	if _, err := jsonscan.Check(body); err != nil {
		return models.Errorf(models.CodeInvalid, "malformed JSON: %v", err)
	}
	if err := h.work.Answer(c.Request().Context(), agentID, c.Param("workId"), status, body); err != nil {
		return err
	}
	return c.JSON(http.StatusOK, map[string]string{"status": "ok"})
}

// file sends the target file of a request.
func (h *agentWorkHandler) file(c *echo.Context) error {
	agentID, err := workAgent(c)
	if err != nil {
		return err
	}
	content, err := h.work.OpenFile(c.Request().Context(), agentID, c.Param("workId"))
	if err != nil {
		return err
	}
	defer content.Close()
	writer := newPatientWriter(c.Response(), sendTimeout)
	setDownload(writer.Header(), "file", "application/octet-stream")
	http.ServeContent(writer, c.Request(), "", time.Time{}, content)
	return brokenOff(writer.finish())
}

// workAgent returns the agent whose key sent the request.
func workAgent(c *echo.Context) (string, error) {
	if id := models.ActorOf(c.Request().Context()).AgentID; id != "" {
		return id, nil
	}
	return "", models.Errorf(models.CodeForbidden, "work is given to the key of an agent only: enroll the agent")
}
