package service

import (
	"context"
	"sync"
	"time"

	"ospulse/internal/analysis"
	"ospulse/internal/filter"
	"ospulse/internal/models"
)

// PartReader reads parts of a session's events. internal/repository implements it and
// documents its contracts.
type PartReader interface {
	EachPart(ctx context.Context, sessionID string, where *filter.Filter, part models.EventPart, fn func(e *models.Event, values [][]byte)) error
	FirstID(ctx context.Context, sessionID string) (uint64, error)
}

// Limits of rollups.
const (
	maxRollupFiles         = 100_000
	maxRollupConversations = 20_000
	maxRollupBytes         = 32 << 20 // of one rollup; all kept rollups may take twice as much
	maxRollups             = 16       // kept at a time
	rollupScans            = 2        // at a time, so that other reads get their share
)

// rollupWindow is the number of events of one read, and rollupReadTimeout limits its
// time. A read continues when nobody waits for it any more, because a rollup with half a
// read in it is useless.
const (
	rollupWindow      = 8192
	rollupReadTimeout = 10 * time.Second
)

// Rollups sums up sessions by file and by conversation. It keeps a rollup after the
// first request. The next request adds only the events that came since, because events
// do not change. The events of a session that is being backfilled do change, so its
// rollups are not kept. Concurrent requests for the same rollup share one scan. It is
// safe for concurrent use.
type Rollups struct {
	events   PartReader
	sessions SessionFinder
	scanning chan struct{} // holds a value for each scan
	maxBytes int64         // of all kept rollups

	mu    sync.Mutex
	kept  map[rollupKey]*keptRollup
	clock int64 // counts uses
}

// NewRollups gives the service over its repositories. What it keeps takes about
// maxBytes at most.
func NewRollups(events PartReader, sessions SessionFinder, maxBytes int64) *Rollups {
	return &Rollups{events: events, sessions: sessions, scanning: make(chan struct{}, rollupScans), maxBytes: maxBytes, kept: map[rollupKey]*keptRollup{}}
}

// Bytes gives about what the rollups that are kept take of memory.
func (s *Rollups) Bytes() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bytes()
}

// bytes is Bytes for a caller who holds the mutex.
func (s *Rollups) bytes() (total int64) {
	for _, kept := range s.kept {
		total += kept.bytes
	}
	return total
}

// rollupKind is what events are summed up by.
type rollupKind int

const (
	byFile rollupKind = iota
	byConversation
)

type rollupKey struct {
	kind      rollupKind
	sessionID string
	filter    string
}

// summing is what rollups have in common.
type summing interface {
	Add(e *models.Event, values [][]byte)
	Bytes() int64
}

// keptRollup is a rollup of a session's events up to a Seq.
type keptRollup struct {
	lock chan struct{} // holds a value while someone has the rollup

	// Of who has the lock.
	rollup  summing
	seq     int64
	firstID uint64

	// Guarded by the service's mutex.
	used  int64
	bytes int64
}

// Files gives a page of the files that the events of a session which a filter selects
// are about, and the Seq up to which they were looked at.
func (s *Rollups) Files(ctx context.Context, sessionID string, where *filter.Filter, selected func(path string) bool, sort analysis.FileSort, after *analysis.Position, limit int) (page analysis.FilePage, seq int64, err error) {
	err = s.with(ctx, byFile, sessionID, where, func(d summing, upTo int64) {
		page, seq = d.(*analysis.Files).Page(selected, sort, after, limit), upTo
	})
	return page, seq, err
}

// Conversations gives a page of the conversations of the events of a session which a
// filter selects, and the Seq up to which they were looked at. The names of hosts
// come from all of the session's events.
func (s *Rollups) Conversations(ctx context.Context, sessionID string, where *filter.Filter, sort analysis.ConversationSort, after *analysis.Position, limit int) (page analysis.ConversationPage, seq int64, err error) {
	err = s.with(ctx, byConversation, sessionID, where, func(d summing, upTo int64) {
		page, seq = d.(*analysis.Conversations).Page(sort, after, limit), upTo
	})
	if err != nil {
		return page, seq, err
	}
	err = s.with(ctx, byConversation, sessionID, nil, func(d summing, _ int64) {
		d.(*analysis.Conversations).NameHosts(page.Conversations)
	})
	return page, seq, err
}

