package service

import (
	"sync"
	"time"

	"golang.org/x/time/rate"

	"ospulse/internal/models"
)

// quotaBurst is how long a sender may send at once what its quota allows for that time, after
// a pause. A batch of any size that the backend takes fits into it.
const quotaBurst = 10 * time.Second

// maxQuotaSenders is the number of senders that are remembered.
const maxQuotaSenders = 10_000

// Quotas limits how many events and bytes each sender may send, so that one agent does not
// take the backend from the others. It is safe for concurrent use.
type Quotas struct {
	events, bytes           rate.Limit // per second; 0: no limit
	burstEvents, burstBytes int

	mu      sync.Mutex
	senders map[string]*quota
}

type quota struct {
	events, bytes, requests *rate.Limiter
	last                    time.Time
}

// The limits of requests without events, such as heartbeats: far more than any agent needs.
const (
	requestsPerSecond = 20
	burstRequests     = 200
)

// NewQuotas returns quotas per second; 0 is no limit. maxEvents and maxBytes are the size of
// the largest batch.
func NewQuotas(events, bytes float64, maxEvents int, maxBytes int64) *Quotas {
	return &Quotas{
		events: rate.Limit(events), bytes: rate.Limit(bytes), senders: map[string]*quota{},
		burstEvents: max(int(events*quotaBurst.Seconds()), maxEvents), burstBytes: max(int(bytes*quotaBurst.Seconds()), int(maxBytes)),
	}
}

// Take returns overloaded if the sender, named by its key or its agent, has sent too much. The
// sender may send the same batch later.
func (q *Quotas) Take(sender string, events, bytes int, now time.Time) error {
	if q.events == 0 && q.bytes == 0 {
		return nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	switch of := q.of(sender, now); {
	case q.events > 0 && !of.events.AllowN(now, events):
		return models.Errorf(models.CodeOverloaded, "this agent or key may send %g events a second (AGENT_EVENTS_PER_SECOND); try again later", float64(q.events))
	case q.bytes > 0 && !of.bytes.AllowN(now, bytes):
		return models.Errorf(models.CodeOverloaded, "this agent or key may send %g MB a second (AGENT_MB_PER_SECOND); try again later", float64(q.bytes)/(1<<20))
	}
	return nil
}

// TakeRequest returns overloaded if the sender has sent too many requests without events.
func (q *Quotas) TakeRequest(sender string, now time.Time) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.of(sender, now).requests.AllowN(now, 1) {
		return models.Errorf(models.CodeOverloaded, "this agent or key may send %d requests without events a second; try again later", requestsPerSecond)
	}
	return nil
}

// of returns the quota of a sender. The caller holds mu.
func (q *Quotas) of(sender string, now time.Time) *quota {
	of := q.senders[sender]
	if of == nil {
		q.forget(now)
		of = &quota{
			events: rate.NewLimiter(q.events, q.burstEvents), bytes: rate.NewLimiter(q.bytes, q.burstBytes),
			requests: rate.NewLimiter(requestsPerSecond, burstRequests),
		}
		q.senders[sender] = of
	}
	of.last = now
	return of
}

// forget makes room for a sender: it removes those whose quota is whole again, or else all.
func (q *Quotas) forget(now time.Time) {
	if len(q.senders) < maxQuotaSenders {
		return
	}
	for name, of := range q.senders {
		if now.Sub(of.last) > quotaBurst {
			delete(q.senders, name)
		}
	}
	if len(q.senders) >= maxQuotaSenders {
		clear(q.senders)
	}
}
