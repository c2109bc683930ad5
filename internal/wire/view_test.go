package wire_test

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"ospulse/internal/compat"
	"ospulse/internal/jsonscan"
	"ospulse/internal/models"
	"ospulse/internal/wire"
)

func TestViewOfFixtures(t *testing.T) {
	for _, e := range fixtureEvents(t) {
		if err := checkView(&e, true); err != nil {
			t.Errorf("%s: %v", e.EventType, err)
		}
	}
}

func TestAppendEvent(t *testing.T) {
	unreadable := `"yesterday"`
	e := models.Event{
		ID: 7, SessionID: "s", Seq: 3, EventType: models.TypeProcessCreation, Source: "a \"b\"",
		Timestamp: receipt, TimestampSource: models.TimestampFromReceipt, TimestampText: &unreadable,
		Data: models.JSON(`{"n":"` + "\ufffd" + `"}`), DataRaw: []byte(`{ "n":"<\udce9>" ,"n":12345678901234567890 }`),
		CreatedAt: receipt.Truncate(time.Second),
	}
	head := `{"id":7,"session_id":"s","seq":3,"event_type":"process_creation",`
	headOperation := `{"id":7,"session_id":"s","seq":3,"event_type":"process_creation_operation","original_event_type":"process_creation",`
	rest := `"timestamp":"2026-11-22T20:00:00.123456Z","timestamp_source":"received","timestamp_text":"\"yesterday\"",` +
		`"source":"a \"b\"","created_at":"2026-11-22T20:00:00Z","data":{ "n":"<\udce9>" ,"n":12345678901234567890 `
	added := `,"metadata":{"processName":"","processId":0},"timestamp":"2026-11-22T20:00:00.123456Z","operation":"",` +
		`"filePath":"","imagePath":"","args":"","commandLine":""`
	for name, tt := range map[string]struct{ got, want string }{
		"event":                     {string(wire.AppendEvent(nil, &e)), head + rest + "}}"},
		"dashboard event":           {string(compat.AppendEvent(nil, &e, false)), head + rest + added + "}}"},
		"dashboard event, renamed":  {string(compat.AppendEvent(nil, &e, true)), headOperation + rest + added + "}}"},
		"appended to what is there": {string(wire.AppendEvent([]byte("["), &e)), "[" + head + rest + "}}"},
	} {
		if tt.got != tt.want {
			t.Errorf("%s:\ngot  %s\nwant %s", name, tt.got, tt.want)
		}
	}
	if got := string(wire.AppendEvent(nil, &models.Event{})); !strings.HasSuffix(got, `"data":null}`) || strings.Contains(got, "timestamp_text") {
		t.Errorf("an event without data is %s", got)
	}
}

