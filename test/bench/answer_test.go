package main

import (
	"bufio"
	"io"
	"strings"
	"testing"
)

func TestReadWholeAnswers(t *testing.T) {
	const head, next = "HTTP/1.1 200 OK\r\n", "the next answer"
	for name, c := range map[string]struct {
		text, body, trailer string
		fault               string // words of the error; "" is none
	}{
		"with a length":          {text: head + "Content-Length: 5\r\n\r\nhello", body: "hello"},
		"in chunks":              {text: head + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n7\r\n, world\r\n0\r\n\r\n", body: "hello, world"},
		"with trailers":          {text: head + "transfer-encoding: Chunked\r\nTrailer: X-End\r\n\r\n2\r\nhi\r\n0\r\nX-Other: 1\r\nx-end: whole\r\n\r\n", body: "hi", trailer: "whole"},
		"an error in chunks":     {text: "HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ngone\r\n0\r\n\r\n", fault: "404 Not Found: gone"},
		"neither":                {text: head + "\r\nhello", fault: "no Content-Length"},
		"half a body":            {text: head + "Content-Length: 6\r\n\r\nhello", fault: "half an answer"},
		"half the chunks":        {text: head + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", fault: "half an answer"},
		"half the trailers":      {text: head + "Transfer-Encoding: chunked\r\n\r\n0\r\nX-End: whole\r\n", fault: "half an answer"},
		"a chunk without a size": {text: head + "Transfer-Encoding: chunked\r\n\r\nhello\r\n", fault: "half an answer"},
	} {
		t.Run(name, func(t *testing.T) {
			text := c.text
			if c.fault == "" {
				text += next
			}
			r := bufio.NewReader(strings.NewReader(text))
			a, err := readHead(r)
			var body []byte
			if err == nil {
				body, err = a.appendBody([]byte("> "), r)
			}
			if c.fault != "" {
				if err == nil || !strings.Contains(err.Error(), c.fault) {
					t.Fatalf("got %q, %v, want %q", body, err, c.fault)
				}
				return
			}
			if err != nil || string(body) != "> "+c.body {
				t.Fatalf("got %q, %v", body, err)
			}
			if rest, _ := io.ReadAll(r); string(rest) != next {
				t.Errorf("left is %q", rest)
			}
			if c.trailer == "" {
				return
			}
			r = bufio.NewReader(strings.NewReader(text))
			if a, err = readHead(r); err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, a.body(r)); err != nil {
				t.Fatal(err)
			}
			if got, err := a.finish(r, "X-End"); err != nil || got != c.trailer {
				t.Errorf("the trailer is %q, %v", got, err)
			}
		})
	}
}
