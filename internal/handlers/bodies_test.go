package handlers

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/labstack/echo/v5"

	"ospulse/internal/models"
)

const (
	bodyLimit = 64 * smallBody // the smallest limit that NewBodies has
	maxBody   = 1 << 20
)

// client sends a body piece by piece. err and size are set when the handler is done.
type client struct {
	body io.WriteCloser
	size int
	err  error
	done bool
}

// send begins a request. size is its Content-Length, or 0 for none.
func send(t *testing.T, b *Bodies, size int64, encoding string) *client {
	t.Helper()
	reader, writer := io.Pipe()
	request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", reader)
	request.ContentLength = size
	if encoding != "" {
		request.Header.Set("Content-Encoding", encoding)
	}
	most := int64(maxBody)
	if encoding != "" {
		most = 16 << 20 // no decoder takes a larger window
	}
	c := &client{body: writer}
	go func() {
		ctx := echo.New().NewContext(request, httptest.NewRecorder())
		c.err = b.middleware(func(ctx *echo.Context) error {
			body, err := readBody(ctx, most, jsonType)
			c.size = len(body)
			return err
		})(ctx)
		reader.CloseWithError(errors.New("nobody reads it"))
		c.done = true
	}()
	return c
}

func (c *client) write(n int) {
	_, _ = c.body.Write(bytes.Repeat([]byte("x"), n)) // the request may have been refused
}

// TestSlowClientsHoldWhatTheySent checks that the Content-Length of a request reserves
// no memory, and that a received part takes little more than its size.
func TestSlowClientsHoldWhatTheySent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBodies(0, maxBody)
		var slow []*client
		for i := range 2000 {
			c := send(t, b, []int64{-1, 1000, smallBody, maxBody}[i%4], "")
			c.write(100)
			slow = append(slow, c)
		}
		synctest.Wait()
		if b.Used() != 0 {
			t.Errorf("2000 clients that sent 100 bytes hold %d", b.Used())
		}
		c := send(t, b, maxBody, "")
		for range 16 {
			c.write(maxBody / 16)
		}
		c.body.Close()
		synctest.Wait()
		if !c.done || c.err != nil || c.size != maxBody {
			t.Errorf("a body of %d bytes: %d, %v", maxBody, c.size, c.err)
		}
		for _, c := range slow {
			c.body.Close()
		}
		synctest.Wait()
		if b.Used() != 0 {
			t.Errorf("%d bytes are held by nobody", b.Used())
		}
	})
}

// TestBodiesAreBounded checks that large bodies wait for memory, are refused if they
// wait too long, and never block a small one.
func TestBodiesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBodies(0, maxBody)
		var large []*client
		for range 20 {
			c := send(t, b, -1, "")
			go func() {
				for range 8 {
					c.write(maxBody / 16)
				}
			}()
			large = append(large, c)
		}
		synctest.Wait()
		if b.Used() > b.Limit() {
			t.Errorf("%d bytes are held, of %d", b.Used(), b.Limit())
		}
		small := send(t, b, 20_000, "")
		small.write(20_000)
		small.body.Close()
		synctest.Wait()
		if !small.done || small.err != nil || small.size != 20_000 {
			t.Errorf("a small body: %d bytes, %v", small.size, small.err)
		}
		refused := 0
		for range 20 {
			c := send(t, b, -1, "")
			c.write(maxBody / 2) // returns when the body is refused or read
			c.body.Close()
			synctest.Wait()
			if c.err != nil {
				refused++
			}
		}
		for _, c := range large {
			c.body.Close()
		}
		<-time.After(2 * bodyPatience)
		synctest.Wait()
		for _, c := range large {
			if c.err != nil && models.ErrorCode(c.err) != models.CodeOverloaded {
				t.Errorf("a refused body: %v", c.err)
			}
			if c.err != nil {
				refused++
			}
		}
		if refused == 0 {
			t.Error("no body was refused")
		}
		if b.Used() != 0 {
			t.Errorf("%d bytes are held by nobody", b.Used())
		}
	})
}

// TestDecodersCount checks that the memory of a decoder and of its output counts.
func TestDecodersCount(t *testing.T) {
	encoder, err := zstd.NewWriter(nil, zstd.WithWindowSize(8<<20))
	if err != nil {
		t.Fatal(err)
	}
	compressed := encoder.EncodeAll(bytes.Repeat([]byte("0"), maxBody), nil)
	var streamed bytes.Buffer
	encoder.Reset(&streamed)
	if _, err := encoder.Write([]byte(rand.Text() + rand.Text())); err != nil {
		t.Fatal(err)
	}
	if err := encoder.Flush(); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		b := NewBodies(64<<20, maxBody)
		c := send(t, b, -1, "zstd")
		_, _ = c.body.Write(streamed.Bytes()) // a window of 8 MB and a few bytes
		synctest.Wait()
		if b.Used() < 8<<20 {
			t.Errorf("a decoder of 8 MB counts %d bytes", b.Used())
		}
		c.body.Close()
		c = send(t, b, int64(len(compressed)), "zstd")
		_, _ = c.body.Write(compressed)
		c.body.Close()
		synctest.Wait()
		if !c.done || c.err != nil || c.size != maxBody {
			t.Errorf("%d bytes, %v", c.size, c.err)
		}
		if b.Used() != 0 {
			t.Errorf("%d bytes are held by nobody", b.Used())
		}
	})
}

// TestBodiesOfAnySize checks that a body of any size is read unchanged.
func TestBodiesOfAnySize(t *testing.T) {
	b := NewBodies(0, maxBody)
	for _, size := range []int{0, 1, tinyBody - 1, tinyBody, tinyBody + 1, 2 * tinyBody, smallBody - 1, smallBody, smallBody + 1, 3 * smallBody, maxBody - 1, maxBody} {
		want := make([]byte, size)
		for i := range want {
			want[i] = byte(i%251) + 1
		}
		for _, isKnown := range []bool{true, false} {
			request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", bytes.NewReader(want))
			if !isKnown {
				request.ContentLength = -1
			}
			err := b.middleware(func(c *echo.Context) error {
				got, err := readBody(c, maxBody, jsonType)
				if err == nil && !bytes.Equal(got, want) {
					err = errors.New("it is another one")
				}
				if held := b.Used(); held > int64(size+size/2+2*tinyBody) {
					t.Errorf("%d bytes are held for %d", held, size)
				}
				return err
			})(echo.New().NewContext(request, httptest.NewRecorder()))
			if err != nil {
				t.Errorf("%d bytes, known %t: %v", size, isKnown, err)
			}
		}
	}
}

// TestEventsLetGoOfTheirBody checks that a small event does not keep a large body in
// memory.
func TestEventsLetGoOfTheirBody(t *testing.T) {
	body := make([]byte, 16<<20)
	copy(body, `{"a":1}`)
	freed := make(chan struct{})
	runtime.AddCleanup(&body[0], func(freed chan struct{}) { close(freed) }, freed)
	events := []models.Incoming{{Event: models.Event{Data: body[:7]}}, {Event: models.Event{Data: body[1:2], DataRaw: body[2:3]}}}
	letGo(body, events)
	body = nil
	runtime.GC()
	<-freed
	if string(events[0].Data) != `{"a":1}` || string(events[1].Data) != `"` || string(events[1].DataRaw) != "a" {
		t.Errorf("the events have become %+v", events)
	}
}
