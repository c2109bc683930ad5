package analysis

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
)

// joined has the conversations of some pairs. It follows from the pairs and their order
// alone.
type joined struct {
	rows          []row
	listeners     []int // places of pairs
	withoutRemote int64
}

// row is a conversation before it is in a page.
type row struct {
	id       string
	a, b     End
	class    string
	members  []member
	partials int    // members that are no whole pairs
	siblings []*row // other conversations between the same ends, over other transports

	bytes, events, last int64 // for sorting
}

// member is a pair of a row.
type member struct {
	place   int
	flipped bool // the pair's end a is the row's end b
	isError bool // the pair's packets report a fault of the conversation
}

// Limits that keep the filter of a row far below the longest filter that is accepted.
const (
	maxPartials   = 8   // per row
	maxJoinedHost = 100 // bytes of a host in a pair that joins others
)

// joinKey finds the rows that a partial pair can belong to.
type joinKey struct {
	what  joinKind
	class string
	pid   int64
	port  int64
	end   End
}

type joinKind uint8

const (
	fromPort    joinKind = iota // from a port to the end
	ofProcess                   // of a process, to the end
	atPort                      // of a process, from the port of end
	toHost                      // of a process, to the host of end
	anyToHost                   // of any process, to the host of end
	betweenEnds                 // from the end to the host class and the port
)

// joiner joins pairs.
type joiner struct {
	*joined
	pairs []pair
	index map[joinKey][]int // at most two rows each: only a single one is a match
}

// rows returns the conversations of all pairs.
func (d *Conversations) rows() *joined {
	if d.joined == nil {
		j := &joiner{&joined{}, d.pairs, map[joinKey][]int{}}
		j.joinWhole()
		j.joinWildcards()
		j.joinUnknown()
		j.joinICMP()
		for i := range j.rows {
			r := &j.rows[i]
			c := r.sum(d.pairs)
			r.bytes, r.events, r.last = c.Bytes, c.Packets+c.Calls+c.Errors, c.LastMicros
		}
		d.joined = j.joined
	}
	return d.joined
}

// transports are the classes of whole pairs. The first one that occurs between two ends
// gets the packets that show no transport.
var transports = []string{tcp, udp, sctp, ""} //nolint:gochecknoglobals // a constant

// joinWhole makes the rows of pairs with two known ends, and of packets without ports.
func (j *joiner) joinWhole() {
	type group struct {
		a, b   End
		places map[string]int
	}
	byEnds := map[[2]End]int{}
	var groups []group
	for place := range j.pairs {
		key := &j.pairs[place].key
		switch key.kind {
		case whole:
			ends := [2]End{key.a, key.b}
			at, known := byEnds[ends]
			if !known {
				at = len(groups)
				byEnds[ends] = at
				groups = append(groups, group{key.a, key.b, map[string]int{}})
			}
			groups[at].places[key.class] = place
		case bare, portless:
			j.add(row{a: key.a, b: key.b, class: key.class, id: key.id(), members: []member{{place: place}}})
		case icmp, calls:
		}
	}
	for _, g := range groups {
		first := len(j.rows)
		for _, class := range transports {
			place, has := g.places[class]
			switch {
			case !has:
			case class == "" && len(j.rows) > first:
				j.rows[first].members = append(j.rows[first].members, member{place: place})
			default:
				key := pairKey{kind: whole, a: g.a, b: g.b}
				if len(j.rows) > first {
					key.class = class
				}
				j.rows = append(j.rows, row{a: g.a, b: g.b, class: class, id: key.id(), members: []member{{place: place}}})
			}
		}
		for at := first; at < len(j.rows); at++ {
			if len(j.rows)-first > 1 {
				for other := first; other < len(j.rows); other++ {
					if other != at {
						j.rows[at].siblings = append(j.rows[at].siblings, &row{class: j.rows[other].class})
					}
				}
			}
			j.note(at)
		}
	}
}

// add adds a row, and indexes it.
func (j *joiner) add(r row) int {
	j.rows = append(j.rows, r)
	j.note(len(j.rows) - 1)
	return len(j.rows) - 1
}

