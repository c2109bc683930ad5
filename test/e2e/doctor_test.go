package e2e

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDoctor checks what the doctor says beside a running backend, and after the end of it
// and of its database.
func TestDoctor(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		agent := newTestAgent(t)
		env["AGENT_SERVICE_URL"], env["DATA_DIR"] = agent.URL, t.TempDir()
		b := startBackend(t, env)
		_, env["PORT"], _ = strings.Cut(strings.TrimPrefix(b.url, "http://"), ":")
		if a := b.send("POST", "/api/agents/heartbeat", `{"name":"lab","url":"http://127.0.0.1:7001","capabilities":[{"name":"eBPF","supported":false,"reason":"the kernel is old","remedy":"use 5.8"}]}`); a.status != http.StatusOK {
			t.Fatalf("%d %s", a.status, a.body)
		}
		want := func(err error, out string, lines ...string) {
			t.Helper()
			for _, line := range lines {
				level, text, _ := strings.Cut(line, " ")
				found := false
				for got := range strings.Lines(out) {
					found = found || strings.HasPrefix(got, level+" ") && strings.Contains(got, text)
				}
				if !found {
					t.Errorf("%v: no line %q in\n%s", err, line, out)
				}
			}
		}
		out, err := runProgram(t, env, "doctor")
		if err != nil {
			t.Errorf("beside a healthy backend: %v\n%s", err, out)
		}
		want(err, out, "ok it runs and is ready", "ok can be written", "ok  MB, ", "ok "+agent.URL+" answers", `ok "lab" is up`, `warning "lab" lacks eBPF: the kernel is old; use 5.8`)
		if env["DATABASE_URL"] != "" {
			want(err, out, "ok PostgreSQL ", "warning a commit is weak: fsync is off")
		}

		mustRun(t, env, "health")

		b.stop()
		if _, err := runProgram(t, env, "health"); err == nil || !strings.Contains(err.Error(), "does not answer") {
			t.Errorf("health of a stopped backend: %v", err)
		}
		env["MIN_FREE_MB"] = "1073741824"
		out, err = runProgram(t, env, "doctor")
		if err == nil || err.Error() != "doctor found 1 faults" {
			t.Errorf("with a full disk: %v\n%s", err, out)
		}
		want(err, out, "warning it does not run", "fault less than MIN_FREE_MB=1073741824")

		if _, err := openDatabase(t, env).ExecContext(t.Context(), "DELETE FROM schema_migrations"); err != nil {
			t.Fatal(err)
		}
		out, err = runProgram(t, env, "doctor")
		want(err, out, "fault the schema is at version 0")
	})
}

// TestDoctorOfANewInstallation checks that the doctor creates nothing.
func TestDoctorOfANewInstallation(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	out, err := runProgram(t, map[string]string{"DATA_DIR": dir, "AGENT_SERVICE_URL": "http://127.0.0.1:1", "PORT": "1"}, "doctor")
	if err != nil || !strings.Contains(out, "there is none yet") || !strings.Contains(out, "cannot be reached") {
		t.Errorf("%v\n%s", err, out)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the data folder: %v", err)
	}
}

// TestCheckConfig checks that --check-config reports all faults of the settings, and that
// --env names their file.
func TestCheckConfig(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "backend.env")
	dir := filepath.Join(t.TempDir(), "data")
	for content, want := range map[string]string{
		"PORT=4711\nDATA_DIR=" + dir: "",
		"PORT=70000\nHOST=0.0.0.0":   `PORT: got "70000"`,
		"PORT=4711\nnonsense":        file + ":2",
	} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := runProgram(t, nil, "--env", file, "--check-config")
		if want == "" && (err != nil || out != "the configuration is correct\n") || want != "" && !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("%q: %v %s, want %q", content, err, out, want)
		}
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the data folder: %v", err)
	}
	if _, err := runProgram(t, nil, "--env", file+".gone", "--check-config"); !strings.HasPrefix(fmt.Sprint(err), "--env: ") {
		t.Errorf("a file that does not exist: %v", err)
	}
}
