//go:build linux

package sensor

import (
	"bytes"
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"ospulse/agent/internal/event"
)

// goProgram builds a program of testdata/programs without symbols, and returns its path.
func goProgram(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	run(t, "env", "CGO_ENABLED=0", "go", "build", "-ldflags=-s -w", "-o", path, "./testdata/programs/"+name)
	return path
}

// TestGoTLSAsRoot watches a Go program that has both sides of many connections in one process:
// all flows are whole, and connections do not mix.
func TestGoTLSAsRoot(t *testing.T) {
	s := newSensor(t, Options{ContentBytes: 64, TLS: true})
	program := goProgram(t, "gotls")
	cmd, release := held(t, t.TempDir(), program)
	var l log
	w, err := s.Watch(Scope{PIDs: []int{cmd.Process.Pid}, OnExec: true}, l.add)
	if err != nil {
		t.Fatal(err)
	}
	s.Expect(program)
	s.Expect("/proc/self/exe")
	release()
	s.tls.mu.Lock()
	if s.tls.probed[s.tls.own] != nil {
		t.Error("the agent's own program has probes")
	}
	s.tls.mu.Unlock()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	closeWatch(t, w)

	var got, want []string
	versions := map[string]int{}
	for _, e := range l.events {
		d, ok := e.Data.(*event.HTTP)
		if !ok {
			if lost, ok := e.Data.(*event.Lost); ok {
				t.Errorf("lost: %+v", lost)
			}
			continue
		}
		line := fmt.Sprintf("serving %t: %s %s", d.Serving, d.Request.Method, d.Request.Target)
		var client, request int
		if _, err := fmt.Sscanf(d.Request.Target, "/%d/%d", &client, &request); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		body := bytes.Repeat([]byte{byte('a' + client)}, 1000*request+1)
		if !bytes.Equal(d.Request.Body.Bytes, body) || d.Response != nil && !bytes.Equal(d.Response.Body.Bytes, body) {
			t.Errorf("%s: another body: %.100q", line, d.Request.Body.Bytes)
		}
		if d.Response != nil {
			line += fmt.Sprint(" ", d.Response.StatusCode)
		}
		if d.TLS != (client < 8) || !d.Server.Port.Addr().IsLoopback() || !d.Client.Port.Addr().IsLoopback() || d.Server.Port == d.Client.Port {
			t.Errorf("%s: TLS %v, from %s to %s", line, d.TLS, d.Client, d.Server)
		}
		versions[d.Request.Version]++
		got = append(got, line)
	}
	for client := range 10 {
		for request := range 5 {
			for _, serving := range []bool{false, true} {
				line := fmt.Sprintf("serving %t: POST /%d/%d", serving, client, request)
				want = append(want, line, line+" 200")
			}
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if versions["HTTP/1.1"] != 4*len(want)/10 || versions["HTTP/2.0"] != 6*len(want)/10 {
		t.Errorf("versions: %v", versions)
	}
}
