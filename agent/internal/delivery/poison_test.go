//go:build linux

package delivery

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// poison makes the sink answer with a status to each request that has one of these events.
func (s *sink) poison(status int, numbers ...int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.chokes = func(q request, raw []byte) string {
		for i, line := range slices.Collect(bytes.Lines(raw)) {
			for _, n := range numbers {
				if bytes.Contains(line, fmt.Appendf(nil, `"n":%d,`, n)) {
					return fmt.Sprintf("%d events[%d]: too long", status, i)
				}
			}
		}
		return ""
	}
}

// The backend answers 500 to any batch that has one specific event. All other events arrive
// once and in order. Delivery keeps that event on disk and reports it.
func TestPoisonedEvents(t *testing.T) {
	for name, poisoned := range map[string][]int{"one": {417}, "the first": {0}, "the last": {999}, "several": {3, 4, 500}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSink(t)
			s.poison(500, poisoned...)
			o := options(t, s.url)
			d := newDelivery(t, o)
			stop := run(t, d)
			var want []int
			for i := range 1000 {
				d.Add("a", numbered(i))
				if !slices.Contains(poisoned, i) {
					want = append(want, i)
				}
			}
			s.wait("all events but the poisoned", func() bool { return len(arrived(s.got["a"])) >= len(want) })
			if lost := s.waitReports(d, "a"); lost != int64(len(poisoned)) {
				t.Errorf("%d events are reported as lost, want %d", lost, len(poisoned))
			}
			stop()
			if got := arrived(s.has("a")); !slices.Equal(got, want) {
				t.Errorf("%d arrived, in another order or more than once: %v", len(got), got)
			}
			for _, r := range s.lossReports("a") {
				if !strings.HasPrefix(r.Reason, ReasonSetAside) || !strings.Contains(r.Reason, "too long") {
					t.Errorf("the reason is %q", r.Reason)
				}
			}
			if kept := setAside(t, o.Dir); !slices.Equal(kept, poisoned) {
				t.Errorf("%v are on disk, want %v", kept, poisoned)
			}
			if status := wantSum(t, d); status.LostByReason[ReasonSetAside] != int64(len(poisoned)) {
				t.Errorf("%+v", status)
			}
			wantFiles(t, o.Dir, asideName, "lock")
		})
	}
}

// arrived returns the numbers of the events without the reports of loss.
func arrived(got []int) []int {
	return slices.DeleteFunc(slices.Clone(got), func(n int) bool { return n < 0 })
}

// setAside returns the numbers of the events that were set aside.
func setAside(t *testing.T, dir string) (numbers []int) {
	t.Helper()
	file, err := os.Open(filepath.Join(dir, asideName))
	if err != nil {
		t.Error(err)
		return nil
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var line struct {
			Session string `json:"session_id"`
			Event   struct{ Data struct{ N int } }
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil || line.Session != "a" {
			t.Errorf("%v: %s", err, lines.Text())
		}
		numbers = append(numbers, line.Event.Data.N)
	}
	return numbers
}

// If a refusal names the event at fault, it costs two more requests, not twenty.
func TestNamedEventIsFound(t *testing.T) {
	s := newSink(t)
	s.poison(400, 417)
	d := newDelivery(t, options(t, s.url))
	stop := run(t, d)
	for i := range 1000 {
		d.Add("a", numbered(i))
	}
	s.waitReports(d, "a")
	stop()
	want := append(upTo(417), upTo(1000)[418:]...)
	if got := arrived(s.has("a")); !slices.Equal(got, want) {
		t.Errorf("%d arrived, in another order or more than once", len(got))
	}
	refused := 0
	for _, q := range s.asked() {
		if q.events > 1 && q.chokes {
			refused++
		}
	}
	if refused != 1 {
		t.Errorf("%d batches were refused", refused)
	}
}

// A 500 from an unhealthy backend says nothing about the batch. Neither does an answer of a
// proxy or of an overloaded backend. Delivery loses no event.
func TestSickBackend(t *testing.T) {
	for _, fault := range []string{"500", "502", "503", "504", "429"} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			s := newSink(t)
			s.sick = fault == "500"
			s.set(func(request) string { return fault })
			d := newDelivery(t, options(t, s.url))
			run(t, d)
			for i := range 100 {
				d.Add("a", numbered(i))
			}
			s.wait("as many tries as would set one aside", func() bool { return len(s.requests) > brokenTries+1 })
			s.set(nil)
			s.want("a", 100)
			if status := wantSum(t, d); status.Lost != 0 {
				t.Errorf("%+v", status)
			}
		})
	}
}

// A run that ends while a batch is divided leaves the rest to the next run. If the backend
// then accepts the event at fault, it stores no event twice.
func TestDividedBatchOutlivesTheRun(t *testing.T) {
	s := newSink(t)
	s.poison(500, 900)
	o := options(t, s.url)
	o.FlushTimeout = time.Millisecond
	d := newDelivery(t, o)
	stop := run(t, d)
	for i := range 1000 {
		d.Add("a", numbered(i))
	}
	s.wait("the first half", func() bool { return len(s.got["a"]) >= 500 && len(s.got["a"]) < 1000 })
	stop()
	if status := wantSum(t, d); status.SpooledEvents == 0 {
		t.Fatalf("nothing is left for the next run: %+v", status)
	}
	s.mu.Lock()
	s.chokes = nil
	s.mu.Unlock()
	o.FlushTimeout = time.Minute // this run reads the answer to its last batch, on any machine
	d = newDelivery(t, o)
	stop = run(t, d)
	s.want("a", 1000)
	stop()
	wantSum(t, d)
	wantFiles(t, o.Dir, "lock")
}
