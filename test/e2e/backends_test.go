package e2e

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ospulse/test/wait"
)

// When two backends get equal starts of one session, one start reaches the agent and all
// get the same answer. A stop through either backend waits for the start.
func TestOneStartAtATimeAcrossBackends(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		agent := newTestAgent(t)
		env["AGENT_SERVICE_URL"], env["AGENT_POLL_INTERVAL"] = agent.URL, "1s"
		first, second := twoBackends(t, env)
		id := first.create("sample.exe")
		asked, release := make(chan struct{}, 4), make(chan struct{})
		agent.handle(agentStart, func(w http.ResponseWriter, r *http.Request) {
			agent.tells(r, release)
			asked <- struct{}{}
			<-release
			io.WriteString(w, "{}") //nolint:errcheck // the backend would report it
		})
		var calls sync.WaitGroup
		var sent, started atomic.Int32
		for _, b := range []*backend{first, second, first, second} {
			calls.Go(func() {
				sent.Add(1)
				a, err := b.trySend("POST", "/api/start-monitor", `{"sessionId":"`+id+`","mode":1}`)
				switch {
				case err == nil && a.status == http.StatusOK:
					started.Add(1)
				case err == nil && a.status == http.StatusGatewayTimeout: // the machine is busy
				default:
					t.Errorf("%v %d %s", err, a.status, a.body)
				}
			})
		}
		wait.For(t, "one start to reach the agent", func() bool { return sent.Load() == 4 && len(asked) > 0 })
		agent.handle(agentStop, func(w http.ResponseWriter, _ *http.Request) {
			select {
			case <-release:
			default:
				t.Error("the agent was told to stop while it was being started")
			}
			w.WriteHeader(http.StatusOK)
		})
		var stops sync.WaitGroup
		for _, b := range []*backend{first, second} {
			stops.Go(func() {
				a, err := b.trySend("POST", "/api/monitor/stop", `{"sessionId":"`+id+`"}`)
				if err != nil || a.status != http.StatusOK {
					t.Errorf("the stop: %v %d %s", err, a.status, a.body)
				}
			})
		}
		<-time.After(500 * time.Millisecond) // time in which a stop could arrive too early
		close(release)
		calls.Wait()
		stops.Wait()
		if e := first.ended(id); len(asked) != 1 || e.End == nil || e.End.Reason != "stopped" {
			t.Errorf("%d starts succeeded, the agent was asked to start %d more times, the session ended with %+v", started.Load(), len(asked), e.End)
		}
	})
}

// TestStartThatWasTakenOver checks that another backend takes over a start whose lease
// has expired, as if its own backend had been suspended, and asks the agent. A later
// answer to the first backend has no effect.
func TestStartThatWasTakenOver(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		agent := newTestAgent(t)
		env["AGENT_SERVICE_URL"] = agent.URL
		first, second := twoBackends(t, env)
		id := first.create("sample.exe")
		release := make(chan struct{})
		agent.handle(agentStart, func(w http.ResponseWriter, r *http.Request) {
			agent.handle("GET /api/starts/"+r.Header.Get("X-OSPulse-Start"), say(200, "application/json", `{"state":"running","monitoringPid":7}`))
			<-release
			io.WriteString(w, `{"monitoringPid":8}`) //nolint:errcheck // the backend would report it
		})
		if a := first.send("POST", "/api/start-monitor", `{"sessionId":"`+id+`","mode":3}`, "Prefer: respond-async"); a.status != http.StatusAccepted {
			t.Fatalf("%d %s", a.status, a.body)
		}
		wait.For(t, "the request to the agent", func() bool { return len(agent.received(agentStart)) == 1 })
		db := openDatabase(t, env)
		wait.For(t, "another backend to take over", func() bool {
			if _, err := db.ExecContext(t.Context(), "UPDATE leases SET until = 0 WHERE name = 'session:"+id+"'"); err != nil {
				t.Fatal(err)
			}
			return second.ending(id).State == "active"
		})
		close(release)
		second.tellEnd(id, time.Now(), `,"processId":7,"exitCode":0,"reason":"exited"`)
		second.ended(id)
		if n := agent.stopsOf(id); n > 0 || len(agent.received(agentStart)) != 1 {
			t.Errorf("the agent was told to stop %d times, and to start %d times", n, len(agent.received(agentStart)))
		}
	})
}

// TestLeaseOfADeadBackend checks that an operation of a backend that died blocks the
// session until its lease expires.
func TestLeaseOfADeadBackend(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		agent := newTestAgent(t)
		env["AGENT_SERVICE_URL"], env["DATA_DIR"] = agent.URL, t.TempDir()
		b := startBackend(t, env)
		id, db := b.create("sample.exe"), openDatabase(t, env)
		if _, err := db.ExecContext(t.Context(), fmt.Sprintf("INSERT INTO leases (name, holder, until) VALUES ('session:%s', 'dead', %d)", id, time.Now().Add(time.Hour).UnixMicro())); err != nil {
			t.Fatal(err)
		}
		if a := b.send("POST", "/api/start-monitor", `{"sessionId":"`+id+`","mode":1}`, "Prefer: respond-async"); a.status != http.StatusAccepted {
			t.Fatalf("%d %s", a.status, a.body)
		}
		if _, err := db.ExecContext(t.Context(), fmt.Sprintf("UPDATE leases SET until = %d WHERE holder = 'dead'", time.Now().Add(-time.Minute).UnixMicro())); err != nil {
			t.Fatal(err)
		}
		b.mustStart(id) // the same start waits for the first one
		b.mustStop(id)
		var left int
		if err := db.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM leases WHERE name LIKE 'session:%'").Scan(&left); err != nil || left > 0 {
			t.Errorf("%d leases are left, %v", left, err)
		}
	})
}

