//go:build linux

// Package capture captures the packets of programs through packet sockets. It reads all
// packets of a network namespace, finds the owner of each, and emits those of the
// processes that a watch is about. It learns the owners of sockets from the events of any
// sensor, and from /proc. It must not know eBPF, HTTP, sessions, or where events go.
package capture

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"ospulse/agent/internal/event"
	"ospulse/agent/internal/parser"
	"ospulse/agent/internal/pending"
	"ospulse/agent/internal/procfs"
)

const (
	// RingBytes is the size of the buffer between kernel and agent, of each watch
	// and namespace, unless set.
	RingBytes = 8 << 20
	// snapBytes is how many bytes the ring keeps of each packet, at least: the headers,
	// and the server name that a client asks for. With longer packets the ring holds
	// fewer.
	snapBytes = 1024
	// headerBytes is the room for headers in front of the content that an event keeps.
	headerBytes = 128
	// pollInterval is how often the reader asks for losses, and at least how often it
	// looks through the held packets.
	pollInterval = 50 * time.Millisecond
	// heldInterval is the same while packets are held.
	heldInterval = 10 * time.Millisecond
)

// Options are the settings of a Watch.
type Options struct {
	ContentBytes int // bytes of a packet's payload that an event keeps
	RingBytes    int
	// SensedUntil returns a moment: Watch.Sensed has had every event that happened before
	// it. A packet is not given up before the sensor has read what belongs to it. nil: the
	// sensor is never late.
	SensedUntil func() time.Time
	// Pending is the budget of waiting data, which other parts of the agent may share; nil: one
	// of the watch's own.
	Pending *pending.Budget
	Log     *slog.Logger
}

// Scope says which processes a watch is about.
type Scope struct {
	All  bool  // every process whose sockets are known
	PIDs []int // and their descendants
	// Own says that the first of PIDs was started in a separate network namespace. If so,
	// all packets of that namespace belong to it and its descendants.
	Own bool
	// Exclude are processes whose packets are never reported: none to or from a TCP port
	// on which they listen, and none of sockets that no other process used.
	Exclude []int
	// Hide are processes whose packets a watch of All does not report. It does not report
	// those of their descendants that run the same program in an unbroken line.
	Hide []procfs.Identity
}

// Available returns why packets cannot be captured; nil if they can.
func Available() error {
	r, err := openRing("", 2*blockBytes, snapBytes)
	if err != nil {
		return err
	}
	return r.close()
}

// loopback is the index of the loopback interface in every namespace.
const loopback = 1

// space is a captured network namespace.
type space struct {
	ring      *ring
	index     int // from 1
	inode     uint64
	pid       int                             // a process in the namespace: /proc shows the sockets through it
	own       bool                            // all packets belong to the root
	host      bool                            // the agent's own namespace
	asked     []*batch                        // what the parser reads, oldest first
	buffer    []byte                          // for the data of a question
	names     map[int]string                  // of interfaces
	fragments map[parser.Fragment]parser.Ends // of packets whose first fragment was captured
	places    map[parser.Ends]place
	checked   time.Time // when the reader last asked for losses
	readUntil time.Time // when the ring was last empty, and all before had been read
}

// place is the interface from which the watch takes a flow's packets. With a bridge, a
// bond or a VLAN a packet passes several interfaces.
type place struct {
	ifindex int
	last    time.Time
}

// placeTime is how long a flow must be silent on its interface before the watch takes it
// from another one.
const placeTime = time.Second

// maxRemembered bounds the fragments and places of a namespace.
const maxRemembered = 4096

// Watch is a running capture. Its methods are safe for concurrent use.
type Watch struct {
	options Options
	scope   Scope
	sink    func(*event.Event)
	log     *slog.Logger
	spaces  []*space
	limits  []string
	root    *owner // owner of the packets in the separate namespace of Scope.Own

	parser  *parser.Parser
	askable chan struct{} // has an item for each batch that the parser reads
	stop    context.CancelFunc
	look    chan struct{} // signals that there is something to look up
	running sync.WaitGroup
	closing chan struct{} // closed when the watch ends
	once    sync.Once

	mu       sync.Mutex // guards all below; held while sink is called
	number   uint64
	owners   owners
	known    map[int]*owner // by pid
	held     held
	unparsed parser.Losses
	excluded endpoints
	ended    bool // sink is not called any more
}

