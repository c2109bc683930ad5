//go:build linux

package capture

import (
	"net/netip"
	"time"

	"ospulse/agent/internal/event"
)

const (
	// heldTime is how long a packet may wait for its owner to show.
	heldTime = 250 * time.Millisecond
	// heldMax is the same while the sensor is behind with its events.
	heldMax = 10 * time.Second
	// heldBytes is how much memory packets may take that wait.
	heldBytes = 1 << 20
	// claimTime is how old a claim must be to be settled: all packets before it
	// have been read by then, and all events.
	claimTime = 60 * time.Millisecond
	// foreignTime is how long a flow that had no owner is believed to have none.
	foreignTime = 5 * time.Second
	maxForeign  = 4096
)

// question is what has to be known of a packet to say whose it is.
type question struct {
	space    *space
	ends     ends
	fragment fragment
	inside   bool // it is a later part of a packet, and has no ports
	begins   bool // it begins a TCP connection
	returned bool // it is an error of ICMP: ends are those of the packet that it is about
	time     time.Time
}

// waiting is a packet that is held.
type waiting struct {
	question
	event *event.Packet
	since time.Time
	bytes int
}

// claim says that a process tried to connect, but had no port any more when its
// event was made, as it was refused: the last SYN before is its.
type claim struct {
	owner  *owner
	space  int
	remote netip.AddrPort
	time   time.Time
	since  time.Time
}

// held are the packets that wait for their owner, oldest first.
type held struct {
	queue            []waiting
	bytes            int
	flows            map[ends]int // how many are in the queue, of either direction
	dirty            bool         // an owner is known that was not before
	claims           []claim
	evicted          map[ends]*eviction
	lost             uint64 // that were evicted, and had an owner
	lostFrom, lostTo time.Time
	foreign          map[ends]time.Time
	heard            time.Time // when the sensor's last event came
	newest           time.Time // of what time its newest event is
	looked           time.Time // when the last look at /proc began that is over
}

// eviction counts the packets of a flow that had to go before their time, as there
// was no room: if its owner shows after all, they are lost.
type eviction struct {
	question
	count    uint64
	from, to time.Time
	since    time.Time
}

func newHeld() held {
	return held{flows: map[ends]int{}, evicted: map[ends]*eviction{}, foreign: map[ends]time.Time{}}
}

func (h *held) empty() bool { return len(h.queue) == 0 && len(h.claims) == 0 && len(h.evicted) == 0 }

// isOver reports whether nobody will claim what was held since then, and happened
// at that time. A busy sensor's events may come late: what happened later has to be
// told of first.
func (h *held) isOver(since, at, now time.Time) bool {
	waited := now.Sub(since)
	behind := now.Sub(h.heard) < heldTime && h.newest.Before(at)
	return waited >= heldMax || waited >= heldTime && !behind
}

// leave is told that a packet leaves the queue.
func (h *held) leave(item *waiting) {
	h.bytes -= item.bytes
	flow := item.ends.flow()
	if h.flows[flow]--; h.flows[flow] == 0 {
		delete(h.flows, flow)
	}
}

// lose counts what was evicted as lost.
func (h *held) lose(e *eviction) {
	if h.lost == 0 || e.from.Before(h.lostFrom) {
		h.lostFrom = e.from
	}
	if h.lost == 0 || e.to.After(h.lostTo) {
		h.lostTo = e.to
	}
	h.lost += e.count
}

// evict takes a packet out before its time.
func (h *held) evict(item *waiting) {
	e := h.evicted[item.ends]
	if e == nil {
		if len(h.evicted) >= maxForeign {
			for _, other := range h.evicted { // whose they are is not known any more
				h.lose(other)
			}
			clear(h.evicted)
		}
		e = &eviction{question: item.question, from: item.time, since: item.since}
		h.evicted[item.ends] = e
	}
	e.count++
	e.to, e.since = item.time, item.since
}

// settleEvicted finds out whether what was evicted is lost, or was nobody's.
func (w *Watch) settleEvicted(now time.Time, last bool) {
	for flow, e := range w.held.evicted {
		use, _ := w.owner(&e.question, now)
		if use != nil {
			w.held.lose(e)
		}
		if use != nil || last || w.held.isOver(e.since, e.to, now) {
			delete(w.held.evicted, flow)
		}
	}
}

