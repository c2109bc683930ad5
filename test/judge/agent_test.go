//go:build linux

package judge

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"ospulse/test/freeport"
	"ospulse/test/wait"
)

// busySample writes one file after another, forever.
const busySample = `i=0
while :; do
	echo $i >n$i
	i=$((i+1))
	[ $((i%20)) = 0 ] && sleep 0.1
done
`

// newAgent returns the default agent of a set-up. It runs only during killAgent.
func newAgent(w *world) *backend {
	port := freeport.For(w.t)
	return &backend{
		index: -1, program: buildPrograms(w.t).agent, port: port, health: "/health", log: filepath.Join(w.dir, "log-agent"),
		env: []string{"PATH=" + os.Getenv("PATH")},
	}
}

// killAgent kills an agent whose sample is busy, starts it again, and checks the
// received events: everything up to some moment, each event once, and then a report of
// the gap.
func killAgent(w *world, r *rand.Rand) (err error) {
	a := w.agent
	data := filepath.Join(w.dir, "agent")
	a.args = []string{"--port", strconv.Itoa(a.port), "--data", data, "--backend", w.backends[0].url()}
	if err := a.start(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.end(syscall.SIGTERM), os.RemoveAll(data)) }()
	s := w.upload("busy.sh", busySample)
	if err := w.startMonitor(s); err != nil {
		return err
	}
	hold(r, time.Second, 4*time.Second)
	if err := a.end(os.Kill); err != nil {
		return err
	}
	if err := a.start(); err != nil {
		return err
	}
	if err := w.awaitDelivered(); err != nil {
		return err
	}
	if err := w.awaitDrained(wait.Patience); err != nil { // an agent considers events with a 202 delivered
		return err
	}
	if err := w.judgeAgent(s); err != nil {
		return err
	}
	stop, err := w.post("/api/monitor/stop", `{"sessionId":"`+s.id+`"}`)
	if err == nil && stop.status != http.StatusOK {
		err = stop
	}
	return err
}

// startMonitor starts the sample of a session. On a busy machine the agent takes longer
// than the backend waits: it answers 504, and the repeated request waits for the same
// start.
func (w *world) startMonitor(s *session) error {
	for deadline := time.Now().Add(wait.Patience); ; {
		got, err := w.post("/api/start-monitor", `{"sessionId":"`+s.id+`","mode":3}`)
		if err != nil || got.status == http.StatusOK {
			return err
		}
		if got.status != http.StatusGatewayTimeout || time.Now().After(deadline) {
			return got
		}
	}
}

// answer is what the first backend answered to a request.
type answer struct {
	path   string
	status int
	text   []byte
}

func (a *answer) Error() string {
	return fmt.Sprintf("%s was answered %d %s", a.path, a.status, a.text)
}

// post makes a request to the first backend.
func (w *world) post(path, body string) (*answer, error) {
	response, err := w.http.Post(w.backends[0].url()+path, "application/json", strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(response.Body)
	response.Body.Close()
	return &answer{path, response.StatusCode, text}, err
}

// awaitDelivered returns when the agent has delivered all its events.
func (w *world) awaitDelivered() error {
	for deadline := time.Now().Add(wait.Patience); ; <-time.After(50 * time.Millisecond) {
		var status struct {
			Delivery struct {
				Delivered int
				Queued    int `json:"queued_events"`
				Spooled   int `json:"spooled_events"`
			}
		}
		response, err := w.http.Get(w.agent.url() + "/health")
		if err == nil {
			err = errors.Join(json.NewDecoder(response.Body).Decode(&status), response.Body.Close())
		}
		if d := status.Delivery; err == nil && d.Delivered > 0 && d.Queued+d.Spooled == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the agent does not deliver: %+v, %w; its log ends:\n%s", status, err, w.agent.logTail())
		}
	}
}

// opened returns the number of the file that the sample opened according to an event,
// or -1 for any other event.
func opened(data json.RawMessage) int {
	var call struct{ Operation, FilePath string }
	if json.Unmarshal(data, &call) != nil || call.Operation != "CreateFile" && call.Operation != "OpenFile" {
		return -1
	}
	name, isSample := strings.CutPrefix(filepath.Base(call.FilePath), "n")
	n, err := strconv.Atoi(name)
	if err != nil || !isSample {
		return -1
	}
	return n
}

// judgeAgent checks the log of a session whose agent was killed.
func (w *world) judgeAgent(s *session) error {
	response, err := w.http.Get(w.backends[0].url() + "/api/events/export?sessionId=" + s.id)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	var all []struct {
		Seq  int64           `json:"seq"`
		Type string          `json:"event_type"`
		Data json.RawMessage `json:"data"`
	}
	if err := json.NewDecoder(response.Body).Decode(&all); err != nil {
		return err
	}
	types := map[string]int{}
	var files []int
	for i, e := range all {
		types[e.Type]++
		if e.Seq != int64(i+1) {
			w.found = append(w.found, Violation{Gap, 1, fmt.Sprintf("%s: event %d has seq %d", s.id, i+1, e.Seq)})
		}
		if n := opened(e.Data); n >= 0 {
			files = append(files, n)
		}
	}
	slices.Sort(files)
	for i, n := range files {
		if n != i {
			rule := Lost
			if i > 0 && files[i-1] == n {
				rule = Duplicated
			}
			w.found = append(w.found, Violation{rule, 1, fmt.Sprintf("%s: file %d of %d is number %d", s.id, i, len(files), n)})
			break
		}
	}
	if len(files) == 0 || types["session_end"] != 1 || types["events_lost"] == 0 {
		w.found = append(w.found, Violation{Lost, 1, fmt.Sprintf("%s: the gap after the kill is not told of, or told of twice: %d files, %v", s.id, len(files), types)})
	}
	w.acked += len(all)
	return nil
}
