package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// fixture is one recorded request of a real client.
type fixture struct {
	Method, Path, Body string
	Headers            map[string]string
}

// readFixtures returns the recorded requests of all real clients.
func readFixtures(t testing.TB) map[string][]fixture {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(root, "test", "testdata", "fixtures", "*.jsonl"))
	if err != nil || len(names) == 0 {
		t.Fatal("no fixtures: ", err)
	}
	fixtures := map[string][]fixture{}
	for _, name := range names {
		file, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewReader(file)
		for {
			line, err := lines.ReadBytes('\n')
			if len(bytes.TrimSpace(line)) > 0 {
				var f fixture
				if err := json.Unmarshal(line, &f); err != nil {
					t.Fatal(err)
				}
				fixtures[filepath.Base(name)] = append(fixtures[filepath.Base(name)], f)
			}
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := file.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return fixtures
}
