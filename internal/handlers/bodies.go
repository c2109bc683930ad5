package handlers

import (
	"context"
	"math"
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v5"
	"golang.org/x/sync/semaphore"

	"ospulse/internal/models"
)

// Bodies bounds the memory of all request bodies together, from the first byte to the
// answer. Bytes that a client has not sent yet do not count. It is safe for concurrent
// use.
type Bodies struct {
	// The first smallBody bytes of each body count in small and the rest in large, so
	// that a few large, slow bodies do not block events.
	small, large *semaphore.Weighted
	// finishing is a semaphore of size 1. If large is used up, its holder takes the
	// memory reserved for one body, so that one of several partial bodies can always
	// finish.
	finishing chan struct{}
	used      atomic.Int64
	limit     int64
}

const (
	// bodyPatience is how long a request waits for memory, and bodyRetry the interval
	// of its attempts.
	bodyPatience = 3 * time.Second
	bodyRetry    = 20 * time.Millisecond
)

// NewBodies lets all bodies together take limit bytes, or what one body needs if that
// is more: twice its size, because its parts are joined at the end.
func NewBodies(limit, maxBody int64) *Bodies {
	one := 2*maxBody + 2*maxPart
	small := max(limit/4, 64*smallBody)
	large := max(limit-small-one, 4*maxPart)
	return &Bodies{
		small: semaphore.NewWeighted(small), large: semaphore.NewWeighted(large), finishing: make(chan struct{}, 1),
		limit: small + large + one,
	}
}

// Limit returns how many bytes bodies may take.
func (b *Bodies) Limit() int64 { return b.limit }

// Used returns how many bytes bodies take now.
func (b *Bodies) Used() int64 { return b.used.Load() }

const claimKey = "memory of the body"

// middleware adds a claim to each request, and releases it after the answer.
func (b *Bodies) middleware(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c *echo.Context) error {
		claim := &bodyClaim{bodies: b, ctx: c.Request().Context(), reservedFrom: math.MaxInt64}
		c.Set(claimKey, claim)
		defer func() { claim.giveBack(claim.size) }()
		return next(c)
	}
}

// claimOf returns the claim of a request.
func claimOf(c *echo.Context) *bodyClaim { return c.Get(claimKey).(*bodyClaim) }

// bodyClaim is the memory of one request's body.
type bodyClaim struct {
	bodies       *Bodies
	ctx          context.Context //nolint:containedctx // the context of its request
	size         int64
	reservedFrom int64 // bytes after this offset use the memory reserved for one body
}

// take claims n more bytes. It returns overloaded if they do not become free soon.
func (c *bodyClaim) take(n int) error {
	ctx, cancel := context.WithTimeout(c.ctx, bodyPatience)
	defer cancel()
	small, large := c.split(c.size, c.size+int64(n))
	if small > 0 && c.bodies.small.Acquire(ctx, small) != nil {
		return c.refusal()
	}
	if !c.takeLarge(ctx, large) {
		c.bodies.small.Release(small)
		return c.refusal()
	}
	c.size += int64(n)
	c.bodies.used.Add(int64(n))
	return nil
}

// takeLarge claims n bytes of large, or gets finishing. The rest of the body then uses
// the memory reserved for one.
func (c *bodyClaim) takeLarge(ctx context.Context, n int64) bool {
	retry := time.NewTicker(bodyRetry)
	defer retry.Stop()
	for !c.bodies.large.TryAcquire(n) {
		select {
		case c.bodies.finishing <- struct{}{}:
			c.reservedFrom = max(c.size, smallBody)
			return true
		case <-retry.C:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

func (c *bodyClaim) refusal() error {
	if err := c.ctx.Err(); err != nil {
		return err
	}
	return models.Errorf(models.CodeOverloaded, "the requests that are being read take all memory that there is for them; try again")
}

// giveBack releases the last n bytes.
func (c *bodyClaim) giveBack(n int64) {
	small, large := c.split(c.size-n, c.size)
	c.bodies.small.Release(small)
	c.bodies.large.Release(large)
	c.size -= n
	c.bodies.used.Add(-n)
	if c.size <= c.reservedFrom && c.reservedFrom != math.MaxInt64 {
		c.reservedFrom = math.MaxInt64
		<-c.bodies.finishing
	}
}

// split returns how many of the bytes in a range are small and how many are large.
func (c *bodyClaim) split(from, to int64) (small, large int64) {
	small = max(min(to, smallBody)-from, 0)
	large = max(min(to, c.reservedFrom)-max(from, smallBody), 0)
	return small, large
}
