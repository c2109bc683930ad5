package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ospulse/test/wait"
)

// addAgent adds an agent and enrolls it. It returns the agent's ID and key.
func (b *backend) addAgent(admin, name string) (id, key string) {
	b.t.Helper()
	var added struct{ ID, Name, Token, Command string }
	b.decode(b.send("POST", "/api/agents", fmt.Sprintf(`{"name":%q}`, name), bearer(admin)...), http.StatusCreated, &added)
	if want := "ospulse-agent enroll " + b.url + " " + added.Token; added.Command != want || added.Name != name {
		b.t.Errorf("%+v, want the command %s", added, want)
	}
	var enrolled struct {
		Key, Name string
		AgentID   string `json:"agent_id"`
	}
	b.decode(b.send("POST", "/api/agents/enroll", fmt.Sprintf(`{"token":%q}`, added.Token)), http.StatusCreated, &enrolled)
	if enrolled.AgentID != added.ID || enrolled.Name != name {
		b.t.Errorf("%+v was enrolled for %+v", enrolled, added)
	}
	return added.ID, enrolled.Key
}

// work is a request that an agent has fetched.
type work struct {
	ID, Method, Path string
	StartID          string `json:"start_id"`
	Body             json.RawMessage
	HasFile          bool `json:"has_file"`
}

// fetchWork returns the next request for the holder of a key; nil if there is none within
// some seconds.
func (b *backend) fetchWork(key string, seconds int) *work {
	b.t.Helper()
	a := b.send("GET", fmt.Sprintf("/api/agents/work?wait=%d", seconds), "", bearer(key)...)
	var next struct{ Work *work }
	b.decode(a, http.StatusOK, &next)
	return next.Work
}

// answerWork answers a request.
func (b *backend) answerWork(key, id string, status int, body string) answer {
	b.t.Helper()
	return b.send("POST", fmt.Sprintf("/api/agents/work/%s?status=%d", id, status), body, bearer(key)...)
}

// worker makes a fake agent fetch its work from a backend until the test ends.
func (a *testAgent) worker(t *testing.T, b *backend, key string) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	t.Cleanup(func() { cancel(); <-ended })
	call := func(method, path string, body io.Reader) (*http.Response, error) {
		request, err := http.NewRequestWithContext(ctx, method, b.url+"/api/agents/work"+path, body)
		if err != nil {
			return nil, err
		}
		request.Header.Set("Authorization", "Bearer "+key)
		request.Header.Set("Content-Type", "application/json")
		return http.DefaultClient.Do(request)
	}
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			response, err := call("GET", "?wait=1", http.NoBody)
			if err != nil || response.StatusCode != http.StatusOK {
				if err == nil {
					response.Body.Close()
				}
				continue
			}
			var next struct{ Work *work }
			err = json.NewDecoder(response.Body).Decode(&next)
			response.Body.Close()
			if err != nil || next.Work == nil {
				continue
			}
			w := next.Work
			body := w.Body
			if w.HasFile {
				file, err := call("GET", "/"+w.ID+"/file", http.NoBody)
				if err != nil {
					continue
				}
				body, _ = io.ReadAll(file.Body)
				file.Body.Close()
			}
			request := httptest.NewRequest(w.Method, w.Path, bytes.NewReader(body))
			request.Header.Set("X-OSPulse-Start", w.StartID)
			recorder := httptest.NewRecorder()
			a.ServeHTTP(recorder, request)
			if answered, err := call("POST", fmt.Sprintf("/%s?status=%d", w.ID, recorder.Code), recorder.Body); err == nil {
				answered.Body.Close()
			}
		}
	}()
}

