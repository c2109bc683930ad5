package repository

import (
	"sync"

	"ospulse/internal/filter"
	"ospulse/internal/models"
	"ospulse/internal/segment"
)

// keptSkips are skips of sealed segments that were read. Each search of a session needs
// the skips of all of its segments, a megabyte for a million events. It is safe for
// concurrent use.
type keptSkips struct {
	mu    sync.Mutex
	skips map[skipKey][]byte
	bytes int
}

// skipKey identifies the events of a sealed segment: their IDs are never used again.
type skipKey struct {
	sessionID      string
	number, events int64
	minID          uint64
}

func skipKeyOf(s *models.Segment) skipKey {
	return skipKey{s.SessionID, s.Number, s.EventCount, s.MinID}
}

// maxSkipBytes is the most memory of kept skips, about.
const maxSkipBytes = 4 << 20

// get returns the skip of a segment, and whether it is kept.
func (k *keptSkips) get(s *models.Segment) (skip []byte, isKept bool) {
	if k == nil {
		return nil, false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	skip, isKept = k.skips[skipKeyOf(s)]
	return skip, isKept
}

// put keeps the skip of a segment. If there are too many, it drops any others: the oldest
// would be the wrong ones, because searches read all segments of a session in turn.
func (k *keptSkips) put(s *models.Segment, skip []byte) {
	if k == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.skips == nil {
		k.skips = map[skipKey][]byte{}
	}
	k.drop(skipKeyOf(s))
	for key := range k.skips {
		if k.bytes+len(skip) <= maxSkipBytes {
			break
		}
		k.drop(key)
	}
	k.skips[skipKeyOf(s)] = skip
	k.bytes += len(skip) + skipKeyBytes
}

// skipKeyBytes is the memory of a kept skip without its bytes, about.
const skipKeyBytes = 128

// drop drops a skip if it is kept. The caller holds the mutex.
func (k *keptSkips) drop(key skipKey) {
	if skip, isKept := k.skips[key]; isKept {
		k.bytes -= len(skip) + skipKeyBytes
		delete(k.skips, key)
	}
}

// test sets isSkipped of the sealed segments.
func (v view) test(segments []listedSegment, where *filter.Filter) error {
	missing, first, last := map[int64]*listedSegment{}, int64(0), int64(0)
	for i := range segments {
		s := &segments[i]
		if !s.IsSealed || s.isSkipped {
			continue
		}
		if skip, isKept := v.skips.get(&s.Segment); isKept {
			s.isSkipped = !segment.MayMatch(skip, where)
			continue
		}
		if len(missing) == 0 {
			first, last = s.Number, s.Number
		}
		missing[s.Number], first, last = s, min(first, s.Number), max(last, s.Number)
	}
	if len(missing) == 0 {
		return nil
	}
	rows, err := v.sealed().Select("number, skip").Where("number BETWEEN ? AND ?", first, last).Rows()
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var number int64
		var skip []byte
		if err := rows.Scan(&number, &skip); err != nil {
			return err
		}
		if s := missing[number]; s != nil {
			s.isSkipped = !segment.MayMatch(skip, where)
			v.skips.put(&s.Segment, skip)
		}
	}
	return rows.Err()
}
