//go:build linux

package capture

import (
	"net/netip"
	"slices"
	"time"

	"ospulse/agent/internal/event"
	"ospulse/agent/internal/parser"
	"ospulse/agent/internal/pending"
)

const (
	// heldTime is how long after a packet the call that belongs to it may end.
	heldTime = 250 * time.Millisecond
	// heldMax is how long a packet waits at most: until the sensor has read the events of
	// heldTime, and until two looks at /proc have ended. Both take long on a busy machine.
	heldMax = 10 * time.Second
	// heldBytes is how much memory held packets may take.
	heldBytes = 1 << 20
	// claimTime is how long after a claim the reader must have found the ring empty. By then
	// it has read the packets from before the claim.
	claimTime = 60 * time.Millisecond
	// foreignTime is how long a flow without an owner is assumed to have none.
	foreignTime = 5 * time.Second
	maxForeign  = 4096
)

// question holds the properties of a packet by which its owner is found.
type question struct {
	space    *space
	ends     parser.Ends
	fragment parser.Fragment
	inside   bool // a fragment after the first, without ports
	begins   bool // the first packet of a TCP connection
	returned bool // an ICMP error; ends are those of the packet that it is about
	time     time.Time
}

// waiting is a held packet.
type waiting struct {
	question
	event *event.Packet
	since time.Time
	bytes int
}

// claim says that a process tried to connect, was refused, and had no local port any more
// when the sensor read it. The last SYN to the same destination before it belongs to it.
type claim struct {
	owner  *owner
	space  int
	remote netip.AddrPort
	time   time.Time
	since  time.Time
}

// held is the queue of packets whose owner is not known yet, oldest first.
type held struct {
	queue            []waiting
	bytes            int
	pending          *pending.Budget     // counts bytes
	flows            map[parser.Ends]int // packets in the queue by flow, both directions together
	dirty            bool                // an owner became known since the last settle
	claims           []claim
	evicted          map[parser.Ends]*eviction
	lost             uint64 // evicted packets that had an owner
	lostFrom, lostTo time.Time
	foreign          map[parser.Ends]time.Time // flows without an owner, and when that was found
	lastLook         time.Time                 // when the last finished look at /proc began
	looked           time.Time                 // when the one before it began
}

// eviction counts packets of a flow that left the queue early because it was full. They are
// lost if the flow turns out to have an owner.
type eviction struct {
	question
	count    uint64
	from, to time.Time
	since    time.Time
}

func newHeld(pending *pending.Budget) held {
	return held{pending: pending, flows: map[parser.Ends]int{}, evicted: map[parser.Ends]*eviction{}, foreign: map[parser.Ends]time.Time{}}
}

func (h *held) empty() bool { return len(h.queue) == 0 && len(h.claims) == 0 && len(h.evicted) == 0 }

// isKnown reports whether an owner of what came at since would be known by now: the sensor
// has read the events until wait later, and two looks at /proc began after since. One look
// is not enough: the kernel's lists may leave out a socket while others come and go.
func (w *Watch) isKnown(since time.Time, wait time.Duration) bool {
	return w.options.SensedUntil().Sub(since) >= wait && !since.After(w.held.looked)
}

// noteLook notes a finished look at /proc, and when it began.
func (h *held) noteLook(began time.Time) { h.looked, h.lastLook = h.lastLook, began }

// holds counts bytes in the queue; a negative number those that left it.
func (h *held) holds(bytes int) {
	h.bytes += bytes
	h.pending.Add(bytes)
}

// leave updates the counts for a packet that leaves the queue.
func (h *held) leave(item *waiting) {
	h.holds(-item.bytes)
	flow := item.ends.Flow()
	if h.flows[flow]--; h.flows[flow] == 0 {
		delete(h.flows, flow)
	}
}

// lose counts evicted packets as lost.
func (h *held) lose(e *eviction) {
	if h.lost == 0 || e.from.Before(h.lostFrom) {
		h.lostFrom = e.from
	}
	if h.lost == 0 || e.to.After(h.lostTo) {
		h.lostTo = e.to
	}
	h.lost += e.count
}

