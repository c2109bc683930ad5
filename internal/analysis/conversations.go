package analysis

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"ospulse/internal/filter"
	"ospulse/internal/jsonscan"
	"ospulse/internal/models"
)

// End is one end of a conversation.
type End struct {
	Host string // an address, or the name of a Unix socket; "" if there is none
	Port int64  // -1 if there is none
}

// Conversation is packets, or calls of one process, between the same two ends. Packets
// do not show which end is the monitored machine's, so Local is a guess.
type Conversation struct {
	ID            string // follows from the ends, protocol and process, so it is stable
	Protocol      string // tcp, udp, icmp, unix …; "" if unknown
	Names         []string
	Local, Remote End
	PID           *int64
	Process       string // the last name of the process

	Packets, PacketBytes     int64
	Calls, CallBytes         int64
	SentBytes, ReceivedBytes int64 // by Local, of events with a direction
	Seen

	// Only in pages: names from DNS answers for Remote, and the filter that selects
	// exactly these events.
	Hosts  []string // set by NameHosts
	Filter string

	key conversationKey
}

// conversationKey has the values that the events of a conversation share. Each value
// follows from one event alone, so that a filter can test it.
type conversationKey struct {
	packets bool
	// protocol is the protocol of calls. For packets it is the name in the capture, or
	// "" for all that have ports on both sides and are not ICMP: the name is that of
	// the innermost layer, which varies between the packets of a connection.
	protocol      string
	hasProtocol   bool
	local, remote End
	pid           int64
	hasPID        bool
}

// Conversations is the rollup of raw_network_operation and network_operation events. It
// is not safe for concurrent use.
type Conversations struct {
	limits Limits
	bytes  int64

	places        map[conversationKey]int
	conversations []Conversation
	hosts         hosts

	others         int64
	withoutAddress int64
	truncated      bool
}

// NewConversations returns an empty rollup.
func NewConversations(limits Limits) *Conversations {
	return &Conversations{limits: limits, places: map[conversationKey]int{}, hosts: hosts{}}
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
)

// ConversationKeys returns the members of data that Conversations reads.
func ConversationKeys() []string {
	return []string{"protocol", "src", "src_port", "dst", "dst_port", "length", "bytesTransferred", "info_raw", "dns"}
}

// Bytes returns about how much memory the rollup takes.
func (d *Conversations) Bytes() int64 { return d.bytes }

// Limits of the values in a key. Events with longer ones count as Others.
const (
	maxHostLen     = 512
	maxProtocolLen = 64
	maxNames       = 16 // protocol names of one conversation
)

// Add adds an event, with the values of ConversationKeys as JSON, nil for missing ones.
// The caller adds events in the order of Seq. Add keeps the event's texts, but not the
// values.
func (d *Conversations) Add(e *models.Event, values [][]byte) {
	d.addHosts(e, values)
	key, isSent, fault := keyOf(e, values)
	switch {
	case fault:
		d.others++
		return
	case key.local.Host == "" && key.remote.Host == "":
		d.withoutAddress++
		return
	}
	c := d.conversation(key)
	if c == nil {
		d.others++
		d.truncated = true
		return
	}
	c.see(e)
	if name := deref(e.ProcessName); name != "" && name != c.Process {
		d.bytes += int64(len(name) - len(c.Process))
		c.Process = name
	}
	if name := text(values[netProtocol], maxProtocolLen); name != "" && len(c.Names) < maxNames && !slices.Contains(c.Names, name) {
		c.Names = append(c.Names, name)
		d.bytes += nameBytes
	}
	if key.packets {
		size := moved(values[netLength])
		c.Packets++
		c.PacketBytes += size
		switch {
		case key.local == key.remote: // a loop has no direction
		case isSent:
			c.SentBytes += size
		default:
			c.ReceivedBytes += size
		}
		return
	}
	size := moved(values[netMoved])
	c.Calls++
	c.CallBytes += size
	switch directionOf(deref(e.Operation)) {
	case sending:
		c.SentBytes += size
	case receiving:
		c.ReceivedBytes += size
	}
}

func (d *Conversations) conversation(key conversationKey) *Conversation {
	if place, known := d.places[key]; known {
		return &d.conversations[place]
	}
	if len(d.conversations) >= d.limits.Groups || d.bytes >= d.limits.Bytes {
		return nil
	}
	c := Conversation{ID: key.id(), Local: key.local, Remote: key.remote, key: key}
	if key.hasPID {
		pid := key.pid
		c.PID = &pid
	}
	d.places[key] = len(d.conversations)
	d.conversations = append(d.conversations, c)
	d.bytes += conversationBytes + int64(len(key.local.Host)+len(key.remote.Host)+len(key.protocol))
	return &d.conversations[len(d.conversations)-1]
}

