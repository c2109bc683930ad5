package service

import (
	"log/slog"
	"testing"
	"testing/synctest"
	"time"
)

func TestPatientClock(t *testing.T) {
	const day = 24 * time.Hour
	for name, test := range map[string]struct {
		off  time.Duration // how long the backend did not run
		step time.Duration // of the clock, a minute later
		back bool          // the step is undone after half an hour
		want []time.Duration
	}{
		// The clock's time minus the right one: at first, and 1, 32 and 120 minutes later.
		"steady":          {want: []time.Duration{0, 0, 0, 0}},
		"a short pause":   {off: 20 * time.Hour, want: []time.Duration{0, 0, 0, 0}},
		"a long pause":    {off: 30 * day, want: []time.Duration{-30 * day, -30 * day, -30 * day, 0}},
		"a small step":    {step: time.Hour, want: []time.Duration{0, time.Hour, time.Hour, time.Hour}},
		"a jump":          {step: 365 * day, want: []time.Duration{0, 0, 0, 365 * day}},
		"a passing jump":  {step: 365 * day, back: true, want: []time.Duration{0, 0, 0, 0}},
		"a step back":     {step: -365 * day, want: []time.Duration{0, -365 * day, -365 * day, -365 * day}},
		"a passing error": {step: -365 * day, back: true, want: []time.Duration{0, -365 * day, -365 * day, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var wrong time.Duration
				clock := PatientClock(func() time.Time { return time.Now().Add(wrong).Round(0) }, time.Now().Add(-test.off), slog.New(slog.DiscardHandler))
				began := time.Now()
				for i, at := range []time.Duration{0, time.Minute, 32 * time.Minute, 2 * time.Hour} {
					for time.Since(began) < at {
						<-time.After(time.Minute)
						if time.Since(began) == time.Minute {
							wrong = test.step
						}
						if test.back && time.Since(began) == 31*time.Minute {
							wrong = 0
						}
						clock()
					}
					if got := time.Until(clock()); got != test.want[i] {
						t.Errorf("after %s the clock is off by %s, want %s", at, got, test.want[i])
					}
				}
			})
		})
	}
}
