package service

import (
	"context"
	"time"

	"ospulse/internal/models"
)

// ExpirationRepository stores what expired. internal/repository implements it and
// documents its contracts.
type ExpirationRepository interface {
	ListExpirations(ctx context.Context, page models.ExpirationPage) ([]models.Expiration, error)
	CountExpired(ctx context.Context) (n int64, since *time.Time, err error)
	RequestExpiry(ctx context.Context, sessionID string) (upTo int64, err error)
}

// Expirations lists what expired, and takes requests to remove events. It is safe for
// concurrent use.
type Expirations struct {
	stored ExpirationRepository
	wake   func() // makes Retention look for requests
}

// NewExpirations returns the service over its repository.
func NewExpirations(stored ExpirationRepository, wake func()) *Expirations {
	return &Expirations{stored, wake}
}

// ExpirationList is a page of expirations, newest first, and totals.
type ExpirationList struct {
	Expirations []models.Expiration
	More        bool
	Sessions    int64      // that expired as a whole
	Since       *time.Time // when the first of them expired; nil if none did
}

// List returns a page of expirations.
func (s *Expirations) List(ctx context.Context, page models.ExpirationPage) (list ExpirationList, err error) {
	limit := page.Limit
	page.Limit++ // to see whether more follow
	if list.Expirations, err = s.stored.ListExpirations(ctx, page); err != nil {
		return list, err
	}
	if list.More = len(list.Expirations) > limit; list.More {
		list.Expirations = list.Expirations[:limit]
	}
	list.Sessions, list.Since, err = s.stored.CountExpired(ctx)
	return list, err
}

// RemoveEvents asks to remove the events that the session unassigned has now. It returns
// the last Seq of them. Retention removes them in the background. Other sessions are
// removed as a whole: RemoveEvents returns conflict.
func (s *Expirations) RemoveEvents(ctx context.Context, sessionID string) (upTo int64, err error) {
	if sessionID != models.UnassignedID {
		return 0, models.Errorf(models.CodeConflict, "only the session %s can lose its events: delete the session %s as a whole", models.UnassignedID, sessionID)
	}
	upTo, err = s.stored.RequestExpiry(ctx, sessionID)
	if err == nil {
		s.wake()
	}
	return upTo, err
}