// createSessionFor uploads a file for an agent, whose name is a field of the form.
func (b *backend) createSessionFor(key, agent, content string) (id string, delivered bool) {
	b.t.Helper()
	var form bytes.Buffer
	writer := multipart.NewWriter(&form)
	_ = writer.WriteField("agent", agent) // into memory, like the rest
	part, _ := writer.CreateFormFile("file", "sample.exe")
	_, _ = io.WriteString(part, content)
	_ = writer.Close()
	var created struct {
		SessionID string
		Delivered bool
	}
	b.decode(b.send("POST", "/api/create-session", form.String(), append(bearer(key), "Content-Type: "+writer.FormDataContentType())...), http.StatusOK, &created)
	return created.SessionID, created.Delivered
}

// TestAgentThatFetchesItsWork enrolls two agents that the backend cannot reach. Each gets the
// files, starts and stops of its own sessions.
func TestAgentThatFetchesItsWork(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		env["AGENT_TIMEOUT"] = "9s"
		b := startBackend(t, env)
		admin := b.createKey("", `{"name":"Ada","role":"admin"}`).Key
		ids, fakes := map[string]string{}, map[string]*testAgent{}
		for _, name := range []string{"first vm", "second vm"} {
			id, key := b.addAgent(admin, name)
			ids[name], fakes[name] = id, newTestAgent(t)
			if a := b.send("POST", "/api/agents/heartbeat", fmt.Sprintf(`{"name":%q,"fetches_work":true}`, name), bearer(key)...); a.status != http.StatusOK {
				t.Fatalf("the heartbeat of an agent that listens nowhere: %d %s", a.status, a.body)
			}
			fakes[name].worker(t, b, key)
		}
		if ids["first vm"] != "default" || ids["second vm"] == "default" {
			t.Errorf("the IDs are %v: the first agent is the default one, because nobody has heard of another", ids)
		}
		for _, chosen := range []string{"", "second vm", ids["second vm"]} {
			name, other := "second vm", "first vm"
			if chosen == "" {
				name, other = other, name
			}
			before, beforeOther := len(fakes[name].requestsSoFar()), len(fakes[other].requestsSoFar())
			id, delivered := b.createSessionFor(admin, chosen, "MZ of "+name)
			if !delivered {
				t.Errorf("%q did not get its file", chosen)
			}
			start := fmt.Sprintf(`{"sessionId":%q,"mode":3}`, id)
			if a := b.send("POST", "/api/start-monitor", start, bearer(admin)...); a.status != http.StatusOK {
				t.Fatalf("start: %d %s", a.status, a.body)
			}
			if a := b.send("POST", "/api/list-processes", fmt.Sprintf(`{"sessionId":%q}`, id), bearer(admin)...); a.status != http.StatusOK || !strings.Contains(string(a.body), "zsh") {
				t.Errorf("processes: %d %s", a.status, a.body)
			}
			if a := b.send("POST", "/api/monitor/stop", fmt.Sprintf(`{"sessionId":%q}`, id), bearer(admin)...); a.status != http.StatusOK || strings.Contains(string(a.body), "warning") {
				t.Errorf("stop: %d %s", a.status, a.body)
			}
			got := fakes[name].requestsSoFar()[before:]
			var routes []string
			for _, r := range got {
				routes = append(routes, r.route)
			}
			want := "POST /api/upload-file, POST /api/start-monitor, POST /api/list-processes, POST /api/stop-monitor"
			if strings.Join(routes, ", ") != want || got[0].body != "MZ of "+name {
				t.Errorf("%s got %+v, want %s", name, got, want)
			}
			if more := fakes[other].requestsSoFar()[beforeOther:]; len(more) > 0 {
				t.Errorf("the other agent got %+v", more)
			}
		}

		// A session that was not started goes to another agent with its start, and with its file.
		id, _ := b.createSessionFor(admin, "first vm", "moves")
		if a := b.send("POST", "/api/start-monitor", fmt.Sprintf(`{"sessionId":%q,"mode":3,"agent":"second vm"}`, id), bearer(admin)...); a.status != http.StatusOK {
			t.Fatalf("start at another agent: %d %s", a.status, a.body)
		}
		got := fakes["second vm"].requestsSoFar()
		if upload := got[len(got)-2]; upload.body != "moves" {
			t.Errorf("the other agent got %+v", upload)
		}
		if a := b.send("POST", "/api/start-monitor", fmt.Sprintf(`{"sessionId":%q,"mode":3,"agent":"first vm"}`, id), bearer(admin)...); a.status != http.StatusConflict {
			t.Errorf("an active session was started at another agent: %d %s", a.status, a.body)
		}
		for _, path := range []string{"/api/sessions/" + id + "/copy?agent=nobody", "/api/create-session?agent=nobody"} {
			if a := b.send("POST", path, "--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\nMZ\r\n--x--\r\n", append(bearer(admin), "Content-Type: multipart/form-data; boundary=x")...); a.status != http.StatusBadRequest {
				t.Errorf("%s: %d %s", path, a.status, a.body)
			}
		}
	})
}

