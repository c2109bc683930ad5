// Package pending bounds the memory of the data that waits in the agent: for the parser, behind
// such data, for the rest of an exec, or for the owner of a packet.
package pending

import "sync/atomic"

// Limit is the budget of an agent, in bytes.
const Limit = 64 << 20

// Budget counts the bytes that wait. Its users share it: each adds what it keeps. While the
// budget is exceeded, they refuse or give up data, except blocks of packets that a parser reads:
// those are at most 1 MB for each session. Its methods may be called concurrently.
type Budget struct {
	limit int64
	bytes atomic.Int64
}

// New returns a budget of limit bytes.
func New(limit int64) *Budget { return &Budget{limit: limit} }

// Add counts bytes that wait; a negative number those that wait no longer.
func (b *Budget) Add(bytes int) { b.bytes.Add(int64(bytes)) }

// Bytes returns how many bytes wait.
func (b *Budget) Bytes() int64 { return b.bytes.Load() }

// IsExceeded reports whether more bytes wait than the limit.
func (b *Budget) IsExceeded() bool { return b.bytes.Load() > b.limit }
