package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"ospulse/test/dbtest"
	"ospulse/test/wait"
)

// process is the program in a process of its own.
type process struct {
	*exec.Cmd
	url    string
	stderr bytes.Buffer
}

// command returns the program, not started, with only these settings in its
// environment.
func command(t *testing.T, env map[string]string, args ...string) *process {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{Cmd: exec.CommandContext(t.Context(), program, args...)}
	p.Dir = t.TempDir()
	p.Env = []string{runMain + "=1", "PORT=0", "LOG_FORMAT=json", "AGENT_SERVICE_URL=http://127.0.0.1:1", "SEAL_AFTER=" + sealAfter(t), "MIN_FREE_MB=0", "DATABASE_ALLOW_WEAK=true"}
	for name, value := range env {
		p.Env = append(p.Env, name+"="+value)
	}
	p.Stderr = &p.stderr
	return p
}

// start starts the program and waits until it listens. The program has ended before the
// test's folders are removed.
func (p *process) start(t *testing.T) {
	t.Helper()
	stdout, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.Process.Kill()
		_ = p.Wait() // the test may have waited already
	})
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		var line struct{ Msg, URL string }
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "listening" {
			p.url = line.URL
			go io.Copy(io.Discard, stdout) //nolint:errcheck // ends with the process
			return
		}
	}
	t.Fatalf("the program does not listen: %v %s", p.Wait(), p.stderr.String())
}

// TestStartThatFailsSaysWhy checks that a failed start logs one line with the reason,
// without a stack trace, and exits with code 1.
func TestStartThatFailsSaysWhy(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, port, err := net.SplitHostPort(taken.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("no database"), 0o600); err != nil {
		t.Fatal(err)
	}
	garbage := t.TempDir()
	if err := os.WriteFile(filepath.Join(garbage, "ospulse.db"), bytes.Repeat([]byte("no database"), 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	postgres := dbtest.Postgres(t).URL
	tests := map[string]struct {
		env   map[string]string
		args  []string
		lines int
		want  []string
	}{
		"the port is taken":         {map[string]string{"PORT": port}, nil, 1, []string{"port " + port, "taken", "PORT"}},
		"the host is not ours":      {map[string]string{"HOST": "192.0.2.1", "OSPULSE_INSECURE": "true"}, nil, 1, []string{"192.0.2.1", "HOST"}},
		"the data folder is a file": {map[string]string{"DATA_DIR": file}, nil, 1, []string{file, "DATA_DIR"}},
		"the database is garbage":   {map[string]string{"DATA_DIR": garbage}, nil, 1, []string{"ospulse.db", "not a database"}},
		"PostgreSQL is not there": {map[string]string{"DATABASE_URL": "postgres://me:secret@127.0.0.1:1/db", "DATABASE_WAIT": "0s"}, nil, 1,
			[]string{"PostgreSQL", "127.0.0.1:1", "refused"}},
		"PostgreSQL has no such database": {map[string]string{"DATABASE_URL": strings.Replace(postgres, "?", "x?", 1)}, nil, 1, []string{"does not exist"}},
		"two settings are wrong":          {map[string]string{"PORT": "http", "MAX_BODY_MB": "-1"}, nil, 3, []string{"PORT", `"http"`, "MAX_BODY_MB", `"-1"`}},
		"an unknown flag":                 {nil, []string{"--prot=1"}, 1, []string{"prot", "--help"}},
		"an argument":                     {nil, []string{"serve"}, 1, []string{`"serve"`, "--help"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := command(t, tt.env, tt.args...)
			err := p.Run()
			if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 1 {
				t.Errorf("ended with %v, want exit code 1", err)
			}
			text := p.stderr.String()
			if n := strings.Count(text, "\n"); n != tt.lines {
				t.Errorf("%d lines, want %d:\n%s", n, tt.lines, text)
			}
			for _, want := range append(tt.want, "ospulse-backend: ") {
				if !strings.Contains(text, want) {
					t.Errorf("%q is not in: %s", want, text)
				}
			}
			if strings.Contains(text, "secret") || strings.Contains(text, "goroutine") {
				t.Errorf("it tells too much: %s", text)
			}
		})
	}
}

func TestHelpAndVersion(t *testing.T) {
	for arg, want := range map[string]string{"--help": "Usage: ospulse-backend", "-h": ".env.example", "--version": "dev"} {
		text, err := command(t, nil, arg).Output()
		if err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%s gives %q, %v; want %q", arg, text, err, want)
		}
	}
}

func TestDotEnvIsReadAndTheEnvironmentWins(t *testing.T) {
	p := command(t, nil)
	settings := "MAX_BODY_MB=1\nDATA_DIR=of-dot-env\nPORT=1\n"
	if err := os.WriteFile(filepath.Join(p.Dir, ".env"), []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	p.start(t)
	if _, err := os.Stat(filepath.Join(p.Dir, "of-dot-env", "ospulse.db")); err != nil {
		t.Error("DATA_DIR of .env was not taken:", err)
	}
	endWith(t, p, syscall.SIGINT)
}

// TestPostgresThatComesLater checks that the program waits for a PostgreSQL that starts
// later.
func TestPostgresThatComesLater(t *testing.T) {
	url := dbtest.Postgres(t).URL
	_, rest, _ := strings.Cut(url, "@")
	address, _, _ := strings.Cut(rest, "/")
	front, err := net.Listen("tcp", "127.0.0.1:0") // takes the server's place, closed at first
	if err != nil {
		t.Fatal(err)
	}
	port := front.Addr().(*net.TCPAddr).Port
	front.Close()
	p := command(t, map[string]string{"DATABASE_URL": strings.Replace(url, address, "127.0.0.1:"+strconv.Itoa(port), 1)})
	stdout, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	said := false
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		if strings.Contains(lines.Text(), "waiting for PostgreSQL") && !said {
			said = true
			if front, err = net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port)); err != nil {
				t.Fatal(err)
			}
			defer front.Close()
			go forward(front, address)
		}
		if strings.Contains(lines.Text(), `"listening"`) {
			break
		}
	}
	if !said {
		t.Error("it did not say that it waits")
	}
	go io.Copy(io.Discard, stdout) //nolint:errcheck // ends with the process
	endWith(t, p, syscall.SIGTERM)
}

