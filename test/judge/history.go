// Package judge decides whether a backend kept its promises. Its clients record
// what they asked and what they were answered while faults are injected; Check
// compares each session's history with a sequential model: a session is a log.
//
// It is a black box test: it knows the HTTP API and no package of the backend.
// The harness, which starts real backends and PostgreSQL servers and injects the
// faults, lives in the package's test files.
package judge

// Outcome is what the client of an append knows about it.
type Outcome int

const (
	// Unknown is an append without an answer, or with an answer that leaves open
	// whether it happened.
	Unknown Outcome = iota
	// Stored is an append that was answered 200: it is committed.
	Stored
	// Spooled is an append that was answered 202: it will be committed.
	Spooled
	// Refused is an append that was answered 4xx: it must never happen.
	Refused
)

// Event is an event as a reader got it. Name identifies it: no two events that
// the clients send have the same name.
type Event struct {
	Seq  int64
	Name string
}

// Append is one request to store events, and all its repetitions.
type Append struct {
	Names   []string // of the events, in their order
	Faulty  []string // names of the items that the backend must refuse
	Backend int      // the only backend that got it, or -1 if several did

	Call    int64 // nanoseconds since the start of the history
	Return  int64 // the last answer; meaningless if Outcome is Unknown
	Outcome Outcome
	First   int64 // seq of the first event, if Outcome is Stored
	Last    int64
}

// Read is one complete answer of a list, an export or a count, or one message of a
// stream.
type Read struct {
	Kind    string // for reports
	Backend int
	Call    int64
	Return  int64

	After  int64   // the reader has the events up to this seq
	Events []Event // the answer's, which must follow After
	// Length is the length of the log as the answer tells it, or -1 if the answer
	// only shows that the log has Events.
	Length int64
}

// Poll is one request of an old dashboard, which takes events that no poller got
// before.
type Poll struct {
	Limit    int
	Answered bool // the client got the whole answer
	Events   []Event
}

// History is everything that the clients recorded of one session.
type History struct {
	Session string
	Appends []Append
	Reads   []Read
	Polls   []Poll
	Final   []Event // the log, exported after every fault was healed

	// MayLose says that the loss of the last acknowledged events was announced: the
	// answers said that they were only on the server that was lost.
	MayLose bool
}
