//go:build linux

package vm

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"
	"unicode/utf8"

	"ospulse/agent/internal/event"
)

// nested returns a JSON value of n arrays, one in the other.
func nested(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }

// lineOf returns a message of exactly n bytes with its newline.
func lineOf(n int) string {
	const start, end = `{"op":"fault","fault":"`, "\"}\n"
	return start + strings.Repeat("x", n-len(start)-len(end)) + end
}

func TestReader(t *testing.T) {
	for name, test := range map[string]struct {
		stream string
		ops    []string // of the messages before the error
		fails  string   // part of the error; "": io.EOF
	}{
		"an empty stream ends":                          {"", nil, ""},
		"messages keep their order":                     {"{\"op\":\"hello\"}\n{\"op\":\"done\"}\n", []string{"hello", "done"}, ""},
		"unknown keys are ignored":                      {"{\"op\":\"done\",\"extra\":{}}\n", []string{"done"}, ""},
		"null is a message without an operation":        {"null\n", []string{""}, ""},
		"the longest line is accepted":                  {lineOf(maxSetupBytes), []string{"fault"}, ""},
		"a longer line is refused":                      {lineOf(maxSetupBytes + 1), nil, "too long"},
		"a long line without a newline is refused":      {strings.Repeat(" ", maxSetupBytes+1), nil, "too long"},
		"a line without a newline is no message":        {"{\"op\":\"done\"}\n{\"op\":\"done\"}", []string{"done"}, ""},
		"half a message is no message":                  {`{"op":"do`, nil, ""},
		"an empty line is refused":                      {"\n", nil, "a message: "},
		"text that is not JSON is refused":              {"hello\n", nil, "a message: "},
		"zero bytes are refused":                        {"\x00\x00\n", nil, "a message: "},
		"two messages on a line are refused":            {"{\"op\":\"hello\"}{\"op\":\"done\"}\n", nil, "a message: "},
		"a newline inside a string ends the line":       {"{\"op\":\"a\nb\"}\n", nil, "a message: "},
		"an array is refused":                           {"[{\"op\":\"done\"}]\n", nil, "a message: "},
		"a string is refused":                           {"\"done\"\n", nil, "a message: "},
		"an operation that is a number is refused":      {"{\"op\":1}\n", nil, "a message: "},
		"a pid that is a string is refused":             {"{\"op\":\"ready\",\"pid\":\"1\"}\n", nil, "a message: "},
		"a pid that no integer can hold is refused":     {"{\"op\":\"ready\",\"pid\":1e30}\n", nil, "a message: "},
		"a time that is no time is refused":             {"{\"op\":\"hello\",\"time\":\"now\"}\n", nil, "a message: "},
		"notes that are an object are refused":          {"{\"op\":\"ready\",\"notes\":{}}\n", nil, "a message: "},
		"a run that is an array is refused":             {"{\"op\":\"ready\",\"run\":[]}\n", nil, "a message: "},
		"a result that is a string is refused":          {"{\"op\":\"ended\",\"result\":\"x\"}\n", nil, "a message: "},
		"an output that is not base64 is refused":       {"{\"op\":\"ended\",\"result\":{\"Output\":\"!\"}}\n", nil, "a message: "},
		"a fault that is a flag is refused":             {"{\"op\":\"fault\",\"fault\":true}\n", nil, "a message: "},
		"huge nesting is refused":                       {nested(30_000) + "\n", nil, "a message: "},
		"huge nesting in an event is refused":           {`{"op":"event","event":` + nested(30_000) + "}\n", nil, "a message: "},
		"huge nesting that never closes is refused":     {strings.Repeat(`{"event":`, 7_000) + "\n", nil, "a message: "},
		"a bad message does not hide the one before it": {"{\"op\":\"hello\"}\n}\n", []string{"hello"}, "a message: "},
	} {
		t.Run(name, func(t *testing.T) {
			r := newReader(strings.NewReader(test.stream))
			var ops []string
			for {
				m, err := r.next()
				if err == nil {
					ops = append(ops, m.Op)
					continue
				}
				if test.fails == "" && !errors.Is(err, io.EOF) {
					t.Fatalf("the error is %v, not io.EOF", err)
				}
				if !strings.Contains(err.Error(), test.fails) || test.fails != "" && errors.Is(err, io.EOF) {
					t.Fatalf("the error is %q, without %q", err, test.fails)
				}
				break
			}
			if !slices.Equal(ops, test.ops) {
				t.Errorf("the messages are %q, not %q", ops, test.ops)
			}
		})
	}
}

