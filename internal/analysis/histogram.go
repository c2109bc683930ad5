package analysis

import (
	"ospulse/internal/models"
	"ospulse/internal/segment"
)

// Histogram counts events over time by type. Its buckets follow each other without a
// gap, each WidthMicros long. An event belongs to the last bucket that does not start
// after it.
type Histogram struct {
	Span        models.Span
	WidthMicros int64
	UpTo        int64 // the seq up to which it counts

	buckets int
	places  map[string]int // of types, below maxTypes
	names   []string       // of types, by place
	counts  []int64        // bucket after bucket, maxTypes counts each
}

// maxTypes is the most types that a histogram counts. The last one is
// models.OtherTypes, for all others.
const maxTypes = 65

// NewHistogram returns a histogram of a span with at most maxBuckets buckets. The end of
// the span must not be before its start. The zero Histogram has no bucket.
func NewHistogram(span models.Span, maxBuckets int) *Histogram {
	length := span.To.UnixMicro() - span.From.UnixMicro()
	width := length/int64(maxBuckets) + 1
	buckets := int(length/width) + 1
	return &Histogram{Span: span, WidthMicros: width, buckets: buckets, places: map[string]int{}, counts: make([]int64, buckets*maxTypes)}
}

// Add counts the selected events that lie in the span.
func (h *Histogram) Add(c *segment.Columns, selected func(i int) bool) {
	from, to := h.Span.From.UnixMicro(), h.Span.To.UnixMicro()
	places := make([]int, len(c.Type.Values))
	for i, name := range c.Type.Values[1:] {
		places[i+1] = h.place(*name)
	}
	for i, micros := range c.Micros {
		if micros >= from && micros <= to && selected(i) {
			h.counts[int((micros-from)/h.WidthMicros)*maxTypes+places[c.Type.Index[i]]]++
		}
	}
}

func (h *Histogram) place(name string) int {
	place, known := h.places[name]
	if known {
		return place
	}
	if len(h.names) >= maxTypes-1 {
		if name = models.OtherTypes; len(h.names) == maxTypes {
			return maxTypes - 1
		}
	}
	place = len(h.names)
	h.names = append(h.names, name)
	h.places[name] = place
	return place
}

// Buckets returns the number of events of each bucket by type. Types without an event in
// a bucket are left out.
func (h *Histogram) Buckets() []map[string]int64 {
	buckets := make([]map[string]int64, h.buckets)
	for i := range buckets {
		buckets[i] = map[string]int64{}
		for place, name := range h.names {
			if n := h.counts[i*maxTypes+place]; n > 0 {
				buckets[i][name] += n // an agent's type may have the name models.OtherTypes
			}
		}
	}
	return buckets
}
