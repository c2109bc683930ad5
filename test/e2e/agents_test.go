package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ospulse/test/wait"
)

type knownAgent struct {
	ID, Name, URL, Status, Version, Platform, Arch, Sensor string
	LastError                                              string  `json:"last_error"`
	LastSeenAt                                             *string `json:"last_seen_at"`
	HeartbeatAt                                            *string `json:"heartbeat_at"`
	Capabilities                                           []map[string]any
	StartOptions                                           json.RawMessage `json:"start_options"`
	Sessions                                               []string
	Delivery                                               map[string]int
}

// agents returns the known agents by name.
func (b *backend) agents() map[string]knownAgent {
	b.t.Helper()
	var list struct{ Agents []knownAgent }
	b.decode(b.send("GET", "/api/agents", ""), http.StatusOK, &list)
	byName := map[string]knownAgent{}
	for _, a := range list.Agents {
		byName[a.Name] = a
	}
	if len(byName) < len(list.Agents) {
		b.t.Errorf("some agents have one name: %+v", list.Agents)
	}
	return byName
}

func (b *backend) heartbeat(body string) answer {
	b.t.Helper()
	return b.send("POST", "/api/agents/heartbeat", body)
}

// TestAgentsRegister checks that a heartbeat registers an agent, as the default agent
// if it has the default agent's URL in any notation, and that the backend sends nothing
// to a URL from a heartbeat.
func TestAgentsRegister(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		agent, stranger := newTestAgent(t), newTestAgent(t)
		stranger.handle("GET /health", func(http.ResponseWriter, *http.Request) { t.Error("the backend called the URL of a heartbeat") })
		env["AGENT_SERVICE_URL"] = agent.URL + "/"
		env["AGENT_POLL_INTERVAL"], env["DATA_DIR"] = "1s", t.TempDir()
		b := startBackend(t, env)
		if got := b.agents(); len(got) != 1 || got["default"].ID != "default" || got["default"].HeartbeatAt != nil || len(got["default"].Capabilities) != 0 {
			t.Errorf("before: %+v", got)
		}

		own := strings.Replace(agent.URL, "127.0.0.1", "LOCALHOST", 1)
		for _, says := range []struct{ url, name, id string }{{own, "build-7", "default"}, {own + "/", "build-8", "default"}, {stranger.URL, "other", ""}, {own + "/x", "deeper", ""}} {
			var told struct {
				ID       string
				Interval int `json:"interval_seconds"`
			}
			b.decode(b.heartbeat(fmt.Sprintf(`{"name":%q,"url":%q,"version":"1.2","platform":"linux","arch":"x64","sensor":"ebpf",
				"capabilities":[{"name":"a","supported":false,"reason":"b","remedy":"c"}],"sessions":["s1","s2"],
				"start_options":{"networks":["none","nat"],"network":"nat","timeout_seconds":600,"min_memory_mb":16,"memory_mb":1024,"later":1},
				"delivery":{"delivered":5,"lost":1,"queued_events":2,"spooled_events":3,"more":0},"later":true}`, says.name, says.url)), http.StatusOK, &told)
			if told.ID == "" || says.id != "" && told.ID != says.id || says.id == "" && told.ID == "default" || told.Interval != 10 {
				t.Errorf("%s: %+v", says.name, told)
			}
		}
		wait.For(t, "the default agent is up", func() bool { return b.agents()["build-8"].Status == "up" })
		all := b.agents()
		if names := slices.Sorted(maps.Keys(all)); !slices.Equal(names, []string{"build-8", "deeper", "other"}) {
			t.Fatalf("%q are known", names)
		}
		for name, a := range all {
			if a.Version != "1.2" || a.Platform != "linux" || a.Arch != "x64" || a.Sensor != "ebpf" || a.HeartbeatAt == nil || a.LastSeenAt == nil || a.Status != "up" ||
				!slices.Equal(a.Sessions, []string{"s1", "s2"}) || a.Delivery["spooled_events"] != 3 || a.Delivery["lost"] != 1 ||
				len(a.Capabilities) != 1 || a.Capabilities[0]["remedy"] != "c" || a.Capabilities[0]["supported"] != false ||
				!sameJSON(t, a.StartOptions, []byte(`{"networks":["none","nat"],"network":"nat","timeout_seconds":600,"min_memory_mb":16,"memory_mb":1024}`)) {
				t.Errorf("%s: %+v", name, a)
			}
		}
		if url := all["build-8"].URL; url != own+"/" {
			t.Errorf("the default agent is at %s", url)
		}

		// The next heartbeat replaces everything. Silence is reported.
		b.decode(b.heartbeat(`{"name":"other","url":"http://192.0.2.7"}`), http.StatusOK, &struct{}{})
		if a := b.agents()["other"]; a.Version != "" || a.URL != "http://192.0.2.7" || len(a.Sessions)+len(a.Capabilities) > 0 || string(a.StartOptions) != "null" || a.ID != all["other"].ID {
			t.Errorf("%+v", a)
		}
		if _, err := openDatabase(t, env).ExecContext(t.Context(), "UPDATE agents SET heartbeat_at = '2026-01-01 00:00:00+00:00' WHERE name = 'other'"); err != nil {
			t.Fatal(err)
		}
		if a := b.agents()["other"]; a.Status != "down" || !strings.Contains(a.LastError, "not been heard of for ") {
			t.Errorf("after a long silence: %+v", a)
		}
		if a := b.agents()["build-8"]; a.Status != "up" || a.LastError != "" {
			t.Errorf("the default agent: %+v", a)
		}
	})
}

