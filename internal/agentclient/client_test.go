package agentclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"ospulse/internal/models"
)

// TestMain fails when a goroutine of a client outlives the tests.
func TestMain(m *testing.M) {
	code := m.Run()
	deadline := time.After(60 * time.Second)
	for tick := time.NewTicker(10 * time.Millisecond); code == 0; <-tick.C {
		stacks := make([]byte, 1<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		if !strings.Contains(string(stacks), "persistConn") && !strings.Contains(string(stacks), "agentclient.(*Client)") {
			break
		}
		select {
		case <-deadline:
			fmt.Fprintf(os.Stderr, "goroutines left:\n%s\n", stacks)
			code = 1
		default:
		}
	}
	os.Exit(code)
}

// patience is a timeout that no test waits for.
const patience = 5 * time.Minute

// agent is a fake agent. It answers the routes in its map, which are written "POST
// /path", answers 404 to everything else, and records the requests.
type agent struct {
	*httptest.Server
	mu    sync.Mutex
	asked []string
}

func newAgent(t *testing.T, routes map[string]http.HandlerFunc) *agent {
	t.Helper()
	a := &agent{}
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key := r.Method + " " + r.URL.Path
		a.mu.Lock()
		a.asked = append(a.asked, key)
		a.mu.Unlock()
		if handle, ok := routes[key]; ok {
			handle(w, r)
			return
		}
		http.NotFound(w, r)
	}))
	t.Cleanup(a.Close)
	return a
}

func (a *agent) takeAsked() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	asked := a.asked
	a.asked = nil
	return asked
}

// says answers with a status and a body.
func says(status int, contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func saysJSON(status int, body string) http.HandlerFunc {
	return says(status, "application/json", body)
}

func fileOf(text string) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil }
}

// operations calls each operation and forgets the result.
var operations = map[string]func(*Client, context.Context) error{
	"health":    func(c *Client, ctx context.Context) error { _, err := c.Health(ctx); return err },
	"processes": func(c *Client, ctx context.Context) error { _, err := c.Processes(ctx); return err },
	"upload": func(c *Client, ctx context.Context) error {
		_, err := c.Upload(ctx, File{Name: "a.exe", SizeBytes: 4, Open: fileOf("MZ\x00\x01")})
		return err
	},
	"start": func(c *Client, ctx context.Context) error { _, err := c.Start(ctx, StartRequest{Mode: 1}); return err },
	"stop":  func(c *Client, ctx context.Context) error { _, err := c.Stop(ctx, "s", ""); return err },
}

// wantError checks the code and the text of an error.
func wantError(t *testing.T, err error, code models.Code, text string) {
	t.Helper()
	e, ok := errors.AsType[*models.Error](err)
	if !ok || e.Code != code || !strings.Contains(e.Message, text) {
		t.Fatalf("got %#v (%v), want %s with %q", err, err, code, text)
	}
}

func TestRequestsOnTheWire(t *testing.T) {
	var got string
	record := func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = string(body)
		if r.ContentLength != int64(len(body)) || len(r.TransferEncoding) > 0 {
			t.Errorf("%s: length %d told for %d bytes, encoding %v", r.URL, r.ContentLength, len(body), r.TransferEncoding)
		}
		if _, sent := r.Header["Idempotency-Key"]; sent {
			t.Errorf("%s: the marker for the transport was sent", r.URL)
		}
		saysJSON(200, `[]`)(w, r)
	}
	a := newAgent(t, map[string]http.HandlerFunc{
		"POST /api/list-processes": record, "POST /api/start-monitor": record, "POST /api/stop-monitor": record,
	})
	c := New(a.URL+"/", patience)
	for name, test := range map[string]struct {
		call func() error
		want string
	}{
		"processes": {func() error { _, err := c.Processes(t.Context()); return err }, `{}`},
		"start, pids": {func() error {
			_, err := c.Start(t.Context(), StartRequest{SessionID: "s", FileName: "a b.exe", Mode: 2, Processes: []int64{4, 1 << 40}})
			return err
		}, `{"sessionId":"s","fileName":"a b.exe","mode":2,"processes":[4,1099511627776]}`},
		"start, no pids": {func() error {
			_, err := c.Start(t.Context(), StartRequest{SessionID: "s", Mode: 1, Processes: []int64{}})
			return err
		}, `{"sessionId":"s","fileName":"","mode":1}`},
		"stop": {func() error { _, err := c.Stop(t.Context(), `s"`, "7"); return err }, `{"sessionId":"s\""}`},
	} {
		if err := test.call(); err != nil || got != test.want {
			t.Errorf("%s: sent %s (%v), want %s", name, got, err, test.want)
		}
	}
}

