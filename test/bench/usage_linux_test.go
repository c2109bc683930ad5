package main

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

func TestMemoryOfThisProcess(t *testing.T) {
	resident, peak := residentBytes(os.Getpid()), peakBytes(os.Getpid())
	if resident < 1<<20 || peak < resident/2 {
		t.Errorf("%d bytes, %d at most", resident, peak)
	}
}
