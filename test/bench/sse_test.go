package main

import (
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

func TestServerSentEvents(t *testing.T) {
	long := strings.Repeat("0123456789", streamBuffer/4)
	for name, c := range map[string]struct {
		text   string
		want   []string // type|data
		lastID string
	}{
		"messages":               {"data: one\n\ndata: two\n\n", []string{"|one", "|two"}, ""},
		"lines that end in CRLF": {"id: 7\r\ndata: one\r\n\r\n", []string{"|one"}, "7"},
		"types":                  {"event: session\ndata: {}\n\ndata: []\n\n", []string{"session|{}", "|[]"}, ""},
		"several lines":          {"data: YHOO\ndata: +2\ndata: 10\n\n", []string{"|YHOO\n+2\n10"}, ""},
		"comments":               {": hello\n\ndata: one\n: still here\n\n", []string{"|one"}, ""},
		"one blank is taken off": {"data:one\n\ndata:  two\n\n", []string{"|one", "| two"}, ""},
		"no value":               {"data\n\ndata\ndata\n\ndata:", []string{"|", "|\n"}, ""},
		"an id alone":            {"id: 9\n\nevent: x\nid: 10\n\ndata: one\n\n", []string{"|one"}, "10"},
		"an id that stays":       {"id: 9\ndata: one\n\ndata: two\n\n", []string{"|one", "|two"}, "9"},
		"an id that is taken":    {"id: 9\ndata: one\n\nid\ndata: two\n\n", []string{"|one", "|two"}, ""},
		"an id with a NUL":       {"id: 9\ndata: one\n\nid: 1\x000\ndata: two\n\n", []string{"|one", "|two"}, "9"},
		"an id that never came":  {"id: 9\ndata: one\n\nid: 10\ndata: two\n", []string{"|one"}, "9"},
		"unknown fields":         {"retry: 10\nDATA: no\n data: no\ndata: yes\n\n", []string{"|yes"}, ""},
		"a byte order mark":      {"\ufeffdata: one\n\n\ufeffdata: no\n\n", []string{"|one"}, ""},
		"a long line":            {"data: " + long + "\ndata: " + long + "\n\ndata: two\n\n", []string{"|" + long + "\n" + long, "|two"}, ""},
	} {
		for way, reader := range map[string]func(io.Reader) io.Reader{"at once": func(r io.Reader) io.Reader { return r }, "by the byte": iotest.OneByteReader} {
			var got []string
			r := newSSEReader(reader(strings.NewReader(c.text)))
			for {
				event, data, err := r.next()
				if err != nil {
					break
				}
				got = append(got, string(event)+"|"+string(data))
			}
			if !slices.Equal(got, c.want) || string(r.lastID) != c.lastID {
				t.Errorf("%s, %s: got %.200q, last id %q", name, way, got, r.lastID)
			}
		}
	}
}