func TestEverySpelling(t *testing.T) {
	spellings := map[string][]string{
		"health":    {"GET /health"},
		"processes": {"POST /api/list-processes", "GET /api/list-processes", "GET /api/processes"},
		"upload":    {"POST /api/upload-file", "POST /api/upload"},
		"start":     {"POST /api/start-monitor", "POST /api/monitor/start"},
		"stop":      {"POST /api/stop-monitor", "POST /api/monitor/stop"},
	}
	bodies := map[string]string{"processes": "[]"}
	for operation, routes := range spellings {
		for i, served := range routes {
			for _, absence := range []int{http.StatusNotFound, http.StatusMethodNotAllowed} {
				t.Run(fmt.Sprintf("%s served, else %d", served, absence), func(t *testing.T) {
					handlers := map[string]http.HandlerFunc{}
					for _, route := range routes {
						handlers[route] = says(absence, "text/html", "<h1>none</h1>")
					}
					body := bodies[operation]
					if body == "" {
						body = "{}"
					}
					handlers[served] = saysJSON(200, body)
					a := newAgent(t, handlers)
					c := New(a.URL, patience)
					if err := operations[operation](c, t.Context()); err != nil {
						t.Fatal(err)
					}
					if asked := a.takeAsked(); !slices.Equal(asked, routes[:i+1]) {
						t.Errorf("first call asked %v, want %v", asked, routes[:i+1])
					}
					if err := operations[operation](c, t.Context()); err != nil {
						t.Fatal(err)
					}
					if asked := a.takeAsked(); !slices.Equal(asked, []string{served}) {
						t.Errorf("second call asked %v, want only %s", asked, served)
					}
				})
			}
		}
	}

	t.Run("an agent that changed its spelling is found again", func(t *testing.T) {
		handlers := map[string]http.HandlerFunc{"POST /api/monitor/stop": saysJSON(200, `{}`)}
		a := newAgent(t, handlers)
		c := New(a.URL, patience)
		for range 2 {
			if _, err := c.Stop(t.Context(), "s", ""); err != nil {
				t.Fatal(err)
			}
			handlers["POST /api/stop-monitor"] = saysJSON(200, `{}`)
			delete(handlers, "POST /api/monitor/stop")
		}
		want := []string{"POST /api/stop-monitor", "POST /api/monitor/stop", "POST /api/monitor/stop", "POST /api/stop-monitor"}
		if asked := a.takeAsked(); !slices.Equal(asked, want) {
			t.Errorf("asked %v, want %v", asked, want)
		}
	})
}

