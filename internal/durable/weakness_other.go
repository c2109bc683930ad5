//go:build !linux

package durable

// Weakness returns "": only Linux says what a file system is.
func Weakness(string) string { return "" }
