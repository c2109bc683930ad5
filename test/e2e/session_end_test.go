package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"ospulse/test/wait"
)

// ending has the fields of a session that describe its end.
type ending struct {
	State   string
	Started time.Time `json:"monitoring_started"`
	Ended   time.Time `json:"monitoring_ended"`
	End     *struct {
		Reason, Text     string
		At               time.Time
		ExitCode, Signal *int64
	}
	SilentSince  *time.Time `json:"agent_silent_since"`
	Completeness struct {
		SilentSince *time.Time `json:"agent_silent_since"`
	}
}

// ending returns how a session ended.
func (b *backend) ending(id string) ending {
	b.t.Helper()
	var e ending
	b.decode(b.send("GET", "/api/sessions/"+id, ""), http.StatusOK, &e)
	return e
}

// ended waits until a session ends.
func (b *backend) ended(id string) ending {
	b.t.Helper()
	var e ending
	wait.For(b.t, "the session ends", func() bool { e = b.ending(id); return e.State == "ended" })
	return e
}

// spawn creates a session in mode 3, whose program has pid 4711.
func (b *backend) spawn() string {
	b.t.Helper()
	id := b.create("sample.exe")
	if a := b.send("POST", "/api/start-monitor", `{"sessionId":"`+id+`","mode":3}`); a.status != http.StatusOK {
		b.t.Fatalf("start: %d %s", a.status, a.body)
	}
	return id
}

// tellEnd sends a session_end as the agent does. more has members of its data, each
// with a comma before it.
func (b *backend) tellEnd(id string, at time.Time, more string) {
	b.t.Helper()
	body := fmt.Sprintf(`{"event_type":"session_end","timestamp":%q,"source":"os-pulse-agent","data":{"sessionId":%q,"mode":3%s}}`, at.UTC().Format("2006-01-02T15:04:05.000000Z"), id, more)
	if a := b.send("POST", "/api/events/batch?sessionId="+id, body, "Content-Type: application/x-ndjson"); a.status != http.StatusOK {
		b.t.Fatalf("session_end: %d %s", a.status, a.body)
	}
}

// TestSessionEndsWithItsProgram checks that a session ends when its program does, with
// the program's time and outcome. Then it receives no more events that name no session,
// can be deleted, and the agent gets no stop for it.
func TestSessionEndsWithItsProgram(t *testing.T) {
	for name, tt := range map[string]struct{ data, reason, text, exit, signal string }{
		"exited":  {`,"processId":4711,"exitCode":3,"reason":"exited","durationSeconds":1`, "exited", "code 3", "3", "null"},
		"killed":  {`,"processId":4711,"exitCode":-1,"signal":11,"reason":"killed"`, "signal", "signal 11", "null", "11"},
		"timeout": {`,"processId":4711,"exitCode":-1,"signal":9,"reason":"timeout"`, "timeout", "as long as", "null", "9"},
		"memory":  {`,"processId":4711,"exitCode":-1,"signal":9,"reason":"memory"`, "signal", "more memory", "null", "9"},
		"no pid":  {`,"exitCode":0,"reason":"exited"`, "exited", "code 0", "0", "null"},
		"no code": {`,"reason":"exited"`, "exited", "ended", "null", "null"},
		"shut":    {`,"processId":4711,"exitCode":-1,"signal":9,"reason":"stopped"`, "agent_lost", "by itself", "null", "9"},
		"cut off": {`,"processId":4711,"exitCode":-1,"reason":"agent_restarted"`, "agent_lost", "restarted", "null", "null"},
		"garbage": {`,"exitCode":"x","signal":{},"reason":7,"durationSeconds":"1"`, "exited", "ended", "null", "null"},
	} {
		t.Run(name, func(t *testing.T) {
			eachDatabase(t, func(t *testing.T, env map[string]string) {
				agent := newTestAgent(t)
				env["AGENT_SERVICE_URL"] = agent.URL
				b := startBackend(t, env)
				id := b.spawn()
				at := b.ending(id).Started.Add(time.Millisecond)
				wait.For(t, "its time is over", func() bool { return time.Now().After(at) })
				b.tellEnd(id, at, tt.data)
				e := b.ended(id)
				codes, _ := json.Marshal([]*int64{e.End.ExitCode, e.End.Signal})
				if e.End.Reason != tt.reason || !strings.Contains(e.End.Text, tt.text) || string(codes) != "["+tt.exit+","+tt.signal+"]" {
					t.Errorf("%+v %s", e.End, codes)
				}
				if !e.Ended.Equal(at) || !e.End.At.Equal(at) {
					t.Errorf("it ended at %s, and its program at %s", e.Ended, at)
				}
				if owner := b.owner(); owner != "unassigned" {
					t.Errorf("then an event of no session goes to %s", owner)
				}
				if a := b.send("DELETE", "/api/sessions/"+id, ""); a.status != http.StatusAccepted {
					t.Errorf("it cannot be deleted: %d %s", a.status, a.body)
				}
				if n := agent.stopsOf(id); n > 0 {
					t.Errorf("the agent was told to stop it %d times", n)
				}
			})
		})
	}
}

