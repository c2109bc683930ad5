package service_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"ospulse/internal/filter"
	"ospulse/internal/models"
	"ospulse/internal/sample"
	"ospulse/internal/service"
)

// store is a database of one session. It fails at a chosen step.
type store struct {
	session   models.Session
	gone      bool  // the session is deleted while it is exported
	missing   int64 // number of its events that are missing
	found     []models.Finding
	failAt    string // the step that fails
	cancel    func() // if not nil, called at that step instead
	steps     []string
	where     *filter.Filter // the filter that events were read with
	eventType string
	wasClosed bool // the context of the last abort had ended
}

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func (s *store) step(name string) error {
	s.steps = append(s.steps, name)
	if name != s.failAt {
		return nil
	}
	if s.cancel != nil {
		s.cancel()
		return nil
	}
	return errFull
}

var errFull = models.Errorf(models.CodeUnavailable, "the database is full")

func (s *store) LastStarted(context.Context) (*models.Session, error) { return &s.session, nil }

func (s *store) Get(_ context.Context, id string) (*models.Session, error) {
	if s.gone && (len(s.steps) > 0 || s.session.EventCount == 0) {
		return nil, models.Errorf(models.CodeNotFound, "session %s does not exist", id)
	}
	session := s.session
	return &session, nil
}

func (s *store) ReadEvents(ctx context.Context, _ string, where *filter.Filter, events models.EventRange, limit, _ int, _ *models.EventMemory) ([]models.Event, error) {
	s.where, s.eventType = where, events.EventType
	if err := errors.Join(ctx.Err(), s.step(fmt.Sprintf("read after %d", events.After))); err != nil {
		return nil, err
	}
	var page []models.Event
	for seq := events.After + 1; seq <= min(events.UpTo, s.session.EventCount-s.missing, events.After+int64(limit)); seq++ {
		page = append(page, models.Event{SessionID: s.session.ID, Seq: seq, EventType: "x", Source: "y", Timestamp: noon, TimestampSource: models.TimestampFromAgent, CreatedAt: noon, Data: models.JSON("1")})
	}
	return page, nil
}

func (s *store) ReadProcesses(context.Context, string, *models.Process, int) ([]models.Process, error) {
	return nil, s.step("read processes")
}

func (s *store) ListFindings(context.Context, string) ([]models.Finding, error) {
	return s.found, s.step("list findings")
}

func (s *store) AddFindings(context.Context, string, []models.Finding, time.Time) error {
	return s.step("add findings")
}

func (s *store) BeginImport(context.Context, string, time.Time) error { return s.step("begin") }

func (s *store) AddEvents(_ context.Context, _ string, events []models.Event, _ time.Time) error {
	for i := range events {
		if !events[i].IsSent {
			return errors.New("an imported event would be polled")
		}
	}
	return s.step(fmt.Sprintf("add %d", events[0].Seq))
}

func (s *store) AddProcesses(context.Context, string, []models.Process, time.Time) error {
	return s.step("add processes")
}

func (s *store) FinishImport(context.Context, *models.Session, *models.TargetFile, func() error) error {
	return s.step("finish")
}

func (s *store) AbortImport(ctx context.Context, _ string) error {
	s.wasClosed = ctx.Err() != nil
	return s.step("abort")
}

func (*store) SessionChanged(string) {}

func (s *store) Open(context.Context, string) (io.ReadSeekCloser, error) {
	return nil, errors.New("no files")
}

func (s *store) Receive(io.Reader, int64) (*sample.Upload, error) {
	return nil, errors.New("no files")
}

func newStore(events int64) *store {
	s := &store{session: models.Session{ID: "s", EventCount: events, CreatedAt: noon, UpdatedAt: noon}}
	if events > 0 {
		s.found = []models.Finding{{RuleID: "r", Level: "low", Count: 1, Seqs: []int64{1}, FirstAt: noon, LastAt: noon}}
	}
	return s
}

func exportsOf(s *store) *service.Exports {
	return service.NewExports(s, nil, s, s, service.NewReads(1, time.Minute), time.Now, "1")
}

func TestExportGivesAllOrFails(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(s *store)
		code   models.Code
	}{
		"all":                         {func(*store) {}, ""},
		"the database fails":          {func(s *store) { s.failAt = "read after 64" }, models.CodeUnavailable},
		"some are missing":            {func(s *store) { s.missing = 10 }, models.CodeConflict},
		"all are missing":             {func(s *store) { s.missing = 5000 }, models.CodeConflict},
		"the session is deleted":      {func(s *store) { s.gone = true }, models.CodeNotFound},
		"it has none, and is deleted": {func(s *store) { s.session.EventCount, s.gone = 0, true }, models.CodeNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(5000)
			tt.change(s)
			last, failed := int64(0), error(nil)
			for page, err := range exportsOf(s).Events(t.Context(), &s.session, nil, "") {
				if failed != nil {
					t.Fatal("it went on after an error")
				}
				failed = err
				for i := range page {
					if page[i].Seq != last+1 {
						t.Fatalf("event %d comes after %d", page[i].Seq, last)
					}
					last = page[i].Seq
				}
			}
			if models.ErrorCode(failed) != tt.code || failed == nil && last != 5000 {
				t.Errorf("%d events, %v", last, failed)
			}
		})
	}
}

