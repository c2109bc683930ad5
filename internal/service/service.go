// Package service holds the rules of OS-Pulse: which session an event belongs
// to, and how a session and its agent go through a run together. It declares
// what it needs of the layers below as small interfaces, and knows nothing of
// HTTP or SQL.
package service

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"ospulse/internal/models"
)

// Clock tells the time.
type Clock func() time.Time

// now gives the clock's time as it is stored: UTC, microseconds.
func (c Clock) now() time.Time { return c().UTC().Truncate(time.Microsecond) }

// logRetried logs the error of a worker that will try again. An error that a health check
// reports, or that passes because another backend does the work, is for debugging.
func logRetried(ctx context.Context, log *slog.Logger, message string, err error) {
	if err == nil || ctx.Err() != nil {
		return
	}
	level := slog.LevelError
	if code := models.ErrorCode(err); code == models.CodeUnavailable || code == models.CodeConflict {
		level = slog.LevelDebug
	}
	log.Log(ctx, level, message, "error", err)
}

// keyedLock lets one caller at a time work on a key.
type keyedLock struct {
	mu   sync.Mutex
	held map[string]*heldKey
}

type heldKey struct {
	users int           // callers that hold the key or wait for it
	token chan struct{} // holds one value while the key is free
}

// lock waits for the key, or for ctx to end. The caller must call unlock, once.
func (l *keyedLock) lock(ctx context.Context, key string) (unlock func(), err error) {
	l.mu.Lock()
	if l.held == nil {
		l.held = map[string]*heldKey{}
	}
	k := l.held[key]
	if k == nil {
		k = &heldKey{token: make(chan struct{}, 1)}
		k.token <- struct{}{}
		l.held[key] = k
	}
	k.users++
	l.mu.Unlock()
	leave := func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if k.users--; k.users == 0 {
			delete(l.held, key)
		}
	}
	select {
	case <-k.token:
		return func() { k.token <- struct{}{}; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}
