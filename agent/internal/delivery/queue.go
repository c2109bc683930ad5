//go:build linux

package delivery

import (
	"crypto/rand"
	"fmt"
	"time"

	"ospulse/agent/internal/event"
)

// Add takes an event of a session, "" for none. It does not wait for the backend,
// and 200 ms at most, once each time that it is full, for memory. What cannot be
// kept is counted and reported.
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
		d.tell(l)
	}
	if !d.append(l, e, time.Time{}) {
		d.lose(l, loss{event.ReasonTooLarge, 1, e.Time, e.Time})
	}
}

// append adds an event to the lane's open batch; it is false for one that is too
// large. since is when what the event tells of was added, if that was before.
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
		poke(d.wakeOut) // it is to be spooled in time, whether or not another comes
	}
	if d.queued > d.maxQueue/2 {
		poke(d.wakeOut)
	}
	return n > 0
}

// seal ends the lane's open batch.
func (d *Delivery) seal(l *lane) {
	b := l.open
	l.open = nil
	if b.count > 0 {
		l.memory = append(l.memory, b)
	}
}

// poke wakes whoever waits on the channel, now or next.
func poke(wake chan struct{}) {
	select {
	case wake <- struct{}{}:
	default:
	}
}

// awaitRoom waits a little until there is memory, and else starts refusing.
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

// refuse counts an event that there is no room for.
func (d *Delivery) refuse(session string, e *event.Event) {
	l := d.lane(session)
	if told, ok := e.Data.(*event.Lost); ok { // it is not lost that those are
		l.losses.add(loss{told.Reason, told.Count, told.From, told.To})
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

// lose counts events that are gone, and notes that it is to be told.
func (d *Delivery) lose(l *lane, lost loss) {
	d.count(lost.reason, int64(lost.count))
	l.losses.add(lost)
}

// count counts events that are gone.
func (d *Delivery) count(reason string, n int64) {
	d.status.Lost += n
	d.status.LostByReason[shortReason(reason)] += n
}

// tell adds to the lane what was lost of it.
func (d *Delivery) tell(l *lane) {
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

// release takes bytes off the memory that is used, and ends refusing when there is
// room for a good deal more.
func (d *Delivery) release(size int) {
	d.queued -= size
	if d.refusing && d.queued <= d.maxQueue-min(d.maxQueue/4, 2*maxBatchBytes) {
		d.refusing = false
		poke(d.wake) // the loss is to be told
	}
	close(d.freed)
	d.freed = make(chan struct{})
}
