// Package event holds what the agent reports: one thing that a program did, in
// the shapes of the wire contract. It knows how an event is written as JSON, and
// nothing of where it comes from or goes to.
package event

import "time"

// Source is what the agent's events name as their source.
const Source = "os-pulse-agent"

// The types of events. Those of the wire contract are what the old dashboard
// knows; the others are named in its style.
const (
	TypeFile            = "file_operation"
	TypeProcessCreation = "process_creation" // an image began to run: an exec that succeeded
	TypeProcessFork     = "process_fork"     // a process was copied
	TypeThreadCreation  = "thread_creation"
	TypeProcessExit     = "process_exit"
	TypeProcess         = "process_operation" // ptrace, set*id, modules, memfd, namespaces, failed execs
	TypeNetwork         = "network_operation"
	TypeHTTP            = "http_network_operation"
	TypePacket          = "raw_network_operation"
	TypeLost            = "events_lost"
	TypeClockStep       = "clock_step"
)

// Event is one thing that a program did.
type Event struct {
	Type string
	Time time.Time
	Data Data
}

// Data is an event's data; it writes itself as JSON.
type Data interface{ AppendJSON(out []byte) []byte }

// AppendJSON appends the event as the contract has it: {"event_type",
// "timestamp", "source", "data"}, the timestamp in UTC with microseconds.
func (e *Event) AppendJSON(out []byte) []byte {
	out = append(out, `{"event_type":"`...)
	out = append(out, e.Type...)
	out = append(out, `","timestamp":"`...)
	out = AppendTime(out, e.Time)
	out = append(out, `","source":"`+Source+`","data":`...)
	out = e.Data.AppendJSON(out)
	return append(out, '}')
}
