package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"time"

	"ospulse/internal/database"
	"ospulse/internal/models"
	"ospulse/internal/repository"
	"ospulse/internal/sample"
	"ospulse/test/testbed"
)

// sizes are the sizes of the queried sessions.
type sizes struct {
	events int  // of a session
	large  bool // also query a session of ten times the size
}

const (
	minEvents    = 10_000
	sessionsEach = 10 // sessions of that size
)

// small and huge are the sizes of the sessions that show how a page scales.
func (s sizes) small() int64 { return max(int64(s.events)/100, 2*pageSize) }
func (s sizes) huge() int64  { return int64(s.events) * 10 }

const (
	loadGroup     = 10_000                 // events a transaction
	maxBurst      = 32                     // consecutive events of a session
	loadSpacing   = 360 * time.Microsecond // between consecutive events of all sessions
	bytesAnEvent  = 2000                   // upper bound, with indexes and the write-ahead log
	segmentsStuck = time.Minute            // without a new one
)

// archive is a store with the sessions that are queried.
type archive struct {
	store    store
	measured *contents
	small    *contents // only in the usual one

	bytesEach float64 // of an event on disk
}

type archiveKey struct {
	dialect string
	kind    archiveKind
}

// archiveKind tells which sessions an archive has.
type archiveKind int

const (
	usualArchive  archiveKind = iota // ten sessions, one of which is measured, and a small one
	hugeArchive                      // a huge one
	realArchive                      // one of real events
	sealedArchive                    // the same, sealed
	flowArchive                      // a smaller one of recorded HTTP flows, sealed
)

// archive returns an archive and fills it at the first call.
func (l *lab) archive(ctx context.Context, key archiveKey) (*archive, error) {
	if a := l.archives[key]; a != nil {
		return a, nil
	}
	s, err := l.newStore(ctx, key.dialect)
	if err != nil {
		return nil, err
	}
	a := &archive{store: s}
	l.archives[key] = a // before fill, so that close removes it even after an error
	switch key.kind {
	case hugeArchive:
		a.measured = newContents(l.sizes.huge())
		return a, l.fill(ctx, key, a, storeMix, a.measured)
	case realArchive, sealedArchive:
		a.measured = newContents(int64(l.sizes.events), realSelections()...)
		return a, l.fill(ctx, key, a, l.storeReal(programEvents), a.measured)
	case flowArchive:
		a.measured = newContents(int64(l.sizes.events) / 50)
		return a, l.fill(ctx, key, a, l.storeReal(flowEvents), a.measured)
	}
	all := newSelections(key.dialect)
	a.measured = newContents(int64(l.sizes.events), all.list()...)
	a.small = newContents(l.sizes.small())
	sessions := []*contents{a.measured, a.small}
	for range sessionsEach - 1 {
		sessions = append(sessions, newContents(int64(l.sizes.events)))
	}
	return a, l.fill(ctx, key, a, storeMix, sessions...)
}

// removeArchives removes all archives from the disk.
func (l *lab) removeArchives() error {
	var errs []error
	for key, a := range l.archives {
		errs = append(errs, a.store.remove())
		delete(l.archives, key)
	}
	return errors.Join(errs...)
}

// storeFunc stores the events of sessions.
type storeFunc func(ctx context.Context, to *repository.Events, sessions []*contents) error

// fill stores sessions and lets the backend build their segments.
func (l *lab) fill(ctx context.Context, key archiveKey, a *archive, events storeFunc, sessions ...*contents) error {
	dialect := key.dialect
	total := int64(0)
	for _, c := range sessions {
		total += c.events
	}
	if err := checkDisk(a.store.dir, total*bytesAnEvent); err != nil {
		return err
	}
	l.say("%s: storing %d events in %d sessions", dialect, total, len(sessions))
	began := time.Now()
	if err := storeSessions(ctx, a.store, events, sessions); err != nil {
		return fmt.Errorf("store %d events: %w", total, err)
	}
	if err := vacuum(ctx, a.store); err != nil {
		return err
	}
	took := time.Since(began)
	if err := verify(ctx, a.store.options, total); err != nil {
		return err
	}
	l.note(dialect, "%d events, sessions: %d, were stored in %s (%.0f/s, without HTTP)", total, len(sessions), took.Round(time.Second), float64(total)/took.Seconds())
	err := l.withBackend(ctx, a.store, func(backend *testbed.Process) error {
		return l.awaitSegments(ctx, dialect, backend, a, sessions)
	})
	if err == nil && (key.kind == sealedArchive || key.kind == flowArchive) {
		began := time.Now()
		if err = l.seal(ctx, a.store, a.measured.id); err == nil {
			err = errors.Join(vacuum(ctx, a.store), freeIndexes(ctx, a.store))
		}
		l.note(dialect, "%d events were sealed in %s", total, time.Since(began).Round(time.Millisecond))
	}
	if err != nil {
		return err
	}
	a.bytesEach, err = a.store.bytesEach(ctx, total)
	l.note(dialect, "they take %.1f bytes each, with their segments", a.bytesEach)
	return err
}

// note adds a line to the report of a database.
func (l *lab) note(dialect, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	l.say("%s: %s", dialect, text)
	l.notes[dialect] = append(l.notes[dialect], text)
}

// checkDisk returns an error if a folder's disk has less free space than needed.
func checkDisk(dir string, needed int64) error {
	files, err := sample.Open(filepath.Join(dir, "files"))
	if err != nil {
		return err
	}
	free, err := files.FreeBytes()
	if err == nil && free < needed {
		err = fmt.Errorf("the disk of %s has %d MB left, and up to %d MB may be needed: make -events smaller, or TMPDIR another disk", dir, free>>20, needed>>20)
	}
	return err
}

