//go:build linux

package delivery

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"time"

	"ospulse/agent/internal/event"
)

// endTries is the maximum number of syncs at the end.
const endTries = 4

// spoolOld spools batches that are in memory for too long, or that use too much of it. It
// returns when ended is closed.
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

// nextToSpool returns the oldest batch that must go to disk and its lane. If there is none,
// the batch is nil and the duration is the time until the next check.
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
		return nil, nil, time.Hour // seal wakes spoolOld
	}
	if wait := oldest.opened.Add(spoolAfter).Sub(now); wait > 0 && d.queued <= d.maxQueue/2 {
		return nil, nil, wait
	}
	return owner, oldest, 0
}

// spoolBatch writes b, which is the lane's first batch in memory, to the spool. It returns
// false if the spool does not accept b. With must, it may use lossReserve.
func (d *Delivery) spoolBatch(l *lane, b *batch, must bool) bool {
	at, err := d.spool.append(b, d.codec.pack(b), must)
	d.mu.Lock()
	if errors.Is(err, errTorn) { // syncOnce wakes spoolOld
		d.mu.Unlock()
		return false
	}
	if err != nil {
		d.spoolBusy = time.Now().Add(retrySpool)
		if !d.spoolFull {
			d.spoolFull = true
			d.log.Error("the spool accepts no more events", "error", err)
		}
		d.note(err)
		d.mu.Unlock()
		return false
	}
	if d.spoolFull {
		d.spoolFull = false
		d.log.Info("the spool accepts events again")
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

// forgetUnsynced releases the memory of the batch at ref at, which is synced or no longer
// needed.
func (d *Delivery) forgetUnsynced(l *lane, at ref) {
	for i, b := range l.unsynced {
		if b.ref == at {
			l.unsynced = slices.Delete(l.unsynced, i, i+1)
			d.release(b.kept)
			return
		}
	}
}

// syncOnce syncs the spool. It appends batches of bad segments again. It reports whether
// everything in the spool is safe now.
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
		d.log.Error("cannot sync the spool; the agent writes unsynced events again", "error", err)
	}
	d.mu.Lock()
	for _, each := range before {
		if each.b.ref == each.at && !d.spool.isBad(each.at.segment) {
			d.forgetUnsynced(each.lane, each.at)
		}
	}
	poke(d.wake) // step deletes lanes that are empty now
	d.mu.Unlock()
	left := unsynced()
	slices.SortFunc(left, func(a, b spooled) int {
		return cmp.Or(cmp.Compare(a.at.segment, b.at.segment), cmp.Compare(a.at.offset, b.at.offset))
	})
	for _, each := range left {
		if d.spool.isBad(each.at.segment) && !d.spoolAgain(each.lane, each.b) {
			return false // the next sync goes on here
		}
	}
	if d.spool.mended() {
		poke(d.wakeOut)
	}
	return len(left) == 0
}

// spoolAgain appends a batch again after a failed sync, which may have lost its record. It
// returns false if the spool does not accept the batch, which stays in memory.
func (d *Delivery) spoolAgain(l *lane, b *batch) bool {
	at, err := d.spool.again(b, d.codec.pack(b))
	d.mu.Lock()
	if err != nil {
		d.note(err)
		d.mu.Unlock()
		return false
	}
	old := b.ref
	if b.finished || !slices.Contains(l.unsynced, b) { // another goroutine has delivered it
		d.mu.Unlock()
		d.markDone(at)
		return true
	}
	b.ref = at
	if i := slices.Index(l.disk, old); i >= 0 {
		l.disk[i] = at
	}
	d.mu.Unlock()
	d.markDone(old)
	return true
}

// markDone marks a record of the spool as done: its batch is delivered or lost.
func (d *Delivery) markDone(at ref) {
	err := d.spool.done(at)
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil {
		d.note(err)
		d.log.Warn("cannot mark a batch as done in the spool; the next run may send it again", "error", err)
	}
	if d.spoolFull { // try the spool again now
		d.spoolBusy = time.Time{}
		poke(d.wakeOut)
	}
}

// syncSpool syncs the spool every syncInterval, or when woken, until ended is closed.
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

// end spools all undelivered batches and closes the spool. It counts batches that do not fit
// as lost and spools the reports. Only Add can still run concurrently.
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
	d.spool.mended() // a wrong order is better than a loss
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
	for try := 0; try < endTries && !isSafe; try++ { // one try is enough, unless a sync fails
		isSafe = d.syncOnce()
	}
	if err := d.spool.close(isSafe); err != nil {
		d.log.Error("cannot close the spool", "error", err)
	}
}

// drop removes b, the lane's first batch in memory, because there is no room for it. It
// counts its unsettled events as lost.
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
		if len(b.parts) > 0 { // a part is settled already
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

// endLosses spools the reports of the lane's losses.
func (d *Delivery) endLosses(l *lane) {
	d.mu.Lock()
	if len(l.losses) > 0 {
		d.reportLosses(l)
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
