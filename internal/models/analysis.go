package models

// Histogram counts events over time. Its buckets follow each other without a gap,
// each WidthMicros long; an event is in the bucket whose start is the last one that is
// not after it.
type Histogram struct {
	Span        Span
	WidthMicros int64
	Buckets     []map[string]int64 // events by type; of very many types the later ones are OtherTypes
}

// Facet counts the values of a field, the most frequent ones first.
type Facet struct {
	Field  string
	Values []FacetValue
	Others int64 // events with values that are not among these
	None   int64 // events without a value
}

// FacetValue is how often a value is there.
type FacetValue struct {
	Value string `json:"value"`
	Count int64  `json:"count"`
}

// EventPart is which events of a session are read for a rollup, and what of their
// data: those of some types with a Seq in (After, UpTo], and the members of Data
// under some keys.
type EventPart struct {
	Types, Keys []string
	After, UpTo int64
}
