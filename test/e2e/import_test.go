package e2e

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"ospulse/test/dbtest"
)

// unzip returns the entries of a zip.
func unzip(t testing.TB, content []byte) map[string]string {
	t.Helper()
	archive, err := zip.NewReader(bytes.NewReader(content), int64(len(content)))
	if err != nil {
		t.Fatal(err)
	}
	entries := map[string]string{}
	for _, file := range archive.File {
		r, err := file.Open()
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		entries[file.Name] = string(text)
	}
	return entries
}

// importBundle sends a bundle as the body.
func (b *backend) importBundle(content []byte, query string) answer {
	b.t.Helper()
	return b.send("POST", "/api/sessions/import"+query, string(content), "Content-Type: application/zip")
}

// databases returns the settings of a backend for each database.
func databases(t testing.TB) map[string]map[string]string {
	return map[string]map[string]string{"sqlite": {}, "postgres": {"DATABASE_URL": dbtest.Postgres(t).URL}}
}

// TestBundleTravels checks that a session with all events of real clients is the same,
// and has the same bundle, after an import from each database into each.
func TestBundleTravels(t *testing.T) {
	for from := range databases(t) {
		t.Run(from, func(t *testing.T) {
			t.Parallel()
			env := databases(t)[from]
			env["AGENT_SERVICE_URL"] = newTestAgent(t).URL
			source := startBackend(t, env)
			id, events := postFixtures(t, source)
			if a := source.send("POST", "/api/monitor/stop", `{"sessionId":"`+id+`"}`); a.status != http.StatusOK {
				t.Fatal(a.status, string(a.body))
			}
			bundle := source.exportAs(t, id, "format=bundle&file=true").body
			want := unzip(t, bundle)
			for to, env := range databases(t) {
				t.Run("to "+to, func(t *testing.T) {
					b := startBackend(t, env)
					var view struct {
						ID         string
						State      string
						AgentID    *string `json:"agent_id"`
						EventCount int     `json:"event_count"`
						FileName   string  `json:"file_name"`
					}
					b.decode(b.importBundle(bundle, ""), http.StatusCreated, &view)
					if view.ID != id || view.State != "ended" || view.EventCount != len(events) || view.FileName != "sample.exe" || view.AgentID != nil {
						t.Errorf("%+v", view)
					}
					got := unzip(t, b.exportAs(t, id, "format=bundle&file=true").body)
					wantSameBundle(t, got, want, to == "postgres" && from == "sqlite")
					if a := b.send("GET", "/api/events/"+id, ""); string(a.body) != "[]\n" {
						t.Errorf("an imported event is polled: %.200s", a.body)
					}
					// A second import is refused, and one with new_id makes a copy.
					wantError(t, b.importBundle(bundle, ""), http.StatusConflict, "conflict", "new_id=true")
					b.decode(b.importBundle(bundle, "?new_id=true"), http.StatusCreated, &view)
					if view.ID == id || view.EventCount != len(events) {
						t.Errorf("the copy is %+v", view)
					}
					copied := unzip(t, b.exportAs(t, view.ID, "format=bundle&file=true").body)
					for name, text := range copied {
						copied[name] = strings.ReplaceAll(text, view.ID, id)
					}
					wantSameBundle(t, copied, got, false)
					// New events continue the numbering.
					var stored struct {
						SessionID string `json:"session_id"`
						Seq       int
					}
					b.decode(b.send("POST", "/api/events?sessionId="+id, `{"event_type":"x"}`), http.StatusOK, &stored)
					if stored.SessionID != id || stored.Seq != len(events)+1 {
						t.Errorf("the next event is %+v", stored)
					}
					wantNoUploads(t, b)
				})
			}
		})
	}
}

// wantSameBundle compares the entries of two bundles, except for the properties of the
// bundle itself. With sameValues only JSON values must be equal, because jsonb changes
// their text.
func wantSameBundle(t *testing.T, got, want map[string]string, sameValues bool) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d entries, want %d", len(got), len(want))
	}
	for name, text := range want {
		switch {
		case name == "manifest.json" || got[name] == text:
		case name == "events.ndjson" && sameValues:
			gotLines, wantLines := strings.Split(got[name], "\n"), strings.Split(text, "\n")
			if len(gotLines) != len(wantLines) {
				t.Fatalf("%d events, want %d", len(gotLines), len(wantLines))
			}
			for i, line := range wantLines {
				if line != "" && !sameJSON(t, []byte(gotLines[i]), []byte(line)) {
					t.Fatalf("event %d is\n%.2000s, want\n%.2000s", i+1, gotLines[i], line)
				}
			}
		default:
			t.Errorf("%s is\n%.2000s, want\n%.2000s", name, got[name], text)
		}
	}
}

