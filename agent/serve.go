//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"ospulse/agent/internal/api"
	"ospulse/agent/internal/callers"
	"ospulse/agent/internal/clock"
	"ospulse/agent/internal/config"
	"ospulse/agent/internal/delivery"
	"ospulse/agent/internal/event"
	"ospulse/agent/internal/heartbeat"
	"ospulse/agent/internal/inspect"
	"ospulse/agent/internal/journal"
	"ospulse/agent/internal/monitor"
	"ospulse/agent/internal/pin"
	"ospulse/agent/internal/users"
	"ospulse/agent/internal/work"
)

// softMemoryLimit is Go's memory limit. With it, the garbage collector runs before the
// garbage of a busy moment adds up. The limit does not cover the ring buffer, which is
// mapped twice.
const softMemoryLimit = 32 << 20

// version is set by release builds (-ldflags "-X main.version=…").
var version = "" //nolint:gochecknoglobals // the linker needs a variable

// shutdownTime is how long running requests may take when the agent ends.
const shutdownTime = 10 * time.Second

// excludeInterval is how often the agent looks for the processes that it excludes: its own
// and those of its backend.
const excludeInterval = 3 * time.Second

// sensorLag is how much older than the sensor's position an event may be: a call has the time
// of its beginning.
const sensorLag = time.Second

// serve runs the agent without a command: the service, --help, --version or --check. It
// returns the exit code.
func serve(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	cfg, err := config.Load(args, getenv)
	switch {
	case errors.Is(err, flag.ErrHelp):
		err = config.Help(stdout, getenv)
	case err == nil && cfg.Version:
		_, err = fmt.Fprintln(stdout, buildVersion())
	case err != nil:
		_, _ = fmt.Fprintf(stderr, "ospulse-agent: the configuration is wrong:\n%v\n", err)
		return 2
	case cfg.Check:
		err = check(cfg, stdout)
	default:
		err = service(ctx, cfg, stdout)
	}
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "ospulse-agent:", err)
		return 1
	}
	return 0
}

// service runs the agent until ctx ends.
func service(ctx context.Context, cfg config.Config, stdout io.Writer) error {
	began := time.Now()
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(softMemoryLimit)
	}
	log := newLogger(cfg, stdout)
	var listener net.Listener // nil: the agent fetches its work
	if !cfg.FetchWork {
		var err error
		if listener, err = (&net.ListenConfig{}).Listen(ctx, "tcp", cfg.Addr()); err != nil {
			return listenError(cfg, err)
		}
		defer listener.Close() // for errors before the server runs, which closes it too
	}
	spawner, spawnFault := newSpawner(cfg, log)
	return serveOn(ctx, cfg, log, listener, newEyes(cfg, log), spawner, spawnFault, began)
}

