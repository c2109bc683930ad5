//go:build linux

package sensor

import (
	"bytes"
	"compress/gzip"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ospulse/agent/internal/event"
	"ospulse/test/wait"
)

// testServer starts a server on loopback.
func testServer(withTLS bool) *httptest.Server {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/gzip":
			w.Header().Set("Content-Encoding", "gzip")
			w.Header().Set("Content-Type", "text/plain")
			z := gzip.NewWriter(w)
			_, _ = io.WriteString(z, strings.Repeat("compressed ", 50))
			_ = z.Close()
		case "/big":
			_, _ = io.WriteString(w, strings.Repeat("0123456789abcdef", 20_000))
		case "/chunked":
			for i := range 3 {
				_, _ = fmt.Fprintf(w, "piece %d\n", i)
				w.(http.Flusher).Flush()
			}
		case "/echo":
			_, _ = io.Copy(w, r.Body)
		case "/none":
			w.WriteHeader(http.StatusNoContent)
		default:
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, "not here")
		}
	}))
	server.EnableHTTP2 = true
	server.Config.Protocols = &http.Protocols{}
	server.Config.Protocols.SetHTTP1(true)
	server.Config.Protocols.SetHTTP2(true)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	if withTLS {
		server.StartTLS()
	} else {
		server.Start()
	}
	return server
}

// TestHTTPFlowsAsRoot watches curl and Python, which fetch over HTTP and over TLS.
func TestHTTPFlowsAsRoot(t *testing.T) {
	s := newSensor(t, Options{ContentBytes: 64, TLS: true})
	for _, withTLS := range []bool{false, true} {
		for client, argv := range map[string][]string{
			"curl": {
				"/usr/bin/curl", "-s", "-k", "--http1.1", "--compressed", "U/gzip", "U/big", "U/chunked", "U/none", "U/missing",
				"--next", "-s", "-k", "--http1.1", "-d", "name=value", "U/echo",
			},
			// One curl for each: Debian 12's fails when it reuses a connection without TLS.
			"curl with HTTP/2": {
				"/bin/sh", "-c", `curl="curl -s -k --http2-prior-knowledge --compressed"
for path in gzip big chunked none missing; do $curl U/$path >/dev/null || exit; done; exec $curl -d name=value U/echo`,
			},
			"python": {python(t), "-c", `
import http.client, ssl, sys
from urllib.parse import urlsplit
u = urlsplit('U/')
c = http.client.HTTPSConnection(u.netloc, context=ssl._create_unverified_context()) if u.scheme == 'https' else http.client.HTTPConnection(u.netloc)
for path in ('/gzip', '/big', '/chunked', '/none', '/missing'):
    c.request('GET', path, headers={'Accept-Encoding': 'gzip'}); c.getresponse().read()
c.request('POST', '/echo', body='name=value'); c.getresponse().read()
`},
		} {
			t.Run(fmt.Sprintf("%s/tls=%v", client, withTLS), func(t *testing.T) {
				server := testServer(withTLS)
				defer server.Close()
				version := "HTTP/1.1"
				if client == "curl with HTTP/2" {
					version = "HTTP/2.0"
				}
				checkFlows(t, s, argv, server.URL, withTLS, version)
			})
		}
	}
}

