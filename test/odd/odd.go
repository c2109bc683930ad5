// Package odd draws events and filters for property tests. Both are made of texts, numbers
// and keys that have a special meaning somewhere: in SQL, LIKE, JSON, PostgreSQL's arrays
// or the filter language.
package odd

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"pgregory.net/rapid"
)

// texts are used in both events and filters, so that they match: texts, and
// fragments of them, that have a special meaning in SQL, LIKE, JSON, PostgreSQL arrays
// and the filter language.
var texts = []string{
	"a", "B", "foo", "FOO", "Foo bar", "new", "temp", "C:\\Windows\\new\\temp.exe", "\\\\server\\share", "\\", "\"", "/", "'", "%", "_", "*", "?", "a%b", "a_b", "a*b", "[*]",
	"n", "t", "u", "ew", "emp", " foo", "\n", "\t", "\r\n", "\b\f", "\x01", "\x1f", "\x7f", "\\n", "\\u0041", "n foo", "u0041", "0041", "é", "É", "ä", "straße", "İ", "ſ", "K", "日本語", "😀", "\ufffd", "\u2028", "\u00a0",
	",", ", ", ": ", ":", "{", "}", "[", "]", "{}", "[]", "1, 2", "\"a\": 1", "a\": ", "null", "true", "false", "rue", "ul", "0", "1", "10", "1.5", "1.50", "15", "-1", "0.1", "e", "1e2", "100",
	"$.a", "' OR 1=1 --", "'); DROP TABLE events; --", "?", "$1", "@x", "\\\" OR TRUE", "{a,b}", "NULL", "http://evil.example/a?b=c&d=%20", "10.0.0.5:443", "and", "or", "not",
}

// numbers are JSON numbers.
var numbers = []string{
	"0", "-0", "0.0", "-0.0", "0e5", "0.00e1", "1", "1.0", "1.50", "1.5", "15e-1", "1.50e1", "15", "15.0", "-1", "-1.5", "1e2", "100", "1E+2", "0.1", "1e-1", "0.05e1", "12345678901234567890", "12345678901234567891", "1.2345678901234567890123",
	"9007199254740993", "9007199254740992", "1e400", "1e401", "-1e400", "1e-400", "1e-401", "9e99999", "123e-2", "4294967296", "9223372036854775807", "9223372036854775808", "0.1e1", "100e-2",
}

var keys = []string{"a", "b", "A", "list", "0", "1", "-1", " 1", "+1", "01", "odd key", "x.y", "q\"q", "", "\\", "é", "$", "[0]", "null", "a-b_c", "a'b", "{a}", "a,b", "\n", "metadata", "operation"}

// appendString writes a string with one of several ways to escape characters, as
// different clients do.
func appendString(t *rapid.T, b *strings.Builder, s string) {
	style := rapid.SampledFrom([]string{"plain", "plain", "ascii", "all", "slash"}).Draw(t, "style")
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case style == "all" || style == "ascii" && r > '~':
			if r > 0xffff {
				fmt.Fprintf(b, `\u%04X\u%04x`, 0xd800+(r-0x10000)>>10, 0xdc00+(r-0x10000)&0x3ff)
			} else {
				fmt.Fprintf(b, `\u%04x`, r)
			}
		case style == "slash" && r == '/':
			b.WriteString(`\/`)
		default:
			quoted, _ := json.Marshal(string(r))
			b.Write(quoted[1 : len(quoted)-1])
		}
	}
	// A Go string cannot represent these.
	b.WriteString(rapid.SampledFrom([]string{"", "", "", "", "", "", `\u0000`, `\ud800`, `\udc00x`, `\ud83d\ud83d\ude00`}).Draw(t, "raw"))
	b.WriteByte('"')
}

func anyText(t *rapid.T) string {
	return strings.Join(rapid.SliceOfN(rapid.SampledFrom(texts), 1, 3).Draw(t, "texts"), "")
}

func appendValue(t *rapid.T, b *strings.Builder, depth int) {
	space := func() { b.WriteString(rapid.SampledFrom([]string{"", "", "", " ", "\n\t"}).Draw(t, "space")) }
	kinds := []string{"string", "string", "number", "word", "object", "array"}
	if depth == 0 {
		kinds = kinds[:4]
	}
	space()
	switch rapid.SampledFrom(kinds).Draw(t, "kind") {
	case "string":
		appendString(t, b, anyText(t))
	case "number":
		b.WriteString(rapid.SampledFrom(numbers).Draw(t, "number"))
	case "word":
		b.WriteString(rapid.SampledFrom([]string{"null", "true", "false"}).Draw(t, "word"))
	case "object":
		appendObject(t, b, depth)
	case "array":
		b.WriteByte('[')
		for i := range rapid.IntRange(0, 3).Draw(t, "elements") {
			if i > 0 {
				b.WriteByte(',')
			}
			appendValue(t, b, depth-1)
		}
		b.WriteByte(']')
	}
	space()
}

func appendObject(t *rapid.T, b *strings.Builder, depth int) {
	b.WriteByte('{')
	for i := range rapid.IntRange(0, 4).Draw(t, "members") {
		if i > 0 {
			b.WriteByte(',')
		}
		appendString(t, b, rapid.SampledFrom(keys).Draw(t, "key")) // sometimes a duplicate
		b.WriteByte(':')
		appendValue(t, b, depth-1)
	}
	b.WriteByte('}')
}

