//go:build linux

package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"ospulse/internal/ingest/spool"
	"ospulse/test/powerloss"
	"ospulse/test/wait"
)

// recorder runs the real backend under strace on one data folder, and records its
// operations on files.
type recorder struct {
	t    *testing.T
	root string // DATA_DIR is a folder in it, which the backend creates
	env  map[string]string
	ops  []powerloss.Op
	disk *powerloss.Disk // the state after ops
}

func newRecorder(t *testing.T, env map[string]string) *recorder {
	t.Helper()
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	r := &recorder{
		t: t, root: root, env: map[string]string{"DATA_DIR": filepath.Join(root, "data")},
		disk: powerloss.NewDisk(root, powerloss.Rules{}, rand.New(rand.NewPCG(0, 0))),
	}
	for name, value := range env {
		r.env[name] = value
	}
	return r
}

// run starts the backend, calls work with its URL, ends it with a signal and records
// its system calls. inject is an option of strace, or "". A start that fails because of
// a fault counts as a run.
func (r *recorder) run(inject string, signal os.Signal, work func(url string)) {
	r.t.Helper()
	log := filepath.Join(r.t.TempDir(), "strace.log")
	p := command(r.t, r.env)
	arguments := powerloss.StraceArguments(log)
	if inject != "" {
		arguments = append(arguments, "-e", "inject="+inject)
	}
	strace, err := exec.LookPath("strace")
	if err != nil {
		r.t.Fatal(err)
	}
	p.Args = append(append([]string{"strace"}, arguments...), p.Path)
	p.Path = strace
	p.WaitDelay = wait.Patience // strace, which also has the pipes, ends after the program
	stdout := &logBuffer{listening: make(chan string, 1)}
	p.Stdout = stdout
	if err := p.Start(); err != nil {
		r.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- p.Wait() }()
	select {
	case url := <-stdout.listening:
		work(url)
		if err := p.Process.Signal(signal); err != nil {
			r.t.Error(err)
		}
		err = <-ended
	case err = <-ended:
		if inject == "" {
			r.t.Fatalf("the backend does not start: %v %s", err, p.stderr.String())
		}
	case <-time.After(wait.Patience):
		r.t.Fatal("the backend does not listen: ", stdout.String())
	}
	if signal == syscall.SIGTERM && inject == "" && err != nil {
		r.t.Errorf("the backend ended with %v: %s", err, p.stderr.String())
	}
	file, err := os.Open(log)
	if err != nil {
		r.t.Fatal(err)
	}
	defer file.Close()
	ops, err := powerloss.Parse(file, r.root)
	if err != nil {
		r.t.Fatal(err)
	}
	r.apply(ops)
	diff, err := r.disk.Diff("-shm") // mapped, and recreated after a power loss
	if err != nil {
		r.t.Fatal(err)
	}
	if signal == syscall.SIGTERM && len(diff) > 0 {
		r.t.Fatalf("the recorded calls do not make the files what they are: %d differences, the first one in %s", len(diff), diff[0].Path)
	}
	r.apply(diff)
}

func (r *recorder) apply(ops []powerloss.Op) {
	r.t.Helper()
	for _, op := range ops {
		if err := r.disk.Apply(op); err != nil {
			r.t.Fatal(err)
		}
	}
	r.ops = append(r.ops, ops...)
}

// failures returns the number of failed syncs.
func (r *recorder) failures() int {
	n := 0
	for _, op := range r.ops {
		if op.Kind == powerloss.SyncEnd && op.Failed {
			n++
		}
	}
	return n
}

// cuts replays the runs on a model of the disk and calls check at about n moments with
// a copy of DATA_DIR as a power loss would leave it and the IDs of the requests that
// were acknowledged before. Half of the moments are right after acknowledgements, where
// most can be lost.
func (r *recorder) cuts(n int, rules powerloss.Rules, seed uint64, check func(dir string, acked []string)) {
	r.t.Helper()
	random := rand.New(rand.NewPCG(seed, 0))
	answers := 0
	for _, op := range r.ops {
		if acknowledged(op) != "" {
			answers++
		}
	}
	disk := powerloss.NewDisk(r.root, rules, random)
	var acked []string
	for _, op := range r.ops {
		if err := disk.Apply(op); err != nil {
			r.t.Fatal(err)
		}
		share := float64(n) / 2 / float64(len(r.ops))
		if id := acknowledged(op); id != "" {
			acked = append(acked, id)
			share += float64(n) / 2 / float64(answers)
		}
		for ; share > 0; share-- {
			if random.Float64() < share {
				r.cut(disk, acked, check)
			}
		}
	}
}

