//go:build linux

package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

func TestSourcesCompile(t *testing.T) {
	dir := t.TempDir()
	l := &lab{options: options{scale: 0.01}}
	program, err := compileC(t.Context(), l, dir)
	if err != nil {
		t.Fatal(err)
	}
	h, err := hold(t.Context(), nil, program)
	if err != nil {
		t.Fatal(err)
	}
	defer h.end()
	if seconds, err := h.run(); err != nil || seconds <= 0 {
		t.Fatal(seconds, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "part0.o")); err != nil {
		t.Error(err)
	}
	if h.cpu() <= 0 {
		t.Error("compiling took no processor time")
	}
	if bytes.Equal(sourceC(1), sourceC(2)) {
		t.Error("all sources are the same")
	}
}

func TestLoadThatFails(t *testing.T) {
	h, err := hold(t.Context(), nil, load{command: []string{"sh", "-c", "echo why >&2; exit 3"}})
	if err != nil {
		t.Fatal(err)
	}
	defer h.end()
	if _, err := h.run(); err == nil || !strings.Contains(err.Error(), "why") {
		t.Errorf("got %v", err)
	}
}

func TestCalls(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	for _, kind := range []string{"copy", "read", "getpid"} {
		var told bytes.Buffer
		if err := doCalls([]string{kind, path, "3"}, strings.NewReader("go\n"), &told); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
		if _, err := strconv.ParseFloat(strings.TrimSpace(told.String()), 64); err != nil {
			t.Errorf("%s tells %q", kind, &told)
		}
	}
	for _, args := range [][]string{{"copy", path}, {"copy", path, "x"}, {"fork", path, "1"}} {
		if err := doCalls(args, strings.NewReader("go\n"), io.Discard); err == nil {
			t.Errorf("%q is taken", args)
		}
	}
}

func TestSample(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := doSample([]string{path, "3"}); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
	for _, args := range [][]string{{path}, {path, "x"}, {path + "/x", "1"}} {
		if err := doSample(args); err == nil {
			t.Errorf("%q is taken", args)
		}
	}
}

func TestRawFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	file, err := newRawFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if fault := file.round(); fault != 0 {
			t.Fatal(fault)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Size() != int64(len(file.content)) {
		t.Error(info, err)
	}
	if missing, err := newRawFile(filepath.Join(path, "x")); err != nil || missing.round() == 0 {
		t.Error("a file in a file is made", err)
	}
}
