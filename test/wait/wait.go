// Package wait waits in tests for what other goroutines and programs do.
package wait

import (
	"testing"
	"time"
)

// Patience is how long a test waits for what must come. A test that passes waits a small
// part of it, on a slow machine too.
const Patience = 10 * time.Minute

// For waits until isSo returns true. It fails the test if that takes longer than Patience.
func For(t testing.TB, what string, isSo func() bool) {
	t.Helper()
	deadline := time.Now().Add(Patience)
	for pause := time.Millisecond; !isSo(); pause = min(pause*5/4, 100*time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", Patience, what)
		}
		<-time.After(pause)
	}
}

// Receive returns the next value of a channel, or the zero value if the channel is closed.
// It fails the test if that takes longer than Patience.
func Receive[T any](t testing.TB, what string, c <-chan T) T {
	t.Helper()
	select {
	case value := <-c:
		return value
	case <-time.After(Patience):
		t.Fatalf("not within %s: %s", Patience, what)
		panic("unreachable")
	}
}
