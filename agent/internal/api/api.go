//go:build linux

// Package api is the agent's HTTP service: the agent side of the wire contract. It must
// not know how sessions are run: a Monitor runs them.
package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os/user"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"ospulse/agent/internal/event"
	"ospulse/agent/internal/journal"
	"ospulse/agent/internal/monitor"
	"ospulse/agent/internal/procfs"
	"ospulse/agent/internal/selection"
)

const (
	maxBodyBytes = 1 << 20  // of JSON
	maxFormBytes = 64 << 10 // of an upload's form, without the file
	maxIDBytes   = 200

	requestTime = 2 * time.Minute
	uploadTime  = 15 * time.Minute
	// stopTime is how long a stop waits for the end of the session. It must be shorter
	// than the 5 s that backends wait.
	stopTime = 3500 * time.Millisecond
)

// Service is the name that /health reports.
const Service = "os-pulse-agent"

// Monitor runs sessions.
type Monitor interface {
	Start(ctx context.Context, r monitor.Request) (pid int, err error)
	FindStart(id string) journal.Start
	Stop(ctx context.Context, id, startID string) (monitor.Stopped, error)
	Sessions() int
}

// Options are the settings of the service.
type Options struct {
	Monitor        Monitor
	Uploads        *Uploads
	MaxUploadBytes int64
	Health         func() map[string]any // further fields of /health
	// Arguments returns the first maxBytes of the arguments of a process, split into
	// arguments, and whether there are more.
	Arguments func(ctx context.Context, pid, maxBytes int) (args []string, isCut bool, err error)
	// InFlight returns what the agent has not delivered of a session.
	InFlight func(sessionID string) InFlight
	Guard    Guard
	Log      *slog.Logger
}

// InFlight counts what the agent has seen and not delivered.
type InFlight struct {
	Events      int64 `json:"events"`      // events of the session, in memory or on disk
	Bytes       int64 `json:"bytes"`       // the size of these events
	SensorBytes int64 `json:"sensorBytes"` // in the kernel's buffer, for all sessions
}

type service struct{ Options }

// New returns the handler of all routes, behind the guard.
func New(options Options) http.Handler { return options.Guard.wrap(Routes(options)) }

// Routes returns the handler of all routes without the guard.
func Routes(options Options) http.Handler {
	s := service{options}
	mux := http.NewServeMux()
	handle := func(pattern string, limit time.Duration, h func(http.ResponseWriter, *http.Request) error) {
		timed := s.handler(limit, h)
		mux.Handle(pattern, timed)
		mux.Handle(pattern+"/{$}", timed)
	}
	for _, path := range []string{"/api/upload-file", "/api/upload"} {
		handle("POST "+path, uploadTime, s.upload)
	}
	for _, path := range []string{"/api/list-processes", "/api/processes"} {
		handle("POST "+path, requestTime, s.processes)
		handle("GET "+path, requestTime, s.processes)
	}
	for _, path := range []string{"/api/start-monitor", "/api/monitor/start"} {
		handle("POST "+path, requestTime, s.start)
	}
	for _, path := range []string{"/api/stop-monitor", "/api/monitor/stop"} {
		handle("POST "+path, requestTime, s.stop)
	}
	handle("GET /api/starts/{id}", requestTime, s.findStart)
	for _, path := range []string{"/health", "/api/health"} {
		handle("GET "+path, requestTime, s.health)
	}
	return plainErrors(mux)
}

// failure is an error that the client receives.
type failure struct {
	status int
	text   string
	code   string // "" for none
}

func (f *failure) Error() string { return f.text }

func fail(status int, format string, args ...any) error {
	return &failure{status: status, text: fmt.Sprintf(format, args...)}
}

// handler bounds the time of a request and writes its error.
func (s service) handler(limit time.Duration, h func(http.ResponseWriter, *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		control := http.NewResponseController(w)
		// A recorder in a test has no deadlines; there the context bounds the request.
		_ = control.SetReadDeadline(began.Add(limit))
		_ = control.SetWriteDeadline(began.Add(limit + time.Minute))
		ctx, cancel := context.WithTimeout(r.Context(), limit)
		defer cancel()
		err := h(w, r.WithContext(ctx))
		if err == nil {
			return
		}
		var f *failure
		if !errors.As(err, &f) {
			s.Log.Error("a request failed", "path", r.URL.Path, "error", err)
			f = &failure{status: http.StatusInternalServerError, text: "the agent failed: " + err.Error()}
		}
		body := map[string]string{"error": f.text}
		if f.code != "" {
			body["code"] = f.code
		}
		answer(w, f.status, body)
	})
}