// wantNoUploads checks that no upload is left in the data folder.
func wantNoUploads(t *testing.T, b *backend) {
	t.Helper()
	var dir string
	for line := range strings.Lines(b.log.String()) {
		var start struct{ Config struct{ DataDir string } }
		if json.Unmarshal([]byte(line), &start) == nil && start.Config.DataDir != "" {
			dir = start.Config.DataDir
		}
	}
	left, err := os.ReadDir(filepath.Join(dir, "imports"))
	if err != nil || len(left) > 0 {
		t.Errorf("%d uploads are left, %v", len(left), err)
	}
}

// TestImportOfOtherStates checks that an active session ends with its last event when
// it is imported, and that an empty session can be imported.
func TestImportOfOtherStates(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		env["AGENT_SERVICE_URL"] = newTestAgent(t).URL
		b := startBackend(t, env)
		active := b.startSession()
		for _, at := range []string{"2026-12-01T10:00:00Z", "2026-12-02T10:00:00Z", "2026-12-01T11:00:00Z"} {
			if a := b.send("POST", "/api/events", `{"event_type":"x","timestamp":"`+at+`"}`); a.status != http.StatusOK {
				t.Fatal(a.status)
			}
		}
		quiet := b.createSession("quiet.exe", "MZ quiet")["sessionId"].(string)
		var view struct {
			State   string
			Started *string `json:"monitoring_started"`
			Ended   *string `json:"monitoring_ended"`
			Count   int     `json:"event_count"`
		}
		b.decode(b.importBundle(b.exportAs(t, active, "format=bundle").body, "?new_id=true"), http.StatusCreated, &view)
		if view.State != "ended" || *view.Ended != "2026-12-02T10:00:00Z" || view.Count != 3 {
			t.Errorf("%+v", view)
		}
		b.decode(b.importBundle(b.exportAs(t, quiet, "format=bundle").body, "?new_id=true"), http.StatusCreated, &view)
		if view.State != "created" || view.Ended != nil || view.Started != nil || view.Count != 0 {
			t.Errorf("%+v", view)
		}
		b.decode(b.importBundle(b.exportAs(t, "unassigned", "format=bundle").body, "?new_id=true"), http.StatusCreated, &view)
	})
}

// TestConcurrentImports checks that one of several concurrent imports of a session
// succeeds, and the others are refused.
func TestConcurrentImports(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		source := startBackend(t, map[string]string{"AGENT_SERVICE_URL": newTestAgent(t).URL})
		id := source.startSession()
		fillSession(t, source, id, 1500)
		bundle := source.exportAs(t, id, "format=bundle").body
		b := startBackend(t, env)
		statuses := make(chan int, 6)
		var clients sync.WaitGroup
		for range cap(statuses) {
			clients.Go(func() {
				a, err := b.trySend("POST", "/api/sessions/import", string(bundle), "Content-Type: application/zip")
				if err != nil {
					t.Error(err)
				}
				statuses <- a.status
			})
		}
		clients.Wait()
		close(statuses)
		count := map[int]int{}
		for status := range statuses {
			count[status]++
		}
		if count[http.StatusCreated] != 1 || count[http.StatusConflict] != cap(statuses)-1 {
			t.Errorf("answers %v", count)
		}
		if a := b.exportAs(t, id, ""); bytes.Count(a.body, []byte("\n")) != 1500 {
			t.Errorf("%d events", bytes.Count(a.body, []byte("\n")))
		}
	})
}

