package filter_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"ospulse/internal/filter"
	"ospulse/internal/models"
)

// TestReferenceIsTrue checks that every filter of the reference, and every comparison
// in its tables, parses.
func TestReferenceIsTrue(t *testing.T) {
	text, err := os.ReadFile("../../docs/filter.md")
	if err != nil {
		t.Fatal(err)
	}
	var examples []string
	for _, block := range regexp.MustCompile("(?s)```filter\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		examples = append(examples, strings.Split(strings.TrimSpace(block[1]), "\n")...)
	}
	conditions, _, _ := strings.Cut(string(text), "## Fields")
	for row := range strings.Lines(conditions) {
		if cells := strings.Split(row, "|"); len(cells) == 4 && strings.Contains(cells[1], "`") {
			for _, code := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cells[1], -1) {
				if strings.ContainsAny(code[1], " :*") {
					examples = append(examples, code[1])
				}
			}
		}
	}
	if len(examples) < 30 {
		t.Errorf("the reference has %d examples only", len(examples))
	}
	for _, example := range examples {
		if _, err := filter.Parse(example); err != nil {
			t.Errorf("%s: %v", example, err)
		}
	}
	_, err = filter.Parse("a and proces: x") //nolint:misspell // the misspelling is part of the test
	if fault := message(err); !strings.Contains(string(text), strings.SplitN(fault, " (", 2)[0]) {
		t.Errorf("the reference shows another fault than %s", fault)
	}
}

// TestReferenceOfData checks the reference's sentences on values, in their order.
func TestReferenceOfData(t *testing.T) {
	for _, tt := range []struct {
		data, filter string
		want         bool
	}{
		{`{"a":"200"}`, `data.a = "200"`, true}, {`{"a":200}`, `data.a = "200"`, false},
		{`{"a":200.0}`, `data.a = 200`, true}, {`{"a":2e2}`, `data.a: 200`, true}, {`{"a":"200"}`, `data.a = 200`, true}, {`{"a":"200.0"}`, `data.a = 200`, false},
		{`{"a":true}`, `data.a = true`, true}, {`{"a":"true"}`, `data.a = true`, false}, {`{"a":"POST"}`, `data.a: POST`, true},
		{`{"a":9007199254740993}`, `data.a > 9007199254740992`, true}, {`{"a":"5"}`, `data.a > 4`, false},
		{`{"a":1.5e2}`, `data.a startswith 15`, true}, {`{"a":[1]}`, `data.a = 1`, false}, {`{"a":[1]}`, `data.a[0] = 1`, true},
		{`{}`, `not data.a = 1`, true}, {`{}`, `data.a != 1 and exists data.a`, false}, {`{"a":null}`, `exists data.a`, true},
	} {
		if got := parse(t, tt.filter).Match(&models.Event{Data: models.JSON(tt.data)}); got != tt.want {
			t.Errorf("%s of %s is %v", tt.filter, tt.data, got)
		}
	}
}
