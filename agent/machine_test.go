//go:build linux && vm

package main

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ospulse/test/freeport"
	"ospulse/test/ownnet"
	"ospulse/test/testbed"
	"ospulse/test/wait"
)

// TestVirtualMachineAsRoot builds an image, and runs a file in a virtual machine twice. The
// session has the events of the guest, and the second run finds nothing of the first.
func TestVirtualMachineAsRoot(t *testing.T) {
	dir := t.TempDir()
	agent, err := testbed.Build(t.Context(), dir, "ospulse-agent", "ospulse/agent")
	if err != nil {
		t.Fatal(err)
	}
	image := filepath.Join(dir, "image")
	build := ownnet.Outside(agent, "image", "build", "--out", image)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	before := hashOf(t, filepath.Join(image, "root.img"))

	backendPort, agentPort := freeport.For(t), freeport.For(t)
	backend, url := fmt.Sprintf("http://127.0.0.1:%d", backendPort), fmt.Sprintf("http://127.0.0.1:%d", agentPort)
	start(t, backend+"/api/health", []string{"DATA_DIR=" + filepath.Join(dir, "backend"), fmt.Sprint("PORT=", backendPort), "AGENT_SERVICE_URL=" + url}, buildBackend(t))
	start(t, url+"/health", nil, agent, "--backend", backend, "--port", fmt.Sprint(agentPort), "--data", filepath.Join(dir, "agent"),
		"--spawn-isolation", "vm", "--spawn-image", image)

	const sample = `#!/bin/sh
[ -e /tmp/mark ] && exit 3
[ "$(id -u)" = 1000 ] || exit 4
echo made > /tmp/mark
/usr/bin/python3 -S -c 'import socket
try: socket.create_connection(("198.51.100.7", 80), 2)
except OSError as error: print(error)'
cat /proc/cmdline
exit 7
`
	for round := range 2 {
		id := upload(t, backend, "mark.sh", fmt.Sprint(sample, "# ", round, "\n"))
		callJSON(t, backend+"/api/start-monitor", map[string]any{"sessionId": id, "mode": 3}, &struct{}{})
		var session struct {
			State string
			End   *struct {
				Reason   string
				ExitCode *int
			}
			Completeness struct{ Complete bool }
		}
		wait.For(t, "the end of the session", func() bool {
			call(t, "GET", backend+"/api/sessions/"+id, "", nil, &session)
			return session.State == "ended"
		})
		if session.End == nil || session.End.ExitCode == nil || *session.End.ExitCode != 7 || !session.Completeness.Complete {
			t.Errorf("run %d ended as %+v", round, session)
		}
		var ran, made, refused, isMachine, said bool
		for _, e := range events(t, backend, id) {
			text, err := json.Marshal(e.Data)
			if err != nil {
				t.Fatal(err)
			}
			data := string(text)
			switch {
			case e.Type == "session_start":
				isMachine = strings.Contains(data, `"isolation":"vm"`)
			case e.Type == "session_end":
				said = strings.Contains(data, "unreachable") && strings.Contains(data, "root=/dev/vda")
			case strings.Contains(data, `"commandLine":"/usr/bin/python3 -S -c`):
				ran = true
			case strings.Contains(data, `"operation":"WriteFile"`) && strings.Contains(data, `"filePath":"/tmp/mark"`):
				made = true
			case strings.Contains(data, `"dst":"198.51.100.7"`) && strings.Contains(data, `"error":"ENETUNREACH"`):
				refused = true
			}
		}
		if want := []bool{true, true, true, true, true}; !slices.Equal([]bool{ran, made, refused, isMachine, said}, want) {
			t.Errorf("run %d: python3 ran: %t, the file was written: %t, the connection was refused: %t, session_start names the machine: %t, session_end has the output: %t",
				round, ran, made, refused, isMachine, said)
		}
	}
	if after := hashOf(t, filepath.Join(image, "root.img")); after != before {
		t.Error("a run changed the image")
	}
}

func hashOf(t *testing.T, path string) string {
	t.Helper()
	out, err := exec.Command("sha256sum", path).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(out))[0]
}
