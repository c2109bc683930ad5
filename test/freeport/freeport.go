// Package freeport chooses ports for programs of tests.
package freeport

import (
	"context"
	"math/rand/v2"
	"net"
	"testing"
)

// Systems give ports above these to connections and listeners that ask for none. So no other
// program gets a chosen port by chance before the test's program listens, or while it restarts.
const first, last = 20_000, 29_999

// For returns a port on which no program listens on the loopback address.
func For(t testing.TB) int {
	t.Helper()
	port, err := Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// Get is For outside of a test.
func Get(ctx context.Context) (port int, err error) {
	for range 100 {
		port = first + rand.IntN(last-first+1)
		var l net.Listener
		address := net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}
		if l, err = (&net.ListenConfig{}).Listen(ctx, "tcp4", address.String()); err == nil {
			return port, l.Close()
		}
	}
	return 0, err
}
