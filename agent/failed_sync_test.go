//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"ospulse/test/freeport"
	"ospulse/test/powerloss"
	"ospulse/test/wait"
)

// steadyScript writes one file after the other, for ten minutes at most.
const steadyScript = `i=0
while [ $i -lt 60000 ]; do
	echo $i >n$((i%100))
	i=$((i+1))
	[ $((i%5)) = 0 ] && sleep 0.3
done
`

// sink is a backend that keeps the events that it receives in memory.
type sink struct {
	url string

	mu     sync.Mutex
	events map[string]bool // by the text of the event
	losses map[string][]lossReport
}

type lossReport struct {
	Reason   string
	From, To time.Time
}

func newSink(t *testing.T) *sink {
	s := &sink{events: map[string]bool{}, losses: map[string][]lossReport{}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/api/events/batch" {
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		if r.Header.Get("Content-Encoding") == "zstd" {
			body = unpack(t, body)
		}
		s.take(t, r.URL.Query().Get("sessionId"), body)
		_, _ = io.WriteString(w, `{"errors":[]}`) // if the agent is gone, its next run sends the batch again
	}))
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

func (s *sink) take(t *testing.T, session string, body []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for line := range bytes.Lines(body) {
		s.events[string(line)] = true
		var e struct {
			Type string `json:"event_type"`
			Data lossReport
		}
		if err := json.Unmarshal(line, &e); err != nil {
			t.Error(err)
		}
		if e.Type == "events_lost" {
			s.losses[session] = append(s.losses[session], e.Data)
		}
	}
}

// isReported reports whether a reported loss of the session covers the time at.
func (s *sink) isReported(session string, at time.Time) bool {
	return slices.ContainsFunc(s.losses[session], func(l lossReport) bool { return !at.Before(l.From) && !at.After(l.To) })
}

func unpack(t *testing.T, packed []byte) []byte {
	t.Helper()
	decoder, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	defer decoder.Close()
	text, err := decoder.DecodeAll(packed, nil)
	if err != nil {
		t.Error(err)
	}
	return text
}

// agentRun is one run of the agent under strace.
type agentRun struct {
	session string // "" if none began
	ops     []powerloss.Op
}

// agentRecorder runs the real agent several times on one data folder, without a backend, and
// records its operations on files.
type agentRecorder struct {
	t      *testing.T
	root   string
	sample int // the watched process
	runs   []agentRun
	disk   *powerloss.Disk
}

func newAgentRecorder(t *testing.T) *agentRecorder {
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	sample := exec.Command("sh", "-c", steadyScript)
	sample.Dir = t.TempDir()
	if err := sample.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { kill(t, sample) })
	return &agentRecorder{t: t, root: root, sample: sample.Process.Pid, disk: powerloss.NewDisk(root, powerloss.Rules{}, rand.New(rand.NewPCG(0, 0)))}
}

// run starts the agent with failing syncs. It ends the agent with a signal after the agent
// has recorded at least notes times in its journal.
func (r *agentRecorder) run(inject string, notes int, signal os.Signal) {
	r.t.Helper()
	log, port := filepath.Join(r.t.TempDir(), "strace.log"), freeport.For(r.t)
	arguments := powerloss.StraceArguments(log)
	if inject != "" {
		arguments = append(arguments, "-e", "inject="+inject)
	}
	self, err := os.Executable()
	if err != nil {
		r.t.Fatal(err)
	}
	arguments = append(arguments, self)
	cmd := exec.Command("strace", append(arguments, "--port", fmt.Sprint(port), "--data", filepath.Join(r.root, "data"), "--backend", "http://127.0.0.1:1")...)
	cmd.Env = append(os.Environ(), "OSPULSE_TEST_AGENT=1", "GOMAXPROCS=1") // strace counts calls per thread, so the agent has few
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output // strace holds it too, so Wait waits for both
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // the error is that it was killed
		close(ended)
	}()
	run := agentRun{session: r.work(fmt.Sprintf("http://127.0.0.1:%d", port), log, notes, ended)}
	_ = cmd.Process.Signal(signal) // the agent may have ended
	<-ended
	if run.session == "" && inject == "" {
		r.t.Fatalf("no session runs: %s", &output)
	}
	file, err := os.Open(log)
	if err != nil {
		r.t.Fatal(err)
	}
	defer file.Close()
	if run.ops, err = powerloss.Parse(file, r.root); err != nil {
		r.t.Fatal(err)
	}
	r.apply(run.ops)
	diff, err := r.disk.Diff()
	if err != nil {
		r.t.Fatal(err)
	}
	r.apply(diff)
	run.ops = append(run.ops, diff...)
	r.runs = append(r.runs, run)
}

