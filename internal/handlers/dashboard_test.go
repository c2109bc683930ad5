package handlers_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/klauspost/compress/zstd"

	"ospulse/internal/handlers"
)

var script = strings.Repeat("console.log('a view of the dashboard')\n", 100)

// dashboard returns the router with a dashboard of these files.
func dashboard(t *testing.T, files fstest.MapFS) (http.Handler, error) {
	t.Helper()
	return handlers.New(handlers.Services{Identify: everyone{}}, handlers.Checks{}, handlers.Options{
		Metrics: http.NotFoundHandler(), Dashboard: files, ListenHost: "127.0.0.1",
		Log: slog.New(slog.DiscardHandler), RequestLog: slog.New(slog.DiscardHandler),
	})
}

func built() fstest.MapFS {
	return fstest.MapFS{
		"index.html":               {Data: []byte("<!doctype html><script src=/assets/main-1a2b.js></script>")},
		"api-page.html":            {Data: []byte("<!doctype html><title>the API</title>")},
		"favicon.svg":              {Data: []byte("<svg/>")},
		"assets/main-1a2b.js":      {Data: []byte(script)},
		"assets/main-1a2b.css":     {Data: []byte("body{}")},
		"assets/inter-3c4d.woff2":  {Data: []byte("wOF2")},
		"assets/worker-5e6f.js":    {Data: []byte("postMessage(1)")},
		"assets/deep/x/leaf-7a.js": {Data: []byte("1")},
	}
}

func ask(t *testing.T, router http.Handler, method, path string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	request := httptest.NewRequestWithContext(t.Context(), method, "http://127.0.0.1:3003"+path, http.NoBody)
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		request.Header.Add(name, value)
	}
	recorder := httptest.NewRecorder()
	router.ServeHTTP(recorder, request)
	return recorder
}

// TestDashboardUnderAnyPath checks that a page names its files relative to the
// dashboard's folder at any depth: a proxy may serve it under any path.
func TestDashboardUnderAnyPath(t *testing.T) {
	page := &fstest.MapFile{Data: []byte(`<link href="./favicon.svg"><script src="./assets/a.js"></script>`)}
	router, err := dashboard(t, fstest.MapFS{"index.html": page, "api-page.html": page, "favicon.svg": {Data: []byte("<svg/>")}})
	if err != nil {
		t.Fatal(err)
	}
	for path, up := range map[string]string{
		"/": "./", "/?x=/a/b": "./", "/index.html": "./", "/sessions": "./", "/sessions/": "../", "/sessions/x": "../", "/sessions/x/": "../../", "/sessions/x/files": "../../",
		"/sessions/a%2Fb": "../", "/sessions/a%2Fb/http?y=z": "../../", "/sessions/x/y/z": "../../../",
		"/api/docs": "../", "/api/docs/": "../../",
	} {
		want := `<link href="` + up + `favicon.svg"><script src="` + up + `assets/a.js"></script>`
		a := ask(t, router, http.MethodGet, path)
		if got := a.Body.String(); a.Code != http.StatusOK || got != want {
			t.Errorf("%s: %d %s, want %s", path, a.Code, got, want)
		}
		if again := ask(t, router, http.MethodGet, path, "If-None-Match: "+a.Header().Get("ETag")); again.Code != http.StatusNotModified {
			t.Errorf("%s is sent again", path)
		}
	}
}

func TestDashboardServesItsFiles(t *testing.T) {
	router, err := dashboard(t, built())
	if err != nil {
		t.Fatal(err)
	}
	const html, js = "text/html; charset=utf-8", "text/javascript; charset=utf-8"
	for path, want := range map[string]struct{ mediaType, cacheControl, file string }{
		"/":                         {html, "no-cache", "index.html"},
		"/?filter=type+%3D+x":       {html, "no-cache", "index.html"},
		"/index.html":               {html, "no-cache", "index.html"},
		"/sessions":                 {html, "no-cache", "index.html"},
		"/sessions/":                {html, "no-cache", "index.html"},
		"/sessions/abc/events":      {html, "no-cache", "index.html"},
		"/sessions/a%2F..%2Fb/http": {html, "no-cache", "index.html"},
		"/sessions/assets/x.js":     {html, "no-cache", "index.html"},
		"/rules":                    {html, "no-cache", "index.html"},
		"/rules/rule":               {html, "no-cache", "index.html"},
		"/findings":                 {html, "no-cache", "index.html"},
		"/api-page.html":            {html, "no-cache", "api-page.html"},
		"/favicon.svg":              {"image/svg+xml", "no-cache", "favicon.svg"},
		"/assets/main-1a2b.js":      {js, "public, max-age=31536000, immutable", "assets/main-1a2b.js"},
		"/assets/main-1a2b.css":     {"text/css; charset=utf-8", "public, max-age=31536000, immutable", "assets/main-1a2b.css"},
		"/assets/inter-3c4d.woff2":  {"font/woff2", "public, max-age=31536000, immutable", "assets/inter-3c4d.woff2"},
		"/assets/deep/x/leaf-7a.js": {js, "public, max-age=31536000, immutable", "assets/deep/x/leaf-7a.js"},
	} {
		content := string(built()[want.file].Data)
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			a := ask(t, router, method, path)
			header := a.Header()
			if a.Code != http.StatusOK || header.Get("Content-Type") != want.mediaType || header.Get("Cache-Control") != want.cacheControl {
				t.Errorf("%s %s: %d, %q, %q", method, path, a.Code, header.Get("Content-Type"), header.Get("Cache-Control"))
			}
			if body := a.Body.String(); method == http.MethodGet && body != content || method == http.MethodHead && body != "" {
				t.Errorf("%s %s is %.100q", method, path, body)
			}
			for name, value := range map[string]string{
				"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cross-Origin-Opener-Policy": "same-origin", "X-Frame-Options": "DENY",
			} {
				if header.Get(name) != value {
					t.Errorf("%s %s: %s is %q", method, path, name, header.Get(name))
				}
			}
			policy := header.Get("Content-Security-Policy")
			for _, part := range []string{"default-src 'none';", "script-src 'self';", "connect-src 'self';", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'"} {
				if !strings.Contains(policy, part) {
					t.Errorf("%s %s: the policy %q lacks %q", method, path, policy, part)
				}
			}
			again := ask(t, router, method, path, `If-None-Match: "x", W/`+header.Get("ETag"))
			if header.Get("ETag") == "" || again.Code != http.StatusNotModified || again.Body.Len() > 0 || again.Header().Get("ETag") != header.Get("ETag") {
				t.Errorf("%s %s is not known again: %d, ETag %q", method, path, again.Code, header.Get("ETag"))
			}
		}
	}
}

