// Package app puts the backend together: it reads the settings, opens the storage, wires
// the layers and serves until it is told to stop. Only main and the end-to-end tests
// import it.
package app

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"syscall"

	"ospulse/internal/bucket"
	"ospulse/internal/certificate"
	"ospulse/internal/config"
	"ospulse/internal/database"
	"ospulse/internal/ingest/spool"
	"ospulse/internal/sample"
	"ospulse/internal/telemetry"
)

// Main runs the backend as a process and returns its exit code. SIGINT and SIGTERM shut it
// down in order. If it fails, it writes the reason to standard error.
func Main() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	tuneMemory(planMemory(os.Getenv))
	if err := Run(ctx, os.Args[1:], os.Getenv, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "ospulse-backend:", err)
		return 1
	}
	return 0
}

const usage = `OS-Pulse backend: keeps every event that agents see programs do.

Usage: ospulse-backend [--env FILE]
       ospulse-backend --help | --version
       ospulse-backend [--env FILE] --check-config
       ospulse-backend doctor | health
       ospulse-backend backup FILE
       ospulse-backend restore [--verify] FILE
       ospulse-backend spool list | export | retry [ID …] | drain DIR
       ospulse-backend keys create --role ROLE | list | revoke ID
       ospulse-backend agents add NAME
       ospulse-backend seal SESSION | unseal SESSION
       ospulse-backend expire [--dry-run]
       ospulse-backend vacuum
       ospulse-backend rules list | check PATH … | test [RULES] EVENTS

It is configured by environment variables, also from a file .env in the working
directory; .env.example lists them all. --env FILE names another file, and goes before
the command. --check-config checks the settings and starts nothing. Without any settings
the backend listens on http://127.0.0.1:3003 and keeps everything in the folder data.
health fails unless the backend with these settings answers.
`

