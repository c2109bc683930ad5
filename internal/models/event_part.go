package models

// EventPart selects the input of a rollup: a session's events of some types with a Seq
// in (After, UpTo], and the members of Data under some keys.
type EventPart struct {
	Types, Keys []string
	After, UpTo int64
}