// TestEndsThatAreNotTheSessions checks that an end which is late, repeated, of another
// run or from a wrong clock does not end a session wrongly.
func TestEndsThatAreNotTheSessions(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		agent := newTestAgent(t)
		env["AGENT_SERVICE_URL"], env["DATA_DIR"] = agent.URL, t.TempDir()
		b := startBackend(t, env)
		say := func(pid string) {
			agent.handle(agentStart, func(w http.ResponseWriter, _ *http.Request) {
				fmt.Fprintf(w, `{"monitoringPid":%s}`, pid) //nolint:errcheck // the backend would report it
			})
		}
		tellStart := func(id, pid string) {
			b.decode(b.send("POST", "/api/events?sessionId="+id, `{"event_type":"session_start","data":{"sessionId":"`+id+`","processId":`+pid+`}}`), http.StatusOK, &struct{}{})
		}
		restart := func(id string) { // earlier versions could start an ended session again
			t.Helper()
			if _, err := openDatabase(t, env).ExecContext(t.Context(), "UPDATE sessions SET monitoring_ended = NULL, end_reason = '' WHERE id = '"+id+"'"); err != nil {
				t.Fatal(err)
			}
			if a := b.send("POST", "/api/start-monitor", `{"sessionId":"`+id+`","mode":3}`); a.status != http.StatusOK {
				t.Fatalf("start: %d %s", a.status, a.body)
			}
		}
		say("1")
		id := b.spawn()
		first := b.ending(id).Started
		tellStart(id, "1")
		b.tellEnd(id, time.Now(), `,"processId":1,"exitCode":1,"reason":"exited"`)
		b.tellEnd(id, time.Now(), `,"processId":1,"exitCode":2,"reason":"exited"`)
		if e := b.ended(id); *e.End.ExitCode != 1 {
			t.Errorf("the second end counts: %+v", e.End)
		}

		say("2")
		restart(id)
		if e := b.ending(id); e.End != nil || !e.Started.After(first) {
			t.Errorf("started again, it has the end %+v", e.End)
		}
		later := time.Now().Add(time.Hour)
		b.tellEnd(id, later, `,"processId":1,"exitCode":1,"reason":"exited"`)     // of the first run, with a fast clock
		b.tellEnd(id, first.Add(-time.Second), `,"exitCode":1,"reason":"exited"`) // its time is before the start
		b.tellEnd(id, first, `,"processId":9,"exitCode":1,"reason":"exited"`)     // also before the start
		b.decode(b.send("POST", "/api/events?sessionId="+id, `{"event_type":"session_end","data":{"reason":"exited"}}`), http.StatusOK, &struct{}{})
		b.decode(b.send("POST", "/api/events?sessionId="+id, `{"event_type":"session_end","data":null}`), http.StatusOK, &struct{}{})
		b.decode(b.send("POST", "/api/events?sessionId="+id, `{"event_type":"session_end","data":{"sessionId":"another","processId":2}}`), http.StatusOK, &struct{}{})

		// The ends above have been processed when a later one has taken effect.
		other := b.spawn()
		b.tellEnd(other, time.Now(), `,"processId":2,"exitCode":0,"reason":"exited"`)
		b.ended(other)
		if e := b.ending(id); e.State != "active" {
			t.Fatalf("it ended: %+v", e.End)
		}

		// A slow clock does not keep the session from ending, and the duration is that
		// of the program.
		tellStart(id, "2")
		b.tellEnd(id, first.Add(-time.Hour), `,"processId":2,"exitCode":0,"reason":"exited","durationSeconds":0.001`)
		if e := b.ended(id); e.Ended.Sub(e.Started) != time.Millisecond {
			t.Errorf("it took %s", e.Ended.Sub(e.Started))
		}
		restart(id)
		b.tellEnd(id, later, `,"processId":2,"exitCode":0,"reason":"exited"`)
		if e := b.ended(id); e.Ended.After(time.Now()) || e.Ended.Before(e.Started) {
			t.Errorf("it ended at %s", e.Ended)
		}
	})
}

