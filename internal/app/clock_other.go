//go:build !linux

package app

// clockIsSynchronised does not know it on this system.
func clockIsSynchronised() (synchronised, known bool) { return false, false }
