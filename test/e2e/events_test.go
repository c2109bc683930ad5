package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"reflect"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"ospulse/test/wait"
)

// value parses JSON so that two texts of the same value are deeply equal: numbers as
// exact rational values, objects as lists of all members sorted by key (duplicates in
// their order), strings as raw text where Go cannot represent them.
func value(t testing.TB, text []byte) any {
	t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	v, err := nextValue(decoder)
	if err != nil {
		t.Fatalf("%v in %.200s", err, text)
	}
	return v
}

type member struct {
	Key   string
	Value any
}

func nextValue(decoder *json.Decoder) (any, error) {
	token, err := decoder.Token()
	if err != nil {
		return nil, err
	}
	switch token {
	case json.Delim('['):
		list := []any{}
		for decoder.More() {
			v, err := nextValue(decoder)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err = decoder.Token()
		return list, err
	case json.Delim('{'):
		members := []member{}
		for decoder.More() {
			key, err := decoder.Token()
			if err != nil {
				return nil, err
			}
			v, err := nextValue(decoder)
			if err != nil {
				return nil, err
			}
			members = append(members, member{key.(string), v})
		}
		sort.SliceStable(members, func(i, j int) bool { return members[i].Key < members[j].Key })
		_, err = decoder.Token()
		return members, err
	}
	if number, ok := token.(json.Number); ok {
		return canonicalNumber(number.String()), nil
	}
	return token, nil
}

// canonicalNumber formats a number as sign, digits without leading and trailing zeros,
// and exponent. Equal values have equal texts, and exponents are not expanded.
func canonicalNumber(text string) string {
	sign := ""
	if strings.HasPrefix(text, "-") {
		sign, text = "-", text[1:]
	}
	mantissa, exponentText, _ := strings.Cut(strings.ToLower(text), "e")
	exponent, _ := strconv.Atoi(exponentText)
	whole, fraction, _ := strings.Cut(mantissa, ".")
	exponent -= len(fraction)
	digits := strings.TrimLeft(whole+fraction, "0")
	trimmed := strings.TrimRight(digits, "0")
	if trimmed == "" {
		return sign + "0"
	}
	return fmt.Sprintf("%s%se%d", sign, trimmed, exponent+len(digits)-len(trimmed))
}

// sameJSON reports whether two texts are the same value.
func sameJSON(t testing.TB, a, b []byte) bool {
	t.Helper()
	return bytes.Equal(a, b) || reflect.DeepEqual(value(t, a), value(t, b))
}

// sent is an event as a client sent it.
type sent struct {
	eventType, source string
	timestamp         string    // as text, or
	notBefore         time.Time // within a span
	notAfter          time.Time
	data              json.RawMessage
}

// sentEvents returns the events of a recorded request.
func sentEvents(t testing.TB, f fixture) []sent {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	switch f.Path {
	case "/api/events", "/api/events/events":
		var e struct {
			EventType string `json:"event_type"`
			Timestamp string
			Source    string
			Data      json.RawMessage
		}
		must(json.Unmarshal([]byte(f.Body), &e))
		return []sent{{eventType: e.EventType, source: e.Source, timestamp: e.Timestamp, data: e.Data}}
	case "/api/http/events":
		var flow struct {
			TimestampMS int64 `json:"timestamp_ms"`
		}
		must(json.Unmarshal([]byte(f.Body), &flow))
		at := time.UnixMilli(flow.TimestampMS)
		return []sent{{eventType: "http_network_operation", source: "http-interceptor", notBefore: at, notAfter: at, data: json.RawMessage(f.Body)}}
	case "/api/net/events":
		var batch struct{ Events []json.RawMessage }
		must(json.Unmarshal([]byte(f.Body), &batch))
		var events []sent
		for _, packet := range batch.Events {
			var p struct{ Timestamp json.Number }
			must(json.Unmarshal(packet, &p))
			// A current time as a float64 is within 0.12 µs of its shortest text, so at
			// a tie either neighbour is the nearest microsecond.
			seconds, ok := new(big.Rat).SetString(p.Timestamp.String())
			if !ok {
				t.Fatalf("no time: %s", p.Timestamp)
			}
			nanos, _ := seconds.Mul(seconds, big.NewRat(1e9, 1)).Float64()
			at := time.Unix(0, int64(nanos))
			events = append(events, sent{eventType: "raw_network_operation", source: "network-interceptor", notBefore: at.Add(-620), notAfter: at.Add(620), data: packet})
		}
		return events
	}
	t.Fatalf("no events in %s", f.Path)
	return nil
}

// at reports whether the stored time is the one that was sent.
func (s sent) at(stored string) bool {
	at, err := time.Parse(time.RFC3339, stored)
	return err == nil && strings.HasSuffix(stored, "Z") && (s.timestamp == stored || s.timestamp == "" && !at.Before(s.notBefore) && !at.After(s.notAfter))
}

// TestEveryFixtureGoesInAndComesBack checks that every recorded request of real clients
// is answered with exactly 200, that its events read back equal, in order and without
// gaps in their numbers, and that the old dashboard gets each event once.
func TestEveryFixtureGoesInAndComesBack(t *testing.T) {
	fixtures := readFixtures(t)
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		env["AGENT_SERVICE_URL"] = newTestAgent(t).URL
		b := startBackend(t, env)
		id := b.startSession()
		var want []sent
		for file, requests := range fixtures {
			for i, f := range requests {
				var header []string
				for name, value := range f.Headers {
					header = append(header, name+": "+value)
				}
				if a := b.send(f.Method, f.Path, f.Body, header...); a.status != http.StatusOK {
					t.Fatalf("%s, line %d: %d %s", file, i+1, a.status, a.body)
				}
				if f.Method == http.MethodPost {
					want = append(want, sentEvents(t, f)...)
				}
			}
		}
		compare := func(got []exported) {
			t.Helper()
			if len(got) != len(want) || len(want) != 1201 {
				t.Fatalf("%d events of %d (1201 in the fixtures)", len(got), len(want))
			}
			for i, w := range want {
				g := got[i]
				if g.SessionID != id || g.Seq != int64(i+1) || g.EventType != w.eventType || g.Source != w.source ||
					!w.at(g.Timestamp) || g.TimestampSource != "agent" || !sameJSON(t, g.Data, w.data) {
					t.Fatalf("event %d is\n%+v\nwant\n%+v", i+1, g, w)
				}
			}
		}
		compare(b.export(id))
		compare(b.export(""))

		var polled []exported
		for {
			var page []exported
			b.decode(b.poll("/api/events/"+id+"?limit=500", "Origin: http://localhost:5173"), http.StatusOK, &page)
			if len(page) == 0 {
				break
			}
			polled = append(polled, page...)
		}
		if len(polled) != len(want) {
			t.Fatalf("%d events of %d were polled", len(polled), len(want))
		}
		sort.Slice(polled, func(i, j int) bool { return polled[i].Seq < polled[j].Seq })
		for i := range polled {
			if polled[i].Seq != int64(i+1) {
				t.Fatalf("event %d was polled twice, or not", i+1)
			}
		}
	})
}

