package service

import (
	"slices"
	"sync"
	"time"

	"ospulse/internal/models"
	"ospulse/internal/segment"
)

// arrivals builds the columns of segments from events that were just committed, so that
// nobody reads these events back. It misses events that another backend stored, and drops
// some if there are too many; Analysis reads such segments from the database. It is safe
// for concurrent use.
type arrivals struct {
	mu       sync.Mutex
	begun    map[string]*arrived // by session
	complete []*arrived
	bytes    int           // of all
	some     chan struct{} // receives when there are complete ones
}

// arrived are the first events of a segment, or all of them.
type arrived struct {
	sessionID string
	number    int64
	columns   segment.Columns
	bytes     int // at most, because equal texts take their place once
}

// maxArrived limits the bytes of arrivals.
const maxArrived = 24 << 20

func newArrivals() *arrivals {
	return &arrivals{begun: map[string]*arrived{}, some: make(chan struct{}, 1)}
}

// Published implements ingest.Publisher.
func (a *arrivals) Published(batches []models.Batch, receipts []models.Receipt) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range receipts {
		if receipts[i].Repeated { // another batch stored its events
			continue
		}
		for j := range batches[i].Events {
			a.add(&batches[i].Events[j].Event)
		}
	}
}

func (a *arrivals) add(e *models.Event) {
	number, place := (e.Seq-1)/models.SegmentEvents, (e.Seq-1)%models.SegmentEvents
	s := a.begun[e.SessionID]
	if s != nil && (s.number != number || int64(s.columns.Len()) != place) { // other events came between
		a.drop(s)
		s = nil
	}
	if s == nil {
		if place > 0 {
			return
		}
		s = &arrived{sessionID: e.SessionID, number: number}
		a.begun[s.sessionID] = s
	}
	const fixed = 32 // bytes in columns
	n := fixed + len(e.EventType) + len(e.Source) + size(e.Operation) + size(e.ProcessName) + size(e.Target)
	s.columns.Append(e)
	s.bytes += n
	if a.bytes += n; a.bytes > maxArrived {
		a.dropAny()
	}
	if s.columns.Len() == models.SegmentEvents && a.begun[e.SessionID] == s {
		delete(a.begun, e.SessionID)
		a.complete = append(a.complete, s)
		select {
		case a.some <- struct{}{}:
		default:
		}
	}
}

func size(text *string) int {
	if text == nil {
		return 0
	}
	return len(*text)
}

func (a *arrivals) drop(s *arrived) {
	a.bytes -= s.bytes
	delete(a.begun, s.sessionID)
}

// dropAny drops a segment that is begun.
func (a *arrivals) dropAny() {
	for _, s := range a.begun {
		a.drop(s)
		return
	}
}

// take returns the complete segments.
func (a *arrivals) take() []*arrived {
	a.mu.Lock()
	defer a.mu.Unlock()
	complete := a.complete
	a.complete = nil
	for _, s := range complete {
		a.bytes -= s.bytes
	}
	return complete
}

// newSegment packs the columns of a complete segment of rows.
func newSegment(sessionID string, number int64, c *segment.Columns) (models.Segment, error) {
	packed, err := segment.EncodeColumns(c)
	return models.Segment{
		SessionID: sessionID, Number: number, EventCount: models.SegmentEvents, Columns: packed, Skip: segment.HotSkip(c),
		FirstTime: time.UnixMicro(slices.Min(c.Micros)).UTC(), LastTime: time.UnixMicro(slices.Max(c.Micros)).UTC(),
	}, err
}