func TestRefusal(t *testing.T) {
	flask404 := says(404, "text/html", "<!doctype html>\n<title>404 Not Found</title>\n<h1>Not Found</h1>\n<p>The requested URL was not found.</p>")
	same := func(h http.HandlerFunc) [2]http.HandlerFunc { return [2]http.HandlerFunc{h, h} }
	for name, test := range map[string]struct {
		answers [2]http.HandlerFunc // of the two spellings
		want    string              // after "the agent refused to start monitoring: "
	}{
		"the agent's error":              {same(saysJSON(400, `{"error":"file  not\nfound","message":"m"}`)), "file not found"},
		"the agent's message":            {same(saysJSON(500, `{"error":{"code":1},"message":"no Frida"}`)), "no Frida"},
		"a page":                         {same(says(500, "text/html", "<style>p{}</style><p>It &lt;b&gt; broke<script>x()</script>")), "It <b> broke"},
		"a page that is called text":     {same(says(500, "text/plain", " <html><b>It</b> broke</html>")), "It broke"},
		"text":                           {same(says(502, "text/plain", "1 < 2\x07")), "1 < 2"},
		"other JSON":                     {same(saysJSON(422, `{"detail":"mode"}`)), `{"detail":"mode"}`},
		"nothing":                        {same(saysJSON(503, "")), "Service Unavailable"},
		"nothing, an unknown status":     {same(saysJSON(599, "")), "status 599"},
		"a redirect":                     {same(says(308, "text/html", "see <a>http://u:p@h</a>")), "it redirects elsewhere (Permanent Redirect)"},
		"404 with a reason":              {same(saysJSON(404, `{"error":"file not found"}`)), "file not found"},
		"404 with a reason, then none":   {[2]http.HandlerFunc{saysJSON(404, `{"error":"file not found"}`), flask404}, "file not found"},
		"404, then one with a reason":    {[2]http.HandlerFunc{flask404, saysJSON(404, `{"error":"file not found"}`)}, "file not found"},
		"stock 404, then a reason":       {[2]http.HandlerFunc{saysJSON(404, `{"error":"Not found"}`), saysJSON(404, `{"error":"no x.exe"}`)}, "no x.exe"},
		"404 with a reason, then 400":    {[2]http.HandlerFunc{saysJSON(404, `{"error":"no route"}`), saysJSON(400, `{"error":"bad mode"}`)}, "bad mode"},
		"404 everywhere":                 {same(flask404), "404 Not Found Not Found The requested URL was not found."},
		"405 everywhere":                 {same(saysJSON(405, "")), "Method Not Allowed"},
		"400 is not tried again":         {[2]http.HandlerFunc{saysJSON(400, `{"error":"bad"}`), saysJSON(200, `{}`)}, "bad"},
		"more than is read of a refusal": {same(says(400, "text/plain", strings.Repeat("a", maxAnswerBytes+10))), strings.Repeat("a", 299) + "…"},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAgent(t, map[string]http.HandlerFunc{"POST /api/start-monitor": test.answers[0], "POST /api/monitor/start": test.answers[1]})
			_, err := New(a.URL, patience).Start(t.Context(), StartRequest{})
			wantError(t, err, models.CodeAgentFailed, "")
			if e, _ := errors.AsType[*models.Error](err); e.Message != "the agent refused to start monitoring: "+test.want {
				t.Errorf("got %q", e.Message)
			}
		})
	}
}

// TestRefusalsWithACode checks that the agent's error code decides whether the request
// or the file is at fault.
func TestRefusalsWithACode(t *testing.T) {
	long := strings.Repeat("name ", 700)
	for name, test := range map[string]struct {
		status int
		body   string
		code   models.Code
		want   string
	}{
		"the file":            {400, `{"error":"x cannot be run","code":"cannot_run"}`, models.CodeCannotRun, "x cannot be run"},
		"the request":         {400, `{"error":"no process 1","code":"invalid"}`, models.CodeInvalid, "no process 1"},
		"a list of names":     {400, `{"error":"` + long + `","code":"cannot_run"}`, models.CodeCannotRun, strings.TrimSpace(long)},
		"a code without text": {400, `{"code":"cannot_run"}`, models.CodeAgentFailed, "the agent refused to start monitoring: {\"code\":\"cannot_run\"}"},
		"an unknown code":     {400, `{"error":"no","code":"internal"}`, models.CodeAgentFailed, "the agent refused to start monitoring: no"},
		"a failure":           {500, `{"error":"no","code":"cannot_run"}`, models.CodeAgentFailed, "the agent refused to start monitoring: no"},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAgent(t, map[string]http.HandlerFunc{"POST /api/start-monitor": saysJSON(test.status, test.body)})
			_, err := New(a.URL, patience).Start(t.Context(), StartRequest{})
			wantError(t, err, test.code, test.want)
		})
	}
}

