package handlers

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/labstack/echo/v5"

	"ospulse/internal/models"
	"ospulse/internal/openid"
)

// IdentityProvider identifies people. *openid.Provider implements it and documents its
// contracts.
type IdentityProvider interface {
	SignInURL(ctx context.Context, attempt openid.Attempt) (string, error)
	Identify(ctx context.Context, attempt openid.Attempt, code, issuer string) (models.Person, error)
}

// PersonService manages the sign-ins of people. *service.Keys implements it and documents
// its contracts.
type PersonService interface {
	SignInPerson(ctx context.Context, person models.Person, attempt string) (token string, expires time.Time, err error)
	SignedIn(ctx context.Context) ([]models.SignIn, error)
	SignOutPerson(ctx context.Context, id string) (*models.Person, error)
	Strike(address netip.Addr) bool
}

// SignOnOptions are the settings of the sign-in at a provider.
type SignOnOptions struct {
	Provider  IdentityProvider // nil for none
	Name      string           // what the dashboard calls it
	PublicURL string           // of the dashboard, without a slash at its end
}

// The paths of a sign-in below the dashboard's URL. The provider knows CallbackPath.
const (
	signOnPath   = "/api/oidc/sign-in"
	CallbackPath = "/api/oidc/callback"
)

// attemptLasts is how long a person may take at the provider.
const attemptLasts = 10 * time.Minute

// maxReturnPath is the most bytes of a path to return to. It must fit into a cookie.
const maxReturnPath = 2000

type personHandler struct {
	people PersonService
	o      SignOnOptions
	log    *slog.Logger
}

// signOnView is the JSON form of the sign-in at the provider.
type signOnView struct {
	Name string `json:"name"`
	URL  string `json:"url"`
}

// ways sends how people sign in besides with a key. The URL is absolute, because the
// cookie of an attempt must be one of the host to which the provider returns.
func (h *personHandler) ways(c *echo.Context) error {
	var ways struct {
		SingleSignOn *signOnView `json:"single_sign_on"`
	}
	if h.o.Provider != nil {
		ways.SingleSignOn = &signOnView{h.o.Name, h.o.PublicURL + signOnPath}
	}
	return c.JSON(http.StatusOK, ways)
}

var errNoProvider = models.Errorf(models.CodeNotFound, "this backend has no OpenID Connect provider: set OIDC_ISSUER")

// begin sends the browser to the provider.
func (h *personHandler) begin(c *echo.Context) error {
	if h.o.Provider == nil {
		return errNoProvider
	}
	attempt := openid.NewAttempt(returnPath(c.QueryParam("to")))
	to, err := h.o.Provider.SignInURL(c.Request().Context(), attempt)
	if err != nil {
		return h.fail(c, attempt, models.Person{}, err)
	}
	setAttempt(c, attempt.String(), int(attemptLasts/time.Second))
	return redirect(c, to)
}

// finish signs in the person whom the provider identified, and sends the browser back to
// the dashboard. Each attempt is for one answer: finish removes its cookie.
func (h *personHandler) finish(c *echo.Context) error {
	if h.o.Provider == nil {
		return errNoProvider
	}
	var attempt openid.Attempt
	if cookie, err := c.Cookie(attemptCookie(c)); err == nil {
		attempt = openid.ParseAttempt(cookie.Value)
	}
	setAttempt(c, "", -1)
	attempt.To = returnPath(attempt.To)
	person, token, expires, err := h.signIn(c, attempt)
	if err != nil {
		return h.fail(c, attempt, person, err)
	}
	n := note(c)
	n.actor = actorOf(c, person)
	if err := n.begin(); err != nil { // the browser does not have the token yet
		return h.fail(c, attempt, person, err)
	}
	setCookie(c, token, expires)
	return redirect(c, h.o.PublicURL+attempt.To)
}

func (h *personHandler) signIn(c *echo.Context, attempt openid.Attempt) (person models.Person, token string, expires time.Time, err error) {
	ctx := c.Request().Context()
	if !attempt.Fits(c.QueryParam("state")) {
		return person, "", expires, openid.Failf(openid.ReasonExpired, "the answer is not for an attempt of this browser")
	}
	if code := c.QueryParam("error"); code != "" {
		return person, "", expires, openid.Refused(code)
	}
	if person, err = h.o.Provider.Identify(ctx, attempt, c.QueryParam("code"), c.QueryParam("iss")); err != nil {
		return person, "", expires, err
	}
	token, expires, err = h.people.SignInPerson(ctx, person, attempt.Secret)
	switch models.ErrorCode(err) {
	case models.CodeConflict:
		err = &openid.Failure{Reason: openid.ReasonExpired, Err: err}
	case models.CodeForbidden:
		err = &openid.Failure{Reason: openid.ReasonNoRole, Err: err}
	}
	return person, token, expires, err
}

