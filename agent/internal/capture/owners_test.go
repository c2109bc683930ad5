//go:build linux

package capture

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"ospulse/agent/internal/event"
	"ospulse/agent/internal/parser"
	"ospulse/agent/internal/pending"
)

// rig is a watch without a packet socket. Its time advances only when the test says so.
type rig struct {
	*Watch
	space *space
	got   []string // process, direction and packet
	lost  uint64
	busy  bool          // no look at /proc ends
	late  time.Duration // how far the sensor is behind
	slow  bool          // the reader finds no empty ring
}

// noOne is a pid without a process.
const noOne = 1 << 30

func newRig() *rig {
	r := &rig{space: &space{index: 1, host: true, names: map[int]string{loopback: "lo", 2: "eth0", 3: "br0"}, fragments: map[parser.Fragment]parser.Ends{}, places: map[parser.Ends]place{}}}
	r.Watch = &Watch{
		options: Options{ContentBytes: 8, SensedUntil: func() time.Time { return time.Now().Add(-r.late) }}, look: make(chan struct{}, 1), spaces: []*space{r.space},
		owners: newOwners(8), known: map[int]*owner{}, held: newHeld(pending.New(pending.Limit)),
		sink: func(e *event.Event) {
			switch data := e.Data.(type) {
			case *event.Packet:
				r.got = append(r.got, fmt.Sprintf("%s %s %s", data.Actor.Name, data.Direction, data.Info))
			case *event.Lost:
				r.lost += data.Count
			}
		},
	}
	return r
}

// sees passes a frame to the watch, with the time now.
func (r *rig) sees(f *frame) {
	f.time = time.Now()
	r.arrives(f)
}

// arrives passes a frame to the watch.
func (r *rig) arrives(f *frame) {
	p := parsed(f, r.options.ContentBytes)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.packet(r.space, f, p)
}

// used passes a process's call on a socket to the watch, with the time now.
func (r *rig) used(name, operation, protocol, local, remote string) {
	n := &event.Network{Actor: event.Process{PID: noOne + int(name[0]), Name: name}, Operation: operation, Protocol: protocol, Time: time.Now()}
	if local != "" {
		n.Local.Port = netip.MustParseAddrPort(local)
	}
	if remote != "" {
		n.Remote.Port = netip.MustParseAddrPort(remote)
	}
	r.Sensed(&event.Event{Type: event.TypeNetwork, Time: n.Time, Data: n})
}

// later advances the time and does the reader's periodic work.
func (r *rig) later(d time.Duration) {
	for ; d > 0; d -= heldInterval {
		<-time.After(heldInterval)
		r.mu.Lock()
		if !r.slow {
			r.space.readUntil = time.Now()
		}
		r.settle(time.Now(), false)
		if !r.busy {
			r.held.looked = time.Now() // it found nothing
		}
		r.mu.Unlock()
	}
}

// expects compares the emitted packets with want, each by its prefix, and then forgets them.
func (r *rig) expects(t *testing.T, want ...string) {
	t.Helper()
	same := slices.EqualFunc(r.got, want, strings.HasPrefix)
	if !same {
		t.Errorf("got\n\t%s\nwant\n\t%s", strings.Join(r.got, "\n\t"), strings.Join(want, "\n\t"))
	}
	r.got = nil
}

func syn(h *layers.TCP)    { h.SYN = true }
func ack(h *layers.TCP)    { h.ACK = true }
func fin(h *layers.TCP)    { h.FIN, h.ACK = true, true }
func reset(h *layers.TCP)  { h.RST, h.ACK = true, true }
func synAck(h *layers.TCP) { h.SYN, h.ACK = true, true }

func udp(t *testing.T, from, to string, payload int) *frame {
	t.Helper()
	a, b := netip.MustParseAddrPort(from), netip.MustParseAddrPort(to)
	u := &layers.UDP{SrcPort: layers.UDPPort(a.Port()), DstPort: layers.UDPPort(b.Port())}
	if a.Addr().Is4() {
		return built(t, layers.EthernetTypeIPv4, &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: a.Addr().AsSlice(), DstIP: b.Addr().AsSlice()}, u, gopacket.Payload(make([]byte, payload)))
	}
	return built(t, layers.EthernetTypeIPv6, &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolUDP, SrcIP: a.Addr().AsSlice(), DstIP: b.Addr().AsSlice()}, u, gopacket.Payload(make([]byte, payload)))
}

