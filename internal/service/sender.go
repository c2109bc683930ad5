package service

import (
	"context"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"ospulse/internal/models"
)

// How current Senders is: agents that other backends have heard of are known by the
// next refresh, and a host's new address by the next look-up.
const (
	senderRefresh = 2 * time.Second
	senderLookUp  = time.Minute
	lookUpTimeout = 2 * time.Second
	// addressLasts is for how long after its last heartbeat an agent is known by the
	// address that it came from.
	addressLasts = 24 * time.Hour
)

// Senders tells which agent a request with events comes from. It asks no database for
// that. It is safe for concurrent use.
//
// It decides which session gets the events that name none, and nothing else: a client
// that sends events can name any session anyway.
type Senders struct {
	agents AgentLister
	own    string
	log    *slog.Logger

	known atomic.Pointer[knownSenders]

	mu    sync.Mutex
	hosts map[string]lookedUp // of configured agents, by name
}

// lookedUp is the addresses of a host, as they were found at a time.
type lookedUp struct {
	addresses []netip.Addr
	at        time.Time
}

// knownSenders has the agents by what tells one from the others; "" stands for several.
type knownSenders struct {
	byName    map[string]string
	byAddress map[netip.Addr]string
}

// NewSenders gives the senders of a backend whose own agent has an ID. Run must run for
// it to know others.
func NewSenders(agents AgentLister, own string, log *slog.Logger) *Senders {
	s := &Senders{agents: agents, own: own, log: log, hosts: map[string]lookedUp{}}
	s.known.Store(&knownSenders{})
	return s
}

// Find gives the ID of the agent that sent a request: the one whose name the request
// has, else the only one that is known at the address, else this backend's own.
func (s *Senders) Find(name string, address netip.Addr) string {
	known := s.known.Load()
	if id := known.byName[name]; id != "" && name != "" {
		return id
	}
	if id := known.byAddress[comparableAddress(address)]; id != "" {
		return id
	}
	return s.own
}

// Heard is told of each heartbeat: its agent is known at once.
func (s *Senders) Heard(ctx context.Context, _ *models.Agent) error { return s.refresh(ctx) }

// Run keeps the senders current until ctx ends.
func (s *Senders) Run(ctx context.Context) {
	ticker := time.NewTicker(senderRefresh)
	defer ticker.Stop()
	failed := false
	for {
		err := s.refresh(ctx)
		if err != nil && !failed && ctx.Err() == nil {
			s.log.Warn("which agents there are could not be read; it is tried again", "error", err)
		}
		failed = err != nil
		s.lookUp(ctx)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// refresh reads the agents anew.
func (s *Senders) refresh(ctx context.Context) error {
	agents, err := s.agents.List(ctx, models.MaxAgents)
	if err != nil {
		return err
	}
	known := &knownSenders{map[string]string{}, map[netip.Addr]string{}}
	s.mu.Lock()
	defer s.mu.Unlock()
	hosts := map[string]lookedUp{}
	for i := range agents {
		a := &agents[i]
		addOne(known.byName, a.Name, a.ID)
		if address, err := netip.ParseAddr(a.Address); err == nil && a.HeartbeatAt != nil && time.Since(*a.HeartbeatAt) < addressLasts {
			addOne(known.byAddress, comparableAddress(address), a.ID)
		}
		u, err := url.Parse(a.ServiceURL)
		if err != nil || a.ServiceURL == "" {
			continue
		}
		host := u.Hostname()
		address, err := netip.ParseAddr(host)
		if isLoopback(host) {
			address, err = loopback, nil
		}
		if err == nil {
			addOne(known.byAddress, comparableAddress(address), a.ID)
			continue
		}
		hosts[host] = s.hosts[host]
		for _, address := range hosts[host].addresses {
			addOne(known.byAddress, comparableAddress(address), a.ID)
		}
	}
	s.hosts = hosts
	s.known.Store(known)
	return nil
}

// addOne notes which agent has a key, or that several have it.
func addOne[K comparable](to map[K]string, key K, id string) {
	if before, isThere := to[key]; isThere && before != id {
		id = ""
	}
	to[key] = id
}

// lookUp finds the addresses of configured agents that have a name, where that was
// not done for a while. A host that cannot be found keeps those that it had.
func (s *Senders) lookUp(ctx context.Context) {
	s.mu.Lock()
	hosts := maps.Clone(s.hosts)
	s.mu.Unlock()
	for host, known := range hosts {
		if time.Since(known.at) < senderLookUp {
			continue
		}
		known.at = time.Now()
		ctx, cancel := context.WithTimeout(ctx, lookUpTimeout)
		if found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host); err == nil {
			known.addresses = found
		}
		cancel()
		s.mu.Lock()
		if _, isThere := s.hosts[host]; isThere {
			s.hosts[host] = known
		}
		s.mu.Unlock()
	}
}

var loopback = netip.AddrFrom4([4]byte{127, 0, 0, 1}) //nolint:gochecknoglobals // a constant

// comparableAddress gives one form for all ways to write an address, and for all
// addresses of the loopback.
func comparableAddress(address netip.Addr) netip.Addr {
	address = address.Unmap().WithZone("")
	if address.IsLoopback() {
		return loopback
	}
	return address
}
