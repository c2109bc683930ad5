//go:build linux

package attacks

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"ospulse/test/wait"
)

// The addresses of the two machines, as README has them.
const (
	analysis  = "192.0.2.1"
	monitored = "192.0.2.7"
)

// TestTwoMachinesAsRoot sets up an analysis machine and a monitored machine with the commands
// of README: TLS, a key for a person, and one for the agent, which fetches its work. A sample
// runs on the monitored machine, and the analysis machine shows what it does. The machines are
// network namespaces.
func TestTwoMachinesAsRoot(t *testing.T) {
	if err := build(); err != nil {
		t.Fatal(err)
	}
	machine, agent := secondMachine(t), filepath.Join(folder, "ospulse-agent")
	settings := []string{"HOST=" + analysis, "TLS=self-signed", "DATA_DIR=" + t.TempDir(), "AGENT_POLL_INTERVAL=1s", "COMMIT_TIMEOUT=10m", "LOG_FORMAT=json",
		"AGENT_SERVICE_URL=http://127.0.0.1:1", // not the agent of another test, which may be at the default port
	}
	backend := filepath.Join(folder, "ospulse-backend")
	admin := output(t, settings, backend, "keys", "create", "--role", "admin")
	launch(t, &syncBuffer{}, settings, backend)
	enroll := strings.Fields(output(t, settings, backend, "agents", "add", "lab-vm"))
	if len(enroll) != 6 || enroll[0] != "ospulse-agent" || enroll[2] != "https://"+analysis+":3003" || enroll[4] != "--backend-fingerprint" {
		t.Fatalf("the command for the monitored machine is %q", enroll)
	}
	fingerprint, data := enroll[5], t.TempDir()
	onMachine := append([]string{machine, agent}, enroll[1:]...)
	wait.For(t, "the agent to be enrolled", func() bool { // the backend may not listen yet
		_, err := try(t, []string{"DATA_DIR=" + data}, "nsenter", append(onMachine, "--data", data)...)
		return err == nil
	})
	if info, err := os.Stat(filepath.Join(data, "enrollment.json")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the agent's key is in %v, %v: others can read it", info, err)
	}
	if text, err := try(t, nil, "nsenter", append(onMachine, "--data", t.TempDir())...); err == nil || !strings.Contains(text, "used before") {
		t.Errorf("the token works twice: %v %s", err, text)
	}
	log := &syncBuffer{}
	launch(t, log, []string{"DATA_DIR=" + data}, "nsenter", machine, agent)
	wait.For(t, "the agent", func() bool { return strings.Contains(log.String(), "msg=ready") })
	if listens := output(t, nil, "nsenter", machine, "ss", "-Htln"); listens != "" {
		t.Errorf("the monitored machine listens: %s", listens)
	}

	client := pinned(t, fingerprint)
	call := func(method, path, kind string, body io.Reader, key string, into any) int {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), method, "https://"+analysis+":3003"+path, body)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", kind)
		request.Header.Set("Authorization", "Bearer "+key)
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if err := json.NewDecoder(response.Body).Decode(into); err != nil {
			t.Fatal(err)
		}
		return response.StatusCode
	}
	wait.For(t, "the agent of the other machine", func() bool {
		var health struct {
			Agent struct{ Status string }
		}
		call("GET", "/api/health", "", http.NoBody, admin, &health)
		return health.Agent.Status == "up"
	})
	var created struct{ SessionID string }
	kind, form := sampleForm(t, "#!/bin/sh\necho hello > /tmp/from-the-sample\n")
	if status := call("POST", "/api/create-session", kind, form, admin, &created); status != http.StatusOK {
		t.Fatalf("upload: %d", status)
	}
	var started map[string]any
	body := strings.NewReader(`{"sessionId":"` + created.SessionID + `","mode":3}`)
	if status := call("POST", "/api/start-monitor", "application/json", body, admin, &started); status != http.StatusOK {
		t.Fatalf("start: %d %v", status, started)
	}
	wait.For(t, "the end of the session", func() bool {
		var s session
		call("GET", "/api/sessions/"+created.SessionID, "", http.NoBody, admin, &s)
		return s.State == "ended"
	})
	var found struct{ Events []json.RawMessage }
	call("GET", "/api/sessions/"+created.SessionID+`/events?filter=target:*from-the-sample`, "", http.NoBody, admin, &found)
	if len(found.Events) == 0 {
		t.Error("the analysis machine does not show what the sample did")
	}
	var enrollment struct{ Key string }
	text, err := os.ReadFile(filepath.Join(data, "enrollment.json"))
	if err == nil {
		err = json.Unmarshal(text, &enrollment)
	}
	if err != nil {
		t.Fatal(err)
	}
	var refused struct{ Code string }
	if status := call("GET", "/api/sessions", "", http.NoBody, enrollment.Key, &refused); status != http.StatusForbidden {
		t.Errorf("with the agent's key a program reads sessions: %d %+v", status, refused)
	}
}

