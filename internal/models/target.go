package models

import (
	"net"
	"net/url"
	"path"
	"strings"
)

// maxExtensionLen is how long an extension can be: what follows the dot of a
// longer one is part of a name.
const maxExtensionLen = 16

// TargetHost gives the host that an event's target names, in lower case: of a URL,
// or of the host:port of a packet or a connection. It is "" if the target is
// something else.
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

// isAddress reports whether a target is one of the network, with or without a
// port; sockets of this machine have paths and, in Linux, names that begin with @.
func isAddress(eventType, target string) bool {
	return eventType == TypePacket || eventType == TypeNetwork && !strings.HasPrefix(target, "/") && !strings.HasPrefix(target, "@")
}

// TargetExtension gives the extension of the file that an event's target names,
// in lower case and without its dot: of a path of either world, or of a URL's
// path. It is "" if there is none.
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
		return "" // a dot at the beginning makes a file hidden
	}
	return strings.ToLower(name[dot+1:])
}
