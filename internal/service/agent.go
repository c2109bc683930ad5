package service

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"ospulse/internal/agentclient"
	"ospulse/internal/models"
)

// AgentRepository stores agents. *repository.Agents implements it and documents its
// contracts.
type AgentRepository interface {
	Register(ctx context.Context, holder string, lasts time.Duration, choose func(known []models.Agent, isFree bool) models.Agent) (id string, err error)
	Get(ctx context.Context, id string) (*models.Agent, error)
	SetStatus(ctx context.Context, agent *models.Agent) error
}

// HealthChecker checks an agent's health. *agentclient.Client implements it.
type HealthChecker interface {
	Health(ctx context.Context) (agentclient.Health, error)
}

// StopRetrier retries stops that agents missed. *Sessions implements it.
type StopRetrier interface {
	RetryStops(ctx context.Context) error
}

// AgentWatch keeps the status of this backend's own agent current: the one that its
// operator configured. Of several backends with the same agent, the holder of the agent's
// lease checks it and stores the result.
type AgentWatch struct {
	agents   AgentRepository
	leases   LeaseRepository
	health   HealthChecker
	url      string
	interval time.Duration
	clock    Clock
	log      *slog.Logger

	holder string // of the lease
	id     string // of the agent, set by Register
}

// NewAgentWatch returns a watch that checks the agent at url once per interval.
func NewAgentWatch(agents AgentRepository, leases LeaseRepository, health HealthChecker, url string, interval time.Duration, clock Clock, log *slog.Logger) *AgentWatch {
	return &AgentWatch{agents: agents, leases: leases, health: health, url: url, interval: interval, clock: clock, log: log, holder: rand.Text()}
}

// leaseLasts is how long the watch keeps the lease after each check.
func (w *AgentWatch) leaseLasts() time.Duration { return 2*w.interval + 10*time.Second }

// Register stores the agent and returns its ID, which sessions refer to. The caller calls
// it before Get and Run.
func (w *AgentWatch) Register(ctx context.Context) (id string, err error) {
	w.id, err = w.agents.Register(ctx, w.holder, w.leaseLasts(), func(known []models.Agent, isFree bool) models.Agent { return chooseAgent(w.url, known, isFree) })
	return w.id, err
}

// chooseAgent returns the agent with the URL; else the default agent if isFree, because
// it may have moved; else a new one.
func chooseAgent(serviceURL string, known []models.Agent, isFree bool) models.Agent {
	agent := models.Agent{ID: models.DefaultAgentID, Name: models.DefaultAgentID, URL: serviceURL, ServiceURL: serviceURL, Status: models.AgentUnknown}
	if same := agentAt(serviceURL, known); same != nil {
		agent.ID = same.ID
	} else if !isFree && slices.ContainsFunc(known, func(a models.Agent) bool { return a.ID == models.DefaultAgentID }) {
		agent.ID = hashedID("url " + comparableURL(serviceURL))
		agent.Name = serviceURL
	}
	return agent
}

// agentAt returns the agent that an operator configured with the URL; nil if there is
// none.
func agentAt(serviceURL string, agents []models.Agent) *models.Agent {
	for i := range agents {
		if a := &agents[i]; a.ServiceURL != "" && comparableURL(a.ServiceURL) == comparableURL(serviceURL) {
			return a
		}
	}
	return nil
}

// hashedID returns an ID for an agent without one.
func hashedID(of string) string {
	sum := sha256.Sum256([]byte(of))
	return "agent-" + hex.EncodeToString(sum[:8])
}

// Get returns the agent with its last status.
func (w *AgentWatch) Get(ctx context.Context) (*models.Agent, error) { return w.agents.Get(ctx, w.id) }

