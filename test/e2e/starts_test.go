package e2e

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path"
	"strings"
	"sync"
	"testing"
	"time"

	"ospulse/test/wait"
)

// knowingAgent is a testAgent that carries out each start once and reports on it, as our
// own agent does. A start lasts until release is closed.
type knowingAgent struct {
	*testAgent
	release chan struct{}

	mu     sync.Mutex
	states map[string]string // state of each start, by the ID of the start
	run    []string          // session of each run
}

func newKnowingAgent(t *testing.T) *knowingAgent {
	a := &knowingAgent{testAgent: newTestAgent(t), release: make(chan struct{}), states: map[string]string{}}
	a.handle("GET /api/starts/", func(w http.ResponseWriter, r *http.Request) {
		a.mu.Lock()
		state := cmp.Or(a.states[path.Base(r.URL.Path)], "unknown")
		a.mu.Unlock()
		say(200, "application/json", `{"state":"`+state+`","monitoringPid":4711,"reason":"as the test says"}`)(w, r)
	})
	a.handle(agentStart, func(w http.ResponseWriter, r *http.Request) {
		id := r.Header.Get("X-OSPulse-Start")
		if a.begin(id, a.lastAsked(agentStart)) {
			go func() {
				<-a.release
				a.set(id, "running")
			}()
		}
		select {
		case <-a.release:
			say(200, "application/json", `{"monitoringPid":4711}`)(w, r)
		case <-r.Context().Done():
		}
	})
	a.handle(agentStop, func(w http.ResponseWriter, r *http.Request) {
		a.mu.Lock()
		id := r.Header.Get("X-OSPulse-Start")
		if a.states[id] == "" {
			a.states[id] = "not_run"
		}
		a.mu.Unlock()
		say(200, "application/json", `{"stopped":true,"inFlight":{"events":3,"bytes":40,"sensorBytes":0}}`)(w, r)
	})
	return a
}

// lastAsked returns the session in the last request of a route.
func (a *knowingAgent) lastAsked(route string) string {
	var asked struct{ SessionID string }
	requests := a.received(route)
	_ = json.Unmarshal([]byte(requests[len(requests)-1].body), &asked) // the backend wrote it
	return asked.SessionID
}

// begin records a start, and reports whether it is new.
func (a *knowingAgent) begin(id, session string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.states[id] != "" {
		return false
	}
	a.states[id] = "starting"
	a.run = append(a.run, session)
	return true
}

func (a *knowingAgent) set(id, state string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.states[id] = state
}

func (a *knowingAgent) runs() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.run)
}

// startError returns a session's state and why its start failed.
func (b *backend) startError(id string) (state, text string, mayHaveRun bool) {
	b.t.Helper()
	var session struct {
		State      string
		StartError *struct {
			Text       string
			MayHaveRun bool `json:"may_have_run"`
		} `json:"start_error"`
	}
	b.decode(b.send("GET", "/api/sessions/"+id, ""), http.StatusOK, &session)
	if session.StartError == nil {
		return session.State, "", false
	}
	return session.State, session.StartError.Text, session.StartError.MayHaveRun
}

// startAsync sends a start in mode 3 that prefers an answer at once.
func (b *backend) startAsync(id string) {
	b.t.Helper()
	a := b.send("POST", "/api/start-monitor", `{"sessionId":"`+id+`","mode":3}`, "Prefer: wait=5, Respond-Async")
	if a.status != http.StatusAccepted || a.header.Get("Preference-Applied") != "respond-async" || !strings.Contains(string(a.body), `"starting"`) {
		b.t.Fatalf("%d %v %s", a.status, a.header, a.body)
	}
}

