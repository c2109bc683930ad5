// Package wire decodes what clients send and encodes events for them: the shapes of the
// wire contract, with the quirks of the programs that use it. It knows nothing of HTTP,
// sessions or databases.
package wire

import (
	"bytes"
	"errors"
	"strings"
	"time"
	"unicode/utf8"

	"ospulse/internal/jsonscan"
	"ospulse/internal/models"
)

// Sources of the forwarders, which do not send one.
const (
	sourceHTTP    = "http-interceptor"
	sourceNetwork = "network-interceptor"
	sourceUnknown = "unknown"
)

// typeUnknown is the type of events that arrive with an empty one.
const typeUnknown = "unknown"

// Event decodes one controller event: {"event_type", "timestamp", "source", "data"}.
// now is the time of receipt, used if the event's own time is missing or unreadable.
// The error is a *models.Error of code invalid that names the field.
func Event(body []byte, now time.Time) (models.Incoming, error) {
	return one(body, now, readEvent)
}

// HTTPFlow decodes one flow of the HTTP forwarder. The whole body is the event's data.
func HTTPFlow(body []byte, now time.Time) (models.Incoming, error) {
	return one(body, now, readHTTPFlow)
}

// readFunc reads the event at the scanner's position. Its error is about the content of
// the event; the scanner reports malformed JSON.
type readFunc func(s *jsonscan.Scanner, in *models.Incoming, now time.Time) error

// one reads a body that is one event.
func one(body []byte, now time.Time, read readFunc) (models.Incoming, error) {
	var in models.Incoming
	if empty := len(bytes.TrimSpace(body)) == 0; empty {
		return in, invalid("the body is empty: JSON is expected")
	}
	s := jsonscan.NewScanner(body)
	fault := read(s, &in, now)
	if err := end(s); err != nil {
		return in, err
	}
	return in, fault
}

// end ends the reading of a body, and returns the error of malformed JSON.
func end(s *jsonscan.Scanner) error {
	err := s.End()
	if syntax, ok := errors.AsType[*jsonscan.SyntaxError](err); ok {
		return invalid("malformed JSON: %s", syntax.Error())
	}
	return err
}

func readEvent(s *jsonscan.Scanner, in *models.Incoming, now time.Time) error {
	if s.Kind() != '{' {
		return invalid("an event is a JSON object, not %s", jsonscan.KindName(s.Value()))
	}
	var eventType, timestamp, source, data []byte
	var lossless bool
	var lifted lifted
	e := envelope{shape: "an event has event_type, timestamp, source and data"}
	s.Object(func(key []byte) {
		switch string(key) {
		case "event_type":
			e.set("event_type", &eventType, s.Value())
		case "timestamp":
			e.set("timestamp", &timestamp, s.Value())
		case "source":
			e.set("source", &source, s.Value())
		case "data":
			lossless = s.Lossless(func() { e.set("data", &data, lifted.read(s)) })
		default:
			e.unknown(key)
			s.Value()
		}
	})
	if e.fault != nil {
		return e.fault
	}
	var err error
	if in.EventType, err = envelopeString("event_type", eventType, models.MaxEventTypeLen); err != nil {
		return err
	}
	switch {
	case in.EventType != "":
	case jsonscan.Kind(eventType) == '"': // old agents send an empty one
		in.EventType = typeUnknown
	default:
		return invalid("event_type is missing: it names what happened, such as %q", models.TypeFile)
	}
	if in.Source, err = envelopeString("source", source, models.MaxSourceLen); err != nil {
		return err
	}
	if in.Source == "" {
		in.Source = sourceUnknown
	}
	if err := setEnvelopeTime(&in.Event, timestamp, now); err != nil {
		return err
	}
	if data == nil {
		data, lossless = []byte("null"), true
	}
	setData(&in.Event, data, lossless)
	lifted.set(in)
	return nil
}