// TestTwoBackendsWithTheirAgents checks that two backends with different agents each
// keep their own, that the last one to start does not take over the default agent, and
// that each serves the sessions of both.
func TestTwoBackendsWithTheirAgents(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		if env["DATABASE_URL"] == "" {
			env["DATA_DIR"] = t.TempDir()
		}
		start := func(agent *testAgent) *backend {
			env["AGENT_SERVICE_URL"] = agent.URL
			return startBackend(t, env)
		}
		one, two := newTestAgent(t), newTestAgent(t)
		a, b := start(one), start(two)
		agentOf := func(b *backend, id string) string {
			t.Helper()
			var session struct {
				AgentID string `json:"agent_id"`
			}
			b.decode(b.send("GET", "/api/sessions/"+id, ""), http.StatusOK, &session)
			return session.AgentID
		}
		urls := func(b *backend) (own string, byID map[string]string) {
			t.Helper()
			var health struct{ Agent struct{ URL string } }
			b.decode(b.send("GET", "/api/health", ""), http.StatusOK, &health)
			byID = map[string]string{}
			for _, agent := range b.agents() {
				byID[agent.ID] = agent.URL
			}
			return health.Agent.URL, byID
		}
		ofA, ofB := a.create("a"), b.create("b")
		second := agentOf(b, ofB)
		if agentOf(b, ofA) != "default" || second == "default" || len(one.received(agentUpload)) != 1 || len(two.received(agentUpload)) != 1 {
			t.Errorf("the agents are %q and %q", agentOf(b, ofA), second)
		}
		check := func() {
			t.Helper()
			ownA, all := urls(a)
			ownB, _ := urls(b)
			if ownA != one.URL || ownB != two.URL || len(all) != 2 || all["default"] != one.URL || all[second] != two.URL {
				t.Errorf("A has %s, B has %s, and all are %v", ownA, ownB, all)
			}
		}
		check()
		b.stop()
		b = start(two) // the last one, again
		check()
		for _, crossed := range []struct {
			by    *backend
			id    string
			agent *testAgent
			other *testAgent
		}{{a, ofB, two, one}, {b, ofA, one, two}} {
			crossed.by.mustStart(crossed.id)
			crossed.by.mustStop(crossed.id)
			if n := len(crossed.agent.received(agentStart)); n != 1 || crossed.agent.stopsOf(crossed.id) != 1 || crossed.other.stopsOf(crossed.id) != 0 {
				t.Errorf("the session's agent was told to start %d times", n)
			}
		}

		// A heartbeat does not register an agent that the backend calls, and finds its
		// agent's row through any backend.
		stranger := newTestAgent(t)
		var told struct{ ID string }
		a.decode(a.heartbeat(`{"name":"second","url":"`+two.URL+`"}`), http.StatusOK, &told)
		if told.ID != second {
			t.Errorf("B's agent is %s to A", told.ID)
		}
		b.decode(b.heartbeat(`{"name":"stranger","url":"`+stranger.URL+`"}`), http.StatusOK, &told)
		if _, err := openDatabase(t, env).ExecContext(t.Context(), "UPDATE sessions SET agent_id = '"+told.ID+"', monitoring_ended = NULL WHERE id = '"+ofB+"'"); err != nil {
			t.Fatal(err)
		}
		wantError(t, a.start(ofB), http.StatusConflict, "conflict", "AGENT_SERVICE_URL")
		if len(stranger.requests) > 0 {
			t.Error("the URL of a heartbeat was called")
		}

		// When no backend with the default agent runs, the default agent may move.
		a.stop()
		b.stop()
		moved := newTestAgent(t)
		if own, all := urls(start(moved)); own != moved.URL || all["default"] != moved.URL || all[second] != two.URL {
			t.Errorf("then it is at %s, of %v", own, all)
		}
	})
}

// TestOneBackendAsksTheAgent checks that one of several backends with the same agent
// polls its status, and that another one continues when it ends.
func TestOneBackendAsksTheAgent(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		agent := newTestAgent(t)
		asked := make(chan string, 1000)
		healthy := agent.handlers["GET /health"]
		agent.handle("GET /health", func(w http.ResponseWriter, r *http.Request) {
			asked <- r.Host
			healthy(w, r)
		})
		if env["DATABASE_URL"] == "" {
			env["DATA_DIR"] = t.TempDir()
		}
		env["AGENT_POLL_INTERVAL"], env["AGENT_SERVICE_URL"] = "1s", agent.URL
		first := startBackend(t, env)
		address := <-asked // the name identifies the backend
		env["AGENT_SERVICE_URL"] = strings.Replace(agent.URL, "127.0.0.1", "localhost", 1)
		second := startBackend(t, env)
		for range 3 {
			if host := <-asked; host != address {
				t.Errorf("it is asked as %s too", host)
			}
		}
		if got := second.agents(); len(got) != 1 || got["default"].Status != "up" {
			t.Errorf("the other backend knows %+v", got)
		}
		first.stop()
		wait.For(t, "the other backend asks it", func() bool {
			select {
			case host := <-asked:
				return host != address
			default:
				return false
			}
		})
	})
}
