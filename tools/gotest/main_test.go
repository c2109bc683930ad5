package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// stream returns `go test -json` lines for "action package test output", with | between
// the fields.
func stream(events ...string) string {
	var b strings.Builder
	for _, e := range events {
		f := append(strings.SplitN(e, "|", 4), "", "", "")
		quote := strings.NewReplacer("\t", `\t`, "\n", `\n`, `"`, `\"`)
		b.WriteString(`{"Action":"` + f[0] + `","Package":"` + f[1] + `","Test":"` + f[2] + `","Output":"` + quote.Replace(f[3]) + `"}` + "\n")
	}
	return b.String()
}

func TestReport(t *testing.T) {
	pass := []string{"run|p|A", "output|p|A|=== RUN A\n", "output|p|A|noise\n", "pass|p|A", "output|p||PASS\n", "output|p||ok  \tp\t0.1s\n", "pass|p|"}
	for name, c := range map[string]struct {
		events []string
		want   string // of the output
		err    string
	}{
		"a test passed":  {pass, "ok  \tp\t0.1s\n1 passed, 0 failed, 0 skipped\n", ""},
		"a test failed":  {[]string{"run|p|A", "output|p|A|why\n", "fail|p|A", "output|p||FAIL\tp\n", "fail|p|"}, "why\nFAIL\tp\n0 passed, 1 failed, 0 skipped\n", "failed"},
		"a test skipped": {append([]string{"run|p|B", "output|p|B|--- SKIP: B\n", "skip|p|B"}, pass...), "--- SKIP: B\nok  \tp\t0.1s\n1 passed, 0 failed, 1 skipped\n", "skipped"},
		"no test ran":    {[]string{"output|p||?   \tp\t[no test files]\n", "skip|p|"}, "?   \tp\t[no test files]\n0 passed, 0 failed, 0 skipped\n", "no test ran"},
		"nothing at all": {nil, "0 passed, 0 failed, 0 skipped\n", "no test ran"},
		"a test panicked": {
			[]string{"run|p|A", "output|p|A|panic: x\n", "output|p||FAIL\tp\n", "fail|p|"},
			"panic: x\n--- FAIL: A (did not end)\nFAIL\tp\n0 passed, 1 failed, 0 skipped\n", "failed",
		},
		"go test was killed":          {[]string{"run|p|A"}, "--- FAIL: A (did not end)\n0 passed, 1 failed, 0 skipped\n", "failed"},
		"a package does not build":    {append([]string{"output|q||FAIL\tq [build failed]\n", "fail|q|"}, pass...), "FAIL\tq [build failed]\nok  \tp\t0.1s\n1 passed, 1 failed, 0 skipped\n", "failed"},
		"a panic text is not hidden":  {[]string{"run|p|A", "pass|p|A", "output|p||panic: late\n", "fail|p|"}, "panic: late\n1 passed, 1 failed, 0 skipped\n", "failed"},
		"a build error is not hidden": {append([]string{"build-output|||x.go:1: wrong\n"}, pass...), "x.go:1: wrong\nok  \tp\t0.1s\n1 passed, 0 failed, 0 skipped\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			err := report(strings.NewReader(stream(c.events...)), &out, false)
			if out.String() != c.want {
				t.Errorf("it says\n%s\nand not\n%s", out.String(), c.want)
			}
			if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
				t.Errorf("the error is %v, want %q", err, c.err)
			}
		})
	}
}

// TestRun runs a package with tests for every user and tests for root.
func TestRun(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{
		"go.mod":    "module p\n",
		"p_test.go": "package p\n\nimport \"testing\"\n\nfunc TestA(t *testing.T) { t.Run(\"AsRoot\", func(*testing.T) {}) }\nfunc TestBAsRoot(t *testing.T) {}\nfunc TestAsRootC(t *testing.T) {}\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	for isRoot, want := range map[bool]string{
		true:  "\n4 passed, 0 failed, 0 skipped\n",
		false: "\n3 passed, 0 failed, 0 skipped\n1 tests need root and were not run\n",
	} {
		var out strings.Builder
		if err := run([]string{"./..."}, isRoot, &out); err != nil || !strings.HasSuffix(out.String(), want) {
			t.Errorf("root %v: %v, it says\n%s\nand does not end with%s", isRoot, err, out.String(), want)
		}
	}
}

func TestReportVerbose(t *testing.T) {
	var out strings.Builder
	err := report(strings.NewReader(stream("run|p|A", "output|p|A|=== RUN A\n", "pass|p|A")+"not JSON\n"), &out, true)
	if want := "=== RUN A\nnot JSON\n1 passed, 0 failed, 0 skipped\n"; err != nil || out.String() != want {
		t.Errorf("it says %q, %v", out.String(), err)
	}
}
