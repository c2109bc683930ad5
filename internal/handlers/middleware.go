package handlers

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v5"
	"github.com/labstack/echo/v5/middleware"

	"ospulse/internal/models"
)

// errBrokenOff means that an answer began and cannot be completed.
var errBrokenOff = errors.New("the answer broke off")

// brokenOff wraps an error of an answer that has begun. It returns nil for nil.
func brokenOff(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", errBrokenOff, err)
}

// cutBrokenOff closes the connection of an incomplete answer, which is the only way
// left to signal the error. It wraps logRequests, which logs these errors first.
func cutBrokenOff(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c *echo.Context) error {
		err := next(c)
		if errors.Is(err, errBrokenOff) {
			panic(http.ErrAbortHandler)
		}
		return err
	}
}

// harmlessRequestID matches the request ids that a client may choose. They appear in
// the log and in the answer.
var harmlessRequestID = regexp.MustCompile(`^[0-9A-Za-z._:/+=-]{1,100}$`)

// requestIDs makes request ids: a random name for this run of the program, and a
// number.
type requestIDs struct {
	run  string
	last atomic.Uint64
}

func newRequestIDs() *requestIDs { return &requestIDs{run: rand.Text()[:12]} }

// middleware sets each request's id: the one that the client chose, or a new one.
func (ids *requestIDs) middleware(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c *echo.Context) error {
		id := c.Request().Header.Get(echo.HeaderXRequestID)
		if id == "" || !harmlessRequestID.MatchString(id) {
			id = ids.run + "-" + strconv.FormatUint(ids.last.Add(1), 10)
		}
		c.Response().Header().Set(echo.HeaderXRequestID, id)
		return next(c)
	}
}

// requestID returns the id in the request's log line and answer header.
func requestID(c *echo.Context) string {
	return c.Response().Header().Get(echo.HeaderXRequestID)
}

// idlePaths are the routes that programs request again and again while nothing happens:
// heartbeats of agents, and the probes of supervisors, proxies and dashboards.
var idlePaths = []string{"/api/agents", "/healthz", "/readyz", "/metrics", "/api/health", "/api/events/health", "/api/agents/heartbeat", "/api/agents/work"}

// logRequests logs one line per request, without data of the body. The level is debug for
// idlePaths if they succeed, and info for all others. It writes the error answers
// itself, so that the line has their status.
func logRequests(log *slog.Logger) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c *echo.Context) error {
			began := time.Now()
			err := next(c)
			if err != nil {
				c.Echo().HTTPErrorHandler(c, err)
			}
			request := c.Request()
			response, status := echo.ResolveResponseStatus(c.Response(), err)
			var size int64
			if response != nil {
				size = response.Size
			}
			path := request.URL.Path
			level := slog.LevelInfo
			if status < http.StatusBadRequest && slices.Contains(idlePaths, c.Path()) {
				level = slog.LevelDebug
			}
			log.LogAttrs(request.Context(), level, "request",
				slog.String("id", requestID(c)), slog.String("method", request.Method), slog.String("path", path[:min(len(path), 300)]),
				slog.Int("status", status), slog.Duration("took", time.Since(began)),
				slog.Int64("bytes", size), slog.String("from", c.RealIP()))
			return err
		}
	}
}

// clientIP returns the extractor of a client's IP address: the other end of the connection,
// or if that is a trusted proxy, the last address in X-Forwarded-For that is none.
func clientIP(proxies []netip.Prefix) echo.IPExtractor {
	if len(proxies) == 0 {
		return echo.ExtractIPDirect()
	}
	trust := []echo.TrustOption{echo.TrustLoopback(false), echo.TrustLinkLocal(false), echo.TrustPrivateNet(false)}
	for _, p := range proxies {
		trust = append(trust, echo.TrustIPRange(&net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}))
	}
	return echo.ExtractIPFromXFFHeader(trust...)
}

// cors lets pages of the given origins read answers, including errors.
func cors(origins []string) echo.MiddlewareFunc {
	return middleware.CORSWithConfig(middleware.CORSConfig{
		UnsafeAllowOriginFunc: func(_ *echo.Context, origin string) (string, bool, error) {
			return origin, slices.Contains(origins, strings.ToLower(origin)), nil
		},
		AllowMethods:  []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete},
		AllowHeaders:  []string{"Content-Type", "Authorization", "X-API-Key", "Idempotency-Key", "Last-Event-ID"},
		ExposeHeaders: []string{echo.HeaderXRequestID, "Retry-After", "Content-Disposition"},
		MaxAge:        600,
	})
}

// guardHost refuses requests with another host name. After DNS rebinding, a browser
// takes the backend for the attacker's origin, but still sends the attacker's host
// name. IP addresses cannot be rebound, so all of them are allowed if the backend
// listens beyond this machine.
func guardHost(listenHost string, allowed []string) echo.MiddlewareFunc {
	names := append([]string{"localhost", strings.ToLower(listenHost)}, allowed...)
	beyond := !isLoopback(listenHost)
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c *echo.Context) error {
			host := hostname(c.Request().Host)
			if host == "" || slices.Contains(names, host) {
				return next(c)
			}
			if address, err := netip.ParseAddr(host); err == nil && (beyond || address.IsLoopback()) {
				return next(c)
			}
			return models.Errorf(models.CodeForbidden, "the host %.100q is not one of this backend's: add it to ALLOWED_HOSTS if it is", host)
		}
	}
}

// hostname removes the port, the brackets and a final dot from a Host header.
func hostname(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
}

func isLoopback(host string) bool {
	address, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && address.IsLoopback()
}

// originGuard refuses requests of pages of other origins, according to Sec-Fetch-Site
// and Origin. Programs send neither header, so they pass.
type originGuard struct{ protection *http.CrossOriginProtection }

// newOriginGuard returns a guard that trusts the given origins and the backend's own.
func newOriginGuard(origins []string) (*originGuard, error) {
	protection := http.NewCrossOriginProtection()
	for _, origin := range origins {
		if err := protection.AddTrustedOrigin(origin); err != nil {
			return nil, err
		}
	}
	return &originGuard{protection}, nil
}

// middleware guards requests with methods that may change something.
func (g *originGuard) middleware(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c *echo.Context) error {
		if err := g.check(c.Request()); err != nil {
			return err
		}
		return next(c)
	}
}

// guardGet guards a GET that changes something, as if it were a POST.
func (g *originGuard) guardGet(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c *echo.Context) error {
		request := *c.Request()
		request.Method = http.MethodPost
		if err := g.check(&request); err != nil {
			return err
		}
		return next(c)
	}
}

func (g *originGuard) check(r *http.Request) error {
	if err := g.protection.Check(r); err != nil {
		return models.Wrap(err, models.CodeForbidden, "pages of the origin %.100q may not do this: add it to CORS_ORIGINS if they may", r.Header.Get("Origin"))
	}
	return nil
}
