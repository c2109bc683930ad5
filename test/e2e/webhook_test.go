package e2e

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"ospulse/test/wait"
)

// posted is what a webhook got.
type posted struct {
	header http.Header
	body   []byte
	status int // of the answer

	ID      string
	Type    string
	Session struct {
		ID       string
		FileName string `json:"file_name"`
	}
	Rule    struct{ ID, Title, Level string }
	Events  int64
	Failed  int64 `json:"failed_count"`
	Target  string
	Process string `json:"process_name"`
	URL     string
}

// receiver is a webhook.
type receiver struct {
	*httptest.Server
	mu     sync.Mutex
	all    []posted
	answer func(p *posted, w http.ResponseWriter) int // nil accepts everything
}

const webhookSecret = "a-secret-of-the-test"

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		body, err := io.ReadAll(request.Body)
		p := posted{header: request.Header, body: body, status: http.StatusNoContent}
		if err != nil || json.Unmarshal(body, &p) != nil || request.Method != http.MethodPost || request.URL.Path != "/hook" {
			t.Errorf("the webhook got %s %s %s", request.Method, request.URL, body)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.answer != nil {
			p.status = r.answer(&p, w)
		}
		r.all = append(r.all, p)
		w.WriteHeader(p.status)
	}))
	t.Cleanup(r.Close)
	return r
}

// settings adds the receiver to the settings of a backend.
func (r *receiver) settings(env map[string]string) map[string]string {
	env["WEBHOOK_URL"], env["WEBHOOK_SECRET"] = r.URL+"/hook", webhookSecret
	return env
}

func (r *receiver) answers(answer func(p *posted, w http.ResponseWriter) int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = answer
}

// got returns everything that was posted.
func (r *receiver) got() []posted {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.all)
}

// accepted returns the rules and sessions of what the receiver accepted.
func (r *receiver) accepted() (all []string) {
	for _, p := range r.got() {
		if p.status < 300 {
			all = append(all, p.Rule.ID+" "+p.Session.ID)
		}
	}
	return all
}

// isSigned reports whether the signature is that of the body with a secret, and recent.
func (p *posted) isSigned(secret string) bool {
	t, v1, ok := strings.Cut(strings.TrimPrefix(p.header.Get("X-OSPulse-Signature"), "t="), ",v1=")
	var at int64
	if _, err := fmt.Sscan(t, &at); err != nil || !ok || time.Since(time.Unix(at, 0)).Abs() > time.Hour {
		return false
	}
	mac := hmac.New(sha256.New, []byte(secret))
	_, _ = fmt.Fprintf(mac, "%s.%s", t, p.body)
	return hex.EncodeToString(mac.Sum(nil)) == v1
}

