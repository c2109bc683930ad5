//go:build linux

package capture

import (
	"context"
	"encoding/binary"
	"errors"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"ospulse/agent/internal/event"
	"ospulse/agent/internal/parser"
	"ospulse/agent/internal/procfs"
)

// Sensed passes an event of the sensor to the sink, and learns the owners of sockets from
// it.
func (w *Watch) Sensed(e *event.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch data := e.Data.(type) {
	case *event.Network:
		w.learn(data)
	case *event.Fork:
		w.know(&data.Actor)
		if data.New.PID != 0 && !data.IsThread {
			w.know(&data.New)
		}
	case *event.Creation:
		w.know(&data.New)
	case *event.Exit:
		if o := w.known[data.Actor.PID]; o != nil {
			o.ended = data.Time
			delete(w.known, data.Actor.PID)
			w.scope.PIDs = slices.DeleteFunc(w.scope.PIDs, func(pid int) bool { return pid == data.Actor.PID })
		}
	}
	w.send(e)
}

// know returns the owner for a process. It returns the same owner until the process changes
// its name.
func (w *Watch) know(p *event.Process) *owner {
	o := w.known[p.PID]
	if o != nil && o.Name == p.Name && o.StartTime.Equal(p.StartTime) {
		return o
	}
	next := &owner{Process: *p}
	next.ThreadID = 0 // packets belong to the process as a whole
	if o != nil && next.Name == "" {
		next.Name = o.Name
	}
	w.known[p.PID] = next
	if w.root != nil && w.root.PID == p.PID {
		w.root = next
	}
	return next
}

// fromProc makes an owner from /proc. The owner has no start time: the sensor's is more
// exact, and the two must not disagree.
func fromProc(pid int) *owner {
	o := &owner{Process: event.Process{PID: pid, UserID: procfs.UserID(pid)}}
	if p, err := procfs.Read(pid); err == nil {
		o.Name = p.Name
	}
	return o
}

// spaceOf returns the captured namespace that a process is in, or elsewhere. It assumes
// the first namespace, if any is captured, for a process that ended before the look-up.
func (w *Watch) spaceOf(o *owner) int {
	if o.namespace == 0 {
		inode, err := procfs.NetworkNamespace(o.PID)
		if err != nil && len(w.spaces) > 0 {
			inode = w.spaces[0].inode
		}
		o.namespace = inode
	}
	for _, s := range w.spaces {
		if s.inode == o.namespace {
			return s.index
		}
	}
	return elsewhere
}

// protocols are the protocols whose packets have owners, by their names in events.
var protocols = map[string]uint8{"tcp": parser.ProtoTCP, "mptcp": parser.ProtoTCP, "udp": parser.ProtoUDP, "sctp": parser.ProtoSCTP, "icmp": parser.ProtoICMP, "raw": protoRaw} //nolint:gochecknoglobals // a constant

// learn learns the owner of a socket from a call on it.
func (w *Watch) learn(n *event.Network) {
	protocol, ok := protocols[n.Protocol]
	if !ok {
		return
	}
	o := w.know(&n.Actor)
	s := socket{w.spaceOf(o), protocol, n.Local.Port, n.Remote.Port}
	switch {
	case protocol == protoRaw:
		s = rawSocket(s, &n.Content)
	case protocol == parser.ProtoICMP:
		s.remote = netip.AddrPort{} // the identifier is enough
	case n.Operation == "Connect" && s.local.Port() == 0 && s.remote.Port() != 0 && protocol == parser.ProtoTCP:
		if s.space != elsewhere {
			w.held.claims = append(w.held.claims, claim{o, s.space, s.remote, n.Time, time.Now()})
		}
		return
	case s.remote.Port() == 0 || s.local.Addr().IsUnspecified():
		s.remote = netip.AddrPort{} // the socket receives from everywhere
	}
	if n.Operation == "Close" {
		w.owners.close(s, n.Time)
		return
	}
	w.use(s, o, n.Time)
}

// use records that a process uses a socket.
func (w *Watch) use(s socket, o *owner, at time.Time) {
	switch {
	case s.protocol != protoRaw && s.local.Port() == 0:
		return
	case s.protocol == protoRaw && !s.remote.IsValid():
		return
	case s.space == elsewhere && (!s.remote.IsValid() || s.remote.Addr().IsLoopback()):
		return // its packets do not pass here, or cannot be attributed
	}
	if w.owners.put(s, o, at, time.Now()) {
		w.held.dirty = true
	}
}

