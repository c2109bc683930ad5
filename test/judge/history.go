// Package judge checks the promises of a backend. Its clients record their requests
// and the answers while faults are injected. Check compares each session's history
// with a sequential model, in which a session is a log.
//
// It is a black-box test: it knows the HTTP API and no package of the backend. The
// harness, which starts real backends and PostgreSQL servers and injects the faults,
// is in the package's test files.
package judge

// Outcome is the result of an append as its client knows it.
type Outcome int

const (
	// Unknown is an append without an answer, or with an answer that does not say
	// whether it took effect.
	Unknown Outcome = iota
	// Stored is an append that was answered 200: it is committed.
	Stored
	// Spooled is an append that was answered 202: it will be committed.
	Spooled
	// Refused is an append that was answered 4xx: it must never take effect.
	Refused
)

// Event is an event as a reader received it. Name identifies it: the clients never use
// a name twice.
type Event struct {
	Seq  int64
	Name string
}

// Append is a request to store events, with all its repetitions.
type Append struct {
	Names   []string // of the events, in order
	Faulty  []string // names of the items that the backend must refuse
	Backend int      // the only backend that received it, or -1 if several did

	Call    int64 // nanoseconds since the start of the history
	Return  int64 // time of the last answer; meaningless if Outcome is Unknown
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
	Events []Event // the events of the answer, which must follow After
	// Length is the log's length according to the answer, or -1 if the answer only
	// shows that the log has Events.
	Length int64
}

// Poll is one request of an old dashboard, which claims events that no poll has
// returned yet.
type Poll struct {
	Limit    int
	Answered bool // the client received the whole answer
	Events   []Event
}

// History is everything that the clients of one session recorded.
type History struct {
	Session string
	Appends []Append
	Reads   []Read
	Polls   []Poll
	Final   []Event // the log, exported after every fault was undone

	// MayLose is set if the answers announced that the last acknowledged events were
	// only on the server that was lost.
	MayLose bool
}
