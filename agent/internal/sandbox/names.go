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

// charset is an encoding of the names in archives, most of which do not say theirs.
type charset struct {
	name     string
	encoding encoding.Encoding
}

// The charsets that are guessed. zipDefault is the one that the format names.
var (
	shiftJIS   = charset{"Shift-JIS", japanese.ShiftJIS}
	gbk        = charset{"GBK", simplifiedchinese.GBK}
	zipDefault = charset{"CP437", charmap.CodePage437}
)

// charsets are those in which the user may give the name of an entry.
var charsets = []charset{ //nolint:gochecknoglobals // a table of constants
	shiftJIS, gbk, zipDefault, {"Big5", traditionalchinese.Big5}, {"EUC-JP", japanese.EUCJP}, {"EUC-KR", korean.EUCKR},
	{"CP866", charmap.CodePage866}, {"Windows-1251", charmap.Windows1251}, {"Windows-1252", charmap.Windows1252},
}

// decode gives the text of a name; ok is false if the name is not in this charset.
func (c charset) decode(raw string) (text string, ok bool) {
	text, err := c.encoding.NewDecoder().String(raw)
	return text, err == nil && !strings.ContainsRune(text, utf8.RuneError)
}

// guessCharset gives the charset that the names of an archive are most likely in. All
// of them are not UTF-8.
func guessCharset(names []string) charset {
	best, most := zipDefault, 0
	for _, c := range []struct {
		charset
		usual func(lead, trail byte) bool // the characters that most texts are made of
	}{
		// Kana and the kanji of level 1 and 2; the trail bytes of GBK's usual
		// characters are never below 0xA1.
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

// evidence counts the usual characters of two bytes. One that stands alone between
// ASCII and ends in ASCII is none: it may as well be an accent of CP437. What is not
// usual counts against the charset.
func evidence(name string, usual func(lead, trail byte) bool) (score int) {
	var previous bool // a character of two bytes
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
	charset *charset // of what is not UTF-8; nil until there is such a name
}

// learn chooses the charset by all names of an archive.
func (d *decoder) learn(names []string) {
	names = slices.DeleteFunc(slices.Clone(names), utf8.ValidString)
	if len(names) > 0 {
		c := guessCharset(names)
		d.charset = &c
	}
}

// decode gives a name as text.
func (d *decoder) decode(raw string) string {
	if utf8.ValidString(raw) {
		return raw
	}
	if d.charset == nil {
		d.learn([]string{raw})
	}
	text, ok := d.charset.decode(raw)
	if !ok {
		text, _ = zipDefault.decode(raw) // which has a character for each byte
	}
	return text
}

// listed gives a name as a list of names has it: quoted if its characters cannot be
// told from others, or are not kept on the way.
func listed(name string) string {
	plain := name == strings.Join(strings.Fields(name), " ") && !strings.Contains(name, ", ") && !strings.HasPrefix(name, `"`)
	if plain && strings.IndexFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }) < 0 {
		return name
	}
	return strings.ReplaceAll(strconv.Quote(name), "  ", ` \x20`)
}

// isNamed reports whether the user means a name of an archive: by the name as it is
// shown, or as it is in another charset or form of Unicode.
func isNamed(asked, name, raw string) bool {
	if asked == listed(name) || norm.NFC.String(clean(asked)) == norm.NFC.String(name) {
		return true
	}
	return !utf8.ValidString(raw) && slices.ContainsFunc(charsets, func(c charset) bool {
		text, ok := c.decode(raw)
		return ok && clean(text) == clean(asked)
	})
}
