package handlers

import (
	"context"
	"net/http"
	"net/netip"
	"time"

	"github.com/labstack/echo/v5"

	"ospulse/internal/models"
	"ospulse/internal/service"
)

// KeyService manages keys and sign-ins. *service.Keys implements it and documents its
// contracts.
type KeyService interface {
	Identifier
	Required() bool
	Create(ctx context.Context, by models.Actor, wanted service.NewKey) (*models.APIKey, string, error)
	List(ctx context.Context) ([]models.APIKey, error)
	Revoke(ctx context.Context, id string) (*models.APIKey, error)
	SignIn(ctx context.Context, key string, address netip.Addr) (token string, expires time.Time, actor models.Actor, err error)
	SignOut(ctx context.Context, token string) error
	Setup(ctx context.Context, token, name string, address netip.Addr, begin func() error) (*models.APIKey, string, error)
}

// maxKeyRequestBytes is the largest body of a request about keys.
const maxKeyRequestBytes = 16 << 10

type keyHandler struct{ keys KeyService }

// actorView is the JSON form of who sends a request.
type actorView struct {
	RequiresKey bool        `json:"requires_key"`
	Role        models.Role `json:"role"`
	Name        string      `json:"name"`
	KeyID       string      `json:"key_id"`
	AgentID     string      `json:"agent_id"`
}

func (h *keyHandler) newActorView(a models.Actor) actorView {
	return actorView{h.keys.Required(), a.Role, a.Name, a.KeyID, a.AgentID}
}

// keyView is the JSON form of a key.
type keyView struct {
	ID         string      `json:"id"`
	Prefix     string      `json:"prefix"`
	Name       string      `json:"name"`
	Role       models.Role `json:"role"`
	AgentID    string      `json:"agent_id"`
	AgentName  string      `json:"agent_name"`
	CreatedAt  string      `json:"created_at"`
	CreatedBy  string      `json:"created_by"`
	LastUsedAt *string     `json:"last_used_at"`
	ExpiresAt  *string     `json:"expires_at"`
	RevokedAt  *string     `json:"revoked_at"`
}

func newKeyView(k *models.APIKey) keyView {
	return keyView{
		ID: k.ID, Prefix: k.Prefix, Name: k.Name, Role: k.Role, AgentID: k.AgentID, AgentName: k.AgentName, CreatedAt: models.FormatTime(k.CreatedAt), CreatedBy: k.CreatedBy,
		LastUsedAt: optionalTime(k.LastUsedAt), ExpiresAt: optionalTime(k.ExpiresAt), RevokedAt: optionalTime(k.RevokedAt),
	}
}

// createdKey is a new key, which no other answer shows.
type createdKey struct {
	Key string `json:"key"`
	keyView
}

// me sends the actor.
func (h *keyHandler) me(c *echo.Context) error {
	return c.JSON(http.StatusOK, h.newActorView(models.ActorOf(c.Request().Context())))
}

// signIn exchanges a key for a cookie.
func (h *keyHandler) signIn(c *echo.Context) error {
	var request struct {
		Key string `json:"key"`
	}
	if err := readJSON(c, maxKeyRequestBytes, &request); err != nil {
		return err
	}
	actor, err := h.signInWith(c, request.Key)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, h.newActorView(actor))
}

// signInWith sets the cookie of a new sign-in.
func (h *keyHandler) signInWith(c *echo.Context, key string) (models.Actor, error) {
	token, expires, actor, err := h.keys.SignIn(c.Request().Context(), key, clientAddress(c))
	if err != nil {
		return actor, err
	}
	// Nobody knows the token yet, so the sign-in has no effect before its entry.
	n := note(c)
	n.actor = &actor
	if err := n.begin(); err != nil {
		return actor, err
	}
	setCookie(c, token, expires)
	return actor, nil
}

// signOut ends the sign-in of the cookie.
func (h *keyHandler) signOut(c *echo.Context) error {
	ctx := c.Request().Context()
	if token := credential(c.Request()).Token; token != "" {
		if actor, _, err := h.keys.Identify(ctx, service.Credential{Token: token}, clientAddress(c)); err == nil && !actor.IsAnonymous() {
			note(c).actor = &actor
		}
		if err := h.keys.SignOut(ctx, token); err != nil {
			return err
		}
	}
	setCookie(c, "", time.Time{})
	return c.JSON(http.StatusOK, map[string]string{"status": "ok"})
}

// setUp creates the first key and signs in with it.
func (h *keyHandler) setUp(c *echo.Context) error {
	request := struct {
		Token string `json:"token"`
		Name  string `json:"name"`
	}{Name: "admin"}
	if err := readJSON(c, maxKeyRequestBytes, &request); err != nil {
		return err
	}
	key, text, err := h.keys.Setup(c.Request().Context(), request.Token, request.Name, clientAddress(c), func() error {
		n := note(c)
		n.actor = &models.Actor{Role: models.RoleAdmin, Address: clientAddress(c).String()}
		return n.begin()
	})
	if err != nil {
		return err
	}
	if _, err := h.signInWith(c, text); err != nil {
		return err
	}
	noteKey(c, key)
	return sendKey(c, key, text)
}

// create creates a key.
func (h *keyHandler) create(c *echo.Context) error {
	var request struct {
		Name      string      `json:"name"`
		Role      models.Role `json:"role"`
		Agent     string      `json:"agent"`
		ExpiresAt *string     `json:"expires_at"`
	}
	if err := readJSON(c, maxKeyRequestBytes, &request); err != nil {
		return err
	}
	wanted := service.NewKey{Name: request.Name, Role: request.Role, Agent: request.Agent}
	if request.ExpiresAt != nil {
		at, ok := models.ParseTime(*request.ExpiresAt)
		if !ok {
			return models.Errorf(models.CodeInvalid, "expires_at must be an RFC 3339 time such as 2026-11-22T18:57:39Z, not %.100q", *request.ExpiresAt)
		}
		wanted.ExpiresAt = &at
	}
	ctx := c.Request().Context()
	key, text, err := h.keys.Create(ctx, models.ActorOf(ctx), wanted)
	if err != nil {
		return err
	}
	noteKey(c, key)
	return sendKey(c, key, text)
}

// noteKey notes a new key for the audit, without the key itself.
func noteKey(c *echo.Context, key *models.APIKey) {
	n := note(c)
	n.target = key.ID
	n.changed(nil, keyNote(key))
}

// keyNote returns what the audit keeps about a key.
func keyNote(k *models.APIKey) map[string]any {
	return map[string]any{"name": k.Name, "role": k.Role, "agent": k.AgentName, "expires_at": optionalTime(k.ExpiresAt)}
}

func sendKey(c *echo.Context, key *models.APIKey, text string) error {
	c.Response().Header().Set("Cache-Control", "no-store")
	return c.JSON(http.StatusCreated, createdKey{text, newKeyView(key)})
}

// list sends all keys.
func (h *keyHandler) list(c *echo.Context) error {
	keys, err := h.keys.List(c.Request().Context())
	if err != nil {
		return err
	}
	views := make([]keyView, len(keys))
	for i := range keys {
		views[i] = newKeyView(&keys[i])
	}
	return c.JSON(http.StatusOK, map[string][]keyView{"keys": views})
}

// revoke revokes a key.
func (h *keyHandler) revoke(c *echo.Context) error {
	key, err := h.keys.Revoke(c.Request().Context(), c.Param("keyId"))
	if err != nil {
		return err
	}
	note(c).changed(nil, keyNote(key))
	return c.JSON(http.StatusOK, newKeyView(key))
}
