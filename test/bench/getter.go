package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
)

// askTimeout is how long a connection may be used beyond the time of its measurement.
const askTimeout = 5 * time.Minute

// getter sends one request after the other on its own connection. It does little work,
// because it shares the processors with the backend.
type getter struct {
	conn    net.Conn
	answers *bufio.Reader
	request []byte
	body    []byte
}

// dialGetter connects to a server. The connection fails after the given time.
func dialGetter(ctx context.Context, url string, within time.Duration) (*getter, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(time.Now().Add(within)); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return &getter{conn: conn, answers: bufio.NewReaderSize(conn, 64<<10)}, nil
}

func (g *getter) close() error { return g.conn.Close() }

// get sends a request and reads the answer up to the body. The lines of header end in
// "\r\n".
func (g *getter) get(path, header string) (answer, error) {
	g.request = fmt.Appendf(g.request[:0], "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: OS-Pulse-Bench/1.0\r\n%s\r\n", path, header)
	if _, err := g.conn.Write(g.request); err != nil {
		return answer{}, fmt.Errorf("the connection broke: %w", err)
	}
	a, err := readHead(g.answers)
	if err != nil {
		return a, fmt.Errorf("GET %s: %w", path, err)
	}
	return a, nil
}

// ask sends a request and checks the body, which is valid until the next request.
func (g *getter) ask(path string, check func(answer []byte) error) error {
	a, err := g.get(path, "")
	if err != nil {
		return err
	}
	if g.body, err = a.appendBody(g.body[:0], g.answers); err == nil {
		err = check(g.body)
	}
	if err != nil {
		return fmt.Errorf("GET %s: %w", path, err)
	}
	return nil
}
