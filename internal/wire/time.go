package wire

import (
	"math"
	"strconv"
	"strings"
	"time"

	"ospulse/internal/jsonscan"
	"ospulse/internal/models"
)

// The years that RFC 3339 and both databases can write.
var (
	minTime = time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC)
	maxTime = time.Date(9999, 12, 31, 23, 59, 59, 999_999_999, time.UTC)
)

// FormatTime writes a time as the controllers do: UTC, six digits of fraction,
// none at all when it is zero.
func FormatTime(t time.Time) string {
	if t = t.UTC(); t.Nanosecond()/1000 == 0 {
		return t.Format("2006-01-02T15:04:05Z")
	}
	return t.Format("2006-01-02T15:04:05.000000Z")
}

// ParseTime reads an RFC 3339 time, forgiving what clients leave out or vary: no
// zone is UTC, offsets may lack their colon or minutes, a space may stand for
// the T. A leap second, 23:59:60 of UTC, is the second before 00:00:00. The result is
// UTC, cut to microseconds.
func ParseTime(text string) (time.Time, bool) {
	text = strings.ToUpper(strings.TrimSpace(text))
	if len(text) > 10 && text[10] == ' ' {
		text = text[:10] + "T" + text[11:]
	}
	if len(text) >= 19 && text[16:19] == ":60" {
		t, ok := ParseTime(text[:16] + ":59" + text[19:])
		return t, ok && t.Hour() == 23 && t.Minute() == 59
	}
	for _, layout := range []string{
		"2006-01-02T15:04:05Z07:00", "2006-01-02T15:04:05", "2006-01-02T15:04:05Z0700",
		"2006-01-02T15:04:05Z07", "2006-01-02T15:04Z07:00", "2006-01-02T15:04",
	} {
		if t, err := time.Parse(layout, text); err == nil { // a fraction is read without being in the layout
			return inRange(t.UTC().Truncate(time.Microsecond))
		}
	}
	return time.Time{}, false
}

func inRange(t time.Time) (time.Time, bool) {
	return t, !t.Before(minTime) && !t.After(maxTime)
}

// setEnvelopeTime sets the event's time from the envelope's timestamp, an RFC 3339
// time or a number as epochBySize reads it. One that cannot be read costs no event:
// the time of receipt stands in. TimestampText keeps what was sent, as JSON, unless
// FormatTime gives that same text.
func setEnvelopeTime(e *models.Event, value []byte, now time.Time) error {
	if len(value) > models.MaxTimestampLen {
		return invalid("timestamp is %d bytes long; at most %d are taken", len(value), models.MaxTimestampLen)
	}
	setReceiptTime(e, now)
	if jsonscan.Empty(value) {
		return nil
	}
	text := string(value)
	if jsonscan.Kind(value) == '"' {
		text = jsonscan.Unquote(value)
	}
	t, ok := ParseTime(text)
	if !ok {
		t, ok = epochBySize(text)
	}
	if ok {
		e.Timestamp, e.TimestampSource = t, models.TimestampFromAgent
	}
	if sent := string(value); !ok || sent != `"`+FormatTime(t)+`"` {
		e.TimestampText = &sent // as JSON, where a NUL is an escape: fit for any text column
	}
	return nil
}

// epochBySize reads a JSON number of seconds, milliseconds, microseconds or
// nanoseconds since 1970. Its size tells the unit: below 1e11 it is seconds (until
// the year 5138), below 1e14 milliseconds, below 1e17 microseconds. The result is
// UTC, cut to microseconds.
func epochBySize(text string) (time.Time, bool) {
	number := []byte(strings.TrimSpace(text))
	if kind := jsonscan.Kind(number); kind != '-' && (kind < '0' || kind > '9') {
		return time.Time{}, false
	}
	if _, err := jsonscan.Check(number); err != nil { // a string may hold 0x10 or 1_000
		return time.Time{}, false
	}
	f, err := strconv.ParseFloat(string(number), 64)
	size := math.Abs(f)
	switch {
	case err != nil || size >= 1<<63:
		return time.Time{}, false
	case size < 1e11:
		return EpochTime(text, time.Second)
	case size < 1e14:
		return EpochTime(text, time.Millisecond)
	}
	n, ok := jsonscan.Integer(number)
	if !ok {
		n = int64(f)
	}
	if size < 1e17 {
		return inRange(time.UnixMicro(n).UTC())
	}
	return inRange(time.Unix(0, n).UTC().Truncate(time.Microsecond))
}

// setEpochTime sets the event's time from a number of units since 1970, rounded
// to microseconds; numbers and RFC 3339 times in strings are read too.
func setEpochTime(e *models.Event, value []byte, unit time.Duration, now time.Time) {
	text := string(value)
	if jsonscan.Kind(value) == '"' {
		text = jsonscan.Unquote(value)
	}
	t, ok := EpochTime(text, unit)
	if !ok {
		t, ok = ParseTime(text)
	}
	if !ok {
		setReceiptTime(e, now)
		return
	}
	e.Timestamp, e.TimestampSource = t, models.TimestampFromAgent
}

// EpochTime reads through a float64, as the clients write through one: the
// microseconds of seconds are exact until the year 2242. The fraction is rounded
// on its own, for the product of the whole number would be rounded twice.
func EpochTime(text string, unit time.Duration) (time.Time, bool) {
	f, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	micros := float64(unit / time.Microsecond)
	if err != nil || !(math.Abs(f)*micros < 1<<62) { // also false for NaN
		return time.Time{}, false
	}
	whole, fraction := math.Modf(f)
	return inRange(time.UnixMicro(int64(whole)*int64(micros) + int64(math.Round(fraction*micros))).UTC())
}

func setReceiptTime(e *models.Event, now time.Time) {
	e.Timestamp, e.TimestampSource = now.UTC().Truncate(time.Microsecond), models.TimestampFromReceipt
}