// TestDashboardTakesNoOtherPath checks that a path which is neither a file nor a page
// is answered as it is without a dashboard.
func TestDashboardTakesNoOtherPath(t *testing.T) {
	router, err := dashboard(t, built())
	if err != nil {
		t.Fatal(err)
	}
	for path, status := range map[string]int{
		"/assets": 404, "/assets/": 404, "/assets/missing-1.js": 404, "/assets/../index.html": 404, "/assets/..%2findex.html": 404,
		"/api": 404, "/api/": 404, "/api/nothing": 404, "/api/index.html": 404, "/nothing": 404, "/main-1a2b.js": 404, "/sessionsx": 404, "/.env": 404,
		"/healthz/x": 404, "/metrics/x": 404,
	} {
		a := ask(t, router, http.MethodGet, path)
		if a.Code != status || !strings.HasPrefix(a.Header().Get("Content-Type"), "application/json") || !strings.Contains(a.Body.String(), `"code":"not_found"`) {
			t.Errorf("%s: %d %s", path, a.Code, a.Body)
		}
	}
	for _, path := range []string{"/", "/sessions/x", "/assets/main-1a2b.js"} {
		if a := ask(t, router, http.MethodPost, path); a.Code != http.StatusMethodNotAllowed {
			t.Errorf("POST %s: %d %s", path, a.Code, a.Body)
		}
	}
	if a := ask(t, router, http.MethodGet, "/", "Host: x"); a.Code != http.StatusOK {
		t.Errorf("a header that is no host's: %d", a.Code)
	}
	request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://evil.example/", http.NoBody)
	recorder := httptest.NewRecorder()
	if router.ServeHTTP(recorder, request); recorder.Code != http.StatusForbidden {
		t.Errorf("a page of another host's name gets the dashboard: %d", recorder.Code)
	}
}

func TestDashboardIsCompressed(t *testing.T) {
	router, err := dashboard(t, built())
	if err != nil {
		t.Fatal(err)
	}
	tags := map[string]bool{}
	for accept, want := range map[string]string{
		"gzip": "gzip", "gzip, deflate, br, zstd": "zstd", "gzip;q=1, zstd;q=0.5": "gzip", "identity": "", "br": "", "": "",
	} {
		a := ask(t, router, http.MethodGet, "/assets/main-1a2b.js", "Accept-Encoding: "+accept)
		body := a.Body.Bytes()
		if got := a.Header().Get("Content-Encoding"); got != want || a.Header().Get("Vary") != "Accept-Encoding" {
			t.Errorf("%q: the coding is %q, Vary %q", accept, got, a.Header().Get("Vary"))
		}
		if want != "" && len(body) > len(script)/4 {
			t.Errorf("%q: %d bytes of %d", accept, len(body), len(script))
		}
		if text, err := unpack(want, body); err != nil || text != script {
			t.Errorf("%q: %v, %.100q", accept, err, text)
		}
		tags[a.Header().Get("ETag")] = true
		if again := ask(t, router, http.MethodGet, "/assets/main-1a2b.js", "Accept-Encoding: "+accept); again.Body.String() != a.Body.String() {
			t.Errorf("%q: another answer the second time", accept)
		}
	}
	if len(tags) != 3 {
		t.Errorf("the codings have the tags %v, want one for each", tags)
	}
	if a := ask(t, router, http.MethodGet, "/assets/inter-3c4d.woff2", "Accept-Encoding: gzip"); a.Header().Get("Content-Encoding") != "" || a.Body.String() != "wOF2" {
		t.Errorf("a font is compressed again: %v", a.Header())
	}
}

func unpack(encoding string, body []byte) (string, error) {
	var r io.Reader = bytes.NewReader(body)
	switch encoding {
	case "gzip":
		unzipped, err := gzip.NewReader(r)
		if err != nil {
			return "", err
		}
		r = unzipped
	case "zstd":
		decoder, err := zstd.NewReader(r)
		if err != nil {
			return "", err
		}
		defer decoder.Close()
		r = decoder
	}
	text, err := io.ReadAll(r)
	return string(text), err
}

func TestDashboardMustBeWhole(t *testing.T) {
	for name, files := range map[string]fstest.MapFS{
		"no index.html": {"api-page.html": {}}, "no api-page.html": {"index.html": {}},
		"an unknown type": {"index.html": {}, "api-page.html": {}, "assets/x.exe": {Data: []byte("MZ")}},
	} {
		if _, err := dashboard(t, files); err == nil || !strings.Contains(err.Error(), "web/dist") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
