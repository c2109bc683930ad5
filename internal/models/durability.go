package models

import "strings"

// Durability is the failures that a committed event survives: "replicated", "disk",
// "unknown", or "weak: " and the reason.
type Durability string

// The kinds of durability. A session without events has the zero value.
const (
	// DurabilityReplicated survives the loss of the database's machine, because a
	// synchronous standby has the event too.
	DurabilityReplicated Durability = "replicated"
	// DurabilityDisk survives a crash or power loss of the database's machine.
	DurabilityDisk Durability = "disk"
	// DurabilityUnknown belongs to events from a version that did not record it.
	DurabilityUnknown Durability = "unknown"
)

const weak = "weak: "

// WeakDurability returns the durability of a database that may lose commits in a crash
// or power loss, for the reason.
func WeakDurability(reason string) Durability { return Durability(weak + reason) }

// Weak reports whether a crash or power loss may lose commits.
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
