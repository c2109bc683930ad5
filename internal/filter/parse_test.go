package filter_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"ospulse/internal/filter"
	"ospulse/internal/models"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]string{
		"":    "",
		" \n": "",
		"*":   "*",
		// and, or, not
		`a b`:                   `"a" and "b"`,
		`a and b && c AND d`:    `"a" and "b" and "c" and "d"`,
		`a or b and c || d`:     `"a" or "b" and "c" or "d"`,
		`a (b or c)`:            `"a" and ("b" or "c")`,
		`((a))`:                 `"a"`,
		`not a b`:               `not "a" and "b"`,
		`not (a b)`:             `not ("a" and "b")`,
		`!a !(!b)`:              `not "a" and not not "b"`,
		`order android nothing`: `"order" and "android" and "nothing"`,
		`"and" 'OR'`:            `"and" and "or"`,
		// processes
		`under(42) and not ONLY( '7' ) under (x)`: `under("42") and not only("7") and "under" and "x"`,
		// fields and comparisons
		`event_type:x op=x process_name==x timestamp>2026-11-22`: `type = "x" and operation = "x" and process = "x" and time > 2026-11-22T00:00:00Z`,
		`type : x`:                         `type = "x"`,
		`TYPE: x`:                          `type = "x"`,
		`type: (a or b or "c")`:            `type in ("a", "b", "c")`,
		`type: (a and not (b or c*))`:      `type = "a" and not (type = "b" or type like "c*")`,
		`type in (a,b ,"c,d")`:             `type in ("a", "b", "c,d")`,
		`type in (a*, b, c)`:               `type like "a*" or type in ("b", "c")`,
		`type not in (a)`:                  `not type = "a"`,
		`type not like "a"`:                `not type like "a"`,
		`type not a`:                       `"type" and not "a"`,
		`type: a or type: b or pid: 1`:     `type in ("a", "b") or pid = 1`,
		`type: a and type: b`:              `type = "a" and type = "b"`,
		`pid: +5 pid != -1`:                `pid = 5 and not pid = -1`,
		`time<="2026-11-22 12:00:00+0100"`: `time <= 2026-11-22T11:00:00Z`,
		`time = 2026-11-22T12:00:00.5Z`:    `time = 2026-11-22T12:00:00.5Z`,
		`exists pid`:                       `exists pid`,
		`data.a.b: * type: *`:              `exists data.a.b and exists type`,
		`data.x: (1 or "1" or true or "true" or 01 or -0 or 1e999)`: `data.x in (1, "1", true, "true", "01", "-0", "1e999")`,
		`data.café.日本: é`:                            `data.café.日本 = "é"`,
		`data.x>1.5e3`:                               `data.x > 1.5e3`,
		`data["a b"]["c"].'d e'.f-g_1[0]['x''y']`:    `"data[" and "a b" and "][" and "c" and "].'d" and "e'.f-g_1[0]['x''y']"`,
		`data["a b"]["c"].'d e'.f-g_1[0]['x''y']: 1`: `data["a b"].c["d e"].f-g_1[0]["x'y"] = 1`,
		// texts and their wildcards
		`C:\Windows\* \\server\x 10.0.0.5:443 http://a.example/?b=c`: `c:\windows\* and "\\\\server\\x" and "10.0.0.5:443" and http://a.example/?b=c`,
		`target: C:\Users\*\a[*]?`:                                   `target like "c:\\users\\*\\a[*]?"`,
		`target: a[*]`:                                               `target = "a*"`,
		`target: [**] [**]x`:                                         `target like "[**]" and [**]x`,
		`target: "a*"`:                                               `target = "a*"`,
		`target like "a*"`:                                           `target like "a*"`,
		`target contains a*`:                                         `target like "*a[*]*"`,
		`target startswith 'A"'`:                                     `target like "a\"*"`,
		`target endswith "\"\\x\"`:                                   `!`,
		`target endswith "\"\\x\y"`:                                  `target like "*\"\\x\\y"`,
		`target = 'it''s'`:                                           `target = "it's"`,
		`a* ?b [*] don't`:                                            `a* and ?b and "*" and "don't"`,
		`--flag=value`:                                               `"--flag=value"`,
		`data`:                                                       `"data"`,
		`type data.exe pid`:                                          `"type" and "data.exe" and "pid"`,
		"a\u00a0b":                                                   `"a" and "b"`,
	} {
		f, err := filter.Parse(text)
		if want == "!" {
			if err == nil {
				t.Errorf("%s is read as %s", text, f)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if f.String() != want {
			t.Errorf("%s\nis read as %s\nwant       %s", text, f, want)
		}
		if again, err := filter.Parse(f.String()); err != nil || again.String() != want {
			t.Errorf("%s is read again as %s, %v", want, again, err)
		}
		if (f == nil) != (strings.TrimSpace(text) == "") {
			t.Errorf("%q gives %v", text, f)
		}
	}
}

func TestParseFaults(t *testing.T) {
	const aTest = `expected a condition such as type = "file_operation", or a text, found `
	for text, want := range map[string]string{
		`proces: x`:                 `column 1, 6 long: unknown field "proces"; did you mean process?`, //nolint:misspell // the misspelling is part of the test
		`a and timestmp > 1`:        `column 7, 8 long: unknown field "timestmp"; did you mean timestamp?`,
		`Prozess = x`:               `column 1, 7 long: unknown field "Prozess"; did you mean process? (fields: type, operation, process, target, source, pid, seq, time, routine, finding, finding.level, technique, data.…; a text with such characters is searched for in quotes)`,
		`a.example:80`:              `column 1, 9 long: unknown field "a.example" (fields:`,
		`exists`:                    `column 7, 0 long: expected a field after exists, found the end`,
		`exists foo`:                `column 8, 3 long: unknown field "foo"`,
		`é = x`:                     `column 3, 1 long: ` + aTest + `"="`,
		`é and pid = x`:             `column 13, 1 long: pid is compared with a whole number, found "x"`,
		`pid = 1.5`:                 `column 7, 3 long: pid is compared with a whole number, found "1.5"`,
		`pid = 9223372036854775808`: `column 7, 19 long: pid is compared with a whole number`,
		`pid: 1*`:                   `column 6, 2 long: pid takes no wildcards; expected a whole number`,
		`pid contains 1`:            `column 5, 8 long: contains is for texts: pid takes =, !=, <, <=, >, >= and in`,
		`type > x`:                  `column 6, 1 long: type is a text: expected =, !=, in, contains, startswith, endswith or like`,
		`time > yesterday`:          `column 8, 9 long: time is compared with a time such as 2026-11-22T18:57:39Z, found "yesterday"`,
		`data.x > "5"`:              `column 10, 3 long: > compares numbers in data; expected a number of up to 400 digits, found "5"`,
		`data.x < 1e500`:            `column 10, 5 long: < compares numbers in data`,
		`data = 1`:                  `column 1, 4 long: data is compared by a path: expected data.a.b`,
		`pid.x = 1`:                 `column 4, 2 long: pid has nothing inside`,
		`data.list[x] = 1`:          `column 11, 1 long: expected a number of an element, from 0, or a key in quotes, found "x"`,
		`data.list[] = 1`:           `column 11, 0 long: expected a number of an element`,
		`data[-1] = 1`:              `column 6, 2 long: expected a number of an element`,
		`data[9999999999]: 1`:       `column 6, 10 long: expected a number of an element`,
		`"pid" = 1`:                 `column 1, 5 long: a field is written without quotes`,
		`type =`:                    `column 7, 0 long: expected a value, found the end`,
		`type = and`:                `column 8, 3 long: expected a value, found the keyword and; write "and" for the text`,
		`type = )`:                  `column 8, 1 long: expected a value, found ")"`,
		`type in x`:                 `column 9, 1 long: expected ( after in, found "x"`,
		`type in ()`:                `column 10, 1 long: expected a value, found ")"`,
		`type in (a b)`:             `column 12, 1 long: expected a comma or ), found "b"`,
		`type in (a,`:               `column 12, 0 long: expected a value, found the end`,
		`type: (a b)`:               `column 10, 1 long: expected and, or, or ), found "b" (the parenthesis of column 7 is open)`,
		`(a or b`:                   `column 8, 0 long: expected and, or, or ), found the end (the parenthesis of column 1 is open)`,
		`a)`:                        `column 2, 1 long: expected and, or, or the end, found ")"`,
		`type = "a", b`:             `column 11, 1 long: expected and, or, or the end, found ","`,
		`a and`:                     `column 6, 0 long: ` + aTest + `the end`,
		`or a`:                      `column 1, 2 long: ` + aTest + `"or"; a keyword is searched for in quotes`,
		`not`:                       `column 4, 0 long: ` + aTest + `the end`,
		`()`:                        `column 2, 1 long: ` + aTest + `")"`,
		`contains x`:                `column 1, 8 long: ` + aTest + `"contains"`,
		`""`:                        `column 1, 2 long: an empty text is in every event`,
		`type = "a`:                 `column 8, 2 long: the string that begins here does not end: expected "`,
		`target = "C:\a\"`:          `column 10, 7 long: the string that begins here does not end: expected "; \" is a quote in the string: a backslash before the closing quote is written twice`,
		`'a`:                        `column 1, 2 long: the string that begins here does not end: expected '`,
		"a \x00":                    `column 3, 1 long: a NUL character`,
		"é\xff":                     `column 2, 1 long: byte 0xff is not valid UTF-8`,
		strings.Repeat("a", 8193):   `column 1, 0 long: the filter is 8193 bytes long; at most 8192 are taken`,
		strings.Repeat("(", 101) + "a" + strings.Repeat(")", 101): `column 101, 1 long: more than 100 levels of parentheses and nots`,
		strings.Repeat("!", 101) + "a":                            `column 101, 1 long: more than 100 levels`,
		strings.Repeat("* ", 501):                                 `column 1001, 1 long: more than 500 conditions and values`,
		strings.Repeat("a ", 33):                                  `column 65, 1 long: more than 32 texts to search for in all of data`,
		"pid in (1" + strings.Repeat(",1", 500) + ")":             `column 1009, 1 long: more than 500 conditions and values`,
		"data" + strings.Repeat(".a", 33) + ": 1":                 `column 69, 2 long: a path of more than 32 steps`,
		"type = " + strings.Repeat("x", 100) + " ) ":              `column 109, 1 long: expected and, or, or the end, found ")"`,
		"pid = " + strings.Repeat("x", 100):                       `column 7, 100 long: pid is compared with a whole number, found "` + strings.Repeat("x", 40) + `…"`,
	} {
		f, err := filter.Parse(text)
		if err == nil {
			t.Errorf("%.100q is read as %.100s", text, f)
			continue
		}
		fault, ok := errors.AsType[*filter.SyntaxError](err)
		if !ok || models.ErrorCode(err) != models.CodeInvalid {
			t.Errorf("%.100q gives a %T of code %s", text, err, models.ErrorCode(err))
			continue
		}
		if got := fmt.Sprintf("column %d, %d long: %s", fault.Column, fault.Length, fault.Text); !strings.HasPrefix(got, want) {
			t.Errorf("%.100q\ngives %s\nwant  %s", text, got, want)
		}
		if message := message(err); message != fmt.Sprintf("filter, column %d: %s", fault.Column, fault.Text) {
			t.Errorf("%.100q says %s", text, message)
		}
	}
}

// message returns the error text that a client reads.
func message(err error) string {
	if e, ok := errors.AsType[*models.Error](err); ok {
		return e.Message
	}
	return ""
}

// TestParseIsFast checks that the worst filter within the limits is parsed, written and
// matched in about the time in which this machine scans the whole target once for each
// character of the filter.
func TestParseIsFast(t *testing.T) {
	long := bytes.Repeat([]byte("a"), 4096)
	measure := func(do func()) time.Duration {
		start := time.Now()
		do()
		return time.Since(start)
	}
	lookAtAll := func() {
		for range 8000 {
			for _, c := range long {
				if c != 'a' {
					t.Fatal("it is not what it was")
				}
			}
		}
	}
	for _, text := range []string{
		strings.Repeat("(", 100) + "a" + strings.Repeat(")", 100),
		strings.Repeat("!", 100) + "a",
		strings.Repeat("a ", 32), strings.Repeat("pid:1 ", 500),
		"type: (" + strings.Repeat("a or ", 499) + "a)",
		"data.a in (" + strings.Repeat("a,", 499) + "a)",
		"data" + strings.Repeat(".a", 32) + ": x",
		"target: " + strings.Repeat("*a", 4000),
		strings.Repeat("?*", 4000) + "a",
		`target: "` + strings.Repeat(`\"`, 4000) + `"`,
		strings.Repeat("data[", 1600), strings.Repeat(`data["`, 1300), strings.Repeat(`a.`, 4000), strings.Repeat(`data["a" `, 900), strings.Repeat(`x['`, 2700),
		strings.Repeat("a", 8000) + ": 1",
	} {
		e := sample()
		target := string(long)
		e.Target = &target
		var took, limit time.Duration
		for range 3 { // another program may have used the processor
			limit = 20 * measure(lookAtAll)
			took = measure(func() {
				if f, err := filter.Parse(text); err == nil {
					f.Match(e)
					if again, err := filter.ParseNode(f.String()); err != nil || again.String() != f.String() {
						t.Errorf("%.100q is read again as %.100v, %v", f, again, err)
					}
				}
			})
			if took <= limit {
				break
			}
		}
		if took > limit {
			t.Errorf("%.50q takes %v, more than %v", text, took, limit)
		}
	}
}

// FuzzParse checks that any text is a filter or an error that points into the text, and
// that the written form of a filter parses to the same filter.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		`type = x and (pid in (1, 2) or not time > 2026-11-22) process: "a\"b"`, `data.a["b c"][0] >= -1.5e3 or 'it''s' C:\Windows\*`, `exists data.x !y || z`,
		`op: (a or not (b* and "c"))`, `target not like "a[*]?"`, `data.x: (1 or true or null or *)`, `http://x/?a=b 10.0.0.1:80`, `data.'a'."b"['c']["d"]: x`,
	} {
		f.Add(seed)
	}
	event := sample()
	f.Fuzz(func(t *testing.T, text string) {
		parsed, err := filter.Parse(text)
		if err != nil {
			fault, ok := errors.AsType[*filter.SyntaxError](err)
			if !ok {
				t.Fatalf("%q gives %v", text, err)
			}
			if runes := utf8.RuneCountInString(text); fault.Column < 1 || fault.Length < 0 || fault.Column+fault.Length > runes+1 {
				t.Fatalf("%q has %d characters, and a fault at %d, %d long", text, runes, fault.Column, fault.Length)
			}
			return
		}
		if parsed == nil {
			return
		}
		again, err := filter.ParseNode(parsed.String())
		if err != nil {
			if strings.Contains(err.Error(), "more than 100 levels") {
				return // field: (a and not b) is written with more levels
			}
			t.Fatalf("%q is %s, which is not read: %v", text, parsed, err)
		}
		if again.String() != parsed.String() {
			t.Fatalf("%q is %s, which is read as %s", text, parsed, again)
		}
		same, err := filter.Parse(parsed.String())
		if err == nil && same.Match(event) != parsed.Match(event) {
			t.Fatalf("%q and %s do not mean the same", text, parsed)
		}
	})
}