func TestStop(t *testing.T) {
	const usual, other = "POST /api/stop-monitor", "POST /api/monitor/stop"
	for name, test := range map[string]struct {
		routes map[string]http.HandlerFunc
		ok     bool
	}{
		"stopped":                          {map[string]http.HandlerFunc{usual: saysJSON(200, `{"message":"ok"}`)}, true},
		"stopped, says a page":             {map[string]http.HandlerFunc{usual: says(200, "text/html", "<p>ok")}, true},
		"stopped, says nothing":            {map[string]http.HandlerFunc{usual: says(204, "", "")}, true},
		"unknown session":                  {map[string]http.HandlerFunc{usual: saysJSON(404, `{"error":"unknown session"}`)}, true},
		"unknown session on all spellings": {map[string]http.HandlerFunc{usual: saysJSON(404, `{}`), other: saysJSON(404, `{}`)}, true},
		"405 on all spellings":             {map[string]http.HandlerFunc{usual: saysJSON(405, ""), other: saysJSON(405, "")}, false},
		"405 on one spelling":              {map[string]http.HandlerFunc{usual: saysJSON(405, "")}, false},
		"404, then it fails":               {map[string]http.HandlerFunc{other: saysJSON(500, "")}, false},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := New(newAgent(t, test.routes).URL, patience).Stop(t.Context(), "s", "")
			if (err == nil) != test.ok {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestUnreadableAnswers(t *testing.T) {
	page := says(200, "text/html", "<p>hello")
	a := newAgent(t, map[string]http.HandlerFunc{
		"GET /health": page, "POST /api/list-processes": page, "POST /api/upload-file": page,
		"POST /api/start-monitor": page, "POST /api/stop-monitor": page,
	})
	c := New(a.URL, patience)
	_, err := c.Health(t.Context())
	wantError(t, err, models.CodeAgentFailed, "gave a health report that cannot be read")
	processes, err := c.Processes(t.Context())
	wantError(t, err, models.CodeAgentFailed, "gave a process list that cannot be read")
	if processes != nil {
		t.Errorf("got %v beside the error", processes)
	}
	if name, err := c.Upload(t.Context(), File{Name: "a.exe", SizeBytes: 1, Open: fileOf("x")}); name != "a.exe" || err != nil {
		t.Errorf("upload gave %q, %v", name, err)
	}
	if result, err := c.Start(t.Context(), StartRequest{}); result.MonitoringPID != nil || err != nil {
		t.Errorf("start gave %v, %v", result, err)
	}
}

func TestLongAnswers(t *testing.T) {
	padded := func(size int) http.HandlerFunc { return saysJSON(200, "[]"+strings.Repeat(" ", size-2)) }
	for name, test := range map[string]struct {
		operation string
		route     string
		size      int
		want      string
	}{
		"4 MB":                 {"stop", "POST /api/stop-monitor", 4 << 20, ""},
		"more than 4 MB":       {"stop", "POST /api/stop-monitor", 4<<20 + 1, "gave an answer of more than 4 MB"},
		"5 MB of processes":    {"processes", "POST /api/list-processes", 5 << 20, ""},
		"33 MB of processes":   {"processes", "POST /api/list-processes", 33 << 20, "gave an answer of more than 32 MB"},
		"a long health report": {"health", "GET /health", 5 << 20, "gave an answer of more than 4 MB"},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAgent(t, map[string]http.HandlerFunc{test.route: padded(test.size)})
			err := operations[test.operation](New(a.URL, patience), t.Context())
			if test.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			wantError(t, err, models.CodeAgentFailed, test.want)
		})
	}
}

// rawAgent serves each connection with serve; n is 1 for the first connection.
func rawAgent(t *testing.T, serve func(n int, conn net.Conn)) (url string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for n := 1; ; n++ {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer conn.Close()
				serve(n, conn)
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		serving.Wait()
	})
	return "http://" + listener.Addr().String()
}