// codes are the codes of the audit for what a browser, a person or a provider did wrong.
var codes = map[openid.Reason]models.Code{ //nolint:gochecknoglobals // a constant
	openid.ReasonDenied: models.CodeForbidden, openid.ReasonNoRole: models.CodeForbidden, openid.ReasonExpired: models.CodeUnauthorized,
	openid.ReasonProvider: models.CodeUnavailable, openid.ReasonToken: models.CodeUnauthorized,
}

// fail sends the browser to the dashboard with the reason, and notes it for the audit.
func (h *personHandler) fail(c *echo.Context, attempt openid.Attempt, person models.Person, err error) error {
	failure, ok := errors.AsType[*openid.Failure](err)
	if !ok {
		failure = &openid.Failure{Reason: openid.ReasonFailed, Err: err}
	}
	h.log.Warn("a person could not sign in", "id", requestID(c), "reason", failure.Reason, "error", failure)
	if h.people.Strike(clientAddress(c)) { // otherwise anyone could fill the audit
		n := note(c)
		n.actor, n.failure = actorOf(c, person), err
		if ok {
			n.failure = models.Wrap(failure, codes[failure.Reason], "the sign-in failed: %s", failure.Reason)
		}
		n.changed(nil, map[string]any{"reason": failure.Reason})
	}
	return redirect(c, h.o.PublicURL+attempt.To+"#sign-in-error="+string(failure.Reason))
}

// actorOf returns a person for the audit; for the zero Person, only the address.
func actorOf(c *echo.Context, person models.Person) *models.Actor {
	actor := &models.Actor{Address: clientAddress(c).String()}
	if person.Subject != "" {
		actor.KeyID, actor.Name, actor.Role = person.ID(), person.Name, person.Role
	}
	return actor
}

func redirect(c *echo.Context, to string) error {
	c.Response().Header().Set("Cache-Control", "no-store")
	return c.Redirect(http.StatusSeeOther, to)
}

// returnPath returns a path of the dashboard as it is, and "/" for any other text. The
// browser is sent to PUBLIC_URL and this path, so it stays on that host in any case.
func returnPath(text string) string {
	to, err := url.Parse(text)
	if err != nil || len(text) > maxReturnPath || to.Scheme != "" || to.Host != "" || !strings.HasPrefix(to.Path, "/") || path.Clean(to.Path) != to.Path ||
		strings.HasPrefix(to.Path, "/api/") || strings.ContainsAny(text, `\#`) {
		return "/"
	}
	return to.String()
}

func attemptCookie(c *echo.Context) string { return cookieName(c.Request()) + "-oidc" }

// setAttempt sets or, with a negative age, removes the cookie of an attempt. It is not
// Strict, because the provider's site sends the browser to the callback.
func setAttempt(c *echo.Context, value string, maxAge int) {
	c.SetCookie(&http.Cookie{
		Name: attemptCookie(c), Value: value, Path: "/", HttpOnly: true, Secure: c.Scheme() == "https", SameSite: http.SameSiteLaxMode, MaxAge: maxAge,
	})
}

// signInView is the JSON form of a person's sign-in.
type signInView struct {
	ID        string      `json:"id"`
	Name      string      `json:"name"`
	Role      models.Role `json:"role"`
	Issuer    string      `json:"issuer"`
	Subject   string      `json:"subject"`
	CreatedAt string      `json:"created_at"`
	ExpiresAt string      `json:"expires_at"`
}

// list sends the sign-ins of people.
func (h *personHandler) list(c *echo.Context) error {
	signIns, err := h.people.SignedIn(c.Request().Context())
	if err != nil {
		return err
	}
	views := make([]signInView, len(signIns))
	for i := range signIns {
		s := &signIns[i]
		views[i] = signInView{s.KeyID, s.Person.Name, s.Person.Role, s.Person.Issuer, s.Person.Subject, models.FormatTime(s.CreatedAt), models.FormatTime(s.ExpiresAt)}
	}
	return c.JSON(http.StatusOK, map[string][]signInView{"sign_ins": views})
}

// end ends all sign-ins of a person.
func (h *personHandler) end(c *echo.Context) error {
	person, err := h.people.SignOutPerson(c.Request().Context(), c.Param("keyId"))
	if err != nil {
		return err
	}
	note(c).changed(nil, map[string]any{"name": person.Name, "role": person.Role})
	return c.JSON(http.StatusOK, map[string]string{"status": "ok"})
}