func TestDataKeepsAcrossARestart(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		env["DATA_DIR"] = t.TempDir()
		b := startBackend(t, env)
		b.send("POST", "/api/events", `{"event_type":"x","data":{"a":"\u0000"}}`)
		b.stop()
		b = startBackend(t, env)
		if a := b.send("POST", "/api/events", `{"event_type":"y"}`); a.status != http.StatusOK {
			t.Fatal(string(a.body))
		}
		got := b.export("unassigned")
		if len(got) != 2 || string(got[0].Data) != `{"a":"\u0000"}` || got[1].Seq != 2 {
			t.Errorf("got %+v", got)
		}
	})
}

// TestDataIsLossless sends values that JSON permits and databases reject or change.
func TestDataIsLossless(t *testing.T) {
	nested := func(levels int) string { return strings.Repeat(`{"a":[`, levels/2) + strings.Repeat(`]}`, levels/2) }
	values := map[string]string{
		"null": `null`, "true": `true`, "string": `"x"`, "empty string": `""`, "array": `[]`, "number": `0`,
		"NUL": `{"a":"x\u0000y","\u0000":1}`, "lone surrogates": `["caf\udce9","\ud800","\udc00\ud800"]`, "pair": `"\ud83d\ude00 😀"`,
		"replacement character": `"\ufffd` + "\ufffd" + `"`, "noncharacters": `"` + "\uffff\U0010ffff" + `"`,
		"duplicate keys": `{"a":1,"b":{"c":1,"c":[2]},"a":3}`, "same key escaped": `{"a":1,"\u0061":2}`,
		"past 2^53": `[9007199254740993,-9223372036854775809,18446744073709551616,4294967280,-16]`, "1e400": `[1e400,-1E+400,1e-400]`,
		"huge exponents": `[1e131073,1e-20000,1e999999999]`, "trailing zeros": `[1.50,1.0,100]`, "negative zero": `[-0,-0.0,0.0]`,
		"many digits": `[` + strings.Repeat("1234567890", 200) + `,0.` + strings.Repeat("1234567890", 200) + `]`,
		"1000 levels": nested(1000), "9000 levels": nested(9000), "escapes": `"\"\\\/\b\f\n\r\t\u00e9\u2028</script>"`,
		"white space": " {\n\t\"a\" : [ 1 , 2 ] }\r\n", "controls": `"` + "\x7f\u0080\u0085" + `"`, "empty key": `{"":{"":[]}}`,
	}
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		b := startBackend(t, env)
		check := func(t testing.TB, name, data string) {
			t.Helper()
			var s struct{ Seq int64 }
			b.decode(b.send("POST", "/api/events", `{"event_type":"x","source":"`+name+`","data":`+data+`}`), http.StatusOK, &s)
			got := b.export("unassigned")
			last := got[len(got)-1]
			if last.Source != name || last.Seq != s.Seq || !sameJSON(t, last.Data, []byte(data)) {
				t.Errorf("%s: sent %.300s, got back %.300s", name, data, last.Data)
			}
		}
		for name, data := range values {
			check(t, name, data)
		}
	})
}

