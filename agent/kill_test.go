//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"ospulse/agent/internal/config"
	"ospulse/agent/internal/sandbox"
	"ospulse/test/freeport"
	"ospulse/test/wait"
)

// busyScript writes one file after the other, forever.
const busyScript = `i=0
while :; do
	echo $i >n$i
	i=$((i+1))
	[ $((i%1000)) = 0 ] && sleep 0.1
done
`

// kill sends SIGKILL to a process and waits for its end.
func kill(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // the error is that it was killed
}

// TestKilledAgentAsRoot kills the backend and then the agent, both with SIGKILL, while a
// sample is busy. It checks that every event that had left the agent's memory arrives
// once; that the sample is dead and leaves nothing behind; and that the session reports the
// cut and the start of the gap. On a machine so busy that the ring buffer overruns, the
// session's losses must account for each missing event.
func TestKilledAgentAsRoot(t *testing.T) {
	backendPort, agentPort := freeport.For(t), freeport.For(t)
	backend, agent := fmt.Sprintf("http://127.0.0.1:%d", backendPort), fmt.Sprintf("http://127.0.0.1:%d", agentPort)
	program, backendData, data := buildBackend(t), t.TempDir(), t.TempDir()
	startBackend := func() *exec.Cmd {
		return start(t, backend+"/api/health", []string{
			fmt.Sprint("PORT=", backendPort), "DATA_DIR=" + backendData, "AGENT_SERVICE_URL=" + agent, "DATABASE_URL=",
		}, program)
	}
	startAgent := func() *exec.Cmd {
		return start(t, agent+"/health", []string{"OSPULSE_TEST_AGENT=1"}, "/proc/self/exe", "--port", fmt.Sprint(agentPort), "--data", data, "--backend", backend)
	}
	type status struct {
		Sessions int `json:"active_sessions"`
		Delivery struct {
			Delivered, Lost int
			Queued          int `json:"queued_events"`
			Spooled         int `json:"spooled_events"`
		}
	}
	health := func() (s status) {
		call(t, "GET", agent+"/health", "", nil, &s)
		return s
	}

	backendProcess, agentProcess := startBackend(), startAgent()
	began, session := time.Now(), upload(t, backend, "busy.sh", busyScript)
	var answer map[string]any
	callJSON(t, backend+"/api/start-monitor", map[string]any{"sessionId": session, "mode": 3}, &answer)
	wait.For(t, "events are delivered", func() bool { return health().Delivery.Delivered > 5000 })
	sample := sampleOf(t, events(t, backend, session))
	kill(t, backendProcess)
	wait.For(t, "events are in the spool", func() bool { return health().Delivery.Spooled > 5000 })
	before := health()
	kill(t, agentProcess)
	killed := time.Now()

	wait.For(t, "the sample is dead", func() bool { return len(processesOf(t, sample.user)) == 0 })
	startBackend()
	startAgent()
	wait.For(t, "all is delivered", func() bool {
		s := health()
		return s.Delivery.Delivered > 0 && s.Delivery.Queued+s.Delivery.Spooled == 0
	})
	all := events(t, backend, session)

	// The session has every safe event once, without a gap before the last one.
	if safe := before.Delivery.Delivered + before.Delivery.Spooled; len(all) < safe {
		t.Errorf("the session has %d events; %d were safe", len(all), safe)
	}
	files := openedFiles(all)
	if len(files) == 0 {
		t.Fatal("no file")
	}
	if same := slices.Compact(slices.Clone(files)); len(same) != len(files) {
		t.Errorf("%d files have %d events", len(same), len(files))
	}
	missing := files[len(files)-1] + 1 - len(files)

	// The session has one session_end and one gap.
	var ends, lost []sessionEvent
	for _, e := range all {
		switch e.Type {
		case "session_end":
			ends = append(ends, e)
		case "events_lost":
			lost = append(lost, e)
		}
	}
	t.Logf("%d events, %d files, %d missing, losses: %s", len(all), len(files), missing, lost)
	if len(ends) != 1 || !strings.Contains(string(ends[0].Data), `"reason":"agent_restarted"`) || !strings.Contains(string(ends[0].Data), session) {
		t.Errorf("session_end: %s", ends)
	}
	type loss struct {
		Reason   string
		Count    int
		From, To time.Time
	}
	var gaps []loss
	reasons, counted := map[string]bool{}, 0
	for _, e := range lost {
		var l loss
		if err := json.Unmarshal(e.Data, &l); err != nil {
			t.Fatal(err)
		}
		reasons[l.Reason] = true
		if l.Reason == "agent_killed" {
			gaps = append(gaps, l)
		} else {
			counted += l.Count
		}
	}
	if missing > counted {
		t.Errorf("%d files are missing, but only %d events are reported as lost: %s", missing, counted, lost)
	}
	if len(gaps) != 1 || gaps[0].From.Before(began) || gaps[0].From.After(killed) || gaps[0].To.Before(killed) {
		t.Fatalf("the gaps are %+v, the agent was killed at %s", gaps, killed)
	}
	// The sample is never idle for 10 s, even on a busy machine. What the sensor had not read
	// yet is in the gap.
	if last := lastTime(t, all); last.Before(gaps[0].From.Add(-10 * time.Second)) {
		t.Errorf("the last event is at %s, the gap starts at %s", last, gaps[0].From)
	}
	var details struct {
		Completeness struct {
			Complete bool
			Losses   []struct{ Reason string }
		}
	}
	call(t, "GET", backend+"/api/sessions/"+session, "", nil, &details)
	for _, l := range details.Completeness.Losses {
		delete(reasons, l.Reason)
	}
	if details.Completeness.Complete || len(reasons) > 0 {
		t.Errorf("the backend reports %+v, without the reasons %v", details.Completeness, reasons)
	}

	// The agent has removed all traces of the session.
	wait.For(t, "the cgroups are gone", func() bool { return len(cgroups(t, sample.cgroup)) == 0 })
	wait.For(t, "the journal is empty", func() bool { return slices.Equal(list(t, filepath.Join(data, "sessions")), []string{"alive"}) })
	wait.For(t, "the spool is empty", func() bool { return slices.Equal(list(t, filepath.Join(data, "spool")), []string{"lock"}) })
	if got := list(t, data); !slices.Equal(got, []string{"sessions", "spool", "starts", "uploads"}) {
		t.Errorf("the data folder has %q", got)
	}
	if s := health(); s.Sessions != 0 || s.Delivery.Lost != 0 {
		t.Errorf("the agent reports %+v", s)
	}

	// A client can stop the session, and start the file again.
	callJSON(t, backend+"/api/monitor/stop", map[string]any{"sessionId": session}, &answer)
	second := upload(t, backend, "busy.sh", "exit 0")
	callJSON(t, backend+"/api/start-monitor", map[string]any{"sessionId": second, "mode": 3}, &answer)
	callJSON(t, backend+"/api/monitor/stop", map[string]any{"sessionId": second}, &answer)
}