// TestWorkIsDoneOnce checks that a start that is fetched happens once, whatever gets lost.
func TestWorkIsDoneOnce(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		env["AGENT_TIMEOUT"], env["AGENT_POLL_INTERVAL"] = "9s", "10m"
		b := startBackend(t, env)
		admin := b.createKey("", `{"name":"Ada","role":"admin"}`).Key
		_, key := b.addAgent(admin, "vm")
		async := append(bearer(admin), "Prefer: respond-async")
		next := func() (w *work) {
			t.Helper()
			wait.For(t, "a request for the agent", func() bool { w = b.fetchWork(key, 1); return w != nil })
			return w
		}
		create := func() string {
			t.Helper()
			created := make(chan string, 1)
			go func() {
				id, _ := b.createSessionFor(admin, "vm", "MZ")
				created <- id
			}()
			b.answerWork(key, next().ID, http.StatusOK, `{"filename":"sample.exe"}`)
			return <-created
		}
		state := func(id string) (s struct {
			State      string
			StartError *struct {
				Text       string
				MayHaveRun bool `json:"may_have_run"`
			} `json:"start_error"`
		}) {
			t.Helper()
			b.decode(b.send("GET", "/api/sessions/"+id, "", bearer(admin)...), http.StatusOK, &s)
			return s
		}

		// The answer to a start is lost. The backend asks what became of it.
		id := create()
		b.send("POST", "/api/start-monitor", fmt.Sprintf(`{"sessionId":%q,"mode":3}`, id), async...)
		start := next()
		if start.Path != "/api/start-monitor" || start.StartID == "" {
			t.Fatalf("got %+v", start)
		}
		question := next()
		if question.Path != "/api/starts/"+start.StartID {
			t.Fatalf("after a lost answer came %+v", question)
		}
		b.answerWork(key, question.ID, http.StatusOK, `{"state":"running","monitoringPid":7}`)
		wait.For(t, "the session to be active", func() bool { return state(id).State == "active" })
		if a := b.answerWork(key, start.ID, http.StatusOK, `{}`); a.status != http.StatusNotFound {
			t.Errorf("the late answer: %d %s", a.status, a.body)
		}

		// Nobody fetches the start. It fails, and cannot happen later.
		id = create()
		b.send("POST", "/api/start-monitor", fmt.Sprintf(`{"sessionId":%q,"mode":3}`, id), async...)
		wait.For(t, "the start to fail", func() bool { return state(id).State == "failed" })
		if why := state(id).StartError; why == nil || why.MayHaveRun || !strings.Contains(why.Text, "does not fetch its work") {
			t.Errorf("the start failed because %+v", why)
		}
		if late := b.fetchWork(key, 1); late != nil {
			t.Errorf("a withdrawn request was given out: %+v", late)
		}
	})
}