// TestRandomDataIsLossless does the same with random values, many in a batch.
func TestRandomDataIsLossless(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		b := startBackend(t, env)
		var all []string
		rapid.Check(t, func(rt *rapid.T) {
			texts := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) string { return `{"v":` + randomJSON(rt, 4) + `}` }), 1, 20).Draw(rt, "packets")
			a := b.send("POST", "/api/net/events", `{"events":[`+strings.Join(texts, ",")+`]}`)
			if a.status != http.StatusOK {
				rt.Fatalf("%d %s", a.status, a.body)
			}
			all = append(all, texts...)
		})
		got := b.export("unassigned")
		if len(got) != len(all) || len(all) == 0 {
			t.Fatalf("%d of %d stored", len(got), len(all))
		}
		for i := range all {
			if !sameJSON(t, got[i].Data, []byte(all[i])) {
				t.Errorf("sent %s, got back %s", all[i], got[i].Data)
			}
		}
	})
}

// randomJSON draws a JSON text, often with values that are hard to preserve.
func randomJSON(rt *rapid.T, depth int) string {
	text := rapid.Custom(func(rt *rapid.T) string {
		parts := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "é", "😀", `\u0000`, `\ud800`, `\udc00`, `\u0061`, `\\`, `\"`, `\n`, " "}), 0, 4).Draw(rt, "parts")
		return `"` + strings.Join(parts, "") + `"`
	})
	number := rapid.StringMatching(`-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,12})?([eE][+-]?[0-9]{1,3})?`)
	kind := rapid.IntRange(0, 6).Draw(rt, "kind")
	if depth == 0 {
		kind = min(kind, 4)
	}
	switch kind {
	case 0:
		return rapid.SampledFrom([]string{"null", "true", "false"}).Draw(rt, "word")
	case 1, 2:
		return number.Draw(rt, "number")
	case 3, 4:
		return text.Draw(rt, "text")
	}
	var parts []string
	for range rapid.IntRange(0, 4).Draw(rt, "length") {
		part := randomJSON(rt, depth-1)
		if kind == 6 {
			part = text.Draw(rt, "key") + ":" + part
		}
		parts = append(parts, part)
	}
	if kind == 6 {
		return "{" + strings.Join(parts, ", ") + "}"
	}
	return "[" + strings.Join(parts, ",") + "]"
}