// note indexes a row.
func (j *joiner) note(at int) {
	r := &j.rows[at]
	classes := []string{r.class}
	if r.class == "" {
		classes = []string{"", tcp, udp, sctp}
	}
	for _, ends := range [...][2]End{{r.a, r.b}, {r.b, r.a}} {
		local, remote := ends[0], ends[1]
		pids := r.pids(j.pairs, local == r.a)
		for _, class := range classes {
			if local.Port > 0 {
				j.put(joinKey{what: fromPort, class: class, port: local.Port, end: remote}, at)
			}
			for _, pid := range pids {
				j.put(joinKey{what: ofProcess, class: class, pid: pid, end: remote}, at)
				j.put(joinKey{what: atPort, class: class, pid: pid, port: local.Port}, at)
				j.put(joinKey{what: atPort, class: class, pid: pid, end: local}, at)
				j.put(joinKey{what: toHost, class: class, pid: pid, end: End{Host: remote.Host}}, at)
			}
		}
	}
	j.put(joinKey{what: betweenEnds, end: r.a, class: r.b.Host, port: r.b.Port}, at)
	j.put(joinKey{what: betweenEnds, end: r.b, class: r.a.Host, port: r.a.Port}, at)
}

func (j *joiner) put(key joinKey, at int) {
	if known := j.index[key]; len(known) < 2 && !slices.Contains(known, at) {
		j.index[key] = append(known, at)
	}
}

// find returns the only row of a key; -1 if there is none, and many if there are several.
func (j *joiner) find(key joinKey) (at int, many bool) {
	switch known := j.index[key]; len(known) {
	case 0:
		return -1, false
	case 1:
		return known[0], false
	}
	return -1, true
}

// pids returns the processes at an end of the row, a or b.
func (r *row) pids(pairs []pair, ofA bool) (pids []int64) {
	for _, m := range r.members {
		for _, p := range pairs[m.place].processes {
			if isA := (p.end == 0) != m.flipped; (isA == ofA || p.end < 0) && !slices.Contains(pids, p.pid) {
				pids = append(pids, p.pid)
			}
		}
	}
	return pids
}

// isLocal reports whether the end a of the row is the local end of a pair of calls with an
// unknown end, and not b.
func (r *row) isLocal(pairs []pair, key *pairKey) bool {
	fits := func(local, remote End, ofA bool) bool {
		return (key.a.Port <= 0 || key.a.Port == local.Port) && (key.a.Host == "" || isUnspecified(key.a.Host) || key.a.Host == local.Host) &&
			(key.b.Host == "" || key.b.Host == remote.Host) && slices.Contains(r.pids(pairs, ofA), key.pid)
	}
	return fits(r.a, r.b, true) || !fits(r.b, r.a, false)
}

// join adds a partial pair to a row, and reports whether there was room.
func (j *joiner) join(at, place int, flipped, isError bool) bool {
	r, key := &j.rows[at], &j.pairs[place].key
	if r.partials >= maxPartials || max(len(key.a.Host), len(key.b.Host), len(r.a.Host), len(r.b.Host)) > maxJoinedHost {
		return false
	}
	r.partials++
	r.members = append(r.members, member{place, flipped, isError})
	j.note(at)
	return true
}

// own makes a row of a single pair.
func (j *joiner) own(place int) int {
	key := &j.pairs[place].key
	j.put(joinKey{what: anyToHost, class: key.class, end: End{Host: key.b.Host}}, len(j.rows))
	return j.add(row{a: key.a, b: key.b, class: key.class, id: key.id(), members: []member{{place: place}}, partials: 1})
}

