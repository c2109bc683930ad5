package repository

import (
	"testing"

	"ospulse/internal/models"
)

// TestKeptSkipsAreBounded checks that the kept skips stay within their limit, that others
// than the newest are dropped, and that other events in the place of a segment have none.
func TestKeptSkipsAreBounded(t *testing.T) {
	var k keptSkips
	const size, n = 64 << 10, 200
	for number := range int64(n) {
		k.put(&models.Segment{SessionID: "s", Number: number, EventCount: models.SegmentEvents, MinID: uint64(number + 1)}, make([]byte, size))
	}
	if k.bytes > maxSkipBytes+skipKeyBytes || len(k.skips) != k.bytes/(size+skipKeyBytes) {
		t.Errorf("%d skips of %d bytes are kept, at most %d bytes should be", len(k.skips), k.bytes, maxSkipBytes)
	}
	last := models.Segment{SessionID: "s", Number: n - 1, EventCount: models.SegmentEvents, MinID: n}
	if skip, isKept := k.get(&last); !isKept || len(skip) != size {
		t.Errorf("the last skip has %d bytes, kept: %t", len(skip), isKept)
	}
	for name, other := range map[string]models.Segment{
		"another session": {SessionID: "t", Number: n - 1, EventCount: models.SegmentEvents, MinID: n},
		"more events":     {SessionID: "s", Number: n - 1, EventCount: 5, MinID: n},
		"other events":    {SessionID: "s", Number: n - 1, EventCount: models.SegmentEvents, MinID: n + 1},
	} {
		if _, isKept := k.get(&other); isKept {
			t.Errorf("%s: a skip is kept", name)
		}
	}
	k.put(&last, make([]byte, 8))
	sum := 0
	for _, skip := range k.skips {
		sum += len(skip) + skipKeyBytes
	}
	if k.bytes != sum {
		t.Errorf("%d bytes are counted, %d are kept", k.bytes, sum)
	}
}
