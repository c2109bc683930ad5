package wire_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ospulse/internal/compat"
	"ospulse/internal/jsonscan"
	"ospulse/internal/models"
	"ospulse/internal/wire"
)

// receipt is the time of receipt of every test's request.
var receipt = time.Date(2026, 11, 22, 20, 0, 0, 123_456_789, time.UTC)

// request is one recorded request of a real client.
type request struct{ Method, Path, Body string }

// fixtures returns the recorded requests that carry events.
func fixtures(t testing.TB) []request {
	t.Helper()
	files, err := filepath.Glob("../../test/testdata/fixtures/*.jsonl")
	if err != nil || len(files) != 4 {
		t.Fatalf("found the fixtures %v (%v), want 4 files", files, err)
	}
	var requests []request
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(text) {
			var r request
			if err := json.Unmarshal(line, &r); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			if r.Method == "POST" {
				requests = append(requests, r)
			}
		}
	}
	return requests
}

// decode decodes a body with the decoder of the path.
func decode(path string, body []byte) ([]models.Incoming, []models.ItemFault, error) {
	switch path {
	case "/api/http/events":
		in, err := wire.HTTPFlow(body, receipt)
		return []models.Incoming{in}, nil, err
	case "/api/net/events":
		return wire.Packets(body, receipt)
	default:
		in, err := wire.Event(body, receipt)
		return []models.Incoming{in}, nil, err
	}
}

// fixtureEvents returns every recorded event as the database would return it.
func fixtureEvents(t testing.TB) []models.Event {
	t.Helper()
	var events []models.Event
	for _, r := range fixtures(t) {
		incoming, faults, err := decode(r.Path, []byte(r.Body))
		if err != nil || len(faults) > 0 {
			t.Fatalf("%s refuses %.200s: %v %v", r.Path, r.Body, err, faults)
		}
		for _, in := range incoming {
			e := in.Event
			e.ID, e.SessionID, e.Seq, e.CreatedAt = uint64(len(events)+1), models.UnassignedID, int64(len(events)+1), receipt
			events = append(events, e)
		}
	}
	return events
}

// sentData reads a body's events without the code under test.
func sentData(path string, body []byte) ([][]byte, error) {
	switch path {
	case "/api/http/events":
		return [][]byte{bytes.TrimSpace(body)}, nil
	case "/api/net/events":
		var batch struct{ Events []json.RawMessage }
		err := json.Unmarshal(body, &batch)
		var packets [][]byte
		for _, item := range batch.Events {
			if item[0] == '{' {
				packets = append(packets, item)
			}
		}
		return packets, err
	default:
		event := struct{ Data json.RawMessage }{json.RawMessage("null")}
		err := json.Unmarshal(body, &event)
		return [][]byte{event.Data}, err
	}
}

// checkStorable returns an error if a decoded event could not be stored and read back.
func checkStorable(in *models.Incoming, sent []byte) error {
	for name, s := range map[string]*string{
		"event_type": &in.EventType, "source": &in.Source, "timestamp_text": in.TimestampText, "session hint": &in.SessionHint,
		"process_name": in.ProcessName, "operation": in.Operation, "target": in.Target,
	} {
		if s != nil && (strings.ToValidUTF8(*s, "") != *s || strings.Contains(*s, "\x00") || len(*s) > 4096+len("[]:-9223372036854775808")) {
			return fmt.Errorf("no text column takes the %s %.100q", name, *s)
		}
	}
	if n := len(in.EventType); n == 0 || n > models.MaxEventTypeLen {
		return fmt.Errorf("the event type is %d bytes long", n)
	}
	if y := in.Timestamp.Year(); y < 1 || y > 9999 || in.Timestamp.Location() != time.UTC || in.Timestamp.Nanosecond()%1000 != 0 {
		return fmt.Errorf("no column takes the time %v", in.Timestamp)
	}
	if !bytes.Equal(in.Payload(), sent) {
		return fmt.Errorf("the payload is %.200s, sent was %.200s", in.Payload(), sent)
	}
	if lossless, _ := jsonscan.Check(sent); lossless != (in.DataRaw == nil) {
		return fmt.Errorf("raw bytes kept: %v, although lossless: %v, for %.200s", in.DataRaw != nil, lossless, sent)
	}
	if lossless, err := jsonscan.Check(in.Data); !lossless || err != nil || !json.Valid(in.Data) {
		return fmt.Errorf("jsonb does not take %.200s", in.Data)
	}
	return nil
}

// contractField is a member of an event's data that the dashboard reads.
type contractField struct {
	path   string
	kinds  string // in real clients' events: ", 0 (a number), n, {
	always bool   // every event must have this kind: the dashboard fails on any other
}

var (
	metadataFields = []contractField{{"metadata", "{", true}, {"metadata.processName", `"`, false}, {"metadata.processId", "0", false}}
	fileFields     = slices.Concat(metadataFields, []contractField{
		{"timestamp", `"n`, false}, {"operation", `"`, false}, {"filePath", `"n`, false}, {"content", `"n`, false}, {"bytesTransferred", "0", false},
	})
	creationFields = slices.Concat(metadataFields, []contractField{
		{"timestamp", `"`, false}, {"operation", `"`, false}, {"filePath", `"n`, false}, {"args", `"n`, false},
		{"imagePath", `"n`, false}, {"commandLine", `"n`, false},
	})
	httpFields = slices.Concat(metadataFields, []contractField{
		{"timestamp", `"`, false}, {"timestamp_ms", "0", true},
		{"request", "{", true}, {"request.method", `"`, true}, {"request.body", "{", true}, {"request.body.content_b64", `"`, true},
		{"response", "{", true}, {"response.body", "{", true}, {"response.body.content_b64", `"`, true},
	})
	packetFields = slices.Concat(metadataFields, []contractField{
		{"timestamp", `"`, true}, {"protocol", `"`, true}, {"dst", `"`, false}, {"length", "0", false}, {"info", `"`, false},
	})
)

