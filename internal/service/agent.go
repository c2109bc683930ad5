package service

import (
	"context"
	"errors"
	"log/slog"
	"time"

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
