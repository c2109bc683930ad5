package event

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestAppendTime(t *testing.T) {
	for _, test := range []struct {
		time time.Time
		want string
	}{
		{time.Date(2026, 1, 2, 3, 4, 5, 678_901_999, time.UTC), "2026-01-02T03:04:05.678901Z"},
		{time.Date(2026, 11, 22, 23, 59, 59, 0, time.FixedZone("", 3600)), "2026-11-22T22:59:59.000000Z"},
	} {
		if got := string(AppendTime(nil, test.time)); got != test.want {
			t.Errorf("%s: %s, want %s", test.time, got, test.want)
		}
	}
}

func TestAppendString(t *testing.T) {
	for in, want := range map[string]string{
		"plain":          `"plain"`,
		"q\"b\\":         `"q\"b\\"`,
		"\n\t\r\x00\x1f": `"\n\t\r\u0000\u001f"`,
		"\x7f":           `"\u007f"`,
		"caf\xe9":        `"caf\udce9"`, // as Python writes it
		"é中😀":            `"é中😀"`,
		"\xed\xa0\x80":   `"\udced\udca0\udc80"`,
		"�":              `"�"`,
	} {
		if got := string(AppendString(nil, in)); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
}

// FuzzAppendString checks that the output is always valid JSON, and that it decodes to the
// input if that is UTF-8.
func FuzzAppendString(f *testing.F) {
	f.Add("a\x00é\xff")
	f.Fuzz(func(t *testing.T, s string) {
		text := AppendString(nil, s)
		var back string
		if err := json.Unmarshal(text, &back); err != nil {
			t.Fatalf("%q: %s: %v", s, text, err)
		}
		if utf8.ValidString(s) && back != s {
			t.Errorf("%q decodes to %q", s, back)
		}
	})
}

var (
	at    = time.Date(2026, 11, 24, 9, 0, 0, 123_456_000, time.UTC)
	actor = Process{PID: 7, Name: "cat", StartTime: at, ParentPID: 1, ThreadID: 8, UserID: 1000, CgroupID: 5}
)

// TestAppendJSON checks the exact JSON of events.
func TestAppendJSON(t *testing.T) {
	const metadata = `"metadata":{"processName":"cat","processId":7,"processStartTime":"2026-11-24T09:00:00.123456Z",` +
		`"parentProcessId":1,"threadId":8,"userId":1000,"cgroupId":5}`
	const stamp = `"timestamp":"2026-11-24T09:00:00.123456Z"`
	contained := actor
	contained.ContainerID = "c0ffee"
	for _, test := range []struct {
		event Event
		want  string
	}{
		{
			Event{TypeProcessCreation, at, &Creation{
				Actor: contained, Result: Result{Syscall: "execve"}, Time: at, New: Process{PID: 9, StartTime: at, UserID: 1000}, NewUserName: "anna", ImagePath: "/bin/su",
				Args: []string{"su"}, CurrentDirectory: "/", Cgroup: "/docker/c0ffee", SetUserID: true, EnvironmentCut: true,
				Environment: []string{"A=1=\"\xe9", "LD_PRELOAD=/x.so", "A=2", "=odd", "odd", "}\n=", ""},
			}},
			`{"event_type":"process_creation",` + stamp + `,"source":"os-pulse-agent","data":{"operation":"execve","imagePath":"/bin/su",` +
				`"commandLine":"su","arguments":["su"],"currentDirectory":"/","newProcessId":9,"newProcessStartTime":"2026-11-24T09:00:00.123456Z",` +
				`"newUserId":1000,"newUserName":"anna","effectiveUserId":0,"cgroup":"/docker/c0ffee","environment":{"A":"1=\"\udce9","LD_PRELOAD":"/x.so","}\n":""},` +
				`"environmentRest":["A=2","=odd","odd",""],"environmentTruncated":true,"syscall":"execve","status":0,"returnValue":0,` + stamp + `,` +
				strings.Replace(metadata, `}`, `,"containerId":"c0ffee"}`, 1) + `}}`,
		},
		{
			Event{TypeFile, at, &File{
				Actor: actor, Result: Result{Syscall: "read", Return: 3}, Time: at, Operation: "ReadFile", Handle: 27, NewHandle: -1,
				Path: "/etc/x", Transfer: true, Content: Content{Bytes: []byte("\xabz\n"), Known: true, Cut: true},
			}},
			`{"event_type":"file_operation",` + stamp + `,"source":"os-pulse-agent","data":{"operation":"ReadFile","handle":"0x1b","fd":27,` +
				`"filePath":"/etc/x","bytesTransferred":3,"content":"AB 7A 0A","contentTruncated":true,"syscall":"read","status":0,"returnValue":3,` +
				stamp + `,` + metadata + `}}`,
		},
		{
			Event{TypeFile, at, &File{
				Actor: actor, Result: Result{Syscall: "openat", Return: -13}, Time: at, Operation: "OpenFile", Handle: -1, NewHandle: -1,
			}},
			`{"event_type":"file_operation",` + stamp + `,"source":"os-pulse-agent","data":{"operation":"OpenFile","filePath":null,` +
				`"syscall":"openat","status":-13,"error":"EACCES","returnValue":-13,` + stamp + `,` + metadata + `}}`,
		},
		{
			Event{TypeProcessCreation, at, &Creation{
				Actor: actor, Result: Result{Syscall: "execve"}, Time: at, New: Process{PID: 9, StartTime: at}, ImagePath: "/bin/sh",
				FilePath: "/x.sh", Interpreter: "/bin/sh", Args: []string{"sh", "a b"}, ArgsCut: true, CurrentDirectory: "/",
			}},
			`{"event_type":"process_creation",` + stamp + `,"source":"os-pulse-agent","data":{"operation":"execve","imagePath":"/bin/sh",` +
				`"filePath":"/x.sh","interpreter":"/bin/sh","commandLine":"sh 'a b' …","arguments":["sh","a b"],"argumentsTruncated":true,` +
				`"currentDirectory":"/","newProcessId":9,"newProcessStartTime":"2026-11-24T09:00:00.123456Z","newUserId":0,"syscall":"execve",` +
				`"status":0,"returnValue":0,` + stamp + `,` + metadata + `}}`,
		},
		{
			Event{TypeProcess, at, &FailedExec{
				Actor: actor, Result: Result{Syscall: "execveat", Return: -2}, Time: at, Path: "/opt/ls", Given: "ls", Args: []string{"ls", "a b"},
			}},
			`{"event_type":"process_operation",` + stamp + `,"source":"os-pulse-agent","data":{"operation":"execve","fromMemory":true,"filePath":"/opt/ls",` +
				`"givenPath":"ls","commandLine":"ls 'a b'","arguments":["ls","a b"],"syscall":"execveat","status":-2,"error":"ENOENT",` +
				`"returnValue":-2,` + stamp + `,` + metadata + `}}`,
		},
		{
			Event{TypeProcessExit, at, &Exit{Actor: actor, Time: at, Signal: 11, Core: true}},
			`{"event_type":"process_exit",` + stamp + `,"source":"os-pulse-agent","data":{"operation":"exit","signal":11,"signalName":"SIGSEGV",` +
				`"coreDumped":true,"status":0,` + stamp + `,` + metadata + `}}`,
		},
		{
			Event{TypeClockStep, at, &ClockStep{Before: at.Add(90 * time.Minute), After: at}},
			`{"event_type":"clock_step",` + stamp + `,"source":"os-pulse-agent","data":{"operation":"step","stepSeconds":-5400,` +
				`"before":"2026-11-24T10:30:00.123456Z","after":"2026-11-24T09:00:00.123456Z",` + stamp + `}}`,
		},
		{
			Event{TypeLost, at, &Lost{Count: 5, Reason: ReasonOverrun, From: at, To: at.Add(time.Second), CPU: 1}},
			`{"event_type":"events_lost",` + stamp + `,"source":"os-pulse-agent","data":{"count":5,"reason":"ring_buffer_overrun",` +
				`"from":"2026-11-24T09:00:00.123456Z","to":"2026-11-24T09:00:01.123456Z","cpu":1}}`,
		},
	} {
		got := string(test.event.AppendJSON(nil))
		if got != test.want {
			t.Errorf("got  %s\nwant %s", got, test.want)
		}
		if !json.Valid([]byte(got)) {
			t.Errorf("not JSON: %s", got)
		}
	}
}

func TestKeepVariables(t *testing.T) {
	entries := []string{"PATH=/bin", "TOKEN=secret", "LD_PRELOAD=/x.so", "https_proxy=p", "LD_=", "NOT_LD_PRELOAD=1", "odd"}
	for kept, want := range map[string][]string{
		AllVariables:  entries,
		SomeVariables: {"PATH=/bin", "LD_PRELOAD=/x.so", "https_proxy=p", "LD_="},
		NoVariables:   nil,
	} {
		if got := KeepVariables(kept, entries); !slices.Equal(got, want) || (got == nil) != (want == nil) {
			t.Errorf("%s: %q, want %q", kept, got, want)
		}
	}
	if got := KeepVariables(SomeVariables, nil); got == nil {
		t.Error("an empty environment is unknown")
	}
}

func TestHTTPURL(t *testing.T) {
	for _, test := range []struct {
		method, target, host string
		tls                  bool
		url                  string
		port                 int
	}{
		{"GET", "/a?b", "example.org", false, "http://example.org/a?b", 80},
		{"GET", "/", "example.org", true, "https://example.org/", 443},
		{"GET", "/", "example.org:8443", true, "https://example.org:8443/", 8443},
		{"GET", "/", "[::1]:81", false, "http://[::1]:81/", 81},
		{"GET", "/", "[::1]", false, "http://[::1]/", 80},
		{"GET", "http://other:82/x", "other:82", false, "http://other:82/x", 82},
		{"CONNECT", "other:443", "", false, "other:443", 443},
	} {
		h := HTTP{TLS: test.tls, Request: Request{Method: test.method, Target: test.target}}
		if test.host != "" {
			h.Request.Header = Header{{"host", test.host}}
		}
		if _, _, port, url := h.URL(); url != test.url || port != test.port {
			t.Errorf("%s %s at %q: %s, port %d; want %s, %d", test.method, test.target, test.host, url, port, test.url, test.port)
		}
	}
}

// TestHTTPJSON checks the parts of a flow that depend on its content.
func TestHTTPJSON(t *testing.T) {
	flow := HTTP{
		Actor: actor, Time: at,
		Request: Request{Method: "GET", Target: "/", Version: "HTTP/1.1", Header: Header{{"Vary", "a"}, {"X", "1"}, {"vary", "b"}}},
		Response: &Response{StatusCode: 200, Body: Body{
			Bytes: []byte(strings.Repeat("x", 10) + "\xf0\x9f"), Size: 20, Truncated: true, // cut within a character
		}},
	}
	var got struct {
		Kind     string
		Request  struct{ Headers map[string]string }
		Response struct {
			Body struct {
				Type, Content string
				Size          int
				Truncated     bool
			}
		}
	}
	if err := json.Unmarshal(flow.AppendJSON(nil), &got); err != nil {
		t.Fatal(err)
	}
	if got.Kind != "response" || got.Request.Headers["Vary"] != "a, b" || len(got.Request.Headers) != 2 {
		t.Errorf("kind %q, headers %v", got.Kind, got.Request.Headers)
	}
	if b := got.Response.Body; b.Type != "text" || b.Content != "xxxxxxxxxx" || b.Size != 20 || !b.Truncated {
		t.Errorf("body %+v", b)
	}
	flow.Response.Body = Body{Bytes: []byte{0xff, 0xfe, 0}, Size: 3}
	if text := string(flow.AppendJSON(nil)); !strings.Contains(text, `"body":{"type":"binary","content_b64":"//4A","size":3,"truncated":false}`) {
		t.Error(text)
	}
}

func TestNames(t *testing.T) {
	for got, want := range map[string]string{
		Errno(-2):             "ENOENT",
		Errno(-512):           "ERESTARTSYS",
		Errno(-4000):          "errno 4000",
		SignalName(9):         "SIGKILL",
		SignalName(35):        "SIGRT35",
		OpenFlags(0):          "O_RDONLY",
		OpenFlags(0o2000101):  "O_WRONLY|O_CREAT|O_CLOEXEC",
		CloneFlags(0x1200011): "CLONE_CHILD_CLEARTID|CLONE_CHILD_SETTID",
	} {
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// TestLargestCreation checks that an event with the longest arguments and the longest environment
// that a sensor reports fits into a batch, also if each byte takes six in JSON.
func TestLargestCreation(t *testing.T) {
	c := Creation{Args: []string{strings.Repeat("\x01", 65<<14)}, Environment: []string{"A=" + strings.Repeat("\xff", 9<<14)}}
	e := Event{Type: TypeProcessCreation, Data: &c}
	text := e.AppendJSON(nil)
	if len(text) > 8<<20-64<<10 || !json.Valid(text) {
		t.Errorf("%d bytes", len(text))
	}
}
