// Package analysis sums up the events of a session: histograms over time, facets of
// fields, files by path, and conversations by their ends. Histograms and facets count hot
// fields, packed as columns (segment.Columns): a few bytes per event, read a hundred times faster
// than rows. Files and conversations are rollups: a rollup adds one event after the other
// in the order of seq, and its result does not depend on how many it adds at a time. A
// rollup bounds its memory for any events, and counts what it leaves out.
//
// The package knows neither where events and segments are stored nor who asks for sums.
package analysis

import (
	"cmp"
	"math"
	"slices"

	"ospulse/internal/jsonscan"
	"ospulse/internal/models"
	"ospulse/internal/wire"
)

// Limits bound a rollup.
type Limits struct {
	Groups int   // paths or conversations
	Bytes  int64 // that it takes in memory, about
}

// Position is a place in a sorted list: the number and the name of an entry.
type Position struct {
	Number int64
	Name   string
}

// compare orders positions by number, descending, and then by name, ascending.
func (p Position) compare(other Position) int {
	return cmp.Or(cmp.Compare(other.Number, p.Number), cmp.Compare(p.Name, other.Name))
}

// ProcessCount is the number of events of a process.
type ProcessCount struct {
	PID   *int64
	Name  string
	Count int64
}

// Seen has the first and the last time and seq of some events.
type Seen struct {
	FirstMicros, LastMicros int64 // since 1970
	FirstSeq, LastSeq       int64
}

func (s *Seen) see(e *models.Event) {
	micros := e.Timestamp.UnixMicro()
	if s.FirstSeq == 0 {
		*s = Seen{micros, micros, e.Seq, e.Seq}
		return
	}
	s.FirstMicros, s.LastMicros = min(s.FirstMicros, micros), max(s.LastMicros, micros)
	s.FirstSeq, s.LastSeq = min(s.FirstSeq, e.Seq), max(s.LastSeq, e.Seq)
}

// join adds what other has seen.
func (s *Seen) join(other *Seen) {
	if s.FirstSeq == 0 {
		*s = *other
		return
	}
	s.FirstMicros, s.LastMicros = min(s.FirstMicros, other.FirstMicros), max(s.LastMicros, other.LastMicros)
	s.FirstSeq, s.LastSeq = min(s.FirstSeq, other.FirstSeq), max(s.LastSeq, other.LastSeq)
}

// Approximate memory of an entry of each kind, without its text.
const (
	fileBytes         = 320
	conversationBytes = 640
	processBytes      = 160
	pairBytes         = 64
	nameBytes         = 96
)

// first returns the first limit places below n that are selected and after a position,
// and the number of selected ones. It holds at most twice as many.
func first(n int, selected func(int) bool, position func(int) Position, after *Position, limit int) (places []int, total int) {
	type placed struct {
		place int
		at    Position
	}
	var best []placed
	sort := func() {
		slices.SortFunc(best, func(a, b placed) int { return a.at.compare(b.at) })
		best = best[:min(limit, len(best))]
	}
	var worst *Position // of the best ones, once there are enough
	for i := range n {
		if !selected(i) {
			continue
		}
		total++
		at := position(i)
		if after != nil && at.compare(*after) <= 0 || worst != nil && at.compare(*worst) >= 0 {
			continue
		}
		if best = append(best, placed{i, at}); len(best) >= 2*limit {
			sort()
			last := best[limit-1].at
			worst = &last
		}
	}
	sort()
	for _, b := range best {
		places = append(places, b.place)
	}
	return places, total
}

// maxMoved is the most bytes that one call can move. A larger value is an error code
// that was read as a size: existing controllers send -16 both as -16 and as 4294967280.
// Linux moves at most 2 GiB less a page in one call, and Windows programs hardly as
// much.
const maxMoved = math.MaxInt32

// moved returns how many bytes a call moved, or the size of a packet; 0 for an invalid
// size.
func moved(value []byte) int64 {
	n, ok := jsonscan.Integer(value)
	if !ok || n < 0 || n > maxMoved || jsonscan.Kind(value) == '"' {
		return 0
	}
	return n
}

// Failed reports whether the operation of an event failed, as far as its data says so. A
// connection that is in progress did not, nor did one that had been made before.
func Failed(e *models.Event) bool {
	status := jsonscan.Find(e.Data, "status")
	if !wire.Failed(status) {
		return false
	}
	why := reason(status, jsonscan.Find(e.Data, "error"))
	return why != inProgress && why != connectedBefore
}

// RootPath returns the root directory of the process of an event if it has another one, or
// another mount namespace, than the agent; nil if not, or if nothing is known of it.
func RootPath(e *models.Event) *string {
	root := text(jsonscan.Find(jsonscan.Find(e.Data, "metadata"), "rootPath"), maxPathLen)
	if root == "" {
		return nil
	}
	return &root
}

// text returns the text of a string of at most maxLen bytes; "" for other values.
func text(value []byte, maxLen int) string {
	if len(value) > 6*maxLen+2 { // too long even if every byte is escaped
		return ""
	}
	if s := jsonscan.Unquote(value); len(s) <= maxLen {
		return s
	}
	return ""
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// processKey identifies a process in the same way as events do.
type processKey struct {
	pid    int64
	hasPID bool
	name   string
}

func processOf(e *models.Event) processKey {
	key := processKey{name: deref(e.ProcessName)}
	if e.PID != nil {
		key.pid, key.hasPID = *e.PID, true
	}
	return key
}

func (k processKey) count(n int64) ProcessCount {
	c := ProcessCount{Name: k.name, Count: n}
	if k.hasPID {
		c.PID = &k.pid
	}
	return c
}