func TestDashboardData(t *testing.T) {
	const (
		file, process, operation, http, packet = models.TypeFile, models.TypeProcessCreation, "process_creation_operation", models.TypeHTTP, models.TypePacket

		at       = `"2026-11-22T20:00:00.123456Z"`
		metadata = `"metadata":{"processName":"","processId":0}`
		fileRest = `"timestamp":` + at + `,"operation":"","filePath":"","content":"","bytesTransferred":0`

		httpTime   = `"timestamp":` + at + `,"timestamp_ms":1795377600123`
		noBody     = `"body":{"content_b64":""}`
		noRequest  = `"request":{"method":"",` + noBody + `}`
		noResponse = `"response":{` + noBody + `}`

		packetRest = `"protocol":"","dst":"","length":0,"info":""`
	)
	flow := func(request string) string {
		return `{` + metadata + `,` + httpTime + `,` + request + `,` + noResponse + `}`
	}
	tests := map[string]struct{ eventType, sent, want string }{
		"complete file operation": {
			file, `{"handle":"0x1","filePath":null,"bytesTransferred":-16,"content":"41","timestamp":"2026-01-01T00:00:00.000Z","operation":"ReadFile","metadata":{"sessionId":"a","processName":"b","processId":1}}`,
			`{"handle":"0x1","filePath":null,"bytesTransferred":-16,"content":"41","timestamp":"2026-01-01T00:00:00.000Z","operation":"ReadFile","metadata":{"sessionId":"a","processName":"b","processId":1}}`,
		},
		"older controller": {
			file, `{"operation":"WriteFile","file_path":"a","bytes_transferred":3,"content_preview":"41","process_info":{"processName":"b","processId":1},"timestamp":null}`,
			`{"operation":"WriteFile","file_path":"a","bytes_transferred":3,"content_preview":"41","process_info":{"processName":"b","processId":1},"timestamp":null,` +
				`"metadata":{"processName":"b","processId":1},"filePath":"a","content":"41","bytesTransferred":3}`,
		},
		"older controller, nothing known": {
			file, `{"file_path":null,"content_preview":null,"bytes_transferred":null,"process_info":{},"operation":null,"timestamp":null}`,
			`{"file_path":null,"content_preview":null,"bytes_transferred":null,"process_info":{},"operation":null,"timestamp":null,` +
				metadata + `,"filePath":"","content":"","bytesTransferred":0}`,
		},
		"a name of its own in metadata": {
			file, `{"metadata":{"sessionId":"a","process_name":"b","pid":1}}`,
			`{"metadata":{"sessionId":"a","process_name":"b","pid":1,"processName":"b","processId":1},` + fileRest + `}`,
		},
		"metadata is null":            {file, `{ "metadata" : null , "a":1 }`, `{ "metadata" : {"processName":"","processId":0} , "a":1 ,` + fileRest + `}`},
		"metadata is no object":       {file, `{"metadata":"x"}`, `{` + metadata + `,"metadata_sent":"x",` + fileRest + `}`},
		"metadata is half":            {file, `{"metadata":{"processId":null}}`, `{"metadata":{"processId":null,"processName":""},` + fileRest + `}`},
		"metadata twice":              {file, `{"metadata":1,"metadata":null}`, `{"metadata":1,` + metadata + `,` + fileRest + `}`},
		"metadata, key escaped":       {file, `{"m\u0065tadata":null}`, `{"m\u0065tadata":{"processName":"","processId":0},` + fileRest + `}`},
		"metadata_sent is taken":      {file, `{"metadata_sent":1,"metadata":2}`, `{"metadata_sent":1,` + metadata + `,"metadata_sent_sent":2,` + fileRest + `}`},
		"lone surrogates, big number": {file, `{"\udce9":"\u0000","filePath":"\udce9","content":1e400}`, `{"\udce9":"\u0000","filePath":"\udce9","content":1e400,` + metadata + `,"timestamp":` + at + `,"operation":"","bytesTransferred":0}`},
		"empty":                       {file, `{}`, `{` + metadata + `,` + fileRest + `}`},
		"null":                        {file, `null`, `{` + metadata + `,` + fileRest + `}`},
		"a string":                    {file, `"x"`, `{"value":"x",` + metadata + `,` + fileRest + `}`},
		"an array":                    {file, `[ 1 ]`, `{"value":[ 1 ],` + metadata + `,` + fileRest + `}`},

		"process creation": {
			process, `{"imagePath":"a","commandLine":null}`,
			`{"imagePath":"a","commandLine":null,` + metadata + `,"timestamp":` + at + `,"operation":"","filePath":"a","args":""}`,
		},
		"process creation, paths of other kinds": {
			process, `{"imagePath":["a"],"filePath":5}`,
			`{"imagePath":"[\"a\"]","filePath":"5",` + metadata + `,"timestamp":` + at + `,"operation":"","filePath_sent":5,"imagePath_sent":["a"],"args":"","commandLine":""}`,
		},
		"process creation, a path of another kind": {
			operation, `{"imagePath":{"a":1}}`,
			`{"imagePath":"{\"a\":1}",` + metadata + `,"timestamp":` + at + `,"operation":"","filePath":"","imagePath_sent":{"a":1},"args":"","commandLine":""}`,
		},
		"process creation, older controller": {
			process, `{"image_path":"a","command_line":"b"}`,
			`{"image_path":"a","command_line":"b",` + metadata + `,"timestamp":` + at + `,"operation":"","filePath":"a","imagePath":"a","args":"b","commandLine":"b"}`,
		},
		"process creation, as the dashboard calls it": {
			operation, `{"filePath":"a","args":["b"],"operation":"x"}`,
			`{"filePath":"a","args":["b"],"operation":"x",` + metadata + `,"timestamp":` + at + `,"imagePath":"a","commandLine":["b"]}`,
		},

		"flow with text":           {http, `{` + metadata + `,` + httpTime + `,"request":{"method":"GET","body":{"type":"text","content":"h\u00e9\u0000\udce9"}},` + noResponse + `}`, flow(`"request":{"method":"GET","body":{"type":"text","content":"h\u00e9\u0000\udce9","content_b64":"aMOpAO+/vQ=="}}`)},
		"flow with binary":         {http, `{` + metadata + `,` + httpTime + `,"request":{"method":"GET","body":{"content_b64":"AA=="}},` + noResponse + `}`, flow(`"request":{"method":"GET","body":{"content_b64":"AA=="}}`)},
		"flow without bodies":      {http, `{"timings":{},"request":{"body":null},"response":{"reason":"OK"}}`, `{"timings":{},"request":{"body":{"content_b64":""},"method":""},"response":{"reason":"OK",` + noBody + `},` + metadata + `,` + httpTime + `}`},
		"flow without anything":    {http, `{}`, flow(noRequest)},
		"flow of nulls":            {http, `{"request":null,"response":null,"metadata":null,"timestamp_ms":null,"timestamp":null}`, `{` + noRequest + `,` + noResponse + `,` + metadata + `,"timestamp_ms":1795377600123,"timestamp":null}`},
		"flow of unexpected kinds": {http, `{"request":[],"response":5,"timestamp_ms":"1","timestamp":7}`, `{` + noRequest + `,` + noResponse + `,"timestamp_ms":1795377600123,"timestamp":7,` + metadata + `,"timestamp_ms_sent":"1","request_sent":[],"response_sent":5}`},
		"flow at no time":          {http, `{"request":{"method":7,"body":"x"},"timestamp_ms":1e18}`, `{"request":{"method":"7","body":{"content_b64":""},"method_sent":7,"body_sent":"x"},"timestamp_ms":1795377600123,` + metadata + `,"timestamp":` + at + `,"timestamp_ms_sent":1e18,` + noResponse + `}`},
		"flow, content no text":    {http, `{` + metadata + `,` + httpTime + `,"request":{"method":"","body":{"content":5,"content_b64":6}},` + noResponse + `}`, flow(`"request":{"method":"","body":{"content":5,"content_b64":"","content_b64_sent":6}}`)},

		"packet": {
			packet, `{"timestamp":1795374137.9753144,"protocol":"DNS","dst":"127.0.0.1","length":71,"info":"53"}`,
			`{"timestamp":` + at + `,"protocol":"DNS","dst":"127.0.0.1","length":71,"info":"53",` + metadata + `,"timestamp_epoch":1795374137.9753144}`,
		},
		"packet, empty":                 {packet, `{}`, `{` + metadata + `,"timestamp":` + at + `,` + packetRest + `}`},
		"packet, nulls":                 {packet, `{"timestamp":null,"protocol":null,"dst":null,"length":null,"info":null}`, `{"timestamp":` + at + `,"protocol":"","dst":null,"length":null,"info":null,` + metadata + `}`},
		"packet, timestamp_epoch taken": {packet, `{"timestamp":1e18,"timestamp_epoch":null}`, `{"timestamp":` + at + `,"timestamp_epoch":null,` + metadata + `,"timestamp_epoch_sent":1e18,` + packetRest + `}`},
		"packet, ISO time":              {packet, `{"timestamp":"2026-01-01T00:00:00.5+01:00"}`, `{"timestamp":"2026-01-01T00:00:00.5+01:00",` + metadata + `,` + packetRest + `}`},
		"packet, time in other words":   {packet, `{"timestamp":"1795374137.9"}`, `{"timestamp":` + at + `,` + metadata + `,"timestamp_epoch":"1795374137.9",` + packetRest + `}`},
		"packet, protocol no text":      {packet, `{"timestamp":"2026-01-01T00:00:00Z","protocol":["\udce9"]}`, `{"timestamp":"2026-01-01T00:00:00Z","protocol":"[\"\\udce9\"]",` + metadata + `,"protocol_sent":["\udce9"],"dst":"","length":0,"info":""}`},

		"another type":       {"registry_operation", ` { "metadata" : null } `, `{ "metadata" : null }`},
		"another type, null": {"send", `null`, `null`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			e := models.Event{EventType: tt.eventType, Timestamp: receipt, CreatedAt: receipt, Data: models.JSON(tt.sent)}
			if got := string(jsonscan.Get(compat.AppendEvent(nil, &e, true), "data")); got != tt.want {
				t.Errorf("\ngot  %s\nwant %s", got, tt.want)
			}
			if err := checkView(&e, false); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestHostileObjectsCostTheirLength checks that no object makes the view repeat a large
// member or scan the object once per key.
func TestHostileObjectsCostTheirLength(t *testing.T) {
	var taken strings.Builder
	for i := range 1000 {
		taken.WriteString(`,"protocol` + strings.Repeat("_sent", i) + `":1`)
	}
	for name, tt := range map[string]struct{ eventType, data string }{
		"content of many bodies": {models.TypeHTTP, `{"request":{"body":{"content":"` + strings.Repeat("x", 1<<20) + `"` + strings.Repeat(`,"content_b64":null`, 10000) + `}}}`},
		"process of many names":  {models.TypeFile, `{"process_info":{"a":"` + strings.Repeat("x", 1<<20) + `"}` + strings.Repeat(`,"metadata":null`, 10000) + `}`},
		"every key taken":        {models.TypePacket, `{` + taken.String()[1:] + `}`},
	} {
		e := models.Event{EventType: tt.eventType, Timestamp: receipt, CreatedAt: receipt, Data: models.JSON(tt.data)}
		if got := len(compat.AppendEvent(nil, &e, true)); got > 3*len(tt.data) {
			t.Errorf("%s: %d bytes are made of %d", name, got, len(tt.data))
		}
		if err := checkView(&e, false); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestAnyJSON checks for JSON of any shape, under the names that are looked up, that
// the payload is byte for byte what was sent and that the view keeps it.
func TestAnyJSON(t *testing.T) {
	scalar := rapid.SampledFrom([]string{
		"null", "true", "false", "0", "-0", "1e400", "12345678901234567890", "1795374137.906492", "1e18", "-1.5E-3",
		`""`, `"x"`, `"\u0000"`, `"caf\udce9"`, `"\ud83d\ude00"`, "\"\u65e5\ufffd<&>\"", `"\"}"`, `"2026-11-22T18:57:39Z"`, "{}", "[]",
	})
	keys := []string{"", `\udce9`, `\u0000`, "a", "value", "content", "process_info", "file_path", "pid", "sessionId", "timestamp_epoch", "url", "dst_port"}
	types := slices.Sorted(maps.Keys(contract))
	for _, eventType := range types {
		for _, f := range contract[eventType] {
			key := f.path[strings.LastIndexByte(f.path, '.')+1:]
			keys = append(keys, key, key+"_sent", `\u00`+hex(key[0])+key[1:])
		}
	}
	space := rapid.SampledFrom([]string{"", "", " ", "\n\t"})
	var value func(depth int) *rapid.Generator[string]
	value = func(depth int) *rapid.Generator[string] {
		if depth == 0 {
			return scalar
		}
		return rapid.Custom(func(t *rapid.T) string {
			kind := rapid.IntRange(0, 9).Draw(t, "kind")
			if kind == 0 {
				return scalar.Draw(t, "scalar")
			}
			var parts []string
			for range rapid.IntRange(0, 6).Draw(t, "length") {
				part := space.Draw(t, "space") + value(depth-1).Draw(t, "value") + space.Draw(t, "space")
				if kind > 1 {
					part = space.Draw(t, "space") + `"` + rapid.SampledFrom(keys).Draw(t, "key") + `"` + space.Draw(t, "space") + ":" + part
				}
				parts = append(parts, part)
			}
			if kind == 1 {
				return "[" + strings.Join(parts, ",") + "]"
			}
			return "{" + strings.Join(parts, ",") + "}"
		})
	}
	types = append(types, "registry_operation")
	rapid.Check(t, func(t *rapid.T) {
		data := value(3).Draw(t, "data")
		eventType := rapid.SampledFrom(types).Draw(t, "type")
		in, err := wire.Event([]byte(`{"event_type":"`+eventType+`","data": `+data+` }`), receipt)
		if err != nil {
			t.Fatal(err)
		}
		if err := checkStorable(&in, []byte(data)); err != nil {
			t.Fatal(err)
		}
		if err := checkView(&in.Event, false); err != nil {
			t.Fatal(err)
		}
	})
}

func hex(c byte) string { return string([]byte{"0123456789abcdef"[c>>4], "0123456789abcdef"[c&15]}) }
