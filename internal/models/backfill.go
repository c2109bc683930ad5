package models

// BackfillLeft is how many sessions have events that are still to be looked at, and how
// many events these are.
type BackfillLeft struct{ Sessions, Events int64 }
