package analysis

import (
	"strconv"
	"strings"

	"ospulse/internal/filter"
	"ospulse/internal/models"
)

// filter returns the filter that selects exactly the events of the row.
func (r *row) filter(pairs []pair) string {
	var parts []string
	for _, m := range r.members {
		key := &pairs[m.place].key
		switch {
		case key.kind != whole:
			parts = append(parts, key.filter())
		case len(r.siblings) > 0:
			if len(parts) == 0 {
				parts = append(parts, key.filter()+" and "+r.transport())
			}
		case len(parts) == 0: // all whole pairs of the row have the same filter
			parts = append(parts, key.filter())
		}
	}
	if len(parts) == 1 {
		return parts[0]
	}
	return "(" + strings.Join(parts, ") or (") + ")"
}

// transport returns the condition for the whole pairs of the row among those between the
// same ends. The first row also has those that show no transport.
func (r *row) transport() string {
	for _, class := range transports {
		if class == r.class {
			break
		}
		for _, sibling := range r.siblings {
			if sibling.class == class {
				return ofTransport(r.class)
			}
		}
	}
	var others []string
	for _, sibling := range r.siblings {
		others = append(others, ofTransport(sibling.class))
	}
	return "not (" + strings.Join(others, " or ") + ")"
}

// ofTransport returns the condition for the events of a transport, as callClass and
// packetClass decide.
func ofTransport(class string) string {
	call := "(type = " + models.TypeNetwork + " and " + named(class) + ")"
	packet := "(type = " + models.TypePacket + " and "
	switch class {
	case tcp:
		packet += "exists data.tcpFlags)"
	case sctp:
		packet += `exists data.direction and not exists data.tcpFlags and data.protocol = "SCTP")`
	default:
		packet += `exists data.direction and not exists data.tcpFlags and not data.protocol = "SCTP")`
	}
	return "(" + call + " or " + packet + ")"
}

// named returns the condition for the names that calls have for a class.
func named(class string) string {
	names := callNames[class]
	if names == nil {
		return "data.protocol = " + filter.Quote(class)
	}
	var quoted []string
	for _, name := range names {
		quoted = append(quoted, filter.Quote(name))
	}
	return "data.protocol in (" + strings.Join(quoted, ", ") + ")"
}

// filter returns the filter for the events of the key, but for a whole pair those of all
// whole pairs between the same ends.
func (k *pairKey) filter() string {
	forth, back := ends(k.a, k.b), ends(k.b, k.a)
	both := "(" + forth + " or " + back + ")"
	if forth == back {
		both = forth
	}
	isICMP := "data.protocol in (" + filter.Quote(icmpNames[0]) + ", " + filter.Quote(icmpNames[1]) + ")"
	packets := "type = " + models.TypePacket
	switch k.kind {
	case whole:
		return "type in (" + models.TypePacket + ", " + models.TypeNetwork + ") and " + both + " and not (" + packets + " and " + isICMP + ")"
	case bare:
		return packets + " and " + both + " and not " + isICMP
	case portless:
		return packets + " and " + both + " and " + k.protocol()
	case icmp:
		return packets + " and " + forth + " and " + k.protocol()
	case calls:
	}
	text := "type = " + models.TypeNetwork + " and " + forth + " and " + k.protocol()
	switch {
	case k.hasPID:
		return text + " and pid = " + strconv.FormatInt(k.pid, 10)
	case k.a.isWildcard() && k.b.known():
		return text
	}
	return text + " and not exists pid"
}

// protocol returns the condition for the class of a pair that is not whole.
func (k *pairKey) protocol() string {
	switch {
	case !k.hasClass:
		return without("data.protocol")
	case k.kind == calls:
		return named(k.class)
	}
	return "data.protocol = " + filter.Quote(k.class)
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
