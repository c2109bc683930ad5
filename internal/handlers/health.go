package handlers

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v5"

	"ospulse/internal/models"
)

// checkTimeout bounds one check of the database.
const checkTimeout = 3 * time.Second

// Checks are the inputs of readiness and health.
type Checks struct {
	Database   func(ctx context.Context) error // nil if the database answers
	Migrations func(ctx context.Context) error // nil if they are those of this program
	FreeBytes  func() (int64, error)           // on the disk of the data folder
	Files      func() models.FileCheck         // the last comparison of files and rows
	Spool      Spool
	WaitsFor   func() string                                                                   // why the database does not store the events in the spool; "" if it does
	Durability func(ctx context.Context) (models.Durability, error)                            // durability of a commit now
	Backfill   func(ctx context.Context) (models.BackfillLeft, error)                          // the old events that the backfill has not read yet
	Damages    func(ctx context.Context, sessionID string, limit int) ([]models.Damage, error) // sealed events that cannot be read
	Bucket     func() string                                                                   // why the bucket of sealed events failed last; "" if it works or there is none
	Notices    func(ctx context.Context) (models.NoticeStatus, error)                          // what the webhook lacks
	Agent      func(ctx context.Context) (*models.Agent, error)
	Memory     func() Memory
	Disk       func() models.DiskStatus
	Retention  Retention
	Log        *slog.Logger

	MinFreeBytes    int64
	DatabaseDialect string
	FileStorage     string // where target files are stored, without secrets
	Version         string
}

// Spool holds events that the database cannot store now, or refuses.
type Spool interface {
	Backlog() (events int, sizeBytes int64)
	SetAsideEvents() int
	MaxBytes() int64
	Weakness() string
}

// Memory is how much memory this program may use, the source of that limit ("cgroup",
// "machine" or "GOMEMLIMIT"), and how it is divided.
type Memory struct {
	LimitBytes   int64                 `json:"limit_bytes"`
	Source       string                `json:"source"`
	PlannedBytes int64                 `json:"planned_bytes"` // part of the limit that this program plans to use
	Parts        map[string]MemoryPart `json:"parts"`
}

// Retention has the settings of retention; 0 keeps everything.
type Retention struct {
	Days    float64 `json:"days"`
	GB      float64 `json:"gb"`
	DiskLow string  `json:"disk_low"`
}

// DiskGuard refuses events when the disk is nearly full. *service.Disk implements it.
type DiskGuard interface {
	Refusal() error
}

// refuseWithoutRoom answers requests that store events with the guard's refusal.
func refuseWithoutRoom(guard DiskGuard) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c *echo.Context) error {
			if err := guard.Refusal(); err != nil {
				return err
			}
			return next(c)
		}
	}
}

// diskView is the disk of the data folder.
type diskView struct {
	State        models.DiskState `json:"state"`
	FreeBytes    *int64           `json:"free_bytes"` // null if unknown
	MinFreeBytes int64            `json:"min_free_bytes"`
	FullAt       *string          `json:"full_at"` // null unless it is within a day
	HasDatabase  bool             `json:"has_database"`
}

func newDiskView(s models.DiskStatus) diskView {
	view := diskView{State: s.State, MinFreeBytes: s.MinFreeBytes, FullAt: optionalTime(s.FullAt), HasDatabase: s.HasDatabase}
	if s.FreeBytes >= 0 {
		view.FreeBytes = &s.FreeBytes
	}
	return view
}

// MemoryPart is how much memory a part may use, and uses; UsedBytes is nil if unknown.
type MemoryPart struct {
	LimitBytes int64  `json:"limit_bytes"`
	UsedBytes  *int64 `json:"used_bytes,omitempty"`
}

// readiness is the answer of /readyz. Each check has "ok" or what is wrong.
type readiness struct {
	Status     string            `json:"status"`
	Durability models.Durability `json:"durability"`
	Checks     map[string]string `json:"checks"`
}

// live reports that the program runs.
func (k *Checks) live(c *echo.Context) error {
	return c.JSON(http.StatusOK, map[string]string{"status": "ok"})
}

// ready reports whether the backend can serve requests: 200, or 503 with what is wrong.
func (k *Checks) ready(c *echo.Context) error {
	answer := k.check(c.Request().Context())
	if models.ActorOf(c.Request().Context()).Role == models.RoleAgent {
		answer.Checks = map[string]string{} // an agent must know whether to wait, not why
	}
	status := http.StatusOK
	if answer.Status != "ok" {
		status = http.StatusServiceUnavailable
		c.Response().Header().Set("Retry-After", retryAfter)
	}
	return c.JSON(status, answer)
}