func readHTTPFlow(s *jsonscan.Scanner, in *models.Incoming, now time.Time) error {
	if s.Kind() != '{' {
		return invalid("an HTTP flow is a JSON object, not %s", jsonscan.KindName(s.Value()))
	}
	var timestamp, request, data []byte
	var lifted lifted
	lossless := s.Lossless(func() {
		data = s.Object(func(key []byte) {
			switch string(key) {
			case "timestamp_ms":
				timestamp = s.Value()
			case "request":
				request = lifted.member(s, key)
			default:
				lifted.member(s, key)
			}
		})
	})
	if request == nil {
		return invalid("request is missing: an HTTP flow has timestamp_ms, kind, request and, once answered, response")
	}
	if kind := jsonscan.Kind(request); kind != '{' && kind != 'n' {
		return invalid("request must be an object, not %s", jsonscan.KindName(request))
	}
	in.EventType, in.Source = models.TypeHTTP, sourceHTTP
	setEpochTime(&in.Event, timestamp, time.Millisecond, now)
	setData(&in.Event, data, lossless)
	lifted.set(in)
	return nil
}

// readPacket reads an item of a packet batch.
func readPacket(s *jsonscan.Scanner, in *models.Incoming, now time.Time) error {
	if s.Kind() != '{' {
		return invalid("a packet is a JSON object, not %s", jsonscan.KindName(s.Value()))
	}
	var timestamp, data []byte
	var lifted lifted
	lossless := s.Lossless(func() {
		data = s.Object(func(key []byte) {
			if string(key) == "timestamp" {
				timestamp = s.Value()
			} else {
				lifted.member(s, key)
			}
		})
	})
	in.EventType, in.Source = models.TypePacket, sourceNetwork
	setEpochTime(&in.Event, timestamp, time.Second, now)
	setData(&in.Event, data, lossless)
	lifted.set(in)
	return nil
}

// MaxBatch is the most events of one batch. Without a limit, a body with a few bytes
// per event would take a hundred times its size in memory.
const MaxBatch = 10_000

// batch collects the valid events and the faults of a batch.
type batch struct {
	now    time.Time
	events []models.Incoming
	faults []models.ItemFault
	n      int // items so far
}

// read adds an item, or its fault.
func (b *batch) read(s *jsonscan.Scanner, read readFunc) {
	index := b.n
	if b.n++; b.n > MaxBatch {
		s.Value()
		return
	}
	b.events = append(b.events, models.Incoming{})
	if fault := read(s, &b.events[len(b.events)-1], b.now); fault != nil {
		b.fail(index, fault)
	}
}

// fail adds the fault of the current item.
func (b *batch) fail(index int, fault error) {
	b.events = b.events[:len(b.events)-1]
	b.faults = append(b.faults, models.ItemFault{Index: index, Error: fault.Error()})
}

// result returns the events and faults, or an error if the batch is too long.
func (b *batch) result() ([]models.Incoming, []models.ItemFault, error) {
	if b.n > MaxBatch {
		return nil, nil, models.Errorf(models.CodeTooLarge, "the batch has more than the %d items that are taken at once", MaxBatch)
	}
	return b.events, b.faults, nil
}

// Events decodes a batch of a new agent: events as in Event, in a JSON array or one per
// line (NDJSON). Invalid items are reported by their index, and do not affect the
// others. A malformed array is an error of the whole batch; a malformed line is not.
func Events(body []byte, now time.Time) ([]models.Incoming, []models.ItemFault, error) {
	b := batch{now: now}
	switch jsonscan.Kind(body) {
	case 0:
		return nil, nil, invalid("the body is empty: a JSON array of events, or one event a line, is expected")
	case '[':
		s := jsonscan.NewScanner(body)
		s.Array(func() { b.read(s, readEvent) })
		if err := end(s); err != nil {
			return nil, nil, err
		}
	default:
		for line := range bytes.Lines(body) {
			line = jsonscan.TrimBOM(line) // present if files were joined
			if len(bytes.TrimSpace(line)) == 0 {
				continue
			}
			index, before := b.n, len(b.events)
			s := jsonscan.NewScanner(line)
			b.read(s, readEvent)
			if err := end(s); err != nil && b.n <= MaxBatch {
				if len(b.events) == before { // the item has a fault already; this one explains it
					b.faults = b.faults[:len(b.faults)-1]
					b.events = b.events[:before+1]
				}
				b.fail(index, err)
			}
		}
	}
	return b.result()
}

