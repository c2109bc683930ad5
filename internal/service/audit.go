package service

import (
	"context"
	"iter"
	"log/slog"
	"time"

	"ospulse/internal/models"
)

// AuditRepository stores audit entries. *repository.Audit implements it and documents its
// contracts.
type AuditRepository interface {
	Append(ctx context.Context, entry *models.AuditEntry) error
	Complete(ctx context.Context, entry *models.AuditEntry) error
	List(ctx context.Context, filter models.AuditFilter) ([]models.AuditEntry, error)
	DeleteBefore(ctx context.Context, at time.Time) (removed int64, err error)
}

// auditSweep is the time between two removals of old entries.
const auditSweep = time.Hour

// auditPage is the number of entries that All reads at a time.
const auditPage = 1000

// Audit records what actors do.
type Audit struct {
	entries AuditRepository
	keep    time.Duration // 0 keeps entries for ever
	clock   Clock
	patient Clock // for the removal of old entries
	log     *slog.Logger
}

// NewAudit returns an audit that removes entries older than keep by the clock patient, unless keep
// is 0.
func NewAudit(entries AuditRepository, keep time.Duration, clock, patient Clock, log *slog.Logger) *Audit {
	return &Audit{entries, keep, clock, patient, log}
}

// Begin stores an entry with the present time before its action. Record completes it. If a
// crash comes between, the entry says that the action has not finished. The caller must not
// act after an error, which is unavailable.
func (a *Audit) Begin(ctx context.Context, entry *models.AuditEntry) error {
	entry.At, entry.Status = a.clock.now(), 0
	err := a.entries.Append(ctx, entry)
	if err == nil {
		return nil
	}
	entry.ID = 0 // the commit may have failed after the database had chosen it
	if models.ErrorCode(err) == models.CodeUnavailable {
		return err
	}
	return models.Wrap(err, models.CodeUnavailable, "the audit cannot record this, so it was not done")
}

// Record stores the result of an action: in the entry of Begin, or in a new one. An entry
// that the database does not take is written to the log as a whole, because the action has
// already happened.
func (a *Audit) Record(ctx context.Context, entry *models.AuditEntry) {
	store := a.entries.Complete
	if entry.ID == 0 {
		entry.At, store = a.clock.now(), a.entries.Append
	}
	if err := store(ctx, entry); err != nil {
		a.log.Error("an entry of the audit could not be stored", "error", err, "key_id", entry.KeyID, "actor", entry.ActorName, "address", entry.Address,
			"action", entry.Action, "session_id", entry.SessionID, "target", entry.Target, "before", entry.Before, "after", entry.After, "status", entry.Status, "request_id", entry.RequestID)
	}
}

// List returns up to filter.Limit entries, newest first, and whether more follow.
func (a *Audit) List(ctx context.Context, filter models.AuditFilter) (entries []models.AuditEntry, hasMore bool, err error) {
	limit := filter.Limit
	filter.Limit++
	entries, err = a.entries.List(ctx, filter)
	if len(entries) > limit {
		return entries[:limit], true, err
	}
	return entries, false, err
}

// All returns all entries that the filter selects, newest first, without its limit.
func (a *Audit) All(ctx context.Context, filter models.AuditFilter) iter.Seq2[[]models.AuditEntry, error] {
	return func(yield func([]models.AuditEntry, error) bool) {
		filter.Limit = auditPage
		for {
			entries, hasMore, err := a.List(ctx, filter)
			if err != nil || len(entries) > 0 {
				if !yield(entries, err) {
					return
				}
			}
			if err != nil || !hasMore {
				return
			}
			filter.BeforeID = entries[len(entries)-1].ID
		}
	}
}

// Run removes old entries until ctx ends.
func (a *Audit) Run(ctx context.Context) {
	if a.keep == 0 {
		return
	}
	ticker := time.NewTicker(auditSweep)
	defer ticker.Stop()
	for {
		if removed, err := a.entries.DeleteBefore(ctx, a.patient.now().Add(-a.keep)); err != nil && ctx.Err() == nil {
			a.log.Warn("old entries of the audit could not be removed; it is tried again", "error", err)
		} else if removed > 0 {
			a.log.Info("old entries of the audit were removed (AUDIT_DAYS)", "entries", removed)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}
