package compat

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Dashboards records the old dashboards by the origins of their pages, and the session
// that each started last. It is safe for concurrent use.
type Dashboards struct {
	origins []string

	mu      sync.Mutex
	started map[string]string // session by origin
}

// NewDashboards returns the dashboards whose pages have these origins, in lower case.
func NewDashboards(origins []string) *Dashboards {
	return &Dashboards{origins: origins, started: map[string]string{}}
}

// Origin returns the origin of the old dashboard whose page sent a request; "" for
// other clients. Links and forms of a page send no Origin with a GET, but a Referer.
func (d *Dashboards) Origin(r *http.Request) string {
	origin := r.Header.Get("Origin")
	if page, err := url.Parse(r.Referer()); origin == "" && err == nil && page.Host != "" {
		origin = page.Scheme + "://" + page.Host
	}
	if origin = strings.ToLower(origin); !slices.Contains(d.origins, origin) {
		return ""
	}
	return origin
}

// SetStarted records that a request started a session.
func (d *Dashboards) SetStarted(r *http.Request, sessionID string) {
	if origin := d.Origin(r); origin != "" {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.started[origin] = sessionID
	}
}

// LastStarted returns the session that the pages of an origin started last, "" for none.
func (d *Dashboards) LastStarted(origin string) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.started[origin]
}

// Limits of a poll.
const (
	defaultPollLimit = 10
	maxPollLimit     = 1000
)

// PollLimit reads the limit of a poll as the old backend did: text that is not a number
// above 0 is the default, and a number above the maximum is the maximum.
func PollLimit(text string) int {
	limit, err := strconv.Atoi(text)
	if err != nil || limit < 1 {
		return defaultPollLimit
	}
	return min(limit, maxPollLimit)
}
