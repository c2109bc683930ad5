package service

import (
	"net/netip"
	"sync"
	"time"

	"ospulse/internal/models"
)

// Limits of strikes. The first freeStrikes wrong keys of an address are answered at once.
// Each further one doubles the time in which the address may send no other, up to
// strikePause. An address is forgotten after strikeForgets without a wrong key.
const (
	freeStrikes     = 5
	strikePause     = time.Minute
	strikeForgets   = 10 * time.Minute
	maxStrikers     = 10_000
	strikerIPv6Bits = 64 // a customer of a provider has at least such a network
)

// strikes counts wrong keys by address. A valid key is never refused for them. The zero
// value is ready. It is safe for concurrent use.
type strikes struct {
	mu sync.Mutex
	by map[netip.Prefix]striker
}

type striker struct {
	count       int
	last, until time.Time
}

// strikerOf returns the network whose wrong keys are counted together.
func strikerOf(address netip.Addr) netip.Prefix {
	address = address.Unmap().WithZone("")
	bits := address.BitLen()
	if address.Is6() {
		bits = strikerIPv6Bits
	}
	prefix, _ := address.Prefix(bits) // the zero prefix for the zero address
	return prefix
}

// refusal returns overloaded while the address may send no other key.
func (s *strikes) refusal(address netip.Addr, now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Before(s.by[strikerOf(address)].until) {
		return models.Errorf(models.CodeOverloaded, "too many wrong keys came from this address: wait before the next try")
	}
	return nil
}

// add counts a wrong key.
func (s *strikes) add(address netip.Addr, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.by == nil {
		s.by = map[netip.Prefix]striker{}
	}
	who := strikerOf(address)
	from, known := s.by[who]
	if !known && len(s.by) >= maxStrikers {
		s.forget(now)
	}
	if now.Sub(from.last) > strikeForgets {
		from = striker{}
	}
	from.count, from.last = from.count+1, now
	if over := from.count - freeStrikes; over > 0 {
		from.until = now.Add(min(time.Second<<min(over-1, 10), strikePause))
	}
	s.by[who] = from
}

// forget removes the addresses whose time is over, and if all are recent the oldest one.
func (s *strikes) forget(now time.Time) {
	var oldest netip.Prefix
	var at time.Time
	for who, from := range s.by {
		if now.Sub(from.last) > strikeForgets {
			delete(s.by, who)
		} else if at.IsZero() || from.last.Before(at) {
			oldest, at = who, from.last
		}
	}
	if len(s.by) >= maxStrikers {
		delete(s.by, oldest)
	}
}
