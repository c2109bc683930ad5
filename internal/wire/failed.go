package wire

import "ospulse/internal/jsonscan"

// Failed reports whether a status of an event's data is an error: a negative one, on Linux
// and Windows. Other agents report what a call that happened returns, such as a descriptor.
func Failed(status []byte) bool {
	n, ok := jsonscan.Integer(status)
	return ok && n < 0
}