// judge takes the flows of which /proc was asked after they were held, and did not
// know the owner, for foreign: more of them need not be held.
func (w *Watch) judge(now time.Time) {
	h := &w.held
	for i := range h.queue {
		item := &h.queue[i]
		if item.since.After(h.looked) {
			return
		}
		if use, _ := w.owner(&item.question, now); use == nil && !item.space.own {
			h.setForeign(item.ends, now)
		}
	}
}

// isForeign reports whether the flow was looked up, and found to be nobody's that
// is watched.
func (h *held) isForeign(q *question, now time.Time) bool {
	at, ok := h.foreign[q.ends]
	return ok && now.Sub(at) < foreignTime && !q.begins
}

func (h *held) setForeign(e ends, now time.Time) {
	if len(h.foreign) >= maxForeign {
		clear(h.foreign)
	}
	h.foreign[e], h.foreign[e.reversed()] = now, now
}

// hold keeps a packet until its owner shows.
func (w *Watch) hold(q *question, e *event.Packet, now time.Time) {
	const overhead = 600 // of an event and of its place in the queue
	item := waiting{*q, e, now, overhead + len(e.Info) + len(e.Content.Bytes)}
	h := &w.held
	for len(h.queue) > 0 && h.bytes+item.bytes > heldBytes {
		w.giveUp(&h.queue[0], true)
		h.queue = h.queue[1:]
	}
	h.queue = append(h.queue, item)
	h.bytes += item.bytes
	h.flows[item.ends.flow()]++
	w.askLook()
}

// giveUp lets a packet go whose owner did not show: in a namespace of its own it
// is the root's. early says that it had time left, but no room.
func (w *Watch) giveUp(item *waiting, early bool) {
	h := &w.held
	h.leave(item)
	switch {
	case item.space.own:
		w.emit(item.event, w.root, item.event.Direction == event.DirectionOut)
	case early:
		h.evict(item)
	}
}

// settle gives out what is held and has an owner by now, and lets go what waited
// for too long; with last, of all.
func (w *Watch) settle(now time.Time, last bool) {
	h := &w.held
	if len(h.queue) == 0 {
		h.dirty = false
	}
	w.settleClaims(now, last)
	w.settleEvicted(now, last)
	if h.dirty || last {
		h.dirty = false
		rest := h.queue[:0]
		for i := range h.queue {
			item := &h.queue[i]
			if use, out := w.owner(&item.question, now); use != nil {
				h.leave(item)
				w.emit(item.event, use.owner, out)
				continue
			}
			rest = append(rest, *item)
		}
		clear(h.queue[len(rest):])
		h.queue = rest
	}
	n := 0
	for n < len(h.queue) && (last || h.isOver(h.queue[n].since, h.queue[n].time, now)) {
		w.giveUp(&h.queue[n], false)
		n++
	}
	clear(h.queue[:n])
	h.queue = h.queue[n:]
}

// settleClaims finds the connections that were claimed by where they went.
func (w *Watch) settleClaims(now time.Time, last bool) {
	h := &w.held
	ripe := 0
	for ripe < len(h.claims) && (last || now.Sub(h.claims[ripe].since) >= claimTime) {
		ripe++
	}
	if ripe == 0 {
		return
	}
	type target struct {
		space  int
		remote netip.AddrPort
	}
	tries := map[target][]*waiting{}
	for i := range h.queue {
		if item := &h.queue[i]; item.begins {
			to := target{item.space.index, item.ends.to}
			tries[to] = append(tries[to], item)
		}
	}
	for _, c := range h.claims[:ripe] {
		open := tries[target{c.space, c.remote}]
		for i := len(open) - 1; i >= 0; i-- {
			if open[i] == nil || open[i].time.After(c.time) {
				continue
			}
			e := open[i].ends
			w.owners.put(socket{c.space, protoTCP, e.from, e.to}, c.owner, c.time, now)
			h.dirty, open[i] = true, nil
			break
		}
	}
	h.claims = append(h.claims[:0], h.claims[ripe:]...)
}