// contract lists the fields by event type.
var contract = map[string][]contractField{
	models.TypeFile:              fileFields,
	models.TypeProcessCreation:   creationFields,
	"process_creation_operation": creationFields,
	models.TypeHTTP:              httpFields,
	models.TypePacket:            packetFields,
}

// checkView returns an error if a returned event is wrong. recorded is set for events
// of real clients, which have the right kind in every field.
func checkView(e *models.Event, recorded bool) error {
	plain, shown := wire.AppendEvent(nil, e), compat.AppendEvent([]byte("before"), e, true)
	shown, found := bytes.CutPrefix(shown, []byte("before"))
	if !found || !json.Valid(plain) || !json.Valid(shown) {
		return fmt.Errorf("not JSON: %.300s, %.300s", plain, shown)
	}
	for _, key := range []string{"id", "session_id", "seq", "event_type", "timestamp", "timestamp_source", "source", "created_at"} {
		if a, b := jsonscan.Get(plain, key), jsonscan.Get(shown, key); a == nil || !bytes.Equal(a, b) && key != "event_type" {
			return fmt.Errorf("%s is %s, to the dashboard %s", key, a, b)
		}
	}
	sent, data := []byte(e.Payload()), jsonscan.Get(shown, "data")
	if got := jsonscan.Get(plain, "data"); !bytes.Equal(got, bytes.TrimSpace(sent)) {
		return fmt.Errorf("data is %.300s, sent was %.300s", got, sent)
	}
	fields, known := contract[e.EventType]
	if !known {
		if !bytes.Equal(plain, shown) {
			return fmt.Errorf("the dashboard gets %.300s, all others %.300s", shown, plain)
		}
		return nil
	}
	var replaceable []string
	for _, f := range fields {
		value := data
		for key := range strings.SplitSeq(f.path, ".") {
			value = jsonscan.Get(value, key)
		}
		if value == nil || (recorded || f.always) && !strings.Contains(f.kinds, kind(value)) {
			return fmt.Errorf("%s is %.100q in %.300s", f.path, value, data)
		}
		if f.always {
			replaceable = append(replaceable, f.path)
		}
	}
	for _, key := range []string{"filePath", "imagePath"} { // of a process: texts, or null
		if k := kind(jsonscan.Get(sent, key)); e.EventType != models.TypeFile && k != `"` && k != "n" {
			replaceable = append(replaceable, key)
		}
		if k := kind(jsonscan.Get(data, key)); strings.HasPrefix(e.EventType, models.TypeProcessCreation) && k != `"` && k != "n" {
			return fmt.Errorf("%s is not a text in %.300s", key, data)
		}
	}
	if e.EventType == models.TypePacket {
		if _, err := time.Parse(time.RFC3339, jsonscan.Unquote(jsonscan.Get(data, "timestamp"))); err != nil {
			return err
		}
	}
	switch kind(sent) {
	case "{":
		return checkKept(bytes.TrimSpace(sent), data, "", replaceable)
	case "n":
		return nil
	default:
		if value := jsonscan.Get(data, "value"); !bytes.Equal(value, bytes.TrimSpace(sent)) {
			return fmt.Errorf("value is %.300s, sent was %.300s", value, sent)
		}
		return nil
	}
}

func kind(value []byte) string {
	k := jsonscan.Kind(value)
	if k == '-' || '0' <= k && k <= '9' {
		k = '0'
	}
	return string(rune(k))
}

type member struct {
	key   string
	value []byte
}

func members(object []byte) (list []member) {
	for key, value := range jsonscan.Members(object) {
		list = append(list, member{key, value})
	}
	return list
}

// checkKept returns an error if a shown object has lost part of the one that was sent.
// Each member must be at its place with the same text. Only a member at a replaceable
// path may differ: an object may have more members, null another value, and anything
// else may have moved to a later key.
func checkKept(sent, shown []byte, path string, replaceable []string) error {
	before, after := members(sent), members(shown)
	if len(after) < len(before) {
		return fmt.Errorf("%s%.300s has lost members of %.300s", path, shown, sent)
	}
	for i, m := range before {
		got, at := after[i], path+m.key
		if got.key == m.key && bytes.Equal(got.value, m.value) {
			continue
		}
		moved := func(other member) bool {
			newKey := strings.HasPrefix(other.key, m.key+"_sent") || at == "timestamp" && strings.HasPrefix(other.key, "timestamp_epoch")
			return newKey && bytes.Equal(other.value, m.value)
		}
		var err error
		switch {
		case got.key != m.key || !slices.Contains(replaceable, at):
			err = fmt.Errorf("%s was %.100q: %.100q, is %.100q: %.100q", path, m.key, m.value, got.key, got.value)
		case kind(m.value) == "{" && kind(got.value) == "{":
			err = checkKept(m.value, got.value, at+".", replaceable)
		case kind(m.value) != "n" && !slices.ContainsFunc(after[len(before):], moved):
			err = fmt.Errorf("%s was %.100q and is nowhere in %.300s", at, m.value, shown)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
