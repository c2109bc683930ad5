// Package wire reads what clients send and writes what the old dashboard
// expects: the shapes of the wire contract, with the quirks of the programs
// that speak it. It knows nothing of HTTP, sessions or databases.
package wire

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"ospulse/internal/jsonscan"
	"ospulse/internal/models"
)

// Sources that the forwarders do not send themselves.
const (
	sourceHTTP    = "http-interceptor"
	sourceNetwork = "network-interceptor"
	sourceUnknown = "unknown"
)

// maxHotFieldLen is how many bytes of a value are lifted into its column; the
// whole value stays in data.
const maxHotFieldLen = 4096

// Event reads one controller event: {"event_type", "timestamp", "source",
// "data"}. now is the time of receipt, used when the event's own time is
// missing or cannot be read. The error is a *models.Error of code invalid that
// names the field.
func Event(body []byte, now time.Time) (models.Incoming, error) {
	lossless, err := check(body)
	if err != nil {
		return models.Incoming{}, err
	}
	return event(body, lossless, now)
}

// event reads an event of a text that was checked.
func event(text []byte, lossless bool, now time.Time) (models.Incoming, error) {
	var in models.Incoming
	if jsonscan.Kind(text) != '{' {
		return in, invalid("an event is a JSON object, not %s", jsonscan.KindName(text))
	}
	var eventType, timestamp, source, data []byte
	err := envelope(text, "an event has event_type, timestamp, source and data", map[string]*[]byte{
		"event_type": &eventType, "timestamp": &timestamp, "source": &source, "data": &data,
	})
	if err != nil {
		return in, err
	}
	if in.EventType, err = envelopeString("event_type", eventType, models.MaxEventTypeLen); err != nil {
		return in, err
	}
	if in.EventType == "" {
		return in, invalid("event_type is missing: it names what happened, such as %q", models.TypeFile)
	}
	if in.Source, err = envelopeString("source", source, models.MaxSourceLen); err != nil {
		return in, err
	}
	if in.Source == "" {
		in.Source = sourceUnknown
	}
	if err := setEnvelopeTime(&in.Event, timestamp, now); err != nil {
		return in, err
	}
	if data == nil {
		data = []byte("null")
	}
	setData(&in.Event, data, lossless)
	in.SessionHint = setHotFields(&in.Event, data)
	return in, nil
}

// HTTPFlow reads one flow of the HTTP forwarder. The whole body is the event's
// data.
func HTTPFlow(body []byte, now time.Time) (models.Incoming, error) {
	var in models.Incoming
	lossless, err := check(body)
	if err != nil {
		return in, err
	}
	if jsonscan.Kind(body) != '{' {
		return in, invalid("an HTTP flow is a JSON object, not %s", jsonscan.KindName(body))
	}
	if request := jsonscan.Get(body, "request"); request == nil {
		return in, invalid("request is missing: an HTTP flow has timestamp_ms, kind, request and, once answered, response")
	} else if kind := jsonscan.Kind(request); kind != '{' && kind != 'n' {
		return in, invalid("request must be an object, not %s", jsonscan.KindName(request))
	}
	in.EventType, in.Source = models.TypeHTTP, sourceHTTP
	setEpochTime(&in.Event, jsonscan.Get(body, "timestamp_ms"), time.Millisecond, now)
	setData(&in.Event, body, lossless)
	in.SessionHint = setHotFields(&in.Event, body)
	return in, nil
}

// MaxBatch is how many events one batch may hold: a body of a few bytes an event
// would else take a hundred times its size of memory.
const MaxBatch = 10_000

// batch collects what can be taken of the items of a batch.
type batch struct {
	events []models.Incoming
	faults []models.ItemFault
	n      int // items so far
}

// add takes an item, or notes why it cannot be taken. Only a batch that is too
// long is an error.
func (b *batch) add(in models.Incoming, fault error) error {
	index := b.n
	if b.n++; b.n > MaxBatch {
		return models.Errorf(models.CodeTooLarge, "the batch has more than the %d items that are taken at once", MaxBatch)
	}
	if fault == nil {
		b.events = append(b.events, in)
	} else {
		b.faults = append(b.faults, models.ItemFault{Index: index, Error: fault.Error()})
	}
	return nil
}

