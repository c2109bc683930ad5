package backup

import (
	"encoding/binary"
	"slices"
	"testing"

	"ospulse/internal/database"
)

// TestCensusCountsSealedEvents checks that the events of sealed segments are counted, and
// those of other segments, which are rows too, are not counted twice.
func TestCensusCountsSealedEvents(t *testing.T) {
	head := &Head{Tables: []database.Table{
		{Name: "sessions", Columns: []database.Column{{Name: "id", Kind: database.KindText}, {Name: "event_count", Kind: database.KindInt}}},
		{Name: "events", Columns: []database.Column{{Name: "seq", Kind: database.KindInt}, {Name: "session_id", Kind: database.KindText}}},
		{Name: "segments", Columns: []database.Column{{Name: "session_id", Kind: database.KindText}, {Name: "is_sealed", Kind: database.KindBool}, {Name: "event_count", Kind: database.KindInt}}},
	}}
	number := func(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }
	c := newCensus(head)
	rows := [][][]byte{
		{[]byte("whole"), number(5000)}, {[]byte("lacks one"), number(4098)}, // sessions
		{number(4097), []byte("lacks one")}, // events
		{[]byte("whole"), {1}, number(4096)}, {[]byte("whole"), {1}, number(904)}, {[]byte("lacks one"), {1}, number(4096)}, {[]byte("lacks one"), {0}, number(4096)},
	}
	for i, fields := range rows {
		if err := c.add(&head.Tables[[]int{0, 0, 1, 2, 2, 2, 2}[i]], fields); err != nil {
			t.Fatal(err)
		}
	}
	r := c.report(head, &Contents{})
	if want := []Gap{{"lacks one", 4098, 4097}}; r.Events != 9097 || r.Sessions != 2 || !slices.Equal(r.Gaps, want) {
		t.Errorf("%+v", r)
	}
}
