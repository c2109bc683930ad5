package event

import (
	"strconv"
	"time"
	"unicode/utf8"
)

// AppendTime appends a time in the contract's format, without quotes: UTC with microseconds
// and Z.
func AppendTime(out []byte, t time.Time) []byte {
	t = t.UTC()
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	out = appendDigits(out, year, 4)
	out = append(out, '-')
	out = appendDigits(out, int(month), 2)
	out = append(out, '-')
	out = appendDigits(out, day, 2)
	out = append(out, 'T')
	out = appendDigits(out, hour, 2)
	out = append(out, ':')
	out = appendDigits(out, minute, 2)
	out = append(out, ':')
	out = appendDigits(out, second, 2)
	out = append(out, '.')
	out = appendDigits(out, t.Nanosecond()/1000, 6)
	return append(out, 'Z')
}

func appendDigits(out []byte, n, digits int) []byte {
	var text [8]byte
	for i := digits - 1; i >= 0; i-- {
		text[i] = byte('0' + n%10)
		n /= 10
	}
	return append(out, text[:digits]...)
}

const hexDigits = "0123456789ABCDEF"

// AppendString appends a JSON string. It writes bytes that are not UTF-8, which file names
// may contain, as Python does (PEP 383): byte 0xE9 as the lone surrogate \udce9, so that a
// reader can restore the byte.
func AppendString(out []byte, s string) []byte {
	out = append(out, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= 0x20 && c < utf8.RuneSelf && c != '"' && c != '\\' && c != 0x7f {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			if r, size := utf8.DecodeRuneInString(s[i:]); r != utf8.RuneError || size > 1 {
				i += size
				continue
			}
		}
		out = append(out, s[start:i]...)
		switch {
		case c >= utf8.RuneSelf:
			out = append(out, `\udc`...)
			out = append(out, lower(c>>4), lower(c&15))
		case c == '"' || c == '\\':
			out = append(out, '\\', c)
		case c == '\n':
			out = append(out, `\n`...)
		case c == '\t':
			out = append(out, `\t`...)
		case c == '\r':
			out = append(out, `\r`...)
		default:
			out = append(out, `\u00`...)
			out = append(out, lower(c>>4), lower(c&15))
		}
		i++
		start = i
	}
	out = append(out, s[start:]...)
	return append(out, '"')
}

func lower(nibble byte) byte { return "0123456789abcdef"[nibble] }

// AppendHex appends bytes in the contract's format for content: upper-case hexadecimal,
// separated by spaces, without quotes.
func AppendHex(out, content []byte) []byte {
	for i, c := range content {
		if i > 0 {
			out = append(out, ' ')
		}
		out = append(out, hexDigits[c>>4], hexDigits[c&15])
	}
	return out
}

// object writes the members of a JSON object.
type object struct{ out []byte }

func begin(out []byte) object { return object{append(out, '{')} }

func (o *object) end() []byte { return append(o.out, '}') }

func (o *object) key(name string) {
	if o.out[len(o.out)-1] != '{' {
		o.out = append(o.out, ',')
	}
	o.out = append(o.out, '"')
	o.out = append(o.out, name...)
	o.out = append(o.out, '"', ':')
}

func (o *object) text(name, value string) {
	o.key(name)
	o.out = AppendString(o.out, value)
}

// some writes a text unless it is empty.
func (o *object) some(name, value string) {
	if value != "" {
		o.text(name, value)
	}
}

func (o *object) number(name string, value int64) {
	o.key(name)
	o.out = strconv.AppendInt(o.out, value, 10)
}

// positive writes a number if it is above zero.
func (o *object) positive(name string, value int64) {
	if value > 0 {
		o.number(name, value)
	}
}

func (o *object) flag(name string, value bool) {
	if value {
		o.key(name)
		o.out = append(o.out, "true"...)
	}
}

func (o *object) time(name string, t time.Time) {
	if !t.IsZero() {
		o.key(name)
		o.out = append(AppendTime(append(o.out, '"'), t), '"')
	}
}

func (o *object) object(name string, write func(*object)) {
	o.key(name)
	o.out = append(o.out, '{')
	write(o)
	o.out = append(o.out, '}')
}

func (o *object) texts(name string, values []string) {
	o.key(name)
	o.out = append(o.out, '[')
	for i, value := range values {
		if i > 0 {
			o.out = append(o.out, ',')
		}
		o.out = AppendString(o.out, value)
	}
	o.out = append(o.out, ']')
}