// Events reads a batch of a new agent: events as Event reads them, in a JSON
// array or one a line (NDJSON). Items that cannot be taken are reported by their
// index and cost the others nothing; a malformed array is an error as a whole,
// a malformed line is not.
func Events(body []byte, now time.Time) ([]models.Incoming, []models.ItemFault, error) {
	var b batch
	switch jsonscan.Kind(body) {
	case 0:
		return nil, nil, invalid("the body is empty: a JSON array of events, or one event a line, is expected")
	case '[':
		lossless, err := check(body)
		if err != nil {
			return nil, nil, err
		}
		for item := range jsonscan.Elements(body) {
			if err := b.add(event(item, lossless, now)); err != nil {
				return nil, nil, err
			}
		}
	default:
		for line := range bytes.Lines(body) {
			if len(bytes.TrimSpace(line)) == 0 {
				continue
			}
			if err := b.add(Event(line, now)); err != nil {
				return nil, nil, err
			}
		}
	}
	return b.events, b.faults, nil
}

// Packets reads a batch of the network forwarder: {"events": […], "count": n}.
// Items that are no packets are reported by their index and cost the others
// nothing. The error is for a body that is no batch at all.
func Packets(body []byte, now time.Time) ([]models.Incoming, []models.ItemFault, error) {
	lossless, err := check(body)
	if err != nil {
		return nil, nil, err
	}
	if jsonscan.Kind(body) != '{' {
		return nil, nil, invalid("a packet batch is a JSON object with an array events, not %s", jsonscan.KindName(body))
	}
	var events, count []byte
	err = envelope(body, "a packet batch has events and count", map[string]*[]byte{"events": &events, "count": &count})
	if err != nil {
		return nil, nil, err
	}
	if !empty(count) {
		if n, ok := integer(count); !ok || n < 0 {
			return nil, nil, invalid("count must be a whole number that is not negative, not %s", cut(string(count), 100))
		}
	}
	if events == nil {
		return nil, nil, invalid("events is missing: a packet batch is {\"events\": [...], \"count\": n}")
	}
	if jsonscan.Kind(events) != '[' {
		return nil, nil, invalid("events must be an array, not %s", jsonscan.KindName(events))
	}
	var b batch
	for item := range jsonscan.Elements(events) {
		if err := b.add(packet(item, lossless, now)); err != nil {
			return nil, nil, err
		}
	}
	return b.events, b.faults, nil
}

// packet reads a packet of a text that was checked.
func packet(text []byte, lossless bool, now time.Time) (models.Incoming, error) {
	var in models.Incoming
	if jsonscan.Kind(text) != '{' {
		return in, invalid("a packet is a JSON object, not %s", jsonscan.KindName(text))
	}
	in.EventType, in.Source = models.TypePacket, sourceNetwork
	setEpochTime(&in.Event, jsonscan.Get(text, "timestamp"), time.Second, now)
	setData(&in.Event, text, lossless)
	in.SessionHint = setHotFields(&in.Event, text)
	return in, nil
}

func invalid(format string, args ...any) error {
	return models.Errorf(models.CodeInvalid, format, args...)
}

func check(body []byte) (lossless bool, err error) {
	if len(bytes.TrimSpace(body)) == 0 {
		return false, invalid("the body is empty: JSON is expected")
	}
	lossless, err = jsonscan.Check(body)
	if syntax, ok := errors.AsType[*jsonscan.SyntaxError](err); ok {
		return false, invalid("malformed JSON: %s", syntax.Error())
	}
	return lossless, err
}

