package wire

import (
	"strconv"
	"strings"
	"time"

	"ospulse/internal/jsonscan"
	"ospulse/internal/models"
)

// AppendExported appends the event in the form of exports: as AppendEvent does, with
// the hot fields before the data, and without line breaks, so that it can be one line.
func AppendExported(out []byte, e *models.Event) []byte {
	out = strconv.AppendUint(append(out, `{"id":`...), e.ID, 10)
	return appendExported(append(out, ','), e)
}

// AppendBundled appends the event in the form of bundles: as AppendExported does, but
// without the ID, which is valid only in its own database. Bundled reads it.
func AppendBundled(out []byte, e *models.Event) []byte {
	return appendExported(append(out, '{'), e)
}

func appendExported(out []byte, e *models.Event) []byte {
	out = appendHot(appendEnvelope(out, e, e.EventType), e)
	out = jsonscan.AppendOneLine(append(out, `,"data":`...), Payload(e))
	return append(out, '}')
}

// Bundled decodes an event of AppendBundled. It guesses nothing: a value that could not
// have been stored is an error of code invalid that names the field. The event keeps
// the line's memory.
func Bundled(line []byte) (models.Event, error) {
	var (
		e      models.Event
		b      = bundled{envelope: envelope{shape: "an event of a bundle has session_id, seq, event_type, timestamp, timestamp_source, timestamp_text, source, created_at, pid, process_name, operation, target and data"}}
		values [13][]byte
		data   = &values[len(values)-1]
	)
	s := jsonscan.NewScanner(line)
	if s.Kind() != '{' {
		return e, invalid("an event is a JSON object, not %s", jsonscan.KindName(line))
	}
	lossless := false
	s.Object(func(key []byte) {
		for i, name := range bundledNames {
			if string(key) == name {
				if i == len(values)-1 {
					lossless = s.Lossless(func() { b.set(name, data, s.Value()) })
				} else {
					b.set(name, &values[i], s.Value())
				}
				return
			}
		}
		b.unknown(key)
		s.Value()
	})
	if err := end(s); err != nil {
		return e, err
	}
	e.SessionID = b.text("session_id", values[0], 1, 255)
	e.Seq = b.number("seq", values[1])
	e.EventType = b.name("event_type", values[2], models.MaxEventTypeLen)
	e.Timestamp = b.time("timestamp", values[3])
	e.TimestampSource = b.text("timestamp_source", values[4], 1, 16)
	e.TimestampText = b.optionalText("timestamp_text", values[5], models.MaxTimestampLen)
	e.Source = b.name("source", values[6], models.MaxSourceLen)
	e.CreatedAt = b.time("created_at", values[7])
	if !jsonscan.Empty(values[8]) {
		pid := b.number("pid", values[8])
		e.PID = &pid
	}
	e.ProcessName = b.optionalText("process_name", values[9], maxHotFieldLen)
	if e.ProcessName != nil { // another database, or an older version, kept more of it
		*e.ProcessName = cut(*e.ProcessName, models.MaxProcessNameLen)
	}
	e.Operation = b.optionalText("operation", values[10], maxHotFieldLen)
	e.Target = b.optionalText("target", values[11], maxHotFieldLen)
	if *data == nil {
		b.fail("data is missing")
	}
	if b.fault != nil {
		return e, b.fault
	}
	if e.TimestampSource != models.TimestampFromAgent && e.TimestampSource != models.TimestampFromReceipt {
		return e, invalid("timestamp_source must be %q or %q, not %q", models.TimestampFromAgent, models.TimestampFromReceipt, e.TimestampSource)
	}
	e.UpdatedAt = e.CreatedAt
	setData(&e, *data, lossless)
	return e, nil
}

// bundledNames are the members of an event in a bundle; data is the last.
var bundledNames = [13]string{ //nolint:gochecknoglobals // a constant
	"session_id", "seq", "event_type", "timestamp", "timestamp_source", "timestamp_text", "source", "created_at",
	"pid", "process_name", "operation", "target", "data",
}

// bundled reads the values of an event's members and keeps the first fault.
type bundled struct{ envelope }

func (b *bundled) fail(format string, args ...any) {
	if b.fault == nil {
		b.fault = invalid(format, args...)
	}
}

// text reads a string for a text column.
func (b *bundled) text(name string, value []byte, minLen, maxLen int) string {
	if jsonscan.Kind(value) != '"' {
		b.fail("%s must be a string, not %s", name, jsonscan.KindName(value))
		return ""
	}
	s := jsonscan.Unquote(value)
	switch {
	case len(s) < minLen || len(s) > maxLen:
		b.fail("%s is %d bytes long; %d to %d are taken", name, len(s), minLen, maxLen)
	case strings.ContainsRune(s, 0):
		b.fail("%s holds a NUL character", name)
	}
	return s
}

// name reads a string with the rules of a received event's envelope.
func (b *bundled) name(name string, value []byte, maxLen int) string {
	s := b.text(name, value, 1, maxLen)
	if i := strangeAt(s, value); i >= 0 {
		b.fail("%s holds a character at byte %d that no name has", name, i)
	}
	return s
}

func (b *bundled) optionalText(name string, value []byte, maxLen int) *string {
	if jsonscan.Empty(value) {
		return nil
	}
	s := b.text(name, value, 0, maxLen)
	return &s
}

func (b *bundled) number(name string, value []byte) int64 {
	n, err := strconv.ParseInt(string(value), 10, 64)
	if err != nil {
		b.fail("%s must be a whole number, not %s", name, cut(string(value), 100))
	}
	return n
}

// time reads a time in the format of FormatTime.
func (b *bundled) time(name string, value []byte) time.Time {
	text := jsonscan.Unquote(value)
	if t, ok := models.ParseTime(text); ok && models.FormatTime(t) == text {
		return t
	}
	b.fail("%s must be a time such as 2026-11-22T18:57:39.123456Z, not %s", name, cut(string(value), 100))
	return time.Time{}
}