// joinWildcards joins the calls of sockets that are bound to all addresses, such as UDP
// sockets, with the conversation from their port to the same remote end. Two such sockets
// whose calls name the port of each other are the two ends of one conversation.
func (j *joiner) joinWildcards() {
	type direction struct {
		class             string
		local, remotePort int64
	}
	type socket struct {
		class  string
		port   int64
		remote End
	}
	var sockets []socket
	places := map[socket][]int{}
	directions := map[direction][]socket{}
	for place := range j.pairs {
		key := &j.pairs[place].key
		if key.kind != calls || !key.a.isWildcard() || !key.b.known() {
			continue
		}
		s := socket{key.class, key.a.Port, key.b}
		if places[s] == nil {
			sockets = append(sockets, s)
			way := direction{s.class, s.port, s.remote.Port}
			directions[way] = append(directions[way], s)
		}
		places[s] = append(places[s], place)
	}
	for _, s := range sockets {
		at, many := j.find(joinKey{what: fromPort, class: s.class, port: s.port, end: s.remote})
		if at < 0 && !many {
			other := directions[direction{s.class, s.remote.Port, s.port}]
			if len(other) == 1 && other[0] != s && len(directions[direction{s.class, s.port, s.remote.Port}]) == 1 {
				a, b := End{other[0].remote.Host, s.port}, s.remote
				if less(b, a) {
					a, b = b, a
				}
				key := pairKey{kind: whole, a: a, b: b}
				at = j.add(row{a: a, b: b, class: s.class, id: key.id()})
			}
		}
		for _, place := range places[s] {
			if at < 0 || !j.join(at, place, j.rows[at].b != s.remote, false) {
				at = j.own(place)
			}
		}
	}
}

// joinUnknown joins the calls without a known local or remote end with the only
// conversation of the same process that can be meant: a connect that failed, or that came
// before the kernel chose the port, a bind before the connect, a datagram that was received
// without asking who sent it.
func (j *joiner) joinUnknown() {
	var rest []int
	for place := range j.pairs {
		p := &j.pairs[place]
		key := &p.key
		switch {
		case key.kind != calls || key.a.isWildcard() && key.b.known():
		case key.class == "unix" || !key.b.known():
			rest = append(rest, place)
		default:
			at, _ := j.find(joinKey{what: ofProcess, class: key.class, pid: key.pid, end: key.b})
			if at < 0 || !key.hasPID || !j.join(at, place, j.rows[at].b != key.b, false) {
				j.own(place)
			}
		}
	}
	// A socket that accepted a Unix connection has a local end only.
	isAccepted := func(place int) bool { return j.pairs[place].key.class == "unix" && j.pairs[place].key.b.Host == "" }
	slices.SortStableFunc(rest, func(a, b int) int {
		switch {
		case isAccepted(a) == isAccepted(b):
			return 0
		case isAccepted(a):
			return 1
		}
		return -1
	})
	for _, place := range rest {
		p := &j.pairs[place]
		key := &p.key
		at, moves := -1, p.sent[0]+p.received[0]+p.undirected > 0
		switch {
		case isAccepted(place) && moves:
			at, _ = j.find(joinKey{what: anyToHost, class: key.class, end: End{Host: key.a.Host}})
		case key.class == "unix", p.listens, !key.hasPID:
		case key.a.isWildcard():
			at, _ = j.find(joinKey{what: atPort, class: key.class, pid: key.pid, port: key.a.Port})
		case key.a.known():
			at, _ = j.find(joinKey{what: atPort, class: key.class, pid: key.pid, end: key.a})
		case key.b.Host != "":
			at, _ = j.find(joinKey{what: toHost, class: key.class, pid: key.pid, end: End{Host: key.b.Host}})
		}
		if at >= 0 && j.join(at, place, isAccepted(place) || !j.rows[at].isLocal(j.pairs, key), false) {
			continue
		}
		switch {
		case (p.listens || key.class == udp && p.binds) && !moves:
			j.listeners = append(j.listeners, place)
			j.withoutRemote += p.calls
		case key.b.Host != "" && key.b.Port != 0, moves:
			j.own(place)
		default:
			j.withoutRemote += p.calls
		}
	}
}

