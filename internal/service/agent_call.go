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
	// Choose returns the ID of the agent with an ID or a name; Own for "".
	Choose(ctx context.Context, wanted string) (id string, err error)
	// For returns the agent of a session: AgentID, or this backend's own one for nil.
	For(ctx context.Context, agentID *string) (Agent, error)
}

// AgentDirectory finds and lists agents. *repository.Agents implements it and documents its
// contracts.
type AgentDirectory interface {
	AgentFinder
	AgentLister
}

// AgentCalls lets a backend call its own agent and the agents of other backends on its
// database, because any backend serves any session. It calls only URLs that an operator
// configured. It never sends the key of its own agent to another one. Agents that fetch
// their work are not called: their requests wait for them. It is safe for concurrent use.
type AgentCalls struct {
	agents  AgentDirectory
	ownID   string
	own     Agent
	connect func(url string) Agent
	fetched func(id, name string) Agent

	mu      sync.Mutex
	clients map[string]Agent // of other agents, by URL, or by ID if they fetch their work
}

// NewAgentCalls returns the calls of a backend whose own agent is own with the ID ownID.
// connect returns a client for another agent, and fetched one for an agent that fetches its
// work.
func NewAgentCalls(agents AgentDirectory, ownID string, own Agent, connect func(url string) Agent, fetched func(id, name string) Agent) *AgentCalls {
	return &AgentCalls{agents: agents, ownID: ownID, own: own, connect: connect, fetched: fetched, clients: map[string]Agent{}}
}

// Own returns the ID of this backend's own agent.
func (c *AgentCalls) Own() string { return c.ownID }

// Choose returns the ID of the agent with an ID or a name, or of this backend's own one for
// "". It returns invalid if there is no such agent, and conflict if nothing can be asked of
// it.
func (c *AgentCalls) Choose(ctx context.Context, wanted string) (id string, err error) {
	if wanted == "" {
		return c.ownID, nil
	}
	agents, err := c.agents.List(ctx, models.MaxAgents)
	if err != nil {
		return "", err
	}
	agent := agentNamed(wanted, agents)
	if agent == nil {
		return "", models.Errorf(models.CodeInvalid, "there is no agent %.200q: GET /api/agents lists them", wanted)
	}
	_, err = c.reach(agent)
	return agent.ID, err
}

// agentNamed returns the agent with an ID, else the one with a name; nil if there is none.
func agentNamed(wanted string, agents []models.Agent) *models.Agent {
	for _, same := range []func(*models.Agent) bool{
		func(a *models.Agent) bool { return a.ID == wanted },
		func(a *models.Agent) bool { return a.Name == wanted },
	} {
		for i := range agents {
			if same(&agents[i]) {
				return &agents[i]
			}
		}
	}
	return nil
}

// For returns the agent with an ID, or this backend's own one for nil. It returns conflict
// for an agent that is known by its heartbeats only: a request must not decide whom the
// backend calls.
func (c *AgentCalls) For(ctx context.Context, agentID *string) (Agent, error) {
	id := c.ownID
	if agentID != nil {
		id = *agentID
	}
	agent, err := c.agents.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	return c.reach(agent)
}

// reach returns the client for an agent.
func (c *AgentCalls) reach(agent *models.Agent) (Agent, error) {
	switch {
	case agent.FetchesWork:
		return c.client(agent.ID, func() Agent { return c.fetched(agent.ID, agent.Name) }), nil
	case agent.ID == c.ownID:
		return c.own, nil
	case agent.ServiceURL == "":
		return nil, models.Errorf(models.CodeConflict, "the agent %s does not fetch its work, and no backend has it at its AGENT_SERVICE_URL, so nobody can ask it to start or stop", agent.Name)
	}
	return c.client(agent.ServiceURL, func() Agent { return c.connect(agent.ServiceURL) }), nil
}

func (c *AgentCalls) client(key string, connect func() Agent) Agent {
	c.mu.Lock()
	defer c.mu.Unlock()
	client := c.clients[key]
	if client == nil {
		client = connect()
		c.clients[key] = client
	}
	return client
}
