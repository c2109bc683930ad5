package models

import (
	"net"
	"net/url"
	"path"
	"strings"
)

// maxExtensionLen is the longest extension, in bytes. A longer text after the dot is
// part of the name.
const maxExtensionLen = 16

// TargetHost returns the host of an event's target in lower case: of a URL, or of the
// host:port of a packet or a connection. It returns "" for other targets.
func TargetHost(eventType, target string) string {
	switch {
	case strings.Contains(target, "://"):
		u, err := url.Parse(target)
		if err != nil {
			return ""
		}
		return strings.ToLower(u.Hostname())
	case !isAddress(eventType, target):
		return ""
	}
	if host, _, err := net.SplitHostPort(target); err == nil {
		target = host
	}
	return strings.ToLower(target)
}

// isAddress reports whether a target is a network address, with or without a port. Unix
// sockets have paths and, in Linux, names that begin with @.
func isAddress(eventType, target string) bool {
	return eventType == TypePacket || eventType == TypeNetwork && !strings.HasPrefix(target, "/") && !strings.HasPrefix(target, "@")
}

// TargetExtension returns the extension of the file that an event's target names, in
// lower case and without its dot: of a Unix or Windows path, or of a URL's path. It
// returns "" if there is none.
func TargetExtension(eventType, target string) string {
	switch {
	case isAddress(eventType, target):
		return ""
	case strings.Contains(target, "://"):
		u, err := url.Parse(target)
		if err != nil {
			return ""
		}
		target = u.Path
	}
	name := path.Base(strings.ReplaceAll(target, `\`, "/"))
	dot := strings.LastIndexByte(name, '.')
	if dot <= 0 || len(name)-dot-1 > maxExtensionLen {
		return "" // a leading dot marks a hidden file
	}
	return strings.ToLower(name[dot+1:])
}
