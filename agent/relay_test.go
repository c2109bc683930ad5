//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"ospulse/test/freeport"
	"ospulse/test/wait"
)

// relayProgram forwards connections from one port, its first argument, to another, its
// second.
const relayProgram = `import socket, sys, threading
def pump(a, b):
    try:
        while data := a.recv(65536): b.sendall(data)
        b.shutdown(socket.SHUT_WR)
    except OSError: pass
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(('127.0.0.1', int(sys.argv[1]))); s.listen()
while True:
    c, _ = s.accept(); b = socket.create_connection(('127.0.0.1', int(sys.argv[2])))
    threading.Thread(target=pump, args=(c, b), daemon=True).start()
    threading.Thread(target=pump, args=(b, c), daemon=True).start()`

// TestBackendBehindARelay checks that the agent finds the backend's process by the identity
// that the backend proves, although the agent connects to the port of a relay.
func TestBackendBehindARelay(t *testing.T) {
	relayPID := 0
	both := startBehind(t, "procfs", "a-key-of-16-bytes", func(backend string) string {
		port := freeport.For(t)
		cmd := exec.Command("python3", "-c", relayProgram, fmt.Sprint(port), backend[strings.LastIndexByte(backend, ':')+1:])
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		relayPID = cmd.Process.Pid
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		})
		return fmt.Sprintf("http://127.0.0.1:%d", port)
	})
	wait.For(t, "the backend has a heartbeat of the agent", func() bool {
		var list struct{ Agents []struct{ Sensor string } }
		call(t, "GET", both.backend+"/api/agents", "", nil, &list)
		return len(list.Agents) == 1 && list.Agents[0].Sensor == "procfs"
	})
	// The first session may start before the agent has the answer to its heartbeat.
	wait.For(t, "the backend is known to the agent", func() bool {
		session := upload(t, both.backend, "x.sh", "true")
		var answer map[string]any
		callJSON(t, both.backend+"/api/start-monitor", map[string]any{"sessionId": session, "mode": 1}, &answer)
		callJSON(t, both.backend+"/api/monitor/stop", map[string]any{"sessionId": session}, &answer)
		var start struct {
			Exclusions []struct {
				PID  int
				Role string
			}
		}
		wait.For(t, "session_start is delivered", func() bool {
			all := events(t, both.backend, session)
			at := slices.IndexFunc(all, func(e sessionEvent) bool { return e.Type == "session_start" })
			return at >= 0 && json.Unmarshal(all[at].Data, &start) == nil
		})
		roles := map[int]string{}
		for _, e := range start.Exclusions {
			roles[e.PID] = e.Role
		}
		if roles[relayPID] != "backend" {
			t.Errorf("the relay (%d) is not excluded: %v", relayPID, roles)
		}
		return roles[both.backendPID] == "backend"
	})
}
