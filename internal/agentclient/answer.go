package agentclient

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"html"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"ospulse/internal/jsonscan"
	"ospulse/internal/models"
)

const (
	maxTextRunes = 300  // of an agent's text for users
	maxNameBytes = 1024 // of a file name

	// maxRefusalRunes is larger, because a refusal lists the files of an archive.
	maxRefusalRunes = 4000
)

// Health is an agent's report on itself. Fields that the agent omits are zero.
type Health struct {
	Status         string
	Service        string
	ActiveSessions int
}

func decodeHealth(body []byte) (Health, error) {
	var report struct {
		Status, Service json.RawMessage
		ActiveSessions  json.RawMessage `json:"active_sessions"`
	}
	if err := json.Unmarshal(body, &report); err != nil {
		return Health{}, err
	}
	return Health{
		Status:         clean(textOf(report.Status)),
		Service:        clean(textOf(report.Service)),
		ActiveSessions: countOf(report.ActiveSessions),
	}, nil
}

// countOf reads a count that agents send as a number, or as the list or object to
// count.
func countOf(raw json.RawMessage) int {
	var list []json.RawMessage
	var object map[string]json.RawMessage
	if json.Unmarshal(raw, &list) == nil {
		return len(list)
	}
	if json.Unmarshal(raw, &object) == nil {
		return len(object)
	}
	if n, ok := naturalOf(raw); ok {
		return int(n)
	}
	return 0
}

// Process is a process on the agent's machine. All fields but the pid may be zero:
// existing agents send only the name besides.
type Process struct {
	PID         int64
	Name        string
	ParentPID   *int64
	CommandLine string // at most maxCommandLine bytes
	User        string
	StartedAt   time.Time // UTC, microseconds
}

// Limits of what an agent says about a process. Longer text is cut.
const (
	maxCommandLine = 1 << 10 // bytes
	maxUserName    = 256
)

func decodeProcesses(body []byte) ([]Process, error) {
	if !json.Valid(body) {
		return nil, errors.New("not JSON")
	}
	var wrapped struct{ Processes json.RawMessage }
	if json.Unmarshal(body, &wrapped) == nil && wrapped.Processes != nil {
		body = wrapped.Processes
	}
	// One entry at a time: a list of millions of empty entries costs no more
	// memory than its text.
	entries := json.NewDecoder(bytes.NewReader(body))
	processes := []Process{}
	switch token, _ := entries.Token(); token {
	case nil:
		return processes, nil
	case json.Delim('['):
	default:
		return nil, errors.New("not a list")
	}
	for entries.More() {
		var raw json.RawMessage
		if err := entries.Decode(&raw); err != nil {
			return nil, err
		}
		if p, ok := decodeProcess(raw); ok {
			processes = append(processes, p)
		}
	}
	slices.SortStableFunc(processes, func(a, b Process) int {
		return cmp.Or(cmp.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name)), cmp.Compare(a.PID, b.PID))
	})
	return processes, nil
}

// decodeProcess decodes an entry of a list; ok is false without a pid.
func decodeProcess(raw json.RawMessage) (Process, bool) {
	var entry struct{ PID, Name, ParentPID, CommandLine, User, StartTime json.RawMessage }
	_ = json.Unmarshal(raw, &entry) // without an object, there is no pid
	pid, ok := naturalOf(entry.PID)
	if !ok {
		return Process{}, false
	}
	p := Process{PID: pid, Name: textOf(entry.Name), CommandLine: cut(textOf(entry.CommandLine), maxCommandLine), User: cut(textOf(entry.User), maxUserName)}
	if parent, ok := naturalOf(entry.ParentPID); ok {
		p.ParentPID = &parent
	}
	if at, err := time.Parse(time.RFC3339, textOf(entry.StartTime)); err == nil && at.Year() > 0 && at.UTC().Year() <= 9999 {
		p.StartedAt = at.UTC().Truncate(time.Microsecond)
	}
	return p, true
}

// cut shortens a text to at most n bytes without splitting a character.
func cut(text string, n int) string {
	if len(text) <= n {
		return text
	}
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}

