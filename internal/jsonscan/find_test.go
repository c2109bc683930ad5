package jsonscan_test

import (
	"bytes"
	"encoding/json"
	"math/big"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"ospulse/internal/jsonscan"
)

func TestFind(t *testing.T) {
	object := []byte(` { "a" : {"x":"}"} , "b\u0041\ud83d\ude00" :[1,"\"]"],"a": null , "":-1.5e3 } `)
	for key, want := range map[string]string{"a": `{"x":"}"}`, "bA😀": `[1,"\"]"]`, "": "-1.5e3", "x": "", "b": ""} {
		if got := jsonscan.Find(object, key); string(got) != want {
			t.Errorf("%q is %s, want %s", key, got, want)
		}
	}
	array := []byte(` [ 1, "a,b" ,{"c":[]}, [] ] `)
	for i, want := range []string{"1", `"a,b"`, `{"c":[]}`, "[]", ""} {
		if got := jsonscan.Element(array, i); string(got) != want {
			t.Errorf("element %d is %s, want %s", i, got, want)
		}
	}
	if jsonscan.Find(array, "c") != nil || jsonscan.Element(object, 0) != nil || jsonscan.Element([]byte("[]"), 0) != nil || jsonscan.Find(nil, "") != nil {
		t.Error("something is found where nothing is")
	}
	var tokens []string
	for token, rest := jsonscan.NextToken([]byte(` {"a\"": [-1.5e3,true , null],"":"{x}"} `)); token != nil; token, rest = jsonscan.NextToken(rest) {
		tokens = append(tokens, string(token))
	}
	if got, want := strings.Join(tokens, " "), `"a\"" -1.5e3 true null "" "{x}"`; got != want {
		t.Errorf("the tokens are %s, want %s", got, want)
	}
}

// FuzzFind checks that scanning any text ends, and that in JSON the scanner finds the
// same values as encoding/json.
func FuzzFind(f *testing.F) {
	for _, s := range []string{`{"a":[1,2.5e3,"x\u0000",{"b":null}],"b":-0}`, `[1,[2,"]"],{}]`, `{"a`, `[,`, `{"a":`, `"\`, `{"\u0061":1}`} {
		f.Add([]byte(s), "a", 1)
	}
	f.Fuzz(func(t *testing.T, text []byte, key string, index int) {
		found, element := jsonscan.Find(text, key), jsonscan.Element(text, index)
		var ix jsonscan.Index
		ix.Reset(text)
		for _, before := range []string{"", "b", key, key} {
			want := jsonscan.Find(text, before)
			if got := ix.Find(before); !bytes.Equal(got, want) || (got == nil) != (want == nil) {
				t.Errorf("the index has %q as %q, want %q", before, got, want)
			}
		}
		length := 0
		for token, rest := jsonscan.NextToken(text); token != nil; token, rest = jsonscan.NextToken(rest) {
			length += len(token)
		}
		if length > len(text) {
			t.Fatalf("%q has tokens of %d bytes", text, length)
		}
		if lossless, err := jsonscan.Check(text); err != nil || !lossless {
			return
		}
		var object map[string]json.RawMessage
		if jsonscan.Kind(text) == '{' && json.Unmarshal(text, &object) == nil && string(object[key]) != string(found) {
			t.Fatalf("%q of %q is %q, encoding/json says %q", key, text, found, object[key])
		}
		var array []json.RawMessage
		if jsonscan.Kind(text) == '[' && json.Unmarshal(text, &array) == nil && index >= 0 && index < len(array) && string(array[index]) != string(element) {
			t.Fatalf("element %d of %q is %q, encoding/json says %q", index, text, element, array[index])
		}
	})
}

func TestNumbersAreExact(t *testing.T) {
	for number, want := range map[string]string{
		"0": "0", "0e5": "0", "0.00e1": "0.0", "-0": "-0", "1.50": "1.50", "1.50e1": "15.0", "15e-1": "1.5", "1e2": "100", "1E+2": "100", "1e-3": "0.001", "-1.5e-2": "-0.015",
		"0.05e1": "0.5", "100e-2": "1.00", "0.5e3": "500", "120e-5": "0.00120", "1e999": "1e999",
	} {
		if got := jsonscan.AppendNumber([]byte("x"), []byte(number)); string(got) != "x"+want {
			t.Errorf("%s is written %s, want %s", number, got[1:], want)
		}
	}
	number := rapid.StringMatching(`-?(0|[1-9][0-9]{0,5})(\.[0-9]{1,5})?([eE][+-]?[0-9]{1,2})?`)
	rapid.Check(t, func(t *rapid.T) {
		a, b := number.Draw(t, "a"), number.Draw(t, "b")
		x, _ := new(big.Rat).SetString(a)
		y, _ := new(big.Rat).SetString(b)
		if got, want := jsonscan.CompareNumbers([]byte(a), []byte(b)), x.Cmp(y); got != want {
			t.Fatalf("%s and %s compare as %d, want %d", a, b, got, want)
		}
		plain := string(jsonscan.AppendNumber(nil, []byte(a)))
		if z, ok := new(big.Rat).SetString(plain); !ok || z.Cmp(x) != 0 || strings.ContainsAny(plain, "eE") && x.Sign() != 0 {
			t.Fatalf("%s is written %s", a, plain)
		}
	})
	for _, huge := range []string{"1e99999999999999999999", "-1e99999999999999999999", "1e-99999999999999999999"} {
		if jsonscan.CompareNumbers([]byte(huge), []byte(huge)) != 0 {
			t.Errorf("%s is not equal to itself", huge)
		}
	}
}
