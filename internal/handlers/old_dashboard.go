package handlers

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
)

// oldDashboards knows the old dashboards by the origins of their pages, and which
// session each of them started last.
type oldDashboards struct {
	origins []string

	mu      sync.Mutex
	started map[string]string // session by origin
}

func newOldDashboards(origins []string) *oldDashboards {
	return &oldDashboards{origins: origins, started: map[string]string{}}
}

// origin returns the origin of the old dashboard whose page sent a request; "" if it
// was something else. A link or a form of a page tells no Origin for a GET, but its
// Referer does.
func (d *oldDashboards) origin(r *http.Request) string {
	origin := r.Header.Get("Origin")
	if page, err := url.Parse(r.Referer()); origin == "" && err == nil && page.Host != "" {
		origin = page.Scheme + "://" + page.Host
	}
	if origin = strings.ToLower(origin); !slices.Contains(d.origins, origin) {
		return ""
	}
	return origin
}

// setStarted notes that a request started a session.
func (d *oldDashboards) setStarted(r *http.Request, sessionID string) {
	if origin := d.origin(r); origin != "" {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.started[origin] = sessionID
	}
}

// lastStarted returns the session that the pages of an origin started last, "" for none.
func (d *oldDashboards) lastStarted(origin string) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.started[origin]
}