// decodeUpload returns the agent's name for the file: the name in the answer, else the
// end of the path in the answer, else the name that was sent.
func decodeUpload(body []byte, sent string) (string, error) {
	var told struct{ Filename, Path json.RawMessage }
	_ = json.Unmarshal(body, &told) // the agent accepted the file in any case
	path := textOf(told.Path)
	name := cmp.Or(textOf(told.Filename), path[strings.LastIndexAny(path, `/\`)+1:])
	if len(name) > maxNameBytes || strings.ContainsFunc(name, unicode.IsControl) {
		return "", errors.New("the name is too long or has control characters")
	}
	return cmp.Or(name, sent), nil
}

// StartResult is an agent's answer to a successful start.
type StartResult struct {
	MonitoringPID *int64 // nil if the agent does not report it
}

func decodeStart(body []byte) StartResult {
	var told struct{ MonitoringPID json.RawMessage }
	_ = json.Unmarshal(body, &told) // monitoring started in any case
	if pid, ok := naturalOf(told.MonitoringPID); ok {
		return StartResult{MonitoringPID: &pid}
	}
	return StartResult{}
}

// StartState is the state of a start, as our own agent reports it. docs/agent.md
// explains the states.
type StartState string

// The states of a start.
const (
	StartUnknown  StartState = "unknown"
	StartStarting StartState = "starting"
	StartRunning  StartState = "running"
	StartEnded    StartState = "ended"
	StartNotRun   StartState = "not_run"
	StartFailed   StartState = "failed"
)

// Start is an agent's report on a start.
type Start struct {
	State  StartState
	Result StartResult
	// Err is the reason of a start that failed or did not run; else nil.
	Err error
}

func decodeFoundStart(body []byte) (Start, error) {
	var told struct{ State, Code, Reason json.RawMessage }
	_ = json.Unmarshal(body, &told) // without JSON, the state is empty
	s := Start{State: StartState(textOf(told.State)), Result: decodeStart(body)}
	switch s.State {
	case StartUnknown, StartStarting, StartRunning, StartEnded:
	case StartNotRun, StartFailed:
		code, reason := models.Code(textOf(told.Code)), cleanTo(textOf(told.Reason), maxRefusalRunes)
		if code == models.CodeInvalid || code == models.CodeCannotRun {
			s.Err = models.Errorf(code, "%s", reason)
		} else {
			s.Err = models.Errorf(models.CodeAgentFailed, "the agent did not start monitoring: %s", reason)
		}
	default: // some programs answer 200 to every request
		return Start{}, ErrCannotTell
	}
	return s, nil
}

// StopResult is an agent's answer to a stop.
type StopResult struct {
	InFlight *InFlight // nil if the agent does not report it; only our own agent does
}

// InFlight counts what an agent has recorded of a session and not yet delivered.
type InFlight struct {
	Events      int64 // in the agent's memory or on its disk
	Bytes       int64 // size of these events
	SensorBytes int64 // not yet read from the kernel, for all sessions
	Ending      bool  // the agent has not ended the session yet
}

func decodeStop(body []byte) StopResult {
	var told struct {
		Stopped  *bool
		InFlight *struct{ Events, Bytes, SensorBytes json.RawMessage }
	}
	if json.Unmarshal(body, &told) != nil || told.InFlight == nil {
		return StopResult{}
	}
	in := InFlight{Ending: told.Stopped != nil && !*told.Stopped}
	in.Events, _ = naturalOf(told.InFlight.Events)
	in.Bytes, _ = naturalOf(told.InFlight.Bytes)
	in.SensorBytes, _ = naturalOf(told.InFlight.SensorBytes)
	return StopResult{&in}
}

// textOf reads a JSON string. Anything else is "".
func textOf(raw json.RawMessage) string {
	var text string
	_ = json.Unmarshal(raw, &text)
	return text
}

// naturalOf reads a whole number of at least 0, which may be in quotes.
func naturalOf(raw json.RawMessage) (int64, bool) {
	n, ok := jsonscan.Integer(raw)
	return n, ok && n >= 0
}

// answer is an agent's answer to one request.
type answer struct {
	status      int
	contentType string
	body        []byte
}

// refusal returns the error of an answer that blames the request or the file, or nil.
// Only our own agent sends the code that says so.
func (a answer) refusal() error {
	if a.status/100 != 4 {
		return nil
	}
	var told struct{ Error, Code json.RawMessage }
	_ = json.Unmarshal(a.body, &told) // without JSON, the code is empty
	switch code := models.Code(textOf(told.Code)); code {
	case models.CodeInvalid, models.CodeCannotRun:
		if text := cleanTo(textOf(told.Error), maxRefusalRunes); text != "" {
			return models.Errorf(code, "%s", text)
		}
	}
	return nil
}

// complaint returns a refusal as text for users. own means that the agent's program
// wrote it, not its web framework.
func (a answer) complaint() (text string, own bool) {
	standard := cmp.Or(http.StatusText(a.status), "status "+strconv.Itoa(a.status))
	if a.status/100 == 3 {
		return "it redirects elsewhere (" + standard + ")", false
	}
	var told struct{ Error, Message json.RawMessage }
	if json.Unmarshal(a.body, &told) == nil {
		text = cmp.Or(clean(textOf(told.Error)), clean(textOf(told.Message)))
		own = text != "" && !strings.EqualFold(text, standard)
	}
	if a.status == http.StatusRequestEntityTooLarge {
		if own {
			return clean("the file is too large for the agent: " + text), true
		}
		return "the file is too large for the agent", false
	}
	if text == "" {
		page := string(a.body)
		if strings.Contains(a.contentType, "html") || strings.HasPrefix(strings.TrimSpace(page), "<") {
			page = plainText(page)
		}
		text = cmp.Or(clean(page), standard)
	}
	return text, own
}

// plainText returns the visible text of an HTML page. It is not a parser: the result
// may contain rests of markup, so it must not be used as HTML.
func plainText(page string) string {
	var text strings.Builder
	for page != "" {
		before, tag, _ := strings.Cut(page, "<")
		text.WriteString(before + " ")
		end := ">"
		switch {
		case strings.HasPrefix(tag, "!--"):
			end = "-->"
		case hasTagName(tag, "script"):
			end = "</script>"
		case hasTagName(tag, "style"):
			end = "</style>"
		}
		page = afterFold(tag, end)
	}
	return html.UnescapeString(text.String())
}

func hasTagName(tag, name string) bool {
	return len(tag) > len(name) && strings.EqualFold(tag[:len(name)], name) && strings.ContainsRune(" \t\r\n/>", rune(tag[len(name)]))
}

// afterFold returns the text after the first end, regardless of case.
func afterFold(text, end string) string {
	for i := range len(text) - len(end) + 1 {
		if strings.EqualFold(text[i:i+len(end)], end) {
			return text[i+len(end):]
		}
	}
	return ""
}

// clean makes text fit for one line of a message: it collapses white space, removes
// unprintable characters, and keeps at most maxTextRunes.
func clean(text string) string { return cleanTo(text, maxTextRunes) }

func cleanTo(text string, maxRunes int) string {
	text = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case unicode.IsPrint(r):
			return r
		}
		return -1
	}, text)
	runes := []rune(strings.Join(strings.Fields(text), " "))
	if len(runes) > maxRunes {
		return string(runes[:maxRunes-1]) + "…"
	}
	return string(runes)
}
