//go:build linux

package delivery

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"ospulse/agent/internal/event"
)

// endTries is how often the spool is synced at the end until all of it is.
const endTries = 4

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
	b.kept = len(b.packed)
	l.unsynced = append(l.unsynced, b)
	d.release(b.size - b.kept)
	if d.queued > d.maxQueue/2 {
		poke(d.wakeSync)
	}
	return true
}

// forgetUnsynced ends keeping a batch in memory: it is synced, or not needed.
func (d *Delivery) forgetUnsynced(l *lane, at ref) {
	for i, b := range l.unsynced {
		if b.ref == at {
			l.unsynced = slices.Delete(l.unsynced, i, i+1)
			d.release(b.kept)
			return
		}
	}
}

// syncOnce syncs the spool. What it could not sync it appends again, and reports
// whether all that is in the spool is safe now.
func (d *Delivery) syncOnce() bool {
	type spooled struct {
		lane *lane
		b    *batch
		at   ref
	}
	unsynced := func() (all []spooled) {
		d.mu.Lock()
		defer d.mu.Unlock()
		for _, l := range d.lanes {
			for _, b := range l.unsynced {
				all = append(all, spooled{l, b, b.ref})
			}
		}
		return all
	}
	before := unsynced()
	if err := d.spool.sync(); err != nil {
		d.mu.Lock()
		d.note(err)
		d.mu.Unlock()
		d.log.Error("the spool cannot be synced; what is not synced is written again", "error", err)
	}
	d.mu.Lock()
	for _, each := range before {
		if each.b.ref == each.at && !d.spool.isBad(each.at.segment) {
			d.forgetUnsynced(each.lane, each.at)
		}
	}
	poke(d.wake) // lanes may be empty
	d.mu.Unlock()
	left := unsynced()
	slices.SortFunc(left, func(a, b spooled) int {
		return cmp.Or(cmp.Compare(a.at.segment, b.at.segment), cmp.Compare(a.at.offset, b.at.offset))
	})
	for _, each := range left {
		if d.spool.isBad(each.at.segment) {
			d.spoolAgain(each.lane, each.b)
		}
	}
	return len(left) == 0
}

// spoolAgain appends a batch again, whose record a failed sync may have cost.
func (d *Delivery) spoolAgain(l *lane, b *batch) {
	at, err := d.spool.append(b, d.codec.pack(b), true)
	d.mu.Lock()
	if err != nil {
		d.note(err)
		d.mu.Unlock()
		return // it stays in memory, until the next sync
	}
	old := b.ref
	if b.finished || !slices.Contains(l.unsynced, b) { // it was delivered meanwhile
		d.mu.Unlock()
		d.markDone(at)
		return
	}
	b.ref = at
	if i := slices.Index(l.disk, old); i >= 0 {
		l.disk[i] = at
	}
	d.mu.Unlock()
	d.markDone(old)
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
		case <-d.wakeSync:
		case <-ended:
			return
		}
		d.syncOnce()
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
	isSafe := false
	for try := 0; try < endTries && !isSafe; try++ { // one to sync, others if that fails
		isSafe = d.syncOnce()
	}
	if err := d.spool.close(isSafe); err != nil {
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
