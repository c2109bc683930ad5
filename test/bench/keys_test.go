package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"testing"
	"time"

	"ospulse/test/testbed"
)

// TestTurnDoesNotHideWaiting checks that a latency counts from the time at which its request
// was due: a server that answers too few requests in time has a growing backlog.
func TestTurnDoesNotHideWaiting(t *testing.T) {
	const answersAfter = 100 * time.Millisecond // at most 320 a second on 32 connections
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-time.After(answersAfter)
		_, _ = io.WriteString(w, "{}")
	}))
	defer server.Close()
	side := &keySide{backend: &testbed.Process{URL: server.URL, Process: &os.Process{Pid: os.Getpid()}}, requests: []request{newRequest(eventPath, "", []byte("{}"), isoTime)}, events: 2}
	var err error
	if side.clients, err = (load{side.requests, side.events, keyedPosters}).dial(t.Context(), server.URL); err != nil {
		t.Fatal(err)
	}
	defer side.clients.close() //nolint:errcheck // nothing is left to write
	for want, isMeasured := range []bool{false, true} {
		if err := side.turn(t.Context(), time.Second, isMeasured); err != nil {
			t.Fatal(err)
		}
		if got := len(side.p99); got != want {
			t.Fatalf("%d turns are measured, want %d", got, want)
		}
	}
	if side.p99[0] < 3*millis(answersAfter) || side.rates[0] > 400 || side.cpu[0] <= 0 && runtime.GOOS == "linux" || side.acknowledged%2 != 0 {
		t.Errorf("p99 %.0f ms, %.0f requests a second, %.0f µs each, %d events", side.p99[0], side.rates[0], side.cpu[0], side.acknowledged)
	}
	if got := spread([]float64{5, 1, 2, 4, 3}); got != "3.000 (2.000 to 4.000)" {
		t.Errorf("the spread is %s", got)
	}
}
