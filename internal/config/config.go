// Package config turns environment variables, and a .env file that fills in
// what they leave unset, into one typed and checked Config.
//
// It is the only place that knows the names and defaults of the variables. It
// opens nothing but the .env file and changes nothing: no database, no port, no
// process environment.
package config

import (
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"reflect"
	"strconv"
	"time"
)

// Config is everything that an operator can choose, checked. Each field names
// its variable and default. Printing or logging a Config in any way never shows
// the database password, or a key.
type Config struct {
	// Host is where the server listens, a host name or an IP address without
	// brackets, in lower case. HOST, default 127.0.0.1.
	Host string
	// Port is where the server listens, 0 to 65535; 0 takes any free port.
	// PORT, default 3003.
	Port int
	// Insecure allows a Host that other machines can reach, although nobody has
	// to show a key. OSPULSE_INSECURE, default false.
	Insecure bool

	// DatabaseURL says where PostgreSQL is; when it is not set, the embedded
	// SQLite database at SQLitePath is meant. DATABASE_URL, default unset.
	DatabaseURL DatabaseURL
	// DatabaseWait is how long the start retries a database that is not up yet,
	// 0 to 10 minutes. DATABASE_WAIT, default 30s.
	DatabaseWait time.Duration
	// DatabasePoolSize is the most connections to open at once, besides those that
	// ingest has for itself, 2 to 500. DATABASE_POOL_SIZE, default 16.
	DatabasePoolSize int

	// DatabaseSync is PostgreSQL's synchronous_commit for every transaction that
	// writes: local, remote_write, on or remote_apply. DATABASE_SYNC, default on.
	DatabaseSync string
	// DatabaseAllowWeak takes a PostgreSQL that runs with fsync = off, which can lose
	// every event in a crash of its machine. DATABASE_ALLOW_WEAK, default false.
	DatabaseAllowWeak bool

	// ReadsMax is how many heavy reads (searches, counts, histograms, pages of an
	// export) run at once, 0 to 500; 0 is half of DatabasePoolSize, but not more than
	// there are processors, or 2. READS_MAX, default 0.
	ReadsMax int
	// ReadTimeout limits one heavy read, 1s to 10m. READ_TIMEOUT, default 30s.
	ReadTimeout time.Duration
	// ExportsMax is how many exports run at once, 1 to 1000. EXPORTS_MAX, default 4.
	ExportsMax int

	// DataDir holds uploaded files, the spool and the embedded database.
	// DATA_DIR, default data.
	DataDir string
	// MinFreeMB is the free space in DataDir, in MB of 2^20 bytes, below which
	// the backend reports itself not ready; 0 to 1073741824. MIN_FREE_MB, default 64.
	MinFreeMB int

	// FilesURL says where target files are: a bucket, or the folder files in DataDir
	// when it is not set. FILES_URL, default unset. Without the options endpoint and
	// region, AWS_ENDPOINT_URL and AWS_REGION count.
	FilesURL FilesURL
	// FilesAccessKey and FilesSecretKey are the keys of the bucket.
	// AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, default none; a bucket needs both.
	FilesAccessKey Secret
	FilesSecretKey Secret

	// SpoolMaxMB is how much is kept in DataDir, in MB of 2^20 bytes, of events that
	// come in while the database is away, 0 to 1048576; with 0 they are refused.
	// SPOOL_MAX_MB, default 512.
	SpoolMaxMB int

	// IdempotencyKeep is how long an Idempotency-Key is kept at least, 1h to 87600h.
	// IDEMPOTENCY_KEEP, default 2160h, which is 90 days.
	IdempotencyKeep time.Duration

	// AgentURL is the base URL of the default agent, http or https, without a
	// trailing slash. AGENT_SERVICE_URL or AGENT_URL, which must not differ, default
	// http://localhost:7000.
	AgentURL string
	// AgentKey is the key that the default agent asks for. AGENT_API_KEY, default
	// none.
	AgentKey Secret
	// AgentTimeout limits one operation on an agent, 100ms to 9s, so that whoever
	// asked for it hears within 10 seconds. AGENT_TIMEOUT, default 8s.
	AgentTimeout time.Duration
	// AgentPollInterval is the time between two health checks of an agent, 1s to
	// 10m, and at most half of AgentLostAfter. AGENT_POLL_INTERVAL, default 10s.
	AgentPollInterval time.Duration
	// AgentLostAfter is for how long an agent may be silent until its active sessions
	// say so, 1s to 24h. AGENT_LOST_AFTER, default 2m, or three times
	// AGENT_POLL_INTERVAL if that is more.
	AgentLostAfter time.Duration
	// SessionLostAfter is for how long the heartbeats of an agent may leave out an
	// active session until it ends, 1s to 24h. SESSION_LOST_AFTER, default 30s.
	SessionLostAfter time.Duration

	// MaxUploadMB limits an uploaded file, in MB of 2^20 bytes, 1 to 2048.
	// MAX_UPLOAD_MB, default 100.
	MaxUploadMB int
	// MaxBodyMB limits any other request body, in MB of 2^20 bytes, 1 to 256.
	// MAX_BODY_MB, default 16.
	MaxBodyMB int

	// StreamsMax is how many live streams may be open at once, 1 to 1000000.
	// STREAMS_MAX, default 4096.
	StreamsMax int
	// StreamsPerClient is how many of them one client, which is an IP address, may
	// have, 1 to 1000000. STREAMS_PER_CLIENT, default 1024.
	StreamsPerClient int

	// ImportMaxMB limits a bundle, as it is sent and as it is when decompressed, in
	// MB of 2^20 bytes, 1 to 1048576. IMPORT_MAX_MB, default 4096.
	ImportMaxMB int

	// CORSOrigins are the other web origins whose pages may call the API, each as
	// a browser sends it: scheme://host or scheme://host:port. CORS_ORIGINS,
	// comma-separated, default http://localhost:5173.
	CORSOrigins []string
	// AllowedHosts are the host names and IP addresses, without port and in lower
	// case, under which clients may address this backend besides localhost and
	// Host. ALLOWED_HOSTS, comma-separated, default none.
	AllowedHosts []string

	// LogFormat is "text" or "json". LOG_FORMAT, default text.
	LogFormat string
	// LogLevel is the least level that is logged. LOG_LEVEL (debug, info, warn or
	// error), default info.
	LogLevel slog.Level

	// ShutdownTimeout limits the orderly part of a shutdown, 1s to 10s: the
	// program is gone 10 seconds after it was told to. SHUTDOWN_TIMEOUT, default 9s.
	ShutdownTimeout time.Duration
}