// TestEndIsFoundAfterACrash checks that the next backend processes an end that was
// stored before its backend died.
func TestEndIsFoundAfterACrash(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		agent := newTestAgent(t)
		env["AGENT_SERVICE_URL"], env["DATA_DIR"] = agent.URL, t.TempDir()
		b := startBackend(t, env)
		id := b.spawn()
		b.tellEnd(id, time.Now(), `,"processId":4711,"exitCode":5,"reason":"exited"`)
		b.ended(id)
		b.stop()
		db := openDatabase(t, env)
		if _, err := db.ExecContext(t.Context(), "UPDATE sessions SET is_active = TRUE, monitoring_ended = NULL, end_reason = '', end_exit_code = NULL WHERE id = '"+id+"'"); err != nil {
			t.Fatal(err)
		}
		if e := startBackend(t, env).ended(id); e.End.Reason != "exited" || *e.End.ExitCode != 5 {
			t.Errorf("%+v", e.End)
		}
	})
}

// TestStopAndEnd checks that a user's stop is the recorded end, unless the program had
// ended before, and that later details from its agent are added.
func TestStopAndEnd(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		agent := newTestAgent(t)
		env["AGENT_SERVICE_URL"] = agent.URL
		b := startBackend(t, env)
		id := b.spawn()
		agent.handle(agentStop, func(w http.ResponseWriter, _ *http.Request) { // as our agent does
			b.tellEnd(id, time.Now(), `,"processId":4711,"exitCode":-1,"signal":9,"reason":"stopped"`)
			w.WriteHeader(http.StatusOK)
		})
		b.mustStop(id)
		if e := b.ended(id); e.End == nil || e.End.Reason != "stopped" {
			t.Errorf("stopped by a user: %+v", e.End)
		}
		agent.handle(agentStop, say(200, "", "{}"))
		id = b.spawn()
		at := b.ending(id).Started
		b.mustStop(id)
		stopped := b.ending(id)
		b.tellEnd(id, at, `,"processId":4711,"exitCode":4,"reason":"exited"`)
		wait.For(t, "its own end wins", func() bool { return b.ending(id).End.Reason == "exited" })
		if e := b.ending(id); *e.End.ExitCode != 4 || !e.Ended.Equal(at) || e.Ended.After(stopped.Ended) {
			t.Errorf("%+v, it ended at %s", e.End, e.Ended)
		}
	})
}

