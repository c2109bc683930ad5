//go:build linux

package delivery

import (
	"crypto/rand"
	"fmt"
	"time"

	"ospulse/agent/internal/event"
)

// Add queues an event of a session; "" means none. It never waits for the backend. When
// memory becomes full, Add waits up to 200 ms, once per time that it is full. It counts and
// reports events that it must drop.
func (d *Delivery) Add(sessionID string, e *event.Event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.queued >= d.maxQueue && !d.refusing && !d.closed {
		d.awaitRoom()
	}
	if d.closed || d.refusing {
		d.refuse(sessionID, e)
		return
	}
	d.status.Added++
	l := d.lane(sessionID)
	if len(l.losses) > 0 {
		d.reportLosses(l)
	}
	if !d.append(l, e, time.Time{}) {
		d.lose(l, loss{event.ReasonTooLarge, 1, e.Time, e.Time})
	}
}

// append adds an event to the lane's open batch. It returns false if the event is too large.
// since is the time of the earlier loss that the event reports, or zero.
func (d *Delivery) append(l *lane, e *event.Event, since time.Time) bool {
	b := l.open
	if b == nil {
		b = &batch{key: rand.Text(), session: l.session, opened: time.Now(), raw: d.codec.buffer()}
		b.since = b.opened
		l.open = b
		poke(d.wake)
	}
	if !since.IsZero() && since.Before(b.since) {
		b.since = since
	}
	n := b.add(e)
	b.size += n
	d.queued += n
	if b.isFull() {
		d.seal(l)
		poke(d.wake)
		poke(d.wakeOut) // so that the batch is spooled in time even if no other event follows
	}
	if d.queued > d.maxQueue/2 {
		poke(d.wakeOut)
	}
	return n > 0
}

// seal moves the lane's open batch to the batches in memory.
func (d *Delivery) seal(l *lane) {
	b := l.open
	l.open = nil
	if b.count > 0 {
		l.memory = append(l.memory, b)
	}
}

// poke wakes the goroutine that waits on the channel, or the next one to wait.
func poke(wake chan struct{}) {
	select {
	case wake <- struct{}{}:
	default:
	}
}

// awaitRoom waits up to roomPatience for free memory. If there is none, it makes Add refuse
// events. The caller holds d.mu, which awaitRoom releases while it waits.
func (d *Delivery) awaitRoom() {
	timer := time.NewTimer(roomPatience)
	defer timer.Stop()
	for d.queued >= d.maxQueue && !d.refusing && !d.closed {
		if d.spoolFull {
			d.refusing = true
			return
		}
		freed := d.freed
		poke(d.wakeOut)
		d.mu.Unlock()
		late := false
		select {
		case <-freed:
		case <-timer.C:
			late = true
		}
		d.mu.Lock()
		if late && d.queued >= d.maxQueue {
			d.refusing = true
		}
	}
}

// refuse counts an event for which there is no room, and records the loss.
func (d *Delivery) refuse(session string, e *event.Event) {
	l := d.lane(session)
	if lost, ok := e.Data.(*event.Lost); ok { // keep the reported loss, to report it later
		l.losses.add(loss{lost.Reason, lost.Count, lost.From, lost.To})
		return
	}
	d.status.Added++
	reason := ReasonQueueFull
	switch {
	case d.closed:
		reason = ReasonStopped
	case d.spoolFull || !d.useSpool:
		reason = event.ReasonSpoolFull
	}
	d.lose(l, loss{reason, 1, e.Time, e.Time})
}

// lose counts lost events and records the loss for a report.
func (d *Delivery) lose(l *lane, lost loss) {
	d.count(lost.reason, int64(lost.count))
	l.losses.add(lost)
}

// count counts n lost events.
func (d *Delivery) count(reason string, n int64) {
	d.status.Lost += n
	d.status.LostByReason[shortReason(reason)] += n
}

// reportLosses adds the recorded losses to the lane as events_lost events.
func (d *Delivery) reportLosses(l *lane) {
	lost := l.losses
	l.losses = nil
	for _, each := range lost {
		d.status.Reports++
		d.append(l, each.event(), each.to)
	}
	if len(lost) > 0 {
		d.log.Error("events are lost", "session", l.session, "losses", fmt.Sprintf("%+v", lost))
	}
}

// release frees size bytes of queue memory. It ends refusing when enough memory is free: a
// quarter of the maximum or 1 MiB, whichever is less.
func (d *Delivery) release(size int) {
	d.queued -= size
	if d.refusing && d.queued <= d.maxQueue-min(d.maxQueue/4, 2*maxBatchBytes) {
		d.refusing = false
		poke(d.wake) // to report the loss
	}
	close(d.freed)
	d.freed = make(chan struct{})
}
