package event

import (
	"strconv"
	"time"
)

// Paused is a program_paused: the agent stopped a program until it had read what waited in
// the ring buffer, so that no event was lost.
type Paused struct {
	PID      int
	Name     string
	From, To time.Time
}

// AppendJSON appends the data of the event.
func (p *Paused) AppendJSON(out []byte) []byte {
	o := begin(out)
	o.text("reason", "ring_buffer_full")
	o.time("from", p.From)
	o.time("to", p.To)
	o.key("durationSeconds")
	o.out = strconv.AppendFloat(o.out, p.To.Sub(p.From).Seconds(), 'f', 6, 64)
	o.metadata(&Process{PID: p.PID, Name: p.Name})
	return o.end()
}
