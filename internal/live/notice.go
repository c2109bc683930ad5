package live

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"time"
)

// channel is where the programs that share a database speak.
const channel = "ospulse_live"

const (
	// announceInterval is the least time between two announcements: many commits
	// become one word.
	announceInterval = 10 * time.Millisecond
	// maxPayload is how many bytes one announcement may have.
	maxPayload = 7900
)

// notice is what one program tells the others of a session.
type notice struct {
	ID      string `json:"id"`
	Seq     int64  `json:"seq,omitempty"`     // the newest event that is committed
	Changed bool   `json:"changed,omitempty"` // it was created, changed or deleted
}

// announcement is the payload of a word.
type announcement struct {
	From     string   `json:"from"` // the name of the hub
	Sessions []notice `json:"sessions"`
}

// notices collects what is to be announced.
type notices struct {
	mu      *sync.Mutex
	pending map[string]notice
	added   chan struct{} // holds a value when one was added
}

func newNotices() notices {
	return notices{mu: &sync.Mutex{}, pending: map[string]notice{}, added: make(chan struct{}, 1)}
}

func (n *notices) add(one notice) {
	n.mu.Lock()
	before := n.pending[one.ID]
	n.pending[one.ID] = notice{one.ID, max(one.Seq, before.Seq), one.Changed || before.Changed}
	n.mu.Unlock()
	wake(n.added)
}

// take gives what was added, and forgets it.
func (n *notices) take() []notice {
	n.mu.Lock()
	defer n.mu.Unlock()
	taken := make([]notice, 0, len(n.pending))
	for _, one := range n.pending {
		taken = append(taken, one)
	}
	clear(n.pending)
	slices.SortFunc(taken, func(a, b notice) int { return strings.Compare(a.ID, b.ID) })
	return taken
}

// announce tells other programs what is to be announced, until ctx ends. What
// cannot be told they find out by themselves.
func (h *Hub) announce(ctx context.Context) {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-pause.C:
		case <-ctx.Done():
			return
		}
		select {
		case <-h.notices.added:
		case <-ctx.Done():
			return
		}
		_, _ = within(ctx, h.payloads(h.notices.take()), func(ctx context.Context, payloads []string) (struct{}, error) {
			return struct{}{}, h.bus.Notify(ctx, channel, payloads...)
		})
		pause.Reset(announceInterval)
	}
}

// payloads puts notices into as few payloads as hold them.
func (h *Hub) payloads(sessions []notice) []string {
	var payloads []string
	for len(sessions) > 0 {
		n := len(sessions)
		text := h.payload(sessions)
		for len(text) > maxPayload && n > 1 {
			n = (n + 1) / 2
			text = h.payload(sessions[:n])
		}
		payloads = append(payloads, text)
		sessions = sessions[n:]
	}
	return payloads
}

func (h *Hub) payload(sessions []notice) string {
	text, _ := json.Marshal(announcement{h.name, sessions}) // strings and numbers: nothing that can fail
	return string(text)
}

// hear takes what another program announced. What is no announcement is nobody's
// that this program knows.
func (h *Hub) hear(payload string) {
	var heard announcement
	if json.Unmarshal([]byte(payload), &heard) != nil || heard.From == h.name {
		return
	}
	for _, n := range heard.Sessions {
		if t := h.topic(n.ID); t != nil && n.Seq > 0 {
			t.advance(n.Seq)
		}
		if n.Seq > 0 && h.all.watched() {
			h.counted.keep(n.ID)
		}
		if n.Changed {
			h.stale.add(n.ID)
		}
	}
}
