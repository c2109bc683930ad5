//go:build linux

package judge

import (
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"ospulse/test/freeport"
	"ospulse/test/wait"
)

// built are the programs under test, built once for all tests of the package.
type built struct {
	once           sync.Once
	dir            string
	backend, agent string
	err            error
}

// setupsAtOnce is the number of concurrent set-ups, even on few processors, because a
// round mostly waits.
const setupsAtOnce = 4

var programs built //nolint:gochecknoglobals // removed by TestMain

func TestMain(m *testing.M) {
	flag.Parse()
	if runtime.GOMAXPROCS(0) < setupsAtOnce {
		if err := flag.Set("test.parallel", strconv.Itoa(setupsAtOnce)); err != nil {
			panic(err)
		}
	}
	code := m.Run()
	if programs.dir != "" {
		if err := os.RemoveAll(programs.dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = max(code, 1)
		}
	}
	os.Exit(code)
}

// buildPrograms builds the backend and the agent. This backend differs from a release
// in two ways, both off by default: its wall clock can be set, and it has the planted bugs
// (package plant).
func buildPrograms(t testing.TB) *built {
	t.Helper()
	programs.once.Do(func() { programs.err = programs.build() })
	if programs.err != nil {
		t.Fatal(programs.err)
	}
	return &programs
}

func (b *built) build() (err error) {
	if b.dir, err = os.MkdirTemp("", "ospulse-judge-build-"); err != nil {
		return err
	}
	b.backend, b.agent = filepath.Join(b.dir, "backend"), filepath.Join(b.dir, "agent")
	for _, args := range [][]string{
		{"-tags", "planted", "-o", b.backend, "."},
		{"-o", b.agent, "./agent"},
	} {
		cmd := exec.Command("go", append([]string{"build", "-buildvcs=false"}, args...)...)
		cmd.Dir = filepath.Join("..", "..")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("go build %s: %w\n%s", strings.Join(args, " "), err, out)
		}
	}
	return nil
}

// clockVariable names the file whose first 8 bytes are the offset of a backend's wall
// clock in seconds.
const clockVariable = "OSPULSE_JUDGE_CLOCK"

// TestClockIsSet checks that the wall clock of a running backend can be set.
func TestClockIsSet(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	clock := openClock(t, filepath.Join(dir, "clock"))
	b := &backend{program: buildPrograms(t).backend, port: freeport.For(t), health: "/healthz", log: filepath.Join(dir, "log")}
	b.env = []string{fmt.Sprint("PORT=", b.port), "DATA_DIR=" + dir, "MIN_FREE_MB=0", clockVariable + "=" + filepath.Join(dir, "clock")}
	if err := b.start(); err != nil {
		t.Fatal(err)
	}
	for _, offset := range []time.Duration{0, 1000 * time.Hour, -1000 * time.Hour, 0} {
		atomic.StoreInt64(clock, int64(offset/time.Second))
		response, err := http.Get(b.url() + b.health)
		if err != nil {
			t.Fatal(err)
		}
		if err := response.Body.Close(); err != nil {
			t.Error(err)
		}
		told, err := http.ParseTime(response.Header.Get("Date"))
		if got := time.Until(told); err != nil || got > offset+time.Hour || got < offset-time.Hour {
			t.Errorf("with an offset of %s the clock is %s ahead: %v", offset, got, err)
		}
	}
	if err := b.end(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
}

// backend is a backend or an agent: a process that can be killed, and started again
// with the same data and address.
type backend struct {
	index   int
	program string
	args    []string
	port    int
	health  string // a path that is answered once it has started
	env     []string
	log     string // path

	mu      sync.Mutex
	process *os.Process
	exited  chan struct{}
}

func (b *backend) url() string { return "http://127.0.0.1:" + strconv.Itoa(b.port) }

// start starts the process and waits until it answers.
func (b *backend) start() error {
	log, err := os.OpenFile(b.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(b.program, b.args...)
	cmd.Dir = filepath.Dir(b.log) // a folder without a .env
	cmd.Env = b.env
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	exited, started := make(chan struct{}), make(chan error)
	go func() {
		runtime.LockOSThread() // the parent-death signal is sent when the thread that forked ends
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // the error says that it was killed
		}
		close(exited)
	}()
	if err := <-started; err != nil {
		return err
	}
	b.mu.Lock()
	b.process, b.exited = cmd.Process, exited
	b.mu.Unlock()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Second}
	for deadline := time.Now().Add(wait.Patience); ; {
		response, err := client.Get(b.url() + b.health)
		if err == nil {
			response.Body.Close()
			return nil
		}
		select {
		case <-exited:
			return fmt.Errorf("%s ended; its log ends:\n%s", b.log, b.logTail())
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s does not answer: %w; its log ends:\n%s", b.log, err, b.logTail())
		}
	}
}

// signal sends a signal to the process.
func (b *backend) signal(s os.Signal) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.process.Signal(s)
}

// end sends a signal that ends the process, and waits for it to exit.
func (b *backend) end(s os.Signal) error {
	if err := b.signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-b.exited:
		return nil
	case <-time.After(wait.Patience):
		return fmt.Errorf("%s does not end; its log ends:\n%s", b.log, b.logTail())
	}
}

// logTail returns the end of the log.
func (b *backend) logTail() string {
	text, err := os.ReadFile(b.log)
	if err != nil {
		return err.Error()
	}
	return string(text[max(len(text)-2000, 0):])
}
