package service

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	mathrand "math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"ospulse/internal/models"
)

// NoticeRepository stores which findings the webhook must get. *repository.Notices implements
// it and documents its contracts.
type NoticeRepository interface {
	ListDue(ctx context.Context, limit int) ([]models.DueNotice, error)
	Finish(ctx context.Context, id uint64, state models.NoticeState, failure string) error
	Retry(ctx context.Context, id uint64, after time.Duration, failure string) error
}

// Webhook posts new findings to a URL, each at least once and normally once, those of a session
// in their order. One backend at a time does so.
type Webhook struct {
	stored  NoticeRepository
	leases  LeaseRepository
	client  *http.Client
	target  string // the URL
	secret  string
	link    string // the base URL of the dashboard, without a slash at its end
	version string
	holder  string // of the lease
	clock   Clock
	log     *slog.Logger
}

const (
	webhookLease   = "webhook"
	webhookPoll    = time.Second
	webhookTimeout = 10 * time.Second // of an attempt
	webhookEnding  = 2 * time.Second  // of an attempt once the program stops
	webhookAtOnce  = 4                // attempts at a time, which share the lease
	// webhookLeaseLasts is more than the attempts take. If a backend is killed, others wait
	// for this long.
	webhookLeaseLasts = 15 * time.Second
	// The time between two attempts doubles from webhookFirst to webhookMost.
	webhookFirst = time.Second
	webhookMost  = time.Hour
	// webhookGivesUp is the age of a finding at which an attempt is the last one, unless there
	// were fewer than webhookLeast: no backend may have run.
	webhookGivesUp = 3 * 24 * time.Hour
	webhookLeast   = 10
	// maxNoticeText is the most characters of a value that events contain.
	maxNoticeText = 1000
)

// NewWebhook returns the sender of notices to a URL. The key of the signature is secret. Links
// begin with link. version is that of this program.
func NewWebhook(stored NoticeRepository, leases LeaseRepository, target, secret, link, version string, clock Clock, log *slog.Logger) *Webhook {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.ResponseHeaderTimeout = webhookTimeout
	return &Webhook{
		stored: stored, leases: leases, target: target, secret: secret, link: link, version: version, holder: rand.Text(), clock: clock, log: log,
		client: &http.Client{
			Timeout: webhookTimeout, Transport: transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// Run posts notices until ctx ends.
func (w *Webhook) Run(ctx context.Context) {
	defer w.client.CloseIdleConnections()
	ticker := time.NewTicker(webhookPoll)
	defer ticker.Stop()
	for {
		logRetried(ctx, w.log, "notices cannot be sent; it is tried again", w.work(ctx))
		select {
		case <-ctx.Done():
			_ = w.leases.Release(context.WithoutCancel(ctx), webhookLease, w.holder) // it ends by itself too
			return
		case <-ticker.C:
		}
	}
}

// work posts the notices that are due.
func (w *Webhook) work(ctx context.Context) error {
	for {
		due, err := w.stored.ListDue(ctx, 1)
		if err != nil || len(due) == 0 {
			return err
		}
		if taken, err := w.leases.Take(ctx, webhookLease, w.holder, webhookLeaseLasts); err != nil || !taken {
			return err
		}
		// Another backend may have sent them until now.
		if due, err = w.stored.ListDue(ctx, webhookAtOnce); err != nil {
			return err
		}
		failed := make([]error, len(due))
		var sending sync.WaitGroup
		for i := range due {
			sending.Go(func() { failed[i] = w.deliver(ctx, &due[i]) })
		}
		sending.Wait()
		if err := errors.Join(failed...); err != nil || ctx.Err() != nil {
			return err
		}
	}
}

// deliver posts a notice and stores the outcome. The error is that of the database.
func (w *Webhook) deliver(ctx context.Context, n *models.DueNotice) error {
	// The target may have taken the notice already: without its answer it would be sent again.
	posting, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(webhookEnding, cut) })()
	after, err := w.post(posting, n)
	storing, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaseCall) // a stop must not make it be sent again
	defer cancel()
	if err == nil {
		return w.stored.Finish(storing, n.ID, models.NoticeDelivered, "")
	}
	if posting.Err() != nil { // this backend stops: no attempt was made
		return nil
	}
	if n.Age > webhookGivesUp && n.Attempts+1 >= webhookLeast {
		w.log.Error("the webhook did not take a finding; it is given up", "session", n.Finding.SessionID, "rule", n.Finding.RuleID, "attempts", n.Attempts+1, "error", err)
		return w.stored.Finish(storing, n.ID, models.NoticeFailed, err.Error())
	}
	after = min(max(after, backoff(n.Attempts)), webhookMost)
	w.log.Warn("the webhook did not take a finding; it is tried again", "session", n.Finding.SessionID, "rule", n.Finding.RuleID, "attempts", n.Attempts+1, "after", after, "error", err)
	return w.stored.Retry(storing, n.ID, after, err.Error())
}

