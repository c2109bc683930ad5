// The OS-Pulse backend: it takes in what agents see programs do, keeps every
// event, and gives them out again. See README.md.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math"
	"net"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	physical "github.com/pbnjay/memory"

	"ospulse/internal/agentclient"
	"ospulse/internal/config"
	"ospulse/internal/database"
	"ospulse/internal/filestore"
	"ospulse/internal/handlers"
	"ospulse/internal/ingest"
	"ospulse/internal/live"
	"ospulse/internal/logging"
	"ospulse/internal/memory"
	"ospulse/internal/metrics"
	"ospulse/internal/repository"
	"ospulse/internal/service"
	"ospulse/internal/spool"
	"ospulse/internal/wire"
	"ospulse/web"
)

// version is set by release builds (-ldflags "-X main.version=…").
var version = "" //nolint:gochecknoglobals // the linker needs a variable

const usage = `OS-Pulse backend: keeps every event that agents see programs do.

Usage: ospulse-backend [--help] [--version]
       ospulse-backend spool list | export | retry [ID …] | drain DIR

It is configured by environment variables, also from a file .env in the working
directory; .env.example lists them all. Without any it listens on
http://127.0.0.1:3003 and keeps everything in the folder data.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	tuneMemory(planMemory(os.Getenv))
	if err := run(ctx, os.Args[1:], os.Getenv, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "ospulse-backend:", err)
		stop()
		os.Exit(1) //nolint:gocritic // the deferred stop has just been called
	}
}

// planMemory divides the memory that this program may use.
func planMemory(getenv func(string) string) memory.Budget {
	goMemLimit := int64(0)
	if getenv("GOMEMLIMIT") != "" {
		goMemLimit = debug.SetMemoryLimit(-1) // as the runtime read it
	}
	if goMemLimit == math.MaxInt64 { // off
		goMemLimit = 0
	}
	return memory.Divide(memory.Detect(os.DirFS("/"), goMemLimit, int64(min(physical.TotalMemory(), math.MaxInt64))))
}

// tuneMemory trades memory for time: events come and go, little stays, so the
// collector may run less often than it would by itself, as long as there is memory.
// GOGC and GOMEMLIMIT win.
func tuneMemory(budget memory.Budget) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(budget.Heap())
	}
}

// tuneProcessors makes up for the processor that Go counts as busy while SQLite
// waits for the disk, which under load is always. GOMAXPROCS wins.
func tuneProcessors(dialect string) {
	if dialect == "sqlite" && os.Getenv("GOMAXPROCS") == "" {
		runtime.SetDefaultGOMAXPROCS()
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1)
	}
}

// run is the whole program: it returns when ctx ends and everything is shut
// down, or with the reason why it could not start. Log lines go to stdout.
func run(ctx context.Context, args []string, getenv func(string) string, stdout io.Writer) error {
	flags := flag.NewFlagSet("ospulse-backend", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	showVersion := flags.Bool("version", false, "")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		_, err := io.WriteString(stdout, usage)
		return err
	case err != nil:
		return fmt.Errorf("%w; see --help", err)
	case flags.NArg() > 0 && flags.Arg(0) != "spool":
		return fmt.Errorf("unexpected argument %q; see --help", flags.Arg(0))
	case *showVersion:
		_, err := fmt.Fprintln(stdout, buildVersion())
		return err
	}

	cfg, err := config.Load(getenv, ".env")
	if err != nil {
		return fmt.Errorf("the configuration is wrong:\n%w", err)
	}
	if flags.NArg() > 0 {
		return runSpool(ctx, flags.Args()[1:], cfg, stdout)
	}
	log := newLogger(cfg, stdout)
	log.Info("starting", "version", buildVersion(), "config", cfg)
	budget := planMemory(getenv)
	log.Info("memory", "limit_mb", budget.Limit.Bytes>>20, "source", budget.Limit.Source, "planned_mb", budget.Total>>20)
	if cfg.Insecure {
		log.Warn("OSPULSE_INSECURE is set: anyone who can reach this backend can upload files, start samples and read events")
	}

	// The port comes first: a second backend by mistake must not touch the data.
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", cfg.Addr())
	if err != nil {
		return listenError(cfg, err)
	}
	defer listener.Close() // the server closes it; this is for the ways out before

	files, err := openFiles(cfg)
	if err != nil {
		return fmt.Errorf("the data folder %s (DATA_DIR) cannot be used: %w", cfg.DataDir, err)
	}
	spooled, err := spool.Open(ctx, cfg.SpoolDir(), cfg.SpoolMaxBytes())
	if err != nil {
		return ignoreInterrupt(ctx, err)
	}
	defer spooled.Close()
	db, err := connect(ctx, cfg, budget.Caches, log)
	if err != nil {
		return ignoreInterrupt(ctx, err)
	}
	requests := logging.NewDelayedWriter(stdout)
	defer requests.Flush()
	tuneProcessors(db.Dialect())
	err = serve(ctx, cfg, budget, log, newLogger(cfg, requests), listener, files, spooled, db)
	if closeErr := db.Close(); closeErr != nil {
		err = errors.Join(err, fmt.Errorf("close the database: %w", closeErr))
	}
	if err == nil {
		log.Info("stopped")
	}
	return err
}

// connect opens the database.
func connect(ctx context.Context, cfg config.Config, cacheBytes int64, log *slog.Logger) (*database.DB, error) {
	return database.Open(ctx, database.Options{
		URL: cfg.DatabaseURL.Reveal(), Path: cfg.SQLitePath(), PoolSize: cfg.DatabasePoolSize, Wait: cfg.DatabaseWait, Log: log,
		CacheBytes: cacheBytes, Sync: cfg.DatabaseSync, AllowWeak: cfg.DatabaseAllowWeak,
	})
}

// openFiles opens the storage of target files.
func openFiles(cfg config.Config) (*filestore.Store, error) {
	if cfg.FilesURL.Bucket == "" {
		return filestore.Open(cfg.FilesDir())
	}
	return filestore.OpenBucket(cfg.FilesDir(), filestore.Bucket{
		Endpoint: cfg.FilesURL.Endpoint, Region: cfg.FilesURL.Region, Name: cfg.FilesURL.Bucket, Prefix: cfg.FilesURL.Prefix,
		AccessKey: cfg.FilesAccessKey.Reveal(), SecretKey: cfg.FilesSecretKey.Reveal(),
	})
}

// mayOwnFiles reports whether the storage of target files can only be this
// database's: beside PostgreSQL, an embedded database from before may have files in
// the data folder.
func mayOwnFiles(cfg config.Config) bool {
	_, err := os.Stat(cfg.SQLitePath())
	return cfg.FilesURL.Bucket != "" || cfg.DatabaseURL.Reveal() == "" || errors.Is(err, fs.ErrNotExist)
}

// serve wires the layers together and serves until ctx ends.
func serve(ctx context.Context, cfg config.Config, budget memory.Budget, log, requestLog *slog.Logger, listener net.Listener, files *filestore.Store, spooled *spool.Spool, db *database.DB) error {
	if err := db.Migrate(ctx); err != nil {
		return ignoreInterrupt(ctx, err)
	}
	pools, err := db.Pools()
	if err != nil {
		return err
	}
	var (
		registry = metrics.NewRegistry(pools)
		meter    = metrics.NewIngest(registry)

		sessions  = repository.NewSessions(db)
		agents    = repository.NewAgents(db)
		events    = repository.NewEvents(db)
		segments  = repository.NewSegments(db)
		leases    = repository.NewLeases(db)
		transfers = repository.NewTransfers(db)

		agent      = agentclient.New(cfg.AgentURL, cfg.AgentTimeout).WithKey(cfg.AgentKey.Reveal())
		agentWatch = service.NewAgentWatch(agents, leases, agent, cfg.AgentURL, cfg.AgentPollInterval, time.Now, log)
	)
	agentID, err := agentWatch.Register(ctx)
	if err != nil {
		return ignoreInterrupt(ctx, err)
	}
	otherAgent := func(url string) service.Agent { return agentclient.New(url, cfg.AgentTimeout) }
	var (
		hub            = live.New(sessions, events, db, live.Limits{Streams: cfg.StreamsMax, PerClient: cfg.StreamsPerClient, Readers: cfg.StreamReaders(), RingBytes: budget.Rings})
		announced      = service.Announced(sessions, hub)
		operations     = service.NewOperations(leases, log)
		ends           = service.NewEnds(sessions, announced, events, agents, operations, service.EndPatience{Unlisted: cfg.SessionLostAfter, Silent: cfg.AgentLostAfter}, time.Now, log)
		senders        = service.NewSenders(agents, agentID, log)
		eventService   = service.NewEvents(events, segments, sessions, time.Now)
		queue          = ingest.New(eventService, spooled, ingest.DefaultLimits(budget.Queue), meter, ingest.Publishers{hub, ends}, log)
		agentCalls     = service.NewAgentCalls(agents, agentID, agent, otherAgent)
		processes      = service.NewProcesses(repository.NewProcesses(db), sessions, agentCalls, time.Now, log)
		sessionService = service.NewSessions(announced, files, agentCalls, processes, operations, time.Now, log)
		archive        = service.NewArchive(sessions, agents, files, hub, time.Now, log)
		fileSweep      = service.NewFileSweep(files, repository.NewTargetFiles(db), mayOwnFiles(cfg), time.Now, log)
		analysis       = service.NewAnalysis(segments, events, sessions, log)
		rollups        = service.NewRollups(events, sessions, budget.Rollups)
		reads          = service.NewReads(cfg.HeavyReads(runtime.NumCPU()), cfg.ReadTimeout)
		summaries      = service.NewSummaries(events, reads, db.Durability)
		backfill       = service.NewBackfill(repository.NewBackfills(db), transfers, leases, summaries, log)
		bodies         = handlers.NewBodies(budget.Bodies, cfg.MaxBodyBytes())
	)
	metrics.RegisterQueue(registry, queue.Depth)
	metrics.RegisterSpool(registry, spooled.Backlog, spooled.SetAsideEvents)
	imports, err := service.NewImports(transfers, sessions, files, hub, cfg.ImportDir(), service.ImportLimits{
		MaxBytes: cfg.ImportMaxBytes(), MaxLineBytes: int(2 * cfg.MaxBodyBytes()), // jsonb's text has more blanks than what was sent
		AtOnce: int(budget.Imports / (4 * cfg.MaxBodyBytes())), // a line, and the events of a page, which may be one of that size
	}, time.Now, log)
	if err != nil {
		return fmt.Errorf("the data folder %s (DATA_DIR) cannot be used: %w", cfg.DataDir, err)
	}
	router, err := handlers.New(handlers.Services{
		Ingest: queue, Events: eventService, Sessions: sessionService, Agents: service.NewAgents(agents, []service.HeartbeatListener{ends, senders}, cfg.AgentLostAfter, time.Now), Identity: service.NewIdentity(cfg.AgentKey.Reveal(), db.Peers), Senders: senders,
		Archive: archive, Summaries: summaries, Processes: processes, Analyst: analysis,
		Rollups: rollups, Live: hub, Imports: imports,
		Exports: service.NewExports(transfers, events, sessions, files, reads, time.Now, buildVersion()),
		Reads:   reads, ExportsAtOnce: service.NewExportGate(cfg.ExportsMax),
	}, handlers.Checks{
		Database: db.Ping, Migrations: db.CheckSchema, FreeBytes: files.FreeBytes, Files: fileSweep.Last, Spool: spooled, WaitsFor: queue.WaitsFor, Durability: db.CheckDurability, Backfill: backfill.Left, Agent: agentWatch.Get, Log: log,
		Memory: func() handlers.Memory {
			_, queued := queue.Depth()
			return handlers.Memory{LimitBytes: budget.Limit.Bytes, Source: budget.Limit.Source, PlannedBytes: budget.Total, Parts: map[string]handlers.MemoryPart{
				"queue":   {LimitBytes: budget.Queue, UsedBytes: &queued},
				"rings":   {LimitBytes: budget.Rings, UsedBytes: new(hub.RingBytes())},
				"rollups": {LimitBytes: budget.Rollups, UsedBytes: new(rollups.Bytes())},
				"bodies":  {LimitBytes: bodies.Limit(), UsedBytes: new(bodies.Used())},
				"imports": {LimitBytes: budget.Imports},
				"caches":  {LimitBytes: budget.Caches},
			}}
		},
		MinFreeBytes: cfg.MinFreeBytes(), DatabaseDialect: db.Dialect(), FileStorage: files.String(), Version: buildVersion(),
	}, handlers.Options{
		ListenHost: cfg.Host, AllowedHosts: cfg.AllowedHosts, CORSOrigins: cfg.CORSOrigins,
		MaxBodyBytes: cfg.MaxBodyBytes(), Bodies: bodies, MaxUploadBytes: cfg.MaxUploadBytes(), MaxImportBytes: cfg.ImportMaxBytes(),
		Dashboard: web.Files(),
		Refusals:  meter, Streams: metrics.NewStreams(registry), Metrics: metrics.Handler(registry), Log: log, RequestLog: requestLog,
	})
	if err != nil {
		return err
	}

	// What runs beside the server ends after it: the queue may still be asked.
	beside, stopBeside := context.WithCancel(context.WithoutCancel(ctx))
	var running sync.WaitGroup
	running.Go(func() { queue.Run(beside) })
	running.Go(func() { hub.Run(beside) })
	running.Go(func() { db.WatchDurability(beside, log) })
	running.Go(func() { agentWatch.Run(beside, sessionService) })
	running.Go(func() { senders.Run(beside) })
	running.Go(func() { sessionService.Run(beside) })
	running.Go(func() { ends.Run(beside) })
	running.Go(func() { archive.Run(beside) })
	running.Go(func() { fileSweep.Run(beside) })
	running.Go(func() { processes.Run(beside) })
	running.Go(func() { analysis.Run(beside) })
	running.Go(func() { backfill.Run(beside) })
	running.Go(func() { service.Forget(beside, events, cfg.IdempotencyKeep, time.Now, log) })
	defer running.Wait()
	defer stopBeside()

	// Open streams would keep the server from ending.
	defer context.AfterFunc(ctx, hub.Close)()

	log.Info("listening", "url", "http://"+listener.Addr().String(), "dashboard", dashboardURL(listener.Addr()), "database", db.Dialect())
	if err := handlers.Serve(ctx, listener, router, cfg.ShutdownTimeout, log); err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}

// dashboardURL gives where a browser on this machine finds the dashboard of a backend
// that listens on an address.
func dashboardURL(listening net.Addr) string {
	host, port, err := net.SplitHostPort(listening.String())
	if err != nil {
		return "http://" + listening.String() + "/"
	}
	if slices.Contains([]string{"127.0.0.1", "::1", "0.0.0.0", "::"}, host) {
		host = "localhost"
	}
	return "http://" + net.JoinHostPort(host, port) + "/"
}

// listenError says what to do about an address that cannot be listened on.
func listenError(cfg config.Config, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("port %d on %s is taken by another program: stop it, or set PORT", cfg.Port, cfg.Host)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("port %d on %s may not be used by this user: set PORT to one above 1023", cfg.Port, cfg.Host)
	}
	return fmt.Errorf("cannot listen on %s (HOST, PORT): %w", cfg.Addr(), err)
}

// ignoreInterrupt gives nil for an error that is there because the program was
// told to end.
func ignoreInterrupt(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil //nolint:nilerr // this is what the function is for
	}
	return err
}

// newLogger gives a logger in the form that is configured.
func newLogger(cfg config.Config, w io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: cfg.LogLevel}
	if cfg.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// buildVersion gives the release's version, else the commit that was built.
func buildVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, setting := range info.Settings {
			if setting.Key == "vcs.revision" {
				return "dev-" + setting.Value[:min(len(setting.Value), 12)]
			}
		}
	}
	return "dev"
}

const spoolUsage = `Look after the events that a backend keeps on its machine's disk.

