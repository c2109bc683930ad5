package service

import (
	"context"
	"sync"

	"ospulse/internal/models"
)

// AgentCaller finds who is to be called for a session; *AgentCalls implements it.
type AgentCaller interface {
	// Own gives the ID of this backend's own agent.
	Own() string
	// For gives the agent of a session: AgentID, or this backend's own one for nil.
	For(ctx context.Context, agentID *string) (Agent, error)
}

// AgentCalls lets a backend call its own agent, and those of the other backends on its
// database: any backend serves any session. It calls only URLs that an operator
// configured. The key for its own agent goes to no other. It is safe for concurrent use.
type AgentCalls struct {
	agents  AgentFinder
	ownID   string
	own     Agent
	connect func(url string) Agent

	mu      sync.Mutex
	clients map[string]Agent // of others, by URL
}

// NewAgentCalls gives the calls of a backend whose own agent has an ID. connect gives
// a client for another one.
func NewAgentCalls(agents AgentFinder, ownID string, own Agent, connect func(url string) Agent) *AgentCalls {
	return &AgentCalls{agents: agents, ownID: ownID, own: own, connect: connect, clients: map[string]Agent{}}
}

// Own gives the ID of this backend's own agent.
func (c *AgentCalls) Own() string { return c.ownID }

// For gives the agent with an ID, or this backend's own one for nil. One that is known
// by its heartbeats only is a conflict: a request must not say whom the backend calls.
func (c *AgentCalls) For(ctx context.Context, agentID *string) (Agent, error) {
	if agentID == nil || *agentID == c.ownID {
		return c.own, nil
	}
	agent, err := c.agents.Get(ctx, *agentID)
	if err != nil {
		return nil, err
	}
	if agent.ServiceURL == "" {
		return nil, models.Errorf(models.CodeConflict, "no backend has the agent %s at its AGENT_SERVICE_URL, so none calls it", *agentID)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	client := c.clients[agent.ServiceURL]
	if client == nil {
		client = c.connect(agent.ServiceURL)
		c.clients[agent.ServiceURL] = client
	}
	return client, nil
}