func (r *recorder) cut(disk *powerloss.Disk, acked []string, check func(dir string, acked []string)) {
	r.t.Helper()
	dir, err := os.MkdirTemp("", "powerloss-")
	if err != nil {
		r.t.Fatal(err)
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a temporary folder
	if err := disk.Crash(dir); err != nil {
		r.t.Fatal(err)
	}
	check(filepath.Join(dir, "data"), acked)
}

// acknowledged returns the ID of the request if the operation is an answer that
// acknowledges it, else "".
func acknowledged(op powerloss.Op) string {
	answer := op.Data
	if op.Kind != powerloss.Answer || !bytes.HasPrefix(answer, []byte("HTTP/1.1 200 ")) && !bytes.HasPrefix(answer, []byte("HTTP/1.1 202 ")) {
		return ""
	}
	_, rest, _ := bytes.Cut(answer, []byte("X-Request-Id: "))
	id, _, _ := bytes.Cut(rest, []byte("\r"))
	if bytes.HasPrefix(id, []byte("ack-")) {
		return string(id)
	}
	return ""
}

// writers send events, batches and uploads from several clients until stop returns
// true. The ID of each request identifies what it stores: ack-e-NAME an event,
// ack-b-NAME a batch of two with a key, ack-u-NAME a session with a file.
type writers struct {
	acked   atomic.Int64 // answers with 200 or 202
	refused atomic.Int64 // other answers
}

func (w *writers) run(url string, round int, stop func() bool) {
	var clients sync.WaitGroup
	client := &http.Client{Timeout: 40 * time.Second}
	for c := range 6 {
		clients.Go(func() {
			for n := 0; !stop(); n++ {
				name := fmt.Sprintf("%d.%d.%d", round, c, n)
				var status int
				switch {
				case n%5 == 4:
					status = w.send(client, url+"/api/create-session", "ack-u-"+name, uploadBody(name), "multipart/form-data; boundary=b")
				case n%4 == 3:
					status = w.send(client, url+"/api/events/batch", "ack-b-"+name, `[{"event_type":"x","source":"`+name+`"},{"event_type":"x","source":"`+name+`+"}]`, "application/json")
				default: // several pages
					status = w.send(client, url+"/api/events", "ack-e-"+name, `{"event_type":"x","source":"`+name+`","data":"`+strings.Repeat(name, 1000)+`"}`, "application/json")
				}
				switch status {
				case http.StatusOK, http.StatusAccepted:
					w.acked.Add(1)
				case 0:
					return // the backend has ended
				default:
					w.refused.Add(1)
				}
			}
		})
	}
	clients.Wait()
}

func uploadBody(name string) string {
	return "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"" + name + "\"\r\nContent-Type: application/octet-stream\r\n\r\n" + fileContent(name) + "\r\n--b--\r\n"
}

// fileContent returns several pages, the same for several uploads.
func fileContent(name string) string { return strings.Repeat(name[len(name)-2:], 5000) }

// send returns the status of the answer, or 0 without one.
func (w *writers) send(client *http.Client, url, id, body, contentType string) int {
	request, err := http.NewRequestWithContext(context.Background(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return 0
	}
	request.Header.Set("Content-Type", contentType)
	request.Header.Set("X-Request-Id", id)
	if strings.HasPrefix(id, "ack-b-") {
		request.Header.Set("Idempotency-Key", id)
	}
	response, err := client.Do(request)
	if err != nil {
		return 0
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return 0
	}
	return response.StatusCode
}

// until returns a function that stops writers after n more acknowledgements, or as many
// refusals: a backend whose disk fails may acknowledge nothing.
func (w *writers) until(n int64) func() bool {
	acked, refused := w.acked.Load(), w.refused.Load()
	return func() bool { return w.acked.Load() >= acked+n || w.refused.Load() >= refused+n }
}

// lostIn starts the real backend on the remains of a power loss, and returns the
// acknowledged requests whose data is missing or duplicated.
func lostIn(t testing.TB, dir string, acked []string) (lost []string) {
	t.Helper()
	b := startBackend(t, map[string]string{"DATA_DIR": dir})
	defer b.stop()
	waitForDrain(t, b)
	times := map[string]int{}
	last := map[string]int64{}
	for _, e := range b.export("") {
		times[e.Source]++
		if last[e.SessionID]++; e.Seq != last[e.SessionID] {
			lost = append(lost, fmt.Sprintf("%s has seq %d after %d", e.SessionID, e.Seq, last[e.SessionID]-1))
		}
	}
	for name, n := range times {
		if n > 1 {
			lost = append(lost, name+" is there twice")
		}
	}
	for _, id := range acked {
		kind, name := id[len("ack-"):len("ack-x")], id[len("ack-x-"):]
		there := times[name] == 1
		switch kind {
		case "b":
			there = there && times[name+"+"] == 1
		case "u":
			there = b.hasUpload(dir, name)
		}
		if !there {
			lost = append(lost, id)
		}
	}
	return lost
}

// hasUpload reports whether the session of an upload and its file exist.
func (b *backend) hasUpload(dir, name string) bool {
	b.t.Helper()
	var list struct {
		Sessions []struct {
			FileName string `json:"file_name"`
		}
	}
	b.decode(b.send("GET", "/api/sessions?limit=500&file="+name, ""), http.StatusOK, &list)
	isThere := false
	for _, session := range list.Sessions {
		isThere = isThere || session.FileName == name // the query also matches names that contain this one
	}
	return isThere && hasFile(dir, name)
}

// hasFile reports whether the file of an upload exists.
func hasFile(dir, name string) bool {
	hash := fmt.Sprintf("%x", sha256.Sum256([]byte(fileContent(name))))
	content, err := os.ReadFile(filepath.Join(dir, "files", hash[:2], hash))
	return err == nil && string(content) == fileContent(name)
}

// wantNothingLost cuts the power at n moments.
func (r *recorder) wantNothingLost(n int, seed uint64, lostIn func(t testing.TB, dir string, acked []string) []string) {
	r.t.Helper()
	made, most, wrong := 0, 0, 0
	r.cuts(n, powerloss.Rules{}, seed, func(dir string, acked []string) {
		made++
		most = max(most, len(acked))
		if lost := lostIn(r.t, dir, acked); len(lost) > 0 {
			wrong++
			r.t.Errorf("seed %d, cut %d: of %d acknowledged requests are lost or wrong: %.500q", seed, made, len(acked), lost)
		}
	})
	r.t.Logf("%d operations, %d failed syncs, %d cuts with seed %d, up to %d acknowledged requests: %d cuts lose any", len(r.ops), r.failures(), made, seed, most, wrong)
}

// TestPowerLossLosesNothing checks that, after a power loss at any moment, every
// acknowledged event and file exists once. Before the power loss, the backend is
// killed, started again and stopped.
func TestPowerLossLosesNothing(t *testing.T) {
	t.Parallel()
	r := newRecorder(t, nil)
	w := &writers{}
	for round, signal := range []os.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		r.run("", signal, func(url string) { w.run(url, round, w.until(150)) })
	}
	r.wantNothingLost(cutsOrFaults(t), 1, lostIn)

	// The same calls on a disk that ignores syncs must lose data.
	for name, rules := range map[string]powerloss.Rules{"syncs": {IgnoreSyncs: true}, "syncs of folders": {IgnoreDirSyncs: true}} {
		isFound := false
		r.cuts(20, rules, 1, func(dir string, acked []string) {
			isFound = isFound || fails(t, func(t testing.TB) { // one failing run is enough
				if lost := lostIn(t, dir, acked); len(lost) > 0 {
					t.Fatal(lost)
				}
			})
		})
		if !isFound {
			t.Errorf("without %s nothing is lost: the test would not find a mistake", name)
		}
	}
}

// cutsOrFaults is the number of power cuts or faults: few in the suite, 1000 in `make
// torture`.
func cutsOrFaults(t *testing.T) int { return max(50*rounds(t, 0), 18) }

// fails reports whether a test fails.
func fails(t *testing.T, test func(t testing.TB)) bool {
	f := &failing{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		test(f)
	}()
	<-done
	return f.failed
}

// failing records a failure without failing the enclosing test.
type failing struct {
	testing.TB
	failed bool
}

func (f *failing) Error(...any)          { f.failed = true }
func (f *failing) Errorf(string, ...any) { f.failed = true }
func (f *failing) Failed() bool          { return false } // no log
func (f *failing) Fatal(...any)          { f.failed = true; runtime.Goexit() }
func (f *failing) Fatalf(string, ...any) { f.failed = true; runtime.Goexit() }

// faults returns an strace option that makes syncs of a run fail, and the number of
// answers after which the run ends. strace counts the calls of each thread. Of four
// runs, the first one fails at its start, the second one now and then, the third one
// from some moment on until it is killed, and the last one never: its acknowledgements
// build on the remains of the third one.
func faults(round int, random *rand.Rand) (inject string, answers int64) {
	first, step := 20+random.IntN(20), 1+random.IntN(3)
	switch round % 4 {
	case 0:
		first = 1 + random.IntN(15)
	case 2:
		step = 1
	case 3:
		return "", 100
	}
	return fmt.Sprintf("fsync,fdatasync:error=EIO:when=%d+%d", first, step), 200
}

// TestFailedSyncIsNotAcknowledged checks that, while syncs fail at any moment, no
// acknowledged data can be lost in a power loss, neither then nor after the backend was
// killed and started again.
func TestFailedSyncIsNotAcknowledged(t *testing.T) {
	t.Parallel()
	const seed = 1
	random := rand.New(rand.NewPCG(seed, 0))
	r := newRecorder(t, nil)
	w := &writers{}
	for round := 0; r.failures() < cutsOrFaults(t) || round%4 != 0; round++ {
		inject, answers := faults(round, random)
		r.run(inject, syscall.SIGKILL, func(url string) { w.run(url, round, w.until(answers)) })
	}
	for seed := range uint64(3) { // each seed writes other pages of a failed sync to the disk
		r.wantNothingLost(cutsOrFaults(t)/3, seed, lostIn)
	}
	t.Logf("%d requests were acknowledged, %d were not", w.acked.Load(), w.refused.Load())
}

// TestFailedSyncOfTheSpoolIsNotAcknowledged checks the same for the spool, while
// PostgreSQL is stopped.
func TestFailedSyncOfTheSpoolIsNotAcknowledged(t *testing.T) {
	t.Parallel()
	const seed = 2
	random := rand.New(rand.NewPCG(seed, 0))
	_, url := startPostgres(t)
	startBackend(t, map[string]string{"DATABASE_URL": url}).stop() // creates the tables
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	for _, statement := range []string{"BEGIN", "LOCK TABLE events IN SHARE MODE"} {
		if _, err := conn.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	r := newRecorder(t, map[string]string{"DATABASE_URL": url})
	w := &writers{}
	for round := 0; r.failures() < cutsOrFaults(t) || round%4 != 0; round++ {
		inject, answers := faults(round, random)
		r.run(inject, syscall.SIGKILL, func(url string) { w.run(url, round, w.until(answers)) })
	}
	for seed := range uint64(3) {
		r.wantNothingLost(cutsOrFaults(t)/3, seed, lostInSpool)
	}
	t.Logf("%d requests were acknowledged, %d were not", w.acked.Load(), w.refused.Load())
}

// lostInSpool is lostIn for a backend with all its events in the spool.
func lostInSpool(t testing.TB, dir string, acked []string) (lost []string) {
	t.Helper()
	times := map[string]int{}
	if _, err := os.Stat(dir); err == nil || len(acked) > 0 {
		times = spooledEvents(t, filepath.Join(dir, "spool"))
	}
	for _, id := range acked {
		kind, name := id[len("ack-"):len("ack-x")], id[len("ack-x-"):]
		if kind == "u" && !hasFile(dir, name) || kind != "u" && times[name] != 1 || kind == "b" && times[name+"+"] != 1 {
			lost = append(lost, id)
		}
	}
	return lost
}

// spooledEvents empties a spool and counts its events by their source.
func spooledEvents(t testing.TB, dir string) map[string]int {
	t.Helper()
	s, err := spool.Open(t.Context(), dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	times := map[string]int{}
	for {
		group, last, err := s.Oldest(t.Context(), 1000)
		if err != nil {
			t.Fatal(err)
		}
		if len(group.Batches) == 0 {
			return times
		}
		for _, batch := range group.Batches {
			for _, event := range batch.Events {
				times[event.Source]++
			}
		}
		if err := s.Drop(t.Context(), last); err != nil {
			t.Fatal(err)
		}
	}
}