func TestUnreachable(t *testing.T) {
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead.Close()
	afterRequest := func(do func(net.Conn)) string {
		return rawAgent(t, func(_ int, conn net.Conn) {
			_, _ = conn.Read(make([]byte, 4096))
			do(conn)
		})
	}
	write := func(text string) string {
		return afterRequest(func(conn net.Conn) {
			_, _ = io.WriteString(conn, text)
			_ = conn.(*net.TCPConn).CloseWrite()
			_, _ = io.Copy(io.Discard, conn) // a connection that is closed with unread bytes is reset
		})
	}
	for name, test := range map[string]struct{ url, want string }{
		"nobody listens":     {"http://" + dead.Addr().String(), "the agent at http://" + dead.Addr().String() + " cannot be reached: connection refused"},
		"hangs up":           {write(""), "cannot be reached: it closed the connection before it had answered"},
		"hangs up in answer": {write("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[]"), "it closed the connection before it had answered"},
		"resets":             {afterRequest(func(conn net.Conn) { _ = conn.(*net.TCPConn).SetLinger(0) }), "cannot be reached: connection reset by peer"},
		"is no HTTP server":  {write("SSH-2.0-OpenSSH_9.2\r\n\x00\r\n"), `cannot be reached: `},
		"no scheme":          {"localhost:7000", "cannot be reached: unsupported protocol scheme"},
		"no URL":             {"http://admin:secret@a b", "cannot be reached: unsupported protocol scheme"},
		"a URL without //":   {"admin:secret@localhost:7000", "cannot be reached: unsupported protocol scheme"},
		"a URL with a login": {"http://admin:secret@" + dead.Addr().String(), "the agent at http://" + dead.Addr().String() + " cannot be reached: connection refused"},
		"a URL with a query": {"http://" + dead.Addr().String() + "/x/?token=secret#f", "the agent at http://" + dead.Addr().String() + "/x cannot be reached: connection refused"},
	} {
		for operation, call := range operations {
			t.Run(name+"/"+operation, func(t *testing.T) {
				err := call(New(test.url, patience), t.Context())
				wantError(t, err, models.CodeAgentFailed, test.want)
				if strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "admin") {
					t.Errorf("the login is shown: %v", err)
				}
			})
		}
	}

	t.Run("no such host", func(t *testing.T) {
		c := New("http://agent.example:7000", patience)
		err := c.explain(t.Context(), t.Context(), &c.start, &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: "agent.example", Server: "10.0.0.1:53"}})
		wantError(t, err, models.CodeAgentFailed, "the agent at http://agent.example:7000 cannot be reached: no such host")
	})
}

func TestLoginIsSent(t *testing.T) {
	for name, call := range operations {
		a := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			user, password, _ := r.BasicAuth()
			if user != "admin" || password != "p@ss" || !strings.HasPrefix(r.URL.Path, "/agent/") {
				t.Errorf("%s: %s came with login %q %q", name, r.URL, user, password)
			}
			saysJSON(200, `null`)(w, r)
		}))
		if err := call(New(strings.Replace(a.URL, "://", "://admin:p%40ss@", 1)+"/agent/", patience), t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		a.Close()
	}
}

func TestKeyIsSent(t *testing.T) {
	for name, call := range operations {
		for _, tt := range []struct{ key, user, apiKey, authorization, advice string }{
			{"", "", "", "", "no; it requires a key: set the same AGENT_API_KEY for the agent and"},
			{"s3cret", "", "s3cret", "Bearer s3cret", "no; it does not accept this backend's key: set the same AGENT_API_KEY"},
			{"s3cret", "admin:p@", "s3cret", "Basic YWRtaW46cA==", "key: set the same AGENT_API_KEY"},
		} {
			asked := 0
			a := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked++
				if key, authorization := r.Header.Get("X-API-Key"), r.Header.Get("Authorization"); key != tt.apiKey || authorization != tt.authorization {
					t.Errorf("%s: %s came with %q, %q", name, r.URL, key, authorization)
				}
				saysJSON(401, `{"error":"no"}`)(w, r)
			}))
			err := call(New(strings.Replace(a.URL, "://", "://"+tt.user, 1), patience).WithKey(tt.key), t.Context())
			if err == nil || strings.Contains(err.Error(), "s3cret") || !strings.Contains(err.Error(), tt.advice) || asked == 0 {
				t.Errorf("%s: %v after %d requests", name, err, asked)
			}
			a.Close()
		}
	}
}

