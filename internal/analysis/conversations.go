package analysis

import (
	"bytes"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"ospulse/internal/jsonscan"
	"ospulse/internal/models"
)

// End is one end of a conversation.
type End struct {
	Host string // an address, or the name of a Unix socket; "" if there is none
	Port int64  // -1 if there is none
}

// known reports whether the end has an address and a port. The port 0 is a port that the
// kernel has not chosen yet, or has taken back.
func (e End) known() bool { return e.Host != "" && e.Port > 0 }

// isWildcard reports whether the end is a port on every address of the machine.
func (e End) isWildcard() bool { return isUnspecified(e.Host) && e.Port > 0 }

func isUnspecified(host string) bool { return host == "0.0.0.0" || host == "::" }

// Conversation is what two ends exchanged: the packets and the calls of one connection, of
// the processes at both ends if both are watched.
type Conversation struct {
	ID            string // follows from the ends and the transport, so it is stable
	Protocol      string // tcp, udp, icmp, unix …; "" if unknown
	Names         []string
	Local, Remote End

	// PID and Process are the process at the local end with the most events, RemotePID and
	// RemoteProcess that at the remote end, if it is watched too.
	PID, RemotePID         *int64
	Process, RemoteProcess string
	Processes              []ProcessCount // all processes at the local end, those with the most events first

	Packets, PacketBytes int64
	Calls, CallBytes     int64 // of both ends; a byte that one end sent and the other received counts once
	Errors               int64 // ICMP packets that report a fault of this conversation
	Opened               int64 // how often a connection between these ends was opened or refused, as far as the events show

	// Bytes, SentBytes and ReceivedBytes count either the packets or the calls, whichever
	// saw more bytes: both see the same ones.
	Bytes, SentBytes, ReceivedBytes int64
	ByCalls                         bool // they count the calls

	Seen

	// Only in pages: names from DNS answers for Remote, and the filter that selects
	// exactly these events.
	Hosts  []string // set by NameHosts
	Filter string
}

// Listener is a socket that waits for others.
type Listener struct {
	Protocol string
	Local    End
	PID      *int64
	Process  string
	Filter   string // selects the calls on it
	Seen
}

// pairKey has the values that the events of a pair share. Each of them follows from one
// event alone, so that a filter can test it.
type pairKey struct {
	kind pairKind
	// class is the transport in the kinds whole and calls; the name of the protocol in the
	// others.
	class    string
	hasClass bool
	// In the kinds whole and portless, a is less than b, and the events go both ways. In
	// the others a is the source of the events, which is the caller, and b the destination.
	a, b   End
	pid    int64 // only of calls with an unknown end
	hasPID bool
}

type pairKind uint8

const (
	whole    pairKind = iota // packets and calls between two known ends
	bare                     // packets with ports, of which one address is unspecified
	portless                 // packets without ports
	icmp                     // ICMP packets, which may have the ports of the packet that they report on
	calls                    // calls with an unknown or unspecified end
)

// pair is the sum of the events with one pairKey. A conversation consists of pairs.
type pair struct {
	key   pairKey
	names []string

	packets, calls, undirected int64
	// The following are of the ends a and b.
	packetBytes    [2]int64 // of packets that the end sent
	sent, received [2]int64 // by calls at the end
	isLocal        [2]bool  // the agent reports the end as local
	opens, accepts [2]int64 // calls at the end that open and accept a connection
	begins         [2]bool  // the end sent the first packet of a TCP connection
	firstSent      [2]int64 // time of the first packet or call that sent, in microseconds; 0: none

	listens, binds bool
	processes      []pairProcess
	Seen
}

// pairProcess is a process of a pair.
type pairProcess struct {
	end   int // 0, 1, or -1 if unknown
	pid   int64
	name  string
	count int64
}

// Conversations is the rollup of raw_network_operation and network_operation events. It
// is not safe for concurrent use.
type Conversations struct {
	limits Limits
	bytes  int64

	places map[pairKey]int
	pairs  []pair
	hosts  hosts
	joined *joined // the conversations of the pairs; nil after an event was added

	others         int64
	withoutAddress int64
	truncated      bool
}

// NewConversations returns an empty rollup.
func NewConversations(limits Limits) *Conversations {
	return &Conversations{limits: limits, places: map[pairKey]int{}, hosts: hosts{}}
}

// ConversationTypes returns the event types that Conversations reads.
func ConversationTypes() []string { return []string{models.TypePacket, models.TypeNetwork} }

// The members of data that Conversations reads, in the order of ConversationKeys.
const (
	netProtocol = iota
	netSource
	netSourcePort
	netDestination
	netDestinationPort
	netLength
	netMoved
	netInfo
	netDNS
	netDirection
	netTCPFlags
)