// envelope takes an object's members apart. It has no others than fields: what
// nobody reads would be lost without a word.
func envelope(object []byte, shape string, fields map[string]*[]byte) error {
	for key, value := range jsonscan.Members(object) {
		field, ok := fields[key]
		if !ok {
			return invalid("unknown field %q: %s", cut(key, 100), shape)
		}
		if *field != nil {
			return invalid("%s is there twice", key)
		}
		*field = value
	}
	return nil
}

// envelopeString reads a string of the envelope, which must fit its column;
// missing and null are "".
func envelopeString(name string, value []byte, maxLen int) (string, error) {
	if empty(value) {
		return "", nil
	}
	if jsonscan.Kind(value) != '"' {
		return "", invalid("%s must be a string, not %s", name, jsonscan.KindName(value))
	}
	s := jsonscan.Unquote(value)
	if len(s) > maxLen {
		return "", invalid("%s is %d bytes long; at most %d are taken", name, len(s), maxLen)
	}
	if i := strings.IndexFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f || r == utf8.RuneError }); i >= 0 {
		return "", invalid("%s holds a character at byte %d that no name has (a control character or a broken surrogate)", name, i)
	}
	return s, nil
}

// empty reports whether a value is missing or null.
func empty(value []byte) bool { return value == nil || jsonscan.Kind(value) == 'n' }

// setData keeps the event's data in the form that the database takes, and its
// bytes beside it when that form would lose something. lossless, if true, spares
// the check: it was made for a text that data is a part of.
func setData(e *models.Event, data []byte, lossless bool) {
	if !lossless {
		lossless, _ = jsonscan.Check(data) // valid: the body that it is a part of was checked
	}
	if lossless {
		e.Data = data
		return
	}
	e.Data, e.DataRaw = jsonscan.JSONB(data), data
}

// setHotFields lifts what people filter by, wherever a client puts it, and gives
// the session id that came along.
func setHotFields(e *models.Event, data []byte) (sessionHint string) {
	var processName, operation, method, target, image, host string
	var port []byte
	process := func(key string, value []byte) {
		switch key {
		case "processId", "process_id", "pid":
			if pid, ok := integer(value); ok && e.PID == nil {
				e.PID = &pid
			}
		case "processName", "process_name":
			setFirst(&processName, value)
		}
	}
	for key, value := range jsonscan.Members(data) {
		switch key {
		case "metadata", "process_info":
			for k, v := range jsonscan.Members(value) {
				if k == "sessionId" {
					setFirst(&sessionHint, v)
				}
				process(k, v)
			}
		case "operation":
			setFirst(&operation, value)
		case "filePath", "file_path", "path":
			setFirst(&target, value)
		case "imagePath", "image_path":
			setFirst(&image, value)
		case "request":
			setFirst(&target, jsonscan.Get(value, "url"))
			setFirst(&method, jsonscan.Get(value, "method"))
		case "dst":
			setFirst(&host, value)
		case "dst_port":
			port = value
		default:
			process(key, value)
		}
	}
	e.ProcessName = optional(processName)
	e.Operation = optional(cmp.Or(operation, method))
	e.Target = optional(cmp.Or(target, image, hostPort(host, port)))
	return sessionHint
}

// hostPort joins an address and a port as net.JoinHostPort does; the port may be
// null or missing.
func hostPort(host string, port []byte) string {
	n, ok := integer(port)
	switch {
	case !ok || host == "":
		return host
	case strings.Contains(host, ":"):
		return fmt.Sprintf("[%s]:%d", host, n)
	default:
		return fmt.Sprintf("%s:%d", host, n)
	}
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// setFirst takes a text where there is none yet: of a field's several names, one
// that is null or empty must not hide the one that says something.
func setFirst(field *string, value []byte) {
	if *field == "" {
		*field = hotText(value)
	}
}

// hotText reads a string for a text column: without NUL, cut at
// maxHotFieldLen; "" for anything but a string.
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

// integer reads a whole number, also as a string of digits.
func integer(value []byte) (int64, bool) {
	text := string(value)
	if jsonscan.Kind(value) == '"' {
		text = jsonscan.Unquote(value)
	}
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	return n, err == nil
}
