package repository

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"ospulse/internal/database"
	"ospulse/internal/models"
)

// objectReads reads the data of blocks that are objects of a bucket. When a reader goes
// from segment to segment, it reads the next objects ahead. It is safe for concurrent use.
type objectReads struct {
	store database.Objects // nil if there is none

	mu     sync.Mutex
	ahead  []*objectRead  // that were begun and are not used yet, oldest first
	recent []recentObject // the last sessions that were read, oldest first
}

// objectRead is a read of an object that goes on beside its reader.
type objectRead struct {
	block models.Block // without Data
	done  chan struct{}
	data  []byte // valid after done
	err   error
}

// recentObject is the segment of a session from which an object was read last.
type recentObject struct {
	sessionID string
	number    int64
}

const (
	// aheadSegments and aheadBytes limit what is read ahead for one reader, and
	// maxAhead what all readers of a repository leave unused.
	aheadSegments = 4
	aheadBytes    = 4 << 20
	maxAhead      = 32
	maxRecent     = 8
	// maxObjectWait is how long a view waits for the bucket in total. The view holds a
	// snapshot of the database meanwhile.
	maxObjectWait = 30 * time.Second
)

// errSlowBucket means that a view has waited for maxObjectWait.
var errSlowBucket = models.Errorf(models.CodeUnavailable, "the bucket of sealed events (BLOCKS_URL) is too slow for this read: narrow the filter or the span of time, or try again") //nolint:gochecknoglobals // a constant

// viewObjects reads objects for one view.
type viewObjects struct {
	*objectReads
	left time.Duration // that the view may still wait
}

// get returns the data of a block of a segment.
func (o *viewObjects) get(s *sealedSegment, b *models.Block) ([]byte, error) {
	if o == nil || o.store == nil {
		return nil, database.ErrNoObjects
	}
	ctx := s.view.tx.Statement.Context
	read := o.take(ctx, b)
	if err := o.readAhead(ctx, s, b); err != nil {
		return nil, err
	}
	began := time.Now()
	patience := time.NewTimer(o.left)
	defer patience.Stop()
	select {
	case <-read.done:
	case <-patience.C:
		return nil, errSlowBucket
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	o.left -= time.Since(began)
	return read.data, read.err
}

// take returns a read of a block's object, which may have begun already. Its caller is the
// only one that uses it.
func (o *objectReads) take(ctx context.Context, b *models.Block) *objectRead {
	o.mu.Lock()
	defer o.mu.Unlock()
	if i := slices.IndexFunc(o.ahead, func(r *objectRead) bool { return r.block.Object == b.Object }); i >= 0 {
		read := o.ahead[i]
		o.ahead = slices.Delete(o.ahead, i, i+1)
		if !read.hasFailed() { // the bucket may answer now
			return read
		}
	}
	return o.begin(ctx, *b)
}

func (r *objectRead) hasFailed() bool {
	select {
	case <-r.done:
		return r.err != nil
	default:
		return false
	}
}

// begin begins a read. The store bounds its time.
func (o *objectReads) begin(ctx context.Context, b models.Block) *objectRead {
	read := &objectRead{block: b, done: make(chan struct{})}
	ctx = context.WithoutCancel(ctx) // the next reader may need it
	go func() {
		defer close(read.done)
		read.data, read.err = o.store.Get(ctx, b.Object, b.ObjectBytes)
	}()
	return read
}

// readAhead begins to read the objects that follow a block, if the reader has come from
// another segment of the session.
func (o *objectReads) readAhead(ctx context.Context, s *sealedSegment, b *models.Block) error {
	for _, next := range o.following(s) {
		var blocks []models.Block
		err := s.view.tx.Select("session_id, first_seq, last_seq, object, object_bytes").
			Where("session_id = ? AND first_seq >= ? AND first_seq <= ? AND object <> ''", s.view.sessionID, next.FirstSeq(), next.LastSeq()).
			Order("first_seq").Find(&blocks).Error
		if err != nil {
			return err
		}
		o.mu.Lock()
		size := b.ObjectBytes
		for _, read := range o.ahead {
			if read.block.SessionID == b.SessionID {
				size += read.block.ObjectBytes
			}
		}
		for i := range blocks {
			if size += blocks[i].ObjectBytes; size > aheadBytes {
				break
			}
			o.ahead = append(o.ahead, o.begin(ctx, blocks[i]))
		}
		o.ahead = o.ahead[max(len(o.ahead)-maxAhead, 0):]
		o.mu.Unlock()
	}
	return nil
}

// following returns the next segments whose objects should be read ahead, and are not yet.
// It notes that the reader is at a segment.
func (o *objectReads) following(s *sealedSegment) (next []models.Segment) {
	o.mu.Lock()
	defer o.mu.Unlock()
	isMoving := false
	o.recent = slices.DeleteFunc(o.recent, func(r recentObject) bool {
		isSession := r.sessionID == s.view.sessionID
		isMoving = isMoving || isSession && r.number != s.Number
		return isSession
	})
	o.recent = append(o.recent, recentObject{s.view.sessionID, s.Number})
	o.recent = o.recent[max(len(o.recent)-maxRecent, 0):]
	if !isMoving && !slices.ContainsFunc(o.ahead, func(r *objectRead) bool { return r.block.SessionID == s.view.sessionID }) {
		return nil
	}
	for i, seen := 0, 0; i < len(s.following) && seen < aheadSegments; i++ {
		if upcoming := &s.following[i]; !upcoming.IsSealed || upcoming.isSkipped {
			continue
		}
		seen++
		first := s.following[i].FirstSeq()
		if !slices.ContainsFunc(o.ahead, func(r *objectRead) bool {
			return r.block.SessionID == s.view.sessionID && r.block.FirstSeq >= first && r.block.FirstSeq < first+models.SegmentEvents
		}) {
			next = append(next, s.following[i].Segment)
		}
	}
	return next
}

// data returns the data of a block.
func (s *sealedSegment) data(b *models.Block) ([]byte, error) {
	if b.Object == "" {
		return b.Data, nil
	}
	data, err := s.view.objects.get(s, b)
	if errors.Is(err, models.ErrDamaged) {
		err = s.damaged(err)
	}
	return data, err
}