func checkFlows(t *testing.T, s *Sensor, argv []string, url string, withTLS bool, version string) {
	t.Helper()
	command := make([]string, len(argv))
	for i, arg := range argv {
		command[i] = strings.ReplaceAll(arg, "U/", url+"/")
	}
	cmd, release := held(t, t.TempDir(), command...)
	var l log
	w, err := s.Watch(Scope{PIDs: []int{cmd.Process.Pid}, OnExec: true}, l.add)
	if err != nil {
		t.Fatal(err)
	}
	release()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	closeWatch(t, w)

	var requests, responses []*event.HTTP
	for _, e := range l.events {
		if d, ok := e.Data.(*event.HTTP); ok {
			if d.Response == nil {
				requests = append(requests, d)
			} else {
				responses = append(responses, d)
			}
		}
	}
	want := []struct {
		path, body string
		size       int64
		code       int
	}{
		{"/gzip", strings.Repeat("compressed ", 50), 550, 200},
		{"/big", strings.Repeat("0123456789abcdef", 20_000)[:event.MaxBody], 320_000, 200},
		{"/chunked", "piece 0\npiece 1\npiece 2\n", 24, 200},
		{"/none", "", 0, 204},
		{"/missing", "not here", 8, 404},
		{"/echo", "name=value", 10, 200},
	}
	if len(requests) != len(want) || len(responses) != len(want) {
		t.Fatalf("%d requests and %d responses; want %d of each", len(requests), len(responses), len(want))
	}
	address := netip.MustParseAddrPort(url[strings.LastIndexByte(url, '/')+1:])
	for i, want := range want {
		got := responses[i]
		if requests[i].Request.Target != want.path || got.Request.Target != want.path {
			t.Errorf("flow %d: request for %q, response for %q; want %q", i, requests[i].Request.Target, got.Request.Target, want.path)
		}
		if _, _, _, u := got.URL(); u != url+want.path {
			t.Errorf("%s: URL %s", want.path, u)
		}
		if got.TLS != withTLS || got.Serving || got.Server.Port != address || !got.Client.Port.Addr().IsLoopback() {
			t.Errorf("%s: TLS %v, serving %v, from %s to %s", want.path, got.TLS, got.Serving, got.Client, got.Server)
		}
		if got.Request.Version != version || got.Response.Version != version {
			t.Errorf("%s: a request of %s, a response of %s", want.path, got.Request.Version, got.Response.Version)
		}
		body := got.Response.Body
		if got.Response.StatusCode != want.code || string(body.Bytes) != want.body || body.Size != want.size ||
			body.Truncated != (want.size > event.MaxBody) {
			t.Errorf("%s: status %d, body of %d bytes, %d kept, truncated %v, begins %.40q",
				want.path, got.Response.StatusCode, body.Size, len(body.Bytes), body.Truncated, body.Bytes)
		}
		if want.path == "/echo" && string(got.Request.Body.Bytes) != "name=value" {
			t.Errorf("the request's body is %q", got.Request.Body.Bytes)
		}
		if json := got.AppendJSON(nil); !bytes.Contains(json, []byte(`"kind":"response"`)) {
			t.Errorf("%s: %s", want.path, json)
		}
	}
}

// TestHTTPServingAsRoot watches a server: its flows are its clients' flows with the roles
// swapped.
func TestHTTPServingAsRoot(t *testing.T) {
	const server = `
import http.server, ssl, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def log_message(self, *args): pass
    def answer(self, body):
        self.send_response(200); self.send_header('Content-Length', str(len(body))); self.end_headers(); self.wfile.write(body)
    def do_GET(self): self.answer(b'x' * 200000)
    def do_POST(self): self.answer(self.rfile.read(int(self.headers['Content-Length'])).upper())
s = http.server.HTTPServer(('127.0.0.1', 0), Handler)
if len(sys.argv) > 1:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[1])
    s.socket = context.wrap_socket(s.socket, server_side=True)
print('%06d' % s.server_address[1], flush=True)
s.handle_request()`
	s := newSensor(t, Options{ContentBytes: 64, TLS: true})
	for scheme, arguments := range map[string][]string{"http": nil, "https": {certificate(t)}} {
		t.Run(scheme, func(t *testing.T) {
			cmd, release, out := heldWithOutput(t, append([]string{python(t), "-c", server}, arguments...)...)
			var l log
			w, err := s.Watch(Scope{PIDs: []int{cmd.Process.Pid}, OnExec: true}, l.add)
			if err != nil {
				t.Fatal(err)
			}
			release()
			port := make([]byte, 6)
			if _, err := io.ReadFull(out, port); err != nil {
				t.Fatal(err)
			}
			address := scheme + "://127.0.0.1:" + strings.TrimLeft(string(port), "0")
			run(t, "curl", "-sk", "--http1.1", "-o", "/dev/null", address+"/first", "--next", "-sk", "--http1.1", "-d", "abc", address+"/second")
			if err := cmd.Wait(); err != nil {
				t.Fatal(err)
			}
			closeWatch(t, w)
			var got []string
			for _, e := range l.events {
				if d, ok := e.Data.(*event.HTTP); ok {
					_, _, _, url := d.URL()
					line := fmt.Sprintf("serving %v, TLS %v: %s %s %s", d.Serving, d.TLS, d.Request.Method, url, d.Request.Body.Bytes)
					if r := d.Response; r != nil {
						line += fmt.Sprintf(" = %d, %d of %d bytes", r.StatusCode, len(r.Body.Bytes), r.Body.Size)
					}
					got = append(got, line)
				}
			}
			side := fmt.Sprintf("serving true, TLS %v: ", scheme == "https")
			want := []string{
				side + "GET " + address + "/first ", side + "GET " + address + "/first  = 200, 102400 of 200000 bytes",
				side + "POST " + address + "/second abc", side + "POST " + address + "/second abc = 200, 3 of 3 bytes",
			}
			if !slices.Equal(got, want) {
				t.Errorf("got  %q\nwant %q", got, want)
			}
		})
	}
}

