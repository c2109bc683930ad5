package pgtest

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"ospulse/test/wait"
)

// childEnv makes the test binary a program that starts a server and waits until it is
// killed.
const childEnv = "PGTEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		child()
	}
	os.Exit(m.Run())
}

// child prints the server's address and folder, and never returns.
func child() {
	s, err := Start(context.Background(), Options{})
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	_, _ = fmt.Fprintf(os.Stdout, "%s\t%s\n", s.Address(), s.dir)
	select {}
}

func TestServerDiesWithItsParent(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), childEnv+"=1")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the child says %q: %v, %v", line, err, cmd.Wait())
	}
	address, dir, _ := strings.Cut(strings.TrimSpace(line), "\t")
	if filepath.Dir(dir) == dir || !strings.HasPrefix(filepath.Base(dir), "ospulse-pgtest-") {
		t.Fatalf("the child says %q", line)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if !listens(t, address) {
		t.Fatal("the server does not run")
	}

	if err := cmd.Process.Kill(); err != nil { // SIGKILL: the child gets no chance to clean up
		t.Fatal(err)
	}
	_ = cmd.Wait() // "signal: killed"

	pidFile := filepath.Join(dir, "data", "postmaster.pid") // the server removes it last
	wait.For(t, "the server ends with the process that started it", func() bool {
		_, err := os.Stat(pidFile)
		return os.IsNotExist(err) && !listens(t, address)
	})
}