// secondMachine makes a network namespace that is connected with the one of the tests, and
// returns the argument with which nsenter enters it.
func secondMachine(t *testing.T) string {
	t.Helper()
	holder := exec.CommandContext(t.Context(), "unshare", "--net", "sleep", "infinity")
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = holder.Process.Kill() // it sleeps for ever
		_ = holder.Wait()
	})
	pid := strconv.Itoa(holder.Process.Pid)
	own, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	wait.For(t, "the network of the second machine", func() bool {
		other, err := os.Readlink("/proc/" + pid + "/ns/net")
		return err == nil && other != own
	})
	enter := "--net=/proc/" + pid + "/ns/net"
	for _, command := range [][]string{
		{"ip", "link", "add", "osp0", "type", "veth", "peer", "name", "osp1", "netns", pid},
		{"ip", "address", "add", analysis + "/24", "dev", "osp0"},
		{"ip", "link", "set", "osp0", "up"},
		{"nsenter", enter, "ip", "address", "add", monitored + "/24", "dev", "osp1"},
		{"nsenter", enter, "ip", "link", "set", "osp1", "up"},
		{"nsenter", enter, "ip", "link", "set", "lo", "up"},
	} {
		if out, err := exec.CommandContext(t.Context(), command[0], command[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", command, err, out)
		}
	}
	return enter
}

// output runs a command and returns what it prints.
func output(t *testing.T, env []string, program string, arguments ...string) string {
	t.Helper()
	text, err := try(t, env, program, arguments...)
	if err != nil {
		t.Fatalf("%s %v: %v: %s", program, arguments, err, text)
	}
	return text
}

// try is output for a command that may fail. Then it returns what the command says about it.
func try(t *testing.T, env []string, program string, arguments ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, arguments...)
	cmd.Env, cmd.Dir = append([]string{"PATH=" + os.Getenv("PATH")}, env...), t.TempDir()
	var faults bytes.Buffer
	cmd.Stderr = &faults
	out, err := cmd.Output()
	if err != nil {
		return faults.String(), err
	}
	return strings.TrimSpace(string(out)), nil
}

// launch starts a program until the test ends.
func launch(t *testing.T, log *syncBuffer, env []string, program string, arguments ...string) {
	t.Helper()
	cmd := exec.Command(program, arguments...)
	cmd.Env, cmd.Dir = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=/root"}, env...), t.TempDir()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt) // it may have ended
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s ended: %v", program, err)
		}
		if t.Failed() {
			t.Logf("%s:\n%s", program, log)
		}
	})
}

// pinned returns a client that trusts only the certificate with the fingerprint.
func pinned(t *testing.T, fingerprint string) *http.Client {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: &tls.Config{
		InsecureSkipVerify: true, //nolint:gosec // VerifyConnection compares the fingerprint
		VerifyConnection: func(state tls.ConnectionState) error {
			if fmt.Sprintf("%x", sha256.Sum256(state.PeerCertificates[0].Raw)) != fingerprint {
				return errors.New("another certificate")
			}
			return nil
		},
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// sampleForm returns the upload of a sample.
func sampleForm(t *testing.T, content string) (kind string, body io.Reader) {
	t.Helper()
	var text bytes.Buffer
	form := multipart.NewWriter(&text)
	part, err := form.CreateFormFile("file", "sample.sh")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(part, content) // into memory
	form.Close()
	return form.FormDataContentType(), &text
}

// syncBuffer is a log that a program writes while a test reads it.
type syncBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
