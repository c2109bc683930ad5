package models

// EventRange selects the events of a session for an export: those with a Seq in (After,
// UpTo], of one type if EventType is not empty.
type EventRange struct {
	After, UpTo int64
	EventType   string
}

// EventMemory is memory that a reader of events uses again for the next events.
type EventMemory struct {
	Events []Event
	Data   []byte // of some of them
}