// joinICMP adds ICMP packets that report a fault to the conversation that they are about.
// Their ports are those of the packet that they quote, so the source's port belongs to the
// end to which they are sent. A router may send them. Other ICMP packets are conversations of
// their own, between two hosts.
func (j *joiner) joinICMP() {
	hosts := map[[3]string]int{}
	for place := range j.pairs {
		key := &j.pairs[place].key
		if key.kind != icmp {
			continue
		}
		at := -1
		if key.a.Port > 0 && key.b.Port > 0 {
			sender, other := End{key.b.Host, key.a.Port}, End{key.a.Host, key.b.Port}
			at, _ = j.find(joinKey{what: betweenEnds, end: sender, class: other.Host, port: other.Port})
			if at < 0 {
				at, _ = j.find(joinKey{what: betweenEnds, end: key.a, class: key.b.Host, port: key.b.Port})
			}
			for _, class := range []string{udp, tcp} {
				if at < 0 {
					at, _ = j.find(joinKey{what: fromPort, class: class, port: other.Port, end: sender})
				}
			}
		}
		if at >= 0 && j.join(at, place, false, true) {
			continue
		}
		a, b := End{key.a.Host, -1}, End{key.b.Host, -1}
		flipped := less(b, a)
		if flipped {
			a, b = b, a
		}
		name := strings.ToLower(key.class)
		ends := [3]string{name, a.Host, b.Host}
		if known, has := hosts[ends]; has && j.join(known, place, flipped, false) {
			continue
		}
		if known, isTo := j.pinging(key); known >= 0 && j.join(known, place, !isTo, false) {
			continue
		}
		row := row{a: a, b: b, class: name, id: (&pairKey{kind: icmp, class: name, a: a, b: b}).id(), members: []member{{place: place, flipped: flipped}}, partials: 1}
		if _, has := hosts[ends]; has {
			row.id = key.id()
		}
		j.rows = append(j.rows, row)
		hosts[ends] = len(j.rows) - 1
	}
}

// pinging returns the row of the calls that sent or received an ICMP packet, and whether
// the packet was sent; -1 if there is none.
func (j *joiner) pinging(key *pairKey) (at int, isSent bool) {
	for _, class := range []string{"icmp", "raw"} {
		for _, isSent := range []bool{true, false} {
			host := key.b.Host
			if !isSent {
				host = key.a.Host
			}
			if at, _ := j.find(joinKey{what: anyToHost, class: class, end: End{Host: host}}); at >= 0 {
				return at, isSent
			}
		}
	}
	return -1, false
}

// id returns a short ID that follows from the key alone.
func (k *pairKey) id() string {
	hash := sha256.Sum256(fmt.Appendf(nil, "%d %q %t %q %d %q %d %d %t", k.kind, k.class, k.hasClass, k.a.Host, k.a.Port, k.b.Host, k.b.Port, k.pid, k.hasPID))
	return base64.RawURLEncoding.EncodeToString(hash[:12])
}

// total is the sum of a row's pairs, with the row's ends in places 0 and 1.
type total struct {
	packetBytes, sent, received, opens, accepts, firstSent [2]int64
	isLocal, begins                                        [2]bool
	undirected                                             int64
	processes                                              [3][]ProcessCount // the last ones are at an unknown end
}

// sum returns the conversation, without its hosts and its filter.
func (r *row) sum(pairs []pair) Conversation {
	c := Conversation{ID: r.id}
	var t total
	for _, m := range r.members {
		p := &pairs[m.place]
		c.join(&p.Seen)
		for _, name := range p.names {
			same := func(known string) bool { return strings.EqualFold(known, name) } // calls have tcp, packets TCP
			if len(c.Names) < maxNames && !slices.ContainsFunc(c.Names, same) && !m.isError {
				c.Names = append(c.Names, name)
			}
		}
		if m.isError {
			c.Errors += p.packets
			continue
		}
		c.Packets += p.packets
		c.Calls += p.calls
		t.add(p, m.flipped)
	}
	local := t.local(r.a, r.b)
	remote := 1 - local
	ends := [2]End{r.a, r.b}
	c.Local, c.Remote = shown(ends[local]), shown(ends[remote])
	if c.Protocol = r.protocol(c.Names); c.Protocol == "" && c.Packets == 0 && len(c.Names) > 0 {
		c.Protocol = strings.ToLower(c.Names[0])
	}

	c.PacketBytes = t.packetBytes[0] + t.packetBytes[1]
	sent, received := max(t.sent[local], t.received[remote]), max(t.received[local], t.sent[remote])
	c.CallBytes = sent + received + t.undirected
	c.ByCalls = c.Packets == 0 || c.CallBytes > c.PacketBytes
	switch {
	case c.ByCalls:
		c.Bytes, c.SentBytes, c.ReceivedBytes = c.CallBytes, sent, received
	case r.a == r.b: // a loop has no direction
		c.Bytes = c.PacketBytes
	default:
		c.Bytes, c.SentBytes, c.ReceivedBytes = c.PacketBytes, t.packetBytes[local], t.packetBytes[remote]
	}
	c.Opened = max(t.opens[0], t.opens[1], t.accepts[0], t.accepts[1])
	if c.Opened == 0 && (t.begins[0] || t.begins[1]) {
		c.Opened = 1
	}
	if r.class == udp || c.Protocol == udp { // a connect only names the peer
		c.Opened = 0
	}
	c.Processes = sortedProcesses(slices.Concat(t.processes[local], t.processes[2]))
	if len(c.Processes) > 0 {
		c.PID, c.Process = c.Processes[0].PID, c.Processes[0].Name
	}
	if others := sortedProcesses(t.processes[remote]); len(others) > 0 {
		c.RemotePID, c.RemoteProcess = others[0].PID, others[0].Name
	}
	return c
}

