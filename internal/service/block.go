package service

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"time"

	"ospulse/internal/models"
)

// BlockRepository moves blocks to a bucket. internal/repository implements it and
// documents its contracts.
type BlockRepository interface {
	Check(ctx context.Context) error
	Move(ctx context.Context) (int, error)
	Sweep(ctx context.Context, age time.Duration) (removed int, err error)
}

// Blocks moves the blocks of sealed events from the database to a bucket, and removes the
// objects that are not used any more. One backend at a time does so.
type Blocks struct {
	repo     BlockRepository
	leases   LeaseRepository
	interval time.Duration
	log      *slog.Logger
	holder   string // of the lease
	failure  string // the last one that was logged
}

// NewBlocks returns the service over its repositories. sealAfter is that of NewSeals: Run
// looks for blocks as often as events are sealed.
func NewBlocks(repo BlockRepository, leases LeaseRepository, sealAfter time.Duration, log *slog.Logger) *Blocks {
	return &Blocks{repo: repo, leases: leases, interval: sealInterval(sealAfter), log: log, holder: rand.Text()}
}

const (
	blockLease = "blocks"
	// If a backend is killed, others wait for this long.
	blockLeaseLasts = 30 * time.Second
	// objectAge is how long an object stays in the bucket when no block uses it any more. A
	// backup that has begun before needs it until its end.
	objectAge           = 24 * time.Hour
	objectSweepInterval = time.Hour
	// maxMoveRest limits how long the worker rests after each move.
	maxMoveRest = time.Second
)

// Run moves blocks until ctx ends. It also checks the bucket in each interval, so that
// /readyz knows whether it can be reached.
func (b *Blocks) Run(ctx context.Context) {
	ticker := time.NewTicker(b.interval)
	defer ticker.Stop()
	defer b.release(ctx)
	nextCheck, nextSweep := time.Time{}, time.Time{}
	var unusable error // of the last check
	for {
		now := time.Now()
		if now.After(nextCheck) {
			unusable = b.repo.Check(ctx)
			nextCheck = now.Add(maxSealInterval / 2)
		}
		err := unusable
		if err == nil {
			err = b.work(ctx, now.After(nextSweep))
			if err == nil && now.After(nextSweep) {
				nextSweep = now.Add(objectSweepInterval)
			}
		}
		b.report(ctx, err)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// work moves all blocks, and sweeps if it is time to, unless another backend does so.
func (b *Blocks) work(ctx context.Context, sweeps bool) error {
	for {
		taken, err := b.leases.Take(ctx, blockLease, b.holder, blockLeaseLasts)
		if err != nil || !taken {
			return err
		}
		if sweeps {
			removed, err := b.repo.Sweep(ctx, objectAge)
			if removed > 0 {
				b.log.Info("objects that no block uses were removed", "objects", removed)
			}
			if err != nil {
				return err
			}
			sweeps = false
		}
		began := time.Now()
		moved, err := b.repo.Move(ctx)
		if err != nil || moved == 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(min(time.Since(began), maxMoveRest)): // for incoming events and readers
		}
	}
}

// release lets another backend go on at once.
func (b *Blocks) release(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaseCall)
	defer cancel()
	if err := b.leases.Release(ctx, blockLease, b.holder); err != nil {
		b.log.Debug("the lease on moving blocks stays until it expires", "error", err)
	}
}

// report logs an error once.
func (b *Blocks) report(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	failure := ""
	if err != nil {
		failure = err.Error()
	}
	if e, ok := errors.AsType[*models.Error](err); ok {
		failure = e.Message
	}
	if failure != b.failure && err != nil {
		b.log.Error("blocks of sealed events cannot be moved to the bucket, and stay in the database until then; it is tried again", "error", err)
	} else if failure != b.failure {
		b.log.Info("blocks of sealed events can be moved to the bucket again")
	}
	b.failure = failure
}
