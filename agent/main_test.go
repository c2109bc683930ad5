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

// TestEndInTime checks that the agent ends in time, even if a part of it hangs.
func TestEndInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		hangs := make(chan struct{})
		defer close(hangs)
		var said bytes.Buffer
		began := time.Now()
		time.AfterFunc(time.Hour, cancel)
		if code := endInTime(ctx, &said, endTime, func() int { <-hangs; return 0 }); code != 1 || time.Since(began) != time.Hour+endTime {
			t.Errorf("endInTime returned %d after %s", code, time.Since(began))
		}
		if !strings.Contains(said.String(), "next start") {
			t.Errorf("endInTime wrote %q", &said)
		}
		if code := endInTime(ctx, &said, endTime, func() int { return 7 }); code != 7 {
			t.Errorf("an agent that ends: endInTime returned %d, want 7", code)
		}
	})
}