// TestWritersAndPollersAtOnce checks fifty writers and ten concurrent pollers: no event
// is lost, misnumbered or returned to two pollers.
func TestWritersAndPollersAtOnce(t *testing.T) {
	const writers, perWriter, pollers = 50, 10, 10
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		env["AGENT_SERVICE_URL"] = newTestAgent(t).URL
		b := startBackend(t, env)
		id := b.startSession()
		var (
			writing, polling sync.WaitGroup
			written          atomic.Bool
			mu               sync.Mutex
			polled           = map[uint64]int{}
		)
		for w := range writers {
			writing.Go(func() {
				for i := range perWriter {
					path, body := "/api/events", fmt.Sprintf(`{"event_type":"w","source":"%d-%d","data":{}}`, w, i)
					if i%5 == 4 {
						path, body = "/api/net/events", fmt.Sprintf(`{"events":[{"w":"%d-%d"},{"w":"%d-%d+"}],"count":2}`, w, i, w, i)
					}
					if a, err := b.trySend("POST", path, body); err != nil || a.status != http.StatusOK {
						t.Errorf("%v: %d %s", err, a.status, a.body)
					}
				}
			})
		}
		for range pollers {
			polling.Go(func() {
				for {
					last := written.Load()
					a, err := b.trySend("GET", "/api/events/"+id+"?limit=7", "")
					var page []exported
					if err != nil || a.status != http.StatusOK || json.Unmarshal(a.body, &page) != nil {
						t.Errorf("%v: %d %s", err, a.status, a.body)
						return
					}
					mu.Lock()
					for _, e := range page {
						polled[e.ID]++
					}
					mu.Unlock()
					if last && len(page) == 0 {
						return
					}
				}
			})
		}
		writing.Wait()
		written.Store(true)
		polling.Wait()
		const total = writers * perWriter * 6 / 5
		stored := b.export(id)
		names := map[string]bool{}
		for i, e := range stored {
			if e.Seq != int64(i+1) {
				t.Fatalf("event %d has seq %d", i, e.Seq)
			}
			if polled[e.ID] != 1 {
				t.Errorf("event %d was given to %d pollers", e.ID, polled[e.ID])
			}
			names[e.EventType+e.Source+string(e.Data)] = true
		}
		if len(stored) != total || len(names) != total || len(polled) != total {
			t.Errorf("%d stored, %d different, %d polled, want %d of each", len(stored), len(names), len(polled), total)
		}
	})
}

// TestPollerThatIsGoneClaimsNothing checks that a poller which disconnects before it
// has read the answer leaves the events to the next one. The pollers run one after
// another: of two at once, one may get so few events that they fit into the socket
// buffers, and the backend cannot know whether those are read.
func TestPollerThatIsGoneClaimsNothing(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		b := startBackend(t, env)
		filler := strings.Repeat("x", 100_000) // more than socket buffers hold
		for range 100 {
			if a := b.send("POST", "/api/events", `{"event_type":"x","data":"`+filler+`"}`); a.status != http.StatusOK {
				t.Fatal(string(a.body))
			}
		}
		address := strings.TrimPrefix(b.url, "http://")
		for i := range 20 {
			conn, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			if err := conn.(*net.TCPConn).SetReadBuffer(64 << 10); err != nil { // or the kernel may accept many megabytes
				t.Fatal(err)
			}
			if _, err := io.WriteString(conn, "GET /api/events/unassigned?limit=1000 HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			if i%2 == 0 { // half of them see the beginning of the answer
				if _, err := conn.Read(make([]byte, 1000)); err != nil {
					t.Fatal(err)
				}
			}
			if err := conn.Close(); err != nil {
				t.Fatal(err)
			}
			wait.For(t, "the end of the request", func() bool {
				return strings.Count(b.log.String(), `"method":"GET","path":"/api/events/unassigned"`) == i+1
			})
		}
		var page []exported
		b.decode(b.send("GET", "/api/events/unassigned?limit=1000", ""), http.StatusOK, &page)
		got := map[uint64]bool{}
		for _, e := range page {
			got[e.ID] = true
		}
		if len(page) != 100 || len(got) != 100 {
			t.Errorf("%d events are left, %d of them different, of 100", len(page), len(got))
		}
	})
}

