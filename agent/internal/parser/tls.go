//go:build linux

package parser

import (
	"encoding/binary"
	"strings"
)

// The types of TLS records and of handshake messages (RFC 8446).
const (
	recordChange      = 20
	recordAlert       = 21
	recordHandshake   = 22
	recordApplication = 23

	clientHello = 1
	serverHello = 2

	maxRecord = 1<<14 + 2048
)

// isTLS reports whether b begins with a TLS record.
func isTLS(b []byte) bool {
	return len(b) >= 5 && b[0] >= recordChange && b[0] <= recordApplication && b[1] == 3 && b[2] <= 4 &&
		binary.BigEndian.Uint16(b[3:]) <= maxRecord && binary.BigEndian.Uint16(b[3:]) > 0
}

// maxRecordNames is how many records of a segment are named.
const maxRecordNames = 8

// records returns the names of the records in a segment, as tshark names them, and the
// server name in a client's hello.
func records(b []byte) (info, serverName string) {
	var names []string
	plain := true // until Change Cipher Spec
	for len(names) < maxRecordNames && isTLS(b) {
		body := b[5:]
		size := min(int(binary.BigEndian.Uint16(b[3:])), len(body))
		switch b[0] {
		case recordChange:
			names, plain = append(names, "Change Cipher Spec"), false
		case recordAlert:
			names = append(names, "Alert")
		case recordApplication:
			names = append(names, "Application Data")
		case recordHandshake:
			name := "Handshake"
			switch {
			case !plain || size < 4:
				name = "Encrypted Handshake Message"
			case body[0] == clientHello:
				name = "Client Hello"
				if serverName = serverNameOf(body[4:size]); serverName != "" {
					name += " (SNI=" + serverName + ")"
				}
			case body[0] == serverHello:
				name = "Server Hello"
			}
			names = append(names, name)
		}
		b = body[size:]
	}
	return strings.Join(names, ", "), serverName
}

// cursor is the unread rest of a message.
type cursor []byte

// take returns the next n bytes; fewer at the end of the message.
func (c *cursor) take(n int) cursor {
	n = min(n, len(*c))
	taken := (*c)[:n]
	*c = (*c)[n:]
	return taken
}

// number reads a big-endian number of n bytes; 0 if fewer are left.
func (c *cursor) number(n int) (v int) {
	b := c.take(n)
	if len(b) < n {
		return 0
	}
	for _, x := range b {
		v = v<<8 | int(x)
	}
	return v
}

// serverNameOf returns the server name (RFC 6066) in the body of a client's hello; "" if
// there is none. The end of body may be missing.
func serverNameOf(body []byte) string {
	c := cursor(body)
	c.take(2 + 32)            // version, random
	c.take(c.number(1))       // session
	c.take(c.number(2))       // ciphers
	c.take(c.number(1))       // compression
	all := c[min(len(c), 2):] // extensions, after their length
	for len(all) >= 4 {
		kind := all.number(2)
		extension := all.take(all.number(2))
		if kind != 0 {
			continue
		}
		extension.take(2) // the length of the list
		if extension.number(1) != 0 {
			return ""
		}
		size := extension.number(2)
		if name := extension.take(size); len(name) == size {
			return string(name)
		}
		return ""
	}
	return ""
}
