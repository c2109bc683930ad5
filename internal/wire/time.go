package wire

import (
	"math"
	"strconv"
	"strings"
	"time"

	"ospulse/internal/jsonscan"
	"ospulse/internal/models"
)

// setEnvelopeTime sets the event's time from the envelope's timestamp, an RFC 3339 time
// or a number as epochBySize reads it. If it is unreadable, the event gets the time of
// receipt. TimestampText keeps the sent JSON, unless FormatTime returns the same text.
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
	t, ok := models.ParseTime(text)
	if !ok {
		t, ok = epochBySize(text)
	}
	if ok {
		e.Timestamp, e.TimestampSource = t, models.TimestampFromAgent
	}
	if sent := string(value); !ok || sent != `"`+models.FormatTime(t)+`"` {
		e.TimestampText = &sent // as JSON, in which a NUL is escaped, so every text column accepts it
	}
	return nil
}

// epochBySize reads a JSON number of seconds, milliseconds, microseconds or nanoseconds
// since 1970. The size decides the unit: below 1e11 seconds (until the year 5138),
// below 1e14 milliseconds, below 1e17 microseconds. The result is UTC, truncated to
// microseconds.
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
		return models.InRange(time.UnixMicro(n).UTC())
	}
	return models.InRange(time.Unix(0, n).UTC().Truncate(time.Microsecond))
}

// setEpochTime sets the event's time from a number of units since 1970, rounded to
// microseconds. It also reads numbers and RFC 3339 times in strings.
func setEpochTime(e *models.Event, value []byte, unit time.Duration, now time.Time) {
	text := string(value)
	if jsonscan.Kind(value) == '"' {
		text = jsonscan.Unquote(value)
	}
	t, ok := EpochTime(text, unit)
	if !ok {
		t, ok = models.ParseTime(text)
	}
	if !ok {
		setReceiptTime(e, now)
		return
	}
	e.Timestamp, e.TimestampSource = t, models.TimestampFromAgent
}

// EpochTime parses a number of units since 1970 as a float64, because the clients write
// one: the microseconds of seconds are exact until the year 2242. It rounds the
// fraction separately, because the product of the whole number would be rounded twice.
func EpochTime(text string, unit time.Duration) (time.Time, bool) {
	f, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	micros := float64(unit / time.Microsecond)
	if err != nil || !(math.Abs(f)*micros < 1<<62) { // also false for NaN
		return time.Time{}, false
	}
	whole, fraction := math.Modf(f)
	return models.InRange(time.UnixMicro(int64(whole)*int64(micros) + int64(math.Round(fraction*micros))).UTC())
}

func setReceiptTime(e *models.Event, now time.Time) {
	e.Timestamp, e.TimestampSource = now.UTC().Truncate(time.Microsecond), models.TimestampFromReceipt
}
