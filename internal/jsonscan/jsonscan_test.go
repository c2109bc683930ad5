package jsonscan_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"ospulse/internal/jsonscan"
)

func nested(levels int, inner string) string {
	return strings.Repeat("[", levels) + inner + strings.Repeat("]", levels)
}

func TestCheck(t *testing.T) {
	const lossless, lossy, refused = "lossless", "lossy", "refused"
	manyKeys := func(last string) string {
		var b strings.Builder
		b.WriteByte('{')
		for i := range 40 {
			b.WriteString(`"k` + strings.Repeat("x", i) + `":1,`)
		}
		return b.String() + `"` + last + `":2}`
	}
	tests := map[string]struct{ text, want string }{
		"object":                    {`{"a":[1,2.5,-3,true,false,null,"x"]}`, lossless},
		"white space around":        {" \t\r\n{ \"a\" : [ ] } ", lossless},
		"scalar":                    {`12345678901234567890123`, lossless},
		"trailing zeros":            {`1.50`, lossless},
		"small exponent":            {`1e300`, lossless},
		"surrogate pair":            {`"\ud83d\ude00"`, lossless},
		"replacement character":     {`"\ufffd"`, lossless},
		"same key at other levels":  {`{"a":{"a":1}}`, lossless},
		"many keys":                 {manyKeys("last"), lossless},
		"900 levels":                {nested(900, "1"), lossless},
		"NUL escape":                {`{"a":"x\u0000y"}`, lossy},
		"NUL escape in a key":       {`{"x\u0000y":1}`, lossy},
		"lone high surrogate":       {`"caf\ud800"`, lossy},
		"lone low surrogate":        {`"caf\udce9"`, lossy},
		"two high surrogates":       {`"\ud83d\ud83d\ude00"`, lossy},
		"high surrogate, then text": {`"\ud83dx"`, lossy},
		"duplicate key":             {`{"a":1,"b":2,"a":3}`, lossy},
		"duplicate key, escaped":    {`{"a":1,"\u0061":3}`, lossy},
		"duplicate among many keys": {manyKeys("kxx"), lossy},
		"negative zero":             {`-0`, lossy},
		"negative zero, long":       {`-0.00e5`, lossy},
		"negative, not zero":        {`-0.01`, lossless},
		"large exponent":            {`1e401`, lossy},
		"very large exponent":       {`1e99999999999999999999`, lossy},
		"very long number":          {strings.Repeat("9", 401), lossy},
		"1000 levels":               {nested(1000, "1"), lossy},
		"10000 levels":              {nested(10000, ""), lossy},
		"10001 levels":              {nested(10001, ""), refused},
		"empty":                     {``, refused},
		"two values":                {`1 2`, refused},
		"single quotes":             {`{'a':1}`, refused},
		"trailing comma":            {`{"a":1,}`, refused},
		"trailing comma, array":     {`[1,]`, refused},
		"no colon":                  {`{"a" 1}`, refused},
		"leading zero":              {`01`, refused},
		"leading plus":              {`+1`, refused},
		"bare point":                {`1.`, refused},
		"bare exponent":             {`1e`, refused},
		"NaN":                       {`NaN`, refused},
		"cut word":                  {`tru`, refused},
		"cut string":                {`"abc`, refused},
		"cut escape":                {`"abc\`, refused},
		"cut unicode escape":        {`"\u12`, refused},
		"unknown escape":            {`"\x41"`, refused},
		"raw newline":               {"\"a\nb\"", refused},
		"raw NUL":                   {"\"a\x00b\"", refused},
		"NUL after":                 {"1\x00", refused},
		"invalid UTF-8":             {"\"\xff\"", refused},
		"surrogate in UTF-8":        {"\"\xed\xa0\x80\"", refused},
		"byte order mark":           {"\ufeff{}", refused},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			ok, err := jsonscan.Check([]byte(tt.text))
			got := map[bool]string{true: lossless, false: lossy}[ok]
			if err != nil {
				got = refused
				if _, is := errors.AsType[*jsonscan.SyntaxError](err); !is {
					t.Errorf("error is a %T", err)
				}
			}
			if got != tt.want {
				t.Errorf("got %s (%v), want %s", got, err, tt.want)
			}
		})
	}
}

func TestSyntaxErrorNamesThePlace(t *testing.T) {
	_, err := jsonscan.Check([]byte(`{"a": 1, b: 2}`))
	if got, want := err.Error(), `expected a key in double quotes, found 'b' at byte 9`; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestJSONB(t *testing.T) {
	tests := map[string]struct{ text, want string }{
		"NUL":              {`{"a":"x\u0000y"}`, `{"a":"x` + "\ufffd" + `y"}`},
		"NUL in a key":     {`{"\u0000":[]}`, `{"` + "\ufffd" + `":[]}`},
		"lone surrogate":   {`["caf\udce9",{}]`, `["caf` + "\ufffd" + `",{}]`},
		"duplicate keys":   {`{"a":1,"b":{"c":1,"c":2},"a":3}`, `{"b":{"c":2},"a":3}`},
		"three duplicates": {`{"a":1,"a":2,"a":3}`, `{"a":3}`},
		"one in another":   {`{"a":{"b":1,"b":2},"c":0,"a":{"b":3,"b":4}}`, `{"c":0,"a":{"b":4}}`},
		"numbers":          {`[-0,1e999,1.50]`, `["-0","1e999",1.50]`},
		"white space":      {" { \"a\" : [ 1 , \"\\u0000\" ] } ", `{"a":[1,"` + "\ufffd" + `"]}`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var got bytes.Buffer
			if err := json.Compact(&got, jsonscan.JSONB([]byte(tt.text))); err != nil {
				t.Fatal(err)
			}
			if got.String() != tt.want {
				t.Errorf("got %s, want %s", got.String(), tt.want)
			}
		})
	}
	if got := jsonscan.JSONB([]byte(nested(2000, "1"))); !json.Valid(got) {
		t.Error("2000 levels give invalid JSON")
	} else if ok, err := jsonscan.Check(got); !ok || err != nil {
		t.Errorf("2000 levels are not cut to what jsonb takes: %v", err)
	}
}

