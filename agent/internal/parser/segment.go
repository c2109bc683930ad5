//go:build linux

package parser

import "bytes"

// Begins reports whether a TCP segment begins as a message of a protocol does that Segment
// knows. It compares the first bytes only.
func Begins(b []byte) bool {
	return isTLS(b) || isHTTP(b) || bytes.HasPrefix(b, []byte("SSH-"))
}

// segment describes a TCP segment if a message of a known protocol begins with it.
func segment(b []byte) *Answer {
	a := &Answer{}
	switch {
	case isTLS(b):
		a.Protocol = "TLS"
		a.Info, a.ServerName = records(b)
	case isHTTP(b):
		line, _, _ := bytes.Cut(b[:min(len(b), 1024)], []byte("\r\n"))
		a.Protocol, a.Info = "HTTP", string(line)
	case bytes.HasPrefix(b, []byte("SSH-")):
		line, _, _ := bytes.Cut(b[:min(len(b), 255)], []byte("\r\n"))
		a.Protocol, a.Info = "SSH", "Protocol ("+string(line)+")"
	}
	return a
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