// Run runs the backend, or the subcommand that args name. It returns nil when ctx ends
// and everything is shut down, otherwise the reason why it could not start. The settings
// come from getenv and the file .env, or that of --env; log lines go to stdout.
func Run(ctx context.Context, args []string, getenv func(string) string, stdout io.Writer) error {
	flags := flag.NewFlagSet("ospulse-backend", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	showVersion := flags.Bool("version", false, "")
	checkConfig := flags.Bool("check-config", false, "")
	envFile := flags.String("env", "", "")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		_, err := io.WriteString(stdout, usage)
		return err
	case err != nil:
		return fmt.Errorf("%w; see --help", err)
	case flags.NArg() > 0 && !slices.Contains([]string{"doctor", "health", "backup", "restore", "spool", "seal", "unseal", "expire", "vacuum", "rules", "keys", "agents"}, flags.Arg(0)):
		return fmt.Errorf("unexpected argument %q; see --help", flags.Arg(0))
	case *showVersion:
		_, err := fmt.Fprintln(stdout, BuildVersion())
		return err
	}

	if flags.Arg(0) == "rules" { // needs no settings
		return runRules(flags.Args()[1:], os.Stdin, stdout)
	}
	if *envFile != "" { // Load takes a file that does not exist for an empty one
		if _, err := os.Stat(*envFile); err != nil {
			return fmt.Errorf("--env: %w", err)
		}
	}
	cfg, err := config.Load(getenv, cmp.Or(*envFile, ".env"))
	if err != nil {
		return fmt.Errorf("the configuration is wrong:\n%w", err)
	}
	if *checkConfig {
		_, err := fmt.Fprintln(stdout, "the configuration is correct")
		return err
	}
	switch args := flags.Args(); flags.Arg(0) {
	case "doctor":
		return runDoctor(ctx, args[1:], cfg, stdout)
	case "health":
		return runHealth(ctx, cfg)
	case "backup":
		return runBackup(ctx, args[1:], cfg, stdout, os.Stderr)
	case "restore":
		return runRestore(ctx, args[1:], cfg, stdout, os.Stderr)
	case "spool":
		return runSpool(ctx, args[1:], cfg, stdout)
	case "keys":
		return runKeys(ctx, args[1:], cfg, stdout, os.Stderr)
	case "agents":
		return runAgents(ctx, args[1:], cfg, stdout, os.Stderr)
	case "seal", "unseal":
		return runSeal(ctx, args[0], args[1:], cfg, stdout)
	case "expire":
		return runExpire(ctx, args[1:], cfg, stdout)
	case "vacuum":
		return runVacuum(ctx, args[1:], cfg, stdout)
	}
	log := newLogger(cfg, stdout)
	log.Info("starting", "version", BuildVersion(), "config", cfg)
	budget := planMemory(getenv)
	log.Info("memory", "limit_mb", budget.Limit.Bytes>>20, "source", budget.Limit.Source, "planned_mb", budget.Total>>20)
	if cfg.Insecure {
		log.Warn("OSPULSE_INSECURE is set: until a key exists, anyone who can reach this backend can upload files, start samples and read events")
	}
	if len(cfg.AgentAllow) > 0 {
		log.Warn("AGENT_ALLOW is set: these addresses can send events of any agent without a key", "addresses", fmt.Sprint(cfg.AgentAllow))
	}
	if cfg.RequiresKeys() && !cfg.UsesTLS() {
		log.Warn("keys and events travel unencrypted: set TLS_CERT and TLS_KEY, or TLS=self-signed, unless a proxy or a tunnel encrypts")
	}

	// Listen before anything else: a second backend that is started by mistake stops here
	// and does not touch the data.
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", cfg.Addr())
	if err != nil {
		return listenError(cfg, err)
	}
	defer listener.Close() // the server closes it; this is for the ways out before

	certificates, err := openCertificate(cfg, log)
	if err != nil {
		return err
	}
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
	requests := telemetry.NewDelayedWriter(stdout)
	defer requests.Flush()
	tuneProcessors(db.Dialect())
	err = serve(ctx, cfg, budget, log, newLogger(cfg, requests), listener, certificates, files, spooled, db)
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
	o, err := databaseOptions(cfg, cacheBytes, log)
	if err != nil {
		return nil, err
	}
	return database.Open(ctx, o)
}

// needDatabase returns an error if the file of the embedded database does not exist.
// Opening the database would create it.
func needDatabase(cfg config.Config) error {
	if cfg.DatabaseURL.Reveal() != "" {
		return nil
	}
	if _, err := os.Stat(cfg.SQLitePath()); err != nil {
		return fmt.Errorf("there is no database in the data folder (DATA_DIR): %w", err)
	}
	return nil
}

// connectUpgraded connects a subcommand to a database that has this program's schema.
func connectUpgraded(ctx context.Context, cfg config.Config, log *slog.Logger) (*database.DB, error) {
	if err := needDatabase(cfg); err != nil {
		return nil, err
	}
	db, err := connect(ctx, cfg, 0, log)
	if err != nil {
		return nil, err
	}
	if err := db.CheckSchema(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("the database is not of this version; start its backend first: %w", err), db.Close())
	}
	return db, nil
}

func databaseOptions(cfg config.Config, cacheBytes int64, log *slog.Logger) (database.Options, error) {
	o := database.Options{
		URL: cfg.DatabaseURL.Reveal(), Path: cfg.SQLitePath(), PoolSize: cfg.DatabasePoolSize, Wait: cfg.DatabaseWait, Log: log,
		CacheBytes: cacheBytes, Sync: cfg.DatabaseSync, AllowWeak: cfg.DatabaseAllowWeak,
	}
	if cfg.BlocksURL.Bucket == "" {
		return o, nil
	}
	blocks, err := bucket.Open(bucketLocation(cfg, cfg.BlocksURL.BucketURL))
	if err != nil {
		return o, fmt.Errorf("BLOCKS_URL: %w", err)
	}
	o.Objects = bucket.NewObjects(blocks)
	return o, nil
}