func (k *Checks) check(ctx context.Context) readiness {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	answer := readiness{Status: "ok", Checks: map[string]string{"database": "ok", "migrations": "ok", "disk": "ok", "spool": "ok", "set_aside": "ok", "durability": "ok", "backfill": "ok", "sealed": "ok", "bucket": "ok", "webhook": "ok"}}
	fail := func(check, text string, err error) {
		answer.Status, answer.Checks[check] = "unavailable", text
		k.Log.Warn("not ready: "+text, "check", check, "error", err)
	}
	if err := k.Database(ctx); err != nil {
		fail("database", "the database does not answer", err)
	}
	if err := k.Migrations(ctx); err != nil {
		fail("migrations", "the database's schema cannot be read, or is of another version", err)
	}
	switch free, err := k.FreeBytes(); {
	case err != nil:
		fail("disk", "the free space in the data folder cannot be read", err)
	case free < k.MinFreeBytes:
		fail("disk", "the data folder's disk is nearly full", fmt.Errorf("%d bytes are free, of %d wanted (MIN_FREE_MB)", free, k.MinFreeBytes))
	}
	if events, size := k.Spool.Backlog(); events > 0 { // not a failure: they are safe
		answer.Checks["spool"] = fmt.Sprintf("%d events wait on this machine's disk for the database (%.1f of %d MB)", events, float64(size)/(1<<20), k.Spool.MaxBytes()>>20)
		if why := k.WaitsFor(); why != "" {
			answer.Checks["spool"] += ": " + why
		}
	}
	if events := k.Spool.SetAsideEvents(); events > 0 {
		answer.Checks["set_aside"] = fmt.Sprintf("%d acknowledged events are set aside on this machine's disk, as the database refuses them: see ospulse-backend spool list", events)
	}
	if left, err := k.Backfill(ctx); err != nil {
		answer.Checks["backfill"] = "the backend could not find out whether search columns and processes of old events are filled in"
	} else if left.Sessions > 0 { // not a failure
		answer.Checks["backfill"] = fmt.Sprintf("the backend is still filling in search columns and processes of %d events in %d sessions, which an older version or the existing backend stored", left.Events, left.Sessions)
	}
	k.checkSealed(ctx, &answer)
	if failure := k.Bucket(); failure != "" { // not a failure: everything but these events can be read and stored
		answer.Checks["bucket"] = failure
	}
	k.checkWebhook(ctx, &answer)
	k.checkDurability(ctx, &answer, fail)
	return answer
}

// checkWebhook says how many findings the webhook did not take. It is no failure: they wait.
func (k *Checks) checkWebhook(ctx context.Context, answer *readiness) {
	status, err := k.Notices(ctx)
	if err != nil {
		answer.Checks["webhook"] = "the backend could not find out whether the webhook has all findings"
		return
	}
	var texts []string
	if status.Retried > 0 {
		texts = append(texts, fmt.Sprintf("%d findings wait for the webhook, the oldest for %s; the last error: %s", status.Retried, status.Age.Round(time.Second), status.LastError))
	}
	if status.Failed > 0 {
		texts = append(texts, fmt.Sprintf("%d findings of the last %d days were given up after the webhook did not take them for three days", status.Failed, int(models.NoticeReported.Hours()/24)))
	}
	if len(texts) > 0 {
		answer.Checks["webhook"] = strings.Join(texts, "; ")
	}
}

// checkSealed names the sealed events that cannot be read. The backend is ready
// nevertheless: all others can.
func (k *Checks) checkSealed(ctx context.Context, answer *readiness) {
	const named = 3
	damages, err := k.Damages(ctx, "", named+1)
	if err != nil {
		answer.Checks["sealed"] = "the backend could not find out whether sealed events are damaged"
	}
	var texts []string
	for _, d := range damages[:min(len(damages), named)] {
		texts = append(texts, fmt.Sprintf("the events %d to %d of session %s cannot be read: %s", d.First, d.Last, d.SessionID, d.Reason))
	}
	if len(damages) > named {
		texts = append(texts, "and more")
	}
	if len(texts) > 0 {
		answer.Checks["sealed"] = strings.Join(texts, "; ")
	}
}

// checkDurability reports the durability of a commit. A weak one fails the check only
// if it is not allowed.
func (k *Checks) checkDurability(ctx context.Context, answer *readiness, fail func(check, text string, err error)) {
	durability, err := k.Durability(ctx)
	answer.Durability = durability
	switch weakness := k.Spool.Weakness(); {
	case durability.Weak() && err != nil:
		fail("durability", string(durability)+": events wait on this machine's disk until that is changed, or allowed by DATABASE_ALLOW_WEAK", err)
	case durability.Weak():
		answer.Checks["durability"] = string(durability)
	case weakness != "":
		answer.Checks["durability"] = "weak: the spool " + weakness
	}
}

// controllerHealth is health for controllers. An agent learns only that the backend is there.
func (k *Checks) controllerHealth(c *echo.Context) error {
	if models.ActorOf(c.Request().Context()).Role == models.RoleAgent {
		return k.live(c)
	}
	return k.health(c)
}

// health serves users, and controllers, which take any 200 as connected.
func (k *Checks) health(c *echo.Context) error {
	type agent struct {
		URL        string             `json:"url"`
		Status     models.AgentStatus `json:"status"`
		Error      string             `json:"error,omitempty"`
		LastSeenAt *time.Time         `json:"lastSeenAt,omitempty"`
	}
	type files struct {
		Storage   string     `json:"storage"`
		Missing   int        `json:"missing"`
		CheckedAt *time.Time `json:"checkedAt,omitempty"`
		Error     string     `json:"error,omitempty"`
	}
	readiness := k.check(c.Request().Context())
	answer := struct {
		Status     string            `json:"status"`
		Service    string            `json:"service"`
		Version    string            `json:"version"`
		Database   string            `json:"database"`
		Durability models.Durability `json:"durability"`
		Checks     map[string]string `json:"checks"`
		Files      files             `json:"files"`
		Memory     Memory            `json:"memory"`
		Disk       diskView          `json:"disk"`
		Retention  Retention         `json:"retention"`
		Agent      *agent            `json:"agent,omitempty"`
	}{readiness.Status, "os-pulse-backend", k.Version, k.DatabaseDialect, readiness.Durability, readiness.Checks, files{Storage: k.FileStorage}, k.Memory(), newDiskView(k.Disk()), k.Retention, nil}
	if last := k.Files(); !last.CheckedAt.IsZero() {
		answer.Files.CheckedAt, answer.Files.Missing, answer.Files.Error = &last.CheckedAt, last.Missing, last.Error
	}
	if a, err := k.Agent(c.Request().Context()); err == nil {
		answer.Agent = &agent{a.URL, a.Status, a.LastError, a.LastSeenAt}
	}
	return c.JSON(http.StatusOK, answer)
}