// TestReaderBoundsAnEndlessLine gives the reader a line that never ends. The reader stops soon
// after the limit.
func TestReaderBoundsAnEndlessLine(t *testing.T) {
	endless := &counter{}
	if _, err := newReader(endless).next(); err == nil || !strings.Contains(err.Error(), "too long") {
		t.Fatalf("the error is %v", err)
	}
	if most := maxSetupBytes + 1<<20; endless.n > most {
		t.Errorf("the reader took %d bytes, more than %d", endless.n, most)
	}
}

// counter is an endless line. It counts the bytes that it gives.
type counter struct{ n int }

func (c *counter) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	c.n += len(p)
	return len(p), nil
}

// TestReaderJoinsPieces gives the reader one byte at a time.
func TestReaderJoinsPieces(t *testing.T) {
	r := newReader(iotest.OneByteReader(strings.NewReader("{\"op\":\"ready\",\"pid\":7}\n{\"op\":\"done\"}\n")))
	for _, want := range []message{{Op: "ready", PID: 7}, {Op: "done"}} {
		if m, err := r.next(); err != nil || m.Op != want.Op || m.PID != want.PID {
			t.Errorf("the message is %+v (%v), not %+v", m, err, want)
		}
	}
}

// TestReaderReturnsTheErrorOfTheStream checks that a deadline is not taken for the end.
func TestReaderReturnsTheErrorOfTheStream(t *testing.T) {
	broken := errors.New("broken")
	stream := io.MultiReader(strings.NewReader(`{"op":`), iotest.ErrReader(broken))
	if _, err := newReader(stream).next(); !errors.Is(err, broken) {
		t.Errorf("the error is %v", err)
	}
}

// envelope returns the text of an event with a type, a time and data.
func envelope(kind, at, data string) string {
	return `{"event_type":"` + kind + `","timestamp":"` + at + `","source":"os-pulse-agent","data":` + data + `}`
}

const at = "2026-11-30T23:59:59.123456Z"

func TestDecodeEventAccepts(t *testing.T) {
	for name, data := range map[string]string{
		"an empty object":                          `{}`,
		"spaces stay":                              `{ "a" :  1 }`,
		"the order of keys stays":                  `{"z":1,"a":2}`,
		"a key that comes twice stays":             `{"a":1,"a":2}`,
		"digits of a number stay":                  `{"n":12345678901234567890.10e+2}`,
		"escapes stay":                             `{"path":"\u002ftmp\/\u0041\u0000<>&"}`,
		"a lone high surrogate stays":              `{"path":"\ud800"}`,
		"a lone low surrogate stays":               `{"path":"a\udcffb"}`,
		"surrogates in the wrong order stay":       `{"path":"\udc00\ud800"}`,
		"unknown keys inside the data are allowed": `{"whatever":{"deep":[null,true]}}`,
	} {
		t.Run(name, func(t *testing.T) {
			text := []byte(envelope(event.TypeFile, at, data))
			e, err := decodeEvent(text)
			if err != nil {
				t.Fatal(err)
			}
			// The event owns its data: the reader may reuse its buffer.
			clear(text)
			if got := string(e.Data.AppendJSON([]byte("before "))); got != "before "+data {
				t.Errorf("the data is %s, not %s", got, data)
			}
			if want := time.Date(2026, 11, 30, 23, 59, 59, 123456000, time.UTC); e.Type != event.TypeFile || !e.Time.Equal(want) {
				t.Errorf("the event has the type %s and the time %s", e.Type, e.Time)
			}
			if got, want := string(e.AppendJSON(nil)), envelope(event.TypeFile, at, data); got != want {
				t.Errorf("the event is\n%s, not\n%s", got, want)
			}
		})
	}
}

func TestDecodeEventAcceptsEachType(t *testing.T) {
	for _, kind := range types {
		if e, err := decodeEvent([]byte(envelope(kind, at, `{}`))); err != nil || e.Type != kind {
			t.Errorf("%s: %v (%v)", kind, e, err)
		}
	}
}

// TestDecodeEventNamesTheHostAsSource checks that a guest cannot set the source.
func TestDecodeEventNamesTheHostAsSource(t *testing.T) {
	e, err := decodeEvent([]byte(`{"event_type":"file_operation","timestamp":"` + at + `","source":"evil","data":{}}`))
	if err == nil && bytes.Contains(e.AppendJSON(nil), []byte("evil")) {
		t.Errorf("the event is %s", e.AppendJSON(nil))
	}
}

