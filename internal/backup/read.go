package backup

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"

	"ospulse/internal/database"
)

// visitor takes what a backup has, in the order of the file.
type visitor interface {
	begin(ctx context.Context, head *Head) error
	file(ctx context.Context, sha256 string, content io.Reader) error
	rows(ctx context.Context, table *database.Table, rows []database.Row) error
}

// Verify reads a whole backup. It checks that every byte is as it was written, that the
// rows and files are those that the backup says it has, and counts the events of each
// session.
func Verify(ctx context.Context, from io.ReadSeeker, log *slog.Logger) (Report, error) {
	// First the SHA-256 of the file, so that nothing interprets damaged bytes.
	if err := rewind(from); err != nil {
		return Report{}, err
	}
	if _, err := io.Copy(io.Discard, readerOf(ctx, newTrailerReader(from))); err != nil {
		return Report{}, err
	}
	check := &checker{progress: newProgress("checking the backup", log)}
	contents, err := read(ctx, from, check)
	if err != nil {
		return Report{}, err
	}
	for name, want := range contents.Tables {
		got := Sum{SHA256: newSummer(&database.Table{}).result().SHA256}
		if s := check.sums[name]; s != nil {
			got = s.result()
		}
		if got.Counter = want.Counter; got != want {
			return Report{}, fmt.Errorf("the backup contradicts itself: the table %s has %d rows with the sum %s, and should have %d with %s", name, got.Rows, got.SHA256, want.Rows, want.SHA256)
		}
	}
	for name := range check.sums {
		if _, ok := contents.Tables[name]; !ok {
			return Report{}, fmt.Errorf("the backup contradicts itself: it does not count the table %s", name)
		}
	}
	slices.Sort(check.damaged)
	if check.files != contents.Files || !slices.Equal(check.damaged, contents.Damaged) {
		return Report{}, fmt.Errorf("the backup contradicts itself: it has %d target files, %d of them damaged, and should have %d and %d", check.files, len(check.damaged), contents.Files, len(contents.Damaged))
	}
	return check.census.report(check.head, contents), nil
}

// checker computes what Verify compares.
type checker struct {
	head     *Head
	sums     map[string]*summer
	census   *census
	files    int
	damaged  []string
	progress *progress
}

func (c *checker) begin(_ context.Context, head *Head) error {
	c.head, c.sums, c.census = head, map[string]*summer{}, newCensus(head)
	return nil
}

func (c *checker) file(_ context.Context, name string, content io.Reader) error {
	hash := sha256.New()
	if _, err := io.Copy(hash, content); err != nil {
		return err
	}
	c.files++
	if hex.EncodeToString(hash.Sum(nil)) != name {
		c.damaged = append(c.damaged, name)
	}
	c.progress.tell("files", c.files)
	return nil
}

func (c *checker) rows(_ context.Context, table *database.Table, rows []database.Row) error {
	sum := c.sums[table.Name]
	if sum == nil {
		sum = newSummer(table)
		c.sums[table.Name] = sum
	}
	for _, row := range rows {
		fields, err := sum.add(row)
		if err != nil {
			return err
		}
		if err := c.census.add(table, fields); err != nil {
			return err
		}
	}
	c.progress.tell("table", table.Name, "rows", sum.rows)
	return nil
}

// read reads a backup from its beginning and calls v with what it has. At the end it
// compares the SHA-256 of the file.
func read(ctx context.Context, from io.ReadSeeker, v visitor) (*Contents, error) {
	if err := rewind(from); err != nil {
		return nil, err
	}
	packed, err := zstd.NewReader(newTrailerReader(from), zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	defer packed.Close()
	r := reader{tar: tar.NewReader(readerOf(ctx, packed)), visitor: v}
	for r.contents == nil {
		if err := r.entry(ctx); err != nil {
			return nil, err
		}
	}
	if _, err := r.tar.Next(); !errors.Is(err, io.EOF) {
		return nil, errors.Join(errors.New("the backup has more entries than its contents"), err)
	}
	if _, err := io.Copy(io.Discard, packed); err != nil {
		return nil, err
	}
	return r.contents, nil
}

// reader reads the entries of the archive.
type reader struct {
	tar      *tar.Reader
	visitor  visitor
	head     *Head
	contents *Contents
}

func (r *reader) entry(ctx context.Context) error {
	header, err := r.tar.Next()
	if errors.Is(err, io.EOF) {
		err = errors.New("the backup ends before its contents")
	}
	if err != nil {
		return err
	}
	name := header.Name
	if (r.head == nil) != (name == headEntry) {
		return fmt.Errorf("this is no backup of OS-Pulse: the entry %q is out of place", name)
	}
	switch {
	case name == headEntry:
		head := &Head{}
		if err := json.NewDecoder(r.tar).Decode(head); err != nil || head.Format != formatName {
			return errors.Join(errors.New("this is no backup of OS-Pulse"), err)
		}
		if head.Version > formatVersion {
			return fmt.Errorf("the backup has format %d, made by OS-Pulse %s; this version reads up to format %d: use that version", head.Version, head.Program, formatVersion)
		}
		r.head = head
		return r.visitor.begin(ctx, head)
	case name == contentsEntry:
		r.contents = &Contents{}
		return json.NewDecoder(r.tar).Decode(r.contents)
	case strings.HasPrefix(name, filesFolder):
		return r.visitor.file(ctx, strings.TrimPrefix(name, filesFolder), r.tar)
	}
	of, _, _ := strings.Cut(strings.TrimPrefix(name, tablesFolder), "/")
	i := slices.IndexFunc(r.head.Tables, func(t database.Table) bool { return t.Name == of })
	if i < 0 || !strings.HasPrefix(name, tablesFolder) {
		return fmt.Errorf("the backup has the unknown entry %q", name)
	}
	part, err := io.ReadAll(r.tar)
	if err != nil {
		return err
	}
	rows, err := splitPart(part)
	if err != nil {
		return fmt.Errorf("the entry %s: %w", name, err)
	}
	return r.visitor.rows(ctx, &r.head.Tables[i], rows)
}

// splitPart returns the rows of a part of a table.
func splitPart(part []byte) (rows []database.Row, err error) {
	rest, hasStart := bytes.CutPrefix(part, []byte(database.CopyStart))
	rest, hasEnd := bytes.CutSuffix(rest, []byte(database.CopyEnd))
	if !hasStart || !hasEnd {
		return nil, database.ErrRow
	}
	for len(rest) > 0 {
		var row database.Row
		if row, rest = database.CutRow(rest); row == nil {
			return nil, database.ErrRow
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func rewind(from io.Seeker) error {
	_, err := from.Seek(0, io.SeekStart)
	return err
}

// contextReader is a reader that fails when its context ends.
type contextReader struct {
	ctx  context.Context
	from io.Reader
}

func readerOf(ctx context.Context, from io.Reader) io.Reader { return contextReader{ctx, from} }

func (r contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.from.Read(p)
}
