package live

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"time"
)

// channel is the name of the channel on which the backends of a database announce changes.
const channel = "ospulse_live"

const (
	// announceInterval is the least time between two announcements. One announcement
	// covers the commits of that time.
	announceInterval = 10 * time.Millisecond
	// maxPayload is the most bytes of an announcement; PostgreSQL takes less than 8000.
	maxPayload = 7900
)

// change says what has changed in a session.
type change struct {
	ID      string `json:"id"`
	Seq     int64  `json:"seq,omitempty"`     // the newest event that is committed
	Changed bool   `json:"changed,omitempty"` // it was created, changed or deleted
	Found   bool   `json:"found,omitempty"`   // its findings changed
}

// announcement tells the other backends of changes. It is sent as JSON.
type announcement struct {
	From     string   `json:"from"` // the name of the hub
	Sessions []change `json:"sessions"`
}

// changes collects the changes of the next announcement, one for each session.
type changes struct {
	mu      *sync.Mutex
	pending map[string]change
	added   chan struct{} // holds a value if pending may not be empty
}

func newChanges() changes {
	return changes{mu: &sync.Mutex{}, pending: map[string]change{}, added: make(chan struct{}, 1)}
}

func (n *changes) add(one change) {
	n.mu.Lock()
	before := n.pending[one.ID]
	n.pending[one.ID] = change{one.ID, max(one.Seq, before.Seq), one.Changed || before.Changed, one.Found || before.Found}
	n.mu.Unlock()
	wake(n.added)
}

// take removes all changes and returns them.
func (n *changes) take() []change {
	n.mu.Lock()
	defer n.mu.Unlock()
	taken := make([]change, 0, len(n.pending))
	for _, one := range n.pending {
		taken = append(taken, one)
	}
	clear(n.pending)
	slices.SortFunc(taken, func(a, b change) int { return strings.Compare(a.ID, b.ID) })
	return taken
}

// announce sends announcements until ctx ends. If sending fails, the other backends find
// the changes when they poll.
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
		case <-h.changes.added:
		case <-ctx.Done():
			return
		}
		_, _ = within(ctx, h.payloads(h.changes.take()), func(ctx context.Context, payloads []string) (struct{}, error) {
			return struct{}{}, h.bus.Notify(ctx, channel, payloads...)
		})
		pause.Reset(announceInterval)
	}
}

// payloads encodes changes as announcements of at most maxPayload bytes each.
func (h *Hub) payloads(sessions []change) []string {
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

func (h *Hub) payload(sessions []change) string {
	text, _ := json.Marshal(announcement{h.name, sessions}) // strings and numbers cannot fail
	return string(text)
}

// hear applies an announcement from another backend. It ignores payloads that it cannot
// parse.
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
		if n.Found {
			h.found(n.ID)
		}
	}
}
