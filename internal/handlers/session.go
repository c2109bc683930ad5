package handlers

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v5"

	"ospulse/internal/agentclient"
	"ospulse/internal/compat"
	"ospulse/internal/jsonscan"
	"ospulse/internal/models"
	"ospulse/internal/service"
)

// multipartOverhead is the most bytes of a multipart body besides its file.
const multipartOverhead = 1 << 20

// SessionService is what the session routes need; *service.Sessions implements
// it and documents its contracts.
type SessionService interface {
	Create(ctx context.Context, agent, fileName string, content io.Reader, maxBytes int64) (session *models.Session, pending, err error)
	ListProcesses(ctx context.Context, sessionID, agent string) ([]agentclient.Process, error)
	Copy(ctx context.Context, id, agent string) (session *models.Session, pending, err error)
	Start(ctx context.Context, id, agent string, what models.Monitoring) (*models.Session, error)
	AwaitStart(ctx context.Context, session *models.Session) (*models.Session, error)
	Stop(ctx context.Context, id string) (service.StopOutcome, error)
}

type sessionHandler struct {
	sessions       SessionService
	maxBodyBytes   int64
	maxUploadBytes int64
	dashboards     *compat.Dashboards
}

// created is the answer to an upload.
type created struct {
	SessionID string       `json:"sessionId"`
	FileName  string       `json:"fileName"`
	SHA256    string       `json:"sha256"`
	SizeBytes int64        `json:"sizeBytes"`
	State     models.State `json:"state"`
	Delivered bool         `json:"delivered"` // the agent has the file
	Warning   string       `json:"warning,omitempty"`
}

// create stores the target file, streamed to disk, and creates a session for it.
func (h *sessionHandler) create(c *echo.Context) error {
	request := *c.Request()
	limit := h.maxUploadBytes + multipartOverhead
	if request.ContentLength > limit {
		return uploadError(&http.MaxBytesError{Limit: limit})
	}
	request.Body = http.MaxBytesReader(c.Response(), request.Body, limit)
	reader, err := request.MultipartReader()
	if err != nil {
		return models.Wrap(err, models.CodeUnsupportedMedia, "the Content-Type must be multipart/form-data with the file in a field named file")
	}
	part, agent, err := filePart(reader)
	if err != nil {
		return err
	}
	session, pending, err := h.sessions.Create(request.Context(), cmp.Or(agent, c.QueryParam("agent")), fileName(part), upload{part}, h.maxUploadBytes)
	if err != nil {
		return err
	}
	noteFile(c, session)
	return c.JSON(http.StatusOK, newCreated(c, session, pending))
}

// copy creates another session of the same target file, which can be started.
func (h *sessionHandler) copy(c *echo.Context) error {
	session, pending, err := h.sessions.Copy(c.Request().Context(), c.Param("sessionId"), c.QueryParam("agent"))
	if err != nil {
		return err
	}
	noteFile(c, session)
	return c.JSON(http.StatusOK, newCreated(c, session, pending))
}

// noteFile notes a new session for the audit.
func noteFile(c *echo.Context, session *models.Session) {
	n := note(c)
	n.sessionID = session.ID
	n.changed(nil, map[string]any{"file_name": session.FileName, "sha256": session.FileSHA256})
}

func newCreated(c *echo.Context, session *models.Session, pending error) created {
	answer := created{
		SessionID: session.ID, FileName: session.FileName, SHA256: *session.FileSHA256, SizeBytes: session.FileSizeBytes,
		State: session.State(), Delivered: session.Delivered(),
	}
	if pending != nil {
		answer.Warning = "delivery to the agent is pending, and will be tried again at start: " + clientError(c, pending).Message
	}
	return answer
}

// maxAgentField is the most bytes of the field agent. No name of an agent is longer.
const maxAgentField = 1000

// filePart advances to the part with the file. It returns the value of the field agent
// before it.
func filePart(reader *multipart.Reader) (file *multipart.Part, agent string, err error) {
	for {
		part, err := reader.NextPart()
		switch {
		case errors.Is(err, io.EOF):
			return nil, "", models.Errorf(models.CodeInvalid, "file is missing: the upload must have a field named file")
		case err != nil:
			return nil, "", uploadError(err)
		case part.FormName() == "file":
			return part, agent, nil
		case part.FormName() == "agent":
			text, err := io.ReadAll(io.LimitReader(part, maxAgentField))
			if err != nil {
				return nil, "", uploadError(err)
			}
			agent = string(text)
		}
	}
}

