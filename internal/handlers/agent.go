package handlers

import (
	"cmp"
	"context"
	"net/http"
	"net/netip"
	"time"

	"github.com/labstack/echo/v5"

	"ospulse/internal/models"
	"ospulse/internal/service"
)

// maxHeartbeatBytes is the largest heartbeat.
const maxHeartbeatBytes = 1 << 20

// AgentService stores and lists agents. *service.Agents implements it and documents its
// contracts.
type AgentService interface {
	Heartbeat(ctx context.Context, agent models.Agent) (id string, err error)
	List(ctx context.Context) ([]models.Agent, error)
}

// BackendIdentity tells agents which process this backend is. *service.Identity
// implements it and documents its contract.
type BackendIdentity interface {
	Tell(nonce string) *models.BackendIdentity
}

// Enroller adds agents and gives them their keys. *service.Keys implements it and documents
// its contracts.
type Enroller interface {
	AddAgent(ctx context.Context, by models.Actor, name string) (agent *models.Agent, token string, err error)
	Enroll(ctx context.Context, token string, address netip.Addr) (key *models.APIKey, text string, err error)
}

type agentHandler struct {
	agents   AgentService
	identity BackendIdentity
	enroller Enroller
	// publicURL is where agents reach the backend; "" for where the admin reaches it.
	publicURL string
	// fingerprint returns the SHA-256 of a certificate that no authority vouches for; ""
	// for any other.
	fingerprint func() string
	keyless     []string // networks whose agents need no key
}

// add adds an agent and sends the command that makes the agent this backend's.
func (h *agentHandler) add(c *echo.Context) error {
	var request struct {
		Name string `json:"name"`
	}
	if err := readJSON(c, maxKeyRequestBytes, &request); err != nil {
		return err
	}
	ctx := c.Request().Context()
	agent, token, err := h.enroller.AddAgent(ctx, models.ActorOf(ctx), request.Name)
	if err != nil {
		return err
	}
	n := note(c)
	n.target = agent.ID
	n.changed(nil, map[string]any{"name": agent.Name})
	command := service.EnrollCommand(cmp.Or(h.publicURL, c.Scheme()+"://"+c.Request().Host), token, h.fingerprint())
	c.Response().Header().Set("Cache-Control", "no-store")
	return c.JSON(http.StatusCreated, map[string]any{
		"id": agent.ID, "name": agent.Name, "token": token, "command": command, "expires_at": models.FormatTime(time.Now().Add(service.EnrollmentLasts)),
	})
}

// enroll gives an agent its key.
func (h *agentHandler) enroll(c *echo.Context) error {
	var request struct {
		Token string `json:"token"`
	}
	if err := readJSON(c, maxKeyRequestBytes, &request); err != nil {
		return err
	}
	key, text, err := h.enroller.Enroll(c.Request().Context(), request.Token, clientAddress(c))
	if err != nil {
		return err
	}
	n := note(c)
	n.actor = &models.Actor{KeyID: key.ID, Name: key.Name, Role: key.Role, AgentID: key.AgentID, Address: clientAddress(c).String()}
	noteKey(c, key)
	if err := n.begin(); err != nil { // nobody has the key yet
		return err
	}
	c.Response().Header().Set("Cache-Control", "no-store")
	return c.JSON(http.StatusCreated, map[string]string{"key": text, "agent_id": key.AgentID, "name": key.AgentName})
}

// heartbeat stores the heartbeat of an agent. It ignores unknown members, which newer
// agents may send.
func (h *agentHandler) heartbeat(c *echo.Context) error {
	var said struct {
		Name         string               `json:"name"`
		URL          string               `json:"url"`
		Version      string               `json:"version"`
		Platform     string               `json:"platform"`
		Arch         string               `json:"arch"`
		Sensor       string               `json:"sensor"`
		Capabilities []models.Capability  `json:"capabilities"`
		StartOptions *models.StartOptions `json:"start_options"`
		Sessions     []string             `json:"sessions"`
		Delivery     models.AgentDelivery `json:"delivery"`
		Nonce        string               `json:"nonce"`
		FetchesWork  bool                 `json:"fetches_work"`
		EventClasses []string             `json:"event_classes"`
	}
	if err := readOpenJSON(c, maxHeartbeatBytes, &said); err != nil {
		return err
	}
	id, err := h.agents.Heartbeat(c.Request().Context(), models.Agent{
		ID: models.ActorOf(c.Request().Context()).AgentID, Address: clientAddress(c).WithZone("").String(), Name: said.Name, URL: said.URL, Version: said.Version, Platform: said.Platform, Arch: said.Arch, Sensor: said.Sensor,
		Capabilities: said.Capabilities, StartOptions: said.StartOptions, SessionIDs: said.Sessions, Delivery: said.Delivery, FetchesWork: said.FetchesWork, EventClasses: said.EventClasses,
	})
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, struct {
		ID              string        `json:"id"`
		IntervalSeconds int           `json:"interval_seconds"`
		Backend         *identityView `json:"backend,omitempty"`
	}{id, int(service.HeartbeatInterval / time.Second), newIdentityView(h.identity.Tell(said.Nonce))})
}