// forward forwards connections to an address until the listener is closed.
func forward(from net.Listener, to string) {
	for {
		in, err := from.Accept()
		if err != nil {
			return
		}
		out, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", to)
		if err != nil {
			in.Close()
			return
		}
		go func() { io.Copy(out, in); out.Close() }() //nolint:errcheck // either side may hang up
		go func() { io.Copy(in, out); in.Close() }()  //nolint:errcheck // either side may hang up
	}
}

// endWith sends the signal and requires exit code 0.
func endWith(t *testing.T, p *process, signal os.Signal) {
	t.Helper()
	if err := p.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
	tooLong := time.AfterFunc(wait.Patience, func() { p.Process.Kill() }) //nolint:errcheck // it may have ended
	defer tooLong.Stop()
	if err := p.Wait(); err != nil {
		t.Errorf("%v ended it with %v: %s", signal, err, p.stderr.String())
	}
}

// TestStopFinishesWhatIsInFlight checks that a request which is in progress when the
// program stops is answered and stored, that no new one is accepted, and that the exit
// code is 0.
func TestStopFinishesWhatIsInFlight(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		env["DATA_DIR"] = t.TempDir()
		p := command(t, env)
		p.start(t)
		address := strings.TrimPrefix(p.url, "http://")
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		body := `{"event_type":"in_flight"}`
		if _, err := io.WriteString(conn, "POST /api/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: "+strconv.Itoa(len(body))+"\r\n\r\n"+body[:5]); err != nil {
			t.Fatal(err)
		}
		// The answer to a later request shows that the server has the first one, too.
		if response, err := http.Get(p.url + "/healthz"); err != nil || response.Body.Close() != nil {
			t.Fatal(err)
		}
		if err := p.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		wait.For(t, "it takes no connection after SIGTERM", func() bool {
			probe, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
			if err != nil {
				return true
			}
			probe.Close()
			return false
		})
		if _, err := io.WriteString(conn, body[5:]); err != nil {
			t.Fatal(err)
		}
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || response.StatusCode != http.StatusOK {
			t.Fatalf("the request in flight got %v, %v", response, err)
		}
		response.Body.Close()
		if err := p.Wait(); err != nil {
			t.Errorf("it ended with %v: %s", err, p.stderr.String())
		}
		if got := startBackend(t, env).export(""); len(got) != 1 || got[0].EventType != "in_flight" {
			t.Errorf("stored is %+v", got)
		}
	})
}

// TestStopDoesNotWaitForEver checks that a client which never completes its request
// does not keep the program running.
func TestStopDoesNotWaitForEver(t *testing.T) {
	p := command(t, map[string]string{"SHUTDOWN_TIMEOUT": "1s"})
	p.start(t)
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(p.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "POST /api/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{"); err != nil {
		t.Fatal(err)
	}
	if response, err := http.Get(p.url + "/healthz"); err != nil || response.Body.Close() != nil {
		t.Fatal(err)
	}
	endWith(t, p, syscall.SIGTERM)
}

// TestTwoBackendsShareADatabase starts two programs on one data folder at once.
func TestTwoBackendsShareADatabase(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		env["DATA_DIR"] = t.TempDir()
		a, b := command(t, env), command(t, env)
		a.start(t)
		b.start(t)
		for i, url := range []string{a.url, b.url, b.url, a.url} {
			response, err := http.Post(url+"/api/events", "application/json", strings.NewReader(`{"event_type":"x"}`))
			if err != nil {
				t.Fatal(err)
			}
			var s struct{ Seq int }
			if err := json.NewDecoder(response.Body).Decode(&s); err != nil || s.Seq != i+1 {
				t.Errorf("event %d has seq %d, %v", i+1, s.Seq, err)
			}
			response.Body.Close()
		}
		endWith(t, a, syscall.SIGTERM)
		endWith(t, b, syscall.SIGTERM)
	})
}
