package e2e

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"ospulse/test/dbtest"
	"ospulse/test/wait"
)

// bucket is an S3 service with one bucket.
type bucket struct {
	*httptest.Server
	isDown atomic.Bool               // it answers no request
	files  func(t *testing.T) string // the keys, one per line
}

// startBucket starts the service. at is the modification time of the files in it.
func startBucket(t *testing.T, at time.Time) *bucket {
	t.Helper()
	clock := gofakes3.FixedTimeSource(at)
	storage := s3mem.New(s3mem.WithTimeSource(clock))
	if err := storage.CreateBucket("bucket"); err != nil {
		t.Fatal(err)
	}
	s3 := gofakes3.New(storage, gofakes3.WithTimeSource(clock), gofakes3.WithTimeSkewLimit(0)).Server()
	b := &bucket{}
	b.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if b.isDown.Load() {
			panic(http.ErrAbortHandler)
		}
		s3.ServeHTTP(w, r)
	}))
	t.Cleanup(b.Close)
	b.files = func(t *testing.T) string {
		t.Helper()
		list, err := storage.ListBucket("bucket", nil, gofakes3.ListBucketPage{})
		if err != nil {
			t.Fatal(err)
		}
		var keys []string
		for _, object := range list.Contents {
			keys = append(keys, object.Key)
		}
		return strings.Join(keys, "\n")
	}
	return b
}

// settings returns the settings of a backend that uses the bucket.
func (b *bucket) settings(env map[string]string) map[string]string {
	all := map[string]string{"FILES_URL": "s3://bucket/ospulse?endpoint=" + b.URL, "AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "hunter2hunter2"}
	for name, value := range env {
		all[name] = value
	}
	return all
}

func hashOf(content string) string {
	sum := sha256.Sum256([]byte(content))
	return hex.EncodeToString(sum[:])
}

// checkedFiles waits until a backend has compared its files with their rows, and
// returns the result.
func (b *backend) checkedFiles() (files struct {
	Storage string
	Missing int
	Error   string
}) {
	b.t.Helper()
	wait.For(b.t, "a check of the files", func() bool {
		var health struct{ Files json.RawMessage }
		b.decode(b.send("GET", "/api/health", ""), http.StatusOK, &health)
		return json.Unmarshal(health.Files, &files) == nil && strings.Contains(string(health.Files), "checkedAt")
	})
	return files
}

// download downloads a session's file.
func (b *backend) download(id string) string {
	b.t.Helper()
	a := b.send("GET", "/api/sessions/"+id+"/file?raw=true", "")
	if a.status != http.StatusOK {
		b.t.Errorf("%s answers %d %s", b.url, a.status, a.body)
	}
	return string(a.body)
}

// TestBackendsShareFiles checks that backends with separate data folders share target
// files through a bucket: each one returns, delivers and deletes the files that another
// one received.
func TestBackendsShareFiles(t *testing.T) {
	s3, agent := startBucket(t, time.Now()), newTestAgent(t)
	env := s3.settings(map[string]string{"DATABASE_URL": dbtest.Postgres(t).URL, "AGENT_SERVICE_URL": agent.URL})
	a, b := startBackend(t, env), startBackend(t, env)
	content := strings.Repeat("MZ-", 100_000)
	taken := agent.handlers[agentUpload]
	agent.handle(agentUpload, hangUp)
	id := a.createSession("sample.exe", content)["sessionId"].(string)
	agent.handle(agentUpload, taken)
	if a.download(id) != content || b.download(id) != content {
		t.Error("the file comes back as another one")
	}
	part := b.send("GET", "/api/sessions/"+id+"/file?raw=true", "", "Range: bytes=3-5")
	if part.status != http.StatusPartialContent || string(part.body) != "MZ-" {
		t.Errorf("a range: %d %.20q", part.status, part.body)
	}
	if _, unzipped := unzipInfected(t, b.send("GET", "/api/sessions/"+id+"/file", "").body); unzipped != content {
		t.Error("the file in the zip is another one")
	}
	b.mustStart(id)
	uploads := agent.received(agentUpload)
	if _, delivered := uploadedFile(t, uploads[len(uploads)-1]); len(uploads) < 2 || delivered != content {
		t.Error("the agent got another file")
	}
	b.mustStop(id)
	if keys := s3.files(t); !strings.Contains(keys, "ospulse/"+hashOf(content)[:2]+"/"+hashOf(content)) {
		t.Errorf("in the bucket are %s", keys)
	}
	a.mustDelete(id)
	wait.For(t, "the file is gone", func() bool { return !strings.Contains(s3.files(t), hashOf(content)) })
	if files := b.checkedFiles(); files.Storage != "s3://bucket/ospulse" || files.Missing != 0 || files.Error != "" {
		t.Errorf("health says %+v", files)
	}
	for _, b := range []*backend{a, b} {
		if strings.Contains(b.log.String(), "hunter2") {
			t.Error("the log shows the key of the bucket")
		}
	}
}

// TestBucketIsAway checks that, while the bucket is unreachable, an upload is refused
// and stores nothing, and that everything else works.
func TestBucketIsAway(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		s3 := startBucket(t, time.Now())
		env["DATA_DIR"] = t.TempDir()
		b := startBackend(t, s3.settings(env))
		b.checkedFiles()
		id := b.create("before.exe")
		s3.isDown.Store(true)
		a := b.upload(`form-data; name="file"; filename="a.exe"`, "never kept")
		wantError(t, a, http.StatusServiceUnavailable, "unavailable", "FILES_URL")
		if a.header.Get("Retry-After") == "" {
			t.Error("the answer does not say when to try again")
		}
		wantError(t, b.send("GET", "/api/sessions/"+id+"/file?raw=true", ""), http.StatusServiceUnavailable, "unavailable", "FILES_URL")
		if a := b.send("POST", "/api/events", `{"event_type":"x"}`); a.status != http.StatusOK {
			t.Errorf("an event: %d %s", a.status, a.body)
		}
		if sessions, _ := b.list(""); len(sessions) != 2 { // including unassigned
			t.Errorf("there are %d sessions", len(sessions))
		}
		if left := filesIn(t, filepath.Join(env["DATA_DIR"], "files")); len(left) > 0 {
			t.Errorf("left are %q", left)
		}
		s3.isDown.Store(false)
		if b.download(id) != "MZ" {
			t.Error("the file is another one")
		}
		b.create("after.exe")
	})
}

