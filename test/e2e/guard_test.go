package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"ospulse/test/wait"
)

const (
	dashboard = "http://localhost:5173"
	stranger  = "http://evil.example"
)

// TestCORS checks that pages of allowed origins, and no others, may read every answer,
// including errors.
func TestCORS(t *testing.T) {
	b := startBackend(t, map[string]string{"MAX_BODY_MB": "1"})
	for name, test := range map[string]struct {
		status             int
		method, path, body string
		header             []string
	}{
		"200":              {200, "GET", "/api/monitor-modes", "", nil},
		"200 of a poll":    {200, "GET", "/api/events/unassigned", "", nil},
		"200 of an export": {200, "GET", "/api/events/export", "", nil},
		"200 of a POST":    {200, "POST", "/api/monitor/stop", `{"sessionId":"unassigned"}`, nil},
		"400":              {400, "POST", "/api/events", `{}`, nil},
		"403":              {403, "POST", "/api/events", `{}`, []string{"Host: evil.example"}},
		"404":              {404, "GET", "/api/nope", "", nil},
		"404 of a session": {404, "GET", "/api/events/nobody", "", nil},
		"405":              {405, "GET", "/api/start-monitor", "", nil},
		"409":              {409, "POST", "/api/start-monitor", `{"sessionId":"unassigned","mode":1}`, nil},
		"413":              {413, "POST", "/api/events", strings.Repeat(" ", 1<<20+1), nil},
		"415":              {415, "POST", "/api/create-session", "x", nil},
		"502":              {502, "POST", "/api/list-processes", `{"sessionId":"unassigned"}`, nil},
	} {
		t.Run(name, func(t *testing.T) {
			a := b.send(test.method, test.path, test.body, append(test.header, "Origin: "+dashboard)...)
			if a.status != test.status || a.header.Get("Access-Control-Allow-Origin") != dashboard || !slices.Contains(a.header.Values("Vary"), "Origin") {
				t.Errorf("%d %.200s with %v", a.status, a.body, a.header)
			}
			if exposed := a.header.Get("Access-Control-Expose-Headers"); !strings.Contains(exposed, "X-Request-Id") || !strings.Contains(exposed, "Content-Disposition") {
				t.Errorf("exposed is %q", exposed)
			}
			a = b.send(test.method, test.path, test.body, append(test.header, "Origin: "+stranger)...)
			if a.header.Get("Access-Control-Allow-Origin") != "" || a.header.Get("Access-Control-Allow-Credentials") != "" {
				t.Errorf("a stranger may read %d %.200s", a.status, a.body)
			}
		})
	}
	for _, path := range append(slices.Collect(maps.Keys(jsonRoutes)), "/api/create-session", "/api/events/batch") {
		t.Run("preflight of "+path, func(t *testing.T) {
			ask := func(origin string) answer {
				return b.send("OPTIONS", path, "", "Origin: "+origin, "Access-Control-Request-Method: POST", "Access-Control-Request-Headers: authorization,content-type,x-api-key")
			}
			a := ask(dashboard)
			if a.status != http.StatusNoContent || a.header.Get("Access-Control-Allow-Origin") != dashboard || !strings.Contains(a.header.Get("Access-Control-Allow-Methods"), "POST") {
				t.Errorf("%d %v", a.status, a.header)
			}
			for _, header := range []string{"Content-Type", "X-API-Key", "Authorization"} {
				if allowed := a.header.Get("Access-Control-Allow-Headers"); !strings.Contains(allowed, header) {
					t.Errorf("%s is not among %s", header, allowed)
				}
			}
			if a = ask(stranger); a.header.Get("Access-Control-Allow-Origin") != "" {
				t.Errorf("a stranger may ask: %d %v", a.status, a.header)
			}
		})
	}
	t.Run("configured origins", func(t *testing.T) {
		b := startBackend(t, map[string]string{"CORS_ORIGINS": "https://a.example, http://b.example:8080"})
		for origin, allowed := range map[string]bool{"https://a.example": true, "http://b.example:8080": true, "http://a.example": false, "http://b.example": false, dashboard: false} {
			a := b.send("POST", "/api/events", `{"event_type":"x"}`, "Origin: "+origin)
			if (a.status == http.StatusOK) != allowed || (a.header.Get("Access-Control-Allow-Origin") == origin) != allowed {
				t.Errorf("%s: %d %v", origin, a.status, a.header)
			}
		}
	})
}