// Packets decodes a batch of the network forwarder: {"events": […], "count": n}. Items
// that are not packets are reported by their index, and do not affect the others. It
// returns an error if the body is not a batch.
func Packets(body []byte, now time.Time) ([]models.Incoming, []models.ItemFault, error) {
	if len(bytes.TrimSpace(body)) == 0 {
		return nil, nil, invalid("the body is empty: JSON is expected")
	}
	b := batch{now: now}
	var events, count []byte
	e := envelope{shape: "a packet batch has events and count"}
	s := jsonscan.NewScanner(body)
	kind := s.Kind()
	batch := s.Object(func(key []byte) {
		switch string(key) {
		case "events":
			e.set("events", &events, s.Array(func() { b.read(s, readPacket) }))
		case "count":
			e.set("count", &count, s.Value())
		default:
			e.unknown(key)
			s.Value()
		}
	})
	if err := end(s); err != nil {
		return nil, nil, err
	}
	switch {
	case kind != '{':
		return nil, nil, invalid("a packet batch is a JSON object with an array events, not %s", jsonscan.KindName(batch))
	case e.fault != nil:
		return nil, nil, e.fault
	}
	if !jsonscan.Empty(count) {
		if n, ok := jsonscan.Integer(count); !ok || n < 0 {
			return nil, nil, invalid("count must be a whole number that is not negative, not %s", cut(string(count), 100))
		}
	}
	if events == nil {
		return nil, nil, invalid("events is missing: a packet batch is {\"events\": [...], \"count\": n}")
	}
	if jsonscan.Kind(events) != '[' {
		return nil, nil, invalid("events must be an array, not %s", jsonscan.KindName(events))
	}
	return b.result()
}

// Sizes of previews, in bytes.
const (
	previewFrom = 1024 // longer data has its preview stored
	previewLen  = 256
)

func invalid(format string, args ...any) error {
	return models.Errorf(models.CodeInvalid, format, args...)
}

// envelope reads the members of an object. It refuses unknown members, because they
// would be lost silently.
type envelope struct {
	shape string // the expected members, for errors
	fault error  // the first fault
}

func (e *envelope) set(name string, field *[]byte, value []byte) {
	if *field != nil && e.fault == nil {
		e.fault = invalid("%s is there twice", name)
	}
	*field = value
}

func (e *envelope) unknown(key []byte) {
	if e.fault == nil {
		e.fault = invalid("unknown field %q: %s", cut(string(key), 100), e.shape)
	}
}

// envelopeString reads a string of the envelope, which must fit its column. Missing and
// null are "".
func envelopeString(name string, value []byte, maxLen int) (string, error) {
	if jsonscan.Empty(value) {
		return "", nil
	}
	if jsonscan.Kind(value) != '"' {
		return "", invalid("%s must be a string, not %s", name, jsonscan.KindName(value))
	}
	s := jsonscan.Unquote(value)
	if len(s) > maxLen {
		return "", invalid("%s is %d bytes long; at most %d are taken", name, len(s), maxLen)
	}
	if i := strangeAt(s, value); i >= 0 {
		return "", invalid("%s holds a character at byte %d that no name has (a control character or a broken surrogate)", name, i)
	}
	return s, nil
}

// strangeAt returns the index of a character that no name has, or -1: a control
// character, or the U+FFFD of a lone surrogate in the JSON text. A U+FFFD that was sent
// is allowed.
func strangeAt(s string, value []byte) int {
	isControl := func(r rune) bool { return r < 0x20 || r == 0x7f }
	i := strings.IndexFunc(s, func(r rune) bool { return isControl(r) || r == utf8.RuneError })
	if i < 0 {
		return -1
	}
	if lossless, _ := jsonscan.Check(value); !lossless {
		return i
	}
	return strings.IndexFunc(s, isControl)
}

// setData sets the event's data in the form that the database accepts, and its original
// bytes if that form would lose something. If lossless is true, it skips the check,
// because a check of a text that contains data succeeded.
func setData(e *models.Event, data []byte, lossless bool) {
	if !lossless {
		lossless, _ = jsonscan.Check(data) // valid: the body that it is a part of was checked
	}
	if lossless {
		e.Data = data
	} else {
		e.Data, e.DataRaw = jsonscan.JSONB(data), data
	}
	if len(e.Data) > previewFrom {
		preview := cut(string(e.Data[:previewLen+1]), previewLen)
		e.Preview = &preview
	}
}
