//go:build !planted

// Package plant holds the bugs that the judge (test/judge) must find. They are
// compiled in with the build tag planted only, and even then none of them is there
// unless the environment names it.
package plant

// Is reports whether the named bug is to happen now. Without the build tag it is a
// constant, and the compiler drops what depends on it.
func Is(string) bool { return false }