func answer(w http.ResponseWriter, status int, value any) {
	text, err := json.Marshal(value)
	if err != nil {
		status, text = http.StatusInternalServerError, []byte(`{"error":"cannot encode the answer"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(append(text, '\n')) // the client may be gone
}

func (s service) upload(w http.ResponseWriter, r *http.Request) error {
	form, err := r.MultipartReader()
	if err != nil {
		return fail(http.StatusBadRequest, "no file: send multipart/form-data with the field file")
	}
	limit := s.MaxUploadBytes
	tooLarge := fail(http.StatusRequestEntityTooLarge, "the file is larger than %d MB", limit>>20)
	if r.ContentLength > limit+maxFormBytes {
		drain(r.Body, limit)
		return tooLarge
	}
	for range 100 {
		part, err := form.NextRawPart()
		switch {
		case errors.Is(err, io.EOF):
			return fail(http.StatusBadRequest, "no file: the form has no field file")
		case err != nil:
			return fail(http.StatusBadRequest, "the form is incomplete or malformed")
		}
		if part.FormName() != "file" {
			if n, err := io.Copy(io.Discard, io.LimitReader(part, maxFormBytes+1)); err != nil || n > maxFormBytes {
				return fail(http.StatusBadRequest, "a field of the form is incomplete or too long")
			}
			continue
		}
		name := part.FileName()
		if name == "" {
			return fail(http.StatusBadRequest, "no file was selected: the field file has no file name")
		}
		body := &readErrors{Reader: part}
		saved, sum, err := s.Uploads.Save(name, body, limit)
		switch {
		case errors.Is(err, errTooLarge):
			drain(r.Body, limit)
			return tooLarge
		case body.err != nil:
			return fail(http.StatusBadRequest, "the file is incomplete")
		case err != nil:
			return err
		}
		s.Log.Info("file uploaded", "name", saved, "sha256", sum)
		answer(w, http.StatusOK, map[string]any{
			"message": "file uploaded successfully", "filename": saved,
			"path": filepath.Join(s.Uploads.folder, saved), "sha256": sum,
		})
		return nil
	}
	return fail(http.StatusBadRequest, "no file among the first 100 fields of the form")
}

// readErrors keeps the error of its Reader, to distinguish a fault of the client from one of
// the disk.
type readErrors struct {
	io.Reader
	err error
}

func (r *readErrors) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = err
	}
	return n, err
}

// drain reads the rest of a body, up to limit bytes. A client reads the answer only after
// it has sent its request.
func drain(body io.Reader, limit int64) {
	_, _ = io.Copy(io.Discard, io.LimitReader(body, limit)) // an error also ends the copy
}

// process is one entry of the list of processes: the fields of the contract, and what a
// person needs to tell processes of the same name apart. Unknown fields are omitted.
type process struct {
	PID         int    `json:"pid"`
	Name        string `json:"name"`
	ParentPID   int    `json:"parentPid"`
	CommandLine string `json:"commandLine,omitempty"`
	User        string `json:"user,omitempty"` // the number, if the user has no name
	StartTime   string `json:"startTime"`
}

// maxCommandLine is the longest command line in the list, in bytes. argumentsTime bounds
// the time for reading the arguments of all processes.
const (
	maxCommandLine = 1024
	argumentsTime  = 5 * time.Second
)

func (s service) processes(w http.ResponseWriter, r *http.Request) error {
	list, err := procfs.List()
	if err != nil {
		return err
	}
	processes := make([]process, len(list))
	users := userNames{}
	ctx, cancel := context.WithTimeout(r.Context(), argumentsTime)
	defer cancel()
	for i, p := range list {
		args, isCut, _ := s.Arguments(ctx, p.PID, maxCommandLine) // omitted if unknown
		if len(args) > 0 && p.IsCut() && strings.HasPrefix(path.Base(args[0]), p.Name) {
			p.Name = path.Base(args[0])
		}
		processes[i] = process{
			PID: p.PID, Name: strings.ToValidUTF8(p.Name, "\uFFFD"), ParentPID: p.ParentPID, CommandLine: commandLine(args, isCut),
			User: users.of(procfs.UserID(p.PID)), StartTime: string(event.AppendTime(nil, p.Start)),
		}
	}
	answer(w, http.StatusOK, processes)
	return nil
}

// commandLine returns the beginning of a command line, in the form that events use.
func commandLine(args []string, isCut bool) string {
	creation := event.Creation{Args: args, ArgsCut: isCut}
	text := strings.ToValidUTF8(creation.CommandLine(), "\uFFFD")
	if len(text) <= maxCommandLine {
		return text
	}
	text = text[:maxCommandLine]
	for !utf8.ValidString(text[max(len(text)-utf8.UTFMax, 0):]) { // a character was cut
		text = text[:len(text)-1]
	}
	return text
}

// userNames caches the names of users by their number.
type userNames map[int]string

func (n userNames) of(id int) string {
	if id < 0 { // the process is gone
		return ""
	}
	name, known := n[id]
	if !known {
		name = strconv.Itoa(id)
		if found, err := user.LookupId(name); err == nil {
			name = strings.ToValidUTF8(found.Username, "\uFFFD")
		}
		n[id] = name
	}
	return name
}

func (s service) start(w http.ResponseWriter, r *http.Request) error {
	var asked struct {
		SessionID string   `json:"sessionId"`
		FileName  string   `json:"fileName"`
		Mode      *number  `json:"mode"`
		Processes []number `json:"processes"`

		// Fields beyond the contract, for the file that is spawned.
		EntryPoint string   `json:"entryPoint"`
		Arguments  []string `json:"arguments"`

		Network        string `json:"network"`
		TimeoutSeconds int    `json:"timeoutSeconds"`
		MemoryMB       int    `json:"memoryMB"`

		Selection *selection.Selection `json:"selection"`
	}
	if err := decode(w, r, &asked); err != nil {
		return err
	}
	if err := checkID("sessionId", asked.SessionID); err != nil {
		return err
	}
	start, err := startID(r)
	if err != nil {
		return err
	}
	if asked.Mode == nil {
		return fail(http.StatusBadRequest, "mode is missing: 1 (all processes), 2 (specific processes) or 3 (spawn the uploaded file)")
	}
	if len(asked.Processes) > 1000 {
		return fail(http.StatusBadRequest, "processes has %d pids: up to 1000 can be monitored", len(asked.Processes))
	}
	for _, text := range append(asked.Arguments, asked.EntryPoint) {
		if strings.ContainsRune(text, 0) {
			return fail(http.StatusBadRequest, "arguments and entryPoint must not contain NUL")
		}
	}
	request := monitor.Request{
		SessionID: asked.SessionID, StartID: start, FileName: asked.FileName, Mode: int(*asked.Mode), Selection: asked.Selection,
		Command: monitor.Command{EntryPoint: asked.EntryPoint, Arguments: asked.Arguments, Limits: monitor.Limits{Network: asked.Network, TimeoutSeconds: asked.TimeoutSeconds, MemoryMB: asked.MemoryMB}},
	}
	for _, pid := range asked.Processes {
		request.PIDs = append(request.PIDs, int(pid))
	}
	pid, err := s.Monitor.Start(r.Context(), request)
	if refusal, ok := errors.AsType[*monitor.Refusal](err); ok {
		return &failure{http.StatusBadRequest, refusal.Text, refusal.Code}
	}
	if err != nil {
		return err
	}
	answer(w, http.StatusOK, map[string]any{
		"message": "monitoring started successfully", "sessionId": asked.SessionID, "monitoringPid": pid, "mode": request.Mode,
	})
	return nil
}

// findStart answers with the state of a start. If the id is not known, it answers 200
// with the state unknown, because a 404 means that the agent has no such route.
func (s service) findStart(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("id")
	if err := checkID("the id", id); err != nil {
		return err
	}
	start, at := s.Monitor.FindStart(id), ""
	if !start.At.IsZero() {
		at = string(event.AppendTime(nil, start.At))
	}
	answer(w, http.StatusOK, map[string]any{
		"startId": id, "sessionId": start.SessionID, "state": start.State, "monitoringPid": start.ProcessID,
		"code": start.Code, "reason": start.Reason, "at": at,
	})
	return nil
}

func (s service) stop(w http.ResponseWriter, r *http.Request) error {
	var asked struct {
		SessionID string `json:"sessionId"`
	}
	if err := decode(w, r, &asked); err != nil {
		return err
	}
	if err := checkID("sessionId", asked.SessionID); err != nil {
		return err
	}
	start, err := startID(r)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), stopTime)
	defer cancel()
	stopped, err := s.Monitor.Stop(ctx, asked.SessionID, start)
	if err != nil {
		return err
	}
	message := "monitoring stopped successfully"
	switch {
	case !stopped.Over:
		message = "monitoring is being stopped"
	case !stopped.Known:
		message = "monitoring was not running"
	}
	inFlight := s.InFlight(asked.SessionID)
	if stopped.Over {
		inFlight.SensorBytes = 0 // the sensor has read all events of this session
	}
	answer(w, http.StatusOK, map[string]any{"message": message, "sessionId": asked.SessionID, "stopped": stopped.Over, "inFlight": inFlight})
	return nil
}

func (s service) health(w http.ResponseWriter, r *http.Request) error {
	fields := map[string]any{}
	if s.Guard.knows(r) { // without the key, report only the fields of the contract
		fields = s.Health()
	}
	fields["status"], fields["service"], fields["active_sessions"] = "healthy", Service, s.Monitor.Sessions()
	answer(w, http.StatusOK, fields)
	return nil
}

// startID returns the backend's id of a start, or "" if the request has none. The id is
// in a header, because older agents may reject a body with an unknown field.
func startID(r *http.Request) (string, error) {
	id := r.Header.Get("X-OSPulse-Start")
	if id == "" {
		return "", nil
	}
	return id, checkID("X-OSPulse-Start", id)
}

func checkID(field, id string) error {
	switch {
	case id == "":
		return fail(http.StatusBadRequest, "%s is missing", field)
	case len(id) > maxIDBytes, strings.ContainsFunc(id, unicode.IsControl):
		return fail(http.StatusBadRequest, "%s must be up to %d bytes without control characters", field, maxIDBytes)
	}
	return nil
}

// number is an integer. Some clients send it as a string.
type number int

// UnmarshalJSON reads 3 and "3".
func (n *number) UnmarshalJSON(text []byte) error {
	value, err := strconv.ParseInt(strings.Trim(string(text), `"`), 10, 32)
	if err != nil {
		return &failure{status: http.StatusBadRequest, text: fmt.Sprintf("mode and processes must be integers, not %.50s", text)}
	}
	*n = number(value)
	return nil
}

// decode reads a body that is one JSON object.
func decode(w http.ResponseWriter, r *http.Request, into any) error {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBodyBytes))
	if err != nil {
		if errors.As(err, new(*http.MaxBytesError)) {
			return fail(http.StatusRequestEntityTooLarge, "the body is larger than 1 MB")
		}
		return fail(http.StatusBadRequest, "the body is incomplete")
	}
	err = json.Unmarshal(body, into)
	var own *failure
	var kind *json.UnmarshalTypeError
	switch {
	case err == nil && strings.TrimSpace(string(body)) == "null":
		return fail(http.StatusBadRequest, "the body must be a JSON object")
	case err == nil:
		return nil
	case errors.As(err, &own):
		return own
	case errors.As(err, &kind) && kind.Field != "":
		return fail(http.StatusBadRequest, "%s must not be a JSON %s", kind.Field, kind.Value)
	default:
		return fail(http.StatusBadRequest, "the body must be a JSON object")
	}
}