const (
	here  = "10.0.0.1:1000"
	there = "10.0.0.2:80"
)

func TestOwners(t *testing.T) {
	for name, test := range map[string]func(*testing.T, *rig){
		"packets wait for the call, and keep their order": func(t *testing.T, r *rig) {
			r.sees(segment(t, here, there, nil, syn))
			r.sees(segment(t, there, here, nil, synAck))
			r.later(100 * time.Millisecond)
			r.expects(t)
			r.used("a", "Connect", "tcp", here, there)
			r.sees(segment(t, here, there, nil, ack))
			r.expects(t, "a out 1000 → 80 [SYN]", "a in 80 → 1000 [SYN, ACK]", "a out 1000 → 80 [ACK]")
		},
		"a packet without an owner is dropped, and its flow is not held again": func(t *testing.T, r *rig) {
			r.sees(segment(t, here, there, nil, ack))
			r.later(lookDelay)
			r.judge(time.Now()) // two looks at /proc found no owner
			r.later(heldTime)
			if len(r.held.queue) > 0 || r.held.bytes != 0 {
				t.Errorf("%d held, %d bytes", len(r.held.queue), r.held.bytes)
			}
			r.sees(segment(t, there, here, nil, ack))
			if len(r.held.queue) > 0 {
				t.Error("a packet of a foreign flow is held again")
			}
			r.later(foreignTime)
			r.sees(segment(t, there, here, nil, ack))
			if len(r.held.queue) != 1 {
				t.Error("the flow stays foreign for ever")
			}
			r.used("a", "Receive", "tcp", here, there)
			r.sees(segment(t, there, here, nil, ack))
			r.expects(t, "a in 80 → 1000 [ACK]", "a in 80 → 1000 [ACK]")
		},
		"a refused connection is found by its destination": func(t *testing.T, r *rig) {
			r.sees(segment(t, "10.0.0.1:1001", there, nil, syn)) // of another process
			r.later(heldInterval)
			r.sees(segment(t, here, there, nil, syn))
			r.sees(segment(t, there, here, nil, reset))
			r.used("a", "Connect", "tcp", "", there)
			r.later(heldInterval)
			r.sees(segment(t, "10.0.0.1:1002", there, nil, syn)) // of another process
			r.later(claimTime)
			r.expects(t, "a out 1000 → 80 [SYN]", "a in 80 → 1000 [RST, ACK]")
		},
		"a short connection is over before its packets are read": func(t *testing.T, r *rig) {
			f := segment(t, here, there, nil, syn)
			f.time = time.Now()
			r.later(heldInterval)
			r.used("a", "Connect", "tcp", here, there)
			r.used("a", "Close", "tcp", here, there)
			r.arrives(f)
			r.sees(segment(t, here, there, nil, fin))
			r.expects(t, "a out 1000 → 80 [SYN]", "a out 1000 → 80 [FIN, ACK]")
		},
		"a second connection between the same ends is distinct": func(t *testing.T, r *rig) {
			r.used("a", "Connect", "tcp", here, there)
			r.sees(segment(t, here, there, nil, fin))
			r.later(heldInterval)
			r.sees(segment(t, here, there, nil, ack)) // still of the old process
			r.expects(t, "a out 1000 → 80 [FIN, ACK]", "a out 1000 → 80 [ACK]")
			r.sees(segment(t, here, there, nil, syn))
			r.later(heldInterval)
			r.expects(t)
			r.used("b", "Connect", "tcp", here, there)
			r.later(heldInterval)
			r.expects(t, "b out 1000 → 80 [SYN]")
		},
		"a server's packets have an owner before it accepts": func(t *testing.T, r *rig) {
			r.used("a", "Listen", "tcp", "0.0.0.0:80", "")
			r.sees(segment(t, here, there, nil, syn))
			r.expects(t, "a in 1000 → 80 [SYN]")
			r.used("b", "Accept", "tcp", there, here)
			r.sees(segment(t, here, there, nil, ack))
			r.expects(t, "b in 1000 → 80 [ACK]")
		},
		"if both ends are watched, the sender owns the packet": func(t *testing.T, r *rig) {
			r.used("a", "Connect", "tcp", here, there)
			r.used("b", "Accept", "tcp", there, here)
			r.sees(segment(t, here, there, nil, ack))
			r.sees(segment(t, there, here, nil, ack))
			r.expects(t, "a out 1000 → 80", "b out 80 → 1000")
		},
		"a UDP socket owns nothing after its close": func(t *testing.T, r *rig) {
			r.used("a", "Send", "udp", "0.0.0.0:1000", there)
			r.used("a", "Close", "udp", "0.0.0.0:1000", "")
			r.sees(udp(t, here, there, 3))
			r.expects(t, "a out 1000 → 80 Len=3")
			r.later(2 * closeGrace)
			r.sees(udp(t, here, there, 3))
			r.later(heldTime)
			r.expects(t)
		},
		"a UDP socket owns nothing after its process ends": func(t *testing.T, r *rig) {
			r.used("a", "Bind", "udp", "[::]:1000", "")
			r.sees(udp(t, "[fd00::1]:5", "[fd00::2]:1000", 1))
			r.sees(udp(t, "10.0.0.9:5", here, 1))
			r.expects(t, "a in 5 → 1000", "a in 5 → 1000")
			r.Sensed(&event.Event{Data: &event.Exit{Actor: event.Process{PID: noOne + 'a'}, Time: time.Now()}})
			r.later(2 * closeGrace)
			r.sees(udp(t, "10.0.0.9:5", here, 1))
			r.later(heldTime)
			r.expects(t)
		},
		"a fragment without ports belongs to the owner of its packet": func(t *testing.T, r *rig) {
			r.sees(ethernet(bytesOf(t, lastPart)))
			r.sees(ethernet(bytesOf(t, firstPart)))
			r.used("a", "Send", "udp", "[::]:12345", "[::1]:7")
			r.later(heldInterval)
			r.expects(t, "a out Fragmented IP protocol", "a out 12345 → 7")
		},
		"an ICMP error belongs to the sender of the quoted packet": func(t *testing.T, r *rig) {
			r.used("a", "Send", "udp", "0.0.0.0:50272", "127.0.0.1:5353")
			r.sees(ethernet(bytesOf(t, unreachableFrame)))
			r.expects(t, "a in Destination unreachable")
		},
		"an echo is attributed by its identifier": func(t *testing.T, r *rig) {
			ping := func(kind uint8, from, to string, id uint16) *frame {
				return built(t, layers.EthernetTypeIPv4, &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolICMPv4, SrcIP: netip.MustParseAddr(from).AsSlice(), DstIP: netip.MustParseAddr(to).AsSlice()},
					&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(kind, 0), Id: id, Seq: 1})
			}
			r.used("a", "Send", "icmp", "0.0.0.0:77", "10.0.0.2:0")
			raw := &event.Network{Actor: event.Process{PID: noOne, Name: "b"}, Operation: "Send", Protocol: "raw", Time: time.Now()}
			raw.Remote.Port = netip.MustParseAddrPort("10.0.0.2:0")
			raw.Content.Bytes = []byte{8, 0, 0, 0, 0, 78, 0, 1}
			r.Sensed(&event.Event{Data: raw})
			for _, id := range []uint16{77, 78, 79} {
				r.sees(ping(8, "10.0.0.1", "10.0.0.2", id))
				r.sees(ping(0, "10.0.0.2", "10.0.0.1", id))
			}
			r.later(heldTime)
			r.expects(t, "a out Echo (ping) request id=0x004d", "a in Echo (ping) reply id=0x004d", "b out Echo (ping) request id=0x004e", "b in Echo (ping) reply id=0x004e")
		},
		"a packet that passes two interfaces is reported once": func(t *testing.T, r *rig) {
			r.used("a", "Connect", "tcp", here, there)
			for _, ifindex := range []int{2, 3, 2, 3} {
				f := segment(t, here, there, nil, ack)
				f.ifindex = ifindex
				r.sees(f)
			}
			r.expects(t, "a out", "a out")
			<-time.After(placeTime)
			f := segment(t, here, there, nil, ack)
			f.ifindex = 3 // it takes another interface
			r.sees(f)
			r.expects(t, "a out")
		},
		"packets of an excluded port are not reported": func(t *testing.T, r *rig) {
			r.excluded = endpoints{
				ports: map[uint16]bool{80: true}, exact: map[netip.AddrPort]bool{netip.MustParseAddrPort("127.0.0.1:90"): true},
				machine: map[netip.Addr]bool{netip.MustParseAddr("10.0.0.2"): true},
			}
			for _, remote := range []string{there, "10.0.0.3:80", "127.0.0.9:80", "127.0.0.1:90", "127.0.0.9:90"} {
				r.used("a", "Connect", "tcp", here, remote)
				r.sees(segment(t, here, remote, []byte(remote), ack))
				r.sees(segment(t, remote, here, nil, ack))
			}
			r.expects(t, "a out 1000 → 80", "a in 80 → 1000", "a out 1000 → 90", "a in 90 → 1000")
			r.space.host = false // another namespace has a different loopback
			r.sees(segment(t, here, "127.0.0.1:90", nil, ack))
			r.sees(segment(t, here, there, nil, ack))
			r.expects(t, "a out 1000 → 90")
		},
		"the queue is bounded, and lost packets are counted": func(t *testing.T, r *rig) {
			const others, mine = 1000, 3000
			for i := range others + mine {
				if i < others {
					r.sees(segment(t, "10.0.0.3:7", there, nil, ack))
				}
				if i < mine {
					r.sees(segment(t, here, there, nil, ack))
				}
			}
			if n := len(r.held.queue); r.held.bytes > heldBytes || n < 1000 {
				t.Errorf("%d held, %d bytes", n, r.held.bytes)
			}
			r.used("a", "Connect", "tcp", here, there)
			r.later(heldTime + heldInterval)
			r.mu.Lock()
			r.reportHeldLosses(time.Now())
			r.mu.Unlock()
			if n := len(r.got); uint64(n)+r.lost != mine || r.lost == 0 || !r.held.empty() {
				t.Errorf("%d arrived, %d lost", n, r.lost)
			}
		},
		"packets do not wait while too much waits elsewhere": func(t *testing.T, r *rig) {
			r.held.pending.Add(pending.Limit)
			for range 3 {
				r.sees(segment(t, here, there, nil, ack))
			}
			if n := len(r.held.queue); n != 1 {
				t.Errorf("%d packets wait", n)
			}
			r.held.pending.Add(-pending.Limit)
			r.used("a", "Connect", "tcp", here, there)
			r.later(heldTime + heldInterval)
			r.mu.Lock()
			r.reportHeldLosses(time.Now())
			r.mu.Unlock()
			r.expects(t, "a out 1000 → 80")
			if r.lost != 2 || r.held.pending.Bytes() != 0 {
				t.Errorf("%d lost, %d bytes wait", r.lost, r.held.pending.Bytes())
			}
		},
		"a connection that is refused at once is found when both sides are late": func(t *testing.T, r *rig) {
			r.late, r.slow = 2*time.Second, true
			f := segment(t, here, there, nil, syn)
			f.time = time.Now()
			r.sees(segment(t, "10.0.0.9:9", there, nil, syn)) // of another process
			r.later(4 * heldTime)
			r.used("a", "Connect", "tcp", "", there)
			r.later(4 * claimTime)
			r.arrives(f)
			r.slow = false
			r.later(2 * claimTime)
			r.expects(t, "a out 1000 → 80 [SYN]")
			r.late = 0
			r.later(heldTime)
			r.expects(t)
			if !r.held.empty() || r.lost > 0 {
				t.Errorf("%d held, %d lost", len(r.held.queue), r.lost)
			}
		},
		"packets wait until the sensor has read what belongs to them": func(t *testing.T, r *rig) {
			r.late = time.Minute
			r.sees(segment(t, here, there, nil, ack))
			r.later(heldMax - time.Second)
			r.judge(time.Now())
			r.sees(segment(t, there, here, nil, ack)) // not taken for foreign
			r.used("a", "Connect", "tcp", here, there)
			r.later(heldInterval)
			r.expects(t, "a out 1000 → 80", "a in 80 → 1000")
			r.sees(segment(t, "10.0.0.9:9", there, nil, ack))
			r.late = 0 // the sensor has caught up
			r.later(heldTime)
			if !r.held.empty() {
				t.Error("the packet is held for ever")
			}
		},
		"a packet that waits for too long is lost if it had an owner": func(t *testing.T, r *rig) {
			r.late = time.Minute
			r.sees(segment(t, here, there, nil, ack))
			r.sees(segment(t, "10.0.0.9:9", there, nil, ack))
			r.later(heldMax + heldInterval)
			if n := len(r.held.queue); n > 0 {
				t.Errorf("%d packets are held for ever", n)
			}
			r.used("a", "Connect", "tcp", here, there)
			r.late = 0
			r.later(heldTime)
			r.expects(t)
			r.reportHeldLosses(time.Now())
			if r.lost != 1 || !r.held.empty() {
				t.Errorf("%d lost", r.lost)
			}
		},
		"packets wait for a look at /proc, however long it takes": func(t *testing.T, r *rig) {
			r.busy = true
			r.sees(segment(t, here, there, []byte("x"), ack))
			r.later(8 * heldTime)
			r.used("a", "Connect", "tcp", here, there)
			r.later(heldInterval)
			r.expects(t, "a out 1000 → 80")
			r.sees(segment(t, "10.0.0.9:9", there, nil, ack))
			r.later(heldMax + heldInterval)
			if n := len(r.held.queue); n > 0 {
				t.Errorf("%d packets are held for ever", n)
			}
			r.busy = false
			r.later(2 * heldInterval)
			if !r.held.empty() || r.lost > 0 {
				t.Errorf("%d lost", r.lost)
			}
		},
		"a flow without an owner does not wait twice": func(t *testing.T, r *rig) {
			for i := range 10000 {
				r.sees(segment(t, here, there, nil, ack))
				if i == 10 {
					r.later(lookDelay)
					r.judge(time.Now())
				}
			}
			r.later(heldTime)
			if r.lost > 0 || !r.held.empty() {
				t.Errorf("%d lost", r.lost)
			}
		},
		"without a captured namespace, calls of ended processes only pass": func(t *testing.T, r *rig) {
			r.spaces = nil
			r.used("a", "Connect", "tcp", "", there)
			r.used("a", "Connect", "tcp", here, there)
			r.later(2 * claimTime)
			if !r.held.empty() {
				t.Error("something is held")
			}
		},
		"in a separate namespace all packets belong to the root": func(t *testing.T, r *rig) {
			r.space.own, r.root = true, &owner{Process: event.Process{PID: noOne + 'z', Name: "sh"}}
			r.used("z", "Socket", "tcp", "", "") // the process runs another image now
			for i := range 3000 {                // more than the queue can hold
				r.sees(udp(t, here, "10.0.0.2:"+fmt.Sprint(1000+i), 0))
			}
			r.used("a", "Send", "udp", here, "10.0.0.2:3999")
			r.later(heldTime)
			if n := len(r.got); n != 3000 || r.lost > 0 || !strings.HasPrefix(r.got[0], "z ") || !slices.ContainsFunc(r.got, func(s string) bool { return strings.HasPrefix(s, "a out 1000 → 3999") }) {
				t.Errorf("%d, %d lost: %s …", n, r.lost, r.got[0])
			}
		},
		"the oldest sockets are forgotten when there are too many": func(t *testing.T, r *rig) {
			for i := range 100 {
				r.used("a", "Connect", "tcp", "10.0.0.1:"+fmt.Sprint(1000+i), there)
				r.later(heldInterval)
			}
			if n := len(r.owners.sockets); n > 8 {
				t.Errorf("%d sockets", n)
			}
			r.sees(segment(t, "10.0.0.1:1099", there, nil, ack))
			r.expects(t, "a out 1099 → 80")
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { test(t, newRig()) })
		})
	}
}

func TestPacketWaitsForTwoLooks(t *testing.T) {
	w := newRig().Watch
	came := time.Now().Add(-heldTime)
	for i, want := range []bool{false, false, true} {
		if got := w.isKnown(came, heldTime); got != want {
			t.Errorf("after %d looks: %v", i, got)
		}
		w.held.noteLook(came.Add(time.Duration(i+1) * time.Second))
	}
	w.held.noteLook(came.Add(-time.Second)) // a look that began before the packet came
	w.held.noteLook(came.Add(time.Second))
	if w.isKnown(came, heldTime) {
		t.Error("a look from before the packet counts")
	}
}
