package models

import "time"

// DiskState says whether the disk of the data folder has space.
type DiskState string

// The states of the disk.
const (
	DiskOK      DiskState = "ok"
	DiskFilling DiskState = "filling" // at its present growth, it will be full within a day
	DiskLow     DiskState = "low"     // less than twice MIN_FREE_MB is free
	DiskFull    DiskState = "full"    // less than MIN_FREE_MB is free: events are refused
)

// DiskStatus is the state of the disk of the data folder.
type DiskStatus struct {
	State        DiskState
	FreeBytes    int64 // −1 if unknown
	MinFreeBytes int64
	FullAt       *time.Time // estimated; nil if it is not within a day
	HasDatabase  bool       // otherwise the state is always ok
}
