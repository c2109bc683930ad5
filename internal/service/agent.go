package service

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log/slog"
	"net/netip"
	"net/url"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"ospulse/internal/agentclient"
	"ospulse/internal/models"
)

// AgentRepository keeps agents.
type AgentRepository interface {
	Register(ctx context.Context, agent *models.Agent) error
	Get(ctx context.Context, id string) (*models.Agent, error)
	SetStatus(ctx context.Context, agent *models.Agent) error
}

// HealthChecker asks an agent how it is; *agentclient.Client implements it.
type HealthChecker interface {
	Health(ctx context.Context) (agentclient.Health, error)
}

// StopRetrier tells an agent of ended sessions that it missed; *Sessions
// implements it.
type StopRetrier interface {
	RetryStops(ctx context.Context) error
}

// AgentWatch keeps the default agent's status current, and catches up with it
// when it comes back.
type AgentWatch struct {
	agents   AgentRepository
	health   HealthChecker
	stops    StopRetrier
	url      string
	interval time.Duration
	clock    Clock
	log      *slog.Logger
}

// NewAgentWatch gives a watch over the agent at url, asked once an interval.
func NewAgentWatch(agents AgentRepository, health HealthChecker, stops StopRetrier, url string, interval time.Duration, clock Clock, log *slog.Logger) *AgentWatch {
	return &AgentWatch{agents, health, stops, url, interval, clock, log}
}

// Register makes the default agent known; sessions refer to it.
func (w *AgentWatch) Register(ctx context.Context) error {
	return w.agents.Register(ctx, &models.Agent{ID: models.DefaultAgentID, Name: models.DefaultAgentID, URL: w.url, Status: models.AgentUnknown})
}

// Get gives the default agent with its last status.
func (w *AgentWatch) Get(ctx context.Context) (*models.Agent, error) {
	return w.agents.Get(ctx, models.DefaultAgentID)
}