// TestFilesMoveToTheBucket checks that a backend with a newly configured bucket still
// serves older files, even if the bucket is unreachable when it starts, and moves them
// there.
func TestFilesMoveToTheBucket(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		env["DATA_DIR"] = t.TempDir()
		old := startBackend(t, env)
		id := old.createSession("old.exe", "from before")["sessionId"].(string)
		old.stop()
		s3 := startBucket(t, time.Now())
		b := startBackend(t, s3.settings(env))
		if b.download(id) != "from before" {
			t.Error("the file is another one")
		}
		wait.For(t, "the file is moved", func() bool {
			return strings.Contains(s3.files(t), hashOf("from before")) && len(filesIn(t, filepath.Join(env["DATA_DIR"], "files"))) == 0
		})
		if b.download(id) != "from before" {
			t.Error("the file is another one in the bucket")
		}
		if files := b.checkedFiles(); files.Missing != 0 || files.Error != "" {
			t.Errorf("health says %+v", files)
		}
	})
}

// TestOrphanOfACrashIsRemoved checks a backend that is killed after it placed a file
// and before it committed the session. The next start removes the orphan, and keeps the
// files of sessions.
func TestOrphanOfACrashIsRemoved(t *testing.T) {
	t.Run("folder", func(t *testing.T) {
		env := map[string]string{"DATABASE_URL": dbtest.Postgres(t).URL, "DATA_DIR": t.TempDir()}
		folder := filepath.Join(env["DATA_DIR"], "files")
		kept := killBetweenPlaceAndCommit(t, env, func() bool { return len(filesIn(t, folder)) == 2 })
		for _, name := range filesIn(t, folder) {
			yesterday := time.Now().Add(-24 * time.Hour)
			if err := os.Chtimes(filepath.Join(folder, name), yesterday, yesterday); err != nil {
				t.Fatal(err)
			}
		}
		b := startBackend(t, env)
		b.checkedFiles()
		if left := filesIn(t, folder); len(left) != 1 || b.download(kept) != "kept" {
			t.Errorf("left are %q", left)
		}
	})
	t.Run("bucket", func(t *testing.T) {
		s3 := startBucket(t, time.Now().Add(-24*time.Hour))
		env := s3.settings(map[string]string{"DATABASE_URL": dbtest.Postgres(t).URL, "DATA_DIR": t.TempDir()})
		kept := killBetweenPlaceAndCommit(t, env, func() bool { return strings.Contains(s3.files(t), hashOf("an orphan")) })
		b := startBackend(t, env)
		b.checkedFiles()
		if keys := s3.files(t); strings.Contains(keys, hashOf("an orphan")) || b.download(kept) != "kept" {
			t.Errorf("left are %s", keys)
		}
	})
}

// killBetweenPlaceAndCommit creates a session with the file "kept", and kills the
// backend while it creates one with the file "an orphan". placed reports whether the
// file is in its place. A lock on sessions keeps the transaction from committing.
func killBetweenPlaceAndCommit(t *testing.T, env map[string]string, placed func() bool) (kept string) {
	t.Helper()
	p := command(t, env)
	p.start(t)
	b := &backend{t: t, url: p.url}
	b.checkedFiles()
	kept = b.createSession("kept.exe", "kept")["sessionId"].(string)
	unlock := lockSessions(t, env)
	cut := make(chan struct{})
	go func() {
		defer close(cut)
		b.tryUpload("an orphan") // fails when the program is killed
	}()
	wait.For(t, "the file in its place", placed)
	waitForLockedWriter(t, env)
	if err := p.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	p.Wait() //nolint:errcheck // the error says that it was killed
	<-cut
	unlock()
	return kept
}