// serveOn wires the parts together and serves until ctx ends.
func serveOn(ctx context.Context, cfg config.Config, log *slog.Logger, listener net.Listener, eyes eyes, spawner monitor.Spawner, spawnFault string, began time.Time) error {
	defer eyes.close()
	uploads, err := api.OpenUploads(filepath.Join(cfg.DataDir, "uploads"))
	if err != nil {
		return fmt.Errorf("cannot use the data folder %s (--data): %w", cfg.DataDir, err)
	}
	defer uploads.Close()
	sender, err := delivery.New(delivery.Options{
		Backend: cfg.Backend.String(), Key: cfg.BackendKey, TLS: pin.Config(cfg.BackendPin), Agent: agentName(cfg),
		Dir: filepath.Join(cfg.DataDir, "spool"), SpoolMaxBytes: int64(cfg.SpoolMB) << 20, Log: log,
	})
	if err != nil {
		return fmt.Errorf("cannot use the data folder %s (--data): %w", cfg.DataDir, err)
	}

	notes, left, faults, err := journal.Open(filepath.Join(cfg.DataDir, "sessions"))
	if err != nil {
		return fmt.Errorf("cannot use the data folder %s (--data): %w", cfg.DataDir, err)
	}
	for _, fault := range faults {
		log.Error("cannot read the record of a session that ran when the agent was killed", "error", fault)
	}

	starts, faults, err := journal.OpenStarts(filepath.Join(cfg.DataDir, "starts"), left)
	if err != nil {
		return fmt.Errorf("cannot use the data folder %s (--data): %w", cfg.DataDir, err)
	}
	for _, fault := range faults {
		log.Error("cannot read the record of a start", "error", fault)
	}

	names, err := users.Read(users.File)
	if err != nil {
		log.Warn("cannot read the names of users: events have their numbers only", "error", err)
	}
	deliver := func(sessionID string, e *event.Event) {
		names.Name(e)
		sender.Add(sessionID, e)
	}
	own := monitor.NewOwnProcesses(cfg.Backend, cfg.APIKey, log)
	sessions := monitor.New(monitor.Options{
		Sensor: eyes.sensor, SensorName: eyes.name, SensorLimits: eyes.limits(),
		Spawner: spawner, SpawnFault: spawnFault, PauseSpawned: cfg.Pause != "none", PauseAll: cfg.Pause == "all", Selection: cfg.Selection, Files: uploads,
		Exclude: own.Find, Viewers: viewers(cfg, monitor.BrowserFolders()), Deliver: deliver, Settle: sender.Settle, Journal: notes, Starts: starts,
		Version: buildVersion(), Log: log,
	})
	callers := callers.New(callers.Options{
		BackendUsers: func() []int { return own.BackendUsers(sessions.IsQuiet()) },
		HasPrograms:  sessions.HasPrograms, IsProgram: sessions.IsProgram, Log: log,
	})
	helper := inspect.New(log)
	defer helper.Close()
	options := api.Options{
		Monitor: sessions, Uploads: uploads, Arguments: helper.Arguments, MaxUploadBytes: int64(cfg.MaxUploadMB) << 20,
		Guard: api.Guard{ListenHost: cfg.Host, AllowedHosts: cfg.AllowedHosts, APIKey: cfg.APIKey, Check: callers.Check},
		Health: func() map[string]any {
			return map[string]any{
				"version": buildVersion(), "sensor": eyes.name, "capabilities": capabilities(eyes, cfg.SpawnIsolation, spawnFault),
				"delivery": sender.Status(),
			}
		},
		InFlight: func(sessionID string) api.InFlight {
			events, bytes := sender.InFlight(sessionID)
			return api.InFlight{Events: events, Bytes: bytes, SensorBytes: eyes.backlog()}
		},
		Log: log,
	}

	// Delivery ends last, so that it sends the last events of the sessions.
	beside, stopBeside := context.WithCancel(context.WithoutCancel(ctx))
	var running sync.WaitGroup
	running.Go(func() { sender.Run(beside) })
	running.Go(func() { sessions.Run(beside, excludeInterval) })
	running.Go(sessions.Recover(left))
	running.Go(func() {
		if err := clock.System().Follow(beside, func(s clock.Step) { sessions.ClockStepped(s.Before, s.After) }); err != nil {
			log.Error("the agent cannot follow steps of the machine's clock", "error", err)
		}
	})
	sensed := func() time.Time {
		until := eyes.sensed()
		if seen := sessions.Seen(); seen.Before(until) {
			until = seen
		}
		return until
	}
	running.Go(func() {
		notes.Run(beside, func() time.Time { return safeUntil(sensed, sender.SafeUntil) }, func(err error) {
			log.Error("cannot write the journal: if the agent is killed, the time of the gap will be inexact", "error", err)
		})
	})
	running.Go(func() {
		heartbeat.Run(beside, heartbeat.Options{Backend: cfg.Backend.String(), Key: cfg.BackendKey, TLS: pin.Config(cfg.BackendPin), Log: log, OnIdentity: func(nonce string, raw json.RawMessage) {
			var identity monitor.Identity
			if err := json.Unmarshal(raw, &identity); err != nil {
				log.Warn("cannot read the backend's identity in its answer to a heartbeat", "error", err)
				return
			}
			own.RecordIdentity(nonce, identity)
		}, Report: func() heartbeat.Report {
			return report(cfg, listener, eyes, spawner, spawnFault, sessions, sender)
		}})
	})
	clean := false // whether all sessions ended in order
	defer func() {
		stopBeside()
		running.Wait()
		ended := time.Now()
		if clean && !sender.SafeUntil().Before(ended) { // otherwise the next run reports what may be lost
			if err := notes.Clear(); err != nil {
				log.Error("cannot clear the journal: the next run will report ended sessions as cut off", "error", err)
			}
		}
	}()

	for _, c := range capabilities(eyes, cfg.SpawnIsolation, spawnFault) {
		if !c.Supported {
			log.Warn("this machine does not support a feature", "feature", c.Name, "reason", c.Reason, "remedy", c.Remedy)
		}
	}
	log.Info("ready", "url", listenURL(cfg, listener), "backend", cfg.Backend.String(), "sensor", eyes.name,
		"version", buildVersion(), "after", time.Since(began).Round(time.Millisecond))
	if listener != nil {
		err = api.Serve(ctx, listener, api.New(options), shutdownTime, log)
	} else {
		// The backend sends no key, because it does not call.
		options.Guard = api.Guard{}
		work.Run(ctx, work.Options{Backend: cfg.Backend.String(), Key: cfg.BackendKey, TLS: pin.Config(cfg.BackendPin), Handler: api.Routes(options), Shutdown: shutdownTime, Log: log})
	}
	closeErr := sessions.Close()
	clean = closeErr == nil
	if closeErr != nil {
		err = errors.Join(err, fmt.Errorf("stop the sessions: %w", closeErr))
	}
	log.Info("stopped")
	return err
}

// safeUntil returns the time before which no event of a running session can be missing if the
// agent is killed now: the sensor has passed it on, and delivery cannot lose it any more.
func safeUntil(sensed, delivered func() time.Time) time.Time {
	until := sensed() // first, so that delivery has all that was passed on by then
	if safe := delivered(); safe.Before(until) {
		until = safe
	}
	return until.Add(-sensorLag)
}

// viewers returns how to find the browsers that sessions do not report; nil if they report all.
func viewers(cfg config.Config, folders []string) func() []monitor.Own {
	if cfg.IncludeDashboard {
		return nil
	}
	return monitor.NewViewers(cfg.Backend, folders).Find
}

func listenError(cfg config.Config, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("port %d on %s is taken by another program: stop it, or set --port", cfg.Port, cfg.Host)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("port %d on %s may not be used by this user: set --port to one above 1023", cfg.Port, cfg.Host)
	}
	return fmt.Errorf("cannot listen on %s (--host, --port): %w", cfg.Addr(), err)
}

func newLogger(cfg config.Config, w io.Writer) *slog.Logger {
	if cfg.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, nil))
	}
	return slog.New(slog.NewTextHandler(w, nil))
}

// buildVersion returns the version of the release, or else the commit that was built.
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

// check writes which capabilities this machine supports.
func check(cfg config.Config, w io.Writer) error {
	eyes := newEyes(cfg, slog.New(slog.DiscardHandler))
	defer eyes.close()
	_, spawnFault := newSpawner(cfg, slog.New(slog.DiscardHandler))
	return writeTable(w, capabilities(eyes, cfg.SpawnIsolation, spawnFault), os.Geteuid())
}
