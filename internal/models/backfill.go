package models

// BackfillLeft counts the sessions whose backfill is not complete, and their events that
// the backfill has not read yet.
type BackfillLeft struct{ Sessions, Events int64 }
