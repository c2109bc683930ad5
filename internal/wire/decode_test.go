package wire_test

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"ospulse/internal/models"
	"ospulse/internal/wire"
)

func TestDecodeFixtures(t *testing.T) {
	types := map[string]int{}
	for _, r := range fixtures(t) {
		incoming, faults, err := decode(r.Path, []byte(r.Body))
		if err != nil || len(faults) > 0 {
			t.Errorf("%s refuses %.200s: %v %v", r.Path, r.Body, err, faults)
		}
		sent, err := sentData(r.Path, []byte(r.Body))
		if err != nil || len(sent) != len(incoming) {
			t.Fatalf("%d events of %d (%v) in %.200s", len(incoming), len(sent), err, r.Body)
		}
		for i, in := range incoming {
			types[in.EventType]++
			if err := checkStorable(&in, sent[i]); err != nil {
				t.Error(err)
			}
			if in.TimestampSource != models.TimestampFromAgent {
				t.Errorf("the time of %.200s is not read", sent[i])
			}
		}
	}
	want := map[string]int{
		"file_operation": 116, "process_creation": 52, "session_start": 5, "status_response": 1, "send": 1,
		"http_network_operation": 90, "raw_network_operation": 936,
	}
	if !maps.Equal(types, want) {
		t.Errorf("decoded %v, want %v", types, want)
	}
}