// Open begins to collect packets. Once Begin is called, sink gets the packets and the
// events that go through Sensed, from one goroutine at a time. It must not block for
// long. The error wraps os.ErrNotExist if a process is gone.
func Open(options Options, scope Scope, sink func(*event.Event)) (*Watch, error) {
	if options.RingBytes == 0 {
		options.RingBytes = RingBytes
	}
	if options.SensedUntil == nil {
		options.SensedUntil = time.Now
	}
	if options.Pending == nil {
		options.Pending = pending.New(pending.Limit)
	}
	if options.Log == nil {
		options.Log = slog.Default()
	}
	scope.PIDs = slices.Clone(scope.PIDs)
	w := &Watch{
		options: options, scope: scope, sink: sink, log: options.Log,
		look: make(chan struct{}, 1), closing: make(chan struct{}),
		owners: newOwners(maxSockets), known: map[int]*owner{}, held: newHeld(options.Pending), askable: make(chan struct{}, maxAsked),
	}
	w.parser = parser.New(w.log, &w.mu, func() {})
	if err := w.open(); err != nil {
		return nil, errors.Join(err, w.closeRings())
	}
	w.excluded = endpointsOf(scope.Exclude)
	return w, nil
}

// open opens the namespaces of the scope: the agent's own, or those of the chosen
// processes.
func (w *Watch) open() error {
	self, err := procfs.NetworkNamespace(os.Getpid())
	if err != nil {
		return fmt.Errorf("find the network namespace: %w", err)
	}
	pids := w.scope.PIDs
	if w.scope.All {
		pids = []int{os.Getpid()}
	}
	for _, pid := range pids {
		if err := w.openSpace(pid, self); err != nil {
			if _, gone := procfs.Read(pid); gone != nil {
				return fmt.Errorf("process %d: %w", pid, os.ErrNotExist)
			}
			w.limits = append(w.limits, fmt.Sprintf("packets of process %d: %v", pid, err))
		}
	}
	return nil
}

// openSpace opens the namespace of a process unless it is open already.
func (w *Watch) openSpace(pid int, self uint64) error {
	inode, err := procfs.NetworkNamespace(pid)
	if err != nil {
		return fmt.Errorf("its network namespace cannot be read: %w", err)
	}
	if slices.ContainsFunc(w.spaces, func(s *space) bool { return s.inode == inode }) {
		return nil
	}
	s := &space{
		index: len(w.spaces) + 1, inode: inode, pid: pid, host: inode == self, own: w.scope.Own && inode != self,
		names: map[int]string{}, fragments: map[parser.Fragment]parser.Ends{}, places: map[parser.Ends]place{}, checked: time.Now(), readUntil: time.Now(),
	}
	path := procfs.NetworkNamespacePath(pid)
	if s.host {
		path, s.pid = "", os.Getpid()
	}
	if s.ring, err = openRing(path, w.options.RingBytes, max(snapBytes, headerBytes+w.options.ContentBytes)); err != nil {
		return err
	}
	w.spaces = append(w.spaces, s)
	if s.own {
		w.root = fromProc(pid)
	}
	return nil
}

// Limits returns what the watch cannot see: the packets of processes whose network
// namespace cannot be read. It returns "" if there are none.
func (w *Watch) Limits() string { return strings.Join(w.limits, "; ") }

// Begin starts to emit packets, beginning with those collected since Open.
func (w *Watch) Begin() {
	ctx, stop := context.WithCancel(context.Background())
	w.stop = stop
	for _, s := range w.spaces {
		w.running.Go(func() { w.read(s) })
	}
	w.running.Go(func() { w.resolve(ctx) })
	w.askLook()
}

