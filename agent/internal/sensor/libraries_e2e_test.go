//go:build linux

package sensor

import (
	"fmt"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"

	"ospulse/agent/internal/event"
	"ospulse/test/wait"
)

// exchanges watches a program that fetches from a server, and returns its flows.
func exchanges(t *testing.T, s *Sensor, server *httptest.Server, argv ...string) (got []string) {
	t.Helper()
	events, cmd := watched(t, s, t.TempDir(), argv...)
	if !cmd.ProcessState.Success() {
		t.Fatal(cmd.ProcessState)
	}
	for _, e := range events {
		d, ok := e.Data.(*event.HTTP)
		if !ok {
			continue
		}
		line := d.Request.Method + " " + d.Request.Target
		if d.Response != nil {
			line += fmt.Sprintf(" %d %s", d.Response.StatusCode, d.Response.Body.Bytes)
		}
		if !d.TLS || d.Server.Port.String() != server.Listener.Addr().String() {
			line += fmt.Sprintf(" (TLS %t, server %s)", d.TLS, d.Server)
		}
		got = append(got, line)
	}
	return got
}

// TestTLSLibrariesAsRoot watches clients with GnuTLS and NSS. The one with NSS prints the answer
// with the function by which it also writes to the connection.
func TestTLSLibrariesAsRoot(t *testing.T) {
	server := testServer(true)
	defer server.Close()
	s := newSensor(t, Options{ContentBytes: 64, TLS: true})
	keys := t.TempDir()
	run(t, "certutil", "-N", "--empty-password", "-d", keys)
	for name, argv := range map[string][]string{
		"GnuTLS": {"/bin/sh", "-c", `wget -q -O - --content-on-error --no-check-certificate "$0" || [ $? = 8 ]`, server.URL + "/missing"},
		"NSS": { // Debian 12's tstclnt does not end by itself
			"/bin/sh", "-c", `printf 'GET /missing HTTP/1.1\r\nHost: h\r\n\r\n' | tstclnt -h 127.0.0.1 -p "$0" -o -d "$1" >"$1/out" &
until grep -q 'not here' "$1/out"; do kill -0 $! || exit; sleep 0.1; done; kill $!`, tlsPort(t, server), keys,
		},
	} {
		t.Run(name, func(t *testing.T) {
			if got, want := exchanges(t, s, server, argv...), []string{"GET /missing", "GET /missing 404 not here"}; !slices.Equal(got, want) {
				t.Errorf("got  %q\nwant %q", got, want)
			}
		})
	}
}

// TestUnseenTLSAsRoot: a program with a library for TLS, but without symbols, is reported once.
func TestUnseenTLSAsRoot(t *testing.T) {
	server := testServer(true)
	defer server.Close()
	dir, _ := tlsPrograms(t)
	run(t, "strip", "-o", dir+"/stripped", dir+"/static")
	s := newSensor(t, Options{TLS: true})
	cmd, release := launcher(t, "/bin/sh", "-c", `"$0/static" "$1"; "$0/dynamic" "$1"; "$0/stripped" "$1"; exec "$0/stripped" "$1" wait`, dir, tlsPort(t, server))
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	start(t, cmd)
	var mu sync.Mutex
	var got []string
	w, err := s.Watch(Scope{PIDs: []int{cmd.Process.Pid}, OnExec: true}, func(e *event.Event) {
		mu.Lock()
		defer mu.Unlock()
		if d, ok := e.Data.(*event.UnseenTLS); ok {
			got = append(got, d.Actor.Name+" "+d.Path)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	release()
	wait.For(t, "the program is reported", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(got) > 0
	})
	in.Close()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	closeWatch(t, w)
	if want := []string{"stripped " + dir + "/stripped"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