// rawSocket names a socket whose program builds its packets itself: by the identifier of
// the echo request that it sends, else by the destination.
func rawSocket(s socket, content *event.Content) socket {
	const echo4, echo6 = 8, 128
	if b := content.Bytes; len(b) >= 8 && (b[0] == echo4 || b[0] == echo6) && b[1] == 0 {
		id := binary.BigEndian.Uint16(b[4:])
		local := netip.IPv4Unspecified()
		if s.remote.Addr().Is6() {
			local = netip.IPv6Unspecified()
		}
		return socket{s.space, parser.ProtoICMP, netip.AddrPortFrom(local, id), netip.AddrPort{}}
	}
	return socket{s.space, protoRaw, netip.AddrPort{}, netip.AddrPortFrom(s.remote.Addr(), 0)}
}

const (
	// lookDelay lets the sensor's events come first: they cost nothing.
	lookDelay = 30 * time.Millisecond
	// lookRest is the least time between two looks at /proc. lookShare bounds the part of
	// the time that looks take, as long as no packet waits for longer than maxLookRest.
	lookRest    = 50 * time.Millisecond
	lookShare   = 20
	maxLookRest = heldMax / 4
)

// askLook requests a look at /proc.
func (w *Watch) askLook() {
	select {
	case w.look <- struct{}{}:
	default:
	}
}

