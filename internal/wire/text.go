package wire

import (
	"strconv"
	"time"
	"unicode/utf8"
)

const hexDigits = "0123456789abcdef"

// appendText appends a JSON string, the same bytes that encoding/json gives for
// it; an export of millions of events would spend most of its time there.
func appendText(out []byte, s string) []byte {
	out = append(out, '"')
	done := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			switch {
			case r == utf8.RuneError && size == 1:
				out = append(append(out, s[done:i]...), `\ufffd`...)
				done = i + size
			case r == '\u2028' || r == '\u2029': // line ends to JavaScript
				out = append(append(out, s[done:i]...), `\u202`...)
				out = append(out, hexDigits[r&0xf])
				done = i + size
			}
			i += size
			continue
		}
		if c < ' ' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			out = appendEscape(append(out, s[done:i]...), c)
			done = i + 1
		}
		i++
	}
	return append(append(out, s[done:]...), '"')
}

func appendEscape(out []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(out, '\\', c)
	case '\b':
		return append(out, '\\', 'b')
	case '\f':
		return append(out, '\\', 'f')
	case '\n':
		return append(out, '\\', 'n')
	case '\r':
		return append(out, '\\', 'r')
	case '\t':
		return append(out, '\\', 't')
	default:
		return append(out, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&0xf])
	}
}

// appendTextOrNull appends a JSON string, or null.
func appendTextOrNull(out []byte, s *string) []byte {
	if s == nil {
		return append(out, "null"...)
	}
	return appendText(out, *s)
}

// appendNumberOrNull appends a JSON number, or null.
func appendNumberOrNull(out []byte, n *int64) []byte {
	if n == nil {
		return append(out, "null"...)
	}
	return strconv.AppendInt(out, *n, 10)
}

// AppendTime appends what FormatTime gives.
func AppendTime(out []byte, t time.Time) []byte {
	t = t.UTC()
	year, month, day := t.Date()
	if year < 0 || year > 9999 { // no time that came in
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
