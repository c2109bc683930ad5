//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
)

// work is a build.
type work struct {
	name string
	make func(ctx context.Context, l *lab, dir string) (load, error) // nothing is built yet in dir
}

// works returns builds that keep all processors busy, so that the agent's work delays
// them.
func works() []work { return []work{{"C", compileC}, {"Go", compileGo}} }

// compileC compiles small programs with make and gcc: many short processes that open
// many headers.
func compileC(_ context.Context, l *lab, dir string) (load, error) {
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		return load{}, err
	}
	const makefile = "all: $(patsubst %%.c,%%.o,$(wildcard *.c))\n%%.o: %%.c\n\t%s -O2 -c -o $@ $<\n"
	if err := os.WriteFile(filepath.Join(dir, "Makefile"), fmt.Appendf(nil, makefile, gcc), 0o600); err != nil {
		return load{}, err
	}
	for i := range max(1, int(50*l.scale)) {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("part%d.c", i)), sourceC(i), 0o600); err != nil {
			return load{}, err
		}
	}
	return load{dir, buildEnv(dir), []string{"make", "-s", "-j" + strconv.Itoa(runtime.NumCPU())}}, nil
}

// sourceC returns a source of some 500 lines.
func sourceC(seed int) []byte {
	var text strings.Builder
	for _, header := range []string{"errno", "fcntl", "math", "signal", "stdio", "stdlib", "string", "sys/socket", "sys/stat", "time", "unistd"} {
		fmt.Fprintf(&text, "#include <%s.h>\n", header)
	}
	for i := range 40 {
		fmt.Fprintf(&text, `
static int digest_%[1]d(const unsigned char *data, size_t size, char *out, size_t room)
{
	unsigned h = %[2]du;
	for (size_t i = 0; i < size; i++) {
		h = h * 31u + data[i];
		if (h %% %[3]du == 0)
			h ^= h >> 7;
	}
	if (snprintf(out, room, "%%08x", h) < 0)
		return -errno;
	return (int)strlen(out);
}
`, i, seed*7919+i, i+3)
	}
	text.WriteString("\nint main(int count, char **words)\n{\n\tchar out[64];\n\tint sum = 0;\n\tfor (int i = 0; i < count; i++) {\n")
	for i := range 40 {
		fmt.Fprintf(&text, "\t\tsum += digest_%d((const unsigned char *)words[i], strlen(words[i]), out, sizeof out);\n", i)
	}
	text.WriteString("\t\tputs(out);\n\t}\n\treturn sum == 0;\n}\n")
	return []byte(text.String())
}

// compileGo compiles a package of Go's library and its dependencies with an empty cache.
func compileGo(_ context.Context, _ *lab, dir string) (load, error) {
	return load{dir, buildEnv(dir), []string{"go", "build", "encoding/json"}}, nil
}

func buildEnv(dir string) []string {
	return []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "TMPDIR=" + dir, "LC_ALL=C",
		"GOCACHE=" + filepath.Join(dir, "cache"), "GOENV=off", "GOFLAGS=", "GOPROXY=off", "GOTOOLCHAIN=local", "CGO_ENABLED=0",
	}
}

// ready starts the work, held until it is released, in its own folder, calls fn and
// removes the folder. Before the start it syncs the writes of earlier runs to the disk.
func (w work) ready(ctx context.Context, l *lab, wrapper []string, fn func(*held) (sample, error)) (s sample, err error) {
	dir, err := os.MkdirTemp(l.dir, "build-")
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	program, err := w.make(ctx, l, dir)
	if err != nil {
		return s, err
	}
	syscall.Sync()
	h, err := hold(ctx, wrapper, program)
	if err != nil {
		return s, err
	}
	defer h.end()
	return fn(h)
}

// alone measures the work without an agent.
func (w work) alone(wrapper ...string) func(context.Context, *lab) (sample, error) {
	return func(ctx context.Context, l *lab) (sample, error) {
		return w.ready(ctx, l, wrapper, func(h *held) (s sample, err error) {
			s.Value, err = h.run()
			s.LoadCPU = h.cpu()
			return s, err
		})
	}
}

// traced measures the work in a session.
func (w work) traced(o stageOptions) func(context.Context, *lab) (sample, error) {
	return func(ctx context.Context, l *lab) (sample, error) {
		return l.withStage(ctx, o, func(st *stage) (sample, error) {
			return w.ready(ctx, l, nil, func(h *held) (s sample, err error) {
				id, err := st.session(ctx, []int{h.pid()}, func(string) (err error) {
					s.Value, err = h.run()
					s.LoadCPU = h.cpu()
					return err
				})
				if err != nil {
					return s, err
				}
				return s, s.count(ctx, st, id, "", 0)
			})
		})
	}
}

// beside measures the work while a session watches an idle program.
func (w work) beside(ctx context.Context, l *lab) (sample, error) {
	return besideSession(ctx, l, func() (sample, error) { return w.alone()(ctx, l) })
}