func TestPoll(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		b := startBackend(t, env)
		for second := range 15 {
			body := fmt.Sprintf(`{"event_type":"x","timestamp":"2026-11-22T12:00:%02d.5+01:00","data":{"n":%d}}`, second, second)
			if a := b.send("POST", "/api/events", body); a.status != http.StatusOK {
				t.Fatal(string(a.body))
			}
		}
		// The existing backend answered 500 forever after one such packet.
		if a := b.send("POST", "/api/net/events", `{"events":[{"timestamp":1e18,"protocol":"TCP"}]}`); a.status != http.StatusOK {
			t.Fatal(string(a.body))
		}
		poll := func(query string) (numbers []string) {
			t.Helper()
			var page []exported
			b.decode(b.send("GET", "/api/events/unassigned?"+query, ""), http.StatusOK, &page)
			for _, e := range page {
				numbers = append(numbers, strings.TrimPrefix(strings.TrimSuffix(string(e.Data), "}"), `{"n":`))
				if e.EventType == "raw_network_operation" {
					numbers[len(numbers)-1] = e.TimestampSource
				}
			}
			return numbers
		}
		span := url.Values{"start": {"2026-11-22T11:00:02.5Z"}, "end": {"2026-11-22T12:00:04.5+01:00"}}
		for _, step := range []struct{ query, want string }{
			{"limit=1", "received"}, // ordered by time of receipt, which is the newest
			{span.Encode(), "4 3 2"},
			{span.Encode(), ""},
			{"", "14 13 12 11 10 9 8 7 6 5"},
			{"limit=1000", "1 0"},
		} {
			got := strings.Join(strings.Fields(strings.Join(poll(step.query), " ")), " ")
			if got = strings.ReplaceAll(got, "\": ", ""); got != step.want && strings.ReplaceAll(got, `{"n":`, "") != step.want {
				t.Errorf("?%s gives %q, want %q", step.query, got, step.want)
			}
		}
		if a := b.send("GET", "/api/events/unassigned", ""); strings.TrimSpace(string(a.body)) != "[]" {
			t.Errorf("no events are %q, want an empty array", a.body)
		}
		for query, field := range map[string]string{
			"start=yesterday": "start", "end=%00": "end", "start=2026-13-45T00:00:00Z": "start",
		} {
			var e struct{ Error, Code string }
			b.decode(b.send("GET", "/api/events/unassigned?"+query, ""), http.StatusBadRequest, &e)
			if e.Code != "invalid" || !strings.HasPrefix(e.Error, field+" ") {
				t.Errorf("?%s: %+v does not name %s", query, e, field)
			}
		}
		for _, id := range []string{"nobody", "%00", "..%2f..", strings.Repeat("x", 300), "%ff", "a'%20OR%201=1--"} {
			var e struct{ Error, Code string }
			b.decode(b.send("GET", "/api/events/"+id, ""), http.StatusNotFound, &e)
			if e.Code != "not_found" {
				t.Errorf("%s: %+v", id, e)
			}
		}
	})
}

