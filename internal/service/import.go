package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/google/uuid"

	"ospulse/internal/bundle"
	"ospulse/internal/models"
	"ospulse/internal/sample"
)

const (
	// importAbortTimeout limits the removal of a failed import's rows. The clean-up of
	// dead imports removes what is left.
	importAbortTimeout = time.Minute

	// importPlacePatience is how long a received bundle waits for its turn.
	importPlacePatience = time.Minute

	// maxImportFileAge is the age from which an upload's file counts as left by a crash.
	// Another backend may share the folder.
	maxImportFileAge = 24 * time.Hour
)

// TransferWriter stores whole sessions. internal/repository implements it and documents
// its contracts.
type TransferWriter interface {
	BeginImport(ctx context.Context, id string, now time.Time) error
	AddEvents(ctx context.Context, sessionID string, events []models.Event, now time.Time) error
	AddProcesses(ctx context.Context, sessionID string, processes []models.Process, now time.Time) error
	AddFindings(ctx context.Context, sessionID string, found []models.Finding, now time.Time) error
	FinishImport(ctx context.Context, session *models.Session, file *models.TargetFile, place func() error) error
	AbortImport(ctx context.Context, id string) error
}

// FileReceiver stores target files by their SHA-256.
type FileReceiver interface {
	Receive(content io.Reader, maxBytes int64) (*sample.Upload, error)
}

// ImportLimits bound an import.
type ImportLimits struct {
	MaxBytes     int64 // of the bundle, compressed and decompressed
	MaxLineBytes int   // of an event as a line of the bundle
	AtOnce       int   // bundles that are verified and stored
}

// Imports imports bundles. It is safe for concurrent use.
type Imports struct {
	transfers TransferWriter
	sessions  SessionFinder
	files     FileReceiver
	announce  SessionAnnouncer
	dir       string // of uploads in progress
	limits    ImportLimits
	running   *Gate
	clock     Clock
	log       *slog.Logger
}

// NewImports returns the service over its repositories. dir is a folder for uploads that
// nothing else uses. NewImports creates it if it is missing, and removes what a crash
// left in it.
func NewImports(transfers TransferWriter, sessions SessionFinder, files FileReceiver, announce SessionAnnouncer, dir string, limits ImportLimits, clock Clock, log *slog.Logger) (*Imports, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	left, err := filepath.Glob(filepath.Join(dir, "bundle-*"))
	if err != nil {
		return nil, err
	}
	for _, name := range left {
		if info, err := os.Stat(name); err == nil && time.Since(info.ModTime()) > maxImportFileAge {
			if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
		}
	}
	running := NewGate(max(limits.AtOnce, 1), importPlacePatience, "as many bundles are being imported as there is memory for")
	return &Imports{transfers, sessions, files, announce, dir, limits, running, clock, log}, nil
}

// Import reads a bundle to its end, verifies it, and only then stores it. The session
// keeps its ID, or gets a new one with asCopy. If Import refuses the bundle or cannot
// store all of it, it stores nothing. It returns conflict if a session with the ID exists.
//
// Import ignores what belongs to the installation that made the bundle. The session has no
// agent, so that no agent adds events to it. A session that was active there ended with
// its last event. The findings are those of the other backend's rules; this one then applies
// its own to the events. All events count as sent, because the polls of an old dashboard are for
// what happens now.
func (s *Imports) Import(ctx context.Context, content io.Reader, asCopy bool) (*models.Session, error) {
	upload, size, err := s.spool(content)
	if err != nil {
		return nil, err
	}
	defer s.discard(upload)
	leave, err := s.running.Enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	opened, err := bundle.Open(upload, size, bundle.Limits{MaxBytes: s.limits.MaxBytes, MaxLineBytes: s.limits.MaxLineBytes})
	if err != nil {
		return nil, err
	}
	if err := opened.Verify(ctx.Err); err != nil {
		return nil, err
	}
	id := opened.Session.ID
	if asCopy {
		fresh, err := uuid.NewV7()
		if err != nil {
			return nil, err
		}
		id = fresh.String()
	}
	if err := s.begin(ctx, id); err != nil {
		return nil, err
	}
	if err := s.store(ctx, opened, id); err != nil {
		s.abort(ctx, id)
		return nil, err
	}
	s.announce.SessionChanged(id)
	return s.sessions.Get(context.WithoutCancel(ctx), id)
}

// begin creates the hidden session.
func (s *Imports) begin(ctx context.Context, id string) error {
	err := s.transfers.BeginImport(ctx, id, s.clock.now())
	if models.ErrorCode(err) == models.CodeConflict {
		return models.Wrap(err, models.CodeConflict, "session %s exists already, or is being imported or deleted: new_id=true imports a copy under another id", id)
	}
	return err
}

