package main

import (
	"database/sql"
	"log/slog"
	"maps"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ospulse/internal/database"
)

// stored returns a small archive on SQLite.
func stored(t *testing.T, events ...int64) (store, []*contents) {
	t.Helper()
	s := store{options: database.Options{Path: filepath.Join(t.TempDir(), "test.db"), PoolSize: 2, Log: slog.New(slog.DiscardHandler)}}
	all := newSelections(sqlite)
	var sessions []*contents
	total := int64(0)
	for _, n := range events {
		sessions = append(sessions, newContents(n, all.list()...))
		total += n
	}
	if err := storeSessions(t.Context(), s, storeMix, sessions); err != nil {
		t.Fatal(err)
	}
	if err := verify(t.Context(), s.options, total); err != nil {
		t.Fatal(err)
	}
	return s, sessions
}

// column returns the rows of a SELECT of one column.
func column[T any](t *testing.T, s store, text string, args ...any) (all []T) {
	t.Helper()
	err := readDatabase(t.Context(), s, func(pool *sql.DB) error {
		rows, err := pool.QueryContext(t.Context(), text, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var value T
			if err := rows.Scan(&value); err != nil {
				return err
			}
			all = append(all, value)
		}
		return rows.Err()
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestArchiveHoldsWhatIsKnownOfIt(t *testing.T) {
	s, sessions := stored(t, 3000, 5000, 400)
	all := newSelections(sqlite)
	for _, c := range sessions {
		for _, q := range all.list() {
			seqs := column[int64](t, s, "SELECT seq FROM events WHERE session_id = ?"+q.where+" ORDER BY seq", append([]any{c.id}, q.args...)...)
			known, more := c.page(q, 0, math.MaxInt32)
			if !slices.Equal(seqs, known) || more {
				t.Errorf("%s selects %d events, %d are known, more: %v", q.filter, len(seqs), len(known), more)
			}
			if n := c.count(q); n != int64(len(seqs)) {
				t.Errorf("%s selects %d events, counted are %d", q.filter, len(seqs), n)
			}
		}
		for field, column1 := range map[string]string{"type": "event_type", "process": "COALESCE(process_name, '')", "operation": "COALESCE(operation, '')"} {
			for _, q := range []selection{all.all, all.commonType} {
				counts := map[string]int64{}
				for _, value := range column[string](t, s, "SELECT "+column1+" FROM events WHERE session_id = ?"+q.where, append([]any{c.id}, q.args...)...) {
					counts[value]++
				}
				if known := c.selected[q.filter].counts[field]; !maps.Equal(counts, known) {
					t.Errorf("%s of %q: %v, known is %v", field, q.filter, counts, known)
				}
			}
		}
	}
}

func TestArchiveIsMixed(t *testing.T) {
	s, sessions := stored(t, 4000, 4000, 4000)
	order := column[string](t, s, "SELECT session_id FROM events ORDER BY id")
	longest, run := 0, 0
	for i := range order {
		if i == 0 || order[i] != order[i-1] {
			run = 0
		}
		run++
		longest = max(longest, run)
	}
	if longest < maxBurst/2 || longest > 8*maxBurst {
		t.Errorf("%d events of a session come in a row", longest)
	}
	for _, c := range sessions { // all of them to the end
		if at := slices.Index(order, c.id); at > 1000 {
			t.Errorf("a session begins after %d events", at)
		}
		slices.Reverse(order)
		if at := slices.Index(order, c.id); at > 2000 {
			t.Errorf("a session ends %d events before the last", at)
		}
		slices.Reverse(order)
	}
	if n := len(slices.Compact(column[int64](t, s, "SELECT CAST(timestamp AS INTEGER) FROM events ORDER BY id"))); n != len(order) {
		t.Errorf("%d events have %d times", len(order), n)
	}
}

func TestMixHasEverythingRealSessionsHave(t *testing.T) {
	m, err := newMix()
	if err != nil {
		t.Fatal(err)
	}
	const n = 200_000
	all := newSelections(sqlite)
	c := newContents(n, all.list()...)
	for range n {
		in := m.event(c.noted + 1)
		c.note(&in.Event)
	}
	for name, want := range map[string]struct {
		selection
		from, to float64 // share of all
	}{
		"a common type":    {all.commonType, 0.6, 0.8},
		"a common process": {all.commonProcess, 0.05, 0.3},
		"a pid":            {all.pid, 0.02, 0.3},
		"a rare type":      {all.rareType, 1e-5, 1e-5},
		"a rare process":   {all.rareProcess, 1e-5, 1e-5},
		"a rare word":      {all.rareWord, 1e-5, 1e-5},
		"no word":          {all.noWord, 0, 0},
	} {
		if share := float64(c.count(want.selection)) / n; share < want.from || share > want.to {
			t.Errorf("%s is in %g of all, want %g to %g", name, share, want.from, want.to)
		}
	}
	counts := c.selected[""].counts
	if flows := counts["type"]["http_network_operation"]; flows < n/1000 || flows > n/400 {
		t.Errorf("%d of %d events are flows", flows, n)
	}
	for field, least := range map[string]int{"type": 5, "operation": 3, "process": 20, "host": 100, "extension": 10} {
		if len(counts[field]) < least {
			t.Errorf("%s has %d values, want %d", field, len(counts[field]), least)
		}
	}
}

func TestPagesOfContents(t *testing.T) {
	even := selection{filter: "even"}
	c := newContents(300)
	c.noted = 300
	c.selected["even"] = &selected{}
	for seq := int64(2); seq <= 300; seq += 2 {
		c.selected["even"].seqs = append(c.selected["even"].seqs, seq)
	}
	for name, p := range map[string]struct {
		of          selection
		after       int64
		first, last int64 // 0 is none
		n           int
		more        bool
	}{
		"the first of all":          {selection{}, 0, 1, 100, 100, true},
		"the last of all":           {selection{}, 200, 201, 300, 100, false},
		"less than a page":          {selection{}, 250, 251, 300, 50, false},
		"nothing":                   {selection{}, 300, 0, 0, 0, false},
		"the first of some":         {even, 0, 2, 200, 100, true},
		"some, after one of them":   {even, 100, 102, 300, 100, false},
		"some, after another":       {even, 101, 102, 300, 100, false},
		"the last of some":          {even, 298, 300, 300, 1, false},
		"nothing, and some existed": {even, 300, 0, 0, 0, false},
	} {
		seqs, more := c.page(p.of, p.after, 100)
		if len(seqs) != p.n || more != p.more || p.n > 0 && (seqs[0] != p.first || seqs[p.n-1] != p.last) {
			t.Errorf("%s: %v, %v", name, seqs, more)
		}
	}
}

func TestTooLittleDiskIsNoticedBefore(t *testing.T) {
	if err := checkDisk(t.TempDir(), 1); err != nil {
		t.Error(err)
	}
	if err := checkDisk(t.TempDir(), math.MaxInt64); err == nil || !strings.Contains(err.Error(), "TMPDIR") {
		t.Errorf("got %v", err)
	}
}

func TestSelectsGiveTheRowsThatAreKnown(t *testing.T) {
	s, sessions := stored(t, 3000)
	l := &lab{time: 1, archives: map[archiveKey]*archive{{sqlite, usualArchive}: {store: s, measured: sessions[0]}}}
	all := newSelections(sqlite)
	for _, q := range []selection{all.all, all.rareWord} {
		if _, err := selectPage("page", sqlite, q, false).limit.measure(t.Context(), l); err != nil {
			t.Error(err)
		}
	}
	for name, limit := range map[string]limit{
		"scan": scanLimit(sqlite), "group": groupLimit("", sqlite, all.commonType, timeBuckets(sqlite), "event_type"),
	} {
		if _, err := limit.measure(t.Context(), l); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := l.selectOver(t.Context(), sqlite, true, statement{"SELECT seq FROM events WHERE session_id = ? LIMIT 7", func(c *contents, _ *rand.Rand) ([]any, int) {
		return []any{c.id}, 8
	}})
	if err == nil || !strings.Contains(err.Error(), "7 rows, not 8") {
		t.Errorf("got %v", err)
	}
}

func TestParametersForDialects(t *testing.T) {
	const text = "a = ? AND b = ?"
	if got := forDialect(sqlite, text); got != text {
		t.Error(got)
	}
	if got := forDialect(postgres, text); got != "a = $1 AND b = $2" {
		t.Error(got)
	}
}

// count returns how many events a filter selects.
func (c *contents) count(q selection) int64 {
	total := int64(0)
	for _, n := range c.selected[q.filter].counts["type"] {
		total += n
	}
	return total
}