// TestSlowStart checks that a session is starting while its start takes longer than the
// backend waits for the agent, and then active. The sample runs once. Existing clients
// get the outcome if it is in time.
func TestSlowStart(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		agent := newKnowingAgent(t)
		env["AGENT_SERVICE_URL"], env["AGENT_TIMEOUT"] = agent.URL, "2s"
		b := startBackend(t, env)
		id := b.create("sample.exe")
		b.startAsync(id)
		b.startAsync(id) // a repeated start
		wait.For(t, "the question to the agent about the start", func() bool {
			for _, r := range agent.requestsSoFar() {
				if strings.HasPrefix(r.route, "GET /api/starts/") {
					return true
				}
			}
			return false
		})
		if state, text, _ := b.startError(id); state != "starting" || text != "" && !strings.Contains(text, "did not answer within") { // the machine is busy
			t.Errorf("during the start the session is %s: %s", state, text)
		}
		var list struct{ Sessions []struct{ ID string } }
		b.decode(b.send("GET", "/api/sessions?state=starting", ""), http.StatusOK, &list)
		if len(list.Sessions) != 1 || list.Sessions[0].ID != id {
			t.Errorf("the list of starting sessions is %+v", list)
		}
		wantError(t, b.send("DELETE", "/api/sessions/"+id, ""), http.StatusConflict, "conflict", "being started")
		var waiting sync.WaitGroup
		waiting.Go(func() {
			a, err := b.trySend("POST", "/api/start-monitor", `{"sessionId":"`+id+`","mode":3}`)
			if err != nil || a.status != http.StatusOK && a.status != http.StatusGatewayTimeout { // the machine is busy
				t.Errorf("%v %d %s", err, a.status, a.body)
			}
		})
		close(agent.release)
		waiting.Wait()
		wait.For(t, "the session to be active", func() bool { state, _, _ := b.startError(id); return state == "active" })
		b.tellEnd(id, time.Now(), `,"processId":4711,"exitCode":0,"reason":"exited"`)
		b.ended(id)
		wantError(t, b.send("POST", "/api/start-monitor", `{"sessionId":"`+id+`","mode":3}`), http.StatusConflict, "conflict", "has ended")
		if n := agent.runs(); n != 1 {
			t.Errorf("the sample ran %d times", n)
		}

		// A copy of the session starts the file again.
		var copied map[string]any
		b.decode(b.send("POST", "/api/sessions/"+id+"/copy", ""), http.StatusOK, &copied)
		again := copied["sessionId"].(string)
		if again == id || copied["fileName"] != "sample.exe" || copied["delivered"] != true || copied["state"] != "created" {
			t.Errorf("the copy is %v", copied)
		}
		if a := b.send("POST", "/api/start-monitor", `{"sessionId":"`+again+`","mode":3}`, "Prefer: respond-async"); a.status != http.StatusAccepted && a.status != http.StatusOK {
			t.Errorf("the start of the copy: %d %s", a.status, a.body)
		}
		wait.For(t, "the session to be active", func() bool { state, _, _ := b.startError(again); return state == "active" })
		stopped := b.mustStop(again)
		if in, _ := stopped["inFlight"].(map[string]any); in["events"] != 3.0 || in["bytes"] != 40.0 || in["ending"] != false {
			t.Errorf("the answer to the stop is %v", stopped)
		}
		wantError(t, b.send("POST", "/api/sessions/unassigned/copy", ""), http.StatusConflict, "conflict", "no file")
		wantError(t, b.send("POST", "/api/sessions/nobody/copy", ""), http.StatusNotFound, "not_found", "nobody")
	})
}

