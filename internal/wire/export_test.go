package wire_test

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"ospulse/internal/jsonscan"
	"ospulse/internal/models"
	"ospulse/internal/wire"
)

// marshalled is an event in the form that encoding/json must produce.
type marshalled struct {
	ID              uint64          `json:"id"`
	SessionID       string          `json:"session_id"`
	Seq             int64           `json:"seq"`
	EventType       string          `json:"event_type"`
	Timestamp       string          `json:"timestamp"`
	TimestampSource string          `json:"timestamp_source"`
	TimestampText   *string         `json:"timestamp_text,omitempty"`
	Source          string          `json:"source"`
	CreatedAt       string          `json:"created_at"`
	Data            json.RawMessage `json:"data"`
}

// texts generates strings with every character that a JSON string must escape.
func texts() *rapid.Generator[string] {
	return rapid.OneOf(
		rapid.String(),
		rapid.SampledFrom([]string{"", `C:\Windows\"x"`, "<script>&", "\u2028\u2029\u2027", "\x00\x01\b\f\n\r\t\x1f\x7f", "caf\xe9", "\xff\xfe", "\xe2\x80", "😀", "\ufffd"}),
		rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }),
	)
}

func anyTime() *rapid.Generator[time.Time] {
	return rapid.Map(rapid.Int64Range(time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro(), time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC).UnixMicro()), func(micros int64) time.Time {
		if micros%3 == 0 {
			micros -= micros % 1_000_000
		}
		return time.UnixMicro(micros).In(time.FixedZone("", 3600))
	})
}

// TestAppendEventIsWhatEncodingJSONGives checks that the hand-written encoder and
// encoding/json produce the same bytes.
func TestAppendEventIsWhatEncodingJSONGives(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		e := models.Event{
			ID: rapid.Uint64().Draw(rt, "id"), SessionID: texts().Draw(rt, "session"), Seq: rapid.Int64().Draw(rt, "seq"), EventType: texts().Draw(rt, "type"),
			Timestamp: anyTime().Draw(rt, "time"), TimestampSource: texts().Draw(rt, "time source"), Source: texts().Draw(rt, "source"),
			CreatedAt: anyTime().Draw(rt, "created"), Data: models.JSON(`{"a":1}`),
		}
		if rapid.Bool().Draw(rt, "has a text") {
			text := texts().Draw(rt, "text")
			e.TimestampText = &text
		}
		want, err := json.Marshal(marshalled{
			e.ID, e.SessionID, e.Seq, e.EventType, models.FormatTime(e.Timestamp), e.TimestampSource, e.TimestampText, e.Source, models.FormatTime(e.CreatedAt), json.RawMessage(e.Data),
		})
		if err != nil {
			rt.Fatal(err)
		}
		if got := wire.AppendEvent(nil, &e); !bytes.Equal(got, want) {
			rt.Fatalf("got\n%s, want\n%s", got, want)
		}
	})
}

// TestBundledReadsWhatWasWritten checks that Bundled reads what AppendBundled writes,
// for every event of the recorded clients and some synthetic ones.
func TestBundledReadsWhatWasWritten(t *testing.T) {
	events := fixtureEvents(t)
	for _, text := range []string{`null`, `"\u0000"`, `{"a":"\ud800","a":1}`, `-0`, `1e999`, "[1,\r\n2,\n3]", `"` + strings.Repeat("x", 5000) + `"`} {
		in, err := wire.Event([]byte(`{"event_type":"x","timestamp":"soon","data":`+text+`}`), receipt)
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, in.Event)
	}
	for i := range events {
		e := events[i]
		e.ID, e.SessionID, e.Seq = 0, "s", rand.Int64N(1<<40)
		e.CreatedAt, e.UpdatedAt = receipt.UTC().Truncate(time.Microsecond), receipt.UTC().Truncate(time.Microsecond)
		line := wire.AppendBundled(nil, &e)
		if bytes.ContainsAny(line, "\r\n") {
			t.Fatalf("more than a line: %s", line)
		}
		got, err := wire.Bundled(line)
		if err != nil {
			t.Fatalf("%v in %.1000s", err, line)
		}
		if bytes.ContainsAny(e.Payload(), "\r\n") {
			if e.Data = jsonscan.AppendOneLine(nil, e.Data); e.DataRaw != nil {
				e.DataRaw = jsonscan.AppendOneLine(nil, e.DataRaw)
			}
		}
		if !reflect.DeepEqual(got, e) {
			t.Fatalf("got\n%+v, want\n%+v", got, e)
		}
	}
}

