package service

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"sync"
	"time"

	"ospulse/internal/models"
)

// How a lease on a session is kept. leaseLasts is how long a backend that dies in an
// operation holds others up.
const (
	leaseLasts = 15 * time.Second
	leaseRenew = leaseLasts / 5
	leaseRetry = 50 * time.Millisecond
	leaseCall  = 5 * time.Second // that one call of the database may take
)

// LeaseRepository keeps leases; *repository.Leases implements it and documents its
// contracts.
type LeaseRepository interface {
	Take(ctx context.Context, name, holder string, lasts time.Duration) (taken bool, err error)
	Release(ctx context.Context, name, holder string) error
}

// Operations lets one operation at a time work on a session: its start, its stop, or
// the delivery of its file. It holds for all backends that share the database: each
// operation has a lease there. It is safe for concurrent use.
//
// A lease can end before its operation does, when this program or its database stands
// still for long. So an operation stores its outcome only if the session is still as
// the operation left it.
type Operations struct {
	leases LeaseRepository
	locks  keyedLock // so that those of this backend queue here, and not in the database
	log    *slog.Logger
}

// NewOperations gives the operations over their leases.
func NewOperations(leases LeaseRepository, log *slog.Logger) *Operations {
	return &Operations{leases: leases, log: log}
}

// begin waits for patience until no other operation works on the session; then it is
// a conflict. The caller must call end, once.
func (o *Operations) begin(ctx context.Context, sessionID string, patience time.Duration) (end func(), err error) {
	waiting, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	end, err = o.take(waiting, sessionID)
	if errors.Is(err, context.DeadlineExceeded) {
		err = models.Wrap(err, models.CodeConflict, "session %s is being started or stopped at the moment: try again", sessionID)
	}
	return end, err
}

// take waits for the session until ctx ends.
func (o *Operations) take(ctx context.Context, sessionID string) (end func(), err error) {
	unlock, err := o.locks.lock(ctx, sessionID)
	if err != nil {
		return nil, err
	}
	name, holder := "session:"+sessionID, rand.Text()
	for {
		taken, err := o.call(ctx, func(ctx context.Context) (bool, error) { return o.leases.Take(ctx, name, holder, leaseLasts) })
		if err != nil {
			unlock()
			return nil, err
		}
		if taken {
			break
		}
		select {
		case <-time.After(leaseRetry):
		case <-ctx.Done():
			unlock()
			return nil, ctx.Err()
		}
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var renewing sync.WaitGroup
	renewing.Go(func() { o.renew(ctx, name, holder) })
	return func() {
		cancel()
		renewing.Wait()
		if _, err := o.call(ctx, func(ctx context.Context) (bool, error) { return true, o.leases.Release(ctx, name, holder) }); err != nil {
			o.log.Warn("the lease on a session could not be released; it ends by itself", "session", sessionID, "error", err)
		}
		unlock()
	}, nil
}

// call calls the database in a time of its own: a call that is broken off may have
// taken the lease.
func (*Operations) call(ctx context.Context, do func(context.Context) (bool, error)) (bool, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaseCall)
	defer cancel()
	return do(ctx)
}

// renew keeps a lease until ctx ends.
func (o *Operations) renew(ctx context.Context, name, holder string) {
	ticker := time.NewTicker(leaseRenew)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		taken, err := o.call(ctx, func(ctx context.Context) (bool, error) { return o.leases.Take(ctx, name, holder, leaseLasts) })
		if err == nil && !taken {
			o.log.Warn("another backend has taken over a session during an operation on it", "lease", name)
			return
		}
	}
}
