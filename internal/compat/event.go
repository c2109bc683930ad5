// Package compat serves the old dashboard, which cannot change: the view of events that it
// reads, the limit of its polls, and which of its pages started which session. Everything
// here exists for that client alone. docs/old-dashboard.md describes the client.
package compat

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"slices"
	"strconv"
	"time"

	"ospulse/internal/jsonscan"
	"ospulse/internal/models"
	"ospulse/internal/wire"
)

// typeProcessOperation is the dashboard's name of models.TypeProcessCreation.
const typeProcessOperation = "process_creation_operation"

// AppendEvent appends the event as wire.AppendEvent does, and completes its data for the
// old dashboard, which shows nothing if a member that it reads is missing. All that the
// agent sent stays byte for byte, except values on which the dashboard throws an
// exception: a default replaces null, and a value of the wrong type moves to the same key
// with "_sent" added (the time of a packet to timestamp_epoch). Data that is not an object
// becomes the value of the key "value". Events of other types stay as they are.
//
// asOperation renames the type process_creation to process_creation_operation, the name
// that the dashboard looks for, and adds original_event_type. It also turns the path of a
// process into text if the agent sent something else. Pass it only for the dashboard
// itself, which its CORS origin tells.
func AppendEvent(out []byte, e *models.Event, asOperation bool) []byte {
	fields := dashboardFields(e, asOperation)
	if fields == nil {
		return wire.AppendEvent(out, e)
	}
	eventType := e.EventType
	if asOperation && eventType == models.TypeProcessCreation {
		eventType = typeProcessOperation
	}
	data := wire.Payload(e)
	switch jsonscan.Kind(data) {
	case '{':
	case 'n':
		data = []byte("{}")
	default:
		data = slices.Concat([]byte(`{"value":`), data, []byte("}"))
	}
	out = wire.AppendHead(out, e, eventType)
	return append(appendObject(out, data, fields), '}')
}

// field is a member that the dashboard reads.
type field struct {
	key     string
	aliases []string // its names in other agents and versions
	must    need
	absent  string  // JSON default for a missing value; an empty string unless set
	members []field // of an object
	sentKey string  // where an unfit value moves; the key and "_sent" unless set
}

// need is what the dashboard does with a field. It decides which values the field takes.
type need int

const (
	anything    need = iota // it is only displayed: whatever was sent stays, null too
	object                  // its members are read
	text                    // a string's methods are called on it
	base64Text              // it is decoded; if missing, made from the text beside it
	isoTime                 // it becomes a Date, which throws if it is invalid
	epochMillis             // the same, from a number
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
		_, ok := wire.EpochTime(string(value), time.Millisecond)
		return ok
	default:
		return true
	}
}

// dashboardFields returns the members of an event's data that the dashboard reads, nil for
// a type of which it reads none. asOperation is that of AppendEvent.
func dashboardFields(e *models.Event, asOperation bool) []field {
	path := func(key string) need {
		if kind := jsonscan.Kind(jsonscan.Get(e.Payload(), key)); asOperation && kind != 'n' && kind != '"' {
			return text
		}
		return anything
	}
	var (
		at       = `"` + models.FormatTime(e.Timestamp) + `"`
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

// appendObject appends an object with its fields as the dashboard needs them. It copies
// everything else as text, so that nothing in it changes.
func appendObject(out, object []byte, fields []field) []byte {
	sent := map[string][]byte{} // the last one of a duplicate key, as in JSON.parse
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
		out = append(jsonscan.AppendText(out, key), ':')
	}
	for _, f := range fields {
		value, ok := sent[f.key]
		switch {
		case !ok:
			addKey(f.key)
			out = f.appendValue(out, sent)
		case !f.must.takes(value) && !jsonscan.Empty(value):
			addKey(f.freeKey(sent))
			out = append(out, value...)
		}
	}
	return append(out, '}')
}

// appendValue appends the value that the agent sent under the field's key or an alias, if
// the dashboard takes it, otherwise a default.
func (f *field) appendValue(out []byte, sent map[string][]byte) []byte {
	for _, key := range append([]string{f.key}, f.aliases...) {
		switch value := sent[key]; {
		case jsonscan.Empty(value) || !f.must.takes(value):
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
	case f.must == text && !jsonscan.Empty(sent[f.key]):
		return jsonscan.AppendText(out, string(sent[f.key]))
	default:
		return append(out, cmp.Or(f.absent, `""`)...)
	}
}

// freeKey returns a key that the agent did not send, for a value that moves.
func (f *field) freeKey(sent map[string][]byte) string {
	key := cmp.Or(f.sentKey, f.key+"_sent")
	for sent[key] != nil {
		key += "_sent"
	}
	return key
}
