package service

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"sync"
	"time"

	"ospulse/internal/models"
	"ospulse/internal/sample"
)

const (
	sweepInterval = time.Hour
	// orphanAge is the minimum age of a file without a row that is removed. It only saves
	// work: a concurrent upload of the same file places it again.
	orphanAge = time.Hour
	// sweepPage is the number of rows of one read.
	sweepPage = 1000
	// maxReported limits the missing files that the log names.
	maxReported = 10
)

// SweptFiles is a storage of target files. *sample.Store implements it and documents its
// contracts.
type SweptFiles interface {
	Claim(ctx context.Context, owner string) (bool, error)
	List(ctx context.Context) iter.Seq2[sample.Object, error]
	Has(ctx context.Context, sha256 string) (bool, error)
	Delete(ctx context.Context, sha256 string) error
	MoveToBucket(ctx context.Context, isKnown func(ctx context.Context, sha256 string) (bool, error)) (moved int, err error)
	RemoveOldUploads(before time.Time) (removed int, err error)
}

// TargetFileRepository stores the rows of target files. internal/repository implements it
// and documents its contracts.
type TargetFileRepository interface {
	InstallationID(ctx context.Context) (string, error)
	Has(ctx context.Context, sha256 string) (bool, error)
	List(ctx context.Context, after string, limit int) ([]models.TargetFile, error)
	DeleteOrphan(ctx context.Context, sha256 string, unlink func(sha256 string) error) (bool, error)
}

// FileSweep compares the storage of target files with their rows. It removes files
// without a row, which a crash between placing a file and committing its session leaves,
// and reports rows without a file. It is safe for concurrent use, also by several
// backends.
type FileSweep struct {
	files SweptFiles
	rows  TargetFileRepository
	// mayOwn reports whether this database may become the owner of a storage that
	// has none yet.
	mayOwn bool
	clock  Clock
	log    *slog.Logger

	mu   sync.Mutex
	last models.FileCheck
}

// NewFileSweep returns a sweep of files.
func NewFileSweep(files SweptFiles, rows TargetFileRepository, mayOwn bool, clock Clock, log *slog.Logger) *FileSweep {
	return &FileSweep{files: files, rows: rows, mayOwn: mayOwn, clock: clock, log: log}
}

// Last returns the result of the last sweep; the zero value before the first one.
func (s *FileSweep) Last() models.FileCheck {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}

// Run sweeps at once and then every hour, until ctx ends.
func (s *FileSweep) Run(ctx context.Context) {
	ticker := time.NewTicker(sweepInterval)
	defer ticker.Stop()
	for {
		s.sweep(ctx)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// sweep does all steps, also when one of them fails.
func (s *FileSweep) sweep(ctx context.Context) {
	now := s.clock.now()
	uploads, errUploads := s.files.RemoveOldUploads(now.Add(-orphanAge))
	moved, errMove := s.files.MoveToBucket(ctx, s.rows.Has)
	orphans, missing, errCompare := s.compare(ctx, now.Add(-orphanAge))
	err := errors.Join(errUploads, errMove, errCompare)
	if ctx.Err() != nil {
		return
	}
	if uploads+moved+orphans > 0 {
		s.log.Info("target files were tidied up", "unfinished_uploads_removed", uploads, "orphans_removed", orphans, "moved_to_bucket", moved)
	}
	if len(missing) > 0 {
		s.log.Error("target files are missing from their storage", "files", len(missing), "sha256", missing[:min(len(missing), maxReported)])
	}
	check := models.FileCheck{CheckedAt: now, Missing: len(missing)}
	if err != nil {
		s.log.Warn("target files could not be checked completely; the next try is in an hour", "error", err)
		check.Error = "not all files could be checked; the log says why"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = check
}

// compare walks over files and rows side by side, both in the order of SHA-256. It
// removes files without a row that were placed before a time, and returns the rows
// without a file.
func (s *FileSweep) compare(ctx context.Context, before time.Time) (orphans int, missing []string, err error) {
	isOwner, err := s.isOwner(ctx)
	if err != nil {
		return 0, nil, err
	}
	rows, stop := iter.Pull2(s.allRows(ctx))
	defer stop()
	row, err, more := rows()
	skipTo := func(sha256 string) { // collects the rows before sha256, or all if it is empty
		for more && err == nil && (sha256 == "" || row < sha256) {
			var has bool
			if has, err = s.files.Has(ctx, row); err == nil && !has { // it may have come since the listing began
				missing = append(missing, row)
			}
			if err == nil {
				row, err, more = rows()
			}
		}
	}
	for object, listErr := range s.files.List(ctx) {
		if err = errors.Join(err, listErr); err != nil {
			return orphans, missing, err
		}
		if skipTo(object.SHA256); err != nil {
			return orphans, missing, err
		}
		switch {
		case more && row == object.SHA256:
			row, err, more = rows()
		case isOwner && object.PlacedAt.Before(before):
			deleted, err := s.rows.DeleteOrphan(ctx, object.SHA256, func(sha256 string) error { return s.files.Delete(ctx, sha256) })
			if err != nil {
				return orphans, missing, err
			}
			if deleted {
				orphans++
			}
		}
	}
	skipTo("")
	return orphans, missing, err
}

// isOwner reports whether this database owns the storage: files without a row in it
// belong to no other database.
func (s *FileSweep) isOwner(ctx context.Context) (bool, error) {
	if !s.mayOwn {
		return false, nil
	}
	id, err := s.rows.InstallationID(ctx)
	if err != nil {
		return false, err
	}
	isOwner, err := s.files.Claim(ctx, id)
	if err == nil && !isOwner {
		s.log.Warn("the storage of target files belongs to another database: files that this one does not know stay")
	}
	return isOwner, err
}

// allRows yields the SHA-256 of all rows whose file should be there.
func (s *FileSweep) allRows(ctx context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for after := ""; ; {
			page, err := s.rows.List(ctx, after, sweepPage)
			if err != nil {
				yield("", err)
				return
			}
			for i := range page {
				if !yield(page[i].SHA256, nil) {
					return
				}
			}
			if len(page) < sweepPage {
				return
			}
			after = page[len(page)-1].SHA256
		}
	}
}
