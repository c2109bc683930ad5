package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"

	"ospulse/internal/models"
	"ospulse/test/testbed"
)

const (
	recordFolder  = "/tmp/" + folderPlaceholder // work folder of the activities; its name is in the events
	recordTimeout = 10 * time.Minute            // of an activity
)

// activityHead waits until the session watches the shell. The activity ends at the first
// error, with all that it started.
const activityHead = `set -eu
read -r _
exec </dev/null
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
`

// record runs each activity of testdata, NAME.sh, in a session of the real agent and
// stores the agent's events as NAME.ndjson.zst in dir. It needs root.
func record(ctx context.Context, dir string, progress io.Writer) (err error) {
	scripts, err := filepath.Glob(filepath.Join(dir, "*.sh"))
	if err == nil && len(scripts) == 0 {
		err = fmt.Errorf("%s has no activities (*.sh)", dir)
	}
	if err != nil {
		return err
	}
	if err := os.Mkdir(recordFolder, 0o755); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(recordFolder)) }()
	programs, err := os.MkdirTemp("", "bench-record-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(programs)) }()
	binary, err := testbed.Build(ctx, programs, "ospulse-agent", "ospulse/agent")
	if err != nil {
		return err
	}
	for _, script := range scripts {
		events, err := recordActivity(ctx, programs, binary, script)
		if err != nil {
			return fmt.Errorf("record %s: %w", script, err)
		}
		if filepath.Base(script) == httpFlows+".sh" {
			events = flowsOf(events)
		}
		packed, err := compress(events, zstd.SpeedBestCompression, zstd.MaxWindowSize>>3)
		if err != nil {
			return err
		}
		path := corpusPath(script)
		if err := os.WriteFile(path, packed, 0o644); err != nil {
			return err
		}
		_, err = fmt.Fprintf(progress, "%s: %d events, %d bytes, %d compressed\n", path, bytes.Count(events, []byte("\n")), len(events), len(packed))
		if err != nil {
			return err
		}
	}
	return nil
}

// corpusPath returns the path of an activity's events.
func corpusPath(script string) string { return strings.TrimSuffix(script, ".sh") + ".ndjson.zst" }

// flowsOf returns the HTTP flows of events.
func flowsOf(events []byte) []byte {
	var flows []byte
	for line := range bytes.Lines(events) {
		if bytes.HasPrefix(line, []byte(`{"event_type":"`+models.TypeHTTP+`"`)) {
			flows = append(flows, line...)
		}
	}
	return flows
}

// compress returns a text as one frame of zstd.
func compress(text []byte, level zstd.EncoderLevel, windowBytes int) ([]byte, error) {
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(level), zstd.WithWindowSize(windowBytes), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	defer encoder.Close()
	return encoder.EncodeAll(text, nil), nil
}

// recordActivity returns the events of a script, in a session of mode 2 of its own agent.
func recordActivity(ctx context.Context, temporary, agent, script string) (events []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, recordTimeout)
	defer cancel()
	script, err = filepath.Abs(script)
	if err != nil {
		return nil, err
	}
	name := strings.TrimSuffix(filepath.Base(script), ".sh")
	home := filepath.Join(recordFolder, name)
	if err := os.Mkdir(home, 0o755); err != nil {
		return nil, err
	}
	received := &recorder{ended: make(chan struct{})}
	sink, err := serveLocal(ctx, received)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, sink.close()) }()
	dir, err := os.MkdirTemp(temporary, "agent-")
	if err != nil {
		return nil, err
	}
	arguments := []string{"--backend", sink.url, "--port", "0", "--data", filepath.Join(dir, "data"), "--log-format", "json"}
	if name != httpFlows && !slices.Contains(programs, name) { // a recording for tests of rules, which need no contents
		arguments = append(arguments, "--content", "0")
	}
	watcher, err := testbed.Start(ctx, dir, nil, agent, arguments...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, watcher.Stop()) }()

	text, err := os.ReadFile(script)
	if err != nil {
		return nil, err
	}
	shell := exec.CommandContext(ctx, "/bin/bash", "-c", activityHead+string(text))
	shell.Dir = home
	shell.Env = []string{"PATH=/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + home, "TMPDIR=" + home, "LANG=C.UTF-8"}
	output, err := os.Create(filepath.Join(dir, "output"))
	if err != nil {
		return nil, err
	}
	defer output.Close()
	shell.Stdout, shell.Stderr = output, output
	input, err := shell.StdinPipe()
	if err == nil {
		err = shell.Start()
	}
	if err != nil {
		return nil, err
	}
	start := map[string]any{"sessionId": filepath.Base(home), "mode": 2, "processes": []int{shell.Process.Pid}}
	err = testbed.Post(ctx, watcher.URL+"/api/start-monitor", start)
	if err == nil {
		_, err = io.WriteString(input, "go\n")
	}
	err = errors.Join(err, input.Close(), shell.Wait())
	if err != nil {
		said, _ := os.ReadFile(output.Name())
		said = said[max(0, len(said)-2000):]
		return nil, fmt.Errorf("%w; it said:\n%s", err, said)
	}
	select { // the agent ends the session itself
	case <-received.ended:
		return received.text, nil
	case <-ctx.Done():
		return nil, errors.New("the session has no end")
	}
}

// recorder is a backend that keeps the agent's events as they are posted.
type recorder struct {
	mu    sync.Mutex
	text  []byte
	ended chan struct{} // closed after the last event
}

func (r *recorder) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	if request.URL.Path != batchPath {
		http.NotFound(w, request)
		return
	}
	body, err := io.ReadAll(request.Body)
	if err == nil && request.Header.Get("Content-Encoding") == "zstd" {
		body, err = decompress(body)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for line := range bytes.Lines(body) {
		r.text = append(append(r.text, bytes.TrimSuffix(line, []byte("\n"))...), '\n')
	}
	if bytes.Contains(body, []byte(`{"event_type":"session_end"`)) {
		close(r.ended)
	}
	_, _ = io.WriteString(w, "{}") // an agent without the answer sends the batch again
}

// decompress returns the text of one or more frames of zstd.
func decompress(packed []byte) ([]byte, error) {
	decoder, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	defer decoder.Close()
	return decoder.DecodeAll(packed, nil)
}