// TestWebhook checks that new findings of the level are posted once each, signed, in order,
// again after a failure, and not again when rules change.
func TestWebhook(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		r := newReceiver(t)
		failures := map[string]int{}
		r.answers(func(p *posted, w http.ResponseWriter) int {
			switch failures[p.Rule.ID]++; failures[p.Rule.ID] {
			case 1:
				w.Header().Set("Location", "/elsewhere")
				return http.StatusTemporaryRedirect
			case 2:
				return http.StatusInternalServerError
			}
			return http.StatusOK
		})
		env["DATA_DIR"], env["PUBLIC_URL"] = t.TempDir(), "https://pulse.example/x/"
		b := startBackend(t, r.settings(env))
		b.createRule(opened("second", "Second", "/second"))
		b.createRule(strings.Replace(opened("medium", "Medium", "/medium"), "high", "medium", 1))
		id := b.createSession("a.exe", "MZ")["sessionId"].(string)
		b.postEvents(id, readOf("cat", "/medium"), readOf("cat", "/etc/shadow"), readOf("cat", "/second"))
		wait.For(t, "a failure in /readyz", func() bool {
			return strings.Contains(b.checks()["webhook"], "1 findings wait for the webhook") && strings.Contains(b.checks()["webhook"], "it answered 500")
		})
		both := []string{secretRead + " " + id, "second " + id}
		wait.For(t, "two findings", func() bool { return slices.Equal(r.accepted(), both) })
		all := r.got()
		p := &all[2]
		if len(all) != 6 || p.Type != "finding" || p.Session.ID != id || p.Session.FileName != "a.exe" || p.Rule.ID != secretRead || p.Rule.Level != "high" || p.Events != 1 ||
			p.Target != "/etc/shadow" || p.Process != "cat" || p.URL != "https://pulse.example/x/sessions/"+id+"/findings" || len(p.body) > 2000 {
			t.Errorf("%d were posted, the third is %s", len(all), p.body)
		}
		for i, one := range all {
			if first := all[i/3*3]; one.ID != first.ID || one.header.Get("X-OSPulse-Delivery") != one.ID || one.Rule.ID != first.Rule.ID {
				t.Errorf("attempt %d: %v %s", i, one.header, one.body)
			}
			if !one.isSigned(webhookSecret) || one.isSigned("another secret") {
				t.Errorf("attempt %d has the signature %s", i, one.header.Get("X-OSPulse-Signature"))
			}
		}
		wait.For(t, "no failure in /readyz", func() bool { return b.checks()["webhook"] == "ok" })

		// Nothing of this is a new finding.
		b.postEvents(id, readOf("cat", "/etc/shadow"))
		b.createRule(strings.Replace(opened("low", "Low", "/etc/shadow"), "high", "low", 1))
		b.enable("second", false)
		b.enable("second", true)
		wait.For(t, "the rules are applied", func() bool { return len(b.seqsOf(id, "low")) == 2 && len(b.seqsOf(id, "second")) == 1 })
		b.stop()
		execute(t, openDatabase(t, env), "UPDATE detections SET rules = 'old'")
		b = startBackend(t, env)
		b.found(id)
		// This one is.
		b.createRule(opened("third", "Third", "/medium"))
		wait.For(t, "the third finding", func() bool { return len(r.accepted()) >= 3 })
		if got, want := r.accepted(), slices.Concat(both, []string{"third " + id}); !slices.Equal(got, want) {
			t.Errorf("accepted %v, want %v", got, want)
		}
		for _, p := range r.got() {
			if p.Rule.Level != "high" {
				t.Errorf("posted %s", p.body)
			}
		}
	})
}

// TestWebhookAfterKill checks that a finding which was stored is posted after the backend was
// killed, with the same ID.
func TestWebhookAfterKill(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		r := newReceiver(t)
		r.answers(func(*posted, http.ResponseWriter) int { return http.StatusServiceUnavailable })
		env["DATA_DIR"] = t.TempDir()
		p := command(t, r.settings(env))
		p.start(t)
		b := &backend{t: t, url: p.url}
		id := b.createSession("a.exe", "MZ")["sessionId"].(string)
		b.postEvents(id, readOf("cat", "/etc/shadow"))
		wait.For(t, "an attempt", func() bool { return len(r.got()) > 0 })
		_ = p.Process.Kill()
		_ = p.Wait()
		r.answers(nil)
		startBackend(t, env)
		wait.For(t, "the finding", func() bool { return len(r.accepted()) > 0 })
		all := r.got()
		if last := all[len(all)-1]; !slices.Equal(r.accepted(), []string{secretRead + " " + id}) || last.ID != all[0].ID {
			t.Errorf("accepted %v; first %s, last %s", r.accepted(), all[0].body, last.body)
		}
	})
}

// TestWebhookOfManyBackends checks that two backends post each finding once, and that one takes
// over when the other stops. What one was posting when it stopped may come twice.
func TestWebhookOfManyBackends(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	env := r.settings(databases(t)["postgres"])
	one, other := startBackend(t, env), startBackend(t, env)
	want := map[string]int{}
	for i := range 20 {
		b := []*backend{one, other}[i%2]
		id := b.createSession("a.exe", "MZ")["sessionId"].(string)
		b.postEvents(id, readOf("cat", "/etc/shadow"))
		want[secretRead+" "+id] = 1
	}
	wait.For(t, "all findings", func() bool { return len(r.accepted()) >= len(want) })
	one.stop()
	id := other.createSession("a.exe", "MZ")["sessionId"].(string)
	other.postEvents(id, readOf("cat", "/etc/shadow"))
	want[secretRead+" "+id] = 1
	wait.For(t, "a finding after the stop", func() bool { return slices.Contains(r.accepted(), secretRead+" "+id) })
	got := map[string]int{}
	for _, key := range r.accepted() {
		got[key]++
	}
	twice := 0
	for key, n := range got {
		if want[key] == 0 || n > 2 {
			t.Errorf("%s was accepted %d times", key, n)
		}
		twice += n - 1
	}
	if len(got) != len(want) || twice > 4 {
		t.Errorf("accepted %v, want %v", got, want)
	}
}
