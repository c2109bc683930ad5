package models

import (
	"strings"
	"time"
)

// FormatTime formats a time like the controllers: RFC 3339 in UTC, with six digits of
// fraction unless the fraction is zero.
func FormatTime(t time.Time) string {
	if t = t.UTC(); t.Nanosecond()/1000 == 0 {
		return t.Format("2006-01-02T15:04:05Z")
	}
	return t.Format("2006-01-02T15:04:05.000000Z")
}

// ParseTime reads an RFC 3339 time. It accepts what clients leave out or vary: a time
// without a zone is UTC, an offset may lack its colon or minutes, and a space may stand
// for the T. A leap second, 23:59:60 of UTC, is the second before 00:00:00. The result is
// UTC, truncated to microseconds.
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
			return InRange(t.UTC().Truncate(time.Microsecond))
		}
	}
	return time.Time{}, false
}

// InRange returns t, and whether RFC 3339 and both databases can write it: the years 1 to
// 9999.
func InRange(t time.Time) (time.Time, bool) {
	return t, !t.Before(minTime) && !t.After(maxTime)
}

// The years that RFC 3339 and both databases can write.
var (
	minTime = time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC)
	maxTime = time.Date(9999, 12, 31, 23, 59, 59, 999_999_999, time.UTC)
)

// AppendTime appends what FormatTime returns.
func AppendTime(out []byte, t time.Time) []byte {
	t = t.UTC()
	year, month, day := t.Date()
	if year < 0 || year > 9999 { // never a received time
		return append(out, FormatTime(t)...)
	}
	hour, minute, second := t.Clock()
	out = appendDigits(out, year, 4)
	out = appendDigits(append(out, '-'), int(month), 2)
	out = appendDigits(append(out, '-'), day, 2)
	out = appendDigits(append(out, 'T'), hour, 2)
	out = appendDigits(append(out, ':'), minute, 2)
	out = appendDigits(append(out, ':'), second, 2)
	if micros := t.Nanosecond() / 1000; micros != 0 {
		out = appendDigits(append(out, '.'), micros, 6)
	}
	return append(out, 'Z')
}

// appendDigits appends a number that is not negative with that many digits.
func appendDigits(out []byte, n, digits int) []byte {
	start := len(out)
	out = append(out, "000000"[:digits]...)
	for i := len(out) - 1; i >= start; i-- {
		out[i] = '0' + byte(n%10)
		n /= 10
	}
	return out
}
