package service

import (
	"context"
	"crypto/rand"
	"net/netip"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"ospulse/internal/models"
)

// AgentStore lists and adds agents. *repository.Agents implements it and documents its
// contracts.
type AgentStore interface {
	AgentLister
	Add(ctx context.Context, agent *models.Agent, maxAgents int) error
}

// EnrollmentLasts is how long the token of a new agent works.
const EnrollmentLasts = time.Hour

// AddAgent adds an agent, and returns a token with which it gets its key once within
// EnrollmentLasts. An agent that exists keeps its sessions and keys. If nobody has heard of
// the default agent yet, the new one becomes it, so that it gets the sessions that name no
// agent. AddAgent returns invalid for a bad name, and conflict before the first key exists, unless
// people can sign in, or if there are too many agents.
func (s *Keys) AddAgent(ctx context.Context, by models.Actor, name string) (agent *models.Agent, token string, err error) {
	name = strings.TrimSpace(name)
	if name == "" || len(name) > maxAgentNameBytes || !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl) {
		return nil, "", models.Errorf(models.CodeInvalid, "name must be 1 to %d bytes of text without control characters: what people call the monitored machine", maxAgentNameBytes)
	}
	exist, err := s.keys.Exist(ctx)
	if err != nil {
		return nil, "", err
	}
	if !exist && s.policy.Issuer == "" {
		return nil, "", models.Errorf(models.CodeConflict, "create the key of an admin first: the key of an agent makes this backend require keys")
	}
	agent = &models.Agent{Status: models.AgentUnknown, FetchesWork: true}
	known, err := s.agents.List(ctx, models.MaxAgents)
	if err != nil {
		return nil, "", err
	}
	agent.ID, agent.Name = hashedID(name), name
	if same := agentNamed(name, known); same != nil {
		agent.ID, agent.Name = same.ID, same.Name
	} else if usual := agentNamed(models.DefaultAgentID, known); usual == nil || usual.LastSeenAt == nil && usual.HeartbeatAt == nil && !usual.FetchesWork {
		agent.ID = models.DefaultAgentID
	}
	if err := s.agents.Add(ctx, agent, models.MaxAgents); err != nil {
		return nil, "", err
	}
	token = rand.Text()
	return agent, token, s.keys.CreateEnrollment(ctx, &models.Enrollment{Hash: hashed(token), AgentID: agent.ID, AgentName: agent.Name, CreatedBy: by.Name}, EnrollmentLasts)
}

// Enroll returns the key of a new agent in exchange for its token, which works once. It
// returns unauthorized for a token that is wrong, too old or used, and overloaded after
// several of these from the same address.
func (s *Keys) Enroll(ctx context.Context, token string, address netip.Addr) (key *models.APIKey, text string, err error) {
	if err := s.strikes.refusal(address, s.clock.now()); err != nil {
		return nil, "", err
	}
	key, err = s.keys.Enroll(ctx, hashed(token), func(e *models.Enrollment) *models.APIKey {
		var key *models.APIKey
		key, text = newKey(e.AgentName, models.RoleAgent, e.CreatedBy, s.clock.now())
		key.AgentID, key.AgentName = e.AgentID, e.AgentName
		return key
	}, models.MaxKeys)
	if models.ErrorCode(err) == models.CodeNotFound {
		s.strikes.add(address, s.clock.now())
		return nil, "", models.Errorf(models.CodeUnauthorized, "the token is not valid: it is wrong, was used before, or is older than an hour. An admin makes a new one with Add agent in the dashboard")
	}
	if err != nil {
		return nil, "", err
	}
	return key, text, s.Load(ctx)
}

// EnrollCommand returns the command that enrolls an agent with a token. fingerprint is the
// SHA-256 of the backend's certificate if no authority vouches for it, else "".
func EnrollCommand(backendURL, token, fingerprint string) string {
	command := "ospulse-agent enroll " + backendURL + " " + token
	if fingerprint != "" && strings.HasPrefix(backendURL, "https:") {
		command += " --backend-fingerprint " + fingerprint
	}
	return command
}
