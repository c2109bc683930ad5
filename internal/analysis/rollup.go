// Package analysis sums up the events of a session: histograms over time, facets of
// fields, files by path, and conversations by their ends. Histograms and facets count hot
// fields, packed as columns (Columns): a few bytes per event, read a hundred times faster
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
)

// Limits bound a rollup.
type Limits struct {
	Groups int   // paths or conversations
	Bytes  int64 // that it takes in memory, about
}

// Position is a place in a sorted list: that of what has this number and this name.
type Position struct {
	Number int64
	Name   string
}

// compare compares places of lists whose largest numbers, and then smallest names,
// come first.
func (p Position) compare(other Position) int {
	return cmp.Or(cmp.Compare(other.Number, p.Number), cmp.Compare(p.Name, other.Name))
}

// ProcessCount is how many of some events a process did.
type ProcessCount struct {
	PID   *int64
	Name  string
	Count int64
}

// Seen is when something was seen, first and last.
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

// About how much memory an entry of each kind takes, without its text.
const (
	fileBytes         = 320
	conversationBytes = 480
	processBytes      = 160
	pairBytes         = 64
	nameBytes         = 96
)

// first gives the limit first ones of the places below n that are selected and come
// after a position, and how many are selected. It holds no more than twice as many.
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
	var worst *Position // of the best ones, when there are enough
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

// maxMoved is the most that one call can have moved. What is beyond is an error that
// was read as a size: controllers in the field send -16 both as -16 and as
// 4294967280. Linux moves at most 2 GiB less a page in one call, and programs on
// Windows hardly that.
const maxMoved = math.MaxInt32

// moved reads how many bytes a call moved, or a packet has; 0 for what is no size.
func moved(value []byte) int64 {
	n, ok := jsonscan.Integer(value)
	if !ok || n < 0 || n > maxMoved || jsonscan.Kind(value) == '"' {
		return 0
	}
	return n
}

// failed reports whether a status is an error: a negative one, of Linux or of
// Windows.
func failed(status []byte) bool {
	n, ok := jsonscan.Integer(status)
	return ok && n < 0
}

// text gives what a string says, at most maxLen bytes of it; "" for anything else.
func text(value []byte, maxLen int) string {
	if len(value) > 6*maxLen+2 { // it cannot be shorter than this says
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

// processKey names a process as events do.
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