// resolve looks up the owners of sockets in /proc while packets without a known owner are
// held. Their sockets are older than the watch, or no system call made them.
func (w *Watch) resolve(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	<-timer.C
	for wait := time.Duration(0); ; {
		select {
		case <-w.look:
		case <-ctx.Done():
			return
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		began := time.Now()
		w.lookUp(began)
		wait = min(max(lookRest, lookShare*time.Since(began)), maxLookRest) + lookDelay
	}
}

// lookUp learns the owners of sockets from /proc.
func (w *Watch) lookUp(began time.Time) {
	pids := w.candidates()
	byInode := map[uint64]procfs.Socket{}
	spaceOf := map[uint64]int{}
	for _, s := range w.spaces {
		sockets, err := procfs.Sockets(s.pid)
		if err != nil {
			continue // its process ended: new sockets in the namespace stay unknown
		}
		for _, found := range sockets {
			byInode[found.Inode], spaceOf[found.Inode] = found, s.index
		}
	}
	type holder struct {
		owner   *owner
		sockets []uint64
	}
	var holders []holder
	for _, pid := range pids {
		var h holder
		for inode := range procfs.SocketInodes(pid) {
			if _, ok := byInode[inode]; ok {
				h.sockets = append(h.sockets, inode)
			}
		}
		if len(h.sockets) > 0 {
			h.owner = fromProc(pid)
			holders = append(holders, h)
		}
	}
	alive, aliveErr := procfs.PIDs()

	w.mu.Lock()
	defer w.mu.Unlock()
	for _, h := range holders {
		if o := w.known[h.owner.PID]; o != nil {
			h.owner = o
		}
		for _, inode := range h.sockets {
			w.found(byInode[inode], spaceOf[inode], h.owner, began)
		}
	}
	if aliveErr == nil {
		w.forgetEnded(alive, began)
	}
	h := &w.held
	h.noteLook(began)
	w.judge(time.Now())
	if n := len(h.queue); n > 0 && !w.isKnown(h.queue[n-1].since, lookDelay) {
		w.askLook()
	}
}

// found learns from a socket that /proc lists.
func (w *Watch) found(in procfs.Socket, space int, o *owner, at time.Time) {
	s := socket{space, protocols[in.Protocol], in.Local, in.Remote}
	if s.remote.Port() == 0 || s.local.Addr().IsUnspecified() {
		s.remote = netip.AddrPort{}
	}
	if u := w.owners.sockets[s]; u != nil && u.closed.IsZero() && !u.finished && u.owner.ended.IsZero() {
		return // the sensor knows the owner better
	}
	w.use(s, o, at)
}

// forgetEnded forgets processes that are gone. The event of their end can be lost.
func (w *Watch) forgetEnded(alive []int, began time.Time) {
	for pid, o := range w.known {
		if _, ok := slices.BinarySearch(alive, pid); !ok && began.Sub(o.StartTime) > time.Second {
			o.ended = began
			delete(w.known, pid)
		}
	}
}

// candidates returns the processes that the watch is about: all, or the named ones and
// those that the sensor reported, with their descendants. It leaves out the excluded
// ones.
func (w *Watch) candidates() []int {
	w.mu.Lock()
	known, excluded, named := maps.Clone(w.known), w.scope.Exclude, slices.Clone(w.scope.PIDs)
	w.mu.Unlock()
	all, err := procfs.List()
	if err != nil {
		return nil
	}
	byPID := make(map[int]*procfs.Process, len(all))
	for i := range all {
		byPID[all[i].PID] = &all[i]
	}
	hidden := w.hides(byPID)
	verdicts := map[int]bool{}
	var watched func(pid int) bool
	watched = func(pid int) bool {
		verdict, ok := verdicts[pid]
		if ok {
			return verdict
		}
		verdicts[pid] = w.scope.All // in case the parents form a cycle
		p, o := byPID[pid], known[pid]
		switch {
		case p == nil:
			return w.scope.All
		case slices.Contains(named, pid), o != nil && o.is(p):
			verdict = true
		case hidden(pid):
			verdict = false
		case hidden(p.ParentPID):
			verdict = w.scope.All
		case !slices.Contains(excluded, pid):
			verdict = watched(p.ParentPID)
		}
		verdicts[pid] = verdict
		return verdict
	}
	var pids []int
	for i := range all {
		if watched(all[i].PID) {
			pids = append(pids, all[i].PID)
		}
	}
	return pids
}

// hides returns a function that reports whether Scope.Hide hides one of the given processes.
func (w *Watch) hides(processes map[int]*procfs.Process) func(pid int) bool {
	known := map[int]bool{}
	var hidden func(pid int) bool
	hidden = func(pid int) bool {
		p := processes[pid]
		if p == nil || len(w.scope.Hide) == 0 {
			return false
		}
		is, ok := known[pid]
		if ok {
			return is
		}
		known[pid] = false // in case the parents form a cycle
		is = slices.ContainsFunc(w.scope.Hide, func(i procfs.Identity) bool { return i.Is(p) })
		if !is && hidden(p.ParentPID) {
			own, _ := procfs.Exe(pid)
			its, _ := procfs.Exe(p.ParentPID)
			is = own != "" && own == its
		}
		known[pid] = is
		return is
	}
	return hidden
}

// is reports whether p is this owner, and not a later process with the same pid.
// Start times in /proc are exact to 10 ms.
func (o *owner) is(p *procfs.Process) bool {
	return o.StartTime.IsZero() || o.StartTime.Sub(p.Start).Abs() < time.Second
}

// endpoints are the TCP ports whose packets are never reported.
type endpoints struct {
	ports   map[uint16]bool         // on every address of this machine
	exact   map[netip.AddrPort]bool // on one address
	machine map[netip.Addr]bool     // addresses of this machine
}

// endpointsOf returns the ports on which processes listen.
func endpointsOf(pids []int) endpoints {
	e := endpoints{map[uint16]bool{}, map[netip.AddrPort]bool{}, map[netip.Addr]bool{}}
	sockets, err := procfs.Sockets(os.Getpid())
	if err != nil {
		return e
	}
	listening := map[uint64]netip.AddrPort{}
	for _, s := range sockets {
		if s.Listening {
			listening[s.Inode] = s.Local
		}
	}
	for _, pid := range pids {
		for inode := range procfs.SocketInodes(pid) {
			switch local, ok := listening[inode]; {
			case !ok:
			case local.Addr().IsUnspecified():
				e.ports[local.Port()] = true
			default:
				e.exact[local] = true
			}
		}
	}
	if addresses, err := net.InterfaceAddrs(); err == nil {
		for _, a := range addresses {
			if prefix, err := netip.ParsePrefix(a.String()); err == nil {
				e.machine[prefix.Addr().Unmap()] = true
			}
		}
	}
	return e
}

// with returns the union of e and more.
func (e endpoints) with(more endpoints) endpoints {
	for port := range e.ports {
		more.ports[port] = true
	}
	for a := range e.exact {
		more.exact[a] = true
	}
	for a := range e.machine {
		more.machine[a] = true
	}
	return more
}

// has reports whether one end of the packet is an endpoint. host says that the packet is
// from the agent's own namespace: only its loopback is the agent's.
func (e *endpoints) has(p parser.Ends, host bool) bool {
	if p.Protocol != parser.ProtoTCP {
		return false
	}
	for _, end := range [...]netip.AddrPort{p.From, p.To} {
		loopback := end.Addr().IsLoopback()
		switch {
		case loopback && !host:
		case e.exact[end]:
			return true
		case e.ports[end.Port()] && (loopback || e.machine[end.Addr()]):
			return true
		}
	}
	return false
}

// IsForbidden reports whether err says that the agent lacks the rights to capture
// packets.
func IsForbidden(err error) bool { return errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) }
