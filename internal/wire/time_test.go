package wire_test

import (
	"math/big"
	"testing"
	"time"

	"ospulse/internal/jsonscan"
	"ospulse/internal/models"
	"ospulse/internal/wire"
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
		"leap second":             {"2016-12-31T23:59:60Z", refused},
		"epoch":                   {"1795374137", refused},
		"words":                   {"yesterday", refused},
		"empty":                   {"", refused},
		"letter that grows upper": {"ŉ026-11-22 18:57:39", refused},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			parsed, ok := wire.ParseTime(tt.text)
			got := refused
			if ok {
				got = wire.FormatTime(parsed)
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
			if got := wire.FormatTime(tt.t); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestPacketTime(t *testing.T) {
	tests := map[string]struct{ sent, want string }{
		"microseconds":           {"1795374137.906492", "2026-11-22T19:02:17.906492Z"},
		"rounded down":           {"1795374137.9753144", "2026-11-22T19:02:17.975314Z"}, // as one product of floats it would be rounded twice, up
		"rounded up":             {"1795374137.9753096", "2026-11-22T19:02:17.975310Z"},
		"to the next second":     {"1795374137.9999996", "2026-11-22T19:02:18Z"},
		"whole":                  {"1795374137", "2026-11-22T19:02:17Z"},
		"exponent":               {"1.795374137e9", "2026-11-22T19:02:17Z"},
		"in a string":            {`"1795374137.906492"`, "2026-11-22T19:02:17.906492Z"},
		"before 1970":            {"-0.000001", "1969-12-31T23:59:59.999999Z"},
		"last second":            {"253402300799", "9999-12-31T23:59:59Z"},
		"beyond the years":       {"253402300800", wire.FormatTime(receipt)},
		"long before them":       {"-62135596801", wire.FormatTime(receipt)},
		"1e18":                   {"1e18", wire.FormatTime(receipt)},
		"beyond 64 bit":          {"9223372036854775808", wire.FormatTime(receipt)},
		"beyond floats":          {"1e400", wire.FormatTime(receipt)},
		"no number, in a string": {`"NaN"`, wire.FormatTime(receipt)},
		"infinity":               {`"-Infinity"`, wire.FormatTime(receipt)},
		"null":                   {"null", wire.FormatTime(receipt)},
		"boolean":                {"true", wire.FormatTime(receipt)},
		"object":                 {"{}", wire.FormatTime(receipt)},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			packets, _, err := wire.Packets([]byte(`{"events":[{"timestamp":`+tt.sent+`}]}`), receipt)
			if err != nil || len(packets) != 1 {
				t.Fatal(packets, err)
			}
			p := packets[0]
			if got := wire.FormatTime(p.Timestamp); got != tt.want || (p.TimestampSource == models.TimestampFromReceipt) != (tt.want == wire.FormatTime(receipt)) {
				t.Errorf("got %s (%s), want %s", got, p.TimestampSource, tt.want)
			}
		})
	}
}

// TestPacketsKeepMicroseconds holds for every recorded packet that no microsecond
// is nearer to the digits that were sent than the stored one.
func TestPacketsKeepMicroseconds(t *testing.T) {
	half := big.NewRat(1, 2)
	checked := 0
	for _, e := range fixtureEvents(t) {
		if e.EventType != models.TypePacket {
			continue
		}
		sent, ok := new(big.Rat).SetString(string(jsonscan.Get(e.Data, "timestamp")))
		if !ok {
			t.Fatalf("no number: %s", e.Data)
		}
		off := new(big.Rat).Mul(sent, big.NewRat(1e6, 1))
		off.Sub(off, new(big.Rat).SetInt64(e.Timestamp.UnixMicro()))
		if off.Abs(off).Cmp(half) > 0 {
			t.Errorf("%s s is stored as %v: %s µs off", sent.FloatString(9), e.Timestamp, off.FloatString(3))
		}
		checked++
	}
	if checked != 936 {
		t.Errorf("checked %d packets, want 936", checked)
	}
}