// backoff returns the time until the next attempt after some failed ones: between half and all
// of a time that doubles.
func backoff(attempts int64) time.Duration {
	most := min(webhookFirst<<min(attempts, 20), webhookMost)
	return most/2 + mathrand.N(most/2)
}

// noticeBody is what the webhook gets.
type noticeBody struct {
	Type        string        `json:"type"`
	ID          string        `json:"id"` // of the notice: the same for each attempt
	Session     noticeSession `json:"session"`
	Rule        noticeRule    `json:"rule"`
	Events      int64         `json:"events"`
	Failed      int64         `json:"failed_count"` // of these events
	FirstAt     string        `json:"first_at"`
	LastAt      string        `json:"last_at"`
	PID         *int64        `json:"pid"`
	ProcessName *string       `json:"process_name"`
	Target      *string       `json:"target"`
	RootPath    *string       `json:"root_path"`
	URL         string        `json:"url"`
}

type noticeSession struct {
	ID       string `json:"id"`
	Name     string `json:"name"`
	FileName string `json:"file_name"`
}

type noticeRule struct {
	ID      string   `json:"id"`
	Version string   `json:"version"`
	Title   string   `json:"title"`
	Level   string   `json:"level"`
	Tags    []string `json:"tags"`
}

func (w *Webhook) body(n *models.DueNotice) []byte {
	f := &n.Finding
	text, _ := json.Marshal(noticeBody{ // cannot fail
		Type: "finding", ID: strconv.FormatUint(n.ID, 10),
		Session: noticeSession{f.SessionID, shorten(f.SessionName), shorten(f.FileName)},
		Rule:    noticeRule{f.RuleID, f.Version, shorten(f.Title), f.Level, append([]string{}, f.Tags[:min(len(f.Tags), 100)]...)},
		Events:  f.Count, Failed: f.Failed, FirstAt: models.FormatTime(f.FirstAt), LastAt: models.FormatTime(f.LastAt),
		PID: f.PID, ProcessName: shortened(f.ProcessName), Target: shortened(f.Target), RootPath: shortened(f.RootPath),
		URL: w.link + "/sessions/" + url.PathEscape(f.SessionID) + "/findings",
	})
	return text
}

func shortened(text *string) *string {
	if text == nil {
		return nil
	}
	return new(shorten(*text))
}

func shorten(text string) string {
	if len(text) <= maxNoticeText {
		return text
	}
	runes := []rune(text)
	return string(runes[:min(len(runes), maxNoticeText)]) + "…"
}

// post makes one attempt. The error names no part of the URL, which may be secret. after is the
// time that the receiver asks to wait, or 0.
func (w *Webhook) post(ctx context.Context, n *models.DueNotice) (after time.Duration, err error) {
	body := w.body(n)
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, w.target, bytes.NewReader(body))
	if err != nil {
		return 0, errors.New("the URL is invalid")
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "OS-Pulse/"+w.version)
	request.Header.Set("X-OSPulse-Delivery", strconv.FormatUint(n.ID, 10))
	request.Header.Set("X-OSPulse-Signature", signature(w.secret, w.clock.now(), body))
	response, err := w.client.Do(request)
	if err != nil {
		if of, ok := errors.AsType[*url.Error](err); ok {
			err = of.Err
		}
		return 0, err
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 64<<10)) // so that the connection can be used again
	switch code := response.StatusCode; {
	case code >= 200 && code < 300:
		return 0, nil
	case code >= 300 && code < 400:
		return 0, fmt.Errorf("it answered %d; redirects are not followed", code)
	default:
		seconds, _ := strconv.ParseInt(response.Header.Get("Retry-After"), 10, 32)
		return time.Duration(max(seconds, 0)) * time.Second, fmt.Errorf("it answered %d", code)
	}
}

// signature returns the signature of a body at a time: t is in seconds since 1970, and v1 is the
// HMAC-SHA256 of "t.body" in hex.
func signature(secret string, at time.Time, body []byte) string {
	t := strconv.FormatInt(at.Unix(), 10)
	mac := hmac.New(sha256.New, []byte(secret))
	_, _ = io.WriteString(mac, t+".")
	_, _ = mac.Write(body)
	return "t=" + t + ",v1=" + hex.EncodeToString(mac.Sum(nil))
}
