//go:build linux

package sensor

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"ospulse/agent/internal/event"
	"ospulse/agent/internal/inspect/fusetest"
	"ospulse/test/wait"
)

// mapping waits for a line, maps a file as a library 21 times, opens a second file, and
// waits again. It opens and closes the library first: from then on the kernel knows that
// its file system does not handle close.
const mapping = `import ctypes, os, sys
os.close(os.open(sys.argv[1], os.O_RDONLY))
fd = os.open(sys.argv[1], os.O_RDONLY)
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
print('ready', flush=True)
sys.stdin.readline()
for i in range(20):
    libc.munmap(libc.mmap(None, 4096, 5, 2, fd, 0), 4096)
libc.mmap(None, 4096, 5, 2, fd, 0)
os.close(os.open(sys.argv[2], os.O_CREAT | os.O_WRONLY))
sys.stdin.readline()
os._exit(0)`

// checkMapping runs mapping with a hostile library and checks that its last event is
// reported. It calls ready before the program maps the library.
func checkMapping(t *testing.T, library string, ready func()) {
	t.Helper()
	s := newSensor(t, Options{TLS: true})
	marker := filepath.Join(t.TempDir(), "marker")
	cmd := exec.Command(python(t), "-c", mapping, library, marker)
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	marked := make(chan struct{}, 100)
	w, err := s.Watch(Scope{PIDs: []int{cmd.Process.Pid}}, func(e *event.Event) {
		if d, ok := e.Data.(*event.File); ok && d.Path == marker {
			marked <- struct{}{}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	ready()
	if _, err := in.Write([]byte("\n")); err != nil {
		t.Fatal(err)
	}
	wait.Receive(t, "events after the library was mapped", marked)
	if err := errors.Join(in.Close(), cmd.Wait(), w.Close()); err != nil {
		t.Error(err)
	}
}

// TestSilentLibraryAsRoot: a library on a file system that stops answering does not stop
// the events.
func TestSilentLibraryAsRoot(t *testing.T) {
	silent := fusetest.Mount(t, 1<<20)
	checkMapping(t, silent.File("libssl-x.so"), func() { silent.Silence(t) })
}

// TestSparseLibraryAsRoot: a library that is small on disk but takes very long to read does
// not stop the events.
func TestSparseLibraryAsRoot(t *testing.T) {
	library := filepath.Join(t.TempDir(), "libssl-x.so")
	bomb := exec.Command(python(t), "testdata/programs/elfbomb.py", library, "60000", "64")
	bomb.Stderr = os.Stderr
	if err := bomb.Run(); err != nil {
		t.Fatal(err)
	}
	checkMapping(t, library, func() {})
}
