package wire

import (
	"encoding/json"
	"strconv"

	"ospulse/internal/jsonscan"

	"ospulse/internal/models"
)

// AppendEvent appends the event as JSON, its data as the agent sent it.
func AppendEvent(out []byte, e *models.Event) []byte {
	out = AppendHead(out, e, e.EventType)
	return append(append(out, Payload(e)...), '}')
}

// AppendListedEvent appends the event as JSON in the form of lists and streams: the hot
// fields, and the beginning of its data as text. It has no ID; session and seq identify
// it.
func AppendListedEvent(out []byte, e *models.Event) []byte {
	out = appendHot(appendEnvelope(append(out, '{'), e, e.EventType), e)
	preview, isCut := string(e.Data[:min(len(e.Data), previewLen+1)]), len(e.Data) > previewLen
	if e.Preview != nil {
		preview, isCut = *e.Preview, true
	}
	out = jsonscan.AppendText(append(out, `,"preview":`...), cut(preview, previewLen))
	return append(strconv.AppendBool(append(out, `,"preview_is_cut":`...), isCut), '}')
}

// appendHot appends the hot fields.
func appendHot(out []byte, e *models.Event) []byte {
	out = appendNumberOrNull(append(out, `,"pid":`...), e.PID)
	out = appendTextOrNull(append(out, `,"process_name":`...), e.ProcessName)
	out = appendTextOrNull(append(out, `,"operation":`...), e.Operation)
	return appendTextOrNull(append(out, `,"target":`...), e.Target)
}

// AppendHead appends the beginning of the event, up to the value of data. If eventType is
// not the event's own type, it appends that too, as original_event_type.
func AppendHead(out []byte, e *models.Event, eventType string) []byte {
	out = strconv.AppendUint(append(out, `{"id":`...), e.ID, 10)
	out = appendEnvelope(append(out, ','), e, eventType)
	return append(out, `,"data":`...)
}

// appendEnvelope appends the members of an event between its id and its data.
func appendEnvelope(out []byte, e *models.Event, eventType string) []byte {
	out = jsonscan.AppendText(append(out, `"session_id":`...), e.SessionID)
	out = strconv.AppendInt(append(out, `,"seq":`...), e.Seq, 10)
	out = jsonscan.AppendText(append(out, `,"event_type":`...), eventType)
	if eventType != e.EventType && e.EventType != "" {
		out = jsonscan.AppendText(append(out, `,"original_event_type":`...), e.EventType)
	}
	out = models.AppendTime(append(out, `,"timestamp":"`...), e.Timestamp)
	out = jsonscan.AppendText(append(out, `","timestamp_source":`...), e.TimestampSource)
	if e.TimestampText != nil {
		out = jsonscan.AppendText(append(out, `,"timestamp_text":`...), *e.TimestampText)
	}
	out = jsonscan.AppendText(append(out, `,"source":`...), e.Source)
	out = models.AppendTime(append(out, `,"created_at":"`...), e.CreatedAt)
	return append(out, '"')
}

// Payload returns the event's data as the agent sent it, null if there is none.
func Payload(e *models.Event) []byte {
	if data := e.Payload(); len(data) > 0 {
		return data
	}
	return []byte("null")
}

// quote writes a JSON string.
func quote(s string) string {
	text, _ := json.Marshal(s) // cannot fail
	return string(text)
}

// AppendString appends a JSON string.
func AppendString(out []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c >= 0x7f || c == '"' || c == '\\' {
			return append(out, quote(s)...)
		}
	}
	return append(append(append(out, '"'), s...), '"')
}

// appendTextOrNull appends a JSON string, or null.
func appendTextOrNull(out []byte, s *string) []byte {
	if s == nil {
		return append(out, "null"...)
	}
	return jsonscan.AppendText(out, *s)
}

// appendNumberOrNull appends a JSON number, or null.
func appendNumberOrNull(out []byte, n *int64) []byte {
	if n == nil {
		return append(out, "null"...)
	}
	return strconv.AppendInt(out, *n, 10)
}
