//go:build !linux

package main

import "time"

// Other systems tell these things otherwise, or not at all: 0 is unknown.

func processCPU(int) time.Duration { return 0 }

func postgresCPU() time.Duration { return 0 }

func peakBytes(int) int64 { return 0 }

func residentBytes(int) int64 { return 0 }

func resetPeak(int) error { return nil }