// Serve serves on the listener until ctx ends. It then answers the requests that it has
// received, for the duration of shutdown at most.
func Serve(ctx context.Context, listener net.Listener, handler http.Handler, shutdown time.Duration, log *slog.Logger) error {
	var unused unusedConnections
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, ConnState: unused.track,
		ConnContext:    withConnection,
		MaxHeaderBytes: 64 << 10, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	select {
	case err := <-ended:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdown)
	defer cancel()
	// Shutdown would wait 5 s for connections that have sent nothing, such as spare ones in
	// a client's pool.
	defer time.AfterFunc(shutdown/4, unused.close).Stop()
	var err error
	if server.Shutdown(last) != nil {
		log.Warn("requests are cut off, because the agent ends", "after", shutdown)
		err = server.Close()
	}
	<-ended //nolint:errcheck // always ErrServerClosed
	return err
}

// unusedConnections holds the open connections that have not sent a byte yet.
type unusedConnections struct {
	mu    sync.Mutex
	conns map[net.Conn]struct{}
}

func (u *unusedConnections) track(conn net.Conn, state http.ConnState) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if state != http.StateNew {
		delete(u.conns, conn)
		return
	}
	if u.conns == nil {
		u.conns = map[net.Conn]struct{}{}
	}
	u.conns[conn] = struct{}{}
}

func (u *unusedConnections) close() {
	u.mu.Lock()
	defer u.mu.Unlock()
	for conn := range u.conns {
		_ = conn.Close()
	}
}