// TestForeignPages checks that a foreign page in the researcher's browser cannot do
// anything.
func TestForeignPages(t *testing.T) {
	agent := newTestAgent(t)
	env := map[string]string{"AGENT_SERVICE_URL": agent.URL, "DATA_DIR": t.TempDir()}
	b := startBackend(t, env)
	id := b.create("a")
	kept := b.owner() // one event that no poll has returned yet
	changing := maps.Clone(jsonRoutes)
	for path, body := range changing {
		changing[path] = strings.ReplaceAll(body, "unassigned", id)
	}
	changing["/api/events/batch"] = `[{"event_type":"x"}]`
	changing["/api/create-session"] = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"x\"\r\n\r\nx\r\n--b--\r\n"
	for name, headers := range map[string][]string{
		"another origin":                   {"Origin: " + stranger},
		"a sandboxed frame":                {"Origin: null"},
		"another port":                     {"Origin: http://localhost:5174"},
		"another scheme":                   {"Origin: https://localhost:5173"},
		"a name that begins alike":         {"Origin: http://localhost:5173.evil.example"},
		"a name that ends alike":           {"Origin: http://evil-localhost:5173"},
		"nonsense":                         {"Origin: %zz://["},
		"a modern browser, another origin": {"Origin: " + stranger, "Sec-Fetch-Site: cross-site"},
		"a modern browser, no origin":      {"Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors"},
		"the same site, another port":      {"Origin: http://localhost:8000", "Sec-Fetch-Site: same-site"},
		"the same site, no origin":         {"Sec-Fetch-Site: same-site"},
		"a form that sends JSON":           {"Origin: " + stranger, "Content-Type: text/plain"},
	} {
		for path, body := range changing {
			t.Run(name+" posts to "+path, func(t *testing.T) {
				var header []string
				if path == "/api/create-session" {
					header = []string{"Content-Type: multipart/form-data; boundary=b"}
				}
				wantError(t, b.send("POST", path, body, append(header, headers...)...), http.StatusForbidden, "forbidden", "origin")
			})
		}
		t.Run(name+" polls", func(t *testing.T) {
			wantError(t, b.send("GET", "/api/events/"+kept, "", headers...), http.StatusForbidden, "forbidden", "origin")
		})
	}
	if n := len(b.export("")); n != 1 {
		t.Errorf("%d events are stored, want the one from before", n)
	}
	if len(agent.received(agentUpload)) != 1 || len(agent.received(agentStart))+len(agent.received(agentStop))+len(agent.received(agentList)) != 0 {
		t.Errorf("the agent was asked: %v", agent.requests)
	}
	if names := storedNames(t, env); len(names) != 2 {
		t.Errorf("there are the sessions %q", names)
	}
	var page []exported
	b.decode(b.send("GET", "/api/events/"+kept, ""), http.StatusOK, &page)
	if len(page) != 1 {
		t.Errorf("%d events are left to poll, want 1", len(page))
	}

	port := b.url[strings.LastIndex(b.url, ":"):]
	for name, headers := range map[string][]string{
		"no browser":                    nil,
		"the dashboard":                 {"Origin: " + dashboard},
		"the dashboard, modern browser": {"Origin: " + dashboard, "Sec-Fetch-Site: same-site"},
		"the dashboard by another name": {"Origin: " + dashboard, "Sec-Fetch-Site: cross-site"},
		"our own page":                  {"Origin: " + b.url},
		"our own page as localhost":     {"Host: localhost" + port, "Origin: http://localhost" + port, "Sec-Fetch-Site: same-origin"},
		"the address bar":               {"Sec-Fetch-Site: none"},
	} {
		t.Run(name+" may", func(t *testing.T) {
			if a := b.send("POST", "/api/events", `{"event_type":"x"}`, headers...); a.status != http.StatusOK {
				t.Errorf("%d %s", a.status, a.body)
			}
			var page []exported
			if b.decode(b.send("GET", "/api/events/unassigned", "", headers...), http.StatusOK, &page); len(page) != 1 {
				t.Errorf("%d events polled", len(page))
			}
		})
	}
}

