package event

import (
	"strconv"
	"time"
)

// ClockStep is a clock_step: the machine's wall clock was set. Earlier events keep the
// times of the old clock.
type ClockStep struct {
	Before time.Time // what the clock would have shown without the step
	After  time.Time // what the clock showed after the step
}

// AppendJSON appends the data of the event.
func (c *ClockStep) AppendJSON(out []byte) []byte {
	o := begin(out)
	o.text("operation", "step")
	o.key("stepSeconds")
	o.out = strconv.AppendFloat(o.out, c.After.Sub(c.Before).Seconds(), 'f', -1, 64)
	o.time("before", c.Before)
	o.time("after", c.After)
	o.time("timestamp", c.After)
	return o.end()
}
