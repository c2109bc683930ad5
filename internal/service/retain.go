package service

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"time"

	"ospulse/internal/models"
)

// RetainRepository finds what may expire, and removes it. internal/repository implements
// it and documents its contracts.
type RetainRepository interface {
	ListExpirable(ctx context.Context, last *models.Expirable, limit int) ([]models.Expirable, error)
	NextPart(ctx context.Context, after int64) (*models.Expirable, error)
	RequestedPart(ctx context.Context) (*models.Expirable, error)
	UsedBytes(ctx context.Context) (int64, error)
	Expire(ctx context.Context, e *models.Expirable, rule models.ExpiryRule, setting string, now time.Time) error
	ExpirePart(ctx context.Context, e *models.Expirable, rule models.ExpiryRule, setting string, now time.Time, limit int) (n int64, err error)
	ForgetProcesses(ctx context.Context, sessionID string, limit int) (int64, error)
	ReturnSpace(ctx context.Context, limit int) (int64, error)
}

// RetainRules say what expires. A zero Age or Bytes keeps everything.
type RetainRules struct {
	Age   time.Duration // after the end of a session
	Bytes int64         // of all stored data

	// The values of RETAIN_DAYS and RETAIN_GB, for the record.
	Days, GB string

	// EarlyBytes is the free disk space below which the oldest sessions expire early; 0
	// never does that.
	EarlyBytes int64
}

// IsOn reports whether something expires.
func (r RetainRules) IsOn() bool { return r.Age > 0 || r.Bytes > 0 }

// Retention removes the oldest sessions, and the oldest events of the session unassigned.
// One backend at a time does so. It is safe for concurrent use.
type Retention struct {
	stored    RetainRepository
	catalog   *Catalog
	leases    LeaseRepository
	rules     RetainRules
	freeBytes func() (int64, error)
	clock     Clock
	patient   Clock // tells how old something is
	log       *slog.Logger
	holder    string        // of the lease
	wake      chan struct{} // holds a value if a user asked to remove events

	hasParts    bool      // parts were removed, and their processes may be left
	leadsUntil  time.Time // the lease need not be renewed before
	nextMeasure time.Time // earliest time of the next measurement
	isStuck     bool      // nothing more can be removed, which was logged
}

// NewRetention returns the service over its repository. freeBytes returns the free space
// of the disk, and patient tells how old something is.
func NewRetention(stored RetainRepository, catalog *Catalog, leases LeaseRepository, rules RetainRules, freeBytes func() (int64, error), clock, patient Clock, log *slog.Logger) *Retention {
	return &Retention{stored: stored, catalog: catalog, leases: leases, rules: rules, freeBytes: freeBytes, clock: clock, patient: patient, log: log, holder: rand.Text(), wake: make(chan struct{}, 1)}
}

// Wake makes Run look for work at once.
func (r *Retention) Wake() {
	select {
	case r.wake <- struct{}{}:
	default: // it is awake already
	}
}

const (
	retainLease = "retain"
	// If a backend is killed, others wait for this long. A removal may take longer: then
	// another one may begin, which costs only time.
	retainLeaseLasts  = 5 * time.Second
	maxRetainInterval = 2 * time.Second
	minRetainInterval = 100 * time.Millisecond
	// measureRest is how long the worker waits after it has measured the stored data, as a
	// multiple of the time that this took.
	measureRest = 50
	// partStep is the number of rows of a part that one transaction removes.
	partStep = 2048
	// expirablePage is the number of sessions that one query finds.
	expirablePage = 100
)

// Run removes what expires until ctx ends.
func (r *Retention) Run(ctx context.Context) {
	interval := maxRetainInterval
	if r.rules.Age > 0 {
		interval = min(max(r.rules.Age/4, minRetainInterval), maxRetainInterval)
	}
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		logRetried(ctx, r.log, "retention failed; it is tried again", r.work(ctx))
		select {
		case <-ctx.Done():
			return
		case <-r.wake:
		case <-ticker.C:
		}
	}
}

// work does what is due.
func (r *Retention) work(ctx context.Context) error {
	return errors.Join(r.requested(ctx), r.Expire(ctx, false, r.logged), r.forgetProcesses(ctx), r.returnSpace(ctx))
}

// Removal is what retention removed, or would remove.
type Removal struct {
	models.Expirable
	Rule    models.ExpiryRule
	Setting string
}

