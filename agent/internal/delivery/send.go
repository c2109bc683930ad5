//go:build linux

package delivery

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"ospulse/agent/internal/event"
)

// maxConflicts is the number of retries for a key that is in use: the backend may still
// process an earlier request with that key.
const maxConflicts = 5

// send sends the lane's oldest batch.
func (d *Delivery) send(ctx context.Context, l *lane) {
	b := d.takeHead(l)
	if b != nil {
		d.deliver(ctx, l, b)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	l.sending = false
	d.inFlight--
	poke(d.wake)
}

// takeHead makes the lane's oldest batch its head and returns it. It returns nil if it
// cannot read the batch.
func (d *Delivery) takeHead(l *lane) *batch {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case l.head != nil:
	case len(l.disk) > 0:
		at := l.disk[0]
		l.disk = l.disk[1:]
		if i := slices.IndexFunc(l.unsynced, func(b *batch) bool { return b.ref == at }); i >= 0 {
			l.head = l.unsynced[i]
			return l.head
		}
		d.mu.Unlock()
		b, err := d.spool.read(at)
		d.mu.Lock()
		if errors.Is(err, errDamaged) {
			now := time.Now()
			lost := loss{ReasonDamaged, uint64(at.count), now, now}
			if b != nil {
				lost.from, lost.to = b.from, b.to
			}
			d.lose(l, lost)
			d.log.Error("a part of the spool is damaged", "session", l.session, "bytes", at.size, "events", at.count)
			d.mu.Unlock()
			d.markDone(at)
			d.mu.Lock()
			return nil
		}
		if err != nil { // a read error: the record is still there
			l.disk = append([]ref{at}, l.disk...)
			d.note(err)
			l.retry.fail(time.Now(), 0)
			return nil
		}
		b.unsure = true // an earlier run may have sent it
		d.status.Inherited -= int64(d.recall(b))
		l.head = b
	case len(l.memory) > 0:
		l.head = l.memory[0]
		l.memory = l.memory[1:]
	}
	return l.head
}

// deliver sends a batch, in parts if necessary, until all events are settled or a part must
// be retried later.
func (d *Delivery) deliver(ctx context.Context, l *lane, b *batch) {
	if b.parts == nil { // a divided batch without parts left has an empty slice, not nil
		b.parts = []part{{b.key, 0, b.count}}
	}
	for len(b.parts) > 0 {
		p := b.parts[0]
		single, plain := d.client.ways()
		if single && p.to-p.from > 1 {
			b.split()
			continue
		}
		body, isZstd, err := d.body(b, p, plain || single)
		if err != nil { // unexpected: takeHead has checked batches from disk
			d.settle(l, b, p, answer{verdict: refused, said: err.Error(), err: err})
			continue
		}
		a := d.ask(ctx, b, p, body, isZstd, single)
		if ctx.Err() != nil && a.verdict != taken {
			return
		}
		switch {
		case a.verdict == noRoute && !single:
			d.log.Warn("the backend has no batch route; the agent sends events one by one", "error", a.err)
			d.client.useSingle()
		case a.verdict == badType && !single && isZstd:
			d.log.Warn("the backend does not support zstd; the agent sends events uncompressed", "error", a.err)
			d.client.usePlain()
		case a.verdict == badType && !single:
			d.client.useSingle()
		case (a.verdict == tooLarge || a.verdict == refused) && p.to-p.from > 1:
			d.divide(b, a.said)
		case a.verdict == broke && d.isPoisoned(ctx, b):
			d.giveUp(l, b, p, a)
		case a.verdict == taken, a.verdict == tooLarge, a.verdict == refused, a.verdict == badType,
			a.verdict == conflict && b.conflicts == maxConflicts:
			d.settle(l, b, p, a)
		default:
			if a.verdict == conflict {
				b.conflicts++
			}
			if a.verdict != broke {
				b.broken = 0
			}
			b.unsure = b.unsure || a.verdict == failed
			d.putOff(l, a)
			return
		}
	}
	d.finish(l, b)
}

// giveUp halves the batch's first part, which the backend cannot process. If the part is one
// event, giveUp sets it aside.
func (d *Delivery) giveUp(l *lane, b *batch, p part, a answer) {
	b.broken = 0
	d.mu.Lock()
	l.retry = retry{}
	d.mu.Unlock()
	if p.to-p.from > 1 {
		d.log.Warn("the backend fails repeatedly for a batch; the agent sends it in halves", "session", l.session, "events", p.to-p.from, "error", a.err)
		d.divide(b, "")
		return
	}
	a.verdict = aside
	if err := d.setAside(b, p, a.said); err != nil {
		a.verdict = refused
		d.log.Error("cannot set an event aside; it is lost", "session", l.session, "error", err)
	}
	d.settle(l, b, p, a)
}

// ask sends a part of a batch. With single, the part is one event and goes to the route for
// single events.
func (d *Delivery) ask(ctx context.Context, b *batch, p part, body []byte, isZstd, single bool) answer {
	if single {
		// A request to another route is another request and needs another key.
		return d.client.single(ctx, p.key+".single", b.session, bytes.TrimSuffix(body, []byte("\n")))
	}
	return d.client.batch(ctx, p.key, b.session, body, isZstd)
}