// TestExportThatIsNotRead checks that an export which is not read to its end stops its
// reader, and that a cancelled export ends with the error.
func TestExportThatIsNotRead(t *testing.T) {
	s := newStore(1 << 40)
	for _, err := range exportsOf(s).Events(t.Context(), &s.session, nil, "") {
		if err != nil {
			t.Fatal(err)
		}
		break
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var failed error
	for _, err := range exportsOf(s).Events(ctx, &s.session, nil, "") {
		cancel()
		failed = err
	}
	if !errors.Is(failed, context.Canceled) {
		t.Errorf("a cut export ends with %v", failed)
	}
}

// bundle writes a session of the store as a bundle.
func bundle(t *testing.T, s *store) []byte {
	t.Helper()
	var out bytes.Buffer
	if _, err := exportsOf(s).WriteBundle(t.Context(), &out, &s.session, false); err != nil {
		t.Fatal(err)
	}
	s.steps = nil
	return out.Bytes()
}

func importsOf(t *testing.T, s *store, dir string) *service.Imports {
	t.Helper()
	imports, err := service.NewImports(s, s, s, s, dir, service.ImportLimits{MaxBytes: 1 << 20, MaxLineBytes: 1 << 10}, time.Now, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		t.Fatal(err)
	}
	return imports
}

// TestFailedImportIsClearedAway checks that an import which fails at any step is
// removed, even if its client has disconnected, and that a refused one has no effect.
func TestFailedImportIsClearedAway(t *testing.T) {
	for name, tt := range map[string]struct {
		failAt  string
		goes    bool // the client disconnects at that step
		content func(whole []byte) []byte
		want    string // steps
	}{
		"whole":          {want: "begin, add 1, add 1001, add 2001, add findings, finish"},
		"begin":          {failAt: "begin", want: "begin"},
		"first events":   {failAt: "add 1", want: "begin, add 1, abort"},
		"later events":   {failAt: "add 2001", want: "begin, add 1, add 1001, add 2001, abort"},
		"findings":       {failAt: "add findings", want: "begin, add 1, add 1001, add 2001, add findings, abort"},
		"finish":         {failAt: "finish", want: "begin, add 1, add 1001, add 2001, add findings, finish, abort"},
		"client is gone": {failAt: "add 1001", goes: true, want: "begin, add 1, add 1001, add 2001, add findings, abort"},
		"damaged":        {content: func(whole []byte) []byte { return whole[:len(whole)-1] }, want: ""},
		"empty":          {content: func([]byte) []byte { return nil }, want: ""},
		"too large":      {content: func([]byte) []byte { return make([]byte, 2<<20) }, want: ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(2500)
			content := bundle(t, s)
			if tt.content != nil {
				content = tt.content(content)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if s.failAt = tt.failAt; tt.goes {
				s.cancel = cancel
			}
			dir := t.TempDir()
			_, err := importsOf(t, s, dir).Import(ctx, bytes.NewReader(content), false)
			if got := strings.Join(s.steps, ", "); got != tt.want || (err == nil) != (name == "whole") || s.wasClosed {
				t.Errorf("%v; the steps are %s, want %s", err, got, tt.want)
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
				t.Errorf("%d uploads are left, %v", len(left), err)
			}
		})
	}
}

// TestImportsClearOldUploads checks that a start removes the uploads that a crash left,
// and no other files.
func TestImportsClearOldUploads(t *testing.T) {
	dir := t.TempDir()
	for name, age := range map[string]time.Duration{"bundle-old": 48 * time.Hour, "bundle-new": time.Hour, "mine": 48 * time.Hour} {
		if err := os.WriteFile(dir+"/"+name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(dir+"/"+name, time.Time{}, time.Now().Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	importsOf(t, newStore(0), dir)
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 2 || left[0].Name() != "bundle-new" || left[1].Name() != "mine" {
		t.Errorf("%v are left, %v", left, err)
	}
}

// TestExportOfAPart checks that an export with a filter or a type may have fewer events
// than the session.
func TestExportOfAPart(t *testing.T) {
	for name, tt := range map[string]struct {
		where     *filter.Filter
		eventType string
	}{"filter": {&filter.Filter{}, ""}, "type": {nil, models.TypeHTTP}} {
		t.Run(name, func(t *testing.T) {
			s := newStore(100)
			s.missing = 90
			n := 0
			for page, err := range exportsOf(s).Events(t.Context(), &s.session, tt.where, tt.eventType) {
				if err != nil {
					t.Fatal(err)
				}
				n += len(page)
			}
			if n != 10 || s.where != tt.where || s.eventType != tt.eventType {
				t.Errorf("%d events of %v, %q", n, s.where, s.eventType)
			}
		})
	}
}