// read reads a namespace's packets until the watch ends, then the packets that arrived
// before the end.
func (w *Watch) read(s *space) {
	ending := false
	for wait := time.Duration(0); ; wait = w.tick(s, false) {
		deadline := time.Now().Add(wait)
		for {
			more, err := w.readNext(s, deadline)
			if err != nil {
				w.log.Error("cannot read packets any more", "error", err)
				return
			}
			if !more || !time.Now().Before(deadline) {
				break
			}
		}
		select {
		case <-w.closing:
			if ending {
				return
			}
			// The kernel hands over a block that is not full after its timeout, and one
			// that was just begun after twice the timeout.
			ending = true
			w.drain(s, time.Now().Add(3*retireTime))
		default:
		}
	}
}

// drain reads until the ring is empty and the time until has passed.
func (w *Watch) drain(s *space, until time.Time) {
	for {
		more, err := w.readNext(s, until)
		if err != nil || !more && !time.Now().Before(until) {
			return
		}
	}
}

// readNext lets the parser read the next block of the ring. It returns false if none was ready
// in time.
func (w *Watch) readNext(s *space, deadline time.Time) (bool, error) {
	q := parser.NewFrames(w.options.ContentBytes, s.buffer)
	var frames []frame
	more, err := s.ring.read(deadline, func(f *frame) {
		q.AddFrame(&f.Frame)
		kept := *f
		kept.Data = nil // the ring's memory
		frames = append(frames, kept)
	})
	if len(frames) > 0 {
		w.ask(s, frames, q)
	}
	s.buffer = q.Data
	return more, err
}

// tick does the periodic work and returns the time until the next tick.
func (w *Watch) tick(s *space, last bool) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	s.readUntil = s.ring.empty
	if len(s.asked) > 0 && s.asked[0].began.Before(s.readUntil) {
		s.readUntil = s.asked[0].began
	}
	w.settle(now, last)
	if last || now.Sub(s.checked) >= pollInterval {
		w.reportLosses(s, now)
	}
	if w.held.empty() {
		return pollInterval
	}
	return heldInterval
}

// ReadUntil returns a recent moment: the sink has had every packet from before it, or the
// packet was dropped or is reported as lost.
func (w *Watch) ReadUntil() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	until := time.Now()
	earlier := func(at time.Time) {
		if at.Before(until) {
			until = at
		}
	}
	for _, s := range w.spaces {
		earlier(s.readUntil.Add(-3 * retireTime)) // as in read
	}
	if len(w.held.queue) > 0 {
		earlier(w.held.queue[0].time)
	}
	return until
}

// reportLosses reports packets for which the ring had no room.
func (w *Watch) reportLosses(s *space, now time.Time) {
	lost, err := s.ring.drops()
	if err != nil {
		w.log.Error("cannot read how many packets were lost", "error", err)
	}
	if lost > 0 {
		w.send(&event.Event{Type: event.TypeLost, Time: now, Data: &event.Lost{
			Count: lost, Reason: event.ReasonPackets, From: s.checked, To: now, CPU: -1,
		}})
	}
	w.reportHeldLosses(now)
	w.unparsed.Report(w.send)
	s.checked = now
}

// reportHeldLosses reports packets that had to leave the queue before their owner was known.
func (w *Watch) reportHeldLosses(now time.Time) {
	if w.held.lost > 0 {
		w.send(&event.Event{Type: event.TypeLost, Time: now, Data: &event.Lost{
			Count: w.held.lost, Reason: event.ReasonHeld, From: w.held.lostFrom, To: w.held.lostTo, CPU: -1,
		}})
		w.held.lost = 0
	}
}

// send passes an event to the sink, until the watch has ended.
func (w *Watch) send(e *event.Event) {
	if !w.ended {
		w.sink(e)
	}
}