// TestWorkBelongsToItsAgent checks what a hostile agent can do with the work of another one.
func TestWorkBelongsToItsAgent(t *testing.T) {
	t.Parallel()
	b := startBackend(t, map[string]string{"AGENT_TIMEOUT": "9s", "AGENT_POLL_INTERVAL": "10m"})
	admin := b.createKey("", `{"name":"Ada","role":"admin"}`).Key
	_, own := b.addAgent(admin, "vm")
	_, hostile := b.addAgent(admin, "hostile")
	created := make(chan string, 1)
	go func() {
		id, _ := b.createSessionFor(admin, "vm", "MZ secret")
		created <- id
	}()
	var upload *work
	wait.For(t, "the upload", func() bool {
		if stolen := b.fetchWork(hostile, 1); stolen != nil {
			t.Errorf("another agent got %+v", stolen)
		}
		upload = b.fetchWork(own, 1)
		return upload != nil
	})
	for name, a := range map[string]answer{
		"the file":  b.send("GET", "/api/agents/work/"+upload.ID+"/file", "", bearer(hostile)...),
		"an answer": b.answerWork(hostile, upload.ID, http.StatusOK, `{"filename":"evil"}`),
		"no work":   b.answerWork(own, "nothing-like-that", http.StatusOK, `{}`),
	} {
		if a.status != http.StatusNotFound {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	for name, path := range map[string]string{"as an admin": "/api/agents/work"} {
		if a := b.send("GET", path, "", bearer(admin)...); a.status != http.StatusForbidden {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	if a := b.send("GET", "/api/agents/work/"+upload.ID+"/file", "", bearer(own)...); string(a.body) != "MZ secret" {
		t.Errorf("its own agent got %d %q", a.status, a.body)
	}
	if a := b.answerWork(own, upload.ID, 1000, `{}`); a.status != http.StatusBadRequest {
		t.Errorf("an impossible status: %d %s", a.status, a.body)
	}
	if a := b.answerWork(own, upload.ID, http.StatusOK, "\x00\xff no JSON"); a.status != http.StatusBadRequest {
		t.Errorf("an answer that is not JSON: %d %s", a.status, a.body)
	}
	if a := b.answerWork(own, upload.ID, http.StatusOK, `{"filename":"sample.exe"}`); a.status != http.StatusOK {
		t.Errorf("the right answer: %d %s", a.status, a.body)
	}
	<-created
}

// TestEnrollment checks the life of a token.
func TestEnrollment(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		env["PUBLIC_URL"] = "https://pulse.example"
		b := startBackend(t, env)
		if a := b.send("POST", "/api/agents", `{"name":"vm"}`); a.status != http.StatusConflict || !strings.Contains(string(a.body), "admin") {
			t.Errorf("before the first key: %d %s", a.status, a.body)
		}
		admin := b.createKey("", `{"name":"Ada","role":"admin"}`).Key
		for _, bad := range []string{`{}`, `{"name":""}`, `{"name":"a\u0000b"}`, `{"name":"` + strings.Repeat("x", 201) + `"}`} {
			if a := b.send("POST", "/api/agents", bad, bearer(admin)...); a.status != http.StatusBadRequest {
				t.Errorf("%s: %d %s", bad, a.status, a.body)
			}
		}
		var added struct{ Token, Command string }
		b.decode(b.send("POST", "/api/agents", `{"name":"vm"}`, bearer(admin)...), http.StatusCreated, &added)
		if !strings.HasPrefix(added.Command, "ospulse-agent enroll https://pulse.example ") {
			t.Errorf("the command is %s", added.Command)
		}
		// Of several at once, one gets the key.
		statuses := make(chan int, 4)
		for range cap(statuses) {
			go func() {
				a, err := b.trySend("POST", "/api/agents/enroll", fmt.Sprintf(`{"token":%q}`, added.Token))
				if err != nil {
					a.status = 0
				}
				statuses <- a.status
			}()
		}
		got := map[int]int{}
		for range cap(statuses) {
			got[<-statuses]++
		}
		if got[http.StatusCreated] != 1 || got[http.StatusUnauthorized] != 3 {
			t.Errorf("four uses of a token: %v", got)
		}
		log := b.log.String()
		if strings.Contains(log, added.Token) {
			t.Error("the log has the token")
		}
		var audit struct {
			Entries []struct{ Action, Target string }
		}
		b.decode(b.send("GET", "/api/audit", "", bearer(admin)...), http.StatusOK, &audit)
		seen := map[string]bool{}
		for _, e := range audit.Entries {
			seen[e.Action] = true
		}
		if !seen["addAgent"] || !seen["enrollAgent"] {
			t.Errorf("the audit has %v", seen)
		}
	})
}

// TestWorkThroughAnotherBackend checks that an agent gets the work of any backend of a
// database.
func TestWorkThroughAnotherBackend(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		env["AGENT_TIMEOUT"], env["AGENT_POLL_INTERVAL"] = "9s", "10m"
		first, second := twoBackends(t, env)
		admin := first.createKey("", `{"name":"Ada","role":"admin"}`).Key
		_, key := first.addAgent(admin, "vm")
		newTestAgent(t).worker(t, second, key)
		id, _ := first.createSessionFor(admin, "vm", "MZ")
		if a := first.send("POST", "/api/start-monitor", fmt.Sprintf(`{"sessionId":%q,"mode":3}`, id), bearer(admin)...); a.status != http.StatusOK {
			t.Errorf("start: %d %s", a.status, a.body)
		}
	})
}

