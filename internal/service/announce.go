package service

import (
	"context"

	"ospulse/internal/models"
)

// SessionAnnouncer is told, after the commit, that a session was created, changed
// or deleted; *live.Hub is one. It must not wait for anyone.
type SessionAnnouncer interface {
	SessionChanged(id string)
}

// Announced gives the repository that announces what Create and Update do, whoever
// calls them.
func Announced(sessions SessionRepository, to SessionAnnouncer) SessionRepository {
	return &announced{sessions, to}
}

type announced struct {
	SessionRepository
	to SessionAnnouncer
}

func (a *announced) Create(ctx context.Context, session *models.Session, file *models.TargetFile, place func() error) error {
	err := a.SessionRepository.Create(ctx, session, file, place)
	if err == nil {
		a.to.SessionChanged(session.ID)
	}
	return err
}

func (a *announced) Update(ctx context.Context, id string, change func(*models.Session) error) (*models.Session, error) {
	session, err := a.SessionRepository.Update(ctx, id, change)
	if err == nil {
		a.to.SessionChanged(id)
	}
	return session, err
}