// TestHostHeader checks that a host name which an attacker's DNS points to this machine
// is refused.
func TestHostHeader(t *testing.T) {
	check := func(t *testing.T, b *backend, ours bool, hosts ...string) {
		for _, host := range hosts {
			for _, request := range [][2]string{{"GET", "/api/monitor-modes"}, {"GET", "/healthz"}, {"GET", "/api/events/unassigned"}, {"POST", "/api/monitor/stop"}} {
				t.Run(request[0]+" "+request[1]+" of "+host, func(t *testing.T) {
					body := ""
					if request[0] == "POST" {
						body = `{"sessionId":"unassigned"}`
					}
					if a := b.send(request[0], request[1], body, "Host: "+host, "X-Forwarded-Host: localhost"); !ours {
						wantError(t, a, http.StatusForbidden, "forbidden", "ALLOWED_HOSTS")
					} else if a.status != http.StatusOK {
						t.Errorf("%d %s", a.status, a.body)
					}
				})
			}
		}
	}
	b := startBackend(t, nil)
	check(t, b, true, "localhost", "LocalHost", "localhost.", "localhost:3003", "127.0.0.1", "127.0.0.1:3003", "127.0.0.2", "[::1]", "[::1]:3003")
	check(t, b, false, "evil.example", "evil.example:3003", "192.168.1.5", "192.168.1.5:3003", "127.0.0.1.evil.example", "localhost.evil.example",
		"evil-localhost", "0.0.0.0", "[::]:3003", "169.254.169.254", "[fe80::1]", "2130706433", "127.1", "ospulse.example")
	t.Run("configured", func(t *testing.T) {
		b := startBackend(t, map[string]string{"ALLOWED_HOSTS": "OSPulse.example, 192.168.1.5,fe80::1"})
		check(t, b, true, "localhost", "ospulse.example", "ospulse.example.:3003", "192.168.1.5:3003", "[fe80::1]:3003")
		check(t, b, false, "evil.example", "x.ospulse.example", "192.168.1.6")
	})
}

// logged is a line of the request log.
type logged struct {
	Msg, ID, Method, Path, From string
	Status                      int
}

func (b *backend) requestLines() (lines []logged) {
	b.t.Helper()
	for text := range strings.Lines(b.log.String()) {
		var line logged
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			b.t.Fatalf("%v in %s", err, text)
		}
		if line.Msg == "request" {
			lines = append(lines, line)
		}
	}
	return lines
}

