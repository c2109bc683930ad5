package service

import (
	"net/netip"
	"sync"
	"testing"
	"time"
)

// TestStrikes checks how long an address waits after wrong keys, that addresses of one IPv6
// network count together, that others do not wait, and that few addresses are remembered.
func TestStrikes(t *testing.T) {
	var s strikes
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	from, sameNetwork, other := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::ffff:2"), netip.MustParseAddr("::ffff:192.0.2.1")
	for range freeStrikes {
		if err := s.refusal(from, now); err != nil {
			t.Fatal("too early: ", err)
		}
		s.add(from, now)
	}
	for _, want := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second, 32 * time.Second, time.Minute, time.Minute} {
		s.add(from, now)
		if s.refusal(from, now.Add(want-time.Millisecond)) == nil || s.refusal(sameNetwork, now) == nil {
			t.Errorf("no wait of %s", want)
		}
		if s.refusal(other, now) != nil {
			t.Error("another address waits")
		}
		now = now.Add(want)
		if s.refusal(from, now) != nil {
			t.Errorf("it waits longer than %s", want)
		}
	}
	now = now.Add(strikeForgets + time.Second)
	s.add(from, now)
	if s.refusal(from, now) != nil {
		t.Error("an old wrong key counts")
	}
	for i := range maxStrikers + 10 {
		s.add(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), now.Add(time.Duration(i)))
	}
	if len(s.by) > maxStrikers {
		t.Errorf("%d addresses are remembered", len(s.by))
	}
}

// TestStrikesAtOnce checks that no wrong key is lost of many at once, also while addresses
// are forgotten.
func TestStrikesAtOnce(t *testing.T) {
	const each = maxStrikers/8 + 20
	var s strikes
	var all sync.WaitGroup
	now, from := time.Now(), netip.MustParseAddr("192.0.2.1")
	for i := range 8 {
		all.Go(func() {
			for j := range each {
				s.add(from, now)
				s.add(netip.AddrFrom4([4]byte{10, byte(i), byte(j >> 8), byte(j)}), now.Add(-time.Second))
				_ = s.refusal(from, now)
			}
		})
	}
	all.Wait()
	if got := s.by[strikerOf(from)].count; got != 8*each || len(s.by) > maxStrikers {
		t.Errorf("%d wrong keys of %d are counted, and %d addresses", got, 8*each, len(s.by))
	}
}
