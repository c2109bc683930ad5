// Package recording reads the events in test/bench/testdata and in its own testdata, which the
// agent recorded.
package recording

import (
	"bufio"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// Events returns the events of a recording, such as "build", one JSON text each, as the agent
// sent them.
func Events(t testing.TB, name string) (events []string) {
	t.Helper()
	return read(t, filepath.Join("..", "bench", "testdata", name))
}

// Hostile returns the events of a program that behaves as malware does and does no harm:
// "beacon", "dropper", "encrypter" or "miner".
func Hostile(t testing.TB, name string) (events []string) {
	t.Helper()
	return read(t, filepath.Join("testdata", "hostile", name))
}

func read(t testing.TB, path string) (events []string) {
	t.Helper()
	_, source, _, _ := runtime.Caller(0)
	file, err := os.Open(filepath.Join(filepath.Dir(source), path+".ndjson.zst"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	plain, err := zstd.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	lines := bufio.NewScanner(plain)
	for lines.Buffer(nil, 64<<20); lines.Scan(); {
		events = append(events, lines.Text())
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return events
}