Usage: ospulse-backend spool list          what the database refused, and is set aside
       ospulse-backend spool export        the same events as NDJSON
       ospulse-backend spool retry [ID …]  put these, or all, behind those that wait
       ospulse-backend spool drain DIR     store what waits in the spool folder of a
                                           backend that will not return

list, export and retry work on DATA_DIR/spool. A file that a running backend has is
left alone: stop that backend first. Its events are stored when it starts again.
`

// runSpool is the subcommand spool.
func runSpool(ctx context.Context, args []string, cfg config.Config, stdout io.Writer) error {
	action := ""
	if len(args) > 0 {
		action, args = args[0], args[1:]
	}
	switch {
	case action == "list" && len(args) == 0:
		return eachKept(ctx, cfg.SpoolDir(), func(_ *spool.Spool, id string, kept spool.Kept) error { return writeKept(stdout, id, kept) })
	case action == "export" && len(args) == 0:
		out := bufio.NewWriter(stdout)
		err := eachKept(ctx, cfg.SpoolDir(), func(_ *spool.Spool, _ string, kept spool.Kept) error {
			for i := range kept.Events {
				if _, err := out.Write(append(wire.AppendEvent(nil, &kept.Events[i].Event), '\n')); err != nil {
					return err
				}
			}
			return nil
		})
		return errors.Join(err, out.Flush())
	case action == "retry":
		return retrySpool(ctx, cfg.SpoolDir(), args, stdout)
	case action == "drain" && len(args) == 1:
		return drainSpool(ctx, args[0], cfg, newLogger(cfg, stdout))
	case action == "help" || action == "--help" || action == "-h":
		_, err := io.WriteString(stdout, spoolUsage)
		return err
	}
	return errors.New("spool takes list, export, retry [ID …] or drain DIR; see ospulse-backend spool --help")
}

// eachKept calls fn for everything that is set aside in a folder, in files that no
// running program has. Its ID names the file too.
func eachKept(ctx context.Context, dir string, fn func(s *spool.Spool, id string, kept spool.Kept) error) error {
	files, err := spool.Files(dir)
	if err != nil {
		return fmt.Errorf("the spool %s cannot be read: %w", dir, err)
	}
	var failed []error
	for n, path := range files {
		s, err := spool.OpenFile(ctx, path)
		if errors.Is(err, spool.ErrHeld) {
			err = errors.New("a running backend has it: stop that backend first")
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", path, err))
			continue
		}
		all, err := s.ListSetAside(ctx)
		failed = append(failed, err)
		for _, kept := range all {
			failed = append(failed, fn(s, fmt.Sprintf("%d.%d", n+1, kept.ID), kept))
		}
		failed = append(failed, s.Close())
	}
	return errors.Join(failed...)
}

// writeKept writes a line about something that is set aside.
func writeKept(out io.Writer, id string, kept spool.Kept) error {
	session, eventType := "?", "cannot be read"
	if len(kept.Events) > 0 {
		session, eventType = kept.Events[0].SessionID, kept.Events[0].EventType
	}
	_, err := fmt.Fprintf(out, "%s\t%s\tsession %s\t%d events\t%s\t%s\n", id, kept.At.Format(time.RFC3339), session, kept.Count, strconv.Quote(eventType), kept.Reason)
	return err
}

// retrySpool puts what has these IDs, or all that is set aside, back into the spool.
func retrySpool(ctx context.Context, dir string, ids []string, stdout io.Writer) error {
	left := slices.Clone(ids)
	events := 0
	err := eachKept(ctx, dir, func(s *spool.Spool, id string, kept spool.Kept) error {
		if len(ids) > 0 && !slices.Contains(ids, id) {
			return nil
		}
		left = slices.DeleteFunc(left, func(asked string) bool { return asked == id })
		if err := s.Retry(ctx, kept.ID); err != nil {
			return fmt.Errorf("%s: %w", id, err)
		}
		events += kept.Count
		return nil
	})
	if len(left) > 0 {
		err = errors.Join(err, fmt.Errorf("nothing is set aside under %s; see ospulse-backend spool list", strings.Join(left, ", ")))
	}
	_, writeErr := fmt.Fprintf(stdout, "%d events wait to be stored when the backend starts\n", events)
	return errors.Join(err, writeErr)
}

// drainSpool stores what waits in a folder in the configured database, each event
// once, however often it is interrupted: a group's mark goes with it.
func drainSpool(ctx context.Context, dir string, cfg config.Config, log *slog.Logger) error {
	if files, err := spool.Files(dir); err != nil || len(files) == 0 {
		return errors.Join(fmt.Errorf("there is no spool in %s", dir), err)
	}
	db, err := connect(ctx, cfg, 0, log)
	if err != nil {
		return err
	}
	defer db.Close()
	if err := db.CheckSchema(ctx); err != nil {
		return fmt.Errorf("the database is not of this version; start its backend first: %w", err)
	}
	spooled, err := spool.Open(ctx, dir, 0)
	if err != nil {
		return err
	}
	events := service.NewEvents(repository.NewEvents(db), repository.NewSegments(db), repository.NewSessions(db), time.Now)
	queue := ingest.New(events, spooled, ingest.DefaultLimits(0), metrics.NewIngest(metrics.NewRegistry(nil)), ingest.Publishers{}, log)
	done := make(chan struct{})
	go func() { queue.Drain(ctx); close(done) }()
	tick := time.NewTicker(drainProgress)
	defer tick.Stop()
	for isDone := false; !isDone; {
		select {
		case <-done:
			isDone = true
		case <-tick.C:
		}
		left, _ := spooled.Backlog()
		log.Info("draining", "left", left, "waits_for", queue.WaitsFor())
	}
	left, _ := spooled.Backlog()
	setAside := spooled.SetAsideEvents()
	if err := spooled.Close(); err != nil {
		return err
	}
	if left > 0 {
		return fmt.Errorf("it was interrupted: %d events still wait in %s", left, dir)
	}
	if setAside > 0 {
		log.Warn("events are set aside in this folder, as the database refuses them (DATA_DIR is the folder above: ospulse-backend spool list)", "events", setAside)
	}
	return eachKept(ctx, dir, func(*spool.Spool, string, spool.Kept) error { return nil }) // which tells of files that others have
}

// drainProgress is the time between two lines that tell how much is left.
const drainProgress = 2 * time.Second
