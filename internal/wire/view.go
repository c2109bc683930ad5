package wire

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strconv"
	"time"

	"ospulse/internal/jsonscan"
	"ospulse/internal/models"
)

// typeProcessOperation is what the old dashboard calls a process creation; the
// agents send models.TypeProcessCreation.
const typeProcessOperation = "process_creation_operation"

// AppendEvent appends the event as JSON, its data as the agent sent it.
func AppendEvent(out []byte, e *models.Event) []byte {
	out = appendHead(out, e, e.EventType)
	return append(append(out, payload(e)...), '}')
}

// AppendListedEvent appends the event as lists and streams give it, as JSON: what
// people filter by, and the beginning of its data as text. Such an event has no ID:
// a session and a seq name it.
func AppendListedEvent(out []byte, e *models.Event) []byte {
	out = appendHot(appendEnvelope(append(out, '{'), e, e.EventType), e)
	preview, isCut := string(e.Data[:min(len(e.Data), previewLen+1)]), len(e.Data) > previewLen
	if e.Preview != nil {
		preview, isCut = *e.Preview, true
	}
	out = appendText(append(out, `,"preview":`...), cut(preview, previewLen))
	return append(strconv.AppendBool(append(out, `,"preview_is_cut":`...), isCut), '}')
}

// appendHot appends the members that are lifted from an event's data.
func appendHot(out []byte, e *models.Event) []byte {
	out = appendNumberOrNull(append(out, `,"pid":`...), e.PID)
	out = appendTextOrNull(append(out, `,"process_name":`...), e.ProcessName)
	out = appendTextOrNull(append(out, `,"operation":`...), e.Operation)
	return appendTextOrNull(append(out, `,"target":`...), e.Target)
}

// AppendDashboardEvent appends the event as AppendEvent does, and adds to its
// data what the old dashboard reads and would go blank without. What the agent
// sent stays as it is, to the byte, but for what the dashboard would throw on:
// null, which carries nothing, gives way to a default, and a value of which no
// use can be made moves to the same key with "_sent" added, a packet's time to
// timestamp_epoch. Data that is no object is put under the key value; events of
// other types have no additions.
//
// asOperation gives process_creation out as process_creation_operation, the name
// that the old dashboard looks for, and the name that was sent as
// original_event_type. A path of a process that is neither a text nor null, which that
// dashboard cannot take apart, is then a text, and what was sent moves to the key with
// "_sent". It is for that dashboard alone, which its CORS origin gives away; everybody
// else gets what was sent.
func AppendDashboardEvent(out []byte, e *models.Event, asOperation bool) []byte {
	fields := dashboardFields(e, asOperation)
	if fields == nil {
		return AppendEvent(out, e)
	}
	eventType := e.EventType
	if asOperation && eventType == models.TypeProcessCreation {
		eventType = typeProcessOperation
	}
	data := payload(e)
	switch jsonscan.Kind(data) {
	case '{':
	case 'n':
		data = []byte("{}")
	default:
		data = slices.Concat([]byte(`{"value":`), data, []byte("}"))
	}
	out = appendHead(out, e, eventType)
	return append(appendObject(out, data, fields), '}')
}

// appendHead appends the event up to its data: of eventType, with the one that was
// sent beside it if that is another.
func appendHead(out []byte, e *models.Event, eventType string) []byte {
	out = strconv.AppendUint(append(out, `{"id":`...), e.ID, 10)
	out = appendEnvelope(append(out, ','), e, eventType)
	return append(out, `,"data":`...)
}

// appendEnvelope appends the members of an event between its id and its data.
func appendEnvelope(out []byte, e *models.Event, eventType string) []byte {
	out = appendText(append(out, `"session_id":`...), e.SessionID)
	out = strconv.AppendInt(append(out, `,"seq":`...), e.Seq, 10)
	out = appendText(append(out, `,"event_type":`...), eventType)
	if eventType != e.EventType && e.EventType != "" {
		out = appendText(append(out, `,"original_event_type":`...), e.EventType)
	}
	out = AppendTime(append(out, `,"timestamp":"`...), e.Timestamp)
	out = appendText(append(out, `","timestamp_source":`...), e.TimestampSource)
	if e.TimestampText != nil {
		out = appendText(append(out, `,"timestamp_text":`...), *e.TimestampText)
	}
	out = appendText(append(out, `,"source":`...), e.Source)
	out = AppendTime(append(out, `,"created_at":"`...), e.CreatedAt)
	return append(out, '"')
}

func payload(e *models.Event) []byte {
	if data := e.Payload(); len(data) > 0 {
		return data
	}
	return []byte("null")
}

// field is a member that the dashboard reads.
type field struct {
	key     string
	aliases []string // what other agents and versions call it
	must    need
	absent  string  // JSON, when it is there under no name; an empty string unless set
	members []field // of an object
	sentKey string  // where an unfit value moves; the key and "_sent" unless set
}

// need is what the dashboard does with a field, and so what it takes.
type need int

const (
	anything    need = iota // it is only displayed: whatever was sent stays, null too
	object                  // its members are read
	text                    // a string's methods are called on it
	base64Text              // it is decoded; made of the text beside it when missing
	isoTime                 // it is made a date, which throws on what is none
	epochMillis             // the same, of a number
)

