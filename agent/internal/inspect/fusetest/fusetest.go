//go:build linux

// Package fusetest mounts a file system that tests can silence, to test code that reads
// from a file system which does not answer. A separate process serves it: in the process
// of the test, starting a process could deadlock with the server.
package fusetest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// variable makes the test's program the server. Its value is the mount point; the first
// argument of the program is the size of the file.
const variable = "OSPULSE_TEST_FUSE"

// FS is a mounted file system. It answers until the test calls Silence.
type FS struct {
	Dir string
	cmd *exec.Cmd
}

// Operations of FUSE, node numbers, and the length of a request's header.
const (
	opLookup, opForget, opGetattr, opOpen, opRead, opStatfs = 1, 2, 3, 14, 15, 17
	opInit, opOpendir, opBatchForget                        = 26, 27, 42

	rootNode, fileNode = 1, 2
	headBytes          = 40
)

// Mount mounts a file system that has a file for every name in its root. Each file has
// size bytes, all zero. The end of the test unmounts it. Mount requires root.
func Mount(t testing.TB, size int64) *FS {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "fuse")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	f := &FS{dir, exec.Command("/proc/self/exe", strconv.FormatInt(size, 10))} //nolint:noctx // the cleanup ends it
	f.cmd.Env, f.cmd.Stderr = []string{variable + "=" + dir}, os.Stderr
	out, err := f.cmd.StdoutPipe()
	if err := errors.Join(err, f.cmd.Start()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// Unmounting by force releases the processes that wait for an answer.
		if err := unix.Unmount(dir, unix.MNT_FORCE|unix.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
		}
		_ = f.cmd.Process.Kill()
		_ = f.cmd.Wait()
	})
	if _, err := io.ReadFull(out, make([]byte, len("mounted"))); err != nil {
		t.Fatalf("the server did not start (does TestMain call Serve?): %v", err)
	}
	return f
}

// File returns the path of a file. A file that is opened with O_NONBLOCK uses direct I/O.
func (f *FS) File(name string) string { return filepath.Join(f.Dir, name) }

// Silence stops the server, so that no request gets an answer. It returns when every
// thread of the server has stopped.
func (f *FS) Silence(t testing.TB) {
	t.Helper()
	if err := f.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	var status unix.WaitStatus
	if _, err := unix.Wait4(f.cmd.Process.Pid, &status, unix.WUNTRACED, nil); err != nil || !status.Stopped() {
		t.Fatalf("the server did not stop: %v, %#x", err, status)
	}
}

// Serve runs the server and exits, if this process is the server; else it returns.
// TestMain must call it first.
func Serve() {
	dir := os.Getenv(variable)
	if dir == "" {
		return
	}
	size, err := strconv.ParseInt(os.Args[1], 10, 64)
	if err == nil {
		err = serve(dir, size)
	}
	fmt.Fprintln(os.Stderr, "the file system:", err)
	os.Exit(1)
}

func serve(dir string, size int64) error {
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open /dev/fuse: %w", err)
	}
	options := fmt.Sprintf("fd=%d,rootmode=40755,user_id=0,group_id=0,allow_other", fd)
	if err := unix.Mount("test", dir, "fuse", unix.MS_NODEV|unix.MS_NOSUID, options); err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	_, _ = os.Stdout.WriteString("mounted\n") // if this fails, Mount reports it
	buffer := make([]byte, 1<<20)
	for {
		n, err := unix.Read(fd, buffer)
		switch {
		case errors.Is(err, unix.EINTR) || errors.Is(err, unix.ENOENT): // the request was interrupted
			continue
		case errors.Is(err, unix.ENODEV): // unmounted
			os.Exit(0)
		case err != nil || n < headBytes:
			return fmt.Errorf("read: %w", err)
		}
		order := binary.NativeEndian
		op, unique, node := order.Uint32(buffer[4:]), order.Uint64(buffer[8:]), order.Uint64(buffer[16:])
		if op == opForget || op == opBatchForget {
			continue
		}
		body, errno := answer(size, op, node, buffer[headBytes:n])
		out := order.AppendUint32(nil, uint32(16+len(body)))
		out = order.AppendUint32(out, uint32(-int32(errno)))
		out = order.AppendUint64(out, unique)
		if _, err := unix.Write(fd, append(out, body...)); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("answer: %w", err)
		}
	}
}

func answer(size int64, op uint32, node uint64, in []byte) ([]byte, syscall.Errno) {
	order := binary.NativeEndian
	switch op {
	case opInit:
		out := make([]byte, 64)
		order.PutUint32(out, 7)
		order.PutUint32(out[4:], 31)
		order.PutUint32(out[20:], 4096) // the largest write
		return out, 0
	case opLookup: // node, generation; the kernel may cache nothing
		return append(append(order.AppendUint64(nil, fileNode), make([]byte, 32)...), attributes(size, fileNode)...), 0
	case opGetattr:
		return append(make([]byte, 16), attributes(size, node)...), 0
	case opOpen: // handle, flags: FOPEN_DIRECT_IO is 1
		return order.AppendUint64(make([]byte, 8), uint64(order.Uint32(in)&unix.O_NONBLOCK/unix.O_NONBLOCK)), 0
	case opOpendir:
		return make([]byte, 16), 0
	case opRead:
		return make([]byte, min(int64(order.Uint32(in[16:])), max(0, size-int64(order.Uint64(in[8:]))))), 0
	case opStatfs:
		return make([]byte, 80), 0
	}
	return nil, syscall.ENOSYS
}

func attributes(size int64, node uint64) []byte {
	order := binary.NativeEndian
	mode := uint32(unix.S_IFREG | 0o755)
	if node == rootNode {
		mode, size = unix.S_IFDIR|0o755, 0
	}
	out := order.AppendUint64(nil, node)
	out = order.AppendUint64(out, uint64(size))
	out = append(out, make([]byte, 8+3*8+3*4)...) // blocks, times
	out = order.AppendUint32(out, mode)
	out = order.AppendUint32(out, 1)             // links
	out = append(out, make([]byte, 3*4)...)      // user, group, device
	return order.AppendUint64(out, uint64(4096)) // block size, flags
}