func TestWalk(t *testing.T) {
	object := []byte(` { "a" : {"x":"}"} , "b\u0041" :[1,"\"]"],"a": null , "d":-1.5e3 } `)
	var got []string
	for k, v := range jsonscan.Members(object) {
		got = append(got, k+"="+string(v))
	}
	if want := `a={"x":"}"} bA=[1,"\"]"] a=null d=-1.5e3`; strings.Join(got, " ") != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := jsonscan.Get(object, "a"); string(got) != "null" {
		t.Errorf("Get gives %s, want the last of two", got)
	}
	if got := jsonscan.Get(object, "none"); got != nil {
		t.Errorf("Get gives %s for a missing key", got)
	}
	var elements []string
	s := jsonscan.NewScanner([]byte(`[ 1, "a,b" ,{"c":[]}, [] ]`))
	s.Array(func() { elements = append(elements, string(s.Value())) })
	if err := s.End(); err != nil {
		t.Error(err)
	}
	if want := `1|"a,b"|{"c":[]}|[]`; strings.Join(elements, "|") != want {
		t.Errorf("got %s, want %s", elements, want)
	}
}

// walk reads a value and everything in it.
func walk(s *jsonscan.Scanner) {
	switch s.Kind() {
	case '{':
		s.Object(func([]byte) { walk(s) })
	case '[':
		s.Array(func() { walk(s) })
	default:
		s.Value()
	}
}

// FuzzCheck compares the scanner with encoding/json: it must accept and refuse the same
// texts (except for invalid UTF-8), find the same members, and produce a lossless or
// rewritten value that is equal.
func FuzzCheck(f *testing.F) {
	for _, s := range []string{`{"a":[1,2.5e3,"x\u0000",{"b":null}],"a":-0}`, ` [true,false,null,"\ud83d\ude00\ud800"] `, `{"a":{"a":{"a":[]}}}`, `"\\\""`, "\"\xff\"", `1e999`, `{"\u0000":1,"\u0000":2}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		lossless, err := jsonscan.Check(text)
		if want := json.Valid(text) && utf8.Valid(text); (err == nil) != want {
			t.Fatalf("Check says %v, encoding/json and UTF-8 say %v", err, want)
		}
		for _, v := range jsonscan.Members(text) { // must end for any text
			_ = jsonscan.KindName(v)
		}
		// A Scanner that reads everything has the result of Check.
		s := jsonscan.NewScanner(text)
		walked := s.Lossless(func() { walk(s) })
		if end := s.End(); fmt.Sprint(end) != fmt.Sprint(err) || err == nil && walked != lossless {
			t.Fatalf("a walk over %q says %v, %v, Check %v, %v", text, walked, end, lossless, err)
		}
		if err != nil {
			return
		}
		stored := text
		if !lossless {
			stored = jsonscan.JSONB(text)
			if ok, err := jsonscan.Check(stored); !ok || err != nil {
				t.Fatalf("JSONB of %q is %q: lossless %v, %v", text, stored, ok, err)
			}
		}
		if !json.Valid(stored) {
			t.Fatalf("%q is stored as %q", text, stored)
		}
		var object map[string]json.RawMessage
		if jsonscan.Kind(text) != '{' || json.Unmarshal(text, &object) != nil {
			return
		}
		seen := map[string]bool{}
		for key := range jsonscan.Members(text) {
			seen[key] = true
			if got, want := jsonscan.Get(text, key), object[key]; !bytes.Equal(got, want) {
				t.Fatalf("%q of %q is %q, encoding/json says %q", key, text, got, want)
			}
		}
		if len(seen) != len(object) {
			t.Fatalf("%d keys in %q, encoding/json says %d", len(seen), text, len(object))
		}
	})
}

// BenchmarkJSONB measures the worst case for JSONB, nested duplicates. Its cost must be
// proportional to the length, at any depth.
func BenchmarkJSONB(b *testing.B) {
	for _, levels := range []int{1, 100, 800} {
		text := []byte(strings.Repeat(`{"a":`, levels) + `"` + strings.Repeat("x", 1<<20) + `"` + strings.Repeat(`,"a":1}`, levels))
		b.Run(strconv.Itoa(levels)+"-levels", func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				jsonscan.JSONB(text)
			}
		})
	}
}

func BenchmarkCheck(b *testing.B) {
	small := []byte(`{"event_type":"file_operation","timestamp":"2026-11-22T18:57:39.967551Z","source":"os-pulse-controller","data":{"handle":"0x1b4","filePath":"\\\\?\\C:\\Windows\\System32\\UIAutomationCore.dll","bytesTransferred":4,"content":"92 B7 DC 01","timestamp":"2026-11-22T18:57:39.966Z","operation":"ReadFile","metadata":{"sessionId":"mws78o95-pb4w1knlzuc","processName":"cmd.exe","processId":102}}}`)
	b.Run("jsonscan", func(b *testing.B) {
		b.SetBytes(int64(len(small)))
		for b.Loop() {
			if ok, err := jsonscan.Check(small); !ok || err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("encoding-json-valid", func(b *testing.B) {
		b.SetBytes(int64(len(small)))
		for b.Loop() {
			if !json.Valid(small) {
				b.Fatal("invalid")
			}
		}
	})
}
