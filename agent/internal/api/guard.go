//go:build linux

package api

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// Guard decides which requests the service accepts.
type Guard struct {
	ListenHost   string
	AllowedHosts []string // further names of the agent that requests may use, in lower case
	APIKey       string   // "": no key is required
	// Check decides about callers without a key: its error is the refusal. nil: it accepts
	// every caller. It is not used if APIKey is set.
	Check func(conn net.Conn) error
}

// wrap returns a handler that refuses requests before they reach next. It refuses requests
// from web pages, by their Host (against DNS rebinding) and by the headers in which browsers
// report the origin of a request. It also refuses requests without the key and, if there is
// none, those that Check refuses. /health needs neither.
func (g Guard) wrap(next http.Handler) http.Handler {
	protection := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := strings.TrimSuffix(r.URL.Path, "/")
		isControl := path != "/health" && path != "/api/health"
		switch {
		case !g.ourName(r.Host):
			answer(w, http.StatusForbidden, map[string]string{"error": "this agent does not have that host name: add the name to ALLOWED_HOSTS to allow it"})
		case protection.Check(r) != nil || r.Header.Get("Sec-Fetch-Site") == "cross-site":
			answer(w, http.StatusForbidden, map[string]string{"error": "web pages may not use the agent"})
		case isControl && !g.knows(r):
			w.Header().Set("WWW-Authenticate", "Bearer")
			answer(w, http.StatusUnauthorized, map[string]string{"error": "the agent's API key is missing or wrong"})
		default:
			if isControl && g.APIKey == "" && g.Check != nil {
				if err := g.Check(connectionOf(r)); err != nil {
					answer(w, http.StatusForbidden, map[string]string{"error": err.Error()})
					return
				}
			}
			next.ServeHTTP(w, r)
		}
	})
}

// connectionKey is the key of a request's connection in its context.
type connectionKey struct{}

// withConnection adds a connection to the context of its requests.
func withConnection(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, connectionKey{}, conn)
}

// connectionOf returns the connection of a request that Serve received; nil for others.
func connectionOf(r *http.Request) net.Conn {
	conn, _ := r.Context().Value(connectionKey{}).(net.Conn)
	return conn
}

// knows reports whether the request has the key.
func (g Guard) knows(r *http.Request) bool {
	if g.APIKey == "" {
		return true
	}
	given := r.Header.Get("X-API-Key")
	if scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && strings.EqualFold(scheme, "Bearer") {
		given = strings.TrimSpace(token)
	}
	a, b := sha256.Sum256([]byte(given)), sha256.Sum256([]byte(g.APIKey))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

// ourName reports whether the Host header names this agent. DNS rebinding needs a name, so
// any address is accepted if the agent listens beyond loopback.
func (g Guard) ourName(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
	if host == "" || host == "localhost" || strings.EqualFold(host, g.ListenHost) || slices.Contains(g.AllowedHosts, host) {
		return true
	}
	address, err := netip.ParseAddr(host)
	return err == nil && (address.IsLoopback() || !IsLoopback(g.ListenHost))
}

// IsLoopback reports whether a service that listens on the host is reachable only from this
// machine.
func IsLoopback(host string) bool {
	address, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && address.IsLoopback()
}

// plainErrors replaces the errors of the mux itself, 404 and 405, with JSON.
func plainErrors(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, pattern := mux.Handler(r); pattern != "" {
			mux.ServeHTTP(w, r)
			return
		}
		status := &statusOnly{header: http.Header{}}
		mux.ServeHTTP(status, r)
		if allow := status.header.Get("Allow"); allow != "" {
			w.Header().Set("Allow", allow)
			answer(w, http.StatusMethodNotAllowed, map[string]string{"error": "this route accepts " + allow + " only"})
			return
		}
		answer(w, http.StatusNotFound, map[string]string{"error": "there is no such route"})
	})
}

// statusOnly is a ResponseWriter that keeps only the header.
type statusOnly struct{ header http.Header }

func (s *statusOnly) Header() http.Header         { return s.header }
func (s *statusOnly) Write(p []byte) (int, error) { return len(p), nil }
func (s *statusOnly) WriteHeader(int)             {}
