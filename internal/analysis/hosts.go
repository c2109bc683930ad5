package analysis

import (
	"net/netip"
	"slices"
	"strings"

	"ospulse/internal/jsonscan"
	"ospulse/internal/models"
)

// hosts are the names of addresses, from DNS answers.
type hosts map[netip.Addr][]string

// Limits of the stored names.
const (
	maxAddresses = 20_000
	maxHosts     = 5   // of one address
	maxNameLen   = 255 // of a name
	maxInfoLen   = 4096
	maxDNSLen    = 64 << 10
	maxAnswers   = 200 // answers of one message, and messages of one event
)

func (h hosts) of(host string) []string {
	address, err := netip.ParseAddr(host)
	if err != nil {
		return nil
	}
	return h[plain(address)]
}

// plain returns the address without the parts that do not identify the machine.
func plain(address netip.Addr) netip.Addr { return address.Unmap().WithZone("") }

// addHosts adds the names in an event.
func (d *Conversations) addHosts(e *models.Event, values [][]byte) {
	if e.EventType == models.TypePacket {
		if isDNS(text(values[netProtocol], maxProtocolLen)) {
			namesOfInfo(text(values[netInfo], maxInfoLen), d.addHost)
		}
		return
	}
	namesOfMessages(values[netDNS], d.addHost)
}

func isDNS(protocol string) bool {
	return protocol == "DNS" || protocol == "MDNS" || protocol == "LLMNR"
}

func (d *Conversations) addHost(name string, address netip.Addr) {
	name, address = strings.ToLower(strings.TrimSuffix(name, ".")), plain(address)
	known := d.hosts[address]
	if name == "" || len(name) > maxNameLen || len(known) == maxHosts || slices.Contains(known, name) {
		return
	}
	if len(d.hosts) >= maxAddresses && known == nil || d.bytes >= d.limits.Bytes {
		return
	}
	d.hosts[address] = append(known, name)
	d.bytes += nameBytes + int64(len(name))
}

// namesOfInfo reads Wireshark's description of an answer, such as "Standard query
// response 0x0010 A example.com CNAME example.net A 192.0.2.1 A 192.0.2.2". The
// addresses belong to the requested name, even if it is an alias.
func namesOfInfo(info string, add func(name string, address netip.Addr)) {
	rest, ok := strings.CutPrefix(info, "Standard query response 0x")
	if !ok {
		return
	}
	words := strings.Fields(rest) // the id, the requested type and name, and the answers
	if len(words) < 5 || strings.ToUpper(words[1]) != words[1] {
		return // an error, which precedes the name
	}
	for i := 3; i+1 < min(len(words), maxAnswers); i++ {
		if words[i] != "A" && words[i] != "AAAA" {
			continue
		}
		if address, err := netip.ParseAddr(strings.TrimSuffix(words[i+1], ",")); err == nil {
			add(words[2], address)
			i++
		}
	}
}

// namesOfMessages reads the DNS messages in network_operation events of this project's
// agent.
func namesOfMessages(messages []byte, add func(name string, address netip.Addr)) {
	if len(messages) > maxDNSLen { // no program sends that much at once
		return
	}
	for i := range maxAnswers {
		message := jsonscan.Element(messages, i)
		if message == nil {
			return
		}
		if string(jsonscan.Find(message, "response")) != "true" {
			continue
		}
		asked := text(jsonscan.Find(jsonscan.Element(jsonscan.Find(message, "questions"), 0), "name"), maxNameLen)
		answers := jsonscan.Find(message, "answers")
		for j := range maxAnswers {
			record := jsonscan.Element(answers, j)
			if record == nil {
				break
			}
			if kind := text(jsonscan.Find(record, "type"), 10); kind != "A" && kind != "AAAA" {
				continue
			}
			name := asked
			if name == "" {
				name = text(jsonscan.Find(record, "name"), maxNameLen)
			}
			if address, err := netip.ParseAddr(text(jsonscan.Find(record, "data"), 64)); err == nil {
				add(name, address)
			}
		}
	}
}