// keyOf returns the conversation of an event and, for a packet, whether its local end
// sent it. fault means that no filter can distinguish the conversation.
func keyOf(e *models.Event, values [][]byte) (key conversationKey, isSent, fault bool) {
	source, ok1 := endOf(values[netSource], values[netSourcePort])
	destination, ok2 := endOf(values[netDestination], values[netDestinationPort])
	protocol, hasProtocol, ok3 := nameOf(values[netProtocol], maxProtocolLen)
	key = conversationKey{packets: e.EventType == models.TypePacket, protocol: protocol, hasProtocol: hasProtocol, local: source, remote: destination}
	if key.packets && source.Port >= 0 && destination.Port >= 0 && !isICMP(protocol) { // its protocol, whatever that is, does not matter
		key.protocol, key.hasProtocol, ok3 = "", true, true
	}
	if !ok1 || !ok2 || !ok3 {
		return key, false, true
	}
	if e.PID != nil {
		key.pid, key.hasPID = *e.PID, true
	}
	if !key.packets {
		return key, false, false
	}
	if isSent = isLocal(source, destination); !isSent {
		key.local, key.remote = destination, source
	}
	return key, isSent, false
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

// isLocal guesses whether end belongs to the monitored machine. A private address is
// preferred to an internet address, and both to a multicast address; otherwise the
// larger port decides, as clients have it.
func isLocal(end, other End) bool {
	return cmp.Or(
		cmp.Compare(remoteness(end.Host), remoteness(other.Host)),
		cmp.Compare(other.Port, end.Port),
		cmp.Compare(end.Host, other.Host),
	) <= 0
}

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

// id returns a short ID that follows from the key alone.
func (k *conversationKey) id() string {
	hash := sha256.Sum256(fmt.Appendf(nil, "%t %q %t %q %d %q %d %d %t", k.packets, k.protocol, k.hasProtocol, k.local.Host, k.local.Port, k.remote.Host, k.remote.Port, k.pid, k.hasPID))
	return base64.RawURLEncoding.EncodeToString(hash[:12])
}

// filter returns the filter that selects exactly the events of the conversation.
func (k *conversationKey) filter() string {
	var b strings.Builder
	if k.packets {
		b.WriteString("type = " + models.TypePacket)
		forth, back := ends(k.local, k.remote), ends(k.remote, k.local)
		if forth == back {
			b.WriteString(" and " + forth)
		} else {
			b.WriteString(" and (" + forth + " or " + back + ")")
		}
	} else {
		b.WriteString("type = " + models.TypeNetwork + " and " + ends(k.local, k.remote))
	}
	switch {
	case k.packets && k.protocol == "" && k.hasProtocol:
		b.WriteString(" and not data.protocol in (" + filter.Quote(icmpNames[0]) + ", " + filter.Quote(icmpNames[1]) + ")")
	case k.hasProtocol:
		b.WriteString(" and data.protocol = " + filter.Quote(k.protocol))
	default:
		b.WriteString(" and " + without("data.protocol"))
	}
	if k.hasPID {
		b.WriteString(" and pid = " + strconv.FormatInt(k.pid, 10))
	} else {
		b.WriteString(" and not exists pid")
	}
	return b.String()
}

func ends(source, destination End) string {
	return host("data.src", source.Host) + " and " + port("data.src_port", source.Port) + " and " +
		host("data.dst", destination.Host) + " and " + port("data.dst_port", destination.Port)
}

func host(field, name string) string {
	if name == "" {
		return without(field)
	}
	return field + " = " + filter.Quote(name)
}

func port(field string, n int64) string {
	if n < 0 {
		return "(not exists " + field + " or " + field + " = null)"
	}
	return field + " = " + strconv.FormatInt(n, 10)
}

func without(field string) string {
	return "(not exists " + field + ` or ` + field + ` in (null, ""))`
}

// protocol returns the transport of a conversation, as far as it is known.
func (c *Conversation) protocol() string {
	switch {
	case !c.key.packets || c.key.protocol != "" || !c.key.hasProtocol:
		return strings.ToLower(c.key.protocol)
	case slices.ContainsFunc(c.Names, isTCP):
		return "tcp"
	case slices.ContainsFunc(c.Names, isUDP):
		return "udp"
	}
	return ""
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
	ConversationsByBytes   ConversationSort = "bytes"   // of packets and calls
	ConversationsByPackets ConversationSort = "packets" // packets and calls
	ConversationsByLast    ConversationSort = "last"    // last event
)

// ConversationSorts returns all sorts, the default first.
func ConversationSorts() []ConversationSort {
	return []ConversationSort{ConversationsByBytes, ConversationsByPackets, ConversationsByLast}
}

func (s ConversationSort) position(c *Conversation) Position {
	at := Position{Name: c.ID}
	switch s {
	case ConversationsByPackets:
		at.Number = c.Packets + c.Calls
	case ConversationsByLast:
		at.Number = c.LastMicros
	case ConversationsByBytes:
		at.Number = c.PacketBytes + c.CallBytes
	}
	return at
}

// ConversationPage is a page of conversations, and counts of the events that it leaves
// out.
type ConversationPage struct {
	Conversations  []Conversation
	Next           *Position // the end of this page, nil if it is the last one
	Total          int
	Others         int64 // events of conversations beyond the limits, or that no filter can distinguish
	WithoutAddress int64 // events without an address
	Truncated      bool  // some conversations are left out
}

// Page returns up to limit conversations after a position in the order of sort, without
// the names of hosts.
func (d *Conversations) Page(sort ConversationSort, after *Position, limit int) ConversationPage {
	places, total := first(len(d.conversations), func(int) bool { return true },
		func(i int) Position { return sort.position(&d.conversations[i]) }, after, limit+1)
	page := ConversationPage{Total: total, Others: d.others, WithoutAddress: d.withoutAddress, Truncated: d.truncated}
	if len(places) > limit {
		places = places[:limit]
		next := sort.position(&d.conversations[places[limit-1]])
		page.Next = &next
	}
	for _, place := range places {
		c := d.conversations[place]
		c.Protocol, c.Filter, c.Names = c.protocol(), c.key.filter(), slices.Clone(c.Names)
		page.Conversations = append(page.Conversations, c)
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
