//go:build linux

package delivery

import (
	"maps"
	"time"

	"ospulse/agent/internal/event"
)

// spoolOld writes to disk what is in memory for too long, or is too much there,
// until ended is closed.
func (d *Delivery) spoolOld(ended <-chan struct{}) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-d.wakeOut:
		case <-timer.C:
		case <-ended:
			return
		}
		for {
			l, b, wait := d.nextToSpool()
			if b == nil {
				timer.Reset(wait)
				break
			}
			if !d.spoolBatch(l, b, false) {
				break // nextToSpool says when to try again
			}
		}
	}
}

// nextToSpool gives the oldest batch that is to go to disk, or when to look again.
func (d *Delivery) nextToSpool() (*lane, *batch, time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.useSpool {
		return nil, nil, time.Hour
	}
	now := time.Now()
	if wait := d.spoolBusy.Sub(now); wait > 0 {
		return nil, nil, wait
	}
	var oldest *batch
	var owner *lane
	for _, l := range d.lanes {
		if b := l.firstInMemory(); b != nil && (oldest == nil || b.opened.Before(oldest.opened)) {
			oldest, owner = b, l
		}
	}
	if oldest == nil && d.queued > d.maxQueue/2 { // many batches are open, or the memory is small
		for _, l := range d.lanes {
			if l.open != nil && (oldest == nil || l.open.opened.Before(oldest.opened)) {
				oldest, owner = l.open, l
			}
		}
		if oldest != nil {
			d.seal(owner)
		}
	}
	if oldest == nil {
		return nil, nil, time.Hour // a batch that is sealed wakes it
	}
	if wait := oldest.opened.Add(spoolAfter).Sub(now); wait > 0 && d.queued <= d.maxQueue/2 {
		return nil, nil, wait
	}
	return owner, oldest, 0
}

// spoolBatch writes a batch to disk that is the lane's first in memory.
func (d *Delivery) spoolBatch(l *lane, b *batch, must bool) bool {
	at, err := d.spool.append(b, d.codec.pack(b), must)
	d.mu.Lock()
	if err != nil {
		d.spoolBusy = time.Now().Add(retrySpool)
		if !d.spoolFull {
			d.spoolFull = true
			d.log.Error("the spool takes no more events", "error", err)
		}
		d.note(err)
		d.mu.Unlock()
		return false
	}
	if d.spoolFull {
		d.spoolFull = false
		d.log.Info("the spool takes events again")
	}
	if b.finished {
		d.mu.Unlock()
		d.markDone(at)
		return true
	}
	defer d.mu.Unlock()
	b.ref, b.spooled = at, true
	if b != l.head {
		l.memory = l.memory[1:]
		l.disk = append(l.disk, at)
	}
	d.release(b.size)
	return true
}

// markDone notes on disk that a batch is delivered, or lost.
func (d *Delivery) markDone(at ref) {
	err := d.spool.done(at)
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil {
		d.note(err)
		d.log.Warn("the spool cannot be marked; a batch may be sent again by the next run", "error", err)
	}
	if d.spoolFull { // there may be room now
		d.spoolBusy = time.Time{}
		poke(d.wakeOut)
	}
}

// syncSpool syncs the spool from time to time, until ended is closed.
func (d *Delivery) syncSpool(ended <-chan struct{}) {
	ticker := time.NewTicker(syncInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ended:
			return
		}
		if err := d.spool.sync(); err != nil {
			d.mu.Lock()
			d.note(err)
			d.mu.Unlock()
			d.log.Warn("the spool is not synced: a power cut may cost more of it", "error", err)
		}
	}
}

// end leaves in the spool what is not delivered, or counts it as lost, which it
// leaves in the spool as well. Nothing else runs any more but Add.
func (d *Delivery) end() {
	d.mu.Lock()
	d.closed = true
	lanes := maps.Clone(d.lanes)
	for _, l := range lanes {
		if l.open != nil {
			d.seal(l)
		}
	}
	d.mu.Unlock()
	room := d.useSpool
	for _, l := range lanes {
		for b := l.firstInMemory(); b != nil; b = l.firstInMemory() {
			if room {
				room = d.spoolBatch(l, b, false)
			}
			if !b.spooled {
				d.drop(l, b)
			}
		}
	}
	for _, l := range lanes {
		d.endLosses(l)
	}
	if err := d.spool.close(); err != nil {
		d.log.Error("the spool is not closed well", "error", err)
	}
}

// drop loses the lane's first batch in memory: there is no room for it.
func (d *Delivery) drop(l *lane, b *batch) {
	lines, err := d.codec.lines(b)
	d.mu.Lock()
	defer d.mu.Unlock()
	if b == l.head {
		l.head = nil
	} else {
		l.memory = l.memory[1:]
	}
	b.finished = true
	d.forget(b)
	d.release(b.size)
	n, reports := b.left(), 0
	if err == nil {
		if len(b.parts) > 0 { // some of it is delivered
			lines = lines[b.parts[0].from:]
		}
		for _, line := range lines {
			if isReport(line) {
				reports++
			}
		}
	}
	d.count(event.ReasonSpoolFull, int64(reports))
	if n > reports {
		d.lose(l, loss{event.ReasonSpoolFull, uint64(n - reports), b.from, b.to})
	}
}

// endLosses leaves in the spool what was lost of the lane.
func (d *Delivery) endLosses(l *lane) {
	d.mu.Lock()
	if len(l.losses) > 0 {
		d.tell(l)
		d.seal(l)
	}
	d.mu.Unlock()
	for b := l.firstInMemory(); b != nil; b = l.firstInMemory() {
		if d.useSpool && d.spoolBatch(l, b, true) {
			continue
		}
		d.mu.Lock()
		l.memory = l.memory[1:]
		d.release(b.size)
		d.count(event.ReasonSpoolFull, int64(b.count))
		d.mu.Unlock()
	}
}
