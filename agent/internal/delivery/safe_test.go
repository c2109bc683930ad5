//go:build linux

package delivery

import (
	"context"
	"testing"
	"time"
)

// TestSettle checks that Settle waits until the events are at the backend or on disk, and no
// longer.
func TestSettle(t *testing.T) {
	for name, test := range map[string]struct {
		fault     string
		spool     int64
		delivered bool
		spooled   bool
	}{
		"the backend accepts it":        {"", 0, true, false},
		"the backend is away":           {"503", 1 << 20, false, true},
		"away, and there is no spool":   {"503", 0, false, false},
		"the backend refuses it":        {"400", 0, false, false}, // the backend stores the report of the loss instead
		"the backend accepts it slowly": {"slow", 0, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSink(t)
			s.fault = func(q request) string {
				if q.again > 0 || q.n > 0 && test.fault == "400" {
					return map[bool]string{true: "", false: "503"}[test.fault == "400"]
				}
				return test.fault
			}
			o := options(t, s.url)
			o.SpoolMaxBytes = test.spool
			d := newDelivery(t, o)
			run(t, d)
			before := time.Now()
			if !d.Settle(t.Context(), "a") || d.SafeUntil().Before(before) {
				t.Error("Settle fails without events")
			}
			d.Add("a", numbered(1))
			added := time.Now()
			patience := 20 * time.Second
			want := test.delivered || test.spooled || test.fault == "400"
			if !want {
				patience = 1500 * time.Millisecond
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			if got := d.Settle(ctx, "a"); got != want {
				t.Errorf("Settle returned %t, want %t", got, want)
			}
			if safe := d.SafeUntil(); safe.After(added) != want || safe.Before(before) {
				t.Errorf("SafeUntil is %s; the event was added before %s", safe, added)
			}
			events, bytes := d.InFlight("a")
			if isThere := !test.delivered && test.fault != "400"; (events == 1) != isThere || (bytes > 0) != isThere {
				t.Errorf("InFlight returned %d events of %d bytes; want %t", events, bytes, isThere)
			}
			if status := d.Status(); (status.Delivered == 1) != (test.delivered || test.fault == "400") || (status.SpooledEvents == 1) != test.spooled {
				t.Errorf("%+v", status)
			}
			if !d.Settle(t.Context(), "another") {
				t.Error("Settle fails for a session without events")
			}
		})
	}
}
