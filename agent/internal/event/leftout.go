package event

import (
	"maps"
	"slices"
	"time"
)

// LeftOut is an events_left_out: how many events a session has left out since it began, by
// class. The report of a later time contains the counts of an earlier one.
type LeftOut struct {
	Counts   map[string]uint64
	From, To time.Time
}

// AppendJSON appends the data of the event.
func (l *LeftOut) AppendJSON(out []byte) []byte {
	o := begin(out)
	o.object("counts", func(o *object) {
		for _, class := range slices.Sorted(maps.Keys(l.Counts)) {
			o.number(class, int64(l.Counts[class]))
		}
	})
	o.time("from", l.From)
	o.time("to", l.To)
	return o.end()
}