func TestDecodeEventRefuses(t *testing.T) {
	good := envelope(event.TypeFile, at, `{}`)
	if _, err := decodeEvent([]byte(good)); err != nil {
		t.Fatalf("the event that the cases change is refused: %v", err)
	}
	for name, text := range map[string]string{
		"nothing":                           ``,
		"null":                              `null`,
		"an array":                          `[` + good + `]`,
		"half an event":                     good[:len(good)-1],
		"an unknown key":                    strings.Replace(good, `{`, `{"session_id":"other",`, 1),
		"a sequence number":                 strings.Replace(good, `{`, `{"seq":1,`, 1),
		"an unknown type":                   envelope("rumour", at, `{}`),
		"a type with a quote":               envelope(`file_operation\"`, at, `{}`),
		"a type in capitals":                envelope("FILE_OPERATION", at, `{}`),
		"an empty type":                     envelope("", at, `{}`),
		"no type":                           `{"timestamp":"` + at + `","data":{}}`,
		"a type that is a number":           `{"event_type":1,"timestamp":"` + at + `","data":{}}`,
		"the start of a session":            envelope("session_start", at, `{}`),
		"the end of a session":              envelope("session_end", at, `{}`),
		"a step of the host's clock":        envelope(event.TypeClockStep, at, `{}`),
		"no time":                           `{"event_type":"file_operation","data":{}}`,
		"a time that is null":               `{"event_type":"file_operation","timestamp":null,"data":{}}`,
		"a time that is a number":           `{"event_type":"file_operation","timestamp":1,"data":{}}`,
		"an empty time":                     envelope(event.TypeFile, "", `{}`),
		"the zero time":                     envelope(event.TypeFile, "0001-01-01T00:00:00Z", `{}`),
		"the year 0":                        envelope(event.TypeFile, "0000-01-01T00:00:00Z", `{}`),
		"the year 10000":                    envelope(event.TypeFile, "10000-01-01T00:00:00Z", `{}`),
		"a time in the year 10000 of UTC":   envelope(event.TypeFile, "9999-12-31T23:59:59-01:00", `{}`),
		"no data":                           `{"event_type":"file_operation","timestamp":"` + at + `"}`,
		"data that is null":                 envelope(event.TypeFile, at, `null`),
		"data that is an array":             envelope(event.TypeFile, at, `[{}]`),
		"data that is a string":             envelope(event.TypeFile, at, `"{}"`),
		"data that is a number":             envelope(event.TypeFile, at, `1`),
		"data that is true":                 envelope(event.TypeFile, at, `true`),
		"data that is no JSON":              envelope(event.TypeFile, at, `{a:1}`),
		"data with a raw control character": envelope(event.TypeFile, at, "{\"a\":\"\x01\"}"),
		"data that is not UTF-8":            envelope(event.TypeFile, at, "{\"a\":\"\xff\"}"),
		"data with huge nesting":            envelope(event.TypeFile, at, `{"a":`+nested(100_000)+`}`),
		"a second event after the first":    good + good,
		"a bracket after the event":         good + `}`,
		"a word after the event":            good + ` x`,
	} {
		t.Run(name, func(t *testing.T) {
			if e, err := decodeEvent([]byte(text)); err == nil {
				t.Errorf("it is accepted: %+v", e)
			} else if e != nil || err.Error() == "" {
				t.Errorf("it returns %+v with the error %q", e, err)
			}
		})
	}
}

// TestDecodeEventBoundsItsErrors checks that a guest cannot fill the host's log.
func TestDecodeEventBoundsItsErrors(t *testing.T) {
	_, err := decodeEvent([]byte(envelope(strings.Repeat("x", 1<<20), at, `{}`)))
	if err == nil || len(err.Error()) > 500 {
		t.Errorf("the error has %d bytes", len(err.Error()))
	}
}

func FuzzDecodeEvent(f *testing.F) {
	good := envelope(event.TypeFile, at, `{"path":"\ud800","n":1e400}`)
	for _, seed := range []string{
		good, good + good, good + "\n", "null", "", "{}", `{"data":{}}`, envelope("session_start", at, `{}`),
		envelope(event.TypeLost, "9999-12-31T23:59:59-23:59", `{}`), envelope(event.TypeProcess, "1970-01-01T00:00:00+23:59", ` { } `),
		envelope(event.TypeNetwork, at, `[]`), envelope(event.TypeNetwork, at, "{\"a\":\"\xff\xfe\"}"), strings.Replace(good, "data", "DATA", 1),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		e, err := decodeEvent(text)
		if err != nil {
			return
		}
		if !slices.Contains(types, e.Type) {
			t.Errorf("the type is %q", e.Type)
		}
		if year := e.Time.UTC().Year(); year < 1 || year > 9999 {
			t.Errorf("the year is %d", year)
		}
		data := e.Data.AppendJSON(nil)
		var object map[string]json.RawMessage
		if err := json.Unmarshal(data, &object); err != nil || object == nil || !utf8.Valid(data) {
			t.Errorf("the data is no object: %q (%v)", data, err)
		}
		if whole := e.AppendJSON(nil); !json.Valid(whole) {
			t.Errorf("the event is no JSON: %q", whole)
		}
	})
}
