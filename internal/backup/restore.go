package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"slices"

	"ospulse/internal/database"
	"ospulse/internal/sample"
)

// Target is a database to fill. *database.DB implements it and documents its contracts.
type Target interface {
	Restore(ctx context.Context, o database.RestoreOptions, fn func(*database.Restoration) error) error
	Tables() ([]database.Table, error)
}

// FileStore stores target files. *sample.Store implements it and documents its contracts.
type FileStore interface {
	Receive(content io.Reader, maxBytes int64) (*sample.Upload, error)
}

// Options are the parts of a restore that a caller chooses.
type Options struct {
	Replace bool // remove the sessions and events that the database has
	// Settle runs last in the transaction of the restore. It changes the rows that are
	// true only for the installation that was copied.
	Settle func(ctx context.Context, tx *database.Restoration) error
}

// Restore stores the files of a backup, and fills the database in one transaction.
// report is the result of Verify. Before the commit Restore reads the rows back and
// compares them with the backup. If it returns an error, the database has no part of the
// backup; files may remain.
func Restore(ctx context.Context, from io.ReadSeeker, report *Report, to Target, files FileStore, o Options, log *slog.Logger) error {
	known, err := to.Tables()
	if err != nil {
		return err
	}
	options := database.RestoreOptions{Dialect: report.Head.Dialect, Version: report.Head.Schema, Replace: o.Replace}
	return to.Restore(ctx, options, func(tx *database.Restoration) error {
		r := restorer{tx: tx, files: files, known: known, damaged: report.Contents.Damaged, progress: newProgress("restoring", log)}
		contents, err := read(ctx, from, &r)
		if err != nil {
			return err
		}
		for i := range report.Head.Tables {
			if err := r.finish(ctx, &report.Head.Tables[i], contents.Tables[report.Head.Tables[i].Name]); err != nil {
				return err
			}
		}
		return o.Settle(ctx, tx)
	})
}

// restorer stores what it reads.
type restorer struct {
	tx       *database.Restoration
	files    FileStore
	known    []database.Table
	damaged  []string
	stored   int64 // rows
	progress *progress
}

// begin checks that the database has a place for every value.
func (r *restorer) begin(_ context.Context, head *Head) error {
	for i := range head.Tables {
		table := &head.Tables[i]
		at := slices.IndexFunc(r.known, func(t database.Table) bool { return t.Name == table.Name })
		if at < 0 {
			return fmt.Errorf("the backup has a table %s, which this version does not have: restore it with version %s", table.Name, head.Program)
		}
		for _, column := range table.Columns {
			if !slices.Contains(r.known[at].Columns, column) {
				return fmt.Errorf("the table %s of the backup has a column %s (%s), which this version does not have: restore it with version %s", table.Name, column.Name, column.Kind, head.Program)
			}
		}
	}
	return nil
}

func (r *restorer) file(ctx context.Context, name string, content io.Reader) error {
	if slices.Contains(r.damaged, name) {
		return nil
	}
	upload, err := r.files.Receive(content, math.MaxInt64-1)
	if err != nil {
		return err
	}
	if upload.File.SHA256 == name {
		err = upload.Place(ctx)
	} else {
		err = fmt.Errorf("the target file %s was not read as it is", name)
	}
	r.progress.tell("file", name)
	return errors.Join(err, upload.Discard())
}

func (r *restorer) rows(ctx context.Context, table *database.Table, rows []database.Row) error {
	r.stored += int64(len(rows))
	r.progress.tell("table", table.Name, "rows", r.stored)
	return r.tx.Insert(ctx, table, rows)
}

// finish compares a table with the backup, and continues its numbers.
func (r *restorer) finish(ctx context.Context, table *database.Table, want Sum) error {
	summer := newSummer(table)
	err := r.tx.CopyOut(ctx, table, func(row database.Row) error {
		_, err := summer.add(row)
		r.progress.tell("compared", table.Name, "rows", summer.rows)
		return err
	})
	if err != nil {
		return fmt.Errorf("compare the table %s with the backup: %w", table.Name, err)
	}
	got := summer.result()
	if got.Counter = want.Counter; got != want {
		return fmt.Errorf("the table %s has %d rows with the sum %s after the restore, and the backup has %d with %s", table.Name, got.Rows, got.SHA256, want.Rows, want.SHA256)
	}
	if table.Counter == "" {
		return nil
	}
	return r.tx.SetCounter(ctx, table, want.Counter)
}
