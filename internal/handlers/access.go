package handlers

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/labstack/echo/v5"

	"ospulse/internal/apidoc"
	"ospulse/internal/models"
	"ospulse/internal/service"
)

// Identifier decides who sends a request. *service.Keys implements it and documents its
// contract.
type Identifier interface {
	Identify(ctx context.Context, shown service.Credential, address netip.Addr) (models.Actor, context.Context, error)
}

// Auditor stores what actors do. *service.Audit implements it and documents its contract.
type Auditor interface {
	Begin(ctx context.Context, entry *models.AuditEntry) error
	Record(ctx context.Context, entry *models.AuditEntry)
}

// access lets a request pass if its actor has one of the roles that its route accepts, and
// records what the actor did.
type access struct {
	keys  Identifier
	audit Auditor
	pages map[string]bool // routes of the dashboard's files, which hold no data
}

// errRole is the answer to a key of another role.
var errRole = models.Errorf(models.CodeForbidden, "the role of this key does not allow this request")

// middleware identifies the actor of each request. A request for an unknown path needs a
// key too, so that the answer does not reveal which paths exist.
func (a *access) middleware(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c *echo.Context) error {
		route := c.Request().Method + " " + c.Path()
		operation, isKnown := apidoc.Operations()[route]
		if operation.IsAudited {
			n := note(c)
			n.begin = func() error { return a.begin(c, &operation, n) }
		}
		if operation.IsPublic || a.pages[route] {
			return a.record(c, &operation, next(c))
		}
		request := c.Request()
		actor, valid, err := a.keys.Identify(request.Context(), credential(request), clientAddress(c))
		if err != nil {
			if models.ErrorCode(err) == models.CodeUnauthorized {
				c.Response().Header().Set("WWW-Authenticate", "Bearer")
			}
			return err
		}
		ctx, cancel := context.WithCancelCause(models.WithActor(request.Context(), actor))
		defer cancel(nil)
		defer c.SetRequest(request) // its context ends only if the client goes
		defer context.AfterFunc(valid, func() { cancel(errRevoked) })()
		c.SetRequest(request.WithContext(ctx))
		if operation.IsAudited {
			note(c).actor = &actor
		}
		if isKnown && !actor.MayDoAnything() && !slices.Contains(operation.Roles, string(actor.Role)) {
			err = errRole
		} else if err = a.beginEarly(c, &operation); err == nil {
			err = next(c)
		}
		// An answer that has begun must still break off, or half of it would look whole.
		if errors.Is(err, context.Canceled) && !errors.Is(err, errBrokenOff) && context.Cause(ctx) == errRevoked { //nolint:errorlint // the cause is set here
			err = errRevoked
		}
		return a.record(c, &operation, err)
	}
}

// errRevoked ends the requests of an actor whose right has ended.
var errRevoked = models.Errorf(models.CodeUnauthorized, "the key was revoked or has expired, or keys are required now")

// beginEarly stores the entry of an audited operation before its handler runs. For some,
// only the handler knows enough for that, and calls begin of its note before it acts.
func (a *access) beginEarly(c *echo.Context, operation *apidoc.Operation) error {
	if !operation.IsAudited || operation.ID == "startMonitor" || operation.ID == "stopMonitor" {
		return nil
	}
	return note(c).begin()
}

// begin stores the entry of an audited operation before it does anything, unless that was
// done. It returns an error if the operation must not go on without.
func (a *access) begin(c *echo.Context, operation *apidoc.Operation, n *noted) error {
	if n.entryID != 0 {
		return nil
	}
	ctx, cancel := auditContext(c.Request().Context(), operation)
	defer cancel()
	entry := n.entry(c, operation)
	err := a.audit.Begin(ctx, entry)
	n.entryID = entry.ID
	// While no key is required, the entry of a download would name nobody, and a full disk
	// would keep the user from its own evidence.
	method := c.Request().Method
	if endsHarm(operation) || n.actor.IsAnonymous() && (method == http.MethodGet || method == http.MethodHead) {
		return nil // record tries again, and logs what the database does not take
	}
	return err
}

// endsHarm reports whether an operation must be possible whatever is wrong with the audit:
// the stop of a program, and the revocation of a key or of a person's sign-ins.
func endsHarm(operation *apidoc.Operation) bool {
	return slices.Contains([]string{"stopMonitor", "revokeKey", "endSignIns"}, operation.ID)
}

// auditPatience is how long an operation that ends harm waits for the audit, each time.
const auditPatience = 5 * time.Second

// auditContext returns the context in which an entry is stored.
func auditContext(ctx context.Context, operation *apidoc.Operation) (context.Context, context.CancelFunc) {
	if endsHarm(operation) {
		return context.WithTimeout(ctx, auditPatience)
	}
	return ctx, func() {}
}

