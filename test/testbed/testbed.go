// Package testbed is what the benchmarks of the backend (test/bench) and of the agent
// (agent/bench) share: it builds and runs programs, reads their processor time and
// memory, talks to a backend over HTTP, and describes the machine.
//
// It knows neither the backend's nor the agent's packages, only their programs.
package testbed

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
)

// Build builds a program of this module and returns its path in dir. It omits the flag
// -trimpath of a release, which would compile everything again.
func Build(ctx context.Context, dir, name, pkg string) (string, error) {
	return BuildIn(ctx, "", dir, name, pkg)
}

// BuildIn is Build in the module of another folder. dir must be absolute.
func BuildIn(ctx context.Context, module, dir, name, pkg string) (string, error) {
	path := filepath.Join(dir, name)
	if runtime.GOOS == "windows" {
		path += ".exe"
	}
	build := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-ldflags", "-s -w", "-o", path, pkg)
	build.Dir = module
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", name, err, out)
	}
	return path, nil
}

// Machine describes where the figures of a report come from.
type Machine struct {
	System string `json:"system"`
	CPUs   int    `json:"cpus"`
	Go     string `json:"go"`
}

// ThisMachine returns the machine that the benchmark runs on.
func ThisMachine() Machine {
	return Machine{System: runtime.GOOS + "/" + runtime.GOARCH, CPUs: runtime.NumCPU(), Go: runtime.Version()}
}

// Median returns the middle value, or the mean of the middle two. There must be at
// least one value.
func Median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// Number formats a figure of a table; 0 is unknown and gives an empty cell.
func Number(format string, value float64) string {
	if value == 0 {
		return ""
	}
	return fmt.Sprintf(format, value)
}

// Megabytes converts bytes to MiB.
func Megabytes(n int64) float64 { return float64(n) / (1 << 20) }
