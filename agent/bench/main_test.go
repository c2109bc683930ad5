//go:build linux

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestMain runs a helper of the benchmark if the first argument names one.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && strings.HasPrefix(os.Args[1], "be-") {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestParse(t *testing.T) {
	o, err := parse([]string{"-run", "build", "-rounds", "2", "-scale", "0.1", "-idle", "6s", "-json", "x"})
	if err != nil || !o.Scenarios.MatchString("build of C") || o.Rounds != 2 || o.scale != 0.1 || o.idle.Seconds() != 6 || o.JSONPath != "x" {
		t.Errorf("got %+v, %v", o, err)
	}
	if o, err = parse(nil); err != nil || o.Rounds != 5 || o.scale != 1 || o.idle.Seconds() != 60 {
		t.Errorf("without flags: %+v, %v", o, err)
	}
	for _, args := range []string{"-rounds 0", "-scale 0", "-scale NaN", "-scale 101", "-idle 2s", "-run (", "more"} {
		if _, err := parse(strings.Fields(args)); err == nil {
			t.Errorf("%s is taken", args)
		}
	}
	for _, flag := range []string{"-run", "-rounds", "-scale", "-idle", "-json"} {
		if !strings.Contains(help, "\n  "+flag) {
			t.Errorf("the help does not tell of %s", flag)
		}
	}
}

// TestBenchAsRoot runs short scenarios with a real agent, which needs eBPF.
func TestBenchAsRoot(t *testing.T) {
	path := filepath.Join(t.TempDir(), "figures.json")
	var table, progress strings.Builder
	args := []string{"-run", "as fast|^start", "-rounds", "1", "-scale", "0.01", "-json", path}
	err := run(t.Context(), args, &table, &progress)
	if err != nil {
		t.Fatalf("%v\n%s", err, &progress)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var told report
	if err := json.Unmarshal(text, &told); err != nil {
		t.Fatal(err)
	}
	if len(told.Rows) != 3 { // and the memory
		t.Fatalf("%d rows in\n%s", len(told.Rows), text)
	}
	for _, r := range told.Rows {
		if r.Median <= 0 || !strings.Contains(table.String(), r.Name) {
			t.Errorf("%+v in\n%s", r, &table)
		}
		for _, s := range r.Samples {
			if len(s.Faults) > 0 {
				t.Errorf("%s: %q", r.Scenario, s.Faults)
			}
		}
	}
	if files := told.Rows[0].Samples[0]; files.Events+files.Lost < 2*5000 || files.AgentCPU < 0 || files.PeakMB <= 0 {
		t.Errorf("files: %+v", files)
	}
}
