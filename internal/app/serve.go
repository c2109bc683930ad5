package app

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"ospulse/internal/agentclient"
	"ospulse/internal/certificate"
	"ospulse/internal/config"
	"ospulse/internal/database"
	"ospulse/internal/handlers"
	"ospulse/internal/ingest"
	"ospulse/internal/ingest/spool"
	"ospulse/internal/live"
	"ospulse/internal/memory"
	"ospulse/internal/models"
	"ospulse/internal/openid"
	"ospulse/internal/repository"
	"ospulse/internal/sample"
	"ospulse/internal/service"
	"ospulse/internal/telemetry"
	"ospulse/internal/wire"
	"ospulse/web"
)

// serve wires the layers together and serves until ctx ends.
func serve(ctx context.Context, cfg config.Config, budget memory.Budget, log, requestLog *slog.Logger, listener net.Listener, certificates *certificate.Files, files *sample.Store, spooled *spool.Spool, db *database.DB) error {
	if err := db.Migrate(ctx); err != nil {
		return ignoreInterrupt(ctx, err)
	}
	pools, err := db.Pools()
	if err != nil {
		return err
	}
	var (
		registry = telemetry.NewRegistry(pools)
		meter    = telemetry.NewIngest(registry)

		sessions  = repository.NewSessions(db)
		agents    = repository.NewAgents(db)
		events    = repository.NewEvents(db)
		segments  = repository.NewSegments(db)
		leases    = repository.NewLeases(db)
		transfers = repository.NewTransfers(db)
		expiries  = repository.NewRetention(db)

		agent      = agentclient.New(string(cfg.AgentURL), cfg.AgentTimeout).WithKey(cfg.AgentKey.Reveal())
		agentWatch = service.NewAgentWatch(agents, leases, agent, string(cfg.AgentURL), cfg.AgentPollInterval, time.Now, log)
	)
	agentID, err := agentWatch.Register(ctx)
	if err != nil {
		return ignoreInterrupt(ctx, err)
	}
	sources, err := ruleSources(cfg)
	if err != nil {
		return err
	}
	hub := live.New(sessions, events, db, live.Limits{Streams: cfg.StreamsMax, PerClient: cfg.StreamsPerClient, Readers: cfg.StreamReaders(), RingBytes: budget.Rings})
	notices := repository.NewNotices(db)
	rules := service.NewRules(sources, repository.NewRules(db), log)
	detection, err := service.NewDetection(ctx, repository.NewFindings(db, webhookLevels(cfg)), transfers, sessions, hub, rules, budget.Rules, log)
	if err != nil {
		return fmt.Errorf("the rules cannot be read: %w", err)
	}
	policy := service.KeyPolicy{Always: cfg.RequiresKeys(), Issuer: string(cfg.OIDCIssuer), AllowedAgents: cfg.AgentAllow}
	keys := service.NewKeys(repository.NewKeys(db), agents, policy, time.Now, log)
	if err := keys.Load(ctx); err != nil {
		return ignoreInterrupt(ctx, fmt.Errorf("the keys cannot be read: %w", err))
	}
	latest, err := expiries.Latest(ctx)
	if err != nil {
		return ignoreInterrupt(ctx, err)
	}
	patient := service.PatientClock(time.Now, latest, log)
	audit := service.NewAudit(repository.NewAudit(db), cfg.AuditKeep(), time.Now, patient, log)
	work := service.NewAgentWork(repository.NewAgentRequests(db), files, db, cfg.AgentTimeout*3/4, log) // less than the timeout, for an error that says more
	otherAgent := func(url string) service.Agent { return agentclient.New(url, cfg.AgentTimeout) }
	fetchingAgent := func(id, name string) service.Agent {
		return agentclient.NewFetched(name, work.Transport(id), cfg.AgentTimeout)
	}
	var (
		announced      = service.Announced(sessions, hub)
		operations     = service.NewOperations(leases, log)
		ends           = service.NewEnds(sessions, announced, events, agents, operations, service.EndPatience{Unlisted: cfg.SessionLostAfter, Silent: cfg.AgentLostAfter}, time.Now, log)
		senders        = service.NewSenders(agents, agentID, log)
		eventService   = service.NewEvents(events, segments, sessions, time.Now)
		analysis       = service.NewAnalysis(segments, events, sessions, log)
		queue          = ingest.New(eventService, spooled, ingest.NewLimits(budget.Queue, cfg.CommitTimeout), meter, ingest.Publishers{hub, ends, analysis, detection}, log)
		agentCalls     = service.NewAgentCalls(agents, agentID, agent, otherAgent, fetchingAgent)
		processes      = service.NewProcesses(repository.NewProcesses(db), sessions, agentCalls, time.Now, log)
		sessionService = service.NewSessions(announced, files, agentCalls, processes, operations, time.Now, log)
		catalog        = service.NewCatalog(sessions, agents, files, hub, time.Now, log)
		fileSweep      = service.NewFileSweep(files, repository.NewTargetFiles(db), mayOwnFiles(cfg), time.Now, log)
		families       = service.NewFamilies(repository.NewProcesses(db), sessions)
		rollups        = service.NewRollups(events, sessions, budget.Rollups)
		reads          = service.NewReads(cfg.HeavyReads(runtime.NumCPU()), cfg.ReadTimeout)
		summaries      = service.NewSummaries(events, expiries, reads, db.Durability)
		backfill       = service.NewBackfill(repository.NewBackfills(db), transfers, leases, summaries, log)
		seals          = service.NewSeals(segments, sessions, leases, time.Duration(cfg.SealAfter), time.Now, log)
		retention      = service.NewRetention(expiries, catalog, leases, retainRules(cfg), files.FreeBytes, time.Now, patient, log)
		disk           = service.NewDisk(files.FreeBytes, cfg.MinFreeBytes(), db.Dialect() == "sqlite")
		bodies         = handlers.NewBodies(budget.Bodies, cfg.MaxBodyBytes())
	)
	telemetry.RegisterQueue(registry, queue.Depth)
	telemetry.RegisterSpool(registry, spooled.Backlog, spooled.SetAsideEvents)
	imports, err := service.NewImports(transfers, sessions, files, hub, cfg.ImportDir(), service.ImportLimits{
		MaxBytes: cfg.ImportMaxBytes(), MaxLineBytes: int(2 * cfg.MaxBodyBytes()), // jsonb's text has more blanks than what was sent
		AtOnce: int(budget.Imports / (4 * cfg.MaxBodyBytes())), // a line, and the events of a page, which may be one of that size
	}, time.Now, log)
	if err != nil {
		return fmt.Errorf("the data folder %s (DATA_DIR) cannot be used: %w", cfg.DataDir, err)
	}
	router, err := handlers.New(handlers.Services{
		Ingest: queue, Events: eventService, Sessions: sessionService, Agents: service.NewAgents(agents, []service.HeartbeatListener{ends, senders}, cfg.AgentLostAfter, time.Now), Identity: service.NewIdentity(cfg.AgentKey.Reveal(), db.Peers), Senders: senders,
		Catalog: catalog, Summaries: summaries, Processes: processes, Trees: service.NewProcessTrees(repository.NewProcesses(db), families, analysis), Analyst: analysis, Filters: service.NewFilters(families, detection),
		Rollups: rollups, Live: hub, Imports: imports, Expired: service.NewExpirations(expiries, retention.Wake), Disk: disk, Findings: detection, Stories: service.NewStories(rollups, detection, rules, transfers),
		Identify: keys, Keys: keys, People: keys, Audit: audit, Enroller: keys, Work: work,
		Quotas: service.NewQuotas(float64(cfg.AgentEventsPerSecond), cfg.AgentBytesPerSecond(), wire.MaxBatch, cfg.MaxBodyBytes()),
		Rules:  rules, Trials: service.NewTrials(sessions, transfers, rules, log),
		Exports: service.NewExports(transfers, events, sessions, files, reads, time.Now, BuildVersion()),
		Reads:   reads, ExportsAtOnce: service.NewExportGate(cfg.ExportsMax),
	}, handlers.Checks{
		Database: db.Ping, Migrations: db.CheckSchema, FreeBytes: files.FreeBytes, Files: fileSweep.Last, Spool: spooled, WaitsFor: queue.WaitsFor, Durability: db.CheckDurability, Backfill: backfill.Left, Damages: events.ListDamages, Agent: agentWatch.Get, Log: log,
		Notices: func(ctx context.Context) (models.NoticeStatus, error) {
			if cfg.WebhookURL.Reveal() == "" {
				return models.NoticeStatus{}, nil
			}
			return notices.Status(ctx)
		},
		Bucket: func() string {
			if db.Objects() == nil {
				return ""
			}
			return db.Objects().Failure()
		},
		Memory: func() handlers.Memory {
			_, queued := queue.Depth()
			return handlers.Memory{LimitBytes: budget.Limit.Bytes, Source: budget.Limit.Source, PlannedBytes: budget.Total, Parts: map[string]handlers.MemoryPart{
				"queue":   {LimitBytes: budget.Queue, UsedBytes: &queued},
				"rings":   {LimitBytes: budget.Rings, UsedBytes: new(hub.RingBytes())},
				"rollups": {LimitBytes: budget.Rollups, UsedBytes: new(rollups.Bytes())},
				"rules":   {LimitBytes: budget.Rules, UsedBytes: new(detection.Bytes())},
				"bodies":  {LimitBytes: bodies.Limit(), UsedBytes: new(bodies.Used())},
				"imports": {LimitBytes: budget.Imports},
				"caches":  {LimitBytes: budget.Caches},
			}}
		},
		Disk: disk.Status, Retention: retainSettings(cfg), MinFreeBytes: cfg.MinFreeBytes(), DatabaseDialect: db.Dialect(), FileStorage: files.String(), Version: BuildVersion(),
	}, handlers.Options{
		ListenHost: string(cfg.Host), AllowedHosts: cfg.AllowedHosts, CORSOrigins: cfg.CORSOrigins, TrustedProxies: cfg.TrustedProxies,
		PublicURL: string(cfg.PublicURL), Fingerprint: selfSigned(cfg, certificates), Keyless: cfg.AgentAllow.Texts(),
		MaxBodyBytes: cfg.MaxBodyBytes(), Bodies: bodies, MaxUploadBytes: cfg.MaxUploadBytes(), MaxImportBytes: cfg.ImportMaxBytes(),
		SignOn: signOn(cfg), Dashboard: web.Files(),
		Refusals: meter, Streams: telemetry.NewStreams(registry), Metrics: telemetry.MetricsHandler(registry), Log: log, RequestLog: requestLog,
	})
	if err != nil {
		return err
	}

	scheme, get := "http", handlers.Certificates(nil)
	if certificates != nil {
		scheme, get = "https", certificates.Get
	}
	dashboard := dashboardURL(scheme, listener.Addr())

	// These goroutines end after the server, because its last requests need the queue.
	beside, stopBeside := context.WithCancel(context.WithoutCancel(ctx))
	var running sync.WaitGroup
	running.Go(func() { queue.Run(beside) })
	running.Go(func() { hub.Run(beside) })
	running.Go(func() { db.WatchDurability(beside, log) })
	running.Go(func() { agentWatch.Run(beside, sessionService) })
	running.Go(func() { senders.Run(beside) })
	running.Go(func() { sessionService.Run(beside) })
	running.Go(func() { ends.Run(beside) })
	running.Go(func() { catalog.Run(beside) })
	running.Go(func() { fileSweep.Run(beside) })
	running.Go(func() { processes.Run(beside) })
	running.Go(func() { analysis.Run(beside) })
	running.Go(func() { backfill.Run(beside) })
	running.Go(func() { seals.Run(beside) })
	running.Go(func() { retention.Run(beside) })
	running.Go(func() { disk.Run(beside) })
	running.Go(func() { detection.Run(beside) })
	running.Go(func() { keys.Run(beside) })
	running.Go(func() { work.Run(beside) })
	running.Go(func() { audit.Run(beside) })
	if db.Objects() != nil {
		blocks := service.NewBlocks(repository.NewBlocks(db), leases, time.Duration(cfg.SealAfter), log)
		running.Go(func() { blocks.Run(beside) })
	}
	if cfg.WebhookURL.Reveal() != "" {
		link := cmp.Or(string(cfg.PublicURL), strings.TrimSuffix(dashboard, "/"))
		webhook := service.NewWebhook(notices, leases, cfg.WebhookURL.Reveal(), cfg.WebhookSecret.Reveal(), link, BuildVersion(), time.Now, log)
		running.Go(func() { webhook.Run(beside) })
	}
	running.Go(func() { service.Forget(beside, events, cfg.IdempotencyKeep, patient, log) })
	defer running.Wait()
	defer stopBeside()

	// Open streams would keep the server from ending.
	defer context.AfterFunc(ctx, hub.Close)()

	log.Info("listening", "url", scheme+"://"+listener.Addr().String(), "dashboard", dashboard, "database", db.Dialect())
	if certificates != nil {
		log.Info("serving TLS", "certificate_sha256", certificates.Fingerprint())
	}
	if token := keys.OfferSetup(); token != "" {
		// The token is behind the #, so no browser sends it to a server as part of a URL.
		log.Warn("no key exists, so nobody can use this backend: open this link within an hour, with this machine's name in place of localhost if need be, or run ospulse-backend keys create --role admin", "link", dashboard+"#setup="+token)
	}
	if err := handlers.Serve(ctx, listener, get, router, cfg.ShutdownTimeout, log); err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}

