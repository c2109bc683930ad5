//go:build linux

package capture

import (
	"cmp"
	"time"

	"ospulse/agent/internal/parser"
)

const (
	// maxAsked is the most blocks of the ring that the parser reads at once. While it is behind,
	// the ring keeps the packets, and counts those that find no room.
	maxAsked = 16
	// retryTime is how often the reader asks again after the parser has failed.
	retryTime = 100 * time.Millisecond
)

// batch is the frames of a block of the ring that the parser has not answered yet.
type batch struct {
	space  *space
	began  time.Time // the time of its first frame
	frames []frame   // without their data
	bytes  int       // of the question
}

// ask lets the parser read the frames of a block. It waits while the parser is behind or has
// failed. question has the frames' data.
func (w *Watch) ask(s *space, frames []frame, question *parser.Question) {
	w.askable <- struct{}{}
	b := &batch{s, frames[0].time, frames, len(question.Data)}
	w.options.Pending.Add(b.bytes)
	w.mu.Lock()
	s.asked = append(s.asked, b)
	w.mu.Unlock()
	for {
		err := w.parser.Ask(question, func(a *parser.Answer, err error) { w.answered(b, a, err) })
		if err == nil {
			return
		}
		select {
		case <-time.After(retryTime):
		case <-w.closing:
			w.mu.Lock()
			w.answered(b, nil, err)
			w.mu.Unlock()
			return
		}
	}
}

// answered handles an answer about the next frame of a batch, or the parser's failure. The caller
// holds mu.
func (w *Watch) answered(b *batch, a *parser.Answer, err error) {
	if err == nil && a.Packet != nil && len(b.frames) > 0 {
		f := b.frames[0]
		b.frames = b.frames[1:]
		w.packet(b.space, &f, a.Packet)
	}
	if err == nil && !a.Last {
		return
	}
	for i := range b.frames {
		w.unparsed.Add(b.frames[i].time, cmp.Or(err, parser.ErrFailed))
	}
	b.space.asked = b.space.asked[1:]
	w.options.Pending.Add(-b.bytes)
	<-w.askable
}