// Run asks until ctx ends.
func (w *AgentWatch) Run(ctx context.Context) {
	ticker := time.NewTicker(w.interval)
	defer ticker.Stop()
	last := models.AgentUnknown
	for {
		status := w.check(ctx)
		if ctx.Err() != nil {
			return
		}
		if status.Status != last {
			w.log.Info("agent is "+string(status.Status), "url", w.url, "error", status.LastError)
			last = status.Status
		}
		if err := w.stops.RetryStops(ctx); err != nil && ctx.Err() == nil {
			w.log.Warn("the agent could not be told of ended sessions", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// check asks once and keeps the outcome.
func (w *AgentWatch) check(ctx context.Context) *models.Agent {
	agent := &models.Agent{ID: models.DefaultAgentID, Status: models.AgentUp}
	if _, err := w.health.Health(ctx); err != nil {
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

// HeartbeatInterval is how often agents are asked to say that they are there. One
// that was silent for HeartbeatPatience is down.
const (
	HeartbeatInterval = 10 * time.Second
	HeartbeatPatience = 3 * HeartbeatInterval
)

// Limits of what an agent says of itself, in bytes and in entries.
const (
	maxAgentNameBytes  = 200
	maxAgentTextBytes  = 2000
	maxCapabilities    = 50
	maxAgentSessionIDs = 1000
)

// AgentRegistry keeps what agents say of themselves; *repository.Agents implements
// it and documents its contracts.
type AgentRegistry interface {
	Heartbeat(ctx context.Context, agent *models.Agent, maxAgents int) error
	List(ctx context.Context, limit int) ([]models.Agent, error)
}

// HeartbeatListener is told of each heartbeat that was kept; *Ends is one.
type HeartbeatListener interface {
	Heard(ctx context.Context, agent *models.Agent) error
}

// Agents knows the agents that say that they are there. It never calls the URL of
// one: only the operator says whom the backend calls.
type Agents struct {
	agents     AgentRegistry
	listener   HeartbeatListener
	defaultURL string
	clock      Clock
}

// NewAgents gives the service; the agent at defaultURL is the default one.
func NewAgents(agents AgentRegistry, listener HeartbeatListener, defaultURL string, clock Clock) *Agents {
	return &Agents{agents, listener, comparableURL(defaultURL), clock}
}

// Heartbeat keeps what an agent says of itself, and gives the id that it has here.
// The one whose URL is the default agent's is that; any other is known by its
// name.
func (s *Agents) Heartbeat(ctx context.Context, agent models.Agent) (id string, err error) {
	if err := checkAgent(&agent); err != nil {
		return "", err
	}
	agent.ID = models.DefaultAgentID
	if comparableURL(agent.URL) != s.defaultURL {
		sum := sha256.Sum256([]byte(agent.Name))
		agent.ID = "agent-" + hex.EncodeToString(sum[:8])
	}
	now := s.clock.now()
	agent.HeartbeatAt, agent.LastSeenAt, agent.Status = &now, &now, models.AgentUnknown
	if err := s.agents.Heartbeat(ctx, &agent, models.MaxAgents); err != nil {
		return "", err
	}
	return agent.ID, s.listener.Heard(ctx, &agent)
}

// List gives all agents by name, each with its status as it is now: of the default
// agent what the last health check said, of others what their silence says.
func (s *Agents) List(ctx context.Context) ([]models.Agent, error) {
	agents, err := s.agents.List(ctx, models.MaxAgents)
	now := s.clock.now()
	for i := range agents {
		a := &agents[i]
		if a.ID == models.DefaultAgentID || a.HeartbeatAt == nil {
			continue
		}
		a.Status, a.LastError = models.AgentUp, ""
		if silent := now.Sub(*a.HeartbeatAt); silent > HeartbeatPatience {
			a.Status, a.LastError = models.AgentDown, "it has not been heard of for "+silent.Round(time.Second).String()
		}
	}
	return agents, err
}

// checkAgent refuses what cannot be kept.
func checkAgent(a *models.Agent) error {
	type field struct {
		name, text string
		maxBytes   int
	}
	fields := []field{
		{"name", a.Name, maxAgentNameBytes}, {"url", a.URL, maxAgentTextBytes}, {"version", a.Version, maxAgentNameBytes},
		{"platform", a.Platform, maxAgentNameBytes}, {"arch", a.Arch, maxAgentNameBytes}, {"sensor", a.Sensor, maxAgentNameBytes},
	}
	const none = "\x00" // refused, as an empty name is to be
	for _, c := range a.Capabilities {
		fields = append(fields, field{"capabilities", cmp.Or(c.Name, none), maxAgentNameBytes}, field{"capabilities", c.Reason, maxAgentTextBytes}, field{"capabilities", c.Remedy, maxAgentTextBytes})
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
	switch {
	case strings.TrimSpace(a.Name) == "":
		return models.Errorf(models.CodeInvalid, "name is missing: what people call the agent, such as its machine's name")
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return models.Errorf(models.CodeInvalid, "url must be where the agent listens, such as http://192.0.2.7:7000, not %.100q", a.URL)
	case len(a.Capabilities) > maxCapabilities:
		return models.Errorf(models.CodeInvalid, "capabilities has %d entries, of %d at most", len(a.Capabilities), maxCapabilities)
	case len(a.SessionIDs) > maxAgentSessionIDs:
		return models.Errorf(models.CodeInvalid, "sessions has %d entries, of %d at most", len(a.SessionIDs), maxAgentSessionIDs)
	case min(a.Delivery.Delivered, a.Delivery.Lost, a.Delivery.Queued, a.Delivery.Spooled) < 0:
		return models.Errorf(models.CodeInvalid, "delivery must have no negative counts")
	}
	return nil
}

// comparableURL gives a text that is the same for all ways to write a URL: with
// its port, all names of this machine's loopback as one, without a slash at its
// end.
func comparableURL(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return text
	}
	host := strings.ToLower(u.Hostname())
	if address, err := netip.ParseAddr(host); err == nil && address.Unmap().IsLoopback() {
		host = "localhost"
	}
	scheme := strings.ToLower(u.Scheme)
	port := cmp.Or(u.Port(), map[string]string{"http": "80", "https": "443"}[scheme])
	return scheme + "://" + host + ":" + port + strings.TrimRight(u.Path, "/")
}