// Load reads every variable through getenv (os.Getenv outside of tests); one
// that is unset, empty or blank there is taken from the file at dotenvPath, and
// one that is in neither has its default. A file that does not exist is no
// fault. The error, if any, is of type Faults and lists all that is wrong.
func Load(getenv func(string) string, dotenvPath string) (Config, error) {
	r := newReader(getenv, dotenvPath)
	insecure := read(r, "OSPULSE_INSECURE", "false", boolean)
	config := Config{
		Host:     read(r, "HOST", "127.0.0.1", listenHost(insecure)),
		Port:     read(r, "PORT", "3003", number(0, 65535)),
		Insecure: insecure,

		DatabaseURL:      read(r, "DATABASE_URL", "", databaseURL),
		DatabaseWait:     read(r, "DATABASE_WAIT", "30s", duration(0, 10*time.Minute)),
		DatabasePoolSize: read(r, "DATABASE_POOL_SIZE", "16", number(2, 500)),

		DatabaseSync:      read(r, "DATABASE_SYNC", "on", oneOf("local", "remote_write", "on", "remote_apply")),
		DatabaseAllowWeak: read(r, "DATABASE_ALLOW_WEAK", "false", boolean),

		ReadsMax:    read(r, "READS_MAX", "0", number(0, 500)),
		ReadTimeout: read(r, "READ_TIMEOUT", "30s", duration(time.Second, 10*time.Minute)),
		ExportsMax:  read(r, "EXPORTS_MAX", "4", number(1, 1000)),

		DataDir:   read(r, "DATA_DIR", "data", text),
		MinFreeMB: read(r, "MIN_FREE_MB", "64", number(0, 1<<30)),

		FilesURL:       r.filesURL(),
		FilesAccessKey: read(r, "AWS_ACCESS_KEY_ID", "", key),
		FilesSecretKey: read(r, "AWS_SECRET_ACCESS_KEY", "", key),

		SpoolMaxMB: read(r, "SPOOL_MAX_MB", "512", number(0, 1<<20)),

		IdempotencyKeep: read(r, "IDEMPOTENCY_KEEP", "2160h", duration(time.Hour, 87600*time.Hour)),

		AgentURL:          read(r, "AGENT_SERVICE_URL", "http://localhost:7000", agentURL, "AGENT_URL"),
		AgentKey:          read(r, "AGENT_API_KEY", "", key),
		AgentTimeout:      read(r, "AGENT_TIMEOUT", "8s", duration(100*time.Millisecond, 9*time.Second)),
		AgentPollInterval: read(r, "AGENT_POLL_INTERVAL", "10s", duration(time.Second, 10*time.Minute)),
		SessionLostAfter:  read(r, "SESSION_LOST_AFTER", "30s", duration(time.Second, 24*time.Hour)),

		MaxUploadMB: read(r, "MAX_UPLOAD_MB", "100", number(1, 2048)),
		MaxBodyMB:   read(r, "MAX_BODY_MB", "16", number(1, 256)),
		ImportMaxMB: read(r, "IMPORT_MAX_MB", "4096", number(1, 1<<20)),

		StreamsMax:       read(r, "STREAMS_MAX", "4096", number(1, 1_000_000)),
		StreamsPerClient: read(r, "STREAMS_PER_CLIENT", "1024", number(1, 1_000_000)),

		CORSOrigins:  read(r, "CORS_ORIGINS", "http://localhost:5173", list(origin)),
		AllowedHosts: read(r, "ALLOWED_HOSTS", "", list(host)),

		LogFormat: read(r, "LOG_FORMAT", "text", oneOf("text", "json")),
		LogLevel:  read(r, "LOG_LEVEL", "info", logLevel),

		ShutdownTimeout: read(r, "SHUTDOWN_TIMEOUT", "9s", duration(time.Second, 10*time.Second)),
	}
	if config.FilesURL.Bucket != "" && len(r.faults) == 0 {
		r.require("AWS_ACCESS_KEY_ID", config.FilesAccessKey)
		r.require("AWS_SECRET_ACCESS_KEY", config.FilesSecretKey)
	}
	lostAfter := max(2*time.Minute, 3*config.AgentPollInterval)
	config.AgentLostAfter = read(r, "AGENT_LOST_AFTER", lostAfter.String(), duration(time.Second, 24*time.Hour))
	config.AgentPollInterval = min(config.AgentPollInterval, config.AgentLostAfter/2)
	if len(r.faults) > 0 {
		return Config{}, r.faults
	}
	return config, nil
}