// shown returns an end without the port 0, which is none.
func shown(end End) End {
	if end.Port == 0 {
		end.Port = -1
		if isUnspecified(end.Host) {
			end.Host = ""
		}
	}
	return end
}

func (t *total) add(p *pair, flipped bool) {
	at := func(end int) int {
		if flipped && end >= 0 {
			return 1 - end
		}
		return end
	}
	for end := range 2 {
		to := at(end)
		t.packetBytes[to] += p.packetBytes[end]
		t.sent[to] += p.sent[end]
		t.received[to] += p.received[end]
		t.opens[to] += p.opens[end]
		t.accepts[to] += p.accepts[end]
		t.isLocal[to] = t.isLocal[to] || p.isLocal[end]
		t.begins[to] = t.begins[to] || p.begins[end]
		if first := p.firstSent[end]; first != 0 && (t.firstSent[to] == 0 || first < t.firstSent[to]) {
			t.firstSent[to] = first
		}
	}
	t.undirected += p.undirected
	for _, process := range p.processes {
		to := at(process.end)
		if to < 0 {
			to = 2
		}
		list := &t.processes[to]
		i := slices.IndexFunc(*list, func(c ProcessCount) bool { return *c.PID == process.pid })
		if i < 0 {
			*list = append(*list, processKey{process.pid, true, process.name}.count(process.count))
			continue
		}
		(*list)[i].Count += process.count
		if process.name != "" {
			(*list)[i].Name = process.name
		}
	}
}

// local returns the local end: the one that the agent reports as local. If it reports both
// as local, the one that opened the connection, or sent first. Without a report, which only
// other agents leave out, the end with a private address, else the one that opened the
// connection, else the larger port.
func (t *total) local(a, b End) int {
	only := func(ofA, ofB bool) int {
		switch {
		case ofA == ofB:
			return -1
		case ofA:
			return 0
		}
		return 1
	}
	if end := only(t.isLocal[0], t.isLocal[1]); end >= 0 {
		return end
	}
	far := cmp.Compare(remoteness(a.Host), remoteness(b.Host))
	if far != 0 && !t.isLocal[0] {
		return only(far < 0, far > 0)
	}
	if end := only(t.opens[0] > 0 || t.begins[0], t.opens[1] > 0 || t.begins[1]); end >= 0 {
		return end
	}
	if end := only(t.accepts[1] > 0, t.accepts[0] > 0); end >= 0 {
		return end
	}
	if t.isLocal[0] && t.firstSent[0] != t.firstSent[1] && t.firstSent[0] != 0 && t.firstSent[1] != 0 {
		return only(t.firstSent[0] < t.firstSent[1], t.firstSent[0] > t.firstSent[1])
	}
	if cmp.Or(cmp.Compare(b.Port, a.Port), cmp.Compare(a.Host, b.Host)) <= 0 {
		return 0
	}
	return 1
}

func sortedProcesses(processes []ProcessCount) []ProcessCount {
	slices.SortFunc(processes, func(a, b ProcessCount) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(*a.PID, *b.PID))
	})
	return processes[:min(len(processes), maxProcesses)]
}

// protocol returns the transport of the row, as far as it is known.
func (r *row) protocol(names []string) string {
	switch {
	case r.class != "":
		return strings.ToLower(r.class)
	case slices.ContainsFunc(names, isTCP):
		return tcp
	case slices.ContainsFunc(names, isUDP):
		return udp
	}
	return ""
}
