package main

import (
	"log/slog"
	"math"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"ospulse/internal/database"
)

func TestRealSessionHoldsWhatIsKnownOfIt(t *testing.T) {
	s := store{options: database.Options{Path: filepath.Join(t.TempDir(), "test.db"), PoolSize: 2, Log: slog.New(slog.DiscardHandler)}}
	recording, err := newCorpus(time.Now(), "shell")
	if err != nil {
		t.Fatal(err)
	}
	recording.events = recording.events[len(recording.events)-1000:]
	l := &lab{programs: func() (*corpus, error) { return recording, nil }}
	c := newContents(1500, realSelections()...) // and a part of the repetition
	if err := storeSessions(t.Context(), s, l.storeReal(programEvents), []*contents{c}); err != nil {
		t.Fatal(err)
	}
	if err := verify(t.Context(), s.options, c.events); err != nil {
		t.Error(err)
	}
	for name, q := range map[string]struct {
		selection selection
		where     string
		isAny     bool
	}{
		"no event":    {absentText, "data LIKE '%" + noWord + "%'", false},
		"a rare word": {rareText, "data LIKE '%" + rareWord + "%'", true},
		"a rare type": {rareEvents, "event_type = '" + rareType + "'", true},
		"a rare call": {rareCall, "json_extract(data, '$.syscall') = '" + rareSyscall + "'", true},
	} {
		seqs := column[int64](t, s, "SELECT seq FROM events WHERE session_id = ? AND "+q.where+" ORDER BY seq", c.id)
		known, _ := c.page(q.selection, 0, math.MaxInt32)
		if !slices.Equal(seqs, known) || len(seqs) > 0 != q.isAny {
			t.Errorf("%s: the events %v, known are %v", name, seqs, known)
		}
	}
}
