package service

import (
	"context"
	"math"
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
	maxRollupDeeds         = 20_000
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

// Rollups sums up sessions by file, by conversation and by deed. It keeps a rollup after the
// first request. The next request adds only the events that came since, because events
// do not change; it sums up anew if events have expired. The events of a session that is being backfilled do change, so its
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

// NewRollups returns the service. The rollups that it keeps take about maxBytes at most.
func NewRollups(events PartReader, sessions SessionFinder, maxBytes int64) *Rollups {
	return &Rollups{events: events, sessions: sessions, scanning: make(chan struct{}, rollupScans), maxBytes: maxBytes, kept: map[rollupKey]*keptRollup{}}
}

// Bytes returns about how much memory the kept rollups take.
func (s *Rollups) Bytes() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bytes()
}

// bytes is Bytes for a caller that holds the mutex.
func (s *Rollups) bytes() (total int64) {
	for _, kept := range s.kept {
		total += kept.bytes
	}
	return total
}

// rollupKind says how events are grouped.
type rollupKind int

const (
	byFile rollupKind = iota
	byConversation
	byStory
)

type rollupKey struct {
	kind      rollupKind
	sessionID string
	filter    string
}

// rollup is a sum of events that grows by one event at a time.
type rollup interface {
	Add(e *models.Event, values [][]byte)
	Bytes() int64
}

// keptRollup is a rollup of a session's events up to a Seq.
type keptRollup struct {
	lock chan struct{} // semaphore of size 1

	// The holder of lock owns these fields.
	rollup  rollup
	where   *filter.Filter // what the events up to seq were selected with
	seq     int64
	firstID uint64
	expired int64 // the session's ExpiredSeq

	// Guarded by the service's mutex.
	used  int64
	bytes int64
}

// Files returns a page of the files that the selected events of a session name, and the
// Seq of the last event that it includes.
func (s *Rollups) Files(ctx context.Context, sessionID string, where *filter.Filter, selected func(path string) bool, sort analysis.FileSort, after *analysis.Position, limit int) (page analysis.FilePage, seq int64, err error) {
	err = s.with(ctx, byFile, sessionID, where, func(sum rollup, upTo int64) {
		page, seq = sum.(*analysis.Files).Page(selected, sort, after, limit), upTo
	})
	return page, seq, err
}

// Conversations returns a page of the conversations of the selected events of a session,
// and the Seq of the last event that it includes. The names of hosts come from all events
// of the session.
func (s *Rollups) Conversations(ctx context.Context, sessionID string, where *filter.Filter, sort analysis.ConversationSort, after *analysis.Position, limit int) (page analysis.ConversationPage, seq int64, err error) {
	err = s.with(ctx, byConversation, sessionID, where, func(sum rollup, upTo int64) {
		page, seq = sum.(*analysis.Conversations).Page(sort, after, limit), upTo
	})
	if err != nil {
		return page, seq, err
	}
	err = s.with(ctx, byConversation, sessionID, nil, func(sum rollup, _ int64) {
		sum.(*analysis.Conversations).NameHosts(page.Conversations)
	})
	return page, seq, err
}

// with brings a rollup up to date with the session and calls use with it and the Seq of
// its last event. No other goroutine uses the rollup during the call.
func (s *Rollups) with(ctx context.Context, kind rollupKind, sessionID string, where *filter.Filter, use func(sum rollup, upTo int64)) error {
	return s.within(ctx, math.MaxInt64, kind, sessionID, where, use)
}

// within does what with does, but stops reading events after a time. The next call continues.
func (s *Rollups) within(ctx context.Context, most time.Duration, kind rollupKind, sessionID string, where *filter.Filter, use func(sum rollup, upTo int64)) error {
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
	if kept.rollup != nil && where.NeedsSession() && !where.SelectsAs(kept.where) {
		kept.rollup = nil
	}
	if kept.rollup == nil || kept.firstID != firstID || kept.expired != session.ExpiredSeq {
		kept.rollup, kept.seq, kept.firstID, kept.expired = s.newRollup(kind), session.ExpiredSeq, firstID, session.ExpiredSeq
	}
	kept.where = where
	err = s.advance(ctx, most, key, kept, where, where.UpTo(session.EventCount))
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

func (s *Rollups) newRollup(kind rollupKind) rollup {
	bytes := min(maxRollupBytes, s.maxBytes/2)
	switch kind {
	case byFile:
		return analysis.NewFiles(analysis.Limits{Groups: maxRollupFiles, Bytes: bytes})
	case byStory:
		return analysis.NewStory(analysis.Limits{Groups: maxRollupDeeds, Bytes: bytes})
	}
	return analysis.NewConversations(analysis.Limits{Groups: maxRollupConversations, Bytes: bytes})
}

// advance adds the events up to a Seq to a rollup, or a part of them if that takes longer than
// most. If ctx ends before that, the next caller continues where advance stopped.
func (s *Rollups) advance(ctx context.Context, most time.Duration, key rollupKey, kept *keptRollup, where *filter.Filter, upTo int64) error {
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
	switch key.kind {
	case byConversation:
		part.Types, part.Keys = analysis.ConversationTypes(), analysis.ConversationKeys()
	case byStory:
		part.Types, part.Keys = analysis.StoryTypes(), analysis.StoryKeys()
	}
	for began := time.Now(); kept.seq < upTo && time.Since(began) < most; {
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

func (s *Rollups) read(ctx context.Context, sessionID string, where *filter.Filter, part models.EventPart, sum rollup) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollupReadTimeout)
	defer cancel()
	return s.events.EachPart(ctx, sessionID, where, part, sum.Add)
}

// find returns the rollup of a key. It makes an empty one if there is none.
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

// keep notes the size of a rollup, and trims the others.
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

// trim drops the least recently used rollups until the rest is within the limits. It
// never drops the rollup of key. A goroutine that uses a dropped rollup finishes with it.
// The caller holds the mutex.
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
