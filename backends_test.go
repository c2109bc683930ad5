package main

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A stop that the agent has missed does not reach it while another backend starts
// the same session.
func TestPendingStopWaitsForAnotherBackendsStart(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		agent := newTestAgent(t)
		env["AGENT_SERVICE_URL"], env["AGENT_POLL_INTERVAL"] = agent.URL, "1s"
		first, second := twoBackends(t, env)
		id := first.startSession()
		agent.handle(agentStop, hangUp)
		if stopped := first.mustStop(id); stopped["warning"] == nil {
			t.Fatalf("the agent was told: %v", stopped)
		}
		var starting atomic.Bool
		agent.handle(agentStart, func(w http.ResponseWriter, _ *http.Request) {
			starting.Store(true)
			defer starting.Store(false)
			<-time.After(2500 * time.Millisecond) // several rounds of pending stops
			io.WriteString(w, "{}")               //nolint:errcheck // the backend would see it
		})
		agent.handle(agentStop, func(w http.ResponseWriter, _ *http.Request) {
			if starting.Load() {
				t.Error("the agent was told to stop while it was being started")
			}
			w.WriteHeader(http.StatusOK)
		})
		for range 2 {
			second.mustStart(id)
			first.mustStop(id)
		}
	})
}

// Of starts of one session through two backends one reaches the agent, and a stop
// through the other backend waits for it.
func TestOneStartAtATimeAcrossBackends(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		agent := newTestAgent(t)
		env["AGENT_SERVICE_URL"], env["AGENT_POLL_INTERVAL"] = agent.URL, "1s"
		first, second := twoBackends(t, env)
		id := first.create("sample.exe")
		asked, release := make(chan struct{}, 4), make(chan struct{})
		agent.handle(agentStart, func(w http.ResponseWriter, _ *http.Request) {
			asked <- struct{}{}
			<-release
			io.WriteString(w, "{}") //nolint:errcheck // the backend would see it
		})
		var calls sync.WaitGroup
		var started, refused atomic.Int32
		for _, b := range []*backend{first, second, first, second} {
			calls.Go(func() {
				a, err := b.trySend("POST", "/api/start-monitor", `{"sessionId":"`+id+`","mode":1}`)
				switch {
				case err == nil && a.status == http.StatusOK:
					started.Add(1)
				case err == nil && a.status == http.StatusConflict:
					refused.Add(1)
				default:
					t.Errorf("%v %d %s", err, a.status, a.body)
				}
			})
		}
		waitFor(t, "all but one are refused, or reach the agent", func() bool { return int(refused.Load())+len(asked) == 4 })
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
				if err != nil || a.status != http.StatusOK || !strings.Contains(string(a.body), `"ended"`) {
					t.Errorf("the stop: %v %d %s", err, a.status, a.body)
				}
			})
		}
		<-time.After(500 * time.Millisecond) // time for the stops to come too early
		close(release)
		calls.Wait()
		stops.Wait()
		if started.Load() != 1 || refused.Load() != 3 || len(asked) != 1 {
			t.Errorf("%d starts, %d conflicts, the agent was asked %d times", started.Load(), refused.Load(), len(asked))
		}
	})
}

// A start whose lease is over, as when its backend stood still for long, leaves alone
// what another backend has made of the session since.
func TestStartThatWasTakenOver(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		agent := newTestAgent(t)
		env["AGENT_SERVICE_URL"] = agent.URL
		first, second := twoBackends(t, env)
		id := first.create("sample.exe")
		asked, release := make(chan struct{}), make(chan struct{})
		quick := agent.handlers[agentStart]
		agent.handle(agentStart, func(w http.ResponseWriter, _ *http.Request) {
			agent.handle(agentStart, quick)
			close(asked)
			<-release
			io.WriteString(w, "{}") //nolint:errcheck // the backend would see it
		})
		var late sync.WaitGroup
		late.Go(func() {
			a, err := first.trySend("POST", "/api/start-monitor", `{"sessionId":"`+id+`","mode":2,"processes":[1]}`)
			if err != nil || a.status != http.StatusConflict || !strings.Contains(string(a.body), "another backend") {
				t.Errorf("the start that was taken over: %v %d %s", err, a.status, a.body)
			}
		})
		<-asked
		if _, err := openDatabase(t, env).ExecContext(t.Context(), "UPDATE leases SET until = 0"); err != nil {
			t.Fatal(err)
		}
		second.mustStart(id)
		close(release)
		late.Wait()
		var session struct {
			State string
			Mode  int
		}
		second.decode(second.send("GET", "/api/sessions/"+id, ""), http.StatusOK, &session)
		if session.State != "active" || session.Mode != 1 || agent.stopsOf(id) != 0 {
			t.Errorf("then the session is %+v, and the agent was told to stop %d times", session, agent.stopsOf(id))
		}
	})
}
