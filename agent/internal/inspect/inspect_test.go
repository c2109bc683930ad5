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

// lockedBy is the variable by which this program maps a file and, once it is told
// that this does not answer any more, waits for it with the lock of its own memory.
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
	// The first waits with a page that the second, which has the lock, waits for.
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
		// A helper that has ended is started again.
		h.mu.Lock()
		_ = h.current.conn.Close()
		h.mu.Unlock()
	}
	if got, isCut, err := h.Arguments(t.Context(), os.Getpid(), 3); err != nil || !isCut || !slices.Equal(got, []string{os.Args[0][:3]}) {
		t.Errorf("%q, %t, %v; want the first three bytes", got, isCut, err)
	}
	if _, _, err := h.Arguments(t.Context(), 1<<30, 3); !errors.Is(err, ErrGone) {
		t.Errorf("nobody: %v", err)
	}
	h.Close()
	if _, _, err := h.Arguments(t.Context(), os.Getpid(), 3); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
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

// TestKinds: only regular files are read, and a pipe holds nothing up.
func TestKinds(t *testing.T) {
	h := newHelper(t)
	pipe := filepath.Join(t.TempDir(), "libssl.so")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{pipe, "/dev/null", "/dev/zero", "/proc/self/mem", "/sys", "/nowhere"} {
		file, handle, err := h.OpenSSL(t.Context(), 0, path)
		if err == nil || handle != nil {
			t.Errorf("%s: %v, %v", path, file, err)
		}
	}
}

// TestUserPays: the files of a user that took too much time are not looked at until
// time has paid for it, and those of others are.
func TestUserPays(t *testing.T) {
	h := newHelper(t)
	now := time.Now()
	h.now = func() time.Time { return now }
	h.charge(os.Getuid(), account+time.Second)
	if _, _, err := h.Arguments(t.Context(), os.Getpid(), 3); !errors.Is(err, ErrBusy) {
		t.Errorf("a user in debt: %v", err)
	}
	if _, _, err := h.OpenSSL(t.Context(), 0, "/proc/self/exe"); errors.Is(err, ErrBusy) {
		t.Errorf("another one: %v", err)
	}
	now = now.Add(share * 2 * time.Second)
	if _, _, err := h.Arguments(t.Context(), os.Getpid(), 3); err != nil {
		t.Errorf("a user who has paid: %v", err)
	}
}

// TestSilentFileSystemAsRoot: what does not answer is given up, and all else goes
// on. A file that a process has mapped is not even asked for.
func TestSilentFileSystemAsRoot(t *testing.T) {
	var child *exec.Cmd
	t.Cleanup(func() { // when the file system is gone
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
		t.Fatalf("the mapped file is not found: %v", err)
	}
	silent.Silence(t)
	if _, _, err := h.OpenSSL(t.Context(), pid, path); err == nil || errors.Is(err, ErrTime) {
		t.Errorf("a mapped file: %v; want it refused without being asked", err)
	}
	h.fileTime, h.argumentTime = 100*time.Millisecond, 100*time.Millisecond
	if _, _, err := h.OpenSSL(t.Context(), 0, silent.File("other")); !errors.Is(err, ErrTime) {
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
		t.Errorf("arguments of a process that has its memory locked: %v; want %v", err, ErrTime)
	}
	h.fileTime = fileTime
	if file, _, err := h.OpenSSL(t.Context(), 0, "/proc/self/exe"); err != nil || file == nil {
		t.Errorf("a file that answers: %v", err)
	}
	early, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := h.OpenSSL(early, 0, silent.File("other")); !errors.Is(err, context.Canceled) {
		t.Errorf("nobody waits: %v", err)
	}
}

// TestSparseTables: a small file that is long to read is read for a bounded time,
// in bounded memory.
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
	offsets, err := OpenSSL(file)
	used = processorTime() - used
	runtime.ReadMemStats(&after)
	t.Logf("%v, %v, %s of a processor", offsets, err, used)
	if bytes := after.TotalAlloc - before.TotalAlloc; bytes > 32*chunkBytes {
		t.Errorf("%d MB were allocated", bytes>>20)
	}
	if used > 5*maxProcessorTime {
		t.Errorf("it took %s of a processor", used)
	}
	sparseELF(t, path, 1, maxTable+1)
	if _, err := OpenSSL(file); !errors.Is(err, errBounds) {
		t.Errorf("a table above the bound: %v", err)
	}
}
