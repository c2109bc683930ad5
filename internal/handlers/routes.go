// Package handlers is the HTTP layer of the backend: routes, request and answer types,
// guards, and the mapping of errors to statuses. It contains no business rules.
package handlers

import (
	"cmp"
	"io/fs"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"

	"ospulse/internal/compat"

	"github.com/labstack/echo/v5"
	"github.com/labstack/echo/v5/middleware"
)

// Options are the settings of the routes.
type Options struct {
	ListenHost     string
	AllowedHosts   []string // host names besides ListenHost and localhost
	CORSOrigins    []string // pages of these origins may call the API
	TrustedProxies []netip.Prefix
	PublicURL      string        // of the backend; "" for the one of each request
	Fingerprint    func() string // of a certificate that no authority vouches for; "" for any other
	Keyless        []string      // networks whose agents need no key
	MaxBodyBytes   int64
	Bodies         *Bodies // nil limits memory to the need of one body
	MaxUploadBytes int64
	MaxImportBytes int64
	Refusals       RefusalMeter
	Metrics        http.Handler // what /metrics serves
	Streams        StreamMeter
	SignOn         SignOnOptions
	Dashboard      fs.FS // files of the dashboard; nil serves none
	Log            *slog.Logger
	RequestLog     *slog.Logger // one line per request
}

// Services are the services that the routes use.
type Services struct {
	Ingest    Ingest
	Events    EventService
	Sessions  SessionService
	Agents    AgentService
	Enroller  Enroller
	Work      AgentWork
	Identity  BackendIdentity
	Senders   Senders
	Quotas    Quotas
	Catalog   CatalogService
	Summaries Summarizer
	Processes ProcessService
	Trees     ProcessTrees
	Analyst   Analyst
	Filters   Filters
	Rollups   RollupService
	Stories   StoryService
	Live      Live
	Exports   ExportService
	Imports   ImportService
	Expired   ExpirationService
	Disk      DiskGuard
	Findings  FindingService
	Rules     RuleService
	Trials    TrialService
	Identify  Identifier
	Keys      KeyService
	People    PersonService
	Audit     interface {
		Auditor
		AuditService
	}

	Reads         ReadLimiter
	ExportsAtOnce Gate
}