// TestRequestLog checks that the log has one line for each request, with the id of the
// answer, and nothing of what was sent.
func TestRequestLog(t *testing.T) {
	const secret = "hOp3Zy"
	agent := newTestAgent(t)
	b := startBackend(t, map[string]string{"AGENT_SERVICE_URL": agent.URL, "LOG_LEVEL": "debug", "MAX_BODY_MB": "1"})
	want := map[string]logged{}
	ask := func(method, path, body string, header ...string) string {
		t.Helper()
		a := b.send(method, path, body, append(header, "User-Agent: "+secret, "Authorization: Bearer "+secret, "X-API-Key: "+secret, "X-Forwarded-For: "+secret, "Referer: http://localhost/"+secret)...)
		id := a.header.Get("X-Request-Id")
		if _, ok := want[id]; id == "" || ok {
			t.Errorf("%s %s: the id is %q", method, path, id)
		}
		path, _, _ = strings.Cut(path, "?")
		want[id] = logged{"request", id, method, path, "127.0.0.1", a.status}
		return id
	}
	multipart := []string{"Content-Type: multipart/form-data; boundary=b"}
	file := "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"" + secret + "\"\r\n\r\n" + secret + "\r\n--b--\r\n"
	ask("POST", "/api/events", `{"event_type":"`+secret+`","source":"`+secret+`","data":{"metadata":{"sessionId":"`+secret+`"},"filePath":"`+secret+`"}}`)
	ask("POST", "/api/events?sessionId="+secret, `{"event_type":"x","timestamp":"`+secret+`"}`)
	ask("POST", "/api/events", `{"`+secret+`":1}`)
	ask("POST", "/api/events", `{"event_type":"x"}`, "Content-Type: text/"+secret)
	ask("POST", "/api/events", `{"event_type":"x"}`, "Content-Encoding: "+secret)
	ask("POST", "/api/events", `{"event_type":"x"}`, "Origin: http://"+secret)
	ask("POST", "/api/events", secret+strings.Repeat(" ", 1<<20))
	ask("POST", "/api/http/events", `{"request":{"url":"http://`+secret+`/"},"kind":"`+secret+`"}`)
	ask("POST", "/api/events/batch", secret+"\n{\"event_type\":\"x\"}", "Idempotency-Key: "+secret)
	ask("POST", "/api/events/batch", secret, "Idempotency-Key: "+secret)
	ask("POST", "/api/net/events", `{"events":[{"info":"`+secret+`"},"`+secret+`"]}`)
	ask("GET", "/api/events/unassigned?limit="+secret, "")
	ask("GET", "/api/events/unassigned?start="+secret, "")
	ask("GET", "/api/events/unassigned?"+secret, "")
	ask("GET", "/api/events/export?sessionId="+secret, "")
	ask("GET", "/api/events/export", "")
	ask("GET", "/api/health", "", "Host: "+secret)
	ask("GET", "/nope", "")
	ask("OPTIONS", "/api/events", "", "Origin: "+dashboard, "Access-Control-Request-Method: POST")
	ask("POST", "/api/create-session", file, multipart...)
	ask("POST", "/api/create-session", file[:len(file)-8], multipart...)
	ask("POST", "/api/start-monitor", `{"sessionId":"`+secret+`","mode":1}`)
	ask("POST", "/api/start-monitor", `{"`+secret+`":1}`)
	agent.handle(agentUpload, hangUp)
	ask("POST", "/api/create-session", file, multipart...)
	agent.handle(agentList, hangUp)
	ask("POST", "/api/list-processes", `{"sessionId":"unassigned"}`)
	if id := ask("GET", "/healthz", "", "X-Request-Id: trace-4711/a.b"); id != "trace-4711/a.b" {
		t.Errorf("the client's id became %q", id)
	}
	for _, bad := range []string{secret + " with spaces", secret + strings.Repeat("x", 5000), secret + `"}`, secret + "\xff"} {
		ask("GET", "/healthz", "", "X-Request-Id: "+bad)
	}
	var lines []logged
	wait.For(t, "a line for each request", func() bool { lines = b.requestLines(); return len(lines) >= len(want) })
	for _, line := range lines {
		if line != want[line.ID] {
			t.Errorf("logged is %+v, want %+v", line, want[line.ID])
		}
		delete(want, line.ID)
	}
	if len(want) > 0 {
		t.Errorf("without a line are %+v", want)
	}
	for text := range strings.Lines(b.log.String()) {
		if strings.Contains(text, secret) {
			t.Errorf("something of a request is logged: %.300s", text)
		}
	}
}