// TestOutcomesOfAStart checks that, if the agent does not answer a start, its report on
// the start decides the state of the session.
func TestOutcomesOfAStart(t *testing.T) {
	for name, tt := range map[string]struct {
		told        string // the agent's report; "" for an agent that has none
		state       string
		words       string
		canStart    bool // whether the session can be started again
		stopsOfThis int
	}{
		"it runs":           {`{"state":"running","monitoringPid":7}`, "active", "", true, 0}, // a repeated start
		"it has not run":    {`{"state":"not_run","reason":"killed before"}`, "failed", "killed before", true, 0},
		"it cannot be run":  {`{"state":"failed","code":"cannot_run","reason":"a picture"}`, "failed", "a picture", false, 0},
		"nobody knows":      {``, "failed", "Whether anything runs is unknown", false, 1},
		"a page of its own": {`<h1>Welcome</h1>`, "failed", "Whether anything runs is unknown", false, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			agent := newTestAgent(t)
			agent.handle(agentStart, func(w http.ResponseWriter, r *http.Request) {
				if tt.told != "" {
					agent.handle("GET /api/starts/"+r.Header.Get("X-OSPulse-Start"), say(200, "", tt.told))
				}
				hangUp(w, r)
			})
			b := startBackend(t, map[string]string{"AGENT_SERVICE_URL": agent.URL, "AGENT_POLL_INTERVAL": "1s"})
			id := b.create("sample.exe")
			b.startAsync(id)
			wait.For(t, "the outcome of the start", func() bool { state, _, _ := b.startError(id); return state != "starting" })
			state, text, mayHaveRun := b.startError(id)
			if state != tt.state || !strings.Contains(text, tt.words) || mayHaveRun == tt.canStart {
				t.Errorf("the session is %s: %q, may have run: %t", state, text, mayHaveRun)
			}
			var list struct{ Sessions []struct{ ID string } }
			b.decode(b.send("GET", "/api/sessions?state="+tt.state, ""), http.StatusOK, &list)
			if len(list.Sessions) != 1 || list.Sessions[0].ID != id {
				t.Errorf("the list of %s sessions is %+v", tt.state, list)
			}
			agent.handle(agentStart, say(200, "application/json", "{}"))
			want := map[bool]int{true: http.StatusOK, false: http.StatusConflict}[tt.canStart]
			if a := b.send("POST", "/api/start-monitor", `{"sessionId":"`+id+`","mode":3}`); a.status != want {
				t.Errorf("the repeated start: %d %s", a.status, a.body)
			}
			wait.For(t, "the stop of what may run", func() bool { return agent.stopsOf(id) >= tt.stopsOfThis })
		})
	}
}

// TestKilledInTheMiddleOfAStart checks that, if a backend is killed in the middle of a
// start, the next one asks the agent, and sends the start if the agent has not received
// it. The sample runs once.
func TestKilledInTheMiddleOfAStart(t *testing.T) {
	for name, isLost := range map[string]bool{"the agent has it": false, "the agent has not got it": true} {
		t.Run(name, func(t *testing.T) {
			eachDatabase(t, func(t *testing.T, env map[string]string) {
				agent := newKnowingAgent(t)
				carryOut := agent.handlers[agentStart]
				if isLost {
					agent.handle(agentStart, func(_ http.ResponseWriter, r *http.Request) {
						<-r.Context().Done()
					})
				}
				env["AGENT_SERVICE_URL"], env["DATA_DIR"] = agent.URL, t.TempDir()
				p := command(t, env)
				p.start(t)
				first := &backend{t: t, url: p.url}
				id := first.create("sample.exe")
				first.startAsync(id)
				wait.For(t, "the request to the agent", func() bool { return len(agent.received(agentStart)) == 1 })
				if err := p.Process.Kill(); err != nil {
					t.Fatal(err)
				}
				p.Wait() //nolint:errcheck // it was killed
				agent.handle(agentStart, carryOut)
				close(agent.release)
				b := startBackend(t, env)
				if a := b.send("GET", "/api/sessions/"+id, ""); !strings.Contains(string(a.body), `"starting"`) && !strings.Contains(string(a.body), `"active"`) {
					t.Errorf("after the restart of the backend: %s", a.body)
				}
				wait.For(t, "the session to be active", func() bool { state, _, _ := b.startError(id); return state == "active" })
				if n := agent.runs(); n != 1 {
					t.Errorf("the sample ran %d times", n)
				}
			})
		})
	}
}