// ConversationKeys returns the members of data that Conversations reads.
func ConversationKeys() []string {
	return []string{"protocol", "src", "src_port", "dst", "dst_port", "length", "bytesTransferred", "info_raw", "dns", "direction", "tcpFlags"}
}

// Bytes returns about how much memory the rollup takes.
func (d *Conversations) Bytes() int64 { return d.bytes }

// Limits of the values in a key. Events with longer ones count as Others.
const (
	maxHostLen       = 512
	maxProtocolLen   = 64
	maxNames         = 16 // protocol names of one conversation
	maxPairProcesses = 16 // processes of one pair
)

// Add adds an event, with the values of ConversationKeys as JSON, nil for missing ones.
// The caller adds events in the order of Seq. Add keeps the event's texts, but not the
// values.
func (d *Conversations) Add(e *models.Event, values [][]byte) {
	d.joined = nil
	d.addHosts(e, values)
	key, from, fault := keyOf(e, values)
	switch {
	case fault:
		d.others++
		return
	case key.a.Host == "" && key.b.Host == "":
		d.withoutAddress++
		return
	}
	p := d.pair(key)
	if p == nil {
		d.others++
		d.truncated = true
		return
	}
	p.see(e)
	if name := text(values[netProtocol], maxProtocolLen); name != "" && len(p.names) < maxNames && !slices.Contains(p.names, name) {
		p.names = append(p.names, name)
		d.bytes += nameBytes
	}
	end := from // of the process
	if e.EventType == models.TypePacket {
		end = p.addPacket(from, values)
	} else {
		p.addCall(from, deref(e.Operation), moved(values[netMoved]))
	}
	if at := max(1, e.Timestamp.UnixMicro()); (e.EventType == models.TypePacket || directionOf(deref(e.Operation)) == sending) && (p.firstSent[from] == 0 || at < p.firstSent[from]) {
		p.firstSent[from] = at
	}
	d.addProcess(p, end, e)
}

// addPacket adds a packet that an end sent, and returns the end of the event's process.
func (p *pair) addPacket(from int, values [][]byte) (end int) {
	p.packets++
	p.packetBytes[from] += moved(values[netLength])
	if bytes.Contains(values[netInfo], []byte("[SYN]")) {
		p.begins[from] = true
	}
	switch string(values[netDirection]) {
	case `"out"`:
		end = from
	case `"in"`:
		end = 1 - from
	default:
		return -1
	}
	p.isLocal[end] = true
	return end
}

// addCall adds a call of a process at an end.
func (p *pair) addCall(from int, operation string, size int64) {
	p.calls++
	p.isLocal[from] = true
	switch directionOf(operation) {
	case sending:
		p.sent[from] += size
	case receiving:
		p.received[from] += size
	default:
		p.undirected += size
	}
	switch name := strings.ToLower(operation); {
	case strings.HasPrefix(name, "connect"):
		p.opens[from]++
	case strings.HasPrefix(name, "accept"):
		p.accepts[from]++
	case strings.HasPrefix(name, "listen"):
		p.listens = true
	case strings.HasPrefix(name, "bind"):
		p.binds = true
	}
}

func (d *Conversations) addProcess(p *pair, end int, e *models.Event) {
	if e.PID == nil {
		return
	}
	name := deref(e.ProcessName)
	for i := range p.processes {
		known := &p.processes[i]
		if known.pid != *e.PID || known.end != end {
			continue
		}
		known.count++
		if name != "" && name != known.name {
			d.bytes += int64(len(name) - len(known.name))
			known.name = name
		}
		return
	}
	if len(p.processes) < maxPairProcesses {
		p.processes = append(p.processes, pairProcess{end, *e.PID, name, 1})
		d.bytes += pairBytes + int64(len(name))
	}
}

func (d *Conversations) pair(key pairKey) *pair {
	if place, known := d.places[key]; known {
		return &d.pairs[place]
	}
	if len(d.pairs) >= d.limits.Groups || d.bytes >= d.limits.Bytes {
		return nil
	}
	d.places[key] = len(d.pairs)
	d.pairs = append(d.pairs, pair{key: key})
	d.bytes += conversationBytes + int64(len(key.a.Host)+len(key.b.Host)+len(key.class))
	return &d.pairs[len(d.pairs)-1]
}

