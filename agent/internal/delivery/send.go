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

// maxConflicts is how often a key that is in use is tried again: the request
// before may still be at work.
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

// takeHead gives the lane's oldest batch; nil if it cannot be read.
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
		if err != nil { // the disk's fault: it is still there
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

// deliver sends a batch, in parts if need be, until all of it is delivered or
// lost, or something is to be tried again.
func (d *Delivery) deliver(ctx context.Context, l *lane, b *batch) {
	if b.parts == nil { // a divided batch of which nothing is left has none, but is not nil
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
		if err != nil { // what is in memory cannot be damaged, and what is on disk was checked
			d.settle(l, b, p, answer{verdict: refused, said: err.Error(), err: err})
			continue
		}
		a := d.ask(ctx, b, p, body, isZstd, single)
		if ctx.Err() != nil && a.verdict != taken {
			return
		}
		switch {
		case a.verdict == noRoute && !single:
			d.log.Warn("the backend has no batch route; events are sent one by one", "error", a.err)
			d.client.useSingle()
		case a.verdict == badType && !single && isZstd:
			d.log.Warn("the backend does not read zstd; events are sent as they are", "error", a.err)
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

// giveUp halves the batch's first part, which the backend chokes on, and sets aside
// what is one event.
func (d *Delivery) giveUp(l *lane, b *batch, p part, a answer) {
	b.broken = 0
	d.mu.Lock()
	l.retry = retry{}
	d.mu.Unlock()
	if p.to-p.from > 1 {
		d.log.Warn("the backend fails for a batch again and again; it is sent in halves", "session", l.session, "events", p.to-p.from, "error", a.err)
		d.divide(b, "")
		return
	}
	a.verdict = aside
	if err := d.setAside(b, p, a.said); err != nil {
		a.verdict = refused
		d.log.Error("an event cannot be set aside; it is lost", "session", l.session, "error", err)
	}
	d.settle(l, b, p, a)
}

// ask sends a part of a batch, which is one event if it goes by itself.
func (d *Delivery) ask(ctx context.Context, b *batch, p part, body []byte, isZstd, single bool) answer {
	if single {
		// By this route it is another request, which needs another key.
		return d.client.single(ctx, p.key+".single", b.session, bytes.TrimSuffix(body, []byte("\n")))
	}
	return d.client.batch(ctx, p.key, b.session, body, isZstd)
}

// cut cuts the batch's first part at lines within it. The keys of the new parts follow
// from what they hold, so that they are the same whenever it is cut there.
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

// split makes a part of each event in the batch's first part.
func (b *batch) split() {
	p := b.parts[0]
	parts := make([]part, 0, p.to-p.from+len(b.parts)-1)
	for i := p.from; i < p.to; i++ {
		parts = append(parts, part{p.key + "." + strconv.Itoa(i), i, i + 1})
	}
	b.parts = append(parts, b.parts[1:]...)
}

// body gives the text of a part of a batch, in zstd unless it is to be plain.
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

// settle ends the batch's first part, which was taken, or is lost for good.
func (d *Delivery) settle(l *lane, b *batch, p part, a answer) {
	b.parts = b.parts[1:]
	b.broken, b.unsure = 0, false
	b.taken = b.taken || a.verdict == taken
	d.remember(b)
	n := p.to - p.from
	var lost []loss
	reports := 0 // of the events that are lost
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
		d.log.Error("the backend does not take events, and nobody will get them", "session", l.session, "events", len(lost)+reports, "error", a.err, "faults", fmt.Sprintf("%.300v", a.faults))
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	b.settled += n
	for _, each := range lost {
		d.lose(l, each)
	}
	d.count(ReasonRefused, int64(reports))
	d.status.Delivered += int64(n - len(lost) - reports)
	if a.verdict != aside { // which is no sign that the backend is well
		d.status.LastContact = time.Now()
	}
	if d.gate.fails > 0 || l.retry.fails > 0 {
		d.log.Info("the backend takes events again", "session", l.session)
	}
	d.gate, l.retry = retry{}, retry{}
}

// finish ends a batch of which nothing is left to be sent.
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
	defer d.forget(b) // after the mark: a batch that is sent again needs it
	if spooled {
		d.markDone(at)
	}
}

// putOff notes that the lane's head, or all that goes to this backend, is to be
// tried again.
func (d *Delivery) putOff(l *lane, a answer) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	if d.gate.fails == 0 && l.retry.fails == 0 {
		d.log.Warn("the backend does not take events; they are kept until it does", "session", l.session, "error", a.err)
	}
	d.note(a.err)
	l.gaveUp = d.closing
	if a.verdict == away || a.verdict == noRoute {
		if a.after > 0 || !now.Before(d.gate.at) { // not once for each lane
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