func TestEvent(t *testing.T) {
	const sentTime = "2026-11-22T18:57:39.916883Z"
	received := models.FormatTime(receipt)
	type want struct{ eventType, source, time, timeSource, timeText, data string }
	tests := map[string]struct {
		body string
		want want
	}{
		"controller event": {
			`{"event_type":"file_operation","timestamp":"2026-11-22T18:57:39.916883Z","source":"os-pulse-controller","data":{"a":1}}`,
			want{"file_operation", "os-pulse-controller", sentTime, "agent", "", `{"a":1}`},
		},
		"white space, other order": {
			" {\n\"data\" : { \"a\" : 1 } , \"timestamp\":\"2026-11-22T18:57:39.916883Z\",\"source\":\"s\",\"event_type\":\"x\" }\n",
			want{"x", "s", sentTime, "agent", "", `{ "a" : 1 }`},
		},
		"unknown type, escaped":   {`{"event_type":"registr\u0079_\ud83d\ude00"}`, want{"registry_😀", "unknown", received, "received", "", "null"}},
		"empty type":              {`{"event_type":"","data":{"a":1}}`, want{"unknown", "unknown", received, "received", "", `{"a":1}`}},
		"type of 100 bytes":       {`{"event_type":"` + strings.Repeat("x", 100) + `"}`, want{strings.Repeat("x", 100), "unknown", received, "received", "", "null"}},
		"all else null":           {`{"event_type":"send","timestamp":null,"source":null,"data":null}`, want{"send", "unknown", received, "received", "", "null"}},
		"data is an array":        {`{"event_type":"x","data":[1,2]}`, want{"x", "unknown", received, "received", "", "[1,2]"}},
		"data is a string":        {`{"event_type":"x","data":"y"}`, want{"x", "unknown", received, "received", "", `"y"`}},
		"data is a huge number":   {`{"event_type":"x","data":1e400}`, want{"x", "unknown", received, "received", "", "1e400"}},
		"data that jsonb refuses": {`{"event_type":"x","data":{"a":"\u0000\udce9","a":-0}}`, want{"x", "unknown", received, "received", "", `{"a":"\u0000\udce9","a":-0}`}},
		"timestamp unreadable":    {`{"event_type":"x","timestamp":"yesterday\u0000"}`, want{"x", "unknown", received, "received", `"yesterday\u0000"`, "null"}},
		"timestamp a number":      {`{"event_type":"x","timestamp":1795374137.9}`, want{"x", "unknown", "2026-11-22T19:02:17.900000Z", "agent", "1795374137.9", "null"}},
		"timestamp beyond years":  {`{"event_type":"x","timestamp":"9999-12-31T23:59:59-01:00"}`, want{"x", "unknown", received, "received", `"9999-12-31T23:59:59-01:00"`, "null"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			in, err := wire.Event([]byte(tt.body), receipt)
			if err != nil {
				t.Fatal(err)
			}
			got := want{in.EventType, in.Source, models.FormatTime(in.Timestamp), in.TimestampSource, deref(in.TimestampText), string(in.Payload())}
			if got != tt.want {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
			if err := checkStorable(&in, []byte(tt.want.data)); err != nil {
				t.Error(err)
			}
		})
	}
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// TestRefused checks that each kind of bad input is refused as "invalid", with the
// fault and the field, if there is one, in the message.
func TestRefused(t *testing.T) {
	const events, http, net = "/api/events", "/api/http/events", "/api/net/events"
	tests := map[string]struct{ path, body, want string }{
		"event: empty":                    {events, " \n", "the body is empty"},
		"event: cut":                      {events, `{"event_type":"x"`, "malformed JSON: expected ',' or '}', found end of the text at byte 17"},
		"event: two values":               {events, `{"event_type":"x"}{}`, "malformed JSON: unexpected '{' after the value at byte 18"},
		"event: invalid UTF-8":            {events, "{\"event_type\":\"\xff\"}", "malformed JSON: invalid UTF-8 in a string at byte 15"},
		"event: UTF-16":                   {events, "\xff\xfe{\x00}\x00", "malformed JSON: expected a value, found byte 0xff at byte 0"},
		"event: nests too deep":           {events, strings.Repeat("[", 10001), "malformed JSON: more than 10000 levels of nesting"},
		"event: an array":                 {events, `[{"event_type":"x"}]`, "an event is a JSON object, not an array"},
		"event: null":                     {events, `null`, "an event is a JSON object, not null"},
		"event: unknown field":            {events, `{"event_type":"x","sessionId":"s"}`, `unknown field "sessionId"`},
		"event: long unknown field":       {events, `{"` + strings.Repeat("é", 1000) + `":1}`, `unknown field "` + strings.Repeat("é", 50) + `"`},
		"event: wrong letter case":        {events, `{"Event_Type":"x"}`, `unknown field "Event_Type"`},
		"event: a field twice":            {events, `{"event_type":"x","data":1,"data":2}`, "data is there twice"},
		"event: no type":                  {events, `{"data":{}}`, "event_type is missing"},
		"event: null type":                {events, `{"event_type":null}`, "event_type is missing"},
		"event: numeric type":             {events, `{"event_type":5}`, "event_type must be a string, not a number"},
		"event: type of 101 bytes":        {events, `{"event_type":"` + strings.Repeat("x", 101) + `"}`, "event_type is 101 bytes long; at most 100"},
		"event: type with NUL":            {events, `{"event_type":"a\u0000"}`, "event_type holds a character at byte 1"},
		"event: type with a newline":      {events, `{"event_type":"ab\n"}`, "event_type holds a character at byte 2"},
		"event: type, lone surrogate":     {events, `{"event_type":"\udce9"}`, "event_type holds a character at byte 0"},
		"event: source, both":             {events, `{"event_type":"x","source":"\ufffd\ud800"}`, "source holds a character at byte 0"},
		"event: source, U+FFFD and NUL":   {events, `{"event_type":"x","source":"\ufffd\u0001"}`, "source holds a character at byte 3"},
		"event: source is an object":      {events, `{"event_type":"x","source":{}}`, "source must be a string, not an object"},
		"event: long source":              {events, `{"event_type":"x","source":"` + strings.Repeat("x", 101) + `"}`, "source is 101 bytes long"},
		"event: long timestamp":           {events, `{"event_type":"x","timestamp":"` + strings.Repeat("0", 300) + `"}`, "timestamp is 302 bytes long; at most 255"},
		"flow: empty":                     {http, "", "the body is empty"},
		"flow: cut":                       {http, `{"request":`, "malformed JSON: expected a value, found end of the text at byte 11"},
		"flow: a string":                  {http, `"x"`, "an HTTP flow is a JSON object, not a string"},
		"flow: no request":                {http, `{"timestamp_ms":1}`, "request is missing"},
		"flow: request is a boolean":      {http, `{"request":true}`, "request must be an object, not a boolean"},
		"batch: empty":                    {net, "", "the body is empty"},
		"batch: cut":                      {net, `{"events":[{]}`, "malformed JSON: expected a key in double quotes, found ']' at byte 12"},
		"batch: an array":                 {net, `[]`, "a packet batch is a JSON object with an array events, not an array"},
		"batch: no events":                {net, `{"count":0}`, "events is missing"},
		"batch: events is null":           {net, `{"events":null}`, "events must be an array, not null"},
		"batch: events is an object":      {net, `{"events":{}}`, "events must be an array, not an object"},
		"batch: events twice":             {net, `{"events":[{}],"events":[]}`, "events is there twice"},
		"batch: unknown field":            {net, `{"events":[],"packets":[{}]}`, `unknown field "packets"`},
		"batch: count is negative":        {net, `{"events":[],"count":-1}`, "count must be a whole number that is not negative, not -1"},
		"batch: count is huge":            {net, `{"events":[],"count":1e400}`, "count must be a whole number that is not negative, not 1e400"},
		"batch: count is of another kind": {net, `{"events":[],"count":[]}`, "count must be a whole number that is not negative, not []"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			in, faults, err := decode(tt.path, []byte(tt.body))
			if err == nil {
				t.Fatalf("accepted: %+v, %v", in, faults)
			}
			e, ok := errors.AsType[*models.Error](err)
			if !ok || e.Code != models.CodeInvalid || !strings.HasPrefix(e.Message, tt.want) {
				t.Errorf("got %q (%s), want %q", err, models.ErrorCode(err), tt.want)
			}
		})
	}
}

func TestHTTPFlow(t *testing.T) {
	tests := map[string]struct{ body, time, source string }{
		"request":               {`{"timestamp_ms":1795374777956,"kind":"request","request":{}}`, "2026-11-22T19:12:57.956000Z", "agent"},
		"unknown keys are kept": {`{"timings":{"a":0.1},"timestamp_ms":1795374777956,"request":{},"response":{}}`, "2026-11-22T19:12:57.956000Z", "agent"},
		"request is null":       {`{"timestamp_ms":0,"request":null}`, "1970-01-01T00:00:00Z", "agent"},
		"fraction":              {`{"timestamp_ms":1795374777956.1239,"request":{}}`, "2026-11-22T19:12:57.956124Z", "agent"},
		"number in a string":    {`{"timestamp_ms":" 1795374777956 ","request":{}}`, "2026-11-22T19:12:57.956000Z", "agent"},
		"time in a string":      {`{"timestamp_ms":"2026-11-22T19:12:57+01:00","request":{}}`, "2026-11-22T18:12:57Z", "agent"},
		"negative":              {`{"timestamp_ms":-1,"request":{}}`, "1969-12-31T23:59:59.999000Z", "agent"},
		"no time":               {`{"request":{}}`, models.FormatTime(receipt), "received"},
		"null time":             {`{"timestamp_ms":null,"request":{}}`, models.FormatTime(receipt), "received"},
		"time beyond years":     {`{"timestamp_ms":1e18,"request":{}}`, models.FormatTime(receipt), "received"},
		"time beyond floats":    {`{"timestamp_ms":1e400,"request":{}}`, models.FormatTime(receipt), "received"},
		"time of another kind":  {`{"timestamp_ms":[1],"request":{}}`, models.FormatTime(receipt), "received"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			in, err := wire.HTTPFlow([]byte(tt.body), receipt)
			if err != nil {
				t.Fatal(err)
			}
			if in.EventType != models.TypeHTTP || in.Source != "http-interceptor" || models.FormatTime(in.Timestamp) != tt.time || in.TimestampSource != tt.source {
				t.Errorf("got %s of %s at %v (%s), want %s (%s)", in.EventType, in.Source, in.Timestamp, in.TimestampSource, tt.time, tt.source)
			}
			if err := checkStorable(&in, []byte(tt.body)); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestPackets(t *testing.T) {
	tests := map[string]struct {
		body   string
		want   []string // the payloads
		faults []models.ItemFault
	}{
		"none":              {`{"events":[]}`, nil, nil},
		"null count":        {`{"count":null,"events":[{"a":1}]}`, []string{`{"a":1}`}, nil},
		"count is off":      {`{"events":[{"a":1},{"a":2}],"count":7}`, []string{`{"a":1}`, `{"a":2}`}, nil},
		"only one is lossy": {`{"events":[{"a":"\u0000"}, {"a":2}]}`, []string{`{"a":"\u0000"}`, `{"a":2}`}, nil},
		"an empty packet":   {`{"events":[{}]}`, []string{`{}`}, nil},
		"bad among the good": {`{"events":[5,{"a":1},null,[],{"a":2},"x"]}`, []string{`{"a":1}`, `{"a":2}`}, []models.ItemFault{
			{Index: 0, Error: "a packet is a JSON object, not a number"}, {Index: 2, Error: "a packet is a JSON object, not null"},
			{Index: 3, Error: "a packet is a JSON object, not an array"}, {Index: 5, Error: "a packet is a JSON object, not a string"},
		}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			packets, faults, err := wire.Packets([]byte(tt.body), receipt)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, p := range packets {
				got = append(got, string(p.Payload()))
				if p.EventType != models.TypePacket || p.Source != "network-interceptor" {
					t.Errorf("%s is a %s of %s", p.Payload(), p.EventType, p.Source)
				}
				if err := checkStorable(&p, p.Payload()); err != nil {
					t.Error(err)
				}
			}
			if !slices.Equal(got, tt.want) || !slices.Equal(faults, tt.faults) {
				t.Errorf("got %q and %v, want %q and %v", got, faults, tt.want, tt.faults)
			}
		})
	}
}

func TestHotFields(t *testing.T) {
	type want struct {
		pid                              int64 // 0 for none
		process, operation, target, hint string
	}
	event := func(data string) string { return `{"event_type":"x","data":` + data + `}` }
	tests := map[string]struct {
		path, body string
		want       want
	}{
		"controller": {
			"/api/events", event(`{"filePath":"C:\\a.txt","operation":"ReadFile","metadata":{"sessionId":"mws78","processName":"cmd.exe","processId":102}}`),
			want{102, "cmd.exe", "ReadFile", `C:\a.txt`, "mws78"},
		},
		"older controller": {
			"/api/events", event(`{"operation":"WriteFile","file_path":"C:\\a.txt","process_info":{"processName":"Notepad.exe","processId":1}}`),
			want{1, "Notepad.exe", "WriteFile", `C:\a.txt`, ""},
		},
		"older controller, process": {
			"/api/events", event(`{"image_path":"C:\\a.exe","process_info":{"process_name":"a","process_id":"7"}}`),
			want{7, "a", "", `C:\a.exe`, ""},
		},
		"session start": {
			"/api/events", event(`{"sessionId":"mws78","processName":"chrome.exe","processId":103}`),
			want{103, "chrome.exe", "", "", ""},
		},
		"path before image":       {"/api/events", event(`{"imagePath":"b","filePath":"a"}`), want{target: "a"}},
		"no path, so image":       {"/api/events", event(`{"imagePath":"b","filePath":null}`), want{target: "b"}},
		"null hides no other":     {"/api/events", event(`{"filePath":"a","path":null,"file_path":""}`), want{target: "a"}},
		"metadata is no object":   {"/api/events", event(`{"metadata":"x","process_info":[1]}`), want{}},
		"values of another kind":  {"/api/events", event(`{"metadata":{"processId":1.5,"processName":7,"sessionId":8},"operation":[],"filePath":{}}`), want{}},
		"the first of two":        {"/api/events", event(`{"metadata":{"processId":1,"processName":"a"},"pid":2,"process_info":{"processName":"b"}}`), want{pid: 1, process: "a"}},
		"pid past 32 bit":         {"/api/events", event(`{"pid":4294967297}`), want{pid: 4294967297}},
		"pid past 64 bit":         {"/api/events", event(`{"pid":92233720368547758070}`), want{}},
		"data is null":            {"/api/events", event(`null`), want{}},
		"NUL and lone surrogates": {"/api/events", event(`{"processName":"a\u0000b\udce9","filePath":"\ud800c","metadata":{"sessionId":"\u0000"}}`), want{process: "a\ufffdb\ufffd", target: "\ufffdc", hint: "\ufffd"}},
		"300 KB of ASCII":         {"/api/events", event(`{"processName":"` + strings.Repeat("x", 300<<10) + `"}`), want{process: strings.Repeat("x", 1024)}},
		"300 KB, 3 bytes each":    {"/api/events", event(`{"filePath":"` + strings.Repeat("日", 100<<10) + `"}`), want{target: strings.Repeat("日", 1365)}},
		"300 KB of session id":    {"/api/events", event(`{"metadata":{"sessionId":"` + strings.Repeat("x", 300<<10) + `"}}`), want{hint: strings.Repeat("x", 4096)}},
		"HTTP": {
			"/api/http/events", `{"request":{"method":"GET","url":"http://a/b"},"metadata":{"sessionId":"s"}}`,
			want{operation: "GET", target: "http://a/b", hint: "s"},
		},
		"HTTP, nothing known": {"/api/http/events", `{"request":{"method":null,"url":5}}`, want{}},
		"packet":              {"/api/net/events", `{"events":[{"dst":"10.0.0.1","dst_port":53}]}`, want{target: "10.0.0.1:53"}},
		"packet, IPv6":        {"/api/net/events", `{"events":[{"dst_port":443,"dst":"fe80::1"}]}`, want{target: "[fe80::1]:443"}},
		"packet, no port":     {"/api/net/events", `{"events":[{"dst":"fe80::1","dst_port":null}]}`, want{target: "fe80::1"}},
		"packet, ARP":         {"/api/net/events", `{"events":[{"dst":"","dst_port":53}]}`, want{}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			incoming, _, err := decode(tt.path, []byte(tt.body))
			if err != nil || len(incoming) != 1 {
				t.Fatal(incoming, err)
			}
			in := incoming[0]
			got := want{0, deref(in.ProcessName), deref(in.Operation), deref(in.Target), in.SessionHint}
			if in.PID != nil {
				got.pid = *in.PID
			}
			if got != tt.want {
				t.Errorf("got %.300v, want %.300v", got, tt.want)
			}
		})
	}
}

// TestReceiptTime checks that the time of receipt is stored like any other: UTC, in
// microseconds.
func TestReceiptTime(t *testing.T) {
	in, err := wire.Event([]byte(`{"event_type":"x"}`), receipt.In(time.FixedZone("", 3600)))
	if want := receipt.Truncate(time.Microsecond); err != nil || in.Timestamp != want {
		t.Errorf("got %v (%v), want %v", in.Timestamp, err, want)
	}
}