// limitRequests refuses requests of a key that sends very many of them: a mad or hostile agent
// must not take the database from the others.
func limitRequests(quotas Quotas) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c *echo.Context) error {
			if key := models.ActorOf(c.Request().Context()).KeyID; key != "" {
				if err := quotas.TakeRequest(key, time.Now()); err != nil {
					return err
				}
			}
			return next(c)
		}
	}
}

// identityView is the JSON form of the backend's identity.
type identityView struct {
	BootID       string             `json:"boot_id"`
	PIDNamespace string             `json:"pid_namespace"`
	PID          int                `json:"pid"`
	StartTicks   int64              `json:"start_ticks"`
	Database     []databasePeerView `json:"database"`
	Proof        string             `json:"proof"`
}

type databasePeerView struct {
	Address    string `json:"address"`
	PID        int    `json:"pid"`
	StartTicks int64  `json:"start_ticks"`
}

func newIdentityView(i *models.BackendIdentity) *identityView {
	if i == nil {
		return nil
	}
	view := &identityView{i.BootID, i.PIDNamespace, i.PID, i.StartTicks, make([]databasePeerView, len(i.Database)), i.Proof}
	for n, peer := range i.Database {
		view.Database[n] = databasePeerView(peer)
	}
	return view
}

// listedAgent is an agent in the list of agents.
type listedAgent struct {
	agentView
	URL          string               `json:"url"`
	Address      string               `json:"address"`      // "" for an agent that sends no heartbeats
	HeartbeatAt  *string              `json:"heartbeat_at"` // null for an agent that sends none
	Version      string               `json:"version"`
	Platform     string               `json:"platform"`
	Arch         string               `json:"arch"`
	Sensor       string               `json:"sensor"`
	Capabilities []models.Capability  `json:"capabilities"`
	StartOptions *models.StartOptions `json:"start_options"` // null if it reports none
	Sessions     []string             `json:"sessions"`
	Delivery     models.AgentDelivery `json:"delivery"`
	EventClasses []string             `json:"event_classes"`
	FetchesWork  bool                 `json:"fetches_work"`
	IsStartable  bool                 `json:"is_startable"` // a session can be given to it
}

// agentList is the answer to the list of agents.
type agentList struct {
	Agents  []listedAgent `json:"agents"`
	Keyless []string      `json:"keyless"` // networks whose agents need no key
}

// list sends all agents.
func (h *agentHandler) list(c *echo.Context) error {
	agents, err := h.agents.List(c.Request().Context())
	if err != nil {
		return err
	}
	listed := make([]listedAgent, len(agents))
	for i := range agents {
		a := &agents[i]
		listed[i] = listedAgent{
			agentView: newAgentView(a), URL: a.URL, Address: a.Address, HeartbeatAt: optionalTime(a.HeartbeatAt), Version: a.Version, Platform: a.Platform, Arch: a.Arch,
			Sensor: a.Sensor, Capabilities: orEmpty(a.Capabilities), StartOptions: a.StartOptions, Sessions: orEmpty(a.SessionIDs), Delivery: a.Delivery,
			EventClasses: orEmpty(a.EventClasses), FetchesWork: a.FetchesWork, IsStartable: a.FetchesWork || a.ServiceURL != "",
		}
	}
	return c.JSON(http.StatusOK, agentList{listed, h.keyless})
}

// agentView is an agent beside a session.
type agentView struct {
	ID         string             `json:"id"`
	Name       string             `json:"name"`
	Status     models.AgentStatus `json:"status"`
	LastError  string             `json:"last_error"` // why it is down
	LastSeenAt *string            `json:"last_seen_at"`
}

func newAgentView(a *models.Agent) agentView {
	return agentView{a.ID, a.Name, a.Status, a.LastError, optionalTime(a.LastSeenAt)}
}
