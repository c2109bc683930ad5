package models

import "strings"

// Durability says what a committed event survives: "replicated", "disk",
// "unknown", or "weak: " and the reason.
type Durability string

// The kinds of durability; the zero value is that of a session without events.
const (
	// DurabilityReplicated survives the loss of the database's machine: a
	// synchronous standby has the event too.
	DurabilityReplicated Durability = "replicated"
	// DurabilityDisk survives a crash or power loss of the database's machine.
	DurabilityDisk Durability = "disk"
	// DurabilityUnknown is that of events from a version that did not note it.
	DurabilityUnknown Durability = "unknown"
)

const weak = "weak: "

// WeakDurability is for a database that loses commits in a crash or power loss,
// for the reason.
func WeakDurability(reason string) Durability { return Durability(weak + reason) }

// Weak reports whether a crash or power loss may cost commits.
func (d Durability) Weak() bool { return strings.HasPrefix(string(d), weak) }

// WorseThan reports whether d promises less than other.
func (d Durability) WorseThan(other Durability) bool { return d.rank() > other.rank() }

func (d Durability) rank() int {
	switch d {
	case "":
		return 0
	case DurabilityReplicated:
		return 1
	case DurabilityDisk:
		return 2
	case DurabilityUnknown:
		return 3
	default:
		return 4
	}
}
