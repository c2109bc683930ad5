package service

import (
	"context"
	"sync"

	"ospulse/internal/models"
)

// AgentCaller finds the agent to call for a session. *AgentCalls implements it.
type AgentCaller interface {
	// Own returns the ID of this backend's own agent.
	Own() string
	// For returns the agent of a session: AgentID, or this backend's own one for nil.
	For(ctx context.Context, agentID *string) (Agent, error)
}

// AgentCalls lets a backend call its own agent and the agents of other backends on its
// database, because any backend serves any session. It calls only URLs that an operator
// configured. It never sends the key of its own agent to another one. It is safe for
// concurrent use.
type AgentCalls struct {
	agents  AgentFinder
	ownID   string
	own     Agent
	connect func(url string) Agent

	mu      sync.Mutex
	clients map[string]Agent // of other agents, by URL
}

// NewAgentCalls returns the calls of a backend whose own agent is own with the ID ownID.
// connect returns a client for another agent.
func NewAgentCalls(agents AgentFinder, ownID string, own Agent, connect func(url string) Agent) *AgentCalls {
	return &AgentCalls{agents: agents, ownID: ownID, own: own, connect: connect, clients: map[string]Agent{}}
}

// Own returns the ID of this backend's own agent.
func (c *AgentCalls) Own() string { return c.ownID }

// For returns the agent with an ID, or this backend's own one for nil. It returns
// conflict for an agent that is known by its heartbeats only: a request must not decide
// whom the backend calls.
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