// keyOf returns the pair of an event, and the place of the event's source in it. fault
// means that no filter can distinguish the pair.
func keyOf(e *models.Event, values [][]byte) (key pairKey, from int, fault bool) {
	source, ok1 := endOf(values[netSource], values[netSourcePort])
	destination, ok2 := endOf(values[netDestination], values[netDestinationPort])
	name, hasName, ok3 := nameOf(values[netProtocol], maxProtocolLen)
	if !ok1 || !ok2 {
		return key, 0, true
	}
	key = pairKey{class: name, hasClass: hasName, a: source, b: destination}
	isKnown := source.known() && destination.known()
	isSpecified := !isUnspecified(source.Host) && !isUnspecified(destination.Host)
	if e.EventType != models.TypePacket {
		class, hasClass := callClass(name)
		switch {
		case isKnown && isSpecified && (ok3 || !hasClass):
			key.kind, key.class, key.hasClass = whole, class, hasClass
		case !ok3:
			return key, 0, true
		default:
			key.kind = calls
			if hasClass {
				key.class = class
			}
			if e.PID != nil && (!destination.known() || !source.isWildcard()) {
				key.pid, key.hasPID = *e.PID, true
			}
			return key, 0, false
		}
	} else {
		switch {
		case isICMP(name):
			key.kind = icmp
			return key, 0, false
		case isKnown && !isSpecified:
			key.kind, key.class, key.hasClass = bare, "", false
		case isKnown:
			key.kind = whole
			key.class, key.hasClass = packetClass(name, values)
		case !ok3:
			return key, 0, true
		default:
			key.kind = portless
		}
	}
	if less(destination, source) {
		key.a, key.b, from = destination, source, 1
	}
	return key, from, false
}

func less(a, b End) bool { return a.Host < b.Host || a.Host == b.Host && a.Port < b.Port }

// The transports that events show by themselves. Packets of Wireshark show none: "DNS" is
// used over TCP and UDP.
const (
	tcp  = "tcp"
	udp  = "udp"
	sctp = "sctp"
)

// callNames are the names that calls have for the transports.
var callNames = map[string][]string{tcp: {"tcp", "TCP", "mptcp"}, udp: {"udp", "UDP"}, sctp: {"sctp", "SCTP"}} //nolint:gochecknoglobals // a constant

// callClass returns the transport of a call.
func callClass(name string) (class string, ok bool) {
	for class, names := range callNames {
		if slices.Contains(names, name) {
			return class, true
		}
	}
	return "", false
}

// packetClass returns the transport of a packet between two known ends. Only this
// project's agent reports TCP flags and directions.
func packetClass(name string, values [][]byte) (class string, ok bool) {
	switch {
	case values[netTCPFlags] != nil:
		return tcp, true
	case values[netDirection] == nil:
		return "", false
	case name == "SCTP":
		return sctp, true
	}
	return udp, true
}

// endOf reads an address and a port.
func endOf(host, port []byte) (End, bool) {
	name, _, ok := nameOf(host, maxHostLen)
	number, portOK := portOf(port)
	return End{name, number}, ok && portOK
}

// nameOf reads a string. A missing, null or empty one is "", and has is false.
func nameOf(value []byte, maxLen int) (name string, has, ok bool) {
	switch jsonscan.Kind(value) {
	case 0, 'n':
		return "", false, true
	case '"':
		if string(value) == `""` {
			return "", false, true
		}
		name = text(value, maxLen)
		return name, true, name != ""
	}
	return "", false, false
}

// portOf reads a port like a filter: a number in any notation, or its text. It returns
// -1 for null and for a missing value.
func portOf(value []byte) (port int64, ok bool) {
	switch jsonscan.Kind(value) {
	case 0, 'n':
		return -1, true
	case '"':
		s := text(value, 10)
		n, err := strconv.ParseInt(s, 10, 64)
		return n, err == nil && n >= 0 && strconv.FormatInt(n, 10) == s
	default:
		n, ok := jsonscan.Integer(value)
		return n, ok && n >= 0 && n <= math.MaxInt32
	}
}

func isICMP(protocol string) bool { return slices.Contains(icmpNames, protocol) }

// icmpNames are the protocols whose packets show the ports of the packet that they
// report on.
var icmpNames = []string{"ICMP", "ICMPv6"} //nolint:gochecknoglobals // a constant

func remoteness(host string) int {
	switch address, err := netip.ParseAddr(host); {
	case err != nil:
		return 1
	case address.IsMulticast() || host == "255.255.255.255":
		return 2
	case address.IsPrivate() || address.IsLoopback() || address.IsLinkLocalUnicast() || address.IsUnspecified():
		return 0
	}
	return 1
}

type direction uint8

const (
	neither direction = iota
	sending
	receiving
)

func directionOf(operation string) direction {
	switch name := strings.ToLower(operation); {
	case strings.HasPrefix(name, "send"), strings.HasPrefix(name, "write"):
		return sending
	case strings.HasPrefix(name, "recv"), strings.HasPrefix(name, "receive"), strings.HasPrefix(name, "read"):
		return receiving
	}
	return neither
}

