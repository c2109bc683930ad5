package service

import (
	"context"

	"ospulse/internal/models"
)

// SessionAnnouncer is called after a commit that created, changed or deleted a session.
// *live.Hub implements it. It must not block.
type SessionAnnouncer interface {
	SessionChanged(id string)
}

// FindingAnnouncer is called after a commit that changed the findings of a session. *live.Hub
// implements it. It must not block.
type FindingAnnouncer interface {
	FindingsChanged(id string)
}

// Announced returns a repository that announces each Create and Update.
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