func (r *agentRecorder) apply(ops []powerloss.Op) {
	r.t.Helper()
	for _, op := range ops {
		if err := r.disk.Apply(op); err != nil {
			r.t.Fatal(err)
		}
	}
}

// work lets the agent watch the sample until the agent has recorded at least notes times in
// its journal, or many syncs have failed. It returns the session; "" if a fault prevented
// the start.
func (r *agentRecorder) work(agent, log string, notes int, ended <-chan struct{}) (session string) {
	r.t.Helper()
	wait.For(r.t, "the agent is ready, or ended", func() bool {
		select {
		case <-ended:
			return true
		default:
		}
		response, err := http.Get(agent + "/health")
		if err != nil {
			return false
		}
		response.Body.Close()
		return true
	})
	for try := range 3 { // a sync of the journal may fail
		id := fmt.Sprintf("run-%d-%d", len(r.runs), try)
		text := fmt.Sprintf(`{"sessionId":%q,"mode":2,"processes":[%d]}`, id, r.sample)
		response, err := http.Post(agent+"/api/start-monitor", "application/json", strings.NewReader(text))
		if err != nil {
			return ""
		}
		response.Body.Close()
		if response.StatusCode == http.StatusOK {
			session = id
			break
		}
	}
	if session != "" {
		wait.For(r.t, "the run was long enough", func() bool {
			text, err := os.ReadFile(log)
			if err != nil {
				r.t.Fatal(err)
			}
			return countTimes(text, filepath.Join(r.root, "data", "sessions", "alive")) >= notes || bytes.Count(text, []byte("(INJECTED)")) >= 20
		})
	}
	return session
}

// countTimes returns how often a log of strace has that the times of a file were set.
func countTimes(log []byte, path string) (n int) {
	var quoted []byte // as strace -xx writes it
	for _, c := range []byte(path) {
		quoted = fmt.Appendf(quoted, "\\x%02x", c)
	}
	for line := range bytes.Lines(log) {
		if bytes.Contains(line, []byte("utimensat(")) && bytes.Contains(line, quoted) {
			n++
		}
	}
	return n
}

// failures returns the number of failed syncs.
func (r *agentRecorder) failures() (n int) {
	for _, run := range r.runs {
		for _, op := range run.ops {
			if op.Kind == powerloss.SyncEnd && op.Failed {
				n++
			}
		}
	}
	return n
}

// spooledEvent is an event that the agent wrote to its spool.
type spooledEvent struct {
	text  string
	run   int
	wrote time.Time // when the agent first wrote it
}

// cuts replays the runs on a model of the disk and cuts the power about n times, each time
// right after the agent has recorded a time in its journal.
func (r *agentRecorder) cuts(n int, seed uint64, rules powerloss.Rules) (tally cutTally) {
	r.t.Helper()
	random := rand.New(rand.NewPCG(seed, 0))
	alive := filepath.Join(r.root, "data", "sessions", "alive")
	claims := 0
	for _, run := range r.runs {
		for _, op := range run.ops {
			if op.Kind == powerloss.SetTime && op.Path == alive {
				claims++
			}
		}
	}
	disk := powerloss.NewDisk(r.root, rules, random)
	seen := map[string]bool{}
	var spooled []spooledEvent
	claimed := make([]time.Time, len(r.runs))
	for i, run := range r.runs {
		for _, op := range run.ops {
			if err := disk.Apply(op); err != nil {
				r.t.Fatal(err)
			}
			switch {
			case op.Kind == powerloss.Write && strings.HasSuffix(op.Path, ".segment") && !op.Time.IsZero():
				for line := range bytes.Lines(r.events(op.Data)) {
					if text := string(line); !seen[text] {
						seen[text] = true
						spooled = append(spooled, spooledEvent{text, i, op.Time})
					}
				}
			case op.Kind == powerloss.SetTime && op.Path == alive:
				if op.Time.After(claimed[i]) {
					claimed[i] = op.Time
				}
				if random.Float64()*float64(claims) < float64(n) {
					r.cut(disk, i, claimed, spooled, &tally)
				}
			}
		}
	}
	return tally
}

// events returns the events in a record of the spool, one per line; nil if it has none.
func (r *agentRecorder) events(record []byte) []byte {
	at := bytes.Index(record, []byte{0x28, 0xb5, 0x2f, 0xfd}) // the magic number of zstd
	if at < 0 {
		return nil // a header or a mark
	}
	return unpack(r.t, record[at:])
}