// TestHTTPInVectorsAsRoot sends bodies with sendmsg and writev, as many programs do: the
// flows have the whole bodies.
func TestHTTPInVectorsAsRoot(t *testing.T) {
	server := testServer(false)
	defer server.Close()
	s := newSensor(t, Options{ContentBytes: 64})
	cmd, release := held(t, t.TempDir(), python(t), "-c", `
import os, socket, sys
host, port = sys.argv[1].split(':')
body = bytes(i % 251 for i in range(70000))
head = b'POST /missing HTTP/1.1\r\nHost: h\r\nContent-Length: 70000\r\n\r\n'
c = socket.create_connection((host, int(port)))
for send in (lambda v: c.sendmsg(v), lambda v: os.writev(c.fileno(), v)):
    assert send([head, body[:5], b'', body[5:40000], body[40000:]]) == len(head) + 70000
    answer = b''
    while not answer.endswith(b'not here'):
        piece = c.recv(100000)
        assert piece
        answer += piece
`, server.Listener.Addr().String())
	var l log
	w, err := s.Watch(Scope{PIDs: []int{cmd.Process.Pid}, OnExec: true}, l.add)
	if err != nil {
		t.Fatal(err)
	}
	release()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	closeWatch(t, w)
	want := make([]byte, 70_000)
	for i := range want {
		want[i] = byte(i % 251)
	}
	flows := 0
	for _, e := range l.events {
		d, ok := e.Data.(*event.HTTP)
		if !ok {
			continue
		}
		flows++
		if body := d.Request.Body; body.Truncated || !bytes.Equal(body.Bytes, want) {
			t.Errorf("a body of %d bytes, %d kept, truncated %v", body.Size, len(body.Bytes), body.Truncated)
		}
	}
	if flows != 4 {
		t.Errorf("%d flows, want two requests and two responses", flows)
	}
}

// TestHTTPBeginningsAsRoot: requests are reported with any method, and however their first
// bytes are split across calls. Other protocols are not reported as HTTP.
func TestHTTPBeginningsAsRoot(t *testing.T) {
	s := newSensor(t, Options{ContentBytes: 16})
	script, err := filepath.Abs("testdata/programs/beginnings.py")
	if err != nil {
		t.Fatal(err)
	}
	events, cmd := watched(t, s, t.TempDir(), "/usr/bin/python3", "-S", "-E", script)
	if !cmd.ProcessState.Success() {
		t.Fatal(cmd.ProcessState)
	}
	got := map[bool][]string{} // by event.HTTP.Serving
	for _, e := range events {
		d, ok := e.Data.(*event.HTTP)
		if !ok {
			continue
		}
		target := d.Request.Target
		if len(target) > 100 {
			target = fmt.Sprintf("%s…%d", target[:3], len(target))
		}
		line := d.Request.Method + " " + target
		if n := len(d.Request.Body.Bytes); n > 0 {
			line += fmt.Sprintf(" (%d)", n)
		}
		if d.Response != nil {
			line += fmt.Sprintf(" %d %s", d.Response.StatusCode, d.Response.Body.Bytes)
		}
		got[d.Serving] = append(got[d.Serving], line)
	}
	var want []string
	for _, request := range []string{
		"GET /whole", "GET /split", "GET /crlf", "GET /empty-lines", "PROPFIND /dav (4)", "X /beacon", "get /lower", "M-SEARCH *",
		"GET http://far.test/absolute", "PURGE /each", "POST /large (60000)", "GET /ll…3004",
	} {
		want = append(want, request, request+" 200 ok")
	}
	want = append(want, "GET /1", "LOCK /2", "GET /1 204 ", "LOCK /2 205 ", "POST /early 431 ", "GET /old (10) 400 ")
	for serving, all := range got {
		if !slices.Equal(all, want) {
			t.Errorf("serving %t: got  %q\nwant %q", serving, all, want)
		}
	}
	if len(got) != 2 {
		t.Errorf("flows of %d sides, want client and server", len(got))
	}
}

