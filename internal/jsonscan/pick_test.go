package jsonscan_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"ospulse/internal/jsonscan"
)

func TestPick(t *testing.T) {
	for name, tt := range map[string]struct {
		text string
		want string // values of a, a.b, a.list[1], a.list[1].c, list[0], "x y"
	}{
		"all":              {`{"a":{"b":1,"list":[0,{"c":"s"}]},"list":[[2]],"x y":null}`, `{"b":1,"list":[0,{"c":"s"}]} | 1 | {"c":"s"} | "s" | [2] | null`},
		"white space":      {" { \"a\" : { \"b\" : 1 , \"list\" : [ 0 , { \"c\" : \"s\" } ] } , \"list\" : [ [ 2 ] ] , \"x y\" : null } \n", `{ "b" : 1 , "list" : [ 0 , { "c" : "s" } ] } | 1 | { "c" : "s" } | "s" | [ 2 ] | null`},
		"none":             {`{"b":1,"A":2,"lists":[1]}`, ` |  |  |  |  | `},
		"other kinds":      {`{"a":[1,2],"list":{"0":1},"x y":"}"}`, `[1,2] |  |  |  |  | "}"`},
		"empty ones":       {`{"a":{},"list":[]}`, `{} |  |  |  |  | `},
		"nested, empty":    {`{"a":{"list":[]},"list":[{}]}`, `{"list":[]} |  |  |  | {} | `},
		"escaped keys":     {`{"\u0061":{"\u0062":"\"}"},"x\u0020y":"\\"}`, `{"\u0062":"\"}"} | "\"}" |  |  |  | "\\"`},
		"twice":            {`{"a":{"b":1,"list":[0,1]},"a":{"b":2},"x y":1,"x y":2}`, `{"b":2} | 2 |  |  |  | 2`},
		"twice, other":     {`{"a":{"b":1},"a":7}`, `7 |  |  |  |  | `},
		"no object":        {`[1,{"a":1}]`, ` |  |  |  |  | `},
		"a scalar":         {`"a"`, ` |  |  |  |  | `},
		"nothing":          {``, ` |  |  |  |  | `},
		"what comes after": {`{"z":[{"a":1}],"a":{"z":{"b":2},"b":3}}`, `{"z":{"b":2},"b":3} | 3 |  |  |  | `},
	} {
		tree, values := new(jsonscan.Tree), make([][]byte, 6)
		tree.Key("a").Want(0)
		tree.Key("a").Key("b").Want(1)
		tree.Key("a").Key("list").Element(1).Want(2)
		tree.Key("a").Key("list").Element(1).Key("c").Want(3)
		tree.Key("list").Element(0).Want(4)
		tree.Key("x y").Want(5)
		tree.Pick([]byte(tt.text), values)
		var texts []string
		for _, value := range values {
			texts = append(texts, string(value))
		}
		if got := strings.Join(texts, " | "); got != tt.want {
			t.Errorf("%s\ngot  %s\nwant %s", name, got, tt.want)
		}
	}
}

// FuzzPick checks that Pick returns for any text, and that in JSON it finds the same
// values as Get.
func FuzzPick(f *testing.F) {
	for _, seed := range []string{`{"a":{"b":[1,2]}}`, `{"a":{"b":1},"a":{"b":[0,[]]}}`, `[{"a":`, `{"a"`, `{"a":{"b":[`, `{,,,`, `[}`, `{"a":}`, `{"a":{"b":[}}]`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		tree, values := new(jsonscan.Tree), make([][]byte, 3)
		tree.Key("a").Want(0)
		tree.Key("a").Key("b").Want(1)
		tree.Key("a").Key("b").Element(1).Want(2)
		tree.Pick(text, values)
		if !json.Valid(text) {
			return
		}
		a := jsonscan.Get(text, "a")
		b := jsonscan.Get(a, "b")
		for i, want := range [][]byte{a, b, jsonscan.Element(b, 1)} {
			if !bytes.Equal(values[i], want) {
				t.Errorf("value %d of %s is %s, want %s", i, text, values[i], want)
			}
		}
	})
}