// evict counts a packet that leaves the queue early.
func (h *held) evict(item *waiting) {
	e := h.evicted[item.ends]
	if e == nil {
		if len(h.evicted) >= maxForeign {
			for _, other := range h.evicted { // their owners can no longer be found: count them as lost
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

// settleEvicted counts evicted packets as lost if their owner is known by now. It forgets the
// others once no owner can turn up any more; with last, at once.
func (w *Watch) settleEvicted(now time.Time, last bool) {
	for flow, e := range w.held.evicted {
		use, _ := w.owner(&e.question, now)
		if use != nil {
			w.held.lose(e)
		}
		if use != nil || last || w.isKnown(e.since, heldTime) {
			delete(w.held.evicted, flow)
		}
	}
}

// judge marks the flows of held packets as foreign if neither the sensor nor two looks at
// /proc found an owner. Further packets of these flows are not held.
func (w *Watch) judge(now time.Time) {
	h := &w.held
	for i := range h.queue {
		item := &h.queue[i]
		if !w.isKnown(item.since, lookDelay) {
			return
		}
		if use, _ := w.owner(&item.question, now); use == nil && !item.space.own {
			h.setForeign(item.ends, now)
		}
	}
}

// isForeign reports whether a recent look-up found that no watched process owns the flow. It
// returns false for the first packet of a connection.
func (h *held) isForeign(q *question, now time.Time) bool {
	at, ok := h.foreign[q.ends]
	return ok && now.Sub(at) < foreignTime && !q.begins
}

func (h *held) setForeign(e parser.Ends, now time.Time) {
	if len(h.foreign) >= maxForeign {
		clear(h.foreign)
	}
	h.foreign[e], h.foreign[e.Reversed()] = now, now
}

// hold queues a packet until its owner is known, and asks for a look at /proc.
func (w *Watch) hold(q *question, e *event.Packet, now time.Time) {
	const overhead = 600 // of an event and its item in the queue
	item := waiting{*q, e, now, overhead + len(e.Info) + len(e.Content.Bytes)}
	h := &w.held
	for len(h.queue) > 0 && (h.bytes+item.bytes > heldBytes || h.pending.IsExceeded()) {
		w.giveUp(&h.queue[0], true)
		h.queue = h.queue[1:]
	}
	h.queue = append(h.queue, item)
	h.holds(item.bytes)
	h.flows[item.ends.Flow()]++
	w.askLook()
}

// giveUp handles a packet whose owner is still unknown when it leaves the queue. In the
// separate namespace of Scope.Own it belongs to the root; elsewhere it is dropped. early says
// that the owner may become known later.
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

// settle emits held packets whose owner is known by now, and gives up those that have waited
// long enough; with last, all others.
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
	for ; n < len(h.queue); n++ {
		item := &h.queue[n]
		final := last || w.isKnown(item.since, heldTime) && !h.isClaimed(item)
		if !final && now.Sub(item.since) < heldMax {
			break
		}
		w.giveUp(item, !final)
	}
	clear(h.queue[:n])
	h.queue = h.queue[n:]
}

// isClaimed reports whether a claim is pending that may be about this packet.
func (h *held) isClaimed(item *waiting) bool {
	return item.begins && slices.ContainsFunc(h.claims, func(c claim) bool { return c.isAbout(item) })
}

// isAbout reports whether a packet may be the SYN of the claim's connection.
func (c *claim) isAbout(item *waiting) bool {
	return item.space.index == c.space && item.ends.To == c.remote && !item.time.After(c.time)
}

// settleClaims finds the connection of each claim among the held packets, by its
// destination. It waits until the packets from before the claim have been read.
func (w *Watch) settleClaims(now time.Time, last bool) {
	h := &w.held
	if len(h.claims) == 0 {
		return
	}
	type target struct {
		space  int
		remote netip.AddrPort
	}
	tries := map[target][]*waiting{}
	for i := range h.queue {
		if item := &h.queue[i]; item.begins {
			to := target{item.space.index, item.ends.To}
			tries[to] = append(tries[to], item)
		}
	}
	h.claims = slices.DeleteFunc(h.claims, func(c claim) bool {
		age := w.spaces[c.space-1].readUntil.Sub(c.since)
		if age < claimTime && !last {
			return false
		}
		open := tries[target{c.space, c.remote}]
		for i := len(open) - 1; i >= 0; i-- {
			if open[i] != nil && c.isAbout(open[i]) {
				e := open[i].ends
				w.owners.put(socket{c.space, parser.ProtoTCP, e.From, e.To}, c.owner, c.time, now)
				h.dirty, open[i] = true, nil
				return true
			}
		}
		return last || age >= heldTime
	})
}
