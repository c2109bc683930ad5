package wire_test

import (
	"math/big"
	"testing"

	"ospulse/internal/jsonscan"
	"ospulse/internal/models"
	"ospulse/internal/wire"
)

// TestEnvelopeTime checks that the time which a client sent can be recovered: either
// timestamp has the same text, or timestamp_text has the original.
func TestEnvelopeTime(t *testing.T) {
	received := models.FormatTime(receipt)
	for sent, want := range map[string]string{ // the text is kept if it differs from want
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
		got, text := models.FormatTime(in.Timestamp), deref(in.TimestampText)
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
		"rounded down":           {"1795374137.9753144", "2026-11-22T19:02:17.975314Z"}, // rounded down; a single product of floats would be rounded twice, and up
		"rounded up":             {"1795374137.9753096", "2026-11-22T19:02:17.975310Z"},
		"to the next second":     {"1795374137.9999996", "2026-11-22T19:02:18Z"},
		"whole":                  {"1795374137", "2026-11-22T19:02:17Z"},
		"exponent":               {"1.795374137e9", "2026-11-22T19:02:17Z"},
		"in a string":            {`"1795374137.906492"`, "2026-11-22T19:02:17.906492Z"},
		"before 1970":            {"-0.000001", "1969-12-31T23:59:59.999999Z"},
		"last second":            {"253402300799", "9999-12-31T23:59:59Z"},
		"beyond the years":       {"253402300800", models.FormatTime(receipt)},
		"long before them":       {"-62135596801", models.FormatTime(receipt)},
		"1e18":                   {"1e18", models.FormatTime(receipt)},
		"beyond 64 bit":          {"9223372036854775808", models.FormatTime(receipt)},
		"beyond floats":          {"1e400", models.FormatTime(receipt)},
		"no number, in a string": {`"NaN"`, models.FormatTime(receipt)},
		"infinity":               {`"-Infinity"`, models.FormatTime(receipt)},
		"null":                   {"null", models.FormatTime(receipt)},
		"boolean":                {"true", models.FormatTime(receipt)},
		"object":                 {"{}", models.FormatTime(receipt)},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			packets, _, err := wire.Packets([]byte(`{"events":[{"timestamp":`+tt.sent+`}]}`), receipt)
			if err != nil || len(packets) != 1 {
				t.Fatal(packets, err)
			}
			p := packets[0]
			if got := models.FormatTime(p.Timestamp); got != tt.want || (p.TimestampSource == models.TimestampFromReceipt) != (tt.want == models.FormatTime(receipt)) {
				t.Errorf("got %s (%s), want %s", got, p.TimestampSource, tt.want)
			}
		})
	}
}

// TestPacketsKeepMicroseconds checks for every recorded packet that no other
// microsecond is nearer to the digits that were sent than the stored one.
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