// logged logs a removal.
func (r *Retention) logged(e Removal) {
	what := "session expired"
	if !e.Whole {
		what = "events expired"
	}
	r.log.Info(what, "session", e.SessionID, "name", e.Name, "file", e.FileName, "first_seq", e.FirstSeq, "last_seq", e.LastSeq,
		"since", e.At, "rule", e.Rule, "setting", e.Setting, "mb", e.SizeBytes>>20)
}

// Expire removes everything that the rules select now, oldest first, and calls each with
// every removal. With dryRun it only calls each.
func (r *Retention) Expire(ctx context.Context, dryRun bool, each func(Removal)) error {
	p := pass{Retention: r, each: each, dryRun: dryRun, listed: map[string]bool{}}
	if r.rules.Age > 0 {
		before := r.patient.now().Add(-r.rules.Age)
		err := p.oldest(ctx, Removal{Rule: models.RuleDays, Setting: r.rules.Days}, func(e *models.Expirable) bool { return e.At.Before(before) })
		if err != nil {
			return err
		}
	}
	if r.rules.Bytes > 0 && (dryRun || !time.Now().Before(r.nextMeasure)) {
		if err := p.shrink(ctx, Removal{Rule: models.RuleSize, Setting: r.rules.GB}, r.excessBytes); err != nil {
			return err
		}
	}
	if r.rules.EarlyBytes > 0 {
		return p.shrink(ctx, Removal{Rule: models.RuleDiskLow, Setting: "retain"}, func(context.Context) (int64, error) {
			free, err := r.freeBytes()
			return r.rules.EarlyBytes - free, err
		})
	}
	return nil
}

// pass is one application of all rules.
type pass struct {
	*Retention
	each   func(Removal)
	dryRun bool
	n      int // removals

	// What a dry run has listed: it is still there for the next rule.
	listed      map[string]bool // by session and first seq
	listedBytes int64
}

// excessBytes returns how much more is stored than RETAIN_GB allows.
func (r *Retention) excessBytes(ctx context.Context) (int64, error) {
	began := time.Now()
	used, err := r.stored.UsedBytes(ctx)
	r.nextMeasure = time.Now().Add(measureRest * time.Since(began))
	return used - r.rules.Bytes, err
}

// shrink removes the oldest things until excess returns 0 or less. Sizes of single things
// are estimates, so it measures again when they add up to the excess.
func (p *pass) shrink(ctx context.Context, rule Removal, excess func(context.Context) (int64, error)) error {
	for {
		over, err := excess(ctx)
		if err == nil && over > 0 && !p.dryRun { // deleted sessions may still take space
			if err = p.catalog.removeAll(ctx); err == nil {
				err = p.returnSpace(ctx)
			}
			if err == nil {
				over, err = excess(ctx)
			}
		}
		if err != nil {
			return err
		}
		left := over - p.listedBytes
		if left <= 0 {
			p.isStuck = false
			return nil
		}
		before := p.n
		err = p.oldest(ctx, rule, func(e *models.Expirable) bool {
			isDue := left > 0
			left -= max(e.SizeBytes, 1)
			return isDue
		})
		if err != nil || p.dryRun {
			return err
		}
		if p.n == before {
			if !p.isStuck {
				p.log.Warn("retention can remove nothing more: the rest is live, marked keep or was never started", "rule", rule.Rule, "over_mb", over>>20)
			}
			p.isStuck = true
			return nil
		}
	}
}

// oldest removes the oldest things while isDue returns true.
func (p *pass) oldest(ctx context.Context, rule Removal, isDue func(*models.Expirable) bool) error {
	for e, err := range p.oldestFirst(ctx) {
		if err != nil {
			return err
		}
		key := fmt.Sprint(e.FirstSeq, " ", e.SessionID)
		if p.listed[key] {
			continue
		}
		if !isDue(e) {
			return nil
		}
		rule.Expirable = *e
		isRemoved := true
		if p.dryRun {
			p.listed[key], p.listedBytes = true, p.listedBytes+e.SizeBytes
		} else if isRemoved, err = p.remove(ctx, &rule); err != nil {
			return err
		}
		if isRemoved {
			p.n++
			p.each(rule)
		}
	}
	return nil
}