// TestAgentThatAsksTooMuch checks that a mad or hostile agent does not take the database from
// the others with requests that carry no events.
func TestAgentThatAsksTooMuch(t *testing.T) {
	t.Parallel()
	b := startBackend(t, map[string]string{"AGENT_POLL_INTERVAL": "10m"})
	admin := b.createKey("", `{"name":"Ada","role":"admin"}`).Key
	_, good := b.addAgent(admin, "good")
	const beat, ask = "POST /api/agents/heartbeat", "GET /api/agents/work/none/file"
	usual := map[string]int{beat: http.StatusOK, ask: http.StatusNotFound}
	for route, status := range usual {
		_, mad := b.addAgent(admin, "mad "+route)
		method, path, _ := strings.Cut(route, " ")
		// On a busy machine one sender would be slower than what is allowed.
		var sending sync.WaitGroup
		var refused, sent atomic.Int32
		until := time.Now().Add(wait.Patience)
		for range 16 {
			sending.Go(func() {
				for refused.Load() == 0 && time.Now().Before(until) {
					a, err := b.trySend(method, path, `{"name":"x","fetches_work":true}`, bearer(mad)...)
					switch {
					case err == nil && a.status == http.StatusTooManyRequests:
						refused.Add(1)
					case err != nil || a.status != status:
						t.Errorf("%s: %v %d %s", route, err, a.status, a.body)
						return
					default:
						sent.Add(1)
					}
				}
			})
		}
		if sending.Wait(); refused.Load() == 0 || sent.Load() < 200 {
			t.Errorf("%s: after %d requests came %d refusals", route, sent.Load(), refused.Load())
		}
		if a := b.send(method, path, `{"name":"x","fetches_work":true}`, bearer(good)...); a.status != status {
			t.Errorf("%s of the other agent: %d %s", route, a.status, a.body)
		}
	}

	// No more than four calls wait for work at a time.
	_, waiting := b.addAgent(admin, "waiting")
	wait.For(t, "a refusal of a fifth call", func() bool {
		statuses := make(chan int, 5)
		for range cap(statuses) {
			go func() {
				a, err := b.trySend("GET", "/api/agents/work?wait=2", "", bearer(waiting)...)
				if err != nil {
					a.status = 0
				}
				statuses <- a.status
			}()
		}
		got := map[int]int{}
		for range cap(statuses) {
			got[<-statuses]++
		}
		return got[http.StatusOK] == 4 && got[http.StatusTooManyRequests] == 1
	})
}