// sample identifies a spawned program.
type sample struct {
	user   int
	cgroup string // its name; "": none
}

// sampleOf returns the sample that session_start reports.
func sampleOf(t *testing.T, all []sessionEvent) (s sample) {
	t.Helper()
	i := slices.IndexFunc(all, func(e sessionEvent) bool { return e.Type == "session_start" })
	if i < 0 {
		t.Fatal("no session_start")
	}
	var data struct {
		PID int `json:"processId"`
	}
	if err := json.Unmarshal(all[i].Data, &data); err != nil {
		t.Fatal(err)
	}
	s.user = userOf(fmt.Sprint(data.PID))
	if s.user < 1_900_000_000 {
		t.Fatalf("the sample is user %d", s.user)
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", data.PID))
	if err != nil {
		t.Fatal(err)
	}
	s.cgroup = regexp.MustCompile(`session-\d+-[a-z0-9]+\.scope`).FindString(string(text))
	if limits := sandbox.Check().Limits; limits.OK && len(cgroups(t, s.cgroup)) == 0 {
		t.Fatalf("the sample has no separate cgroup: %s", text)
	}
	return s
}

// userOf returns the user of a process, or -1 if it is gone.
func userOf(pid string) int {
	text, err := os.ReadFile("/proc/" + pid + "/status")
	if err != nil {
		return -1
	}
	_, rest, _ := strings.Cut(string(text), "\nUid:")
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return -1
	}
	user, err := strconv.Atoi(fields[0])
	if err != nil {
		return -1
	}
	return user
}

// processesOf returns the processes of a user.
func processesOf(t *testing.T, user int) (pids []string) {
	t.Helper()
	for _, name := range list(t, "/proc") {
		if _, err := strconv.Atoi(name); err == nil && userOf(name) == user {
			pids = append(pids, name)
		}
	}
	return pids
}

// cgroups returns the cgroups with a name, in all hierarchies.
func cgroups(t *testing.T, name string) (paths []string) {
	t.Helper()
	err := filepath.WalkDir("/sys/fs/cgroup", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() && entry.Name() == name {
			paths = append(paths, path)
		}
		return nil // other cgroups may vanish meanwhile
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

func list(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

// openedFiles returns the numbers of the files that busyScript created, sorted.
func openedFiles(all []sessionEvent) (numbers []int) {
	path := regexp.MustCompile(`"operation":"(?:Create|Open)File".*"filePath":"[^"]*/n(\d+)"`)
	for _, e := range all {
		if e.Type != "file_operation" {
			continue
		}
		if m := path.FindSubmatch(e.Data); m != nil {
			n, _ := strconv.Atoi(string(m[1])) // it has digits only
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	return numbers
}

// lastTime returns the time of the last event that a program caused.
func lastTime(t *testing.T, all []sessionEvent) (last time.Time) {
	t.Helper()
	for _, e := range all {
		if e.Type != "file_operation" {
			continue
		}
		var data struct{ Timestamp time.Time }
		if err := json.Unmarshal(e.Data, &data); err != nil {
			t.Fatal(err)
		}
		if data.Timestamp.After(last) {
			last = data.Timestamp
		}
	}
	return last
}

// TestGapBeginsWhereTheSensorIs checks the time that the next run takes for the beginning of
// the gap: events that the sensor has not passed on yet are in it.
func TestGapBeginsWhereTheSensorIs(t *testing.T) {
	cfg, err := config.Load([]string{"--backend", "http://127.0.0.1:1", "--data", t.TempDir(), "--packets=false"}, func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	eyes, sensed := procEyes(cfg, log, nil), time.Now().Add(-time.Hour)
	eyes.sensed = func() time.Time { return sensed }
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- serveOn(ctx, cfg, log, listener, eyes, nil, "no sandbox", time.Now()) }()
	wait.For(t, "the journal has the sensor's time", func() bool {
		info, err := os.Stat(filepath.Join(cfg.DataDir, "sessions", "alive"))
		return err == nil && info.ModTime().Equal(sensed.Add(-sensorLag))
	})
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