// record stores the result of an audited operation, and returns err.
func (a *access) record(c *echo.Context, operation *apidoc.Operation, err error) error {
	if !operation.IsAudited {
		return err
	}
	n := note(c)
	if n.actor == nil {
		if models.ErrorCode(err) != models.CodeUnauthorized {
			return err // otherwise anyone could fill the audit; wrong keys are slowed down
		}
		n.actor = &models.Actor{Address: clientAddress(c).String()}
	}
	entry := n.entry(c, operation)
	entry.Status = http.StatusOK
	if failure := cmp.Or(err, n.failure); failure != nil {
		entry.Code = clientError(c, failure).Code
		entry.Status = StatusOf(entry.Code)
	} else if response, _ := echo.UnwrapResponse(c.Response()); response != nil && response.Status != 0 {
		entry.Status = response.Status
	}
	ctx, cancel := auditContext(context.WithoutCancel(c.Request().Context()), operation)
	defer cancel()
	a.audit.Record(ctx, entry)
	return err
}

// noted is what a handler says about its request, for the audit.
type noted struct {
	begin             func() error // stores the entry before the request does anything
	entryID           int64        // 0 before that
	actor             *models.Actor
	failure           error // of a request whose answer is not that of an error
	sessionID, target string
	before, after     string // JSON
}

// entry returns the entry of a request, without its result.
func (n *noted) entry(c *echo.Context, operation *apidoc.Operation) *models.AuditEntry {
	return &models.AuditEntry{
		ID: n.entryID, KeyID: n.actor.KeyID, ActorName: n.actor.Name, Role: n.actor.Role, Address: n.actor.Address,
		Action: operation.ID, SessionID: n.sessionID, Target: n.target, Before: n.before, After: n.after, RequestID: requestID(c),
	}
}

const notedKey = "noted"

// newNoted returns what the path says.
func newNoted(c *echo.Context) *noted {
	n := &noted{sessionID: auditText(c.Param("sessionId"))}
	for _, name := range []string{"ruleId", "keyId"} {
		n.target += auditText(c.Param(name))
	}
	return n
}

// maxAuditText is the most bytes of an ID that an entry keeps. No valid ID is longer.
const maxAuditText = 255

// auditText returns what a client sent as an ID in a form that both databases take, so that
// no ID keeps an attempt out of the audit.
func auditText(id string) string {
	id = strings.ReplaceAll(strings.ToValidUTF8(id, "\uFFFD"), "\x00", "\uFFFD")
	return strings.ToValidUTF8(id[:min(len(id), maxAuditText)], "")
}

// note returns what the audit will record about the request, for a handler to complete.
func note(c *echo.Context) *noted {
	n, _ := c.Get(notedKey).(*noted)
	if n == nil {
		n = newNoted(c)
		c.Set(notedKey, n)
	}
	return n
}

// changed notes what was changed, and to what.
func (n *noted) changed(before, after any) {
	n.before, n.after = auditJSON(before), auditJSON(after)
}

// maxAuditBytes is the most that an entry keeps of what was changed.
const maxAuditBytes = 16 << 10

func auditJSON(v any) string {
	if v == nil {
		return ""
	}
	text, err := json.Marshal(v)
	if err != nil {
		text, _ = json.Marshal(err.Error())
	}
	if len(text) > maxAuditBytes {
		text, _ = json.Marshal(fmt.Sprintf("%d bytes, not kept", len(text)))
	}
	return string(text)
}

// credential returns the key or the cookie of a request. A key wins over a cookie.
func credential(r *http.Request) service.Credential {
	if scheme, key, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && strings.EqualFold(scheme, "Bearer") {
		return service.Credential{Key: strings.TrimSpace(key)}
	}
	if key := r.Header.Get("X-API-Key"); key != "" {
		return service.Credential{Key: key}
	}
	if cookie, err := r.Cookie(cookieName(r)); err == nil {
		return service.Credential{Token: cookie.Value}
	}
	return service.Credential{}
}

// cookieName returns the name of the sign-in cookie. Browsers send cookies to all ports of a
// host, so the name has the port.
func cookieName(r *http.Request) string {
	if _, port, err := net.SplitHostPort(r.Host); err == nil && port != "" {
		return "ospulse-" + port
	}
	return "ospulse"
}

// setCookie sets or, with an empty token, removes the sign-in cookie.
func setCookie(c *echo.Context, token string, expires time.Time) {
	cookie := &http.Cookie{
		Name: cookieName(c.Request()), Value: token, Path: "/", HttpOnly: true, Secure: c.Scheme() == "https", SameSite: http.SameSiteStrictMode, Expires: expires,
	}
	if token == "" {
		cookie.MaxAge = -1
	}
	c.SetCookie(cookie)
}

// clientAddress returns the IP address of the client: the other end of the connection, or
// what a trusted proxy says; the zero address if there is none.
func clientAddress(c *echo.Context) netip.Addr {
	address, _ := netip.ParseAddr(c.RealIP())
	return address.Unmap()
}

// check returns an error unless every route of the router is an operation of
// openapi.yaml or a page.
func (a *access) check(e *echo.Echo) error {
	for _, route := range e.Router().Routes() {
		name := route.Method + " " + route.Path
		if _, ok := apidoc.Operations()[name]; !ok && !a.pages[name] {
			return fmt.Errorf("the route %s is not in openapi.yaml, so nobody may use it", name)
		}
	}
	return nil
}