// TestReplacementCharacter checks that U+FFFD is accepted like any other character:
// agents replace invalid UTF-8 in names with it.
func TestReplacementCharacter(t *testing.T) {
	for _, body := range []string{"{\"event_type\":\"t\ufffd\",\"source\":\"host-caf\ufffd\"}", `{"event_type":"t\ufffd","source":"host-caf\uFFFD"}`} {
		in, err := wire.Event([]byte(body), receipt)
		if err != nil {
			t.Fatal(body, err)
		}
		e := in.Event
		e.SessionID, e.Seq, e.CreatedAt, e.UpdatedAt = "s", 1, receipt.Truncate(time.Microsecond), receipt.Truncate(time.Microsecond)
		if e.EventType != "t\ufffd" || e.Source != "host-caf\ufffd" {
			t.Errorf("%s is %q of %q", body, e.EventType, e.Source)
		}
		if back, err := wire.Bundled(wire.AppendBundled(nil, &e)); err != nil || back.Source != e.Source || back.EventType != e.EventType {
			t.Errorf("from a bundle: %q of %q, %v", back.EventType, back.Source, err)
		}
	}
}

func TestBundledRefuses(t *testing.T) {
	valid := `{"session_id":"s","seq":1,"event_type":"x","timestamp":"2026-11-22T18:57:39Z","timestamp_source":"agent","source":"y","created_at":"2026-11-22T18:57:39.000001Z","pid":null,"process_name":null,"operation":null,"target":null,"data":{}}`
	if _, err := wire.Bundled([]byte(valid)); err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("x", 4097)
	for name, tt := range map[string]struct{ old, with, want string }{
		"no object":               {valid, `[]`, "an array"},
		"cut":                     {`"data":{}}`, `"data":{`, "malformed JSON"},
		"two values":              {`"data":{}}`, `"data":{}} {}`, "after the value"},
		"invalid UTF-8":           {`"x"`, "\"\xff\"", "UTF-8"},
		"unknown member":          {`"pid"`, `"PID"`, `unknown field "PID"`},
		"twice":                   {`"pid":null`, `"seq":1`, "seq is there twice"},
		"no data":                 {`,"data":{}`, ``, "data is missing"},
		"no session":              {`"session_id":"s",`, ``, "session_id"},
		"no seq":                  {`"seq":1`, `"seq":"1"`, "seq must be a whole number"},
		"a fraction of a seq":     {`"seq":1`, `"seq":1.5`, "seq must be a whole number"},
		"no type":                 {`"event_type":"x"`, `"event_type":""`, "event_type is 0 bytes long"},
		"long type":               {`"event_type":"x"`, `"event_type":"` + long + `"`, "event_type is 4097 bytes long"},
		"NUL in the source":       {`"y"`, `"\u0000"`, "source holds a NUL"},
		"control in the source":   {`"y"`, `"\n"`, "source holds a character"},
		"lone surrogate":          {`"y"`, `"a\udce9"`, "source holds a character at byte 1"},
		"no time":                 {`"2026-11-22T18:57:39Z"`, `"today"`, "timestamp must be a time"},
		"time of another form":    {`"2026-11-22T18:57:39Z"`, `"2026-11-22T18:57:39.000Z"`, "timestamp must be a time"},
		"time of another zone":    {`"2026-11-22T18:57:39Z"`, `"2026-11-22T18:57:39+00:00"`, "timestamp must be a time"},
		"nanoseconds":             {`000001Z`, `0000001Z`, "created_at must be a time"},
		"unknown source of times": {`"agent"`, `"god"`, "timestamp_source must be"},
		"long text of a time":     {`"source":`, `"timestamp_text":"` + long + `","source":`, "timestamp_text is 4097"},
		"pid beyond 64 bit":       {`"pid":null`, `"pid":9223372036854775808`, "pid must be a whole number"},
		"long target":             {`"target":null`, `"target":"` + long + `"`, "target is 4097"},
		"operation of no text":    {`"operation":null`, `"operation":1`, "operation must be a string"},
	} {
		t.Run(name, func(t *testing.T) {
			line := strings.Replace(valid, tt.old, tt.with, 1)
			_, err := wire.Bundled([]byte(line))
			if models.ErrorCode(err) != models.CodeInvalid || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}

func BenchmarkAppendExported(b *testing.B) {
	in, err := wire.Event([]byte(small), time.Now())
	if err != nil {
		b.Fatal(err)
	}
	in.SessionID = "0192f0c1-0000-7000-8000-000000000000"
	b.ReportAllocs()
	var out []byte
	for b.Loop() {
		out = wire.AppendExported(out[:0], &in.Event)
	}
	if _, err := jsonscan.Check(out); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(len(out)), "B/event")
}