// with calls use with a rollup of all events that the session has now, which nobody
// else has meanwhile, and the Seq of the last of them.
func (s *Rollups) with(ctx context.Context, kind rollupKind, sessionID string, where *filter.Filter, use func(d summing, upTo int64)) error {
	session, err := s.sessions.Get(ctx, sessionID)
	if err != nil {
		return err
	}
	key := rollupKey{kind, sessionID, where.String()}
	kept := s.find(key)
	select {
	case kept.lock <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-kept.lock }()
	firstID, err := s.events.FirstID(ctx, sessionID)
	if err != nil {
		return err
	}
	if kept.rollup == nil || kept.firstID != firstID {
		kept.rollup, kept.seq, kept.firstID = s.newRollup(kind), 0, firstID
	}
	err = s.advance(ctx, key, kept, where, session.EventCount)
	s.keep(key, kept)
	if err != nil {
		return err
	}
	use(kept.rollup, kept.seq)
	if session.IsBackfilling() { // the backfill still changes its events
		kept.rollup = nil
		s.keep(key, kept)
	}
	return nil
}

func (s *Rollups) newRollup(kind rollupKind) summing {
	bytes := min(maxRollupBytes, s.maxBytes/2)
	if kind == byFile {
		return analysis.NewFiles(analysis.Limits{Groups: maxRollupFiles, Bytes: bytes})
	}
	return analysis.NewConversations(analysis.Limits{Groups: maxRollupConversations, Bytes: bytes})
}

// advance adds the events up to a Seq to a rollup. What was added stays when ctx
// ends meanwhile: who asks next goes on from there.
func (s *Rollups) advance(ctx context.Context, key rollupKey, kept *keptRollup, where *filter.Filter, upTo int64) error {
	if kept.seq >= upTo {
		return nil
	}
	select {
	case s.scanning <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-s.scanning }()
	part := models.EventPart{Types: analysis.FileTypes(), Keys: analysis.FileKeys()}
	if key.kind == byConversation {
		part.Types, part.Keys = analysis.ConversationTypes(), analysis.ConversationKeys()
	}
	for kept.seq < upTo {
		if err := ctx.Err(); err != nil {
			return err
		}
		part.After, part.UpTo = kept.seq, min(kept.seq+rollupWindow, upTo)
		if err := s.read(ctx, key.sessionID, where, part, kept.rollup); err != nil {
			kept.rollup = nil // nobody knows how much of the part is in it
			return err
		}
		kept.seq = part.UpTo
	}
	return nil
}

func (s *Rollups) read(ctx context.Context, sessionID string, where *filter.Filter, part models.EventPart, d summing) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollupReadTimeout)
	defer cancel()
	return s.events.EachPart(ctx, sessionID, where, part, d.Add)
}

// find gives what is kept under a key, or begins it.
func (s *Rollups) find(key rollupKey) *keptRollup {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := s.kept[key]
	if kept == nil {
		kept = &keptRollup{lock: make(chan struct{}, 1)}
		s.kept[key] = kept
	}
	s.clock++
	kept.used = s.clock
	s.trim(key)
	return kept
}

// keep takes note of what a rollup has become.
func (s *Rollups) keep(key rollupKey, kept *keptRollup) {
	bytes := int64(0)
	if kept.rollup != nil {
		bytes = kept.rollup.Bytes()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	kept.bytes = bytes
	s.trim(key)
}

// trim forgets what was not used for the longest time, until the rest is within the
// limits; but not what key names. Who has a forgotten rollup uses it to the end. The
// caller holds the mutex.
func (s *Rollups) trim(key rollupKey) {
	for {
		var oldest rollupKey
		for other, kept := range s.kept {
			if other != key && (oldest == rollupKey{} || kept.used < s.kept[oldest].used) {
				oldest = other
			}
		}
		if len(s.kept) <= maxRollups && s.bytes() <= s.maxBytes || oldest == (rollupKey{}) {
			return
		}
		delete(s.kept, oldest)
	}
}