// lockSessions blocks inserts of sessions until unlock is called.
func lockSessions(t *testing.T, env map[string]string) (unlock func()) {
	t.Helper()
	tx, err := openDatabase(t, env).BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.ExecContext(t.Context(), "LOCK TABLE sessions IN SHARE ROW EXCLUSIVE MODE"); err != nil {
		t.Fatal(err)
	}
	return sync.OnceFunc(func() {
		if err := tx.Rollback(); err != nil && !errors.Is(err, sql.ErrTxDone) {
			t.Error(err)
		}
	})
}

// waitForLockedWriter waits until a transaction waits for sessions.
func waitForLockedWriter(t *testing.T, env map[string]string) {
	t.Helper()
	db := openDatabase(t, env)
	wait.For(t, "a transaction that waits for the lock", func() bool {
		var n int
		err := db.QueryRowContext(t.Context(), "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'sessions'::regclass").Scan(&n)
		return err == nil && n > 0
	})
}

// tryUpload uploads a file and ignores the answer.
func (b *backend) tryUpload(content string) {
	body := "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.exe\"\r\n\r\n" + content + "\r\n--b--\r\n"
	request, err := http.NewRequestWithContext(context.Background(), http.MethodPost, b.url+"/api/create-session", strings.NewReader(body))
	if err != nil {
		b.t.Error(err)
		return
	}
	request.Header.Set("Content-Type", "multipart/form-data; boundary=b")
	if response, err := http.DefaultClient.Do(request); err == nil {
		response.Body.Close()
	}
}

// TestSweepWaitsForAnUpload checks that the sweep of another backend waits for an
// upload that is placed and not committed, however old its file looks, and keeps it.
func TestSweepWaitsForAnUpload(t *testing.T) {
	env := map[string]string{"DATABASE_URL": dbtest.Postgres(t).URL, "DATA_DIR": t.TempDir()}
	folder := filepath.Join(env["DATA_DIR"], "files")
	a := startBackend(t, env)
	a.checkedFiles()
	unlock := lockSessions(t, env)
	defer unlock()
	var uploading sync.WaitGroup
	uploading.Go(func() { a.tryUpload("in progress") })
	wait.For(t, "the file in its place", func() bool { return len(filesIn(t, folder)) == 1 })
	waitForLockedWriter(t, env)
	path := filepath.Join(folder, filesIn(t, folder)[0])
	yesterday := time.Now().Add(-24 * time.Hour)
	if err := os.Chtimes(path, yesterday, yesterday); err != nil {
		t.Fatal(err)
	}
	b := startBackend(t, env)
	db := openDatabase(t, env)
	wait.For(t, "a sweep that waits for the upload", func() bool {
		var n int
		err := db.QueryRowContext(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'INSERT INTO \"target_files\"%' AND datname = current_database()").Scan(&n)
		return err == nil && n > 0
	})
	unlock()
	uploading.Wait()
	b.checkedFiles()
	sessions, _ := b.list("")
	found := false
	for _, s := range sessions {
		if s.ID != "unassigned" {
			found = b.download(s.ID) == "in progress"
		}
	}
	if !found {
		t.Errorf("the session's file was swept; left are %q", filesIn(t, folder))
	}
}

// TestFilesAreChecked checks that a lost target file is reported, and that a file which
// may belong to another database is kept.
func TestFilesAreChecked(t *testing.T) {
	env := map[string]string{"DATA_DIR": t.TempDir()}
	folder := filepath.Join(env["DATA_DIR"], "files")
	a := startBackend(t, env)
	id := a.createSession("a.exe", "lost")["sessionId"].(string)
	a.createSession("b.exe", "kept")
	a.stop()
	if err := os.Remove(filepath.Join(folder, hashOf("lost")[:2], hashOf("lost"))); err != nil {
		t.Fatal(err)
	}
	yesterday := time.Now().Add(-24 * time.Hour)
	if err := os.Chtimes(filepath.Join(folder, hashOf("kept")[:2], hashOf("kept")), yesterday, yesterday); err != nil {
		t.Fatal(err)
	}
	b := startBackend(t, env)
	if files := b.checkedFiles(); files.Storage != "folder" || files.Missing != 1 || files.Error != "" {
		t.Errorf("health says %+v", files)
	}
	if !strings.Contains(b.log.String(), hashOf("lost")) {
		t.Error("the log does not name the missing file")
	}
	wantError(t, b.send("GET", "/api/sessions/"+id+"/file", ""), http.StatusNotFound, "not_found", "not on this machine")
	b.stop()

	env["DATABASE_URL"] = dbtest.Postgres(t).URL
	c := startBackend(t, env)
	c.checkedFiles()
	if left := filesIn(t, folder); len(left) != 1 {
		t.Errorf("files of the embedded database were swept; left are %q", left)
	}
}