// upload is a file that a client sends. All its read errors are the request's fault.
type upload struct{ io.Reader }

func (u upload) Read(p []byte) (int, error) {
	n, err := u.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = uploadError(err)
	}
	return n, err
}

// uploadError returns the error of a multipart body.
func uploadError(err error) error {
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return models.Wrap(err, models.CodeTooLarge, "the upload is larger than the file of %d MB that is taken", (tooLarge.Limit-multipartOverhead)>>20)
	}
	if _, ok := errors.AsType[textproto.ProtocolError](err); ok {
		return models.Wrap(err, models.CodeInvalid, "a part of the upload has a malformed header, such as a file name with a control character")
	}
	return bodyError(err)
}

// fileName returns the part's file name as the client sent it, with its path.
func fileName(part *multipart.Part) string {
	if _, params, err := mime.ParseMediaType(part.Header.Get("Content-Disposition")); err == nil {
		return params["filename"]
	}
	return part.FileName()
}

// monitorMode is one entry of the list of modes.
type monitorMode struct {
	ID   models.Mode `json:"id"`
	Mode string      `json:"mode"`
}

// listModes sends the modes under the names that the dashboard shows.
func (h *sessionHandler) listModes(c *echo.Context) error {
	return c.JSON(http.StatusOK, []monitorMode{
		{models.ModeAll, "All Processes"}, {models.ModePIDs, "Specific Processes"}, {models.ModeSpawn, "Spawn Uploaded"},
	})
}

type sessionRequest struct {
	SessionID *string `json:"sessionId"`
}

func (r sessionRequest) id() (string, error) {
	if r.SessionID == nil || *r.SessionID == "" {
		return "", models.Errorf(models.CodeInvalid, "sessionId is missing")
	}
	return *r.SessionID, checkSessionID(*r.SessionID)
}

// readSessionID reads a body that holds only a session's id.
func (h *sessionHandler) readSessionID(c *echo.Context) (string, error) {
	var request sessionRequest
	if err := readJSON(c, h.maxBodyBytes, &request); err != nil {
		return "", err
	}
	return request.id()
}

// pids is a list of process ids. encoding/json alone would read null as 0, and refuse
// 4.0.
type pids []int64

func (p *pids) UnmarshalJSON(text []byte) error {
	var numbers []json.RawMessage
	err := json.Unmarshal(text, &numbers)
	*p = nil
	for _, number := range numbers {
		pid, ok := jsonscan.Integer(number)
		if !ok || jsonscan.Kind(number) == '"' {
			err = strconv.ErrSyntax
		}
		*p = append(*p, pid)
	}
	if err != nil {
		return models.Errorf(models.CodeInvalid, "processes must be an array of whole numbers")
	}
	return nil
}

// listProcesses sends the processes of the agent's machine.
func (h *sessionHandler) listProcesses(c *echo.Context) error {
	var request struct {
		SessionID *string `json:"sessionId"`
		Agent     string  `json:"agent"`
	}
	if err := readJSON(c, h.maxBodyBytes, &request); err != nil {
		return err
	}
	id, err := sessionRequest{request.SessionID}.id()
	if err != nil {
		return err
	}
	processes, err := h.sessions.ListProcesses(c.Request().Context(), id, request.Agent)
	if err != nil {
		return err
	}
	views := make([]agentProcess, len(processes))
	for i := range processes {
		views[i] = newAgentProcess(&processes[i])
	}
	return c.JSON(http.StatusOK, views)
}

// agentProcess is a process on the agent's machine. Fields that the agent omits are
// left out.
type agentProcess struct {
	PID         int64  `json:"pid"`
	Name        string `json:"name"`
	ParentPID   *int64 `json:"parent_pid,omitempty"`
	CommandLine string `json:"command_line,omitempty"`
	User        string `json:"user,omitempty"`
	StartedAt   string `json:"started_at,omitempty"`
}

func newAgentProcess(p *agentclient.Process) agentProcess {
	view := agentProcess{PID: p.PID, Name: p.Name, ParentPID: p.ParentPID, CommandLine: p.CommandLine, User: p.User}
	if !p.StartedAt.IsZero() {
		view.StartedAt = models.FormatTime(p.StartedAt)
	}
	return view
}

// monitored is the answer to a start or a stop.
type monitored struct {
	Message   string       `json:"message"`
	SessionID string       `json:"sessionId"`
	State     models.State `json:"state"`
	Since     *time.Time   `json:"monitoringStarted,omitempty"`
	Until     *time.Time   `json:"monitoringEnded,omitempty"`
	Warning   string       `json:"warning,omitempty"`
	InFlight  *inFlight    `json:"inFlight,omitempty"`
}