// overTCP and overUDP are prefixes of Wireshark's names for protocols over TCP and UDP.
// DNS uses both, so without a TCP packet in its connection it is nearly always UDP.
var ( //nolint:gochecknoglobals // constants
	overTCP = []string{
		"TCP", "TLS", "SSL", "HTTP", "FTP", "SMTP", "SSH", "IMAP", "POP", "TELNET", "SMB", "NBSS", "TPKT", "COTP", "RDP", "LDAP",
		"MySQL", "PGSQL", "TDS", "IRC", "WebSocket", "Socks", "BGP", "RTSP", "MQTT", "AMQP", "Git", "X11", "IPP", "XMPP", "Redis", "Mongo", "VNC",
	}
	overUDP = []string{
		"UDP", "QUIC", "DNS", "MDNS", "LLMNR", "NTP", "SNMP", "DHCP", "BOOTP", "SSDP", "NBNS", "NBDS", "BROWSER", "TFTP", "Syslog", "RADIUS",
		"DTLS", "STUN", "RTP", "RTCP", "WireGuard", "ISAKMP", "CLDAP", "GTP", "VXLAN", "OpenVPN", "uTP", "BT-DHT", "HTTP3", "HTTP/3", "CoAP",
	}
)

func isTCP(name string) bool { return !isUDP(name) && hasPrefixOf(name, overTCP) }

func isUDP(name string) bool { return hasPrefixOf(name, overUDP) }

func hasPrefixOf(name string, prefixes []string) bool {
	return slices.ContainsFunc(prefixes, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
}

// ConversationSort is a sort key of conversations. The largest value is first.
type ConversationSort string

// The sorts.
const (
	ConversationsByBytes   ConversationSort = "bytes"
	ConversationsByPackets ConversationSort = "packets" // packets and calls
	ConversationsByLast    ConversationSort = "last"    // last event
)

// ConversationSorts returns all sorts, the default first.
func ConversationSorts() []ConversationSort {
	return []ConversationSort{ConversationsByBytes, ConversationsByPackets, ConversationsByLast}
}

func (s ConversationSort) position(r *row) Position {
	at := Position{Name: r.id}
	switch s {
	case ConversationsByPackets:
		at.Number = r.events
	case ConversationsByLast:
		at.Number = r.last
	case ConversationsByBytes:
		at.Number = r.bytes
	}
	return at
}

// ConversationPage is a page of conversations, and counts of the events that it leaves
// out.
type ConversationPage struct {
	Conversations  []Conversation
	Listeners      []Listener // of all pages, at most maxListeners
	Next           *Position  // the end of this page, nil if it is the last one
	Total          int
	Others         int64 // events of conversations beyond the limits, or that no filter can distinguish
	WithoutAddress int64 // events without an address
	WithoutRemote  int64 // calls on sockets that nobody is connected to, such as those of Listeners
	Truncated      bool  // some conversations are left out
}

// maxListeners is the most listeners in a page.
const maxListeners = 1000

// Page returns up to limit conversations after a position in the order of sort, without
// the names of hosts.
func (d *Conversations) Page(sort ConversationSort, after *Position, limit int) ConversationPage {
	all := d.rows()
	places, total := first(len(all.rows), func(int) bool { return true },
		func(i int) Position { return sort.position(&all.rows[i]) }, after, limit+1)
	page := ConversationPage{Total: total, Others: d.others, WithoutAddress: d.withoutAddress, WithoutRemote: all.withoutRemote, Truncated: d.truncated}
	if len(places) > limit {
		places = places[:limit]
		next := sort.position(&all.rows[places[limit-1]])
		page.Next = &next
	}
	for _, place := range places {
		c := all.rows[place].sum(d.pairs)
		c.Filter = all.rows[place].filter(d.pairs)
		page.Conversations = append(page.Conversations, c)
	}
	for _, place := range all.listeners[:min(len(all.listeners), maxListeners)] {
		p := &d.pairs[place]
		l := Listener{Protocol: strings.ToLower(p.key.class), Local: p.key.a, Filter: p.key.filter(), Seen: p.Seen}
		if len(p.processes) > 0 {
			pid := p.processes[0].pid
			l.PID, l.Process = &pid, p.processes[0].name
		}
		page.Listeners = append(page.Listeners, l)
	}
	return page
}

// NameHosts sets Hosts of conversations, possibly another rollup's, from the names in
// this rollup's events.
func (d *Conversations) NameHosts(conversations []Conversation) {
	for i := range conversations {
		conversations[i].Hosts = slices.Clone(d.hosts.of(conversations[i].Remote.Host))
	}
}