// TestRoutineRequestsAreLoggedAtDebug checks that the log of an idle machine does not grow: at
// the default level it has no routine request, but has those that fail, and all others.
func TestRoutineRequestsAreLoggedAtDebug(t *testing.T) {
	b := startBackend(t, nil)
	heartbeat := "POST /api/agents/heartbeat"
	for _, request := range []string{"GET /healthz", "GET /readyz", "GET /metrics", "GET /api/health", "GET /api/health/", "GET /api/events/health", "GET /api/agents", heartbeat} {
		method, path, _ := strings.Cut(request, " ")
		body := ""
		if request == heartbeat {
			body = `{"name":"a","url":"http://127.0.0.1:7001"}`
		}
		if a := b.send(method, path, body); a.status != http.StatusOK {
			t.Fatalf("%s: %d %s", request, a.status, a.body)
		}
	}
	b.send("POST", "/api/agents/heartbeat", `{"name":""}`)
	b.send("GET", "/api/sessions", "")
	var got []string
	wait.For(t, "the last line", func() bool {
		got = nil
		for _, line := range b.requestLines() {
			got = append(got, fmt.Sprintf("%s %s %d", line.Method, line.Path, line.Status))
		}
		return slices.Contains(got, "GET /api/sessions 200")
	})
	if want := []string{"POST /api/agents/heartbeat 400", "GET /api/sessions 200"}; !slices.Equal(got, want) {
		t.Errorf("logged is %q, want %q", got, want)
	}
}

// TestExportThatBreaksOff checks that an interrupted answer does not look complete, and
// has its line in the log.
func TestExportThatBreaksOff(t *testing.T) {
	env := map[string]string{"DATA_DIR": t.TempDir()}
	b := startBackend(t, env)
	for range 40 { // more than socket buffers hold and than is read at once
		if a := b.send("POST", "/api/events", `{"event_type":"x","data":"`+strings.Repeat("x", 500_000)+`"}`); a.status != http.StatusOK {
			t.Fatal(string(a.body))
		}
	}
	begin := func(id string) io.ReadCloser {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, b.url+"/api/events/export", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("X-Request-Id", id)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(response.Body, make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
		return response.Body
	}
	logged := func(id string) {
		t.Helper()
		wait.For(t, "the line of "+id, func() bool {
			return slices.ContainsFunc(b.requestLines(), func(line logged) bool { return line.ID == id })
		})
	}
	if err := begin("client-that-went").Close(); err != nil {
		t.Fatal(err)
	}
	logged("client-that-went")

	half := begin("database-that-failed")
	db := openDatabase(t, env)
	if _, err := db.ExecContext(t.Context(), "ALTER TABLE events RENAME TO away"); err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, half); err == nil {
		t.Errorf("half an export (%d bytes) ends as a whole one does", n)
	}
	half.Close()
	logged("database-that-failed")
	if !strings.Contains(b.log.String(), "an answer broke off") {
		t.Error("nobody is told why")
	}
	// An internal error has the form of every other error, without its cause.
	a := b.send("GET", "/api/events/unassigned", "", "Origin: "+dashboard)
	wantError(t, a, http.StatusInternalServerError, "internal", "the database failed")
	if a.header.Get("Access-Control-Allow-Origin") != dashboard || a.header.Get("X-Request-Id") == "" || strings.Contains(string(a.body), "events") {
		t.Errorf("%v %s", a.header, a.body)
	}
	if !strings.Contains(b.log.String(), "no such table") {
		t.Error("the log has no cause")
	}
}

// TestExportIsADownload checks that browsers save an export and never show it as a
// page.
func TestExportIsADownload(t *testing.T) {
	b := startBackend(t, nil)
	id := b.create("<script>")
	for path, name := range map[string]string{"/api/events/export": "os-pulse-events.json", "/api/events/export?sessionId=" + id: "os-pulse-events-" + id + ".json"} {
		a := b.send("GET", path, "")
		if got := a.header.Get("Content-Disposition"); got != `attachment; filename="`+name+`"` {
			t.Errorf("%s: %s", path, got)
		}
		if !strings.HasPrefix(a.header.Get("Content-Type"), "application/json") || a.header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %v", path, a.header)
		}
	}
}

