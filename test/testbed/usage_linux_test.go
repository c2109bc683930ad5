package testbed

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestReadStat(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stat")
	text := "4711 (a (b) c) S 12 4711 4711 0 -1 4194560 1 2 3 4 150 50 7 3 20 0 1 0 89048 2998272 416\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	want := stat{pid: 4711, parent: 12, name: "a (b) c", own: 2 * time.Second, ended: 100 * time.Millisecond}
	if got, ok := readStat(path); !ok || got != want {
		t.Errorf("got %+v, %v, want %+v", got, ok, want)
	}
}

func TestReadStatRefusesOtherText(t *testing.T) {
	for _, text := range []string{"", "12 (a) S 1", "12 a S 1 12 12 0 -1 4194304 1 0 0 0 1 2 0 0 0"} {
		path := filepath.Join(t.TempDir(), "stat")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, ok := readStat(path); ok {
			t.Errorf("%q is read as %+v", text, got)
		}
	}
}

func TestMemoryOfThisProcess(t *testing.T) {
	resident, peak := ResidentBytes(os.Getpid()), PeakBytes(os.Getpid())
	if resident < 1<<20 || peak < resident/2 {
		t.Errorf("%d bytes, %d at most", resident, peak)
	}
}

// TestThreadCPU checks that both figures of the processor time agree. Threads that have ended
// count in one of them only.
func TestThreadCPU(t *testing.T) {
	for began := CPU(os.Getpid()); CPU(os.Getpid()) < began+5*tick; { // work
	}
	before := CPU(os.Getpid())
	precise := ThreadCPU(os.Getpid())
	if after := CPU(os.Getpid()); precise < before/2 || precise > after+2*tick {
		t.Errorf("%s, want %s to %s", precise, before, after)
	}
}
