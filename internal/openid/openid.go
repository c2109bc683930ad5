// Package openid signs people in at an OpenID Connect provider, by the authorization code
// flow with PKCE. It must not know cookies, the database, or how long a sign-in lasts.
package openid

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"
	"unicode"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"ospulse/internal/models"
)

// Everyone is the value of Settings.Roles for all people whom the provider lets in.
const Everyone = "*"

// Settings are those of this program at its provider.
type Settings struct {
	Issuer       string
	ClientID     string
	ClientSecret string // "" for a public client
	RedirectURL  string
	Scopes       []string               // besides openid
	RoleClaim    string                 // the name of a claim, or a path such as realm_access.roles
	Roles        map[string]models.Role // by value of the claim
}

const (
	callTimeout     = 10 * time.Second
	discoveryLasts  = time.Minute // so that many attempts ask the provider once
	maxSubjectBytes = 255         // OpenID Connect Core, 2
)

// Provider is an OpenID Connect provider. It asks the provider for nothing until somebody
// signs in. It is safe for concurrent use.
type Provider struct {
	settings Settings
	client   *http.Client
	found    atomic.Pointer[discovery]
}

// discovery is what the provider says about itself.
type discovery struct {
	provider *oidc.Provider
	config   oauth2.Config
	at       time.Time
}

// NewProvider returns a provider.
func NewProvider(settings Settings) *Provider {
	return &Provider{settings: settings, client: &http.Client{
		Timeout:       callTimeout, // also for the provider's keys, which go-oidc gets without a context
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Check returns nil if the provider answers as the one of the settings.
func (p *Provider) Check(ctx context.Context) error {
	_, err := p.discover(oidc.ClientContext(ctx, p.client))
	return err
}

// discover asks the provider for its addresses, unless it did so a moment ago.
func (p *Provider) discover(ctx context.Context) (*discovery, error) {
	if d := p.found.Load(); d != nil && time.Since(d.at) < discoveryLasts {
		return d, nil
	}
	provider, err := oidc.NewProvider(ctx, p.settings.Issuer)
	if err != nil {
		return nil, Failf(ReasonProvider, "the provider cannot be used: %w", err)
	}
	var methods struct {
		Supported []string `json:"token_endpoint_auth_methods_supported"`
	}
	if err := provider.Claims(&methods); err != nil {
		return nil, Failf(ReasonProvider, "the provider cannot be used: %w", err)
	}
	endpoint := provider.Endpoint()
	endpoint.AuthStyle = oauth2.AuthStyleInHeader // the default of OpenID Connect Discovery, 3
	if p.settings.ClientSecret == "" || len(methods.Supported) > 0 && !slices.Contains(methods.Supported, "client_secret_basic") {
		endpoint.AuthStyle = oauth2.AuthStyleInParams
	}
	d := &discovery{provider, oauth2.Config{
		ClientID: p.settings.ClientID, ClientSecret: p.settings.ClientSecret, Endpoint: endpoint, RedirectURL: p.settings.RedirectURL,
		Scopes: append([]string{oidc.ScopeOpenID}, p.settings.Scopes...),
	}, time.Now()}
	p.found.Store(d)
	return d, nil
}

// SignInURL returns the address of the provider at which the person of an attempt signs in.
// The error is a *Failure.
func (p *Provider) SignInURL(ctx context.Context, attempt Attempt) (string, error) {
	ctx, cancel := context.WithTimeout(oidc.ClientContext(ctx, p.client), callTimeout)
	defer cancel()
	d, err := p.discover(ctx)
	if err != nil {
		return "", err
	}
	return d.config.AuthCodeURL(attempt.derive("state"), oidc.Nonce(attempt.derive("nonce")), oauth2.S256ChallengeOption(attempt.derive("verifier"))), nil
}

// Identify exchanges the code of an answer for an ID token, and returns whom it names,
// without a role if the claim has none. The caller must have compared the state. issuer is
// what the answer says, "" if nothing (RFC 9207). The error is a *Failure.
func (p *Provider) Identify(ctx context.Context, attempt Attempt, code, issuer string) (models.Person, error) {
	ctx, cancel := context.WithTimeout(oidc.ClientContext(ctx, p.client), callTimeout)
	defer cancel()
	if issuer != "" && issuer != p.settings.Issuer {
		return models.Person{}, Failf(ReasonToken, "the answer is of another provider: %.100q", issuer)
	}
	d, err := p.discover(ctx)
	if err != nil {
		return models.Person{}, err
	}
	answer, err := d.config.Exchange(ctx, code, oauth2.VerifierOption(attempt.derive("verifier")))
	if err != nil {
		return models.Person{}, exchangeFailed(err)
	}
	raw, _ := answer.Extra("id_token").(string)
	// The verifier accepts the asymmetric signatures that the provider announces, and no
	// others: none, and HMAC with a public key as its secret, are no signatures.
	token, err := d.provider.Verifier(&oidc.Config{ClientID: p.settings.ClientID}).Verify(ctx, raw)
	if err != nil {
		return models.Person{}, Failf(ReasonToken, "the ID token is not valid: %w", err)
	}
	var claims map[string]any
	if err := token.Claims(&claims); err != nil {
		return models.Person{}, Failf(ReasonToken, "the ID token cannot be read: %w", err)
	}
	if err := p.check(token, claims, attempt); err != nil {
		return models.Person{}, &Failure{ReasonToken, err}
	}
	return models.Person{Issuer: p.settings.Issuer, Subject: token.Subject, Name: nameOf(claims), Role: p.settings.roleOf(claims)}, nil
}

// check checks what the verifier leaves to its caller.
func (p *Provider) check(token *oidc.IDToken, claims map[string]any, attempt Attempt) error {
	party, hasParty := claims["azp"]
	switch {
	case token.Nonce != attempt.derive("nonce"):
		return errors.New("the ID token has another nonce")
	case (hasParty || len(token.Audience) > 1) && party != p.settings.ClientID:
		return errors.New("the ID token was issued to another client (azp)")
	case token.Subject == "" || len(token.Subject) > maxSubjectBytes || strings.ContainsFunc(token.Subject, unicode.IsControl):
		return errors.New("the ID token has no usable subject")
	}
	return nil
}

// roleOf returns the highest role of the values of the role claim; "" if none has one.
func (s *Settings) roleOf(claims map[string]any) models.Role {
	role := s.Roles[Everyone]
	for _, value := range valuesAt(claims, s.RoleClaim) {
		text, _ := value.(string)
		if other := s.Roles[text]; slices.Index(models.Roles, other) > slices.Index(models.Roles, role) {
			role = other
		}
	}
	return role
}

// valuesAt returns the values of a claim, which is a list or one value. A name with dots is
// that of a claim, or else a path.
func valuesAt(claims map[string]any, path string) []any {
	value, ok := claims[path]
	if !ok {
		first, rest, _ := strings.Cut(path, ".")
		inner, _ := claims[first].(map[string]any)
		if inner == nil {
			return nil
		}
		return valuesAt(inner, rest)
	}
	if list, isList := value.([]any); isList {
		return list
	}
	return []any{value}
}

// nameOf returns the name of a person for the audit, without control characters. The
// subject is one in any case.
func nameOf(claims map[string]any) string {
	for _, claim := range []string{"preferred_username", "email", "name", "sub"} {
		text, _ := claims[claim].(string)
		text = strings.TrimSpace(strings.Map(func(r rune) rune {
			if unicode.IsControl(r) {
				return -1
			}
			return r
		}, text))
		if text != "" {
			return strings.ToValidUTF8(text[:min(len(text), models.MaxKeyNameBytes)], "")
		}
	}
	return ""
}
