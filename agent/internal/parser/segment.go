//go:build linux

package parser

import (
	"bytes"

	"ospulse/agent/internal/event"
)

// segment completes the event of a TCP segment if a message of a known protocol begins with it.
func segment(e *event.Packet, b []byte) {
	switch {
	case isTLS(b):
		e.Protocol = "TLS"
		e.Info, e.ServerName = records(b)
	case isHTTP(b):
		line, _, _ := bytes.Cut(b[:min(len(b), 1024)], []byte("\r\n"))
		e.Protocol, e.Info = "HTTP", string(line)
	case bytes.HasPrefix(b, []byte("SSH-")):
		line, _, _ := bytes.Cut(b[:min(len(b), 255)], []byte("\r\n"))
		e.Protocol, e.Info = "SSH", "Protocol ("+string(line)+")"
	}
}

func isHTTP(b []byte) bool {
	if bytes.HasPrefix(b, []byte("HTTP/1.")) {
		return true
	}
	for _, method := range [...]string{"GET ", "POST ", "PUT ", "HEAD ", "DELETE ", "OPTIONS ", "PATCH ", "CONNECT ", "TRACE "} {
		if len(b) > len(method) && string(b[:len(method)]) == method {
			return true
		}
	}
	return false
}
