// Package event holds the events that the agent reports, in the shapes of the wire contract,
// and writes them as JSON. It must not know which sensor makes events or where they go.
package event

import "time"

// Source is the source that all events of the agent name.
const Source = "os-pulse-agent"

// Types of events. The old dashboard knows those of the wire contract; the others are named
// in the same style.
const (
	TypeFile            = "file_operation"
	TypeProcessCreation = "process_creation" // an image began to run: an exec that succeeded
	TypeProcessFork     = "process_fork"     // a process was created, as a copy of another
	TypeThreadCreation  = "thread_creation"
	TypeProcessExit     = "process_exit"
	TypeProcess         = "process_operation" // ptrace, set*id, modules, memfd, namespaces, failed execs
	TypeNetwork         = "network_operation"
	TypeHTTP            = "http_network_operation"
	TypePacket          = "raw_network_operation"
	TypeLost            = "events_lost"
	TypeClockStep       = "clock_step"
	TypePaused          = "program_paused"
	TypeLeftOut         = "events_left_out"
	TypeUnseenTLS       = "tls_unseen"
)

// Event is one action of a program, or a report of the agent.
type Event struct {
	Type string
	Time time.Time
	Data Data
}

// Data is the data of an event. AppendJSON appends it to out as a JSON object.
type Data interface{ AppendJSON(out []byte) []byte }

// AppendJSON appends the event in the contract's shape: {"event_type", "timestamp",
// "source", "data"}. The timestamp is in UTC with microseconds.
func (e *Event) AppendJSON(out []byte) []byte {
	out = append(out, `{"event_type":"`...)
	out = append(out, e.Type...)
	out = append(out, `","timestamp":"`...)
	out = AppendTime(out, e.Time)
	out = append(out, `","source":"`+Source+`","data":`...)
	out = e.Data.AppendJSON(out)
	return append(out, '}')
}
