//go:build linux

package inspect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"ospulse/agent/internal/inspect/fusetest"
)

// lockedBy is the environment variable that makes this program run lockMemory. Its value is
// the path of a file.
const lockedBy = "OSPULSE_TEST_LOCKED_BY"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == Command {
		os.Exit(Serve(os.Stderr))
	}
	fusetest.Serve()
	if path := os.Getenv(lockedBy); path != "" {
		lockMemory(path)
		return
	}
	goleak.VerifyTestMain(m)
}

// lockMemory maps a file. When stdin is closed, because the file's file system is silent, it
// blocks on the file while it holds the lock of its own memory map.
func lockMemory(path string) {
	buffered, err1 := unix.Open(path, unix.O_RDONLY, 0)
	direct, err2 := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if err := errors.Join(err1, err2); err != nil {
		panic(err)
	}
	if _, err := unix.Mmap(buffered, 0, 4096, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE); err != nil {
		panic(err)
	}
	_, _ = os.Stdout.WriteString("ready\n")
	_, _ = io.ReadAll(os.Stdin)
	// A read holds a page and waits for the file system; mmap holds the lock and waits for
	// the page.
	for i := range 2 {
		go func() { _, _ = unix.Pread(buffered, make([]byte, 1), int64(i)*65536) }()
	}
	for {
		_, _ = unix.Mmap(direct, 0, 4096, unix.PROT_READ, unix.MAP_PRIVATE)
	}
}

func newHelper(t *testing.T) *Helper {
	t.Helper()
	h := New(slog.New(slog.DiscardHandler))
	t.Cleanup(h.Close)
	return h
}

func TestArguments(t *testing.T) {
	h := newHelper(t)
	for range 2 {
		if got, isCut, err := h.Arguments(t.Context(), os.Getpid(), 1<<20); err != nil || isCut || !slices.Equal(got, os.Args) {
			t.Fatalf("%q, %t, %v; want %q", got, isCut, err, os.Args)
		}
		// The Helper must replace a helper process that has ended.
		h.mu.Lock()
		_ = h.current.Conn.Close()
		h.mu.Unlock()
	}
	if got, isCut, err := h.Arguments(t.Context(), os.Getpid(), 3); err != nil || !isCut || !slices.Equal(got, []string{os.Args[0][:3]}) {
		t.Errorf("%q, %t, %v; want the first three bytes", got, isCut, err)
	}
	if _, _, err := h.Arguments(t.Context(), 1<<30, 3); !errors.Is(err, ErrGone) {
		t.Errorf("a process that does not exist: %v; want ErrGone", err)
	}
	h.Close()
	if _, _, err := h.Arguments(t.Context(), os.Getpid(), 3); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v; want ErrClosed", err)
	}
}

