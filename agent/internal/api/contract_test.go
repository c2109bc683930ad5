//go:build linux

package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
)

// exchange is a request of a backend to the Python agent, and the answer, in the shapes of
// the wire contract.
type exchange struct {
	Routes  []string // METHOD /path; all have the same answer
	Request json.RawMessage
	File    *string // the name of an uploaded file
	Status  int
	Answer  any
	Same    []string // the keys whose values depend on the request only
}

// pythonAgent returns the exchanges, in an order in which each works.
func pythonAgent(t *testing.T) (all []exchange) {
	t.Helper()
	text, err := os.ReadFile("../../../test/testdata/agent/python_agent.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(text) {
		var e exchange
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
	return all
}

// TestAnswersOfThePythonAgent checks that this agent's answers have every key of the Python
// agent's answers, with a value of the same kind.
func TestAnswersOfThePythonAgent(t *testing.T) {
	exchanges := pythonAgent(t)
	if len(exchanges) < 10 {
		t.Fatalf("%d exchanges", len(exchanges))
	}
	for _, slash := range []string{"", "/"} {
		h, _ := newService(t, Guard{})
		for _, e := range exchanges {
			for _, route := range e.Routes {
				method, path, _ := strings.Cut(route, " ")
				body, header := string(e.Request), "Content-Type: application/json"
				if e.File != nil {
					body, header = form("file", *e.File, "MZ")
				}
				w := ask(h, method, path+slash, body, header)
				var got any
				if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != e.Status {
					t.Errorf("%s %s: %d %s", route, e.Request, w.Code, w.Body)
					continue
				}
				if fault := lacks(got, e.Answer); fault != "" {
					t.Errorf("%s %s: %s in %.300s", route, e.Request, fault, w.Body)
				}
				for _, key := range e.Same {
					if is, want := got.(map[string]any)[key], e.Answer.(map[string]any)[key]; !reflect.DeepEqual(is, want) {
						t.Errorf("%s %s: %s is %v, want %v", route, e.Request, key, is, want)
					}
				}
			}
		}
	}
}

// lacks returns how the shape of got falls short of that of want: a missing key, or a value
// of another kind. It returns "" if it does not.
func lacks(got, want any) string {
	if reflect.TypeOf(got) != reflect.TypeOf(want) {
		return fmt.Sprintf("%T is not %T", got, want)
	}
	switch want := want.(type) {
	case map[string]any:
		for key, value := range want {
			is, ok := got.(map[string]any)[key]
			if !ok {
				return key + " is missing"
			}
			if fault := lacks(is, value); fault != "" {
				return key + ": " + fault
			}
		}
	case []any:
		list := got.([]any)
		if len(list) == 0 {
			return "the list is empty"
		}
		for _, element := range list {
			if fault := lacks(element, want[0]); fault != "" {
				return fault
			}
		}
	}
	return ""
}

func TestLacks(t *testing.T) {
	want := map[string]any{"a": 1.0, "b": []any{map[string]any{"c": ""}}}
	for _, got := range []any{
		nil, []any{}, map[string]any{"a": 1.0}, map[string]any{"a": "1", "b": want["b"]}, map[string]any{"a": 1.0, "b": []any{}}, map[string]any{"a": 1.0, "b": []any{map[string]any{}}},
	} {
		if lacks(got, want) == "" {
			t.Errorf("%v has the shape of %v", got, want)
		}
	}
	if fault := lacks(map[string]any{"a": 2.0, "b": want["b"], "d": nil}, want); fault != "" {
		t.Error(fault)
	}
}