// TestAgentThatLeavesInTheMiddleOfAStart checks that, if the agent becomes unreachable
// in the middle of a start, the session stays starting with the reason until the agent
// reports again. A user can stop the session before that.
func TestAgentThatLeavesInTheMiddleOfAStart(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		agent := newTestAgent(t)
		starts := make(chan string, 2)
		agent.handle(agentStart, func(w http.ResponseWriter, r *http.Request) {
			id := r.Header.Get("X-OSPulse-Start")
			agent.handle("GET /api/starts/"+id, hangUp)
			starts <- id
			hangUp(w, r)
		})
		agent.handle(agentStop, hangUp)
		env["AGENT_SERVICE_URL"], env["AGENT_POLL_INTERVAL"] = agent.URL, "1s"
		b := startBackend(t, env)
		var ids [2]string
		for i := range ids {
			ids[i] = b.create("sample.exe")
			b.startAsync(ids[i])
			wait.For(t, "the session to say what it waits for", func() bool {
				state, text, mayHaveRun := b.startError(ids[i])
				if state != "starting" {
					t.Fatalf("the session is %s: %s", state, text)
				}
				return strings.Contains(text, "closed the connection") && mayHaveRun
			})
		}
		stopped := b.mustStop(ids[1])
		wait.For(t, "the stopped session to be no longer starting", func() bool { state, _, _ := b.startError(ids[1]); return state != "starting" })
		if state, text, mayHaveRun := b.startError(ids[1]); state != "failed" || !strings.Contains(text, "a user stopped it") || !mayHaveRun {
			t.Errorf("after the answer %v the session is %s: %s", stopped, state, text)
		}
		wantError(t, b.start(ids[1]), http.StatusConflict, "conflict", "has failed")
		agent.handle("GET /api/starts/"+<-starts, say(200, "application/json", `{"state":"not_run","reason":"the agent was ended before it ran anything, and restarted"}`))
		wait.For(t, "the other session to fail", func() bool { state, _, _ := b.startError(ids[0]); return state == "failed" })
		if _, text, mayHaveRun := b.startError(ids[0]); !strings.Contains(text, "before it ran anything") || mayHaveRun {
			t.Errorf("the start failed with %q, may have run: %t", text, mayHaveRun)
		}
		last := <-starts
		told := make(chan string, 100)
		agent.handle(agentStop, func(w http.ResponseWriter, r *http.Request) {
			told <- r.Header.Get("X-OSPulse-Start")
			io.WriteString(w, "{}") //nolint:errcheck // the backend may be gone
		})
		if id := <-told; id != last {
			t.Errorf("the agent is told to refuse the start %s, not %s", id, last)
		}
	})
}

// TestManyStopsAtOnce checks that eight concurrent stops of one session are answered,
// even if the agent is silent.
func TestManyStopsAtOnce(t *testing.T) {
	for name, handler := range map[string]http.HandlerFunc{"the agent answers": nil, "the agent is silent": silent} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			agent := newTestAgent(t)
			if handler != nil {
				agent.handle(agentStop, handler)
			}
			b := startBackend(t, map[string]string{"AGENT_SERVICE_URL": agent.URL, "AGENT_TIMEOUT": "3s"})
			id := b.startSession()
			var stops sync.WaitGroup
			for range 8 {
				stops.Go(func() {
					a, err := b.trySend("POST", "/api/monitor/stop", `{"sessionId":"`+id+`"}`)
					if err != nil || a.status != http.StatusOK || !strings.Contains(string(a.body), `"ended"`) {
						t.Errorf("%v %d %s", err, a.status, a.body)
					}
				})
			}
			stops.Wait()
			if e := b.ending(id); e.State != "ended" || e.End.Reason != "stopped" {
				t.Errorf("%+v", e)
			}
		})
	}
}

// TestStopBeforeTheStart checks that a session which was stopped before its agent
// answered does not run, neither at once nor when the agent processes the start.
func TestStopBeforeTheStart(t *testing.T) {
	agent := newKnowingAgent(t)
	started := make(chan struct{})
	agent.handle("POST /api/upload-file", func(w http.ResponseWriter, r *http.Request) { // the file is on its way
		<-started
		say(200, "application/json", `{"filename":"x"}`)(w, r)
	})
	b := startBackend(t, map[string]string{"AGENT_SERVICE_URL": agent.URL, "AGENT_TIMEOUT": "100ms"})
	id := b.create("sample.exe")
	b.startAsync(id)
	stopped := b.mustStop(id)
	close(started)
	wait.For(t, "the session to be no longer starting", func() bool { state, _, _ := b.startError(id); return state != "starting" })
	if state, text, mayHaveRun := b.startError(id); state != "failed" || mayHaveRun || agent.runs() > 0 {
		t.Errorf("after the answer %v the session is %s: %s", stopped, state, cmp.Or(text, fmt.Sprint(mayHaveRun)))
	}
}