// oldestFirst returns what retention may remove, oldest first. The caller may remove each.
func (r *Retention) oldestFirst(ctx context.Context) iter.Seq2[*models.Expirable, error] {
	return func(yield func(*models.Expirable, error) bool) {
		part, err := r.stored.NextPart(ctx, 0)
		// parts yields the parts that are not younger than at, or all of them.
		parts := func(at *time.Time) bool {
			for err == nil && part != nil && (at == nil || !part.At.After(*at)) {
				if !yield(part, nil) {
					return false
				}
				part, err = r.stored.NextPart(ctx, part.LastSeq)
			}
			return err == nil || yield(nil, err) && false
		}
		for last := (*models.Expirable)(nil); ; {
			sessions, failed := r.stored.ListExpirable(ctx, last, expirablePage)
			if err = errors.Join(err, failed); err != nil {
				yield(nil, err)
				return
			}
			for i := range sessions {
				if !parts(&sessions[i].At) || !yield(&sessions[i], nil) {
					return
				}
			}
			if len(sessions) < expirablePage {
				parts(nil)
				return
			}
			last = &sessions[len(sessions)-1]
		}
	}
}

// remove removes a session or a part of one. It reports false if it may not be removed
// any more.
func (r *Retention) remove(ctx context.Context, e *Removal) (bool, error) {
	if err := r.lead(ctx); err != nil {
		return false, err
	}
	if !e.Whole {
		n, err := r.removePart(ctx, e)
		r.hasParts = r.hasParts || n > 0
		return n > 0, err
	}
	err := r.stored.Expire(ctx, &e.Expirable, e.Rule, e.Setting, r.clock.now())
	if code := models.ErrorCode(err); code == models.CodeConflict || code == models.CodeNotFound {
		return false, nil // it has changed meanwhile
	}
	if err != nil {
		return false, err
	}
	r.catalog.announce.SessionChanged(e.SessionID)
	return true, r.catalog.remove(ctx, e.SessionID)
}

// removePart removes a part of a session, and returns the number of its seqs. It does not
// rest between its steps, because events may arrive as fast as it removes others; the
// database alternates them with groups of events.
func (r *Retention) removePart(ctx context.Context, e *Removal) (total int64, err error) {
	for {
		n, err := r.stored.ExpirePart(ctx, &e.Expirable, e.Rule, e.Setting, r.clock.now(), partStep)
		if total += n; err != nil || n == 0 {
			return total, err
		}
	}
}

// lead takes the lease, or returns conflict if another backend has it.
func (r *Retention) lead(ctx context.Context) error {
	if time.Now().Before(r.leadsUntil) {
		return nil
	}
	taken, err := r.leases.Take(ctx, retainLease, r.holder, retainLeaseLasts)
	if err == nil && !taken {
		err = models.Errorf(models.CodeConflict, "another backend is removing what expires")
	}
	if err == nil {
		r.leadsUntil = time.Now().Add(retainLeaseLasts / 2)
	}
	return err
}

// requested removes what users asked to remove.
func (r *Retention) requested(ctx context.Context) error {
	for {
		part, err := r.stored.RequestedPart(ctx)
		if err != nil || part == nil {
			return err
		}
		e := Removal{Expirable: *part, Rule: models.RuleUser}
		isRemoved, err := r.remove(ctx, &e)
		if err != nil || !isRemoved {
			return err
		}
		r.logged(e)
	}
}

// forgetProcesses removes the processes of unassigned that have no events left, if events
// have expired since the last call.
func (r *Retention) forgetProcesses(ctx context.Context) error {
	if !r.hasParts {
		return nil
	}
	r.hasParts = false
	_, err := inSteps(ctx, func(limit int) (int64, error) { return r.stored.ForgetProcesses(ctx, models.UnassignedID, limit) })
	return err
}

// returnSpace returns free space of the database to the operating system, if the database
// can do so in small steps.
func (r *Retention) returnSpace(ctx context.Context) error {
	_, err := inSteps(ctx, func(limit int) (int64, error) { return r.stored.ReturnSpace(ctx, limit) })
	return err
}

// ExpireAlone is Expire for a program that ends then. It waits while a backend removes
// what expires, for a minute at most.
func (r *Retention) ExpireAlone(ctx context.Context, dryRun bool, each func(Removal)) error {
	if dryRun {
		return r.Expire(ctx, true, each)
	}
	err := untilAlone(ctx, func() error {
		r.nextMeasure = time.Time{}
		return r.Expire(ctx, false, each)
	})
	return errors.Join(err, r.forgetProcesses(ctx), r.returnSpace(ctx), r.leases.Release(context.WithoutCancel(ctx), retainLease, r.holder))
}
