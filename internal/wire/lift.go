package wire

import (
	"cmp"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"ospulse/internal/jsonscan"
	"ospulse/internal/models"
)

// maxHotFieldLen is the most bytes of a value in a hot field's column. data has the
// whole value.
const maxHotFieldLen = 4096

// lifted has the hot fields and the processes of an event's data, from all the places
// where clients put them.
type lifted struct {
	pid                       *int64
	name, operation, method   string
	target, image, host, hint string
	port, status              []byte
	actor, child              models.ProcessFact // besides pid and name
	childPID                  *int64
	commandLine               string
}

// read reads the data and lifts its fields.
func (l *lifted) read(s *jsonscan.Scanner) []byte {
	return s.Object(func(key []byte) { l.member(s, key) })
}

// member reads the value of a member of the data.
func (l *lifted) member(s *jsonscan.Scanner, key []byte) []byte {
	switch string(key) {
	case "metadata", "process_info":
		return s.Object(func(key []byte) {
			if string(key) == "sessionId" {
				setFirst(&l.hint, s.Value())
			} else {
				l.process(s, key)
			}
		})
	case "operation":
		return setFirst(&l.operation, s.Value())
	case "filePath", "file_path", "path":
		return setFirst(&l.target, s.Value())
	case "imagePath", "image_path":
		return setFirst(&l.image, s.Value())
	case "commandLine", "command_line":
		return setFirst(&l.commandLine, s.Value())
	case "request":
		return s.Object(func(key []byte) {
			switch value := s.Value(); string(key) {
			case "url":
				setFirst(&l.target, value)
			case "method":
				setFirst(&l.method, value)
			}
		})
	case "dst":
		return setFirst(&l.host, s.Value())
	case "dst_port":
		l.port = s.Value()
		return l.port
	case "status":
		l.status = s.Value()
		return l.status
	case "newProcessId", "new_process_id":
		return setFirstInteger(&l.childPID, s.Value())
	case "newProcessStartTime", "new_process_start_time":
		return setFirstTime(&l.child.StartedAt, s.Value())
	default:
		return l.process(s, key)
	}
}

// process reads a member about the acting process.
func (l *lifted) process(s *jsonscan.Scanner, key []byte) []byte {
	switch value := s.Value(); string(key) {
	case "processId", "process_id", "pid":
		return setFirstInteger(&l.pid, value)
	case "processName", "process_name":
		return setFirst(&l.name, value)
	case "processStartTime", "process_start_time":
		return setFirstTime(&l.actor.StartedAt, value)
	case "parentProcessId", "parent_process_id", "ppid":
		return setFirstInteger(&l.actor.ParentPID, value)
	default:
		return value
	}
}

// set sets the lifted fields of an event.
func (l *lifted) set(in *models.Incoming) {
	in.SessionHint = l.hint
	in.PID = l.pid
	l.name = cut(l.name, models.MaxProcessNameLen)
	texts := &[3]string{l.name, cmp.Or(l.operation, l.method), cmp.Or(l.target, l.image, hostPort(l.host, l.port))}
	in.ProcessName, in.Operation, in.Target = optional(&texts[0]), optional(&texts[1]), optional(&texts[2])
	if l.pid != nil && (!l.actor.StartedAt.IsZero() || l.actor.ParentPID != nil) {
		l.actor.PID, l.actor.Name, l.actor.Acted = *l.pid, l.name, true
		in.Processes = append(in.Processes, l.actor)
	}
	if l.childPID == nil || in.EventType != models.TypeProcessCreation {
		return
	}
	if Failed(l.status) { // the process was not created
		return
	}
	if l.child.StartedAt.IsZero() {
		l.child.StartedAt = in.Timestamp
	}
	l.child.PID, l.child.Image, l.child.CommandLine = *l.childPID, l.image, l.commandLine
	if l.pid != nil {
		l.child.ParentPID = l.pid
		if !l.actor.StartedAt.IsZero() {
			l.child.ParentStartedAt = &l.actor.StartedAt
		}
	}
	in.Processes = append(in.Processes, l.child)
}

// hostPort joins an address and a port like net.JoinHostPort. The port may be null or
// missing.
func hostPort(host string, port []byte) string {
	n, ok := jsonscan.Integer(port)
	switch {
	case !ok || host == "":
		return host
	case strings.Contains(host, ":"):
		return fmt.Sprintf("[%s]:%d", host, n)
	default:
		return fmt.Sprintf("%s:%d", host, n)
	}
}

func optional(s *string) *string {
	if *s == "" {
		return nil
	}
	return s
}

// setFirst sets a text that is still empty and returns value. A field may have several
// names, and a null or empty one must not hide another.
func setFirst(field *string, value []byte) []byte {
	if *field == "" {
		*field = hotText(value)
	}
	return value
}

// setFirstInteger is setFirst for whole numbers.
func setFirstInteger(field **int64, value []byte) []byte {
	if n, ok := jsonscan.Integer(value); ok && *field == nil {
		*field = &n
	}
	return value
}

// setFirstTime is setFirst for RFC 3339 times.
func setFirstTime(field *time.Time, value []byte) []byte {
	if t, ok := models.ParseTime(jsonscan.Unquote(value)); ok && field.IsZero() {
		*field = t
	}
	return value
}

// hotText reads a string for a text column: without NUL, cut at maxHotFieldLen. It
// returns "" for other values.
func hotText(value []byte) string {
	return cut(strings.ReplaceAll(jsonscan.Unquote(value), "\x00", string(utf8.RuneError)), maxHotFieldLen)
}

// cut shortens s to at most n bytes without splitting a character.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// Lift returns the search columns, processes and stored form of the data of an event
// that was stored without them.
func Lift(stored *models.Event) models.Incoming {
	in := models.Incoming{Event: *stored}
	var lifted lifted
	data := stored.Payload()
	s := jsonscan.NewScanner(data)
	lossless := s.Lossless(func() { lifted.read(s) })
	if s.End() != nil { // the data is not JSON; this program never stores that
		return in
	}
	in.Data, in.DataRaw, in.Preview = nil, nil, nil
	setData(&in.Event, data, lossless)
	lifted.set(&in)
	return in
}
