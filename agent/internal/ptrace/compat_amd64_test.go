//go:build linux

package ptrace

import (
	"os/exec"
	"path/filepath"
	"testing"

	"ospulse/agent/internal/event"
)

// TestCompat runs a 64-bit program that makes 32-bit calls. A kernel without them ends it with
// SIGSEGV; see the test of the eBPF sensor.
func TestCompat(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(t.TempDir(), "compat")
	if out, err := exec.Command("gcc", "-w", "-o", program, "../sensor/testdata/programs/compat.c").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	isSupported := exec.Command(program, "probe").Run() == nil
	all := trace(t, nil, "/bin/sh", "-c", `cd "$0" && exec "$1"`, dir, program)
	if !isSupported {
		has(t, all, 0, event.TypeProcessExit, "signalName", "SIGSEGV")
		return
	}
	at := has(t, all, 0, event.TypeFile, "compat32", true, "operation", "OpenFile", "filePath", dir+"/compat file")
	at = has(t, all, at, event.TypeFile, "compat32", true, "operation", "WriteFile", "bytesTransferred", 9)
	at = has(t, all, at, event.TypeNetwork, "compat32", true, "operation", "Socket", "syscall", "socket")
	has(t, all, at, event.TypeFile, "compat32", true, "operation", "CloseFile", "filePath", dir+"/compat file")
}