// cutTally counts the events after power cuts.
type cutTally struct {
	cuts, safe, lost, reported, silent int
	example                            string // one of the lost or silent events
}

// cut cuts the power during a run, starts the agent on the remaining data, and compares the
// events that the sink receives with those of the spool. Events that their run called safe
// must arrive. Other events of earlier runs must arrive or be reported as lost.
func (r *agentRecorder) cut(disk *powerloss.Disk, run int, claimed []time.Time, spooled []spooledEvent, tally *cutTally) {
	r.t.Helper()
	dir := r.t.TempDir()
	defer os.RemoveAll(dir) //nolint:errcheck // a temporary folder
	if err := disk.Crash(dir); err != nil {
		r.t.Fatal(err)
	}
	data := filepath.Join(dir, "data")
	alive := filepath.Join(data, "sessions", "alive")
	if _, err := os.Stat(alive); err == nil { // the model does not keep modification times
		if err := os.Chtimes(alive, claimed[run], claimed[run]); err != nil {
			r.t.Fatal(err)
		}
	}
	s := newSink(r.t)
	agent := fmt.Sprintf("http://127.0.0.1:%d", freeport.For(r.t))
	port := agent[strings.LastIndex(agent, ":")+1:]
	cmd := start(r.t, agent+"/health", []string{"OSPULSE_TEST_AGENT=1"}, "/proc/self/exe", "--port", port, "--data", data, "--backend", s.url)
	wait.For(r.t, "all is delivered", func() bool {
		return slices.Equal(list(r.t, filepath.Join(data, "spool")), []string{"lock"}) &&
			!slices.ContainsFunc(list(r.t, filepath.Join(data, "sessions")), func(name string) bool { return strings.HasSuffix(name, ".json") })
	})
	kill(r.t, cmd)
	s.mu.Lock()
	defer s.mu.Unlock()
	tally.cuts++
	for _, e := range spooled {
		isSafe := e.wrote.Before(claimed[e.run])
		if isSafe {
			tally.safe++
		}
		switch {
		case s.events[e.text]:
		case isSafe:
			tally.lost++
			tally.example = e.text
		case e.run == run || strings.HasPrefix(e.text, `{"event_type":"events_lost"`) || strings.HasPrefix(e.text, `{"event_type":"session_end"`):
			// This run had not called it safe, or the agent writes it anew.
		case s.isReported(r.runs[e.run].session, e.wrote):
			tally.reported++
		default:
			tally.silent++
			tally.example = e.text
		}
	}
}

// TestFailedSyncOfTheAgentAsRoot checks that an agent whose syncs fail never calls an event
// safe that a power loss would destroy, neither in that run nor after a restart.
func TestFailedSyncOfTheAgentAsRoot(t *testing.T) {
	faults, cuts, notes, lanes, spread := 1, 6, 5, 1, 2
	if text := os.Getenv("TORTURE_ROUNDS"); text != "" {
		rounds, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		faults, cuts, notes, lanes, spread = 20*rounds, 10*rounds, 30, 4, 5
	}
	for lane := range lanes {
		t.Run(fmt.Sprint(lane), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(0, uint64(lane)))
			r := newAgentRecorder(t)
			var tally cutTally
			for n := 0; ; n++ {
				if n%3 == 0 && r.failures() >= faults/lanes {
					tally = r.cuts(cuts/lanes, 1, powerloss.Rules{})
					t.Logf("%d syncs failed in %d runs; %+v", r.failures(), len(r.runs), tally)
					// On a busy machine a run may end before anything is safe.
					if tally.safe > 0 || tally.lost > 0 || tally.silent > 0 || n >= 30*faults {
						break
					}
				}
				// Some of the syncs belong to the start, which may then fail. Of three runs, the
				// second ends in order while all syncs fail, and the third has no fault: it
				// builds on the data that the others left.
				step, notes, signal := 1+random.IntN(3), notes, os.Signal(syscall.SIGKILL)
				if n%3 == 1 {
					step, signal = 1, syscall.SIGTERM
				}
				inject := fmt.Sprintf("fsync,fdatasync:error=EIO:when=%d+%d", 4+random.IntN(spread), step)
				if n%3 == 2 {
					inject, notes = "", 8
				}
				r.run(inject, notes, signal)
				t.Logf("run %d %s: session %q, %d failures", n, inject, r.runs[n].session, r.failures())
			}
			if tally.safe == 0 || tally.lost > 0 || tally.silent > 0 {
				t.Errorf("%+v", tally)
			}
		})
	}
}
