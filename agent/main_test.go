//go:build linux

package main

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestEndInTime: the agent ends when it is told to, also if a part of it hangs.
func TestEndInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		hangs := make(chan struct{})
		defer close(hangs)
		var said bytes.Buffer
		began := time.Now()
		time.AfterFunc(time.Hour, cancel)
		if code := endInTime(ctx, &said, func() int { <-hangs; return 0 }); code != 1 || time.Since(began) != time.Hour+endTime {
			t.Errorf("it ended with %d after %s", code, time.Since(began))
		}
		if !strings.Contains(said.String(), "next start") {
			t.Errorf("it said %q", &said)
		}
		if code := endInTime(ctx, &said, func() int { return 7 }); code != 7 {
			t.Errorf("one that ends gives %d", code)
		}
	})
}
