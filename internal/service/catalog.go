package service

import (
	"context"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"ospulse/internal/models"
)

// Limits of a session's notes.
const (
	maxNameLen  = 200      // characters
	maxNotesLen = 64 << 10 // bytes
	maxTags     = 50
	maxTagLen   = 100 // characters
)

// CatalogRepository stores sessions. internal/repository implements it and documents its
// contracts.
type CatalogRepository interface {
	List(ctx context.Context, filter models.SessionFilter) ([]models.Session, error)
	Get(ctx context.Context, id string) (*models.Session, error)
	Update(ctx context.Context, id string, change func(*models.Session) error) (*models.Session, error)
	Deleter
}

// AgentFinder finds agents.
type AgentFinder interface {
	Get(ctx context.Context, id string) (*models.Agent, error)
}

// CatalogFiles opens and deletes target files. *sample.Store implements it and documents
// its contracts.
type CatalogFiles interface {
	Open(ctx context.Context, sha256 string) (io.ReadSeekCloser, error)
	Delete(ctx context.Context, sha256 string) error
}

// Catalog holds the stored sessions: it lists and shows them, changes their notes, opens
// their files and deletes them. Sessions starts and stops them. It is safe for concurrent
// use.
type Catalog struct {
	sessions CatalogRepository
	agents   AgentFinder
	files    CatalogFiles
	announce SessionAnnouncer
	clock    Clock
	log      *slog.Logger
	wake     chan struct{} // holds a value if there is something to delete
}

// NewCatalog returns the catalog. The caller must call Run, which removes what Delete has
// hidden.
func NewCatalog(sessions CatalogRepository, agents AgentFinder, files CatalogFiles, announce SessionAnnouncer, clock Clock, log *slog.Logger) *Catalog {
	return &Catalog{sessions: sessions, agents: agents, files: files, announce: announce, clock: clock, log: log, wake: make(chan struct{}, 1)}
}

// List returns up to filter.Limit sessions in the order that filter says, and the cursor of
// the next page; nil at the end.
func (a *Catalog) List(ctx context.Context, filter models.SessionFilter) ([]models.Session, *models.SessionCursor, error) {
	limit := filter.Limit
	filter.Limit++ // to see whether more follow
	sessions, err := a.sessions.List(ctx, filter)
	if err != nil || len(sessions) <= limit {
		return sessions, nil, err
	}
	sessions = sessions[:limit]
	last := &sessions[limit-1]
	return sessions, &models.SessionCursor{Rank: models.LevelRank(last.Findings.Highest()), CreatedAt: last.CreatedAt, ID: last.ID}, nil
}

// Get returns a session and its agent; nil for a session without one.
func (a *Catalog) Get(ctx context.Context, id string) (*models.Session, *models.Agent, error) {
	session, err := a.sessions.Get(ctx, id)
	if err != nil || session.AgentID == nil {
		return session, nil, err
	}
	agent, err := a.agents.Get(ctx, *session.AgentID)
	if models.ErrorCode(err) == models.CodeNotFound {
		return session, nil, nil
	}
	return session, agent, err
}

// Change changes a session's notes and returns the session before and after. It trims names
// and tags, and removes duplicate tags.
func (a *Catalog) Change(ctx context.Context, id string, change models.SessionChange) (before, after *models.Session, err error) {
	if err := tidy(&change); err != nil {
		return nil, nil, err
	}
	before = &models.Session{}
	after, err = a.sessions.Update(ctx, id, func(session *models.Session) error {
		*before = *session
		if change.Name != nil {
			session.Name = *change.Name
		}
		if change.Notes != nil {
			session.Notes = *change.Notes
		}
		if change.Tags != nil {
			session.Tags = *change.Tags
		}
		if change.Keep != nil {
			session.Keep = *change.Keep
		}
		return nil
	})
	if err == nil {
		a.announce.SessionChanged(id)
	}
	return before, after, err
}

// tidy checks a change and returns it in the form in which it is stored.
func tidy(change *models.SessionChange) error {
	if change.Name != nil {
		name := strings.TrimSpace(*change.Name)
		if err := checkLabel("name", name, maxNameLen); err != nil {
			return err
		}
		change.Name = &name
	}
	if notes := change.Notes; notes != nil {
		switch {
		case len(*notes) > maxNotesLen:
			return models.Errorf(models.CodeInvalid, "notes has %d bytes; at most %d are taken", len(*notes), maxNotesLen)
		case !utf8.ValidString(*notes) || strings.ContainsRune(*notes, 0):
			return models.Errorf(models.CodeInvalid, "notes must be text without NUL characters")
		}
	}
	if change.Tags != nil {
		tags := []string{}
		for _, tag := range *change.Tags {
			tag = strings.TrimSpace(tag)
			if tag == "" {
				return models.Errorf(models.CodeInvalid, "tags must not have empty texts")
			}
			if err := checkLabel("a tag", tag, maxTagLen); err != nil {
				return err
			}
			if !slices.Contains(tags, tag) {
				tags = append(tags, tag)
			}
			if len(tags) > maxTags {
				return models.Errorf(models.CodeInvalid, "tags has more than the %d that are taken", maxTags)
			}
		}
		change.Tags = &tags
	}
	return nil
}

// checkLabel checks a text of one line.
func checkLabel(what, text string, maxLen int) error {
	switch n := utf8.RuneCountInString(text); {
	case n > maxLen:
		return models.Errorf(models.CodeInvalid, "%s has %d characters; at most %d are taken", what, n, maxLen)
	case !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl):
		return models.Errorf(models.CodeInvalid, "%s must be text without control characters", what)
	}
	return nil
}

// StoredFile is a session's opened target file. The caller closes Content.
type StoredFile struct {
	Name      string // a valid file name in any folder
	SHA256    string
	SizeBytes int64
	AddedAt   time.Time
	Content   io.ReadSeekCloser
}

// OpenFile returns a session's target file; not_found if the session has none or the
// content is missing.
func (a *Catalog) OpenFile(ctx context.Context, id string) (*StoredFile, error) {
	session, err := a.sessions.Get(ctx, id)
	switch {
	case err != nil:
		return nil, err
	case session.FileSHA256 == nil:
		return nil, models.Errorf(models.CodeNotFound, "session %s has no file", id)
	}
	content, err := a.files.Open(ctx, *session.FileSHA256)
	if err != nil {
		return nil, err
	}
	return &StoredFile{
		Name: uploadName(session.FileName, *session.FileSHA256), SHA256: *session.FileSHA256,
		SizeBytes: session.FileSizeBytes, AddedAt: session.CreatedAt, Content: content,
	}, nil
}
