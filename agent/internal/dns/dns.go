// Package dns reads DNS messages that programs and name servers sent. Either may be hostile:
// what cannot be read costs as little as possible of the rest, and nothing is made up.
package dns

import (
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"strconv"
	"strings"

	"ospulse/agent/internal/event"
)

const (
	headerBytes   = 12
	questionBytes = 4   // of a question, after its name
	recordBytes   = 10  // of a record, between its name and its data
	maxName       = 255 // bytes of a name on the wire (RFC 1035, 3.1)

	// maxText is the most bytes of names and data in a message: 64 KiB can name one long
	// name thousands of times.
	maxText = 1 << 20
)

// Parse reads a message (RFC 1035, 4.1), which may be cut: its questions, and the records of
// its answer section. A record whose data is malformed has its data in the notation of RFC
// 3597. A record whose name is malformed is left out, and so is everything after maxText.
// ok is false if the header is incomplete.
func Parse(message []byte) (m event.DNS, ok bool) {
	if len(message) < headerBytes {
		return m, false
	}
	flags := binary.BigEndian.Uint16(message[2:])
	m = event.DNS{ID: int(binary.BigEndian.Uint16(message)), Response: flags&0x8000 != 0, Truncated: flags&0x0200 != 0}
	if m.Response {
		m.Code = codeName(flags & 15)
	}
	at, text := headerBytes, 0
	for range binary.BigEndian.Uint16(message[4:]) {
		name, next, isName := nameAt(message, at)
		if next < 0 || next+questionBytes > len(message) {
			return m, true
		}
		if text += len(name); text > maxText {
			return m, true
		}
		if isName {
			m.Questions = append(m.Questions, event.DNSRecord{Name: name, Type: typeName(binary.BigEndian.Uint16(message[next:]))})
		}
		at = next + questionBytes
	}
	for range binary.BigEndian.Uint16(message[6:]) {
		name, next, isName := nameAt(message, at)
		if next < 0 || next+recordBytes > len(message) {
			return m, true
		}
		begin := next + recordBytes
		at = begin + int(binary.BigEndian.Uint16(message[next+8:]))
		if at > len(message) {
			return m, true
		}
		if !isName {
			continue
		}
		kind := binary.BigEndian.Uint16(message[next:])
		r := event.DNSRecord{Name: name, Type: typeName(kind), TTL: binary.BigEndian.Uint32(message[next+4:]), Data: data(message[:at], begin, kind)}
		if text += len(r.Name) + len(r.Data); text > maxText {
			return m, true
		}
		m.Answers = append(m.Answers, r)
	}
	return m, true
}

// nameAt reads the name at an offset, as text (RFC 1035, 5.1) without the dot of the root:
// "." is the root itself. next is the offset after the name; -1 if its end is unknown. ok is
// false if the name is malformed.
func nameAt(message []byte, at int) (text string, next int, ok bool) {
	next = -1
	var out []byte
	for size := 1; ; {
		if at >= len(message) {
			return "", next, false
		}
		n := int(message[at])
		switch {
		case n == 0:
			if next < 0 {
				next = at + 1
			}
			if len(out) == 0 {
				return ".", next, true
			}
			return string(out), next, true
		case n >= 0xc0: // a pointer to the rest of the name
			if at+1 >= len(message) {
				return "", next, false
			}
			if next < 0 {
				next = at + 2
			}
			to := (n&0x3f)<<8 | int(message[at+1])
			if to >= at { // only a name that came before is pointed to
				return "", next, false
			}
			at = to
		case n >= 0x40 || at+1+n > len(message):
			return "", next, false
		default:
			if size += 1 + n; size > maxName {
				return "", endOf(message, at, next), false
			}
			if len(out) > 0 {
				out = append(out, '.')
			}
			out = appendLabel(out, message[at+1:at+1+n])
			at += 1 + n
		}
	}
}

// endOf returns the end of a name that is too long, from one of its labels on; next if it is
// known, -1 if there is none.
func endOf(message []byte, at, next int) int {
	for next < 0 && at < len(message) {
		switch n := int(message[at]); {
		case n == 0:
			next = at + 1
		case n >= 0xc0:
			next = at + 2
		case n >= 0x40:
			return -1
		default:
			at += 1 + n
		}
	}
	return next
}

// appendLabel writes a label. A dot in it is \., so that it is no end of the label, and a
// byte that is no visible character of ASCII is \DDD.
func appendLabel(out, label []byte) []byte {
	for _, c := range label {
		switch {
		case c == '.' || c == '\\':
			out = append(out, '\\', c)
		case c <= ' ' || c > '~':
			out = append(out, '\\', '0'+c/100, '0'+c/10%10, '0'+c%10)
		default:
			out = append(out, c)
		}
	}
	return out
}

// The types whose data is read (IANA).
const (
	typeA     = 1
	typeNS    = 2
	typeCNAME = 5
	typeSOA   = 6
	typePTR   = 12
	typeMX    = 15
	typeTXT   = 16
	typeAAAA  = 28
	typeSRV   = 33
	typeDNAME = 39
	typeSVCB  = 64
	typeHTTPS = 65
)

