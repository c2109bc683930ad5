// Command gotest runs `go test -json` with its arguments, prints what plain `go test`
// prints, and ends with one line that has only the counts:
//
// 12 passed, 0 failed, 0 skipped
//
// It exits with 1 unless every test was run and passed: a skipped test, a test that
// began and never ended, and a run without any test are failures, too.
//
// A test whose name ends in AsRoot needs root. For another user gotest omits these tests,
// and one more line has their number:
//
// 52 tests need root and were not run
//
// It does not depend on the rest of this project and imports only the standard library.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
)

func main() {
	// Ctrl-C reaches go test, too. Its remaining output must still be printed.
	signal.Notify(make(chan os.Signal, 1), os.Interrupt, syscall.SIGTERM)
	if err := run(os.Args[1:], os.Geteuid() == 0, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "gotest:", err)
		os.Exit(1)
	}
}

// asRoot matches the names of tests that need root.
const asRoot = "AsRoot$"

// run runs go test and reports on w. It returns an error unless the run is a success.
func run(args []string, isRoot bool, w io.Writer) error {
	if isRoot {
		return runTests(args, w)
	}
	n, err := countRootTests(args)
	err = errors.Join(err, runTests(append([]string{"-skip", asRoot}, args...), w))
	_, _ = fmt.Fprintf(w, "%d tests need root and were not run\n", n)
	return err
}

// countRootTests counts the tests of the packages in args that need root.
func countRootTests(args []string) (n int, err error) {
	cmd := exec.CommandContext(context.Background(), "go", append([]string{"test", "-vet=off", "-list", asRoot}, args...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return 0, fmt.Errorf("list the tests that need root: %w", err)
	}
	for line := range strings.Lines(string(out)) {
		if strings.HasPrefix(line, "Test") {
			n++
		}
	}
	return n, nil
}

func runTests(args []string, w io.Writer) error {
	cmd := exec.CommandContext(context.Background(), "go", append([]string{"test", "-json"}, args...)...)
	cmd.Stderr = os.Stderr
	events, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	verbose := slices.Contains(args, "-v") || slices.Contains(args, "-test.v")
	reported := report(events, w, verbose)
	if err := cmd.Wait(); err != nil {
		return errors.Join(reported, fmt.Errorf("go test: %w", err))
	}
	return reported
}

// event is one line of `go test -json`, see `go doc test2json` and `go help buildjson`.
type event struct {
	Action     string
	Package    string
	ImportPath string // of build-output, which has no Package
	Test       string
	Output     string
}

// id names a test; the package itself has no test name.
type id struct{ pkg, test string }

// state is the state of the run so far.
type state struct {
	w                       io.Writer
	verbose                 bool
	passed, failed, skipped int
	output                  map[id]*strings.Builder // of tests that have not ended
	running                 map[id]bool
	failedIn                map[string]bool // packages with a failed test
}

// report reads all events, prints the output that matters, and then the counts.
func report(events io.Reader, w io.Writer, verbose bool) error {
	s := &state{w: w, verbose: verbose, output: map[id]*strings.Builder{}, running: map[id]bool{}, failedIn: map[string]bool{}}
	lines := bufio.NewReader(events)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			s.line(line)
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	for t := range s.running { // go test itself was killed
		s.unfinished(t)
	}
	s.print(fmt.Sprintf("%d passed, %d failed, %d skipped\n", s.passed, s.failed, s.skipped))
	switch {
	case s.failed > 0:
		return errors.New("tests failed")
	case s.skipped > 0:
		return errors.New("tests were skipped: install what they lack")
	case s.passed == 0:
		return errors.New("no test ran")
	}
	return nil
}

func (s *state) line(line string) {
	var e event
	if err := json.Unmarshal([]byte(line), &e); err != nil || e.Action == "" {
		s.print(line)
		return
	}
	t := id{e.Package, e.Test}
	switch e.Action {
	case "build-output":
		s.print(e.Output)
	case "output":
		s.keep(t, e.Output)
	case "run":
		s.running[t] = true
	case "pass", "fail", "skip":
		if t.test == "" {
			s.packageEnds(e)
		} else {
			s.testEnds(e)
		}
	}
}

// print writes to w and ignores errors: without a reader, only the exit code matters.
func (s *state) print(text ...string) {
	for _, t := range text {
		_, _ = io.WriteString(s.w, t)
	}
}

// keep holds output back until it is known whether to print it.
func (s *state) keep(t id, text string) {
	if s.verbose {
		s.print(text)
		return
	}
	if s.output[t] == nil {
		s.output[t] = &strings.Builder{}
	}
	s.output[t].WriteString(text)
}

// take returns and removes the kept output of a test.
func (s *state) take(t id) string {
	b := s.output[t]
	delete(s.output, t)
	if b == nil {
		return ""
	}
	return b.String()
}

func (s *state) testEnds(e event) {
	t := id{e.Package, e.Test}
	delete(s.running, t)
	text := s.take(t)
	switch e.Action {
	case "pass":
		s.passed++
		return
	case "fail":
		s.failed++
		s.failedIn[e.Package] = true
	case "skip":
		s.skipped++
	}
	s.print(text)
}

func (s *state) packageEnds(e event) {
	text := s.take(id{e.Package, ""})
	if e.Action == "fail" {
		for t := range s.running {
			if t.pkg == e.Package {
				s.unfinished(t)
			}
		}
		if !s.failedIn[e.Package] { // it did not build, or exited by itself
			s.failed++
		}
		s.print(text)
		return
	}
	for line := range strings.Lines(text) { // "ok …" and "? … [no test files]", but not "PASS" and logs
		if strings.HasPrefix(line, "ok  \t") || strings.HasPrefix(line, "?   \t") {
			s.print(line)
		}
	}
}

// unfinished counts a test that began and did not end: a panic, a timeout, os.Exit.
func (s *state) unfinished(t id) {
	delete(s.running, t)
	s.failed++
	s.failedIn[t.pkg] = true
	s.print(s.take(t), "--- FAIL: ", t.test, " (did not end)\n")
}
