package detect

import (
	"bytes"
	"net/netip"
	"strings"

	"ospulse/internal/filter"
	"ospulse/internal/jsonscan"
	"ospulse/internal/models"
)

// hosts are the names of addresses that the events of a session have told: the names that
// were asked for in DNS, by the addresses in the answers, and the server names of TLS, by the
// addresses to which they were sent. Of several names, the last one counts.
type hosts map[netip.Addr]string

// Limits of what is kept of a session.
const (
	maxHosts    = 4_096 // addresses; beyond, all are forgotten
	maxHostName = 255   // bytes; longer names are none
	maxMessages = 4     // of DNS in an event
	maxAnswers  = 32    // of a message
)

const (
	typeNetwork = "network_operation"
	typePacket  = "raw_network_operation"
)

// telling selects the events that change what is known of processes and hosts.
var telling = mustParse(`type in (` + models.TypeProcessCreation + `, ` + typeFork + `, ` + typeExit + `) or ` + //nolint:gochecknoglobals // a constant
	`type in (` + typeNetwork + `, ` + typePacket + `) and (exists data.dns[0].answers[0] or exists data.tlsServerName)`)

func mustParse(text string) *filter.Filter {
	f, err := filter.Parse(text)
	if err != nil {
		panic(err)
	}
	return f
}

// Telling returns the filter that selects the events that change what is known.
func Telling() *filter.Filter { return telling }

// next returns the name of the address to which the next event connects, nil if it connects
// to none or the name is unknown, and learns from the event.
func (h hosts) next(e *models.Event) *string {
	switch {
	case e.EventType != typeNetwork && e.EventType != typePacket:
	case e.Operation != nil && *e.Operation == "Connect":
		if name, ok := h[addressOf(jsonscan.Find(e.Data, "dst"))]; ok {
			return &name
		}
	case bytes.Contains(e.Data, []byte(`"answers"`)):
		h.learnDNS(jsonscan.Find(e.Data, "dns"))
	case bytes.Contains(e.Data, []byte(`"tlsServerName"`)):
		if name := jsonscan.Find(e.Data, "tlsServerName"); jsonscan.Kind(name) == '"' {
			h.add(addressOf(jsonscan.Find(e.Data, "dst")), jsonscan.Unquote(name))
		}
	}
	return nil
}

// learnDNS learns from DNS messages. An answer may have another name than the question,
// through aliases: the program asked for that of the question.
func (h hosts) learnDNS(messages []byte) {
	for i := range maxMessages {
		message := jsonscan.Element(messages, i)
		if message == nil {
			return
		}
		name := jsonscan.Find(jsonscan.Element(jsonscan.Find(message, "questions"), 0), "name")
		if jsonscan.Kind(name) != '"' {
			continue
		}
		answers := jsonscan.Find(message, "answers")
		for j := range maxAnswers {
			answer := jsonscan.Element(answers, j)
			if answer == nil {
				break
			}
			h.add(addressOf(jsonscan.Find(answer, "data")), jsonscan.Unquote(name))
		}
	}
}

func (h hosts) add(address netip.Addr, name string) {
	name = strings.TrimSuffix(name, ".")
	if !address.IsValid() || name == "" || len(name) > maxHostName {
		return
	}
	if _, ok := h[address]; !ok && len(h) >= maxHosts {
		clear(h)
	}
	h[address] = name
}

// addressOf returns the address in a JSON text, the zero value if it is none.
func addressOf(value []byte) netip.Addr {
	if jsonscan.Kind(value) != '"' {
		return netip.Addr{}
	}
	address, err := netip.ParseAddr(jsonscan.Unquote(value))
	if err != nil {
		return netip.Addr{}
	}
	return address.Unmap()
}

// bytes returns about how much memory is in use.
func (h hosts) bytes() int { return 100 * len(h) }
