package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/klauspost/compress/zstd"
)

// exported writes events as an export does, from one seq to another.
func exported(first, last int) string {
	var b strings.Builder
	for seq := first; seq <= last; seq++ {
		fmt.Fprintf(&b, `{"id":%d,"session_id":"s","seq":%d,"data":{"text":"%s","seq":0}}`+"\n", 1000+seq, seq, strings.Repeat("x", seq%700))
	}
	return b.String()
}

func TestCheckLines(t *testing.T) {
	for name, c := range map[string]struct {
		text  string
		last  int64
		fault string
	}{
		"right":             {exported(1, 5000), 5000, ""},
		"nothing":           {"", 0, ""},
		"a long line":       {exported(1, 2) + `{"seq":3,"data":"` + strings.Repeat("y", 1<<20) + "\"}\n" + exported(4, 5), 5, ""},
		"not the first":     {exported(2, 9), 0, "event 0 is followed by"},
		"one is missing":    {exported(1, 700) + exported(702, 900), 700, "event 700 is followed by"},
		"one is twice":      {exported(1, 700) + exported(700, 900), 700, "event 700 is followed by"},
		"an error at last":  {exported(1, 9) + `{"error":"the database is away"}` + "\n", 9, "the database is away"},
		"half a line":       {exported(1, 9) + `{"seq":10`, 9, "has no end"},
		"an empty line":     {exported(1, 9) + "\n", 9, "event 9 is followed by"},
		"a seq that is not": {`{"seq":null}` + "\n", 0, "event 0 is followed by"},
	} {
		last, err := checkLines(strings.NewReader(c.text))
		if checkFault(t, name, err, c.fault); last != c.last {
			t.Errorf("%s: the last is %d, want %d", name, last, c.last)
		}
	}
	if last, err := checkLines(iotest.HalfReader(strings.NewReader(exported(1, 900)))); err != nil || last != 900 {
		t.Errorf("in pieces: %d, %v", last, err)
	}
}

func TestExportThatIsNotWholeIsNoticed(t *testing.T) {
	for name, c := range map[string]struct {
		events int
		status string // "" is no trailer
		cut    bool
		fault  string
	}{
		"whole":          {900, exportComplete, false, ""},
		"too few":        {899, exportComplete, false, "899 events, not 900"},
		"too many":       {901, exportComplete, false, "901 events, not 900"},
		"no trailer":     {900, "", false, "X-Export-Status"},
		"another status": {900, "failed", false, "failed"},
		"cut":            {900, "", true, "broke off after event"},
	} {
		for _, header := range []string{"", "Accept-Encoding: zstd\r\n"} {
			t.Run(name+header, func(t *testing.T) {
				server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Trailer", exportTrailer)
					text := []byte(exported(1, c.events))
					if r.Header.Get("Accept-Encoding") == "zstd" {
						w.Header().Set("Content-Encoding", "zstd")
						encoder, _ := zstd.NewWriter(nil)
						text = encoder.EncodeAll(text, nil)
					}
					if c.cut {
						text = text[:len(text)-1]
					}
					w.Write(text) //nolint:errcheck // the client notices
					if c.cut {
						http.NewResponseController(w).Flush() //nolint:errcheck // the client notices
						panic(http.ErrAbortHandler)
					}
					if c.status != "" {
						w.Header().Set(exportTrailer, c.status)
					}
				}))
				defer server.Close()
				g, err := dialGetter(t.Context(), server.URL, time.Minute)
				if err != nil {
					t.Fatal(err)
				}
				defer g.close() //nolint:errcheck // the test is over
				checkFault(t, name, g.export("/export", header, 900), c.fault)
				if c.fault == "" { // the connection is fit for the next
					checkFault(t, "again", g.export("/export", header, 900), "")
				}
			})
		}
	}
}

func TestExportInAnotherEncodingIsNoticed(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Write([]byte(exported(1, 900))) //nolint:errcheck // the client notices
	}))
	defer server.Close()
	g, err := dialGetter(t.Context(), server.URL, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	defer g.close() //nolint:errcheck // the test is over
	checkFault(t, "plain", g.export("/export", "Accept-Encoding: zstd\r\n", 900), "encoding")
}
