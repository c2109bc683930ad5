package main

import (
	"strings"
	"testing"
)

func TestCheckPage(t *testing.T) {
	const page = `{"events":[{"seq":7,"preview":"{\"seq\":1}"},` + "\n" + `{"seq":9}],"has_more":true}`
	for name, c := range map[string]struct {
		answer string
		seqs   []int64
		more   bool
		fault  string // words of the error; "" is none
	}{
		"right":            {page, []int64{7, 9}, true, ""},
		"nothing":          {`{"events":[],"has_more":false}`, nil, false, ""},
		"one is missing":   {page, []int64{7, 8, 9}, true, "event 2 of 3 on the page is 9, not 8"},
		"the last missing": {page, []int64{7, 9, 10}, true, "event 3 of 3 on the page is 0, not 10"},
		"one too many":     {page, []int64{7}, true, "more than 1 events: 9"},
		"another order":    {page, []int64{9, 7}, true, "is 7, not 9"},
		"more is wrong":    {page, []int64{7, 9}, false, `does not say "has_more":false`},
		"no number":        {`{"events":[{"seq":"7"}],"has_more":false}`, []int64{7}, false, "no number"},
		"an error":         {`{"error":"no"}`, nil, false, "has_more"},
	} {
		checkFault(t, name, checkPage([]byte(c.answer), c.seqs, c.more), c.fault)
	}
}

func checkFault(t *testing.T, name string, err error, want string) {
	t.Helper()
	if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
		t.Errorf("%s: got %v, want %q", name, err, want)
	}
}

func TestCheckHistogram(t *testing.T) {
	buckets := func(first string) string {
		return `{"buckets":[` + first + strings.Repeat(`,{"counts":{"a":1}}`, histogramBuckets-1) + `]}`
	}
	counts := map[string]int64{"a": histogramBuckets, "b": 3}
	for name, c := range map[string]struct{ answer, fault string }{
		"right":             {buckets(`{"counts":{"a":1,"b":3}}`), ""},
		"an event missing":  {buckets(`{"counts":{"a":1,"b":2}}`), "counts map[a:100 b:2], not map[a:100 b:3]"},
		"a type missing":    {buckets(`{"counts":{"a":1}}`), "not map[a:100 b:3]"},
		"a type that isn't": {buckets(`{"counts":{"a":1,"b":3,"c":1}}`), "c:1"},
		"few buckets":       {`{"buckets":[{"counts":{"a":100,"b":3}}]}`, "1 buckets, not 100"},
		"no JSON":           {`histogram`, "invalid character"},
	} {
		checkFault(t, name, checkHistogram([]byte(c.answer), counts), c.fault)
	}
}

func TestCheckFacet(t *testing.T) {
	counts := map[string]int64{"a": 5, "b": 3, "c": 3, "": 7}
	many := map[string]int64{}
	for _, letter := range "abcdefghijklmnopqrstuvwxyz" {
		many[string(letter)] = 1
	}
	ones := make([]string, facetValues)
	for i := range ones {
		ones[i] = `{"value":"` + string(rune('a'+i)) + `","count":1}`
	}
	for name, c := range map[string]struct {
		answer string
		counts map[string]int64
		fault  string
	}{
		"right":              {`{"values":[{"value":"a","count":5},{"value":"c","count":3},{"value":"b","count":3}],"others":0,"none":7}`, counts, ""},
		"more than are told": {`{"values":[` + strings.Join(ones, ",") + `],"others":6,"none":0}`, many, ""},
		"others are missing": {`{"values":[` + strings.Join(ones, ",") + `],"others":5,"none":0}`, many, "25 events are counted"},
		"one too few":        {`{"values":[{"value":"a","count":4},{"value":"c","count":3},{"value":"b","count":3}],"others":1,"none":7}`, counts, `value 1 is "a", 4 times; it is there 5 times`},
		"another order":      {`{"values":[{"value":"c","count":3},{"value":"a","count":5},{"value":"b","count":3}],"others":0,"none":7}`, counts, `the 1. most frequent value 5 times`},
		"a value is missing": {`{"values":[{"value":"a","count":5},{"value":"c","count":3}],"others":3,"none":7}`, counts, "2 values, not 3"},
		"those without":      {`{"values":[{"value":"a","count":5},{"value":"c","count":3},{"value":"b","count":3}],"others":7,"none":0}`, counts, "0 of them without a value, not 18, 7"},
		"no JSON":            {`facet`, counts, "invalid character"},
	} {
		checkFault(t, name, checkFacet([]byte(c.answer), c.counts), c.fault)
	}
}

func TestCheckRollup(t *testing.T) {
	for name, c := range map[string]struct{ answer, fault string }{
		"right": {`{"files":[],"total":3,"seq":10}`, ""}, "not all": {`{"total":3,"seq":9}`, "up to 9, not 10"}, "nothing": {`{"total":0,"seq":10}`, "0 entries"}, "no JSON": {`x`, "invalid character"},
	} {
		checkFault(t, name, checkRollup([]byte(c.answer), 10), c.fault)
	}
}

func TestNamesOfScenariosAreUnique(t *testing.T) {
	bodies, err := newBodies()
	if err != nil {
		t.Fatal(err)
	}
	for _, dialect := range []string{sqlite, postgres} {
		names := map[string]bool{}
		for _, s := range scenarios(&lab{bodies: bodies, sizes: sizes{events: minEvents, large: true}}, dialect) {
			if names[s.name] || s.measure == nil || s.unit == "" {
				t.Errorf("%s: %q is there twice, or is not measured", dialect, s.name)
			}
			names[s.name] = true
		}
	}
}