// certificate writes a server's certificate and its key to a file, and returns its path.
func certificate(t *testing.T) string {
	t.Helper()
	server := testServer(true)
	defer server.Close()
	pair := server.TLS.Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})
	text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]})...)
	path := t.TempDir() + "/pair.pem"
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// tlsPrograms builds the OpenSSL client as dir/static and dir/dynamic. It also returns the
// path of the machine's libssl.
func tlsPrograms(t *testing.T) (dir, library string) {
	t.Helper()
	dir = t.TempDir()
	run(t, "gcc", "-w", "-static", "-o", dir+"/static", "testdata/programs/tls.c", "-lssl", "-lcrypto")
	run(t, "gcc", "-w", "-o", dir+"/dynamic", "testdata/programs/tls.c", "-lssl", "-lcrypto")
	libraries, err := filepath.Glob("/usr/lib/*/libssl.so.?")
	if err != nil || len(libraries) == 0 {
		t.Fatalf("no libssl: %v", err)
	}
	return dir, libraries[0]
}

// copied returns a new folder with a copy of a file.
func copied(t *testing.T, file string) string {
	t.Helper()
	dir := t.TempDir()
	run(t, "cp", file, dir)
	return dir
}

func tlsPort(t *testing.T, server *httptest.Server) string {
	t.Helper()
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// TestTLSElsewhereAsRoot reads TLS of OpenSSL outside of the folders of distributions. If the
// sensor can find it only when the program runs, the program waits for its probes before it
// uses TLS.
func TestTLSElsewhereAsRoot(t *testing.T) {
	server := testServer(true)
	t.Cleanup(server.Close)
	port := tlsPort(t, server)
	dir, library := tlsPrograms(t)
	own, deleted, root, gone := copied(t, library), copied(t, library), copied(t, dir+"/static"), copied(t, dir+"/static")
	memory := `import os, sys
fd = os.memfd_create('x')
os.write(fd, open(sys.argv[1], 'rb').read())
os.execv('/proc/self/fd/%d' % fd, ['x'] + sys.argv[2:])`
	s := newSensor(t, Options{ContentBytes: 64, TLS: true})
	for name, argv := range map[string][]string{
		"the machine's":        {dir + "/dynamic", port},
		"linked in":            {dir + "/static", port},
		"its own":              {"/usr/bin/env", "LD_LIBRARY_PATH=" + own, dir + "/dynamic", port, "wait"},
		"its own, deleted":     {"/usr/bin/env", "LD_LIBRARY_PATH=" + deleted, dir + "/dynamic", port, "wait", deleted + "/" + filepath.Base(library)},
		"linked in, deleted":   {"/usr/bin/env", gone + "/static", port, "wait", gone + "/static"},
		"linked in, in memory": {python(t), "-c", memory, dir + "/static", port, "wait"},
		"in its own /":         {"/usr/sbin/chroot", root, "/static", port, "wait"},
		"in its own mounts": {
			"/usr/bin/unshare", "--mount", "sh", "-c",
			`mount -t tmpfs none "$0" && cp "$1" "$0/hidden" && exec "$0/hidden" "$2" wait`, t.TempDir(), dir + "/static", port,
		},
	} {
		t.Run(name, func(t *testing.T) {
			cmd, release := launcher(t, argv...)
			cmd.Dir = t.TempDir()
			in, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			start(t, cmd)
			var l log
			w, err := s.Watch(Scope{PIDs: []int{cmd.Process.Pid}, OnExec: true}, l.add)
			if err != nil {
				t.Fatal(err)
			}
			s.Expect(argv[0])
			before := probedFiles(s)
			release()
			isFoundLate := name != "the machine's" && name != "linked in"
			wait.For(t, "the sensor finds OpenSSL in the program", func() bool { return !isFoundLate || probedFiles(s) != before })
			in.Close()
			if err := cmd.Wait(); err != nil {
				t.Fatal(err)
			}
			closeWatch(t, w)
			checkMissing(t, &l, port)
		})
	}
}

// probedFiles returns how many files have had probes since the sensor began.
func probedFiles(s *Sensor) int {
	s.tls.mu.Lock()
	defer s.tls.mu.Unlock()
	return s.tls.count
}

// checkMissing checks that the events hold the one fetch of the OpenSSL client.
func checkMissing(t *testing.T, l *log, port string) {
	t.Helper()
	var got []string
	for _, e := range l.events {
		if d, ok := e.Data.(*event.HTTP); ok {
			_, _, _, url := d.URL()
			line := d.Request.Method + " " + url
			if d.Response != nil {
				line += " = " + string(d.Response.Body.Bytes)
			}
			got = append(got, line)
		}
	}
	url := "https://static.test:" + port + "/missing"
	if want := []string{"GET " + url, "GET " + url + " = not here"}; !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// TestTLSOfTheHeldAsRoot runs programs that a launcher holds in their own mount namespace, as
// the sandbox does: their TLS is read from the first byte.
func TestTLSOfTheHeldAsRoot(t *testing.T) {
	server := testServer(true)
	defer server.Close()
	port := tlsPort(t, server)
	dir, library := tlsPrograms(t)
	s := newSensor(t, Options{ContentBytes: 64, TLS: true})
	for name, program := range map[string]string{
		"linked in": `exec ./static "$0"`,
		"its own":   `LD_LIBRARY_PATH=lib exec ./dynamic "$0"`,
	} {
		t.Run(name, func(t *testing.T) {
			hold, end, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer end.Close()
			cmd := exec.Command("/usr/bin/unshare", "--mount", "sh", "-c", `mount -t tmpfs none "$1" && cd "$1" && mkdir lib && `+
				`cp "$2"/* . && cp "$3" lib && mkfifo pipe && echo ready && read -r _ <&3; `+program, port, t.TempDir(), dir, library)
			cmd.ExtraFiles = []*os.File{hold}
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			hold.Close()
			if _, err := io.ReadFull(out, make([]byte, len("ready\n"))); err != nil {
				t.Fatal(err)
			}
			var l log
			w, err := s.Watch(Scope{PIDs: []int{cmd.Process.Pid}, OnExec: true}, l.add)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := end.WriteString("\n"); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); err != nil {
				t.Fatal(err)
			}
			closeWatch(t, w)
			checkMissing(t, &l, port)
		})
	}
}

// TestTLSOfAFileWrittenAnewAsRoot: a file that was rewritten after its inspection is
// inspected again.
func TestTLSOfAFileWrittenAnewAsRoot(t *testing.T) {
	server := testServer(true)
	defer server.Close()
	port := tlsPort(t, server)
	dir, _ := tlsPrograms(t)
	program := copied(t, "/bin/true") + "/true"
	s := newSensor(t, Options{ContentBytes: 64, TLS: true})
	cmd, release := held(t, t.TempDir(), program, port)
	var l log
	w, err := s.Watch(Scope{PIDs: []int{cmd.Process.Pid}, OnExec: true}, l.add)
	if err != nil {
		t.Fatal(err)
	}
	s.Expect(program)
	run(t, "sh", "-c", `cat "$0" > "$1"`, dir+"/static", program)
	s.Expect(program)
	release()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	closeWatch(t, w)
	checkMissing(t, &l, port)
}