func TestAgentsAreRefused(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		b := startBackend(t, env)
		long := strings.Repeat("x", 201)
		for _, tt := range []struct{ body, words string }{
			{``, "empty"},
			{`[]`, "must be a JSON object"},
			{`{"url":"http://a"}`, "name is missing"},
			{`{"name":" ","url":"http://a"}`, "name is missing"},
			{`{"name":"` + long + `","url":"http://a"}`, "name must have"},
			{`{"name":"a\u0000","url":"http://a"}`, "name must have"},
			{`{"name":1,"url":"http://a"}`, "name must be a string"},
			{`{"name":"a"}`, "url must be"},
			{`{"name":"a","url":"a:7000"}`, "url must be"},
			{`{"name":"a","url":"file:///etc/passwd"}`, "url must be"},
			{`{"name":"a","url":"javascript://x"}`, "url must be"},
			{`{"name":"a","url":"http://user:secret@a"}`, "url must be"},
			{`{"name":"a","url":"http://a?b"}`, "url must be"},
			{`{"name":"a","url":"http://a","version":"\u0007"}`, "version must have"},
			{`{"name":"a","url":"http://a","capabilities":[{"supported":true}]}`, "capabilities must have"},
			{`{"name":"a","url":"http://a","capabilities":{}}`, "capabilities must be"},
			{`{"name":"a","url":"http://a","capabilities":[` + strings.Repeat(`{"name":"x"},`, 50) + `{"name":"x"}]}`, "capabilities has 51 entries"},
			{`{"name":"a","url":"http://a","start_options":{"networks":["\u0007"]}}`, "start_options must have"},
			{`{"name":"a","url":"http://a","start_options":{"memory_mb":-1}}`, "start_options must have"},
			{`{"name":"a","url":"http://a","sessions":[""]}`, "sessions must have"},
			{`{"name":"a","url":"http://a","sessions":[` + strings.Repeat(`"x",`, 1000) + `"x"]}`, "sessions has 1001 entries"},
			{`{"name":"a","url":"http://a","delivery":{"lost":-1}}`, "delivery must have"},
			{`{"name":"a","url":"http://a","delivery":{"lost":1e30}}`, "delivery.lost must be a whole number"},
		} {
			wantError(t, b.heartbeat(tt.body), http.StatusBadRequest, "invalid", tt.words)
		}
		wantError(t, b.heartbeat(`{"name":"`+strings.Repeat("x", 1<<20)+`"}`), http.StatusRequestEntityTooLarge, "too_large", "1 MB")
		wantError(t, b.send("POST", "/api/agents/heartbeat", `{}`, "Content-Type: text/plain"), http.StatusUnsupportedMediaType, "unsupported_media", "application/json")
		if got := b.agents(); len(got) != 1 {
			t.Errorf("what was refused is known: %+v", got)
		}
		for i := range 99 {
			b.decode(b.heartbeat(fmt.Sprintf(`{"name":"m%d","url":"http://m%d"}`, i, i)), http.StatusOK, &struct{}{})
		}
		wantError(t, b.heartbeat(`{"name":"one more","url":"http://m"}`), http.StatusConflict, "conflict", "100 agents")
		b.decode(b.heartbeat(`{"name":"m7","url":"http://m"}`), http.StatusOK, &struct{}{})
		if got := b.agents(); len(got) != 100 || got["m7"].URL != "http://m" {
			t.Errorf("%d agents, %+v", len(got), got["m7"])
		}
	})
}