// Run checks the agent and retries missed stops until ctx ends.
func (w *AgentWatch) Run(ctx context.Context, stops StopRetrier) {
	ticker := time.NewTicker(w.interval)
	defer ticker.Stop()
	defer w.release(ctx)
	last := models.AgentUnknown
	for {
		status := w.check(ctx)
		if ctx.Err() != nil {
			return
		}
		if status != nil && status.Status != last {
			w.log.Info("agent is "+string(status.Status), "url", w.url, "error", status.LastError)
			last = status.Status
		}
		if err := stops.RetryStops(ctx); err != nil && ctx.Err() == nil {
			w.log.Warn("the agent could not be told of ended sessions", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (w *AgentWatch) release(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaseCall)
	defer cancel()
	if err := w.leases.Release(ctx, models.AgentLease(w.id), w.holder); err != nil {
		w.log.Warn("the lease on the agent could not be released; it ends by itself", "error", err)
	}
}

// check checks the agent once, and stores and returns the result; nil if another backend
// does so.
func (w *AgentWatch) check(ctx context.Context) *models.Agent {
	taken, err := w.leases.Take(ctx, models.AgentLease(w.id), w.holder, w.leaseLasts())
	if err != nil && ctx.Err() == nil {
		w.log.Warn("the agent's status could not be kept", "error", err)
	}
	if err != nil || !taken {
		return nil
	}
	known, err := w.agents.Get(ctx, w.id)
	if err != nil {
		w.log.Debug("the agent could not be read; it is tried again", "error", err)
		return nil
	}
	agent := &models.Agent{ID: w.id, Status: models.AgentUp}
	if known.FetchesWork {
		agent.Status, agent.LastError = heardStatus(known, w.clock.now())
	} else if _, err := w.health.Health(ctx); err != nil {
		agent.Status, agent.LastError = models.AgentDown, err.Error()
		if e, ok := errors.AsType[*models.Error](err); ok {
			agent.LastError = e.Message // clients read it
		}
	} else {
		now := w.clock.now()
		agent.LastSeenAt = &now
	}
	if ctx.Err() != nil {
		return agent
	}
	if err := w.agents.SetStatus(ctx, agent); err != nil && ctx.Err() == nil {
		w.log.Warn("the agent's status could not be kept", "error", err)
	}
	return agent
}

// HeartbeatInterval is the interval that agents are asked to keep. An agent that has been
// silent for HeartbeatPatience is down.
const (
	HeartbeatInterval = 10 * time.Second
	HeartbeatPatience = 3 * HeartbeatInterval
)

// Limits of a heartbeat, in bytes and in entries.
const (
	maxAgentNameBytes  = 200
	maxAgentTextBytes  = 2000
	maxCapabilities    = 50
	maxAgentSessionIDs = 1000
)

// AgentRegistry stores agents. *repository.Agents implements it and documents its
// contracts.
type AgentRegistry interface {
	Heartbeat(ctx context.Context, agent *models.Agent, maxAgents int) error
	List(ctx context.Context, limit int) ([]models.Agent, error)
}

// HeartbeatListener receives each stored heartbeat. *Ends and *Senders implement it.
type HeartbeatListener interface {
	Heard(ctx context.Context, agent *models.Agent) error
}

// Agents manages the agents that send heartbeats. It never calls their URLs: only an
// operator decides whom the backend calls.
type Agents struct {
	agents      AgentRegistry
	listeners   []HeartbeatListener
	silentAfter time.Duration
	clock       Clock
}

// NewAgents returns the service. An agent without a heartbeat for silentAfter is down.
func NewAgents(agents AgentRegistry, listeners []HeartbeatListener, silentAfter time.Duration, clock Clock) *Agents {
	return &Agents{agents, listeners, silentAfter, clock}
}

// Heartbeat stores a heartbeat and returns the agent's ID. If an operator configured the
// agent's URL, the heartbeat belongs to that agent, else to the one with its name. A
// loopback URL refers to the machine that sent the heartbeat (agent.Address). If agent.ID is
// set, it came with the key of that agent, and nothing else decides.
func (s *Agents) Heartbeat(ctx context.Context, agent models.Agent) (id string, err error) {
	if err := checkAgent(&agent); err != nil {
		return "", err
	}
	known, err := s.agents.List(ctx, models.MaxAgents)
	if err != nil {
		return "", err
	}
	if agent.ID != "" {
		agent.Name = boundName(&agent, known)
	} else if agent.FetchesWork {
		return "", models.Errorf(models.CodeInvalid, "fetches_work needs the key of an agent: work is given to the holder of a key only")
	} else if same := agentAt(urlFrom(agent.URL, agent.Address), known); same != nil {
		agent.ID = same.ID
	} else {
		agent.ID = hashedID(agent.Name)
	}
	now := s.clock.now()
	agent.HeartbeatAt, agent.LastSeenAt, agent.Status = &now, &now, models.AgentUnknown
	if err := s.agents.Heartbeat(ctx, &agent, models.MaxAgents); err != nil {
		return "", err
	}
	for _, listener := range s.listeners {
		err = errors.Join(err, listener.Heard(ctx, &agent))
	}
	return agent.ID, err
}

// boundName returns the name under which the agent with a key is stored: its own, unless
// another agent has that name. Otherwise a hostile agent could look like another one.
func boundName(agent *models.Agent, known []models.Agent) string {
	for i := range known {
		if known[i].Name == agent.Name && known[i].ID != agent.ID {
			return agent.Name + " (" + agent.ID + ")"
		}
	}
	return agent.Name
}

// urlFrom returns the URL by which the backend would call an agent at an address: a
// loopback URL of another machine gets that machine's address.
func urlFrom(text, from string) string {
	u, err := url.Parse(text)
	address, addressErr := netip.ParseAddr(from)
	if err != nil || addressErr != nil || address.IsLoopback() || !isLoopback(u.Hostname()) {
		return text
	}
	u.Host = net.JoinHostPort(from, cmp.Or(u.Port(), impliedPorts[u.Scheme]))
	return u.String()
}

// List returns all agents by name, each with its present status: for configured agents
// the result of the last health check, for others by the time since their last heartbeat.
func (s *Agents) List(ctx context.Context) ([]models.Agent, error) {
	agents, err := s.agents.List(ctx, models.MaxAgents)
	now := s.clock.now()
	for i := range agents {
		a := &agents[i]
		switch {
		case a.ServiceURL == "" || a.FetchesWork:
			a.Status, a.LastError = heardStatus(a, now)
		case a.Status == models.AgentUp && a.LastSeenAt != nil && now.Sub(*a.LastSeenAt) > s.silentAfter: // valid while a backend checks it
			a.Status, a.LastError = silent(now.Sub(*a.LastSeenAt))
		}
	}
	return agents, err
}

// heardStatus returns the status of an agent that nobody calls: up if it has sent a
// heartbeat recently.
func heardStatus(a *models.Agent, now time.Time) (status models.AgentStatus, why string) {
	if a.HeartbeatAt == nil {
		return models.AgentUnknown, "it has sent nothing yet"
	}
	if since := now.Sub(*a.HeartbeatAt); since > HeartbeatPatience {
		return silent(since)
	}
	return models.AgentUp, ""
}

func silent(since time.Duration) (status models.AgentStatus, why string) {
	return models.AgentDown, "it has not been heard of for " + since.Round(time.Second).String()
}

// checkAgent returns invalid for a heartbeat that cannot be stored.
func checkAgent(a *models.Agent) error {
	type field struct {
		name, text string
		maxBytes   int
	}
	fields := []field{
		{"name", a.Name, maxAgentNameBytes}, {"url", a.URL, maxAgentTextBytes}, {"version", a.Version, maxAgentNameBytes},
		{"platform", a.Platform, maxAgentNameBytes}, {"arch", a.Arch, maxAgentNameBytes}, {"sensor", a.Sensor, maxAgentNameBytes},
	}
	const none = "\x00" // is refused, like an empty name
	for _, c := range a.Capabilities {
		fields = append(fields, field{"capabilities", cmp.Or(c.Name, none), maxAgentNameBytes}, field{"capabilities", c.Reason, maxAgentTextBytes}, field{"capabilities", c.Remedy, maxAgentTextBytes})
	}
	options := cmp.Or(a.StartOptions, &models.StartOptions{})
	for _, network := range append(options.Networks, options.Network) {
		fields = append(fields, field{"start_options", network, maxAgentNameBytes})
	}
	for _, class := range a.EventClasses {
		fields = append(fields, field{"event_classes", cmp.Or(class, none), maxAgentNameBytes})
	}
	for _, id := range a.SessionIDs {
		fields = append(fields, field{"sessions", cmp.Or(id, none), maxAgentNameBytes})
	}
	for _, f := range fields {
		if len(f.text) > f.maxBytes || !utf8.ValidString(f.text) || strings.ContainsFunc(f.text, unicode.IsControl) {
			return models.Errorf(models.CodeInvalid, "%s must have texts of at most %d bytes without control characters, and names that are not empty", f.name, f.maxBytes)
		}
	}
	u, err := url.Parse(a.URL)
	listens := a.URL != "" || !a.FetchesWork
	switch {
	case strings.TrimSpace(a.Name) == "":
		return models.Errorf(models.CodeInvalid, "name is missing: what people call the agent, such as its machine's name")
	case listens && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != ""):
		return models.Errorf(models.CodeInvalid, "url must be where the agent listens, such as http://192.0.2.7:7000, not %.100q", a.URL)
	case len(a.Capabilities) > maxCapabilities:
		return models.Errorf(models.CodeInvalid, "capabilities has %d entries, of %d at most", len(a.Capabilities), maxCapabilities)
	case len(a.EventClasses) > maxSelected:
		return models.Errorf(models.CodeInvalid, "event_classes has %d entries, of %d at most", len(a.EventClasses), maxSelected)
	case len(a.SessionIDs) > maxAgentSessionIDs:
		return models.Errorf(models.CodeInvalid, "sessions has %d entries, of %d at most", len(a.SessionIDs), maxAgentSessionIDs)
	case len(options.Networks) > maxCapabilities, min(options.TimeoutSeconds, options.MinMemoryMB, options.MemoryMB) < 0:
		return models.Errorf(models.CodeInvalid, "start_options must have at most %d networks, and no negative numbers", maxCapabilities)
	case min(a.Delivery.Delivered, a.Delivery.Lost, a.Delivery.Queued, a.Delivery.Spooled) < 0:
		return models.Errorf(models.CodeInvalid, "delivery must have no negative counts")
	}
	return nil
}

// comparableURL returns the same text for all spellings of a URL: with its port, one name
// for the loopback, and no slash at the end.
func comparableURL(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return text
	}
	host := strings.ToLower(u.Hostname())
	if isLoopback(host) {
		host = "localhost"
	}
	scheme := strings.ToLower(u.Scheme)
	return scheme + "://" + host + ":" + cmp.Or(u.Port(), impliedPorts[scheme]) + strings.TrimRight(u.Path, "/")
}

var impliedPorts = map[string]string{"http": "80", "https": "443"} //nolint:gochecknoglobals // a constant

// isLoopback reports whether a host is the loopback of this machine.
func isLoopback(host string) bool {
	address, err := netip.ParseAddr(host)
	return err == nil && address.Unmap().IsLoopback() || strings.EqualFold(host, "localhost")
}