func TestMapped(t *testing.T) {
	h := newHelper(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	if err := h.Mapped(t.Context(), os.Getpid(), func(_, path string) { paths = append(paths, path) }); err != nil || !slices.Contains(paths, exe) {
		t.Errorf("%v, %v; want %s among them", paths, err, exe)
	}
}

// TestKinds checks that TLS reads only regular files, and that a pipe does not block it.
func TestKinds(t *testing.T) {
	h := newHelper(t)
	pipe := filepath.Join(t.TempDir(), "libssl.so")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{pipe, "/dev/null", "/dev/zero", "/proc/self/mem", "/sys", "/nowhere"} {
		file, handle, err := h.TLS(t.Context(), 0, path)
		if err == nil || handle != nil {
			t.Errorf("%s: %v, %v; want an error and no handle", path, file, err)
		}
	}
}

// TestUserPays checks that the Helper refuses the processes of a user in debt until enough
// time has elapsed, and does not refuse those of others.
func TestUserPays(t *testing.T) {
	h := newHelper(t)
	now := time.Now()
	h.now = func() time.Time { return now }
	h.charge(os.Getuid(), account+time.Second)
	if _, _, err := h.Arguments(t.Context(), os.Getpid(), 3); !errors.Is(err, ErrBusy) {
		t.Errorf("a user in debt: %v; want ErrBusy", err)
	}
	if _, _, err := h.TLS(t.Context(), 0, "/proc/self/exe"); errors.Is(err, ErrBusy) {
		t.Errorf("another user: %v", err)
	}
	now = now.Add(share * 2 * time.Second)
	if _, _, err := h.Arguments(t.Context(), os.Getpid(), 3); err != nil {
		t.Errorf("a user whose debt has shrunk: %v", err)
	}
}

// TestSilentFileSystemAsRoot checks that the Helper gives up on a file or process that does
// not answer and then inspects others. For a mapped file, it must not ask the silent file
// system at all.
func TestSilentFileSystemAsRoot(t *testing.T) {
	var child *exec.Cmd
	t.Cleanup(func() { // runs after the unmount, which releases the child
		_ = child.Process.Kill()
		_ = child.Wait()
	})
	silent := fusetest.Mount(t, 1<<20)
	child = exec.Command(os.Args[0])
	child.Env = []string{lockedBy + "=" + silent.File("libssl-x.so")}
	in, err1 := child.StdinPipe()
	out, err2 := child.StdoutPipe()
	if err := errors.Join(err1, err2, child.Start()); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, len("ready"))); err != nil {
		t.Fatal(err)
	}

	h := newHelper(t)
	var path string
	pid := child.Process.Pid
	if err := h.Mapped(t.Context(), pid, func(addresses, of string) {
		if strings.HasPrefix(of, silent.Dir) {
			path = fmt.Sprintf("/proc/%d/map_files/%s", pid, addresses)
		}
	}); err != nil || path == "" {
		t.Fatalf("Mapped does not list the file: %v", err)
	}
	silent.Silence(t)
	if _, _, err := h.TLS(t.Context(), pid, path); err == nil || errors.Is(err, ErrTime) {
		t.Errorf("a mapped file: %v; want a refusal without a timeout", err)
	}
	h.fileTime, h.argumentTime = 100*time.Millisecond, 100*time.Millisecond
	if _, _, err := h.TLS(t.Context(), 0, silent.File("other")); !errors.Is(err, ErrTime) {
		t.Errorf("a path: %v; want %v", err, ErrTime)
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	var err error
	for begin := time.Now(); err == nil && time.Since(begin) < time.Minute; {
		_, _, err = h.Arguments(t.Context(), pid, 1<<16)
	}
	if !errors.Is(err, ErrTime) {
		t.Errorf("arguments of a process that locks its memory map: %v; want %v", err, ErrTime)
	}
	h.fileTime = fileTime
	if file, _, err := h.TLS(t.Context(), 0, "/proc/self/exe"); err != nil || file == nil {
		t.Errorf("a file that answers: %v", err)
	}
	early, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := h.TLS(early, 0, silent.File("other")); !errors.Is(err, context.Canceled) {
		t.Errorf("a canceled context: %v; want context.Canceled", err)
	}
}

// TestSparseTables checks that TLS bounds its time and memory for a file that uses few
// blocks and has huge tables.
func TestSparseTables(t *testing.T) {
	path := filepath.Join(t.TempDir(), "libssl-x.so")
	sparseELF(t, path, 2000, maxTable)
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	used := processorTime()
	offsets, err := TLS(file)
	used = processorTime() - used
	runtime.ReadMemStats(&after)
	t.Logf("%v, %v, %s of CPU time", offsets, err, used)
	if bytes := after.TotalAlloc - before.TotalAlloc; bytes > 32*chunkBytes {
		t.Errorf("TLS allocated %d MB", bytes>>20)
	}
	if used > 5*maxProcessorTime {
		t.Errorf("TLS used %s of CPU time", used)
	}
	sparseELF(t, path, 1, maxTable+1)
	if _, err := TLS(file); !errors.Is(err, errBounds) {
		t.Errorf("a table above the limit: %v; want errBounds", err)
	}
}
