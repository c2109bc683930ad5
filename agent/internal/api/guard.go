//go:build linux

package api

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// Guard keeps out whom the service is not for.
type Guard struct {
	ListenHost   string
	AllowedHosts []string // more names that the agent may be called by
	APIKey       string   // "": none is asked for
}

// wrap guards a handler. Web pages are kept out by the Host that they name (DNS
// rebinding) and by what browsers tell of where a request comes from; programs
// without the key, if there is one, by the key. /health is for everybody.
func (g Guard) wrap(next http.Handler) http.Handler {
	protection := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := strings.TrimSuffix(r.URL.Path, "/")
		switch {
		case !g.ourName(r.Host):
			answer(w, http.StatusForbidden, map[string]string{"error": "this agent has another name: add the host to ALLOWED_HOSTS if it is right"})
		case protection.Check(r) != nil || r.Header.Get("Sec-Fetch-Site") == "cross-site":
			answer(w, http.StatusForbidden, map[string]string{"error": "web pages may not use the agent"})
		case path != "/health" && path != "/api/health" && !g.knows(r):
			w.Header().Set("WWW-Authenticate", "Bearer")
			answer(w, http.StatusUnauthorized, map[string]string{"error": "the agent's API key is missing or wrong"})
		default:
			next.ServeHTTP(w, r)
		}
	})
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

// ourName reports whether the Host header names this agent. An address can only
// be pointed at, not rebound: any will do when the agent listens beyond loopback.
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

// IsLoopback reports whether only this machine reaches what listens on the host.
func IsLoopback(host string) bool {
	address, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && address.IsLoopback()
}

// plainErrors has what the mux itself answers, 404 and 405, in JSON as well.
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
			answer(w, http.StatusMethodNotAllowed, map[string]string{"error": "this route takes " + allow + " only"})
			return
		}
		answer(w, http.StatusNotFound, map[string]string{"error": "there is no such route"})
	})
}

// statusOnly keeps an answer's header.
type statusOnly struct{ header http.Header }

func (s *statusOnly) Header() http.Header         { return s.header }
func (s *statusOnly) Write(p []byte) (int, error) { return len(p), nil }
func (s *statusOnly) WriteHeader(int)             {}
