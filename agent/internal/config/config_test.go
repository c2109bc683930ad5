//go:build linux

package config

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ospulse/agent/internal/selection"
)

func TestLoad(t *testing.T) {
	env := map[string]string{"PORT": "7001", "SPAWN_TIMEOUT": "30s", "BACKEND_URL": "https://b.example/x/", "TRACE_TLS": "false", "PACKETS": "false"}
	c, err := Load([]string{"--port=7002", "--data", "/d"}, func(name string) string { return env[name] })
	if err != nil || c.Addr() != "127.0.0.1:7002" || c.SpawnTimeout != 30*time.Second || c.Backend.String() != "https://b.example/x" || c.TLS || c.Packets || c.DataDir != "/d" || c.MaxUploadMB != 100 || c.SpawnNetwork != "none" {
		t.Errorf("%+v, %v", c, err)
	}
}

// TestEnrolled checks that an enrolled agent finds its backend, and that its key goes to no
// other one.
func TestEnrolled(t *testing.T) {
	folder := t.TempDir()
	enrollment := `{"backend":"https://192.0.2.1:3003","fingerprint":"` + strings.Repeat("ab", 32) + `","name":"lab","key":"osp_key"}`
	if err := os.WriteFile(filepath.Join(folder, "enrollment.json"), []byte(enrollment), 0o600); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"DATA_DIR": folder, "HOST": "0.0.0.0", "SPAWN_NETWORK": "host"} // safe, because it does not listen
	getenv := func(name string) string { return env[name] }
	c, err := Load(nil, getenv)
	if err != nil || c.Backend.String() != "https://192.0.2.1:3003" || c.BackendKey != "osp_key" || len(c.BackendPin) != 32 || c.Name != "lab" || !c.FetchWork {
		t.Errorf("%+v, %v", c, err)
	}
	if c, err := Load([]string{"--backend", "http://localhost:1", "--host", "127.0.0.1", "--spawn-network", "none"}, getenv); err != nil || c.BackendKey != "" || c.FetchWork || c.Name != "" {
		t.Errorf("with another backend: %+v, %v", c, err)
	}
	if _, err := Load([]string{"--data", t.TempDir(), "--fetch-work"}, getenv); err == nil || !strings.Contains(err.Error(), "--fetch-work needs the agent's key") {
		t.Errorf("without a key: %v", err)
	}
	if err := os.WriteFile(filepath.Join(folder, "enrollment.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(nil, getenv); err == nil || !strings.Contains(err.Error(), "enroll the agent again") {
		t.Errorf("with a damaged enrollment: %v", err)
	}
}

func TestSelection(t *testing.T) {
	env := map[string]string{"LEAVE_OUT": "reads,closes", "ONLY_PATHS": "/home:/etc"}
	c, err := Load([]string{"--leave-out-paths", "/home/me"}, func(name string) string { return env[name] })
	if want := (selection.Selection{LeaveOut: []string{"reads", "closes"}, OnlyPaths: []string{"/home", "/etc"}, LeaveOutPaths: []string{"/home/me"}}); err != nil || !c.Selection.Equal(&want) {
		t.Errorf("%+v, %v", c.Selection, err)
	}
	_, err = Load([]string{"--leave-out", "forks", "--only-paths", "home"}, func(string) string { return "" })
	for _, want := range []string{`--leave-out: there is no class "forks" of events; the classes are reads, writes`, `--only-paths: "home" must be an absolute path`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
}

func TestFaults(t *testing.T) {
	env := map[string]string{"PORT": "x", "RING_MB": "3", "BACKEND_URL": "b:1", "AGENT_API_KEY": "short", "POLL_INTERVAL": "1"}
	_, err := Load([]string{"--host", "0.0.0.0", "--spawn-network", "all", "--tls=maybe", "--content", "-1", "--allowed-hosts", "*"}, func(name string) string { return env[name] })
	for _, want := range []string{"PORT:", "RING_MB:", "BACKEND_URL:", "AGENT_API_KEY:", "POLL_INTERVAL:", "--spawn-network:", "--tls:", "--content:", "--allowed-hosts:", "--host 0.0.0.0: others"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
	none := func(string) string { return "" }
	if _, err := Load([]string{"--spawn-network", "host"}, none); err == nil || !strings.Contains(err.Error(), "AGENT_API_KEY") {
		t.Errorf("samples in the host's network without a key: %v", err)
	}
	for _, args := range [][]string{{"--nothing"}, {"watch"}, {"--port"}} {
		if _, err := Load(args, none); err == nil || !strings.Contains(err.Error(), "--help") {
			t.Errorf("%q: %v", args, err)
		}
	}
	for _, args := range [][]string{{"--host", "::", "--key", "0123456789abcdef"}, {"--host", "::1"}, {"--spawn-network", "host", "--key", "0123456789abcdef"}} {
		if _, err := Load(args, none); err != nil {
			t.Errorf("%q: %v", args, err)
		}
	}
}

func TestHelpNamesEverySetting(t *testing.T) {
	none := func(string) string { return "" }
	var out bytes.Buffer
	if err := Help(&out, none); err != nil {
		t.Fatal(err)
	}
	all := settings(&Config{}, none)
	for i := range all {
		if !strings.Contains(out.String(), "--"+all[i].flag) || !strings.Contains(out.String(), all[i].variable) {
			t.Errorf("--help lacks %s", all[i].flag)
		}
	}
}