// openFiles opens the storage of target files.
func openFiles(cfg config.Config) (*sample.Store, error) {
	if cfg.FilesURL.Bucket == "" {
		return sample.Open(cfg.FilesDir())
	}
	return sample.OpenBucket(cfg.FilesDir(), bucketLocation(cfg, cfg.FilesURL.BucketURL))
}

func bucketLocation(cfg config.Config, u config.BucketURL) bucket.Location {
	return bucket.Location{
		Endpoint: u.Endpoint, Region: u.Region, Name: u.Bucket, Prefix: u.Prefix,
		AccessKey: cfg.BucketAccessKey.Reveal(), SecretKey: cfg.BucketSecretKey.Reveal(),
	}
}

// mayOwnFiles reports whether all stored target files belong to the configured database.
// With PostgreSQL, an embedded database that was used before may own files in the data
// folder.
func mayOwnFiles(cfg config.Config) bool {
	_, err := os.Stat(cfg.SQLitePath())
	return cfg.FilesURL.Bucket != "" || cfg.DatabaseURL.Reveal() == "" || errors.Is(err, fs.ErrNotExist)
}

// dashboardURL returns the URL at which a browser on this machine opens the dashboard of a
// backend that listens on an address.
func dashboardURL(scheme string, listening net.Addr) string {
	host, port, err := net.SplitHostPort(listening.String())
	if err != nil {
		return scheme + "://" + listening.String() + "/"
	}
	if slices.Contains([]string{"127.0.0.1", "::1", "0.0.0.0", "::"}, host) {
		host = "localhost"
	}
	return scheme + "://" + net.JoinHostPort(host, port) + "/"
}

// openCertificate opens the certificate of the settings; nil without TLS.
func openCertificate(cfg config.Config, log *slog.Logger) (*certificate.Files, error) {
	if !cfg.UsesTLS() {
		return nil, nil //nolint:nilnil // the backend serves plain HTTP
	}
	cert, key := cfg.TLSCert, cfg.TLSKey
	if cfg.IsSelfSigned() {
		hosts := append([]string{"localhost", "127.0.0.1", "::1", string(cfg.Host)}, cfg.AllowedHosts...)
		if name, err := os.Hostname(); err == nil {
			hosts = append(hosts, name)
		}
		slices.Sort(hosts)
		var err error
		if cert, key, err = certificate.SelfSigned(cfg.TLSDir(), slices.Compact(hosts)); err != nil {
			return nil, fmt.Errorf("the certificate in the data folder %s (DATA_DIR): %w", cfg.DataDir, err)
		}
	}
	files, err := certificate.Open(cert, key, log)
	if err != nil {
		return nil, fmt.Errorf("the certificate cannot be used (TLS_CERT, TLS_KEY): %w", err)
	}
	return files, nil
}

// listenError explains why the backend cannot listen, and what the operator can do.
func listenError(cfg config.Config, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("port %d on %s is taken by another program: stop it, or set PORT", cfg.Port, cfg.Host)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("port %d on %s may not be used by this user: set PORT to one above 1023", cfg.Port, cfg.Host)
	}
	return fmt.Errorf("cannot listen on %s (HOST, PORT): %w", cfg.Addr(), err)
}

// ignoreInterrupt returns nil if ctx has ended, otherwise err: an error after that is a
// consequence of the shutdown.
func ignoreInterrupt(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil //nolint:nilerr // this is what the function is for
	}
	return err
}

// newLogger returns a logger with the configured format and level.
func newLogger(cfg config.Config, w io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: cfg.LogLevel}
	if cfg.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// version is set by release builds (-ldflags "-X ospulse/internal/app.version=…").
var version = "" //nolint:gochecknoglobals // the linker needs a variable

// BuildVersion returns the version of the release, or "dev-" and the commit of a build
// from a checkout.
func BuildVersion() string {
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
