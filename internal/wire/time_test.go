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

// TestEnvelopeTime holds that a time which an event is sent with can be had back:
// either timestamp reads so, or timestamp_text has what was sent.
func TestEnvelopeTime(t *testing.T) {
	received := wire.FormatTime(receipt)
	for sent, want := range map[string]string{ // the text is kept unless it is the one wanted
		`"2026-11-28T12:00:00Z"`:           "2026-11-28T12:00:00Z",
		`"2026-11-28T12:00:00.123456Z"`:    "2026-11-28T12:00:00.123456Z",
		`"2026-11-28T12:00:00.000000Z"`:    "2026-11-28T12:00:00Z",
		`"2026-11-28T12:00:00.123Z"`:       "2026-11-28T12:00:00.123000Z",
		`"2026-11-28T12:00:00.123456789Z"`: "2026-11-28T12:00:00.123456Z",
		`"2026-11-28T12:00:00.123456000Z"`: "2026-11-28T12:00:00.123456Z",
		`"2026-11-28T14:00:00+05:30"`:      "2026-11-28T08:30:00Z",
		`"2026-11-28T12:00:00+00:00"`:      "2026-11-28T12:00:00Z",
		`"2026-11-28T12:00:00"`:            "2026-11-28T12:00:00Z",
		`"2026-11-28 12:00:00z"`:           "2026-11-28T12:00:00Z",
		`"2026-11-28T12:00:00\u005a"`:      "2026-11-28T12:00:00Z",
		`"2026-11-28T23:59:60Z"`:           "2026-11-28T23:59:59Z",
		`"2026-11-28T12:00:60Z"`:           received,
		`1764331200`:                       "2025-11-28T12:00:00Z",
		`1764331200.123456789`:             "2025-11-28T12:00:00.123457Z",
		`1764331200123`:                    "2025-11-28T12:00:00.123000Z",
		`1764331200123.0`:                  "2025-11-28T12:00:00.123000Z",
		`1764331200123.4567`:               "2025-11-28T12:00:00.123457Z",
		`1764331200123456`:                 "2025-11-28T12:00:00.123456Z",
		`1.764331200123456e15`:             "2025-11-28T12:00:00.123456Z",
		`1764331200123456.7`:               "2025-11-28T12:00:00.123456Z",
		`1764331200123456789`:              "2025-11-28T12:00:00.123456Z",
		`1764331200123456000`:              "2025-11-28T12:00:00.123456Z",
		`"1764331200123"`:                  "2025-11-28T12:00:00.123000Z",
		`0`:                                "1970-01-01T00:00:00Z",
		`-1`:                               "1969-12-31T23:59:59Z",
		`-1764331200123456789`:             "1914-02-03T11:59:59.876543Z",
		`1e19`:                             received,
		`1e400`:                            received,
		`-1e19`:                            received,
		`"0x10"`:                           received,
		`"1_0"`:                            received,
		`"NaN"`:                            received,
		`"Infinity"`:                       received,
		`"yesterday\u0000"`:                received,
		`""`:                               received,
		`true`:                             received,
		`{"$date":1764331200123}`:          received,
	} {
		in, err := wire.Event([]byte(`{"event_type":"x","timestamp":`+sent+`}`), receipt)
		if err != nil {
			t.Fatal(sent, err)
		}
		got, text := wire.FormatTime(in.Timestamp), deref(in.TimestampText)
		if got != want || (in.TimestampSource == models.TimestampFromAgent) != (want != received) {
			t.Errorf("%s is %s (%s), want %s", sent, got, in.TimestampSource, want)
		}
		if readsSo := sent == `"`+want+`"`; readsSo && text != "" || !readsSo && text != sent {
			t.Errorf("%s comes back as %s and %q", sent, got, text)
		}
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