func (n need) takes(value []byte) bool {
	switch n {
	case object:
		return jsonscan.Kind(value) == '{'
	case text, base64Text:
		return jsonscan.Kind(value) == '"'
	case isoTime:
		_, err := time.Parse(time.RFC3339, jsonscan.Unquote(value))
		return err == nil
	case epochMillis:
		_, ok := epochTime(string(value), time.Millisecond)
		return ok
	default:
		return true
	}
}

// dashboardFields gives what the dashboard reads of an event's data; nil for a
// type of which it reads nothing. asOperation is AppendDashboardEvent's.
func dashboardFields(e *models.Event, asOperation bool) []field {
	path := func(key string) need {
		if kind := jsonscan.Kind(jsonscan.Get(e.Payload(), key)); asOperation && kind != 'n' && kind != '"' {
			return text
		}
		return anything
	}
	var (
		at       = quote(FormatTime(e.Timestamp))
		metadata = field{key: "metadata", aliases: []string{"process_info"}, must: object, members: []field{
			{key: "processName", aliases: []string{"process_name"}},
			{key: "processId", aliases: []string{"process_id", "pid"}, absent: "0"},
		}}
		body = field{key: "body", must: object, members: []field{{key: "content_b64", must: base64Text}}}
	)
	switch e.EventType {
	case models.TypeFile:
		return []field{
			metadata,
			{key: "timestamp", absent: at},
			{key: "operation"},
			{key: "filePath", aliases: []string{"file_path"}},
			{key: "content", aliases: []string{"content_preview"}},
			{key: "bytesTransferred", aliases: []string{"bytes_transferred"}, absent: "0"},
		}
	case models.TypeProcessCreation, typeProcessOperation:
		return []field{
			metadata,
			{key: "timestamp", absent: at},
			{key: "operation"},
			{key: "filePath", aliases: []string{"imagePath", "image_path"}, must: path("filePath")},
			{key: "imagePath", aliases: []string{"image_path", "filePath"}, must: path("imagePath")},
			{key: "args", aliases: []string{"commandLine", "command_line"}},
			{key: "commandLine", aliases: []string{"command_line", "args"}},
		}
	case models.TypeHTTP:
		return []field{
			metadata,
			{key: "timestamp", absent: at},
			{key: "timestamp_ms", must: epochMillis, absent: strconv.FormatInt(e.Timestamp.UnixMilli(), 10)},
			{key: "request", must: object, members: []field{{key: "method", must: text}, body}},
			{key: "response", must: object, members: []field{body}},
		}
	case models.TypePacket:
		return []field{
			metadata,
			{key: "timestamp", must: isoTime, absent: at, sentKey: "timestamp_epoch"},
			{key: "protocol", must: text},
			{key: "dst"},
			{key: "length", absent: "0"},
			{key: "info"},
		}
	default:
		return nil
	}
}

// appendObject appends an object with its fields in the state that the dashboard
// needs. All else is copied as text, so that nothing in it can change.
func appendObject(out, object []byte, fields []field) []byte {
	sent := map[string][]byte{} // of a duplicate key the last one, as JSON.parse sees it
	for key, value := range jsonscan.Members(object) {
		sent[key] = value
	}
	copied := 0
	for key, value := range jsonscan.Members(object) {
		i := slices.IndexFunc(fields, func(f field) bool { return f.key == key })
		if i < 0 || fields[i].must == anything || cap(value) != cap(sent[key]) {
			continue
		}
		start := cap(object) - cap(value) // a value shares its object's memory, to the end
		out = append(out, object[copied:start]...)
		out = fields[i].appendValue(out, sent)
		copied = start + len(value)
	}
	out = append(out, object[copied:bytes.LastIndexByte(object, '}')]...)

	comma := len(sent) > 0
	addKey := func(key string) {
		if comma {
			out = append(out, ',')
		}
		comma = true
		out = append(append(out, quote(key)...), ':')
	}
	for _, f := range fields {
		value, ok := sent[f.key]
		switch {
		case !ok:
			addKey(f.key)
			out = f.appendValue(out, sent)
		case !f.must.takes(value) && !empty(value):
			addKey(f.freeKey(sent))
			out = append(out, value...)
		}
	}
	return append(out, '}')
}

// appendValue appends what was sent under the field's key or an alias, if the
// dashboard takes that, else what stands for it.
func (f *field) appendValue(out []byte, sent map[string][]byte) []byte {
	for _, key := range append([]string{f.key}, f.aliases...) {
		switch value := sent[key]; {
		case empty(value) || !f.must.takes(value):
			continue
		case f.must == object:
			return appendObject(out, value, f.members)
		default:
			return append(out, value...)
		}
	}
	switch {
	case f.must == object:
		return appendObject(out, []byte("{}"), f.members)
	case f.must == base64Text:
		content := []byte(jsonscan.Unquote(sent["content"]))
		return append(base64.StdEncoding.AppendEncode(append(out, '"'), content), '"')
	case f.must == text && !empty(sent[f.key]):
		return append(out, quote(string(sent[f.key]))...)
	default:
		return append(out, cmp.Or(f.absent, `""`)...)
	}
}

// freeKey gives a key that the agent did not send, for a value that moves.
func (f *field) freeKey(sent map[string][]byte) string {
	key := cmp.Or(f.sentKey, f.key+"_sent")
	for sent[key] != nil {
		key += "_sent"
	}
	return key
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
