package config

import (
	"strconv"
	"strings"
)

// Fault is one faulty setting, described so that an operator can fix it.
type Fault struct {
	// Name is the variable, or the .env file with the line if it is known:
	// "PORT", ".env:3".
	Name string
	// Got is the value that was found, safe for a log: values are quoted and shortened,
	// and one that may hold a password is cut to its scheme.
	Got string
	// Wants describes the valid values.
	Wants string
}

// String returns the fault in one line.
func (f Fault) String() string { return f.Name + ": got " + f.Got + ", wants " + f.Wants }

// Faults are all faults of one Load: first that of the .env file, then those of
// the variables.
type Faults []Fault

// Error returns one line per fault.
func (f Faults) Error() string {
	lines := make([]string, len(f))
	for i, fault := range f {
		lines[i] = fault.String()
	}
	return strings.Join(lines, "\n")
}

// quote shows a wrong value in at most some 80 characters. A secret value is
// cut down to its scheme, and so is any other that holds an '@': it may be a
// URL with a password, set in the wrong variable.
func quote(value string, secret bool) string {
	const longest = 80
	if secret || strings.Contains(value, "@") {
		value = scheme(value) + "***"
	}
	if runes := []rune(value); len(runes) > longest {
		value = string(runes[:longest]) + "…"
	}
	return strconv.Quote(value)
}

// scheme is the part of a URL up to and including "://", or nothing when value
// does not start like a URL.
func scheme(value string) string {
	name, _, found := strings.Cut(value, "://")
	if !found || !consistsOf(name, letters+digits+"+.-") {
		return ""
	}
	return name + "://"
}