// signOn returns the sign-in at the OpenID Connect provider; the zero value without one.
func signOn(cfg config.Config) handlers.SignOnOptions {
	if cfg.OIDCIssuer == "" {
		return handlers.SignOnOptions{}
	}
	return handlers.SignOnOptions{Provider: newProvider(cfg), Name: cfg.OIDCName, PublicURL: string(cfg.PublicURL)}
}

func newProvider(cfg config.Config) *openid.Provider {
	return openid.NewProvider(openid.Settings{
		Issuer: string(cfg.OIDCIssuer), ClientID: cfg.OIDCClientID, ClientSecret: cfg.OIDCClientSecret.Reveal(),
		RedirectURL: string(cfg.PublicURL) + handlers.CallbackPath, Scopes: strings.Fields(cfg.OIDCScopes), RoleClaim: cfg.OIDCRoleClaim, Roles: cfg.OIDCRoles,
	})
}

// webhookLevels returns the levels of the findings that the webhook gets; none without one.
func webhookLevels(cfg config.Config) []string {
	if cfg.WebhookURL.Reveal() == "" {
		return nil
	}
	return models.FindingLevels[:slices.Index(models.FindingLevels, cfg.WebhookLevel)+1]
}

// selfSigned returns how to get the fingerprint of the certificate that the backend made; ""
// if it did not make one.
func selfSigned(cfg config.Config, certificates *certificate.Files) func() string {
	if !cfg.IsSelfSigned() {
		return func() string { return "" }
	}
	return certificates.Fingerprint
}