// storeSessions stores sessions.
func storeSessions(ctx context.Context, s store, events storeFunc, sessions []*contents) (err error) {
	db, err := database.Open(ctx, s.options)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := db.Migrate(ctx); err != nil {
		return err
	}
	keep := repository.NewSessions(db)
	for _, c := range sessions {
		file := &models.TargetFile{SHA256: strings.Repeat("0", 64)}
		if err := keep.Create(ctx, &models.Session{ID: c.id, FileName: "sample.exe", FileSHA256: &file.SHA256}, file, func() error { return nil }); err != nil {
			return err
		}
	}
	return events(ctx, repository.NewEvents(db), sessions)
}

// vacuum runs the VACUUM that PostgreSQL's autovacuum would run later.
func vacuum(ctx context.Context, s store) error {
	if s.options.URL == "" {
		return nil
	}
	return readDatabase(ctx, s, func(pool *sql.DB) error {
		_, err := pool.ExecContext(ctx, "VACUUM ANALYZE")
		return err
	})
}

// freeIndexes returns the pages of PostgreSQL's indexes that sealed events leave free, so
// that bytesEach leaves them out as it does on SQLite.
func freeIndexes(ctx context.Context, s store) error {
	if s.options.URL == "" {
		return nil
	}
	return readDatabase(ctx, s, func(pool *sql.DB) error {
		_, err := pool.ExecContext(ctx, "REINDEX TABLE events")
		return err
	})
}

// storeMix stores generated events of all sessions interleaved, as several agents send
// them.
func storeMix(ctx context.Context, to *repository.Events, sessions []*contents) error {
	m, err := newMix()
	if err != nil {
		return err
	}
	left := int64(0)
	for _, c := range sessions {
		left += c.events
	}
	at := time.Now().UTC().Add(-time.Duration(left) * loadSpacing).Truncate(time.Microsecond)
	for left > 0 {
		group := make([]models.Incoming, 0, min(left, loadGroup))
		for len(group) < cap(group) {
			c := someSession(m.rand, sessions, left)
			for range min(1+m.rand.Int64N(maxBurst), c.events-c.noted, int64(cap(group)-len(group))) {
				in := m.event(c.noted + 1)
				at = at.Add(loadSpacing)
				in.RequestHint, in.Timestamp, in.TimestampSource = c.id, at, models.TimestampFromAgent
				c.note(&in.Event)
				group = append(group, in)
				left--
			}
		}
		if _, err := to.Append(ctx, models.Group{Batches: []models.Batch{{Events: group}}}); err != nil {
			return err
		}
	}
	return nil
}

// someSession picks a session at random, weighted by its remaining events, so that all
// end at about the same time. left is the sum of the remaining events.
func someSession(random *rand.Rand, sessions []*contents, left int64) *contents {
	n := random.Int64N(left)
	for _, c := range sessions {
		if n -= c.events - c.noted; n < 0 {
			return c
		}
	}
	panic("there is less left than was said")
}

// bytesEach returns the bytes on disk of each of n stored events: all tables with their
// indexes. On SQLite it leaves out free pages of the file, because new events use them.
func (s store) bytesEach(ctx context.Context, n int64) (float64, error) {
	size := "SELECT SUM(pg_total_relation_size(oid)) FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
	if s.options.URL == "" {
		size = "SELECT (page_count - freelist_count) * page_size FROM pragma_page_count, pragma_freelist_count, pragma_page_size"
	}
	var bytes int64
	err := readDatabase(ctx, s, func(pool *sql.DB) error { return pool.QueryRowContext(ctx, size).Scan(&bytes) })
	return float64(bytes) / float64(n), err
}

// readDatabase calls fn with a pool of connections for reading.
func readDatabase(ctx context.Context, s store, fn func(*sql.DB) error) (err error) {
	db, err := database.Open(ctx, s.options)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	pools, err := db.Pools()
	if err != nil {
		return err
	}
	if pool, ok := pools["read"]; ok {
		return fn(pool)
	}
	return fn(pools["write"]) // PostgreSQL has one pool
}

// awaitSegments returns when the backend, which begins at its start, has made the
// segments of all sessions. Before, it measures a histogram that has few of them.
func (l *lab) awaitSegments(ctx context.Context, dialect string, backend *testbed.Process, a *archive, sessions []*contents) error {
	began := time.Now()
	wanted := 0
	for _, c := range sessions {
		wanted += int(c.events / models.SegmentEvents)
	}
	if a.small != nil {
		client, err := dialGetter(ctx, backend.URL, askTimeout)
		if err != nil {
			return err
		}
		defer client.close() //nolint:errcheck // it was only read from
		path, check := askHistogram(newSelections(dialect).all)(a.measured, nil)
		if err := client.ask(path, check); err != nil {
			return err
		}
		l.note(dialect, "a histogram of %d events took %s before their segments were made", a.measured.events, time.Since(began).Round(time.Millisecond))
	}
	l.say("%s: waiting for %d segments", dialect, wanted)
	err := readDatabase(ctx, a.store, func(pool *sql.DB) error {
		made, progress := 0, time.Now()
		for made < wanted && ctx.Err() == nil {
			at(ctx, time.Now().Add(250*time.Millisecond), nil)
			before := made
			if err := pool.QueryRowContext(ctx, "SELECT COUNT(*) FROM segments").Scan(&made); err != nil {
				return err
			}
			if made > before {
				progress = time.Now()
			} else if time.Since(progress) > segmentsStuck {
				return fmt.Errorf("the backend has made %d of %d segments, and none for %s", made, wanted, segmentsStuck)
			}
		}
		return ctx.Err()
	})
	if err == nil {
		l.note(dialect, "%d segments were made in %s", wanted, time.Since(began).Round(time.Millisecond))
	}
	return err
}