// Addr is Host and Port as net.Listen takes them; IPv6 addresses get brackets.
func (c Config) Addr() string { return net.JoinHostPort(c.Host, strconv.Itoa(c.Port)) }

// HeavyReads is how many heavy reads run at once on a machine with so many
// processors: at most half of the connections, so that the others stay free for what
// is quick.
func (c Config) HeavyReads(processors int) int {
	half := max(c.DatabasePoolSize/2, 1)
	if c.ReadsMax > 0 {
		return min(c.ReadsMax, half)
	}
	return min(half, max(processors, 2))
}

// StreamReaders is how many live streams read the database at once.
func (c Config) StreamReaders() int { return max(c.DatabasePoolSize/4, 1) }

// SQLitePath is the file of the embedded database, in DataDir.
func (c Config) SQLitePath() string { return filepath.Join(c.DataDir, "ospulse.db") }

// FilesDir is the folder of target files, or of their uploads, in DataDir.
func (c Config) FilesDir() string { return filepath.Join(c.DataDir, "files") }

// SpoolDir is the folder of events that wait for the database, in DataDir.
func (c Config) SpoolDir() string { return filepath.Join(c.DataDir, "spool") }

// SpoolMaxBytes is SpoolMaxMB in bytes.
func (c Config) SpoolMaxBytes() int64 { return int64(c.SpoolMaxMB) << 20 }

// MaxUploadBytes is MaxUploadMB in bytes.
func (c Config) MaxUploadBytes() int64 { return int64(c.MaxUploadMB) << 20 }

// ImportDir is the folder of bundles that are being read, in DataDir.
func (c Config) ImportDir() string { return filepath.Join(c.DataDir, "imports") }

// ImportMaxBytes is ImportMaxMB in bytes.
func (c Config) ImportMaxBytes() int64 { return int64(c.ImportMaxMB) << 20 }

// MaxBodyBytes is MaxBodyMB in bytes.
func (c Config) MaxBodyBytes() int64 { return int64(c.MaxBodyMB) << 20 }

// MinFreeBytes is MinFreeMB in bytes.
func (c Config) MinFreeBytes() int64 { return int64(c.MinFreeMB) << 20 }

// LogValue is a group with one attribute per field, for the start log.
func (c Config) LogValue() slog.Value {
	var attrs []slog.Attr
	for field, value := range reflect.ValueOf(c).Fields() {
		attrs = append(attrs, slog.String(field.Name, fmt.Sprint(value.Interface())))
	}
	return slog.GroupValue(attrs...)
}

// String lists all fields as [Name=value ...].
func (c Config) String() string { return c.LogValue().String() }

// GoString is String, for %#v.
func (c Config) GoString() string { return c.String() }