// TestAgentThatWantsAKey checks that the agent's key is in every request to it, and not
// in the log.
func TestAgentThatWantsAKey(t *testing.T) {
	const key = "a-key-of-the-agent"
	agent := newTestAgent(t)
	for route, handler := range maps.Clone(agent.handlers) {
		agent.handle(route, func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("X-API-Key") != key || r.Header.Get("Authorization") != "Bearer "+key {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			handler(w, r)
		})
	}
	env := map[string]string{"AGENT_SERVICE_URL": agent.URL, "AGENT_API_KEY": key}
	b := startBackend(t, env)
	id := b.startSession()
	b.mustStop(id)
	b.decode(b.send("POST", "/api/list-processes", `{"sessionId":"`+id+`"}`), http.StatusOK, &[]any{})
	wait.For(t, "the agent is up", func() bool { return b.agents()["default"].Status == "up" })
	if strings.Contains(b.log.String(), key) {
		t.Error("the log has the key")
	}
	delete(env, "AGENT_API_KEY")
	without := startBackend(t, env)
	id = without.create("sample.exe")
	wantError(t, without.start(id), http.StatusBadGateway, "agent_failed", "Unauthorized")
}

// TestHeartbeatTellsTheBackend checks that the answer to a heartbeat names the
// backend's process and the remote ends of its database connections, with a proof made
// with the key.
func TestHeartbeatTellsTheBackend(t *testing.T) {
	if _, err := os.Stat("/proc/self/ns/pid"); err != nil {
		return // not Linux
	}
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		env["AGENT_API_KEY"] = "a-key-of-the-agent"
		b := startBackend(t, env)
		var told struct {
			Backend struct {
				PID          int
				BootID       string `json:"boot_id"`
				PIDNamespace string `json:"pid_namespace"`
				StartTicks   int64  `json:"start_ticks"`
				Database     []struct {
					Address    string
					PID        int
					StartTicks int64 `json:"start_ticks"`
				}
				Proof string
			}
		}
		b.decode(b.heartbeat(`{"name":"n","url":"http://127.0.0.1:7000","nonce":"x"}`), http.StatusOK, &told)
		i := told.Backend
		if i.PID != os.Getpid() || i.BootID == "" || !strings.HasPrefix(i.PIDNamespace, "pid:[") || i.StartTicks == 0 || len(i.Proof) != 64 {
			t.Errorf("%+v", i)
		}
		if _, isPostgres := env["DATABASE_URL"]; !isPostgres {
			if len(i.Database) > 0 {
				t.Errorf("SQLite runs in the backend, but the answer names another process: %+v", i.Database)
			}
			return
		}
		if len(i.Database) == 0 {
			t.Fatal("the answer names no connection to the database")
		}
		for _, d := range i.Database {
			if d.Address == "" {
				name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", d.PID))
				if err != nil || string(name) != "postgres\n" || d.StartTicks == 0 {
					t.Errorf("%+v is %q, %v", d, name, err)
				}
			} else if _, err := netip.ParseAddrPort(d.Address); err != nil {
				t.Errorf("%+v: %v", d, err)
			}
		}
	})
}

