package models

// EventPart is which events of a session are read for a rollup, and what of their
// data: those of some types with a Seq in (After, UpTo], and the members of Data
// under some keys.
type EventPart struct {
	Types, Keys []string
	After, UpTo int64
}
