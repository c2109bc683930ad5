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

// Intervals of Senders. It learns of other backends' agents at the next refresh, and of a
// host's new address at the next look-up.
const (
	senderRefresh = 2 * time.Second
	senderLookUp  = time.Minute
	lookUpTimeout = 2 * time.Second
	// addressLasts is how long after its last heartbeat Senders knows an agent by the
	// heartbeat's address.
	addressLasts = 24 * time.Hour
)

// Senders finds the agent that sent a request with events. It needs no database for that.
// It is safe for concurrent use.
//
// The result only decides which session gets events that name none. A client that sends
// events can name any session anyway.
type Senders struct {
	agents AgentLister
	own    string
	log    *slog.Logger

	known atomic.Pointer[knownSenders]

	mu    sync.Mutex
	hosts map[string]lookedUp // of configured agents, by name
}

// lookedUp holds the addresses of a host and the time of the look-up.
type lookedUp struct {
	addresses []netip.Addr
	at        time.Time
}

// knownSenders maps an agent's name or address to its ID; "" stands for several agents.
type knownSenders struct {
	byName    map[string]string
	byAddress map[netip.Addr]string
}

// NewSenders returns the senders of a backend whose own agent has the ID own. The caller
// must call Run, which finds other agents.
func NewSenders(agents AgentLister, own string, log *slog.Logger) *Senders {
	s := &Senders{agents: agents, own: own, log: log, hosts: map[string]lookedUp{}}
	s.known.Store(&knownSenders{})
	return s
}

// Find returns the ID of the agent that sent a request: the one with the request's name,
// else the only one known at the address, else this backend's own.
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

// Heard adds the agent of a heartbeat at once.
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

// refresh reads the agents again.
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

// addOne records which agent has a key, or that several have it.
func addOne[K comparable](to map[K]string, key K, id string) {
	if before, isThere := to[key]; isThere && before != id {
		id = ""
	}
	to[key] = id
}

// lookUp finds the addresses of configured agents whose URLs have host names, unless it
// did so recently. A host that cannot be found keeps its last addresses.
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

// comparableAddress returns the same text for all spellings of an address, and for all
// addresses of the loopback.
func comparableAddress(address netip.Addr) netip.Addr {
	address = address.Unmap().WithZone("")
	if address.IsLoopback() {
		return loopback
	}
	return address
}
