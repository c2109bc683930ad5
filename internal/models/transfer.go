package models

// EventRange is which of a session's events an export reads: those with a Seq in
// (After, UpTo], of one type if EventType is not empty.
type EventRange struct {
	After, UpTo int64
	EventType   string
}
