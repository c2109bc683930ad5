package testbed

import (
	"slices"
	"testing"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   float64
	}{
		{[]float64{7}, 7},
		{[]float64{9, 1, 5}, 5},
		{[]float64{4, 1, 2, 30}, 3},
	} {
		before := slices.Clone(c.values)
		if got := Median(c.values); got != c.want {
			t.Errorf("of %v it is %g, want %g", c.values, got, c.want)
		}
		if !slices.Equal(c.values, before) {
			t.Errorf("%v became %v", before, c.values)
		}
	}
}

func TestListeningURL(t *testing.T) {
	for log, want := range map[string]string{
		"": "",
		"text\n{\"msg\":\"other\",\"url\":\"x\"}\n{\"msg\":\"ready\",\"url\":\"http://a\"}\n{\"msg\":\"read": "http://a",
		`{"msg":"listening","url":"http://b"}`: "http://b",
		"{\"msg\":\"starting server at 127.0.0.1:0\"}\n{\"msg\":\"started server at http://127.0.0.1:3/\"}": "http://127.0.0.1:3",
	} {
		if got := listeningURL([]byte(log)); got != want {
			t.Errorf("%q: %q, want %q", log, got, want)
		}
	}
}
