package main

import (
	"bytes"
	"regexp"
	"slices"
	"testing"
	"time"

	"ospulse/internal/models"
	"ospulse/internal/wire"
)

// decoded returns events of a corpus as the backend decodes them.
func decoded(t *testing.T, c *corpus, first, n int64) []models.Incoming {
	t.Helper()
	var text []byte
	for i := range n {
		text = c.appendLine(text, first+i)
	}
	events, err := allOf(wire.Events(text, time.Now()))
	if err != nil {
		t.Fatal(err)
	}
	return events
}

func TestCorpusIsReal(t *testing.T) {
	now := time.Now()
	types := map[string]int{}
	calls := 0
	count := func(c *corpus) {
		t.Helper()
		for first := int64(0); first < int64(len(c.events)); first += largeBatch {
			for _, e := range decoded(t, c, first, min(largeBatch, int64(len(c.events))-first)) {
				types[e.EventType]++
				if rareCall.matches(&e.Event) {
					calls++
				}
				if e.Timestamp.After(now) {
					t.Fatalf("an event is of %s, in the future", e.Timestamp)
				}
			}
		}
	}
	for _, names := range [][]string{programs, {httpFlows}} {
		c, err := newCorpus(now, names...)
		if err != nil {
			t.Fatal(err)
		}
		count(c)
	}
	total := 0
	for _, n := range types {
		total += n
	}
	if total < 20_000 || total > 65_000 {
		t.Errorf("%d events", total)
	}
	if calls < 1 || calls > 5 {
		t.Errorf("the rare call is there %d times", calls)
	}
	for name, atLeast := range map[string]int{
		models.TypeFile: 10_000, models.TypeProcessCreation: 100, "process_exit": 100, models.TypeNetwork: 100, models.TypePacket: 100, models.TypeHTTP: 500,
	} {
		if types[name] < atLeast {
			t.Errorf("%d events of type %s, want at least %d", types[name], name, atLeast)
		}
	}
	for _, name := range []string{models.TypeSessionStart, models.TypeSessionEnd, "events_lost", rareType} {
		if types[name] > 0 {
			t.Errorf("%d events of type %s", types[name], name)
		}
	}
}

func TestRepetitionsDifferOnlyInTheirMarks(t *testing.T) {
	c, err := newCorpus(time.Now(), "python")
	if err != nil {
		t.Fatal(err)
	}
	n := int64(len(c.events))
	first, later := decoded(t, c, 0, largeBatch), decoded(t, c, 3*n, largeBatch)
	pids := map[int64]int64{}
	for i := range first {
		a, b := &first[i].Event, &later[i].Event
		if shift := b.Timestamp.Sub(a.Timestamp).Microseconds(); shift != 3*c.length {
			t.Fatalf("event %d is %d µs later, want %d", i, shift, 3*c.length)
		}
		if len(a.Data) != len(b.Data) || a.EventType != b.EventType || textOf(a.Operation) != textOf(b.Operation) {
			t.Fatalf("event %d is another one:\n%s\n%s", i, a.Data, b.Data)
		}
		if known, ok := pids[*a.PID]; ok && known != *b.PID || !ok && *a.PID == *b.PID {
			t.Fatalf("process %d becomes %d and %d", *a.PID, known, *b.PID)
		}
		pids[*a.PID] = *b.PID
		for text, folder := range map[*models.JSON]string{&a.Data: "ospulse-000000", &b.Data: "ospulse-000003"} {
			for _, found := range regexp.MustCompile(`ospulse-\d+`).FindAll(*text, -1) {
				if string(found) != folder {
					t.Fatalf("event %d names %s, want %s", i, found, folder)
				}
			}
		}
	}
	var mapped []int64
	for _, pid := range pids {
		mapped = append(mapped, pid)
	}
	slices.Sort(mapped)
	if n := len(slices.Compact(mapped)); n != len(pids) || n < 2 {
		t.Errorf("%d processes become %d", len(pids), n)
	}
}

func TestRequestsOfTheCorpus(t *testing.T) {
	c, err := newCorpus(time.Now(), httpFlows)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range c.requests(batchPath, smallBatch) {
		sent := r.clone(nil)
		c.vary(sent.bytes, sent.marks, 2)
		var want []byte
		for j := range smallBatch {
			want = c.appendLine(want, int64(2*len(c.events)+i*smallBatch+j))
		}
		if !bytes.Equal(body(sent), want) {
			t.Fatalf("request %d is\n%.500s, want\n%.500s", i, body(sent), want)
		}
	}
}

func TestRealSessionHasTheRareEvent(t *testing.T) {
	c, err := newCorpus(time.Now(), "python")
	if err != nil {
		t.Fatal(err)
	}
	text := c.appendReal(nil, rareEvery/200-2, rareEvery/200+1)
	events, err := allOf(wire.Events(text, time.Now()))
	if err != nil || len(events) != 3 {
		t.Fatalf("%d events, %v", len(events), err)
	}
	if isRareEvent(&events[0].Event) || !isRareEvent(&events[1].Event) || isRareEvent(&events[2].Event) {
		t.Errorf("not the event in the middle is rare: %s", text)
	}
}