// data returns the data of a record as text: from begin to the end of the message, which is
// cut there.
func data(message []byte, begin int, kind uint16) string {
	r := reader{message: message, at: begin, ok: true}
	text := ""
	switch kind {
	case typeA, typeAAAA:
		n := 4
		if kind == typeAAAA {
			n = 16
		}
		text = r.address(n)
	case typeNS, typeCNAME, typePTR, typeDNAME:
		text = r.name()
	case typeMX:
		text = r.number(2) + " " + r.name()
	case typeSRV:
		text = r.number(2) + " " + r.number(2) + " " + r.number(2) + " " + r.name()
	case typeSOA:
		text = r.name() + " " + r.name() + " " + r.number(4) + " " + r.number(4) + " " + r.number(4) + " " + r.number(4) + " " + r.number(4)
	case typeTXT:
		for r.ok && r.at < len(message) {
			text += string(r.take(int(r.byte())))
		}
	case typeSVCB, typeHTTPS:
		text = r.number(2) + " " + r.name()
		for r.ok && r.at < len(message) {
			text += " " + r.parameter()
		}
	default:
		return hex.EncodeToString(message[begin:])
	}
	if !r.ok || r.at != len(message) {
		return strings.TrimSpace(`\# ` + strconv.Itoa(len(message)-begin) + " " + hex.EncodeToString(message[begin:]))
	}
	return text
}

// reader reads the data of a record. ok becomes false if there is less than it wants.
type reader struct {
	message []byte
	at      int
	ok      bool
}

func (r *reader) take(n int) []byte {
	if !r.ok || r.at+n > len(r.message) {
		r.ok = false
		return nil
	}
	r.at += n
	return r.message[r.at-n : r.at]
}

func (r *reader) byte() byte {
	if b := r.take(1); r.ok {
		return b[0]
	}
	return 0
}

// number reads an unsigned number of some bytes, in the order of the network.
func (r *reader) number(bytes int) string {
	var n uint64
	for _, b := range r.take(bytes) {
		n = n<<8 | uint64(b)
	}
	return strconv.FormatUint(n, 10)
}

func (r *reader) address(bytes int) string {
	a, _ := netip.AddrFromSlice(r.take(bytes)) // of another length only if ok is false
	return a.String()
}

func (r *reader) name() string {
	if !r.ok {
		return ""
	}
	text, next, ok := nameAt(r.message, r.at)
	r.at, r.ok = next, ok
	return text
}

// parameter reads a parameter of a service (RFC 9460), as text.
func (r *reader) parameter() string {
	key := r.number(2)
	n := int(r.byte())<<8 | int(r.byte())
	value := reader{message: r.take(n), ok: r.ok}
	var values []string
	each := func(read func() string) {
		for value.ok && value.at < len(value.message) {
			values = append(values, read())
		}
		r.ok = r.ok && value.ok
	}
	switch key {
	case "1":
		key = "alpn"
		each(func() string { return string(appendLabel(nil, value.take(int(value.byte())))) })
	case "3":
		key = "port"
		each(func() string { return value.number(2) })
	case "4":
		key = "ipv4hint"
		each(func() string { return value.address(4) })
	case "6":
		key = "ipv6hint"
		each(func() string { return value.address(16) })
	default:
		return "key" + key + "=" + hex.EncodeToString(value.message)
	}
	return key + "=" + strings.Join(values, ",")
}

// types are the names of types (IANA). Others are TYPE and their number.
var types = map[uint16]string{ //nolint:gochecknoglobals // a constant
	typeA: "A", typeNS: "NS", typeCNAME: "CNAME", typeSOA: "SOA", 10: "NULL", 11: "WKS", typePTR: "PTR", 13: "HINFO", 14: "MINFO", typeMX: "MX",
	typeTXT: "TXT", 17: "RP", 18: "AFSDB", typeAAAA: "AAAA", 29: "LOC", typeSRV: "SRV", 35: "NAPTR", 37: "CERT", typeDNAME: "DNAME", 41: "OPT",
	43: "DS", 44: "SSHFP", 46: "RRSIG", 47: "NSEC", 48: "DNSKEY", 50: "NSEC3", 51: "NSEC3PARAM", 52: "TLSA", 53: "SMIMEA", 59: "CDS",
	60: "CDNSKEY", 61: "OPENPGPKEY", typeSVCB: "SVCB", typeHTTPS: "HTTPS", 99: "SPF", 249: "TKEY", 250: "TSIG", 251: "IXFR", 252: "AXFR",
	255: "ANY", 256: "URI", 257: "CAA",
}

func typeName(kind uint16) string {
	if name := types[kind]; name != "" {
		return name
	}
	return "TYPE" + strconv.Itoa(int(kind))
}

// codes are the names of response codes (IANA), by number.
var codes = []string{ //nolint:gochecknoglobals // a constant
	"NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN", "YXRRSET", "NXRRSET", "NOTAUTH", "NOTZONE",
}

func codeName(code uint16) string {
	if int(code) < len(codes) {
		return codes[code]
	}
	return "RCODE" + strconv.Itoa(int(code))
}
