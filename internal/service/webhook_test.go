package service_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"ospulse/internal/models"
	"ospulse/internal/service"
)

// outbox has one notice, and notes what becomes of it.
type outbox struct {
	mu    sync.Mutex
	due   []models.DueNotice
	notes []string
}

func (o *outbox) ListDue(context.Context, int) ([]models.DueNotice, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.due, nil
}

func (o *outbox) note(format string, args ...any) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.due, o.notes = nil, append(o.notes, fmt.Sprintf(format, args...))
	return nil
}

func (o *outbox) Finish(_ context.Context, _ uint64, state models.NoticeState, failure string) error {
	return o.note("%s %s", state, failure)
}

func (o *outbox) Retry(_ context.Context, _ uint64, after time.Duration, failure string) error {
	return o.note("after %s %s", after.Truncate(time.Second), failure)
}

func (o *outbox) Take(context.Context, string, string, time.Duration) (bool, error) { return true, nil }
func (o *outbox) Release(context.Context, string, string) error                     { return nil }

// TestWebhookGivesUp checks what becomes of attempts by the answer, their number and the age of
// the finding, and that no error shows the URL.
func TestWebhookGivesUp(t *testing.T) {
	const day = 24 * time.Hour
	for name, tt := range map[string]struct {
		status   int // 0 closes the connection
		header   string
		attempts int64
		age      time.Duration
		want     string
	}{
		"accepted":             {202, "", 0, 0, "delivered "},
		"accepted late":        {200, "", 90, 4 * day, "delivered "},
		"first failure":        {500, "", 0, 0, "after 0s it answered 500"},
		"many failures":        {404, "", 4000, 2 * day, "it answered 404"},
		"asked to wait":        {429, "120", 1, 0, "after 2m0s it answered 429"},
		"asked to wait long":   {503, "99999999", 1, 0, "after 1h0m0s it answered 503"},
		"asked to hurry":       {503, "-5", 1, 0, "it answered 503"},
		"a redirect":           {308, "", 0, 0, "it answered 308; redirects are not followed"},
		"no answer":            {0, "", 0, 0, "EOF"},
		"given up":             {500, "", 80, 3*day + time.Hour, "failed it answered 500"},
		"given up, no answer":  {0, "", 80, 4 * day, "failed EOF"},
		"after a long stop":    {500, "", 3, 9 * day, "it answered 500"},
		"continues for a time": {500, "", 80, 3*day - time.Hour, "it answered 500"},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if tt.status == 0 {
					panic(http.ErrAbortHandler)
				}
				w.Header().Set("Location", "/other")
				w.Header().Set("Retry-After", tt.header)
				w.WriteHeader(tt.status)
			}))
			defer server.Close()
			o := &outbox{due: []models.DueNotice{{ID: 1, Attempts: tt.attempts, Age: tt.age, Finding: models.ListedFinding{Finding: models.Finding{SessionID: "s", RuleID: "r"}}}}}
			var log strings.Builder
			webhook := service.NewWebhook(o, o, server.URL+"/sesame", "key", "http://localhost", "dev", time.Now, slog.New(slog.NewTextHandler(&log, nil)))
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() { webhook.Run(ctx); close(done) }()
			for noted := false; !noted; {
				<-time.After(time.Millisecond)
				o.mu.Lock()
				noted = len(o.notes) > 0
				o.mu.Unlock()
			}
			cancel()
			<-done
			if len(o.notes) != 1 || !strings.HasSuffix(o.notes[0], tt.want) || strings.HasPrefix(tt.want, "after") && o.notes[0] != tt.want || strings.Contains(o.notes[0]+log.String(), "sesame") {
				t.Errorf("noted %q, want %q; the log: %s", o.notes, tt.want, log.String())
			}
			if strings.Contains(tt.want, "failed") != strings.Contains(log.String(), "given up") {
				t.Error("the log says ", log.String())
			}
		})
	}
}
