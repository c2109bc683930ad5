package models_test

import (
	"testing"
	"time"

	"ospulse/internal/models"
)

func TestParseTime(t *testing.T) {
	const whole, refused = "2026-11-22T18:57:39Z", ""
	tests := map[string]struct{ text, want string }{
		"controller":              {"2026-11-22T18:57:39.916883Z", "2026-11-22T18:57:39.916883Z"},
		"no fraction":             {"2026-11-22T18:57:39Z", whole},
		"milliseconds":            {"2026-11-22T18:57:39.966Z", "2026-11-22T18:57:39.966000Z"},
		"nanoseconds are cut":     {"2026-11-22T18:57:39.999999999Z", "2026-11-22T18:57:39.999999Z"},
		"offset":                  {"2026-11-22T20:27:39+01:30", whole},
		"offset without colon":    {"2026-11-22T17:27:39-0130", whole},
		"offset of hours":         {"2026-11-22T20:57:39+02", whole},
		"no zone":                 {"2026-11-22T18:57:39", whole},
		"no zone, fraction":       {"2026-11-22T18:57:39.5", "2026-11-22T18:57:39.500000Z"},
		"no seconds":              {"2026-11-22T18:57Z", "2026-11-22T18:57:00Z"},
		"no seconds, no zone":     {"2026-11-22T18:57", "2026-11-22T18:57:00Z"},
		"space for T":             {"2026-11-22 18:57:39", whole},
		"small letters, space":    {" 2026-11-22t18:57:39z ", whole},
		"first year":              {"0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"},
		"last year":               {"9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"},
		"before the first year":   {"0001-01-01T00:00:00+00:01", refused},
		"year 0":                  {"0000-12-31T23:59:59.999999Z", refused},
		"after the last year":     {"9999-12-31T23:59:59-00:01", refused},
		"five digits of year":     {"10000-01-01T00:00:00Z", refused},
		"date only":               {"2026-11-22", refused},
		"no such day":             {"2026-02-30T00:00:00Z", refused},
		"leap second":             {"2016-12-31T23:59:60Z", "2016-12-31T23:59:59Z"},
		"leap second, fraction":   {"2016-12-31T23:59:60.5Z", "2016-12-31T23:59:59.500000Z"},
		"leap second elsewhere":   {"2017-01-01T05:29:60+05:30", "2016-12-31T23:59:59Z"},
		"leap second, no zone":    {"2016-12-31 23:59:60", "2016-12-31T23:59:59Z"},
		"last leap second":        {"9999-12-31T23:59:60Z", "9999-12-31T23:59:59Z"},
		"second 60 at noon":       {"2016-12-31T12:00:60Z", refused},
		"second 60 of a zone":     {"2016-12-31T23:59:60+05:30", refused},
		"second 61":               {"2016-12-31T23:59:61Z", refused},
		"epoch":                   {"1795374137", refused},
		"words":                   {"yesterday", refused},
		"empty":                   {"", refused},
		"letter that grows upper": {"ŉ026-11-22 18:57:39", refused},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			parsed, ok := models.ParseTime(tt.text)
			got := refused
			if ok {
				got = models.FormatTime(parsed)
			}
			if got != tt.want || ok && parsed.Location() != time.UTC {
				t.Errorf("got %q in %v, want %q", got, parsed.Location(), tt.want)
			}
		})
	}
}

func TestFormatTime(t *testing.T) {
	at := time.Date(2026, 11, 22, 18, 57, 39, 0, time.UTC)
	tests := map[string]struct {
		t    time.Time
		want string
	}{
		"whole second":        {at, "2026-11-22T18:57:39Z"},
		"six digits":          {at.Add(10 * time.Microsecond), "2026-11-22T18:57:39.000010Z"},
		"less than they hold": {at.Add(999), "2026-11-22T18:57:39Z"},
		"other zone":          {at.In(time.FixedZone("", -3600)), "2026-11-22T18:57:39Z"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := models.FormatTime(tt.t); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}