// TestPythonAgent checks the product's workflow with the Python agent's answers, for
// each of its spellings of the routes: upload, start in mode 3, events in the session,
// stop.
func TestPythonAgent(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "test", "testdata", "agent", "python_agent.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	type exchange struct {
		Routes          []string
		Request, Answer json.RawMessage
		File            *string
		Status          int
	}
	var exchanges []exchange
	for line := range bytes.Lines(text) {
		var e exchange
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatal(err)
		}
		exchanges = append(exchanges, e)
	}
	event := readFixtures(t)["controller_events.jsonl"][0]
	for name, has := range map[string]func(i, n int) bool{
		"all spellings":  func(int, int) bool { return true },
		"the first ones": func(i, _ int) bool { return i == 0 },
		"the last ones":  func(i, n int) bool { return i == n-1 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			agent := newTestAgent(t)
			answers := map[string][]exchange{}
			for route := range agent.handlers {
				agent.handle(route, nil)
			}
			for _, e := range exchanges {
				for i, route := range e.Routes {
					if has(i, len(e.Routes)) {
						answers[route] = append(answers[route], e)
					}
				}
			}
			for route, known := range answers {
				agent.handle(route, func(w http.ResponseWriter, r *http.Request) {
					asked := agent.received(route)
					best := known[0]
					for _, e := range known { // the answer to a request for the same mode
						if e.Status == http.StatusOK && e.Request != nil && len(asked) > 0 && sameMode(asked[len(asked)-1].body, string(e.Request)) {
							best = e
						}
					}
					say(best.Status, "application/json", string(best.Answer))(w, r)
				})
			}
			b := startBackend(t, map[string]string{"AGENT_SERVICE_URL": agent.URL, "AGENT_POLL_INTERVAL": "1s"})
			wait.For(t, "the agent is up", func() bool { return b.agents()["default"].Status == "up" })
			created := b.createSession("My Tool (v2).exe", "MZ")
			id := created["sessionId"].(string)
			if created["delivered"] != true {
				t.Errorf("the upload: %v", created)
			}
			var processes []struct {
				PID  int
				Name string
			}
			b.decode(b.send("POST", "/api/list-processes", `{"sessionId":"`+id+`"}`), http.StatusOK, &processes)
			if len(processes) != 2 || processes[0].Name != "explorer.exe" || processes[0].PID != 4120 {
				t.Errorf("the processes: %+v", processes)
			}
			var started map[string]any
			b.decode(b.send("POST", "/api/start-monitor", `{"sessionId":"`+id+`","mode":3}`), http.StatusOK, &started)
			if started["message"] != "monitoring started successfully" {
				t.Errorf("the start: %v", started)
			}
			asked := append(agent.received(agentStart), agent.received("POST /api/monitor/start")...)
			if last := asked[len(asked)-1].body; !sameJSON(t, []byte(last), fmt.Appendf(nil, `{"sessionId":%q,"fileName":"My_Tool_v2.exe","mode":3}`, id)) {
				t.Errorf("the agent was asked to start %s", last)
			}
			if a := b.send(event.Method, event.Path, event.Body); a.status != http.StatusOK {
				t.Errorf("the event: %d %s", a.status, a.body)
			}
			if got := b.export(id); len(got) != 1 || got[0].Source != "os-pulse-controller" {
				t.Errorf("the session has %+v", got)
			}
			if stopped := b.mustStop(id); stopped["message"] != "monitoring stopped successfully" || stopped["warning"] != nil {
				t.Errorf("the stop: %v", stopped)
			}
		})
	}
}

// sameMode reports whether two requests ask for the same mode.
func sameMode(a, b string) bool {
	var x, y struct{ Mode json.RawMessage }
	return json.Unmarshal([]byte(a), &x) == nil && json.Unmarshal([]byte(b), &y) == nil && bytes.Equal(x.Mode, y.Mode)
}
