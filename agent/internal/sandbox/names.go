//go:build linux

package sandbox

import (
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/korean"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/traditionalchinese"
	"golang.org/x/text/unicode/norm"
)

// charset is an encoding of names. Most archives do not state which one they use.
type charset struct {
	name     string
	encoding encoding.Encoding
}

// The charsets that guessCharset returns. zipDefault is the one in the specification of
// zip.
var (
	shiftJIS   = charset{"Shift-JIS", japanese.ShiftJIS}
	gbk        = charset{"GBK", simplifiedchinese.GBK}
	zipDefault = charset{"CP437", charmap.CodePage437}
)

// charsets lists the charsets in which isNamed reads the name of an entry.
var charsets = []charset{ //nolint:gochecknoglobals // a table of constants
	shiftJIS, gbk, zipDefault, {"Big5", traditionalchinese.Big5}, {"EUC-JP", japanese.EUCJP}, {"EUC-KR", korean.EUCKR},
	{"CP866", charmap.CodePage866}, {"Windows-1251", charmap.Windows1251}, {"Windows-1252", charmap.Windows1252},
}

// decode decodes a name. ok is false if the name is not valid in this charset.
func (c charset) decode(raw string) (text string, ok bool) {
	text, err := c.encoding.NewDecoder().String(raw)
	return text, err == nil && !strings.ContainsRune(text, utf8.RuneError)
}

// guessCharset returns the most likely charset of names that are not UTF-8.
func guessCharset(names []string) charset {
	best, most := zipDefault, 0
	for _, c := range []struct {
		charset
		usual func(lead, trail byte) bool // reports a frequent character
	}{
		// Shift-JIS: kana and kanji of levels 1 and 2. GBK: its frequent characters
		// have no trail byte below 0xA1.
		{shiftJIS, func(lead, trail byte) bool {
			return lead == 0x82 && trail >= 0x9f || lead == 0x83 && trail <= 0x96 || lead >= 0x88 && lead <= 0x9f || lead >= 0xe0 && lead <= 0xea
		}},
		{gbk, func(lead, trail byte) bool { return lead >= 0xb0 && lead <= 0xf7 && trail >= 0xa1 }},
	} {
		score, isValid := 0, true
		for _, name := range names {
			if _, ok := c.decode(name); !ok {
				isValid = false
			}
			score += evidence(name, c.usual)
		}
		if isValid && score > most {
			best, most = c.charset, score
		}
	}
	return best
}

// evidence scores how well a name fits a charset. Frequent characters of two bytes count
// for the charset, other ones count against it. A single character between ASCII whose
// trail byte is ASCII counts for nothing: it may be an accented letter of CP437.
func evidence(name string, usual func(lead, trail byte) bool) (score int) {
	var previous bool // the previous character has two bytes
	for i := 0; i < len(name); i++ {
		if name[i] < 0x80 || i+1 == len(name) {
			previous = false
			continue
		}
		lead, trail := name[i], name[i+1]
		next := i+2 < len(name) && name[i+2] >= 0x80
		switch {
		case !usual(lead, trail):
			score--
		case trail >= 0x80 || previous || next:
			score += 2
		}
		previous = true
		i++
	}
	return score
}

// decoder decodes the names of one archive.
type decoder struct {
	charset *charset // of names that are not UTF-8; nil until there is one
}

// learn chooses the charset from all names of an archive.
func (d *decoder) learn(names []string) {
	names = slices.DeleteFunc(slices.Clone(names), utf8.ValidString)
	if len(names) > 0 {
		c := guessCharset(names)
		d.charset = &c
	}
}

// decode returns a name as text.
func (d *decoder) decode(raw string) string {
	if utf8.ValidString(raw) {
		return raw
	}
	if d.charset == nil {
		d.learn([]string{raw})
	}
	text, ok := d.charset.decode(raw)
	if !ok {
		text, _ = zipDefault.decode(raw) // CP437 has a character for every byte
	}
	return text
}

// listed returns a name for a list of names. It quotes a name with characters that are
// invisible, that end a name in the list, or that the backend or a browser changes.
func listed(name string) string {
	plain := name == strings.Join(strings.Fields(name), " ") && !strings.Contains(name, ", ") && !strings.HasPrefix(name, `"`)
	if plain && strings.IndexFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }) < 0 {
		return name
	}
	return strings.ReplaceAll(strconv.Quote(name), "  ", ` \x20`)
}

// isNamed reports whether asked means the entry: it is the listed name, or the name in
// another form of Unicode or another charset.
func isNamed(asked, name, raw string) bool {
	if asked == listed(name) || norm.NFC.String(clean(asked)) == norm.NFC.String(name) {
		return true
	}
	return !utf8.ValidString(raw) && slices.ContainsFunc(charsets, func(c charset) bool {
		text, ok := c.decode(raw)
		return ok && clean(text) == clean(asked)
	})
}