// Event draws the body of an event as a client sends it.
func Event(t *rapid.T) string {
	var b strings.Builder
	b.WriteString(`{"event_type":`)
	eventType, _ := json.Marshal(rapid.SampledFrom([]string{"file_operation", "process_creation", "FOO", "a%b", "é"}).Draw(t, "type"))
	b.Write(eventType)
	b.WriteString(`,"timestamp":"2026-11-22T12:00:0` + strconv.Itoa(rapid.IntRange(0, 3).Draw(t, "second")) + `.5Z","source":"Source","data":`)
	switch rapid.IntRange(0, 9).Draw(t, "shape") {
	case 0: // any value
		appendValue(t, &b, 3)
	case 1: // deeper than the JSON functions of any database support
		levels := rapid.SampledFrom([]int{30, 899, 901, 1500, 3000}).Draw(t, "levels")
		b.WriteString(strings.Repeat(`{"a":[`, levels/2) + `"foo"` + strings.Repeat(`]}`, levels/2))
	default:
		b.WriteString(`{"a":`)
		appendValue(t, &b, 2)
		if rapid.Bool().Draw(t, "hot") {
			b.WriteString(`,"filePath":`)
			appendString(t, &b, anyText(t))
			b.WriteString(`,"operation":`)
			appendString(t, &b, anyText(t))
			b.WriteString(`,"metadata":{"processName":`)
			appendString(t, &b, anyText(t))
			b.WriteString(`,"processId":` + strconv.Itoa(rapid.IntRange(-1, 3).Draw(t, "pid")) + `}`)
		}
		b.WriteString(`,"b":`)
		appendObject(t, &b, 3)
		b.WriteByte('}')
	}
	b.WriteByte('}')
	return b.String()
}

func quoted(text string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text) + `"`
}

// bare returns a text without quotes where the language permits it.
func bare(t *rapid.T, text string) string {
	if strings.ContainsAny(text, " \t\r\n\u00a0()\"',") || strings.Contains(text, "&&") || text == "" || strings.ContainsAny(text[:1], ":=<>!") ||
		slices.Contains([]string{"and", "or", "not"}, text) {
		return quoted(text)
	}
	if rapid.Bool().Draw(t, "wild") {
		return rapid.SampledFrom([]string{"*", "?", "**"}).Draw(t, "wildcard") + text + rapid.SampledFrom([]string{"*", "?", "", "*foo?", "?*", "[**]"}).Draw(t, "wildcard")
	}
	return text
}

func path(t *rapid.T) string {
	text := "data"
	for i := range rapid.IntRange(1, 4).Draw(t, "steps") {
		key := rapid.SampledFrom(keys).Draw(t, "key")
		switch {
		case i == 0 && rapid.Bool().Draw(t, "a"):
			text += "." + rapid.SampledFrom([]string{"a", "b"}).Draw(t, "key")
		case rapid.IntRange(0, 3).Draw(t, "index") == 0:
			text += "[" + strconv.Itoa(rapid.IntRange(0, 2).Draw(t, "element")) + "]"
		default:
			text += "[" + quoted(key) + "]"
		}
	}
	return text
}

func test(t *rapid.T) string {
	word := func() string {
		if rapid.Bool().Draw(t, "quoted") {
			return quoted(anyText(t))
		}
		return bare(t, anyText(t))
	}
	compared := func(field string, values func() string) string {
		switch rapid.IntRange(0, 4).Draw(t, "comparison") {
		case 0:
			return field + " in (" + values() + ", " + values() + ")"
		case 1:
			return field + ": (" + values() + " or not " + values() + ")"
		case 2:
			return field + rapid.SampledFrom([]string{" contains ", " startswith ", " endswith ", " like "}).Draw(t, "comparison") + quoted(anyText(t))
		default:
			return field + rapid.SampledFrom([]string{" = ", ": ", " != "}).Draw(t, "comparison") + values()
		}
	}
	number := func() string { return rapid.SampledFrom(numbers).Draw(t, "number") }
	switch rapid.IntRange(0, 9).Draw(t, "test") {
	case 0, 1:
		return word()
	case 2:
		return compared(rapid.SampledFrom([]string{"type", "operation", "process", "target", "source"}).Draw(t, "field"), word)
	case 3:
		return "exists " + rapid.SampledFrom([]string{"pid", "time", "target", "process", path(t)}).Draw(t, "field")
	case 4:
		return rapid.SampledFrom([]string{"pid", "seq"}).Draw(t, "field") + rapid.SampledFrom([]string{" = ", " != ", " < ", " <= ", " > ", " >= "}).Draw(t, "comparison") + strconv.Itoa(rapid.IntRange(-1, 5).Draw(t, "integer"))
	case 5:
		return "time" + rapid.SampledFrom([]string{" = ", " != ", " < ", " <= ", " > ", " >= "}).Draw(t, "comparison") + "2026-11-22T12:00:01.5Z"
	case 6:
		return path(t) + rapid.SampledFrom([]string{" < ", " <= ", " > ", " >= "}).Draw(t, "comparison") + rapid.SampledFrom([]string{"0", "1.5", "-1", "100", "9007199254740992", "12345678901234567890", "1e400", "-1e-400"}).Draw(t, "number")
	case 7:
		return compared(path(t), number)
	default:
		return compared(path(t), func() string {
			return rapid.SampledFrom([]string{word(), "true", "null", "false", "*"}).Draw(t, "value")
		})
	}
}

// Filter draws the text of a filter with at most depth levels of and, or and not. Some are
// refused.
func Filter(t *rapid.T, depth int) string {
	if depth > 0 {
		switch rapid.IntRange(0, 5).Draw(t, "join") {
		case 0:
			return "(" + Filter(t, depth-1) + ") and " + Filter(t, depth-1)
		case 1:
			return Filter(t, depth-1) + " or " + Filter(t, depth-1)
		case 2:
			return "not (" + Filter(t, depth-1) + ")"
		}
	}
	return test(t)
}