// inFlight counts the events of a stopped session that the agent has recorded but not
// delivered. They still arrive.
type inFlight struct {
	Events      int64 `json:"events"`
	Bytes       int64 `json:"bytes"`
	SensorBytes int64 `json:"sensorBytes"`
	Ending      bool  `json:"ending"`
}

func newMonitored(message string, s *models.Session) monitored {
	return monitored{Message: message, SessionID: s.ID, State: s.State(), Since: s.MonitoringStarted, Until: s.MonitoringEnded}
}

// start starts monitoring. It answers after the outcome is known, as existing clients
// expect, or at once if the client prefers that.
func (h *sessionHandler) start(c *echo.Context) error {
	var request struct { // the audit has the members that are not empty
		SessionID *string      `json:"sessionId"` // not embedded: errors name the field by its path
		Mode      *models.Mode `json:"mode"`
		Processes pids         `json:"processes,omitempty"`
		Agent     string       `json:"agent,omitempty"`

		EntryPoint string   `json:"entryPoint,omitempty"`
		Arguments  []string `json:"arguments,omitempty"`

		Network        string `json:"network,omitempty"`
		TimeoutSeconds int    `json:"timeoutSeconds,omitempty"`
		MemoryMB       int    `json:"memoryMB,omitempty"`

		Selection *models.Selection `json:"selection,omitempty"`
	}
	if err := readJSON(c, h.maxBodyBytes, &request); err != nil {
		return err
	}
	id, err := sessionRequest{request.SessionID}.id()
	if err != nil {
		return err
	}
	if request.Mode == nil {
		return models.Errorf(models.CodeInvalid, "mode is missing: 1 (all processes), 2 (chosen processes) or 3 (spawn the uploaded file)")
	}
	n := note(c)
	n.sessionID = auditText(id)
	n.changed(nil, request)
	if err := n.begin(); err != nil {
		return err
	}
	session, err := h.sessions.Start(c.Request().Context(), id, request.Agent, models.Monitoring{
		Mode: *request.Mode, PIDs: request.Processes, EntryPoint: request.EntryPoint, Arguments: request.Arguments,
		Limits:    models.StartLimits{Network: request.Network, TimeoutSeconds: request.TimeoutSeconds, MemoryMB: request.MemoryMB},
		Selection: request.Selection,
	})
	if err != nil {
		return err
	}
	h.dashboards.SetStarted(c.Request(), session.ID)
	if session.State() == models.StateStarting && prefersAsync(c.Request()) {
		c.Response().Header().Set("Preference-Applied", "respond-async")
		return c.JSON(http.StatusAccepted, newMonitored("monitoring is starting", session))
	}
	if session, err = h.sessions.AwaitStart(c.Request().Context(), session); err != nil {
		return err
	}
	return c.JSON(http.StatusOK, newMonitored("monitoring started successfully", session))
}

// prefersAsync reports whether the client prefers an answer before the outcome is known
// (RFC 7240).
func prefersAsync(r *http.Request) bool {
	for _, line := range r.Header.Values("Prefer") {
		for preference := range strings.SplitSeq(line, ",") {
			name, _, _ := strings.Cut(preference, ";")
			if strings.EqualFold(strings.TrimSpace(name), "respond-async") {
				return true
			}
		}
	}
	return false
}

// stop stops monitoring.
func (h *sessionHandler) stop(c *echo.Context) error {
	id, err := h.readSessionID(c)
	if err != nil {
		return err
	}
	n := note(c)
	n.sessionID = auditText(id)
	if err := n.begin(); err != nil {
		return err
	}
	stopped, err := h.sessions.Stop(c.Request().Context(), id)
	if err != nil {
		return err
	}
	answer := newMonitored("monitoring stopped successfully", stopped.Session)
	switch {
	case stopped.Session.State() == models.StateStarting:
		answer.Message = "monitoring is being stopped"
		answer.Warning = "it is not known yet whether the agent has started. The backend stops the session as soon as it knows"
	case stopped.Warning != nil:
		answer.Warning = "the session has ended, but the backend could not tell the agent. It will try again: " + clientError(c, stopped.Warning).Message
	}
	if in := stopped.InFlight; in != nil {
		answer.InFlight = &inFlight{in.Events, in.Bytes, in.SensorBytes, in.Ending}
	}
	return c.JSON(http.StatusOK, answer)
}
