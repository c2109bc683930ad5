package backup

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"log/slog"
	"time"

	"github.com/klauspost/compress/zstd"

	"ospulse/internal/database"
	"ospulse/internal/models"
)

// Source is a database to copy. *database.DB implements it and documents its contracts.
type Source interface {
	Snapshot(ctx context.Context, fn func(*database.Snapshot) error) error
}

// StoredFiles is the storage of target files. *sample.Store implements it and documents
// its contracts.
type StoredFiles interface {
	Open(ctx context.Context, sha256 string) (io.ReadSeekCloser, error)
}

// Create writes a backup to w, while other programs use the database and the files. It
// reads the database in one transaction, needs constant memory, and logs its progress
// from time to time.
func Create(ctx context.Context, w io.Writer, from Source, files StoredFiles, program string, now time.Time, log *slog.Logger) (report Report, err error) {
	err = from.Snapshot(ctx, func(snapshot *database.Snapshot) error {
		report, err = create(ctx, w, snapshot, files, Head{
			Format: formatName, Version: formatVersion, Program: program, CreatedAt: now.UTC().Truncate(time.Microsecond),
			Dialect: snapshot.Dialect, Schema: snapshot.Version, Tables: snapshot.Tables,
		}, log)
		return err
	})
	return report, err
}

func create(ctx context.Context, w io.Writer, snapshot *database.Snapshot, files StoredFiles, head Head, log *slog.Logger) (Report, error) {
	out := &writer{hash: sha256.New(), progress: newProgress("backing up", log), createdAt: head.CreatedAt}
	packed, err := zstd.NewWriter(io.MultiWriter(w, out.hash), zstd.WithEncoderConcurrency(2))
	if err != nil {
		return Report{}, err
	}
	defer packed.Close() // for the ways out with an error
	out.tar = tar.NewWriter(packed)
	if err := out.writeJSON(headEntry, head); err != nil {
		return Report{}, err
	}
	census := newCensus(&head)
	contents := Contents{Tables: map[string]Sum{}}
	if err := out.writeFiles(ctx, snapshot, files, &contents); err != nil {
		return Report{}, err
	}
	for i := range head.Tables {
		table := &head.Tables[i]
		sum, err := out.writeTable(ctx, snapshot, table, census)
		if err != nil {
			return Report{}, err
		}
		contents.Tables[table.Name] = sum
	}
	if err := out.writeJSON(contentsEntry, contents); err != nil {
		return Report{}, err
	}
	if err := out.tar.Close(); err != nil {
		return Report{}, err
	}
	if err := packed.Close(); err != nil {
		return Report{}, err
	}
	if _, err := w.Write(out.hash.Sum([]byte(trailerStart))); err != nil {
		return Report{}, err
	}
	return census.report(&head, &contents), nil
}

type writer struct {
	tar       *tar.Writer
	hash      hash.Hash // of all that was written
	createdAt time.Time
	progress  *progress
	part      []byte
}

func (w *writer) begin(name string, size int64) error {
	return w.tar.WriteHeader(&tar.Header{Name: name, Size: size, Mode: 0o600, ModTime: w.createdAt.Truncate(time.Second)})
}

func (w *writer) write(name string, content []byte) error {
	if err := w.begin(name, int64(len(content))); err != nil {
		return err
	}
	_, err := w.tar.Write(content)
	return err
}

func (w *writer) writeJSON(name string, value any) error {
	text, err := json.MarshalIndent(value, "", "\t")
	if err != nil {
		return err
	}
	return w.write(name, append(text, '\n'))
}

// writeTable writes the rows of a table.
func (w *writer) writeTable(ctx context.Context, snapshot *database.Snapshot, table *database.Table, census *census) (sum Sum, err error) {
	summer := newSummer(table)
	parts := 0
	flush := func() error {
		parts++
		w.progress.tell("table", table.Name, "rows", summer.rows)
		w.part = append(w.part, database.CopyEnd...)
		err := w.write(fmt.Sprintf("%s%s/%010d", tablesFolder, table.Name, parts), w.part)
		w.part = w.part[:0]
		return err
	}
	w.part = w.part[:0]
	err = snapshot.CopyOut(ctx, table, func(row database.Row) error {
		fields, err := summer.add(row)
		if err != nil {
			return err
		}
		if err := census.add(table, fields); err != nil {
			return err
		}
		if len(w.part) == 0 {
			w.part = append(w.part, database.CopyStart...)
		}
		if w.part = append(w.part, row...); len(w.part) >= partBytes {
			return flush()
		}
		return nil
	})
	if err == nil && len(w.part) > 0 {
		err = flush()
	}
	if err != nil {
		return Sum{}, err
	}
	sum = summer.result()
	if table.Counter != "" {
		sum.Counter, err = snapshot.Counter(ctx, table)
	}
	return sum, err
}

// writeFiles writes the target files that the snapshot names.
func (w *writer) writeFiles(ctx context.Context, snapshot *database.Snapshot, files StoredFiles, contents *Contents) error {
	names, err := fileNames(ctx, snapshot)
	if err != nil {
		return err
	}
	for i, name := range names {
		isWhole, err := w.writeFile(ctx, files, name)
		switch {
		case models.ErrorCode(err) == models.CodeNotFound:
			contents.Missing = append(contents.Missing, name)
			continue
		case err != nil:
			return fmt.Errorf("the target file %s: %w", name, err)
		case !isWhole:
			contents.Damaged = append(contents.Damaged, name)
		}
		contents.Files++
		w.progress.tell("files", i+1, "of", len(names))
	}
	return nil
}

// writeFile writes a target file, and reports whether its content has its SHA-256.
func (w *writer) writeFile(ctx context.Context, files StoredFiles, name string) (isWhole bool, err error) {
	content, err := files.Open(ctx, name)
	if err != nil {
		return false, err
	}
	defer content.Close()
	size, err := content.Seek(0, io.SeekEnd)
	if err != nil {
		return false, err
	}
	if _, err := content.Seek(0, io.SeekStart); err != nil {
		return false, err
	}
	if err := w.begin(filesFolder+name, size); err != nil {
		return false, err
	}
	hash := sha256.New()
	if _, err := io.CopyN(io.MultiWriter(w.tar, hash), content, size); err != nil {
		return false, err
	}
	return hex.EncodeToString(hash.Sum(nil)) == name, ctx.Err()
}