// New returns the router over the services.
func New(services Services, checks Checks, o Options) (*echo.Echo, error) {
	origins, err := newOriginGuard(o.CORSOrigins)
	if err != nil {
		return nil, err
	}
	e := echo.New()
	e.Logger = o.Log
	e.HTTPErrorHandler = handleError(o.Log)
	e.IPExtractor = clientIP(o.TrustedProxies)
	access := &access{keys: services.Identify, audit: services.Audit, pages: map[string]bool{}}
	e.Pre(middleware.RemoveTrailingSlashWithConfig(middleware.RemoveTrailingSlashConfig{
		// A page names its files relative to the URL that the browser requested.
		Skipper: func(c *echo.Context) bool {
			path := c.Request().URL.Path
			return strings.HasPrefix(path, "/sessions/") || path == "/api/docs/"
		},
	}))
	e.Use(
		cutBrokenOff,
		newRequestIDs().middleware,
		logRequests(o.RequestLog),
		middleware.Recover(),
		cors(o.CORSOrigins),
		guardHost(o.ListenHost, o.AllowedHosts),
		origins.middleware,
		access.middleware,
		cmp.Or(o.Bodies, NewBodies(0, o.MaxBodyBytes)).middleware,
	)

	// Routes that may read much: always, or if a parameter needs more than an index.
	// Exports enter the same limit once per page.
	heavy, exporting := limitReads(services.Reads), enter(services.ExportsAtOnce)
	heavySearch := limitReads(services.Reads, "state", "agent", "file", "sha256", "tag", "q", "keep")
	heavyList := limitReads(services.Reads, "filter", "count", "fields")

	e.GET("/healthz", checks.live)
	e.GET("/readyz", checks.ready)
	e.GET("/metrics", echo.WrapHandler(o.Metrics))
	e.GET("/api/health", checks.health)
	e.GET("/api/events/health", checks.controllerHealth) // {endpoint}/health of a controller

	dashboards := compat.NewDashboards(o.CORSOrigins)
	s := &sessionHandler{services.Sessions, o.MaxBodyBytes, o.MaxUploadBytes, dashboards}
	e.POST("/api/create-session", s.create)
	e.GET("/api/monitor-modes", s.listModes)
	e.POST("/api/list-processes", s.listProcesses)
	e.POST("/api/start-monitor", s.start)
	e.POST("/api/monitor/stop", s.stop)

	g := &agentHandler{services.Agents, services.Identity, services.Enroller, o.PublicURL, o.Fingerprint, orEmpty(o.Keyless)}
	e.GET("/api/agents", g.list)
	e.POST("/api/agents", g.add)
	e.POST("/api/agents/enroll", g.enroll)
	calm := limitRequests(services.Quotas)
	e.POST("/api/agents/heartbeat", g.heartbeat, calm)

	b := &agentWorkHandler{services.Work, o.MaxBodyBytes}
	e.GET("/api/agents/work", b.fetch, calm)
	e.POST("/api/agents/work/:workId", b.answer, calm)
	e.GET("/api/agents/work/:workId/file", b.file, calm)

	k := &keyHandler{services.Keys}
	e.GET("/api/me", k.me)
	e.POST("/api/sign-in", k.signIn)
	e.POST("/api/sign-out", k.signOut)
	e.POST("/api/setup", k.setUp)
	q := &personHandler{services.People, o.SignOn, o.Log}
	e.GET("/api/sign-in", q.ways)
	e.GET(signOnPath, q.begin)
	e.GET(CallbackPath, q.finish)
	e.GET("/api/sign-ins", q.list)
	e.DELETE("/api/sign-ins/:keyId", q.end)
	e.GET("/api/keys", k.list)
	e.POST("/api/keys", k.create)
	e.DELETE("/api/keys/:keyId", k.revoke)
	e.GET("/api/audit", (&auditHandler{services.Audit}).list, heavy)

	a := &catalogHandler{services.Catalog, services.Summaries, services.Processes, o.MaxBodyBytes}
	e.GET("/api/sessions", a.list, heavySearch)
	e.POST("/api/sessions/:sessionId/copy", s.copy)
	e.GET("/api/sessions/:sessionId", a.get)
	e.PATCH("/api/sessions/:sessionId", a.change)
	e.DELETE("/api/sessions/:sessionId", a.delete)
	e.GET("/api/sessions/:sessionId/file", a.file)
	e.HEAD("/api/sessions/:sessionId/file", a.file)
	e.GET("/api/sessions/:sessionId/processes", a.listProcesses, heavy)

	h := &eventHandler{services.Ingest, services.Senders, services.Quotas, o.Refusals, services.Events, o.MaxBodyBytes, dashboards, services.Exports}
	roomy := refuseWithoutRoom(services.Disk)
	e.POST("/api/events", h.postEvent, roomy)
	e.POST("/api/events/events", h.postEvent, roomy)
	e.POST("/api/events/batch", h.postBatch, roomy)
	e.POST("/api/http/events", h.postHTTP, roomy)
	e.POST("/api/net/events", h.postPackets, roomy)
	e.GET("/api/events/export", h.export, exporting)
	e.GET("/api/events/:sessionId", h.poll, origins.guardGet)

	v := &sessionEventHandler{services.Events, services.Analyst, services.Filters}
	e.GET("/api/sessions/:sessionId/events", v.list, heavyList)
	e.GET("/api/sessions/:sessionId/events/:seq", v.get)
	e.GET("/api/sessions/:sessionId/histogram", v.histogram, heavy)
	e.GET("/api/sessions/:sessionId/facets", v.facet, heavy)

	p := &processTreeHandler{services.Trees, services.Filters}
	e.GET("/api/sessions/:sessionId/process-tree", p.list, heavy)

	u := &rollupHandler{services.Rollups, services.Filters}
	e.GET("/api/sessions/:sessionId/files", u.listFiles, heavy)
	e.GET("/api/sessions/:sessionId/conversations", u.listConversations, heavy)

	y := &storyHandler{services.Stories}
	e.GET("/api/sessions/:sessionId/story", y.get, heavy)
	e.GET("/api/sessions/:sessionId/origin", y.origin, heavy)

	d := &findingHandler{services.Findings}
	e.GET("/api/sessions/:sessionId/findings", d.list)
	e.GET("/api/findings", d.listAll, limitReads(services.Reads, "technique", "tag", "rule"))
	e.GET("/api/sessions/:sessionId/attack", (&attackHandler{services.Findings, services.Exports}).matrix)

	r := &ruleHandler{services.Rules, services.Trials, services.Reads, o.MaxBodyBytes}
	e.GET("/api/rules", r.list)
	e.POST("/api/rules", r.create)
	e.POST("/api/rules/test", r.try)
	e.GET("/api/rules/:ruleId", r.get)
	e.PUT("/api/rules/:ruleId", r.replace)
	e.DELETE("/api/rules/:ruleId", r.delete)
	e.PUT("/api/rules/:ruleId/enabled", r.enable)

	x := &expirationHandler{services.Expired}
	e.GET("/api/expirations", x.list)
	e.DELETE("/api/sessions/:sessionId/events", x.removeEvents)

	l := &streamHandler{services.Live, services.Filters, o.Streams}
	e.GET("/api/stream", l.streamSessions)
	e.GET("/api/sessions/:sessionId/stream", l.streamEvents)

	e.GET("/api/sessions/:sessionId/export", (&exportHandler{services.Exports, services.Filters, checks.Version}).session, exporting)
	e.POST("/api/sessions/import", (&importHandler{services.Imports, o.MaxImportBytes}).session)

	w, err := newDashboardHandler(o.Dashboard)
	if err != nil {
		return nil, err
	}
	e.GET("/api/openapi.json", newDocsHandler(checks.Version).openAPI)
	e.GET("/api/docs", w.serve)
	for _, path := range w.paths() {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			access.pages[method+" "+path] = true
			e.Add(method, path, w.serve)
		}
	}
	return e, access.check(e)
}