// Close emits the packets captured so far and ends the watch. The caller should first close
// the sensor whose events go through Sensed.
func (w *Watch) Close() error {
	var err error
	w.once.Do(func() {
		close(w.closing)
		if w.stop != nil {
			w.stop()
			w.running.Wait()
		}
		w.parser.Finish()
		if w.stop != nil {
			for _, s := range w.spaces {
				w.tick(s, true)
			}
		}
		w.mu.Lock()
		w.ended = true
		w.mu.Unlock()
		err = w.closeRings()
	})
	return err
}

func (w *Watch) closeRings() error {
	var errs []error
	for _, s := range w.spaces {
		errs = append(errs, s.ring.close())
	}
	return errors.Join(errs...)
}

// Exclude adds processes to the excluded ones.
func (w *Watch) Exclude(pids []int) {
	more := endpointsOf(pids)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.scope.Exclude = append(slices.Clone(w.scope.Exclude), pids...)
	w.excluded = w.excluded.with(more)
}

// packet emits a packet, holds it until its owner is known, or drops it. The caller holds mu.
func (w *Watch) packet(s *space, f *frame, p *parser.Packet) {
	if w.excluded.has(p.Ends, s.host) || w.excluded.has(p.About, s.host) {
		return
	}
	if p.Fragment != (parser.Fragment{}) && !p.IsLater {
		if len(s.fragments) >= maxRemembered {
			clear(s.fragments)
		}
		s.fragments[p.Fragment] = p.Ends
	}
	now := time.Now()
	q := question{
		space: s, ends: p.Ends, fragment: p.Fragment, inside: p.IsLater, time: f.time, begins: p.IsFirst,
	}
	if p.About.Protocol != 0 {
		q.ends, q.returned = p.About, true
	}
	use, out := w.owner(&q, now)
	if use != nil && w.held.dirty && w.held.flows[q.ends.Flow()] > 0 {
		w.settle(now, false) // held packets of this flow come first
	}
	if use == nil && !s.own && w.held.isForeign(&q, now) {
		return
	}
	if s.isCopy(f, p) {
		return
	}
	e := p.Event
	e.Time, e.Length, e.Interface, e.Direction = f.time, f.Length, s.interfaceName(f.ifindex), event.DirectionIn
	if f.outgoing {
		e.Direction = event.DirectionOut
	}
	if use == nil {
		w.hold(&q, e, now)
		return
	}
	if p.IsFinal {
		use.finished = true
	}
	w.emit(e, use.owner, out)
}

// isCopy reports whether the watch takes this flow from another interface, on which the
// packet appears too.
func (s *space) isCopy(f *frame, p *parser.Packet) bool {
	if f.ifindex == loopback || !p.From.IsValid() {
		return false
	}
	at, ok := s.places[p.Ends]
	if ok && at.ifindex != f.ifindex && f.time.Sub(at.last) < placeTime {
		return true
	}
	if !ok && len(s.places) >= maxRemembered {
		clear(s.places)
	}
	s.places[p.Ends] = place{f.ifindex, f.time}
	return false
}

func (s *space) interfaceName(index int) string {
	name, ok := s.names[index]
	if !ok {
		name = s.ring.interfaceName(index)
		s.names[index] = name
	}
	return name
}

// emit passes a packet of a process to the sink.
func (w *Watch) emit(e *event.Packet, by *owner, out bool) {
	w.number++
	e.Number, e.Actor = w.number, by.Process
	e.Direction = event.DirectionIn
	if out {
		e.Direction = event.DirectionOut
	}
	w.send(&event.Event{Type: event.TypePacket, Time: e.Time, Data: e})
}

// owner returns the owner of a packet, and whether the owner sent it; nil if the owner is
// unknown.
func (w *Watch) owner(q *question, now time.Time) (by *use, out bool) {
	e := q.ends
	if q.inside {
		first, ok := q.space.fragments[q.fragment]
		if !ok {
			return nil, false
		}
		e = first
	}
	if !e.From.IsValid() {
		return nil, false
	}
	by, out = w.owners.find(q.space.index, e, q.time, now, q.begins)
	return by, out != q.returned
}