func TestHealth(t *testing.T) {
	get := func(t *testing.T, b *backend, path string, status int) map[string]any {
		t.Helper()
		var body map[string]any
		b.decode(b.send("GET", path, ""), status, &body)
		return body
	}
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		agent := newTestAgent(t)
		env["AGENT_SERVICE_URL"], env["AGENT_POLL_INTERVAL"] = agent.URL, "1s"
		b := startBackend(t, env)
		if got := fmt.Sprint(get(t, b, "/healthz", 200)); got != "map[status:ok]" {
			t.Error("/healthz says", got)
		}
		ready := get(t, b, "/readyz", 200)
		checks, _ := ready["checks"].(map[string]any)
		delete(checks, "durability") // depends on this machine: see durability_test.go
		if got := fmt.Sprint(checks); ready["status"] != "ok" || got != "map[backfill:ok bucket:ok database:ok disk:ok migrations:ok sealed:ok set_aside:ok spool:ok webhook:ok]" {
			t.Error("/readyz says", got)
		}
		database := "sqlite"
		if env["DATABASE_URL"] != "" {
			database = "postgres"
		}
		for _, path := range []string{"/api/health", "/api/events/health"} {
			got := get(t, b, path, 200)
			if got["status"] != "ok" || got["service"] != "os-pulse-backend" || got["database"] != database || got["version"] == "" || got["checks"] == nil {
				t.Error(path, "says", got)
			}
		}
		for _, status := range []string{"up", "down"} {
			wait.For(t, "an agent that is "+status, func() bool {
				seen, _ := get(t, b, "/api/health", 200)["agent"].(map[string]any)
				return seen["status"] == status && seen["url"] == agent.URL && seen["lastSeenAt"] != nil && (seen["error"] != nil) == (status == "down")
			})
			if database != "sqlite" {
				break // the others are the same, and take time
			}
			agent.handle("GET /health", hangUp)
		}
	})
	t.Run("too little space on the disk", func(t *testing.T) {
		const tooMuch = 1 << 30 // MB: the maximum of the settings
		env := map[string]string{"MIN_FREE_MB": fmt.Sprint(tooMuch), "DATA_DIR": t.TempDir()}
		b := startBackend(t, env)
		a := b.send("GET", "/readyz", "")
		var ready struct {
			Status string
			Checks map[string]string
		}
		b.decode(a, http.StatusServiceUnavailable, &ready)
		if ready.Status != "unavailable" || ready.Checks["database"] != "ok" || !strings.Contains(ready.Checks["disk"], "full") || a.header.Get("Retry-After") == "" {
			t.Errorf("%+v", ready)
		}
		if got := get(t, b, "/api/health", 200)["status"]; got != "unavailable" {
			t.Error("/api/health says", got)
		}
		if got := b.send("GET", "/healthz", ""); got.status != http.StatusOK {
			t.Error("/healthz says", got.status)
		}
	})
}

// TestListensOnLoopback checks that the program listens only on loopback unless it is
// configured otherwise.
func TestListensOnLoopback(t *testing.T) {
	b := startBackend(t, nil)
	at, err := url.Parse(b.url)
	if err != nil {
		t.Fatal(err)
	}
	if at.Hostname() != "127.0.0.1" {
		t.Errorf("it listens on %s", at.Host)
	}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	others := []string{"127.0.0.2"} // reached if the program listens on all addresses
	for _, address := range addresses {
		if network, ok := address.(*net.IPNet); ok && !network.IP.IsLoopback() && !network.IP.IsLinkLocalUnicast() {
			others = append(others, network.IP.String())
		}
	}
	for _, other := range others {
		if conn, err := net.Dial("tcp", net.JoinHostPort(other, at.Port())); err == nil {
			conn.Close()
			t.Errorf("it answers on %s", other)
		}
	}
}
