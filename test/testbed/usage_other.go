//go:build !linux

package testbed

import "time"

// These figures are read on Linux only; 0 is unknown.

// CPU returns 0.
func CPU(int) time.Duration { return 0 }

// ThreadCPU returns 0.
func ThreadCPU(int) time.Duration { return 0 }

// PostgresCPU returns 0.
func PostgresCPU() time.Duration { return 0 }

// PeakBytes returns 0.
func PeakBytes(int) int64 { return 0 }

// ResidentBytes returns 0.
func ResidentBytes(int) int64 { return 0 }

// ResetPeak does nothing.
func ResetPeak(int) error { return nil }