func TestProxyIsIgnored(t *testing.T) {
	if New("http://localhost:7000", patience).transport.(*http.Transport).Proxy != nil {
		t.Error("a proxy may be used")
	}
}

func TestConnections(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]"
	request := func(conn net.Conn) error {
		r := make([]byte, 4096) // each request of this test comes in one packet
		_, err := conn.Read(r)
		return err
	}
	// Every connection serves one request, and breaks on the second.
	dying := func(t *testing.T) (url string, requestsByConnection func() []int) {
		var mu sync.Mutex
		var requests []int
		url = rawAgent(t, func(n int, conn net.Conn) {
			for i := range 2 {
				if request(conn) != nil {
					return
				}
				mu.Lock()
				requests = append(requests, n)
				mu.Unlock()
				if i == 0 {
					_, _ = io.WriteString(conn, ok)
				}
			}
		})
		return url, func() []int {
			mu.Lock()
			defer mu.Unlock()
			return requests
		}
	}

	t.Run("are kept", func(t *testing.T) {
		opened := 0
		a := httptest.NewUnstartedServer(saysJSON(404, `[]`))
		a.Config.ConnState = func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				opened++
			}
		}
		a.Start()
		c := New(a.URL, patience)
		for range 5 {
			_, err := c.Processes(t.Context())
			wantError(t, err, models.CodeAgentFailed, "")
		}
		c.transport.(*http.Transport).CloseIdleConnections()
		a.Close()
		if opened != 1 {
			t.Errorf("%d connections for 15 requests", opened)
		}
	})
	t.Run("when dead, are replaced", func(t *testing.T) {
		url, requests := dying(t)
		c := New(url, patience)
		defer c.transport.(*http.Transport).CloseIdleConnections()
		for range 2 {
			if _, err := c.Stop(t.Context(), "s", ""); err != nil {
				t.Fatal(err)
			}
		}
		if got := requests(); !slices.Equal(got, []int{1, 1, 2}) {
			t.Errorf("requests came on connections %v", got)
		}
	})
	t.Run("are not shared with a start", func(t *testing.T) {
		url, requests := dying(t)
		c := New(url, patience)
		defer c.transport.(*http.Transport).CloseIdleConnections()
		if _, err := c.Stop(t.Context(), "s", ""); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Start(t.Context(), StartRequest{}); err != nil {
			t.Fatal(err)
		}
		if got := requests(); !slices.Equal(got, []int{1, 2}) {
			t.Errorf("requests came on connections %v", got)
		}
	})
}

func TestParallelCalls(t *testing.T) {
	a := newAgent(t, map[string]http.HandlerFunc{
		"GET /health": saysJSON(200, `{}`), "GET /api/processes": saysJSON(200, `null`),
		"POST /api/upload": saysJSON(200, `{}`), "POST /api/monitor/start": saysJSON(200, `{}`),
	})
	c := New(a.URL, patience)
	var calls sync.WaitGroup
	for range 10 {
		for name, call := range operations {
			calls.Go(func() {
				if err := call(c, t.Context()); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			})
		}
	}
	calls.Wait()
}

func TestStart(t *testing.T) {
	pid := func(n int64) *int64 { return &n }
	for name, test := range map[string]struct {
		body string
		want *int64
	}{
		"a pid":         {`{"message":"m","sessionId":"s","monitoringPid":4321,"mode":3}`, pid(4321)},
		"a quoted pid":  {`{"monitoringPid":"4321"}`, pid(4321)},
		"null":          {`{"monitoringPid":null}`, nil},
		"none":          {`{"message":"m"}`, nil},
		"several":       {`{"monitoringPid":[1,2]}`, nil},
		"broken JSON":   {`{"monitoringPid":4321`, nil},
		"an empty body": {``, nil},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAgent(t, map[string]http.HandlerFunc{"POST /api/start-monitor": saysJSON(200, test.body)})
			got, err := New(a.URL, patience).Start(t.Context(), StartRequest{})
			if err != nil || !reflect.DeepEqual(got.MonitoringPID, test.want) {
				t.Errorf("got %v, %v", got.MonitoringPID, err)
			}
		})
	}
}