func TestAttribution(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		agent := newTestAgent(t)
		env["AGENT_SERVICE_URL"] = agent.URL
		b := startBackend(t, env)
		post := func(query, metadata, at string) string {
			t.Helper()
			var s struct {
				SessionID string `json:"session_id"`
			}
			b.decode(b.send("POST", "/api/events"+query, `{"event_type":"x","timestamp":"`+at+`","data":{"metadata":`+metadata+`}}`), http.StatusOK, &s)
			return s.SessionID
		}
		now := func() string { return time.Now().UTC().Format(time.RFC3339Nano) }
		invented, none := `{"sessionId":"mws78o95-pb4w1knlzuc"}`, `{}`
		want := func(what, got, session string) {
			t.Helper()
			if got != session {
				t.Errorf("%s belongs to %q, want %q", what, got, session)
			}
		}
		want("an event before any session", post("", invented, now()), "unassigned")
		first := b.createSession("a", "a")["sessionId"].(string)
		want("an event before any start", post("", none, now()), "unassigned")
		want("one that names a session", post("", `{"sessionId":"`+first+`"}`, now()), first)
		want("one with a session in the query", post("?sessionId="+first, none, now()), first)
		want("one with an unknown session in the query", post("?sessionId=%00%ff", none, now()), "unassigned")

		// The agent sends events before it answers the start.
		early := make(chan string, 1)
		agent.handle("POST /api/start-monitor", func(w http.ResponseWriter, _ *http.Request) {
			early <- post("", invented, now())
			io.WriteString(w, `{}`) //nolint:errcheck // the test would notice it
		})
		start := func(id string) {
			t.Helper()
			if a := b.send("POST", "/api/start-monitor", `{"sessionId":"`+id+`","mode":3}`); a.status != http.StatusOK {
				t.Fatal(string(a.body))
			}
			want("an event that is faster than the agent's yes", <-early, id)
		}
		before := now()
		start(first)
		want("an event while active", post("", invented, now()), first)
		want("an event of long ago while active", post("", none, "1999-01-01T00:00:00Z"), first)
		second := b.createSession("b", "b")["sessionId"].(string)
		start(second)
		want("with two active, an event", post("", invented, now()), second)
		during := now()
		for _, id := range []string{second, first} {
			if a := b.send("POST", "/api/monitor/stop", `{"sessionId":"`+id+`"}`); a.status != http.StatusOK {
				t.Fatal(string(a.body))
			}
		}
		want("a late event of the last session's time", post("", invented, during), first)
		want("an event of before it", post("", invented, before), "unassigned")
		want("an event after the end", post("", invented, now()), "unassigned")
		want("an event of unknown time", post("", invented, "no time"), "unassigned")
		if n := len(b.export(first)); n != 6 {
			t.Errorf("the first session has %d events after all starts and stops, want 6", n)
		}
	})
}

// sameText reports whether a timestamp_text is the JSON that was sent, or is absent
// because timestamp has the same text.
func sameText(text json.RawMessage, sent, timestamp string) bool {
	if sent == `"`+timestamp+`"` {
		return text == nil
	}
	var kept string
	return json.Unmarshal(text, &kept) == nil && kept == sent
}

func TestTimestamps(t *testing.T) {
	b := startBackend(t, nil)
	for sent, want := range map[string]string{
		`"2026-11-22T18:57:39.916880Z"`:      "2026-11-22T18:57:39.916880Z",
		`"2026-11-22T18:58:39Z"`:             "2026-11-22T18:58:39Z",
		`"2026-11-22T18:58:39.123456+05:30"`: "2026-11-22T13:28:39.123456Z",
		`"2026-11-22T18:58:39.1"`:            "2026-11-22T18:58:39.100000Z",
		`"2026-11-22T18:58:39.123456789Z"`:   "2026-11-22T18:58:39.123456Z",
		`"2026-11-28T23:59:60Z"`:             "2026-11-28T23:59:59Z",
		`1764331200123`:                      "2025-11-28T12:00:00.123000Z",
		`"yesterday"`:                        "", `""`: "", `null`: "", `{"a":"\u0000"}`: "", `"2026-02-30T00:00:00Z"`: "", `"2026-11-22T18:58:60Z"`: "",
	} {
		before := time.Now().Add(-time.Second)
		b.send("POST", "/api/events", `{"event_type":"x","timestamp":`+sent+`}`)
		all := b.export("unassigned")
		got := all[len(all)-1]
		if want != "" {
			if got.Timestamp != want || got.TimestampSource != "agent" || !sameText(got.TimestampText, sent, want) {
				t.Errorf("%s is stored as %s (%s, %s), want %s", sent, got.Timestamp, got.TimestampSource, got.TimestampText, want)
			}
			continue
		}
		at, err := time.Parse(time.RFC3339, got.Timestamp)
		if err != nil || at.Before(before) || at.After(time.Now().Add(time.Second)) || got.TimestampSource != "received" {
			t.Errorf("%s is stored as %s (%s), want the time of receipt", sent, got.Timestamp, got.TimestampSource)
		}
		if sent != "null" && !strings.Contains(string(got.TimestampText), "a") && !strings.ContainsAny(string(got.TimestampText), `12"`) {
			t.Errorf("what was sent, %s, is lost: %s", sent, got.TimestampText)
		}
	}
}