// TestSessionThatItsAgentLost checks that a session which is missing in its agent's
// heartbeats ends after SESSION_LOST_AFTER, and that the agent is told to stop it. A
// session that is listed again continues.
func TestSessionThatItsAgentLost(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		agent := newTestAgent(t)
		const lostAfter = 4 * time.Second
		env["AGENT_SERVICE_URL"], env["AGENT_POLL_INTERVAL"], env["SESSION_LOST_AFTER"] = agent.URL, "1s", lostAfter.String()
		b := startBackend(t, env)
		beat := func(sessions string) {
			t.Helper()
			b.decode(b.heartbeat(`{"name":"vm","url":"`+agent.URL+`"`+sessions+`}`), http.StatusOK, &struct{}{})
		}
		id, other := b.spawn(), b.spawn()
		last := time.Now()                                              // before they were listed
		for began := last; time.Since(began) < lostAfter+time.Second; { // alternately listed and not
			now := time.Now()
			beat(`,"sessions":["` + id + `"]`)
			beat(`,"sessions":["` + other + `"]`)
			beat(``)
			if isSlow := time.Since(last) > lostAfter; b.ending(id).State == "active" && b.ending(other).State == "active" {
				last = now
			} else if isSlow { // the machine is so busy that the agent was silent for too long
				id, other = b.spawn(), b.spawn()
				last = time.Now()
				began = last
			} else {
				t.Fatal("it ended although it was listed in between")
			}
			<-time.After(100 * time.Millisecond)
		}
		wait.For(t, "it ends", func() bool {
			beat(`,"sessions":["` + other + `"]`)
			return b.ending(id).State == "ended"
		})
		e := b.ending(id)
		if e.End == nil || e.End.Reason != "agent_lost" || !strings.Contains(e.End.Text, "no longer lists") || e.Ended.Before(e.Started) {
			t.Errorf("%+v", e.End)
		}
		wait.For(t, "the agent is told", func() bool { return agent.stopsOf(id) == 1 })
		if b.ending(other).State != "active" {
			t.Error("the listed one ended too")
		}
		wait.For(t, "the agent is told again, as it lists what has ended", func() bool {
			beat(`,"sessions":["` + id + `","` + other + `"]`)
			return agent.stopsOf(id) == 2
		})
		b.tellEnd(id, e.Started, `,"processId":4711,"exitCode":6,"reason":"exited"`) // it arrives late
		wait.For(t, "the program's end is told", func() bool { e := b.ending(id); return e.End.Reason == "exited" && *e.End.ExitCode == 6 })
		if a := b.send("DELETE", "/api/sessions/"+id, ""); a.status != http.StatusAccepted {
			t.Errorf("it cannot be deleted: %d %s", a.status, a.body)
		}
	})
}

// TestSessionWhoseAgentIsSilent checks that a session whose agent is silent is marked,
// in its views and in streams, and does not end, and that the mark disappears when the
// agent is back.
func TestSessionWhoseAgentIsSilent(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		agent := newTestAgent(t)
		env["AGENT_SERVICE_URL"], env["AGENT_LOST_AFTER"] = agent.URL, "1s"
		b := startBackend(t, env)
		id := b.spawn()
		stream := b.stream("/api/stream")
		stream.want(t, "ready")
		agent.handle("GET /health", hangUp)
		wait.For(t, "the session says so", func() bool { return b.ending(id).SilentSince != nil })
		e := b.ending(id)
		if e.State != "active" || e.Completeness.SilentSince == nil || !e.SilentSince.Equal(*e.Completeness.SilentSince) || time.Since(*e.SilentSince) < time.Second {
			t.Errorf("%+v", e)
		}
		for m := stream.want(t, "session"); !strings.Contains(m.data, `"agent_silent_since":"`); m = stream.want(t, "session") {
		}
		agent.handle("GET /health", say(200, "application/json", `{"status":"healthy"}`))
		wait.For(t, "it does not say so any more", func() bool { return b.ending(id).SilentSince == nil })
		agent.handle("GET /health", hangUp)
		wait.For(t, "the session says so again", func() bool { return b.ending(id).SilentSince != nil })
		b.decode(b.heartbeat(`{"name":"vm","url":"`+agent.URL+`"}`), http.StatusOK, &struct{}{})
		wait.For(t, "a heartbeat does as well", func() bool { return b.ending(id).SilentSince == nil })
		if e := b.ending(id); e.State != "active" {
			t.Errorf("it ended: %+v", e.End)
		}
	})
}