// TestImportRefuses checks that the answer names the fault of a request and that
// nothing is stored. Package bundle tests the bundles themselves.
func TestImportRefuses(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		source := startBackend(t, map[string]string{"AGENT_SERVICE_URL": newTestAgent(t).URL})
		id := source.startSession()
		fillSession(t, source, id, 3000)
		bundle := string(source.exportAs(t, id, "format=bundle").body)
		env["IMPORT_MAX_MB"] = "1" // the decompressed events are larger
		b := startBackend(t, env)
		wantError(t, b.importBundle([]byte(bundle), ""), http.StatusRequestEntityTooLarge, "too_large", "IMPORT_MAX_MB")
		wantError(t, b.importBundle(bytes.Repeat([]byte("x"), 3<<20), ""), http.StatusRequestEntityTooLarge, "too_large", "IMPORT_MAX_MB")
		wantError(t, b.importBundle([]byte(bundle[:len(bundle)/2]), ""), http.StatusBadRequest, "invalid", "no zip")
		wantError(t, b.importBundle(nil, ""), http.StatusBadRequest, "invalid", "no zip")
		wantError(t, b.importBundle([]byte(bundle), "?new_id=1"), http.StatusBadRequest, "invalid", "new_id")
		wantError(t, b.send("POST", "/api/sessions/import", bundle, "Content-Type: text/plain"), http.StatusUnsupportedMediaType, "unsupported_media", "application/zip")
		wantError(t, b.send("POST", "/api/sessions/import", bundle, "Content-Type: application/zip", "Content-Encoding: gzip"), http.StatusUnsupportedMediaType, "unsupported_media", "Content-Encoding")
		wantError(t, b.send("POST", "/api/sessions/import", "--x--", "Content-Type: multipart/form-data; boundary=x"), http.StatusBadRequest, "invalid", "file is missing")
		wantError(t, b.raw(fmt.Sprintf("POST /api/sessions/import HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/zip\r\nContent-Length: %d\r\n\r\n%s", len(bundle), bundle[:1000])),
			http.StatusBadRequest, "invalid", "ended before it was complete")
		wantError(t, b.raw("POST /api/sessions/import HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/zip\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nPK"),
			http.StatusBadRequest, "invalid", "ended before it was complete")
		wantError(t, b.send("GET", "/api/sessions/"+id+"/export", ""), http.StatusNotFound, "not_found", id)
		wantNoUploads(t, b)
	})
}

// TestImportOfAForm checks an import by a browser's form.
func TestImportOfAForm(t *testing.T) {
	b := startBackend(t, map[string]string{"AGENT_SERVICE_URL": newTestAgent(t).URL})
	id := b.startSession()
	fillSession(t, b, id, 10)
	var form bytes.Buffer
	w := multipart.NewWriter(&form)
	field, err := w.CreateFormFile("file", "session.ospulse.zip")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := field.Write(b.exportAs(t, id, "format=bundle").body); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	a := b.send("POST", "/api/sessions/import?new_id=true", form.String(), "Content-Type: "+w.FormDataContentType())
	if a.status != http.StatusCreated || !strings.HasPrefix(a.header.Get("Location"), "./") {
		t.Fatalf("%d %v %s", a.status, a.header, a.body)
	}
	if made := b.send("GET", "/api/sessions"+strings.TrimPrefix(a.header.Get("Location"), "."), ""); made.status != http.StatusOK {
		t.Errorf("%s is %d", a.header.Get("Location"), made.status)
	}
}

// TestImportDoesNotBlockIngest checks that ingest continues while a large session is
// imported.
func TestImportDoesNotBlockIngest(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		env["AGENT_SERVICE_URL"], env["DATA_DIR"], env["SEAL_AFTER"] = newTestAgent(t).URL, t.TempDir(), "never"
		b := startBackend(t, env)
		id := b.startSession()
		fillSession(t, b, id, 1)
		multiplySession(t, env, id, 40_000) // the import takes seconds, also on a fast machine
		bundle := b.exportAs(t, id, "format=bundle").body
		imported := make(chan int, 1)
		go func() {
			a, err := b.trySend("POST", "/api/sessions/import?new_id=true", string(bundle), "Content-Type: application/zip")
			if err != nil {
				t.Error(err)
			}
			imported <- a.status
		}()
		posted := 0
		for {
			// On a busy machine a commit may be slow; the answer is then 202.
			if a := b.send("POST", "/api/events", `{"event_type":"x"}`); a.status != http.StatusOK && a.status != http.StatusAccepted {
				t.Fatal(a.status, string(a.body))
			}
			posted++
			select {
			case status := <-imported:
				if status != http.StatusCreated || posted < 20 {
					t.Errorf("%d, with %d events meanwhile", status, posted)
				}
				return
			default:
			}
		}
	})
}