// store adds a bundle's contents to the hidden session, and makes it visible.
func (s *Imports) store(ctx context.Context, from *bundle.Bundle, id string) error {
	var last time.Time // the latest time of an event
	for events, err := range from.Events() {
		if err != nil {
			return err
		}
		for i := range events {
			events[i].SessionID, events[i].IsSent = id, true
			if events[i].Timestamp.After(last) {
				last = events[i].Timestamp
			}
		}
		if err := s.transfers.AddEvents(ctx, id, events, s.clock.now()); err != nil {
			return err
		}
	}
	for processes, err := range from.ProcessPages() {
		if err != nil {
			return err
		}
		for i := range processes {
			processes[i].SessionID = id
		}
		if err := s.transfers.AddProcesses(ctx, id, processes, s.clock.now()); err != nil {
			return err
		}
	}
	for found, err := range from.Findings() {
		if err != nil {
			return err
		}
		if err := s.transfers.AddFindings(ctx, id, found, s.clock.now()); err != nil {
			return err
		}
	}
	session := *from.Session
	session.ID, session.ImportedAt, session.ImportedFrom = id, new(s.clock.now()), from.Session.ID
	actor := models.ActorOf(ctx)
	session.CreatedByKey, session.CreatedBy = actor.KeyID, actor.Name
	endWith(&session, last)
	file, content, err := s.receiveFile(from)
	if err != nil {
		return err
	}
	defer s.discardFile(content)
	if err := content.Send(ctx); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil { // the client has disconnected
		return err
	}
	ctx = context.WithoutCancel(ctx)
	return s.transfers.FinishImport(ctx, &session, file, func() error { return content.Place(ctx) })
}

// endWith ends a session that was active at its last event, because no agent of this
// installation monitors for it.
func endWith(session *models.Session, last time.Time) {
	if !session.IsActive {
		return
	}
	end := *session.MonitoringStarted
	if last.After(end) {
		end = last
	}
	session.IsActive, session.MonitoringEnded = false, &end
}

// receiveFile stores and returns the session's target file; nil if the session or the
// bundle has none.
func (s *Imports) receiveFile(from *bundle.Bundle) (*models.TargetFile, *sample.Upload, error) {
	if from.Session.FileSHA256 == nil {
		return nil, nil, nil
	}
	file := &models.TargetFile{SHA256: *from.Session.FileSHA256, SizeBytes: from.Session.FileSizeBytes}
	content, err := from.File()
	if err != nil || content == nil {
		file.NoContent = true
		return file, nil, err
	}
	defer content.Close()
	upload, err := s.files.Receive(content, s.limits.MaxBytes)
	if err == nil && upload.File.SHA256 != file.SHA256 {
		s.discardFile(upload)
		err = fmt.Errorf("the target file was %s when the bundle was proved, and is %s now", file.SHA256, upload.File.SHA256)
	}
	return file, upload, err
}

func (s *Imports) discardFile(content *sample.Upload) {
	if err := content.Discard(); err != nil {
		s.log.Warn("a target file that was read could not be removed; it will be after a day, at a start", "error", err)
	}
}

// abort removes what was stored, also after the client has disconnected.
func (s *Imports) abort(ctx context.Context, id string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), importAbortTimeout)
	defer cancel()
	if err := s.transfers.AbortImport(ctx, id); err != nil {
		s.log.Error("the rest of a failed import is still there; it is hidden, and will be deleted as that of a dead one", "session", id, "error", err)
	}
}

// spool writes an upload to a file, because a zip is read from its end.
func (s *Imports) spool(content io.Reader) (upload *os.File, size int64, err error) {
	upload, err = os.CreateTemp(s.dir, "bundle-*")
	if err != nil {
		return nil, 0, importStorageError(err)
	}
	reader := &readError{Reader: io.LimitReader(content, s.limits.MaxBytes+1)}
	size, err = io.Copy(upload, reader)
	switch {
	case reader.err != nil:
		err = reader.err
	case err != nil:
		err = importStorageError(err)
	case size > s.limits.MaxBytes:
		err = models.Errorf(models.CodeTooLarge, "the bundle is larger than the %d MB that are taken: IMPORT_MAX_MB", s.limits.MaxBytes>>20)
	default:
		return upload, size, nil
	}
	s.discard(upload)
	return nil, 0, err
}

// readError records that reading the upload failed, and not the disk.
type readError struct {
	io.Reader
	err error
}

func (r *readError) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = err
	}
	return n, err
}

func (s *Imports) discard(upload *os.File) {
	if err := errors.Join(upload.Close(), os.Remove(upload.Name())); err != nil {
		s.log.Warn("an upload that was read could not be removed; it will be after a day, at a start", "error", err)
	}
}

func importStorageError(err error) error {
	return models.Wrap(err, models.CodeUnavailable, "the bundle cannot be stored: the data folder is full or not writable")
}
