//go:build linux

package capture

import (
	"net/netip"
	"time"

	"ospulse/agent/internal/event"
	"ospulse/agent/internal/parser"
)

// maxSockets is how many sockets are remembered; each takes some 200 bytes.
const maxSockets = 1 << 14

// protoRaw stands for a raw socket, whose program builds the packets itself (a reserved number).
const protoRaw = 255

// elsewhere is the space of all sockets in namespaces that are not captured. Their packets
// may still pass through a captured one, as packets of containers pass the host's bridge.
const elsewhere = 0

// closeGrace is how long after its close a socket without a connection still owns packets:
// they may be on their way.
const closeGrace = 10 * time.Millisecond

// owner is a process that has sockets.
type owner struct {
	event.Process
	ended     time.Time // zero while it runs
	namespace uint64    // inode of its network namespace; 0: unknown
}

// socket identifies a socket by the addresses in its packets: the local one, and the remote
// one if it is connected. An unspecified local address stands for all addresses.
type socket struct {
	space         int // index of the captured namespace, from 1; or elsewhere
	protocol      uint8
	local, remote netip.AddrPort
}

// use is the last known use of a socket.
type use struct {
	owner    *owner
	last     time.Time // last record or look-up, by the agent's clock; the oldest are forgotten first
	seen     time.Time // when the owner used it, by the clock of the packets
	closed   time.Time // by the clock of the packets; zero while it is open
	finished bool      // the connection has ended on the wire
}

// owners maps sockets to their owners.
type owners struct {
	sockets map[socket]*use
	limit   int
}

func newOwners(limit int) owners { return owners{map[socket]*use{}, limit} }

// put records that a process used a socket at the time seen. It reports whether that may
// change the owner of packets.
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

// forget removes the sockets that were not used for the longest time, until at most half
// of the limit is left.
func (o *owners) forget(now time.Time) {
	for age := time.Minute; len(o.sockets) > o.limit/2; age /= 2 {
		for s, u := range o.sockets {
			if now.Sub(u.last) >= age || age < time.Millisecond {
				delete(o.sockets, s)
			}
		}
	}
}

// close records that a socket was closed. Packets of a connection may still follow.
func (o *owners) close(s socket, at time.Time) {
	if u := o.sockets[s]; u != nil {
		u.closed = at
	}
}

// find returns the owner of a packet: the sender, or else the receiver; nil if neither is
// known. out reports whether the owner is the sender. begins says that the packet is the
// first one of a TCP connection.
func (o *owners) find(space int, e parser.Ends, at, now time.Time, begins bool) (by *use, out bool) {
	if u := o.side(space, e, at, now, begins); u != nil {
		return u, true
	}
	if u := o.side(space, e.Reversed(), at, now, begins); u != nil {
		return u, false
	}
	if u := o.sockets[socket{space, protoRaw, netip.AddrPort{}, netip.AddrPortFrom(e.To.Addr(), 0)}]; u != nil {
		return u, true
	}
	if u := o.sockets[socket{space, protoRaw, netip.AddrPort{}, netip.AddrPortFrom(e.From.Addr(), 0)}]; u != nil {
		return u, false
	}
	return nil, false
}

// side returns the use of the socket whose local end is e.From: a connected socket, or else
// one bound to the port. It returns nil if there is none.
func (o *owners) side(space int, e parser.Ends, at, now time.Time, begins bool) *use {
	if e.From.Port() == 0 {
		return nil
	}
	for _, space := range [...]int{space, elsewhere} {
		u := o.sockets[socket{space, e.Protocol, e.From, e.To}]
		switch {
		case u == nil:
		case begins && u.past(at): // a new connection with the same ends
		case e.Protocol != parser.ProtoTCP && u.over(at):
		default:
			u.last = now
			return u
		}
	}
	for _, local := range [...]netip.Addr{e.From.Addr(), netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
		if local.Is4() && !e.From.Addr().Is4() {
			continue
		}
		u := o.sockets[socket{space, e.Protocol, netip.AddrPortFrom(local, e.From.Port()), netip.AddrPort{}}]
		if u != nil && !u.over(at) {
			u.last = now
			return u
		}
	}
	return nil
}

// past reports whether the connection had ended before another one with the same ends began
// at that time. The owner of the new one is not known then.
func (u *use) past(at time.Time) bool {
	return u.seen.Before(at) && (u.finished || !u.closed.IsZero() || !u.owner.ended.IsZero())
}

// over reports whether the socket no longer existed at that time.
func (u *use) over(at time.Time) bool {
	end := u.closed
	if end.IsZero() {
		end = u.owner.ended
	}
	return !end.IsZero() && at.Sub(end) > closeGrace
}
