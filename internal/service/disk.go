package service

import (
	"context"
	"sync"
	"time"

	"ospulse/internal/models"
)

// Disk watches the free space of the data folder's disk, and estimates when it will be
// full. It is safe for concurrent use.
type Disk struct {
	free     func() (int64, error)
	minFree  int64
	database bool // the database is on this disk

	mu      sync.Mutex
	now     int64        // free bytes; −1 if unknown
	history []diskSample // one a minute, oldest first
}

type diskSample struct {
	at   time.Time
	free int64
}

const (
	diskInterval       = 500 * time.Millisecond
	diskSampleInterval = time.Minute
	maxDiskSamples     = 61 // of an hour
	// minDiskSamples are needed for an estimate. The shortest span is a quarter of an hour.
	minDiskSamples = 16
	// diskHorizon is how far ahead Disk warns.
	diskHorizon = 24 * time.Hour
	// nearFactor is the multiple of MIN_FREE_MB that counts as near.
	nearFactor = 2
)

// NewDisk returns the watch of a disk with this free space. minFree is MIN_FREE_MB in
// bytes. database says whether the database is on the disk. The caller must call Run.
func NewDisk(free func() (int64, error), minFree int64, database bool) *Disk {
	return &Disk{free: free, minFree: minFree, database: database, now: -1}
}

// Run reads the free space until ctx ends.
func (d *Disk) Run(ctx context.Context) {
	ticker := time.NewTicker(diskInterval)
	defer ticker.Stop()
	for {
		d.look(time.Now())
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (d *Disk) look(at time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.read()
	if n := len(d.history); d.now < 0 || n > 0 && at.Sub(d.history[n-1].at) < diskSampleInterval {
		return
	}
	d.history = append(d.history, diskSample{at, d.now})
	if len(d.history) > maxDiskSamples {
		d.history = d.history[1:]
	}
}

// read reads the free space. The caller holds the mutex.
func (d *Disk) read() {
	var err error
	if d.now, err = d.free(); err != nil {
		d.now = -1
	}
}

// Refusal returns the error for requests that store events while the disk is nearly full;
// nil if there is space or the database is on another disk. It reads the free space: much
// may be written between two looks, and on a full disk nothing can be removed either.
func (d *Disk) Refusal() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.read(); d.state() != models.DiskFull {
		return nil
	}
	return models.Errorf(models.CodeUnavailable, "the disk of the backend is nearly full: events are refused until more than %d MB are free (MIN_FREE_MB)", d.minFree>>20)
}

// state returns the state without the estimate. The caller holds the mutex.
func (d *Disk) state() models.DiskState {
	switch {
	case d.now < 0 || !d.database:
		return models.DiskOK
	case d.now < d.minFree:
		return models.DiskFull
	case d.now < nearFactor*d.minFree:
		return models.DiskLow
	}
	return models.DiskOK
}

// Status returns the state of the disk.
func (d *Disk) Status() models.DiskStatus {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := models.DiskStatus{State: d.state(), FreeBytes: d.now, MinFreeBytes: d.minFree, HasDatabase: d.database}
	if left, ok := d.left(); ok && left <= diskHorizon && d.database {
		s.FullAt = new(d.history[len(d.history)-1].at.Add(left).UTC().Truncate(time.Second))
		if s.State == models.DiskOK {
			s.State = models.DiskFilling
		}
	}
	return s
}

// left estimates how long it takes until MIN_FREE_MB is reached. It uses the slower of the
// growth in the last hour and in the last quarter of an hour, so that one large upload or
// the end of a busy hour raises no alarm. The caller holds the mutex.
func (d *Disk) left() (time.Duration, bool) {
	n := len(d.history)
	if n < minDiskSamples {
		return 0, false
	}
	last := d.history[n-1]
	growth := func(since diskSample) float64 { // bytes per nanosecond
		return float64(since.free-last.free) / float64(last.at.Sub(since.at))
	}
	rate := min(growth(d.history[0]), growth(d.history[n-minDiskSamples]))
	if rate <= 0 {
		return 0, false
	}
	left := float64(max(last.free-d.minFree, 0)) / rate
	return time.Duration(min(left, float64(2*diskHorizon))), true
}