// cut divides the batch's first part at the given lines. The key of a new part depends only
// on its lines, so the same cut always produces the same keys.
func (b *batch) cut(at ...int) {
	p := b.parts[0]
	var parts []part
	from := p.from
	for _, to := range append(at, p.to) {
		if to > from {
			parts = append(parts, part{fmt.Sprintf("%s.%d-%d", b.key, from, to), from, to})
			from = to
		}
	}
	b.parts = append(parts, b.parts[1:]...)
	b.divided, b.unsure = true, false
}

// split divides the batch's first part into single events.
func (b *batch) split() {
	p := b.parts[0]
	parts := make([]part, 0, p.to-p.from+len(b.parts)-1)
	for i := p.from; i < p.to; i++ {
		parts = append(parts, part{p.key + "." + strconv.Itoa(i), i, i + 1})
	}
	b.parts = append(parts, b.parts[1:]...)
}

// body returns the text of a part of a batch. isZstd reports whether it is compressed; with
// plain, and for small parts, it is not.
func (d *Delivery) body(b *batch, p part, plain bool) (body []byte, isZstd bool, err error) {
	whole := p.to-p.from == b.count
	if whole && !plain {
		return d.codec.pack(b), true, nil
	}
	lines, err := d.codec.lines(b)
	if err != nil {
		return nil, false, err
	}
	if p.to-p.from == 1 {
		body = lines[p.from]
	} else {
		body = bytes.Join(lines[p.from:p.to], nil)
	}
	if plain || len(body) < 1<<10 {
		return body, false, nil
	}
	return d.codec.encoder.EncodeAll(body, nil), true, nil
}

// settle removes the batch's first part, which the backend has accepted or which is lost, and
// counts its events.
func (d *Delivery) settle(l *lane, b *batch, p part, a answer) {
	b.parts = b.parts[1:]
	b.broken, b.unsure = 0, false
	b.taken = b.taken || a.verdict == taken
	d.remember(b)
	n := p.to - p.from
	var lost []loss
	reports := 0 // lost events that are reports
	seen := map[int]bool{}
	lose := func(reason string, index int) {
		if seen[index] {
			return
		}
		seen[index] = true
		if lines, err := d.codec.lines(b); err == nil && isReport(lines[index]) {
			reports++
			return
		}
		lost = append(lost, loss{reason, 1, b.from, b.to})
	}
	switch {
	case a.verdict == taken:
		for _, f := range a.faults {
			if f.Index >= 0 && f.Index < n {
				lose(reasonOf(ReasonRefused, f.Error), p.from+f.Index)
			}
		}
	case a.verdict == tooLarge && n == 1:
		lose(event.ReasonTooLarge, p.from)
	case a.verdict == aside:
		lose(reasonOf(ReasonSetAside, a.said), p.from)
	default:
		for i := p.from; i < p.to; i++ {
			lose(reasonOf(ReasonRefused, a.said), i)
		}
	}
	if len(lost)+reports > 0 {
		d.log.Error("the backend refused events; they are lost", "session", l.session, "events", len(lost)+reports, "error", a.err, "faults", fmt.Sprintf("%.300v", a.faults))
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	b.settled += n
	for _, each := range lost {
		d.lose(l, each)
	}
	d.count(ReasonRefused, int64(reports))
	d.status.Delivered += int64(n - len(lost) - reports)
	if a.verdict != aside { // aside does not show that the backend is healthy
		d.status.LastContact = time.Now()
	}
	if d.gate.fails > 0 || l.retry.fails > 0 {
		d.log.Info("the backend accepts events again", "session", l.session)
	}
	d.gate, l.retry = retry{}, retry{}
}

// finish removes a fully settled batch from memory and marks it as done in the spool.
func (d *Delivery) finish(l *lane, b *batch) {
	d.mu.Lock()
	l.head = nil
	b.finished = true
	if !b.spooled {
		d.release(b.size)
	}
	spooled, at := b.spooled, b.ref
	d.forgetUnsynced(l, at)
	d.mu.Unlock()
	defer d.forget(b) // after markDone: without the mark, the next run sends the batch again and needs the division
	if spooled {
		d.markDone(at)
	}
}

// putOff schedules a retry for the lane's head, or for all lanes if the backend is
// unavailable.
func (d *Delivery) putOff(l *lane, a answer) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	if d.gate.fails == 0 && l.retry.fails == 0 {
		d.log.Warn("the backend does not accept events; the agent keeps them and retries", "session", l.session, "error", a.err)
	}
	d.note(a.err)
	l.gaveUp = d.closing
	if a.verdict == away || a.verdict == noRoute {
		if a.after > 0 || !now.Before(d.gate.at) { // once, not for each lane
			d.gate.fail(now, a.after)
		}
		if d.closing {
			for _, other := range d.lanes {
				other.gaveUp = true
			}
		}
		return
	}
	l.retry.fail(now, a.after)
}
