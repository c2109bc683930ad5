package capture

import (
	"net/netip"
	"time"

	"ospulse/agent/internal/event"
)

// maxSockets bounds how many sockets are remembered, some 200 bytes each.
const maxSockets = 1 << 14

// elsewhere is the space of sockets in namespaces that are not captured. Their
// connections are met on the way, as those of containers on the host's bridge.
const elsewhere = 0

// closeGrace is how long after its close a packet may be on its way that a socket
// without a connection had sent.
const closeGrace = 10 * time.Millisecond

// owner is a process that has sockets.
type owner struct {
	event.Process
	ended     time.Time // zero: it has not
	namespace uint64    // of its network; 0: not known
}

// socket names a socket by what is on its packets: its own end, and the other if
// it is connected. A port without an address is open on all.
type socket struct {
	space         int // the captured namespace that it is in, from 1; elsewhere: any of another
	protocol      uint8
	local, remote netip.AddrPort
}

// use is who used a socket last.
type use struct {
	owner  *owner
	last   time.Time // by the agent's clock, to forget it
	seen   time.Time // when it was used, by the packets' clock, as are those below
	closed time.Time // zero: it is open
	// finished says that its connection was ended on the wire.
	finished bool
}

// owners says whose packets are.
type owners struct {
	sockets map[socket]*use
	limit   int
}

func newOwners(limit int) owners { return owners{map[socket]*use{}, limit} }

// put says who used a socket at a time, and reports whether that is news.
func (o *owners) put(s socket, by *owner, seen, now time.Time) bool {
	if u := o.sockets[s]; u != nil {
		news := u.owner != by || u.finished || !u.closed.IsZero()
		*u = use{owner: by, last: now, seen: seen}
		return news
	}
	if len(o.sockets) >= o.limit {
		o.forget(now)
	}
	o.sockets[s] = &use{owner: by, last: now, seen: seen}
	return true
}

// forget makes room: it forgets what has not been used for the longest.
func (o *owners) forget(now time.Time) {
	for age := time.Minute; len(o.sockets) > o.limit/2; age /= 2 {
		for s, u := range o.sockets {
			if now.Sub(u.last) >= age || age < time.Millisecond {
				delete(o.sockets, s)
			}
		}
	}
}

// close says that a socket was closed. A connection still has packets to come.
func (o *owners) close(s socket, at time.Time) {
	if u := o.sockets[s]; u != nil {
		u.closed = at
	}
}

// find gives who a packet is of, if that is known: who sent it, else who gets it;
// out says which of them it is. begins says that it is the first of a TCP
// connection.
func (o *owners) find(space int, e ends, at, now time.Time, begins bool) (by *use, out bool) {
	if u := o.side(space, e, at, now, begins); u != nil {
		return u, true
	}
	if u := o.side(space, e.reversed(), at, now, begins); u != nil {
		return u, false
	}
	if u := o.sockets[socket{space, protoRaw, netip.AddrPort{}, netip.AddrPortFrom(e.to.Addr(), 0)}]; u != nil {
		return u, true
	}
	if u := o.sockets[socket{space, protoRaw, netip.AddrPort{}, netip.AddrPortFrom(e.from.Addr(), 0)}]; u != nil {
		return u, false
	}
	return nil, false
}

// side looks for a socket whose own end is e.from: connected, else one that has
// the port.
func (o *owners) side(space int, e ends, at, now time.Time, begins bool) *use {
	if e.from.Port() == 0 {
		return nil
	}
	for _, space := range [...]int{space, elsewhere} {
		u := o.sockets[socket{space, e.protocol, e.from, e.to}]
		switch {
		case u == nil:
		case begins && u.past(at): // another connection of this name
		case e.protocol != protoTCP && u.over(at):
		default:
			u.last = now
			return u
		}
	}
	for _, local := range [...]netip.Addr{e.from.Addr(), netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
		if local.Is4() && !e.from.Addr().Is4() {
			continue
		}
		u := o.sockets[socket{space, e.protocol, netip.AddrPortFrom(local, e.from.Port()), netip.AddrPort{}}]
		if u != nil && !u.over(at) {
			u.last = now
			return u
		}
	}
	return nil
}

// past reports whether the connection had been over when another of its name
// began: that is another's until its owner shows.
func (u *use) past(at time.Time) bool {
	return u.seen.Before(at) && (u.finished || !u.closed.IsZero() || !u.owner.ended.IsZero())
}

// over reports whether a socket was no more at that time.
func (u *use) over(at time.Time) bool {
	end := u.closed
	if end.IsZero() {
		end = u.owner.ended
	}
	return !end.IsZero() && at.Sub(end) > closeGrace
}
