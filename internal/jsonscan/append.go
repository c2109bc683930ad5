package jsonscan

import (
	"bytes"
	"unicode/utf8"
)

const hexDigits = "0123456789abcdef"

// AppendText appends a JSON string, byte for byte as encoding/json writes it. It is
// faster: an export of millions of events would spend most of its time in encoding/json.
func AppendText(out []byte, s string) []byte {
	out = append(out, '"')
	done := 0
	for i := 0; i < len(s); {
		c := s[i]
		if isPlain[c] {
			i++
			continue
		}
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
		out = appendEscape(append(out, s[done:i]...), c)
		i++
		done = i
	}
	return append(append(out, s[done:]...), '"')
}

// isPlain tells the bytes that AppendText writes as they are.
var isPlain = func() (plain [256]bool) { //nolint:gochecknoglobals // a constant
	for c := ' '; c < utf8.RuneSelf; c++ {
		plain[c] = c != '"' && c != '\\' && c != '<' && c != '>' && c != '&'
	}
	return plain
}()

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

// AppendOneLine appends JSON text without its line breaks. A line break in JSON is white
// space between values, so a blank replaces it. A string cannot contain one.
func AppendOneLine(out, value []byte) []byte {
	start := len(out)
	out = append(out, value...)
	for _, lineBreak := range [...]byte{'\n', '\r'} {
		for rest := out[start:]; ; {
			i := bytes.IndexByte(rest, lineBreak)
			if i < 0 {
				break
			}
			rest[i] = ' '
			rest = rest[i+1:]
		}
	}
	return out
}
