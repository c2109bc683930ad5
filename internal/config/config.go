// Package config turns environment variables, and a .env file that fills in
// those that are unset, into one typed and checked Config.
//
// It is the only place that knows the names and defaults of the variables. It
// opens nothing but the .env file and changes nothing: no database, no port, no
// process environment.
package config

import (
	"cmp"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// Config has all settings of an operator, checked. The tags of a field are its variable
// (env), its default (envDefault) and its valid values: a range (range), or one of some
// words in any case (oneof). Printing or logging a Config never shows the database
// password or a key.
type Config struct {
	// Host is where the server listens.
	Host Host `env:"HOST" envDefault:"127.0.0.1"`
	// Port is where the server listens; 0 takes any free port.
	Port int `env:"PORT" envDefault:"3003" range:"0..65535"`
	// Insecure accepts requests without a key although other machines can reach Host,
	// until a key exists.
	Insecure bool `env:"OSPULSE_INSECURE"`
	// AgentAllow are the addresses of old agents, which cannot send a key.
	AgentAllow Networks `env:"AGENT_ALLOW"`
	// TrustedProxies are the addresses of proxies whose X-Forwarded-For is believed.
	TrustedProxies Networks `env:"TRUSTED_PROXIES"`
	// AuditDays is how many days an entry of the audit is kept; 0 keeps it for ever.
	AuditDays Amount `env:"AUDIT_DAYS" envDefault:"0"`

	// OIDCIssuer is the OpenID Connect provider at which people sign in; "" for none. It needs
	// OIDCClientID, OIDCRoles and PublicURL, and requires keys of all others.
	OIDCIssuer   Issuer `env:"OIDC_ISSUER"`
	OIDCClientID string `env:"OIDC_CLIENT_ID"`
	// OIDCClientSecret is empty for a public client, which has only PKCE.
	OIDCClientSecret Secret `env:"OIDC_CLIENT_SECRET"`
	// OIDCRoleClaim is the claim of the ID token, or the path to it, whose values OIDCRoles
	// turns into roles.
	OIDCRoleClaim string `env:"OIDC_ROLE_CLAIM" envDefault:"roles"`
	OIDCRoles     Roles  `env:"OIDC_ROLES"`
	// OIDCScopes are the scopes besides openid, separated by blanks.
	OIDCScopes string `env:"OIDC_SCOPES" envDefault:"profile email"`
	// OIDCName is what the dashboard calls the provider.
	OIDCName string `env:"OIDC_NAME" envDefault:"single sign-on"`

	// TLS is "self-signed" for a certificate that the backend makes.
	TLS string `env:"TLS" envDefault:"off" oneof:"off self-signed"`
	// TLSCert and TLSKey are the files of a certificate chain and its key, in PEM.
	TLSCert string `env:"TLS_CERT"`
	TLSKey  string `env:"TLS_KEY"`

	// DatabaseURL is the address of PostgreSQL. Without it, the backend uses the
	// embedded SQLite database at SQLitePath.
	DatabaseURL DatabaseURL `env:"DATABASE_URL"`
	// DatabaseWait is how long the start retries a database that is not up yet.
	DatabaseWait time.Duration `env:"DATABASE_WAIT" envDefault:"30s" range:"0s..10m"`
	// DatabasePoolSize is the most connections to open at once, besides those
	// reserved for ingest.
	DatabasePoolSize int `env:"DATABASE_POOL_SIZE" envDefault:"16" range:"2..500"`

	// DatabaseSync is PostgreSQL's synchronous_commit for every transaction that
	// writes.
	DatabaseSync string `env:"DATABASE_SYNC" envDefault:"on" oneof:"local remote_write on remote_apply"`
	// DatabaseAllowWeak accepts a PostgreSQL that runs with fsync = off, which can
	// lose every event in a crash of its machine.
	DatabaseAllowWeak bool `env:"DATABASE_ALLOW_WEAK"`

	// CommitTimeout is how long events may take to be stored before they go to the spool.
	CommitTimeout time.Duration `env:"COMMIT_TIMEOUT" envDefault:"4s" range:"1s..10m"`

	// ReadsMax is how many heavy reads (searches, counts, histograms, pages of an
	// export) run at once; see HeavyReads for 0.
	ReadsMax int `env:"READS_MAX" range:"0..500"`
	// ReadTimeout limits one heavy read.
	ReadTimeout time.Duration `env:"READ_TIMEOUT" envDefault:"30s" range:"1s..10m"`
	// ExportsMax is how many exports run at once.
	ExportsMax int `env:"EXPORTS_MAX" envDefault:"4" range:"1..1000"`

	// DataDir holds uploaded files, the spool and the embedded database.
	DataDir string `env:"DATA_DIR" envDefault:"data"`
	// MinFreeMB is the free space in DataDir, in MB of 2^20 bytes, below which the
	// backend reports itself not ready and, if its database is there, refuses events.
	MinFreeMB int `env:"MIN_FREE_MB" envDefault:"64" range:"0..1073741824"`

	// RetainDays is how many days after its end a session is removed, and RetainGB is
	// the size in GB of 2^30 bytes above which the oldest sessions are; 0 keeps them.
	RetainDays Amount `env:"RETAIN_DAYS" envDefault:"0"`
	RetainGB   Amount `env:"RETAIN_GB" envDefault:"0"`
	// DiskLow says what happens when DataDir's free space comes near MinFreeMB:
	// "refuse" refuses events below MinFreeMB, and "retain" removes the oldest sessions
	// before that.
	DiskLow string `env:"DISK_LOW" envDefault:"refuse" oneof:"refuse retain"`

	// RulesDir is a folder of detection rules besides those of this program; "" for none.
	RulesDir string `env:"RULES_DIR"`

	// WebhookURL gets the new findings of WebhookLevel and above; "" for none. WebhookSecret,
	// which it needs, is the key of the signatures.
	WebhookURL    WebhookURL `env:"WEBHOOK_URL"`
	WebhookSecret Secret     `env:"WEBHOOK_SECRET"`
	WebhookLevel  string     `env:"WEBHOOK_LEVEL" envDefault:"high" oneof:"informational low medium high critical"`
	// PublicURL is the URL at which users open the dashboard, for links in what is sent to
	// others; "" for that of this machine.
	PublicURL BaseURL `env:"PUBLIC_URL"`

	// FilesURL is the location of target files: a bucket, or if empty the folder files
	// in DataDir. AWS_ENDPOINT_URL and AWS_REGION fill in its options.
	FilesURL FilesURL `env:"FILES_URL"`
	// BlocksURL is the location of the blocks of sealed events: a bucket, or if empty the
	// database. The same variables fill in its options.
	BlocksURL BlocksURL `env:"BLOCKS_URL"`
	// BucketAccessKey and BucketSecretKey are the keys of the buckets, which need both.
	BucketAccessKey Secret `env:"AWS_ACCESS_KEY_ID"`
	BucketSecretKey Secret `env:"AWS_SECRET_ACCESS_KEY"`

	// SpoolMaxMB is how much the spool keeps in DataDir, in MB of 2^20 bytes, of
	// events that arrive while the database is unavailable; 0 refuses them.
	SpoolMaxMB int `env:"SPOOL_MAX_MB" envDefault:"512" range:"0..1048576"`

	// IdempotencyKeep is how long an Idempotency-Key is kept at least.
	IdempotencyKeep time.Duration `env:"IDEMPOTENCY_KEEP" envDefault:"2160h" range:"1h..87600h"`

	// SealAfter is how long after the end of a session, or after the newest event of a
	// segment, its events are sealed.
	SealAfter SealAfter `env:"SEAL_AFTER" envDefault:"1h"`

	// AgentURL is the base URL of the default agent. AGENT_URL is another name of its
	// variable.
	AgentURL BaseURL `env:"AGENT_SERVICE_URL" envDefault:"http://localhost:7000"`
	// AgentKey is the key that the default agent requires.
	AgentKey Secret `env:"AGENT_API_KEY"`
	// AgentTimeout limits one operation on an agent, so that the client gets an
	// answer within 10 seconds.
	AgentTimeout time.Duration `env:"AGENT_TIMEOUT" envDefault:"8s" range:"100ms..9s"`
	// AgentPollInterval is the time between two health checks of an agent, at most
	// half of AgentLostAfter.
	AgentPollInterval time.Duration `env:"AGENT_POLL_INTERVAL" envDefault:"10s" range:"1s..10m"`
	// AgentLostAfter is how long an agent may be silent until its active sessions
	// say so. The default is 2m, or three times AGENT_POLL_INTERVAL if that is more.
	AgentLostAfter time.Duration `env:"AGENT_LOST_AFTER" range:"1s..24h"`
	// SessionLostAfter is how long the heartbeats of an agent may leave out an active
	// session until it ends.
	SessionLostAfter time.Duration `env:"SESSION_LOST_AFTER" envDefault:"30s" range:"1s..24h"`

	// AgentEventsPerSecond and AgentMBPerSecond, in MB of 2^20 bytes, limit what each agent
	// or key may send; 0 is no limit.
	AgentEventsPerSecond int    `env:"AGENT_EVENTS_PER_SECOND" range:"0..1000000000"`
	AgentMBPerSecond     Amount `env:"AGENT_MB_PER_SECOND" envDefault:"0"`

	// MaxUploadMB limits an uploaded file, in MB of 2^20 bytes.
	MaxUploadMB int `env:"MAX_UPLOAD_MB" envDefault:"100" range:"1..2048"`
	// MaxBodyMB limits any other request body, in MB of 2^20 bytes.
	MaxBodyMB int `env:"MAX_BODY_MB" envDefault:"16" range:"1..256"`

	// StreamsMax is how many live streams may be open at once.
	StreamsMax int `env:"STREAMS_MAX" envDefault:"4096" range:"1..1000000"`
	// StreamsPerClient is how many live streams one IP address may have open.
	StreamsPerClient int `env:"STREAMS_PER_CLIENT" envDefault:"1024" range:"1..1000000"`

	// ImportMaxMB limits a bundle, both compressed and decompressed, in MB of 2^20
	// bytes.
	ImportMaxMB int `env:"IMPORT_MAX_MB" envDefault:"4096" range:"1..1048576"`

	// CORSOrigins are the other web origins whose pages may call the API.
	CORSOrigins Origins `env:"CORS_ORIGINS" envDefault:"http://localhost:5173"`
	// AllowedHosts are the names under which clients may address this backend besides
	// localhost and Host.
	AllowedHosts Hosts `env:"ALLOWED_HOSTS"`

	// LogFormat is "text" or "json".
	LogFormat string `env:"LOG_FORMAT" envDefault:"text" oneof:"text json"`
	// LogLevel is the least level that is logged.
	LogLevel slog.Level `env:"LOG_LEVEL" envDefault:"info" oneof:"debug info warn error"`

	// ShutdownTimeout limits the orderly part of a shutdown, so that the program ends
	// within 10 seconds.
	ShutdownTimeout time.Duration `env:"SHUTDOWN_TIMEOUT" envDefault:"9s" range:"1s..10s"`
}

// variables are all variables: those of Config, and those that fill it in.
type variables struct {
	Config
	AgentAlias    BaseURL `env:"AGENT_URL"`
	BucketRegion  string  `env:"AWS_REGION" envDefault:"us-east-1"`
	BucketService string  `env:"AWS_ENDPOINT_URL"`
}

// Load reads every variable through getenv (os.Getenv outside of tests). It takes
// a variable that is unset, empty or blank there from the file at dotenvPath; a
// variable without a value in either has its default. A file that does not exist is
// no fault. The error, if any, is of type Faults and lists all that is wrong.
func Load(getenv func(string) string, dotenvPath string) (Config, error) {
	file, faults := readDotenv(dotenvPath)
	var v variables
	fields := reflect.VisibleFields(reflect.TypeOf(v))
	values := environment(fields, getenv, file)
	refused, err := parse(&v, values)
	if err != nil {
		return Config{}, err
	}
	for _, field := range fields {
		name := field.Tag.Get("env")
		value := reflect.ValueOf(&v).Elem().FieldByIndex(field.Index)
		if err := check(field.Tag, value, refused[field.Name]); err != nil && values[name] != "" {
			_, secret := value.Interface().(interface{ Reveal() string })
			faults = append(faults, Fault{Name: name, Got: quote(values[name], secret), Wants: err.Error()})
		}
	}
	if faults = append(faults, v.combine(values)...); len(faults) > 0 {
		return Config{}, faults
	}
	return v.Config, nil
}

// combine checks and completes the fields that depend on several variables.
func (v *variables) combine(values map[string]string) (faults Faults) {
	refuse := func(name, wants string) {
		faults = append(faults, Fault{Name: name, Got: quote(values[name], false), Wants: wants})
	}
	switch {
	case v.TLSCert == "" && v.TLSKey != "":
		refuse("TLS_CERT", "the file of the certificate beside TLS_KEY")
	case v.TLSCert != "" && v.TLSKey == "":
		refuse("TLS_KEY", "the file of the key beside TLS_CERT")
	case v.TLSCert != "" && v.IsSelfSigned():
		refuse("TLS", "off, because TLS_CERT and TLS_KEY name a certificate")
	}
	if alias, name := values["AGENT_URL"], values["AGENT_SERVICE_URL"]; alias != "" {
		if name != "" && name != alias {
			faults = append(faults, Fault{
				Name: "AGENT_SERVICE_URL and AGENT_URL", Got: "different values for the same setting", Wants: "one of them, or the same value in both",
			})
		}
		v.AgentURL = v.AgentAlias
	}
	var needing []string // the settings that name a bucket
	var badService error
	for _, in := range []struct {
		name string
		url  *BucketURL
	}{{"FILES_URL", &v.FilesURL.BucketURL}, {"BLOCKS_URL", &v.BlocksURL.BucketURL}} {
		if in.url.Bucket != "" {
			needing = append(needing, in.name)
			badService = cmp.Or(badService, in.url.complete(v.BucketRegion, v.BucketService))
		}
	}
	if badService != nil {
		refuse("AWS_ENDPOINT_URL", badService.Error())
	}
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} {
		if values[name] == "" && len(needing) > 0 {
			refuse(name, "the key of the bucket that "+strings.Join(needing, " or ")+" names")
		}
	}
	if v.WebhookURL.Reveal() != "" && v.WebhookSecret.Reveal() == "" {
		refuse("WEBHOOK_SECRET", "the key with which the receiver of WEBHOOK_URL checks the signatures")
	}
	needed := []struct{ name, wants string }{
		{"OIDC_CLIENT_ID", "the ID of this backend at OIDC_ISSUER"}, {"OIDC_ROLES", wantsRoles},
		{"PUBLIC_URL", "the URL at which users open the dashboard, to which OIDC_ISSUER sends them back"},
	}
	hasIssuer := values["OIDC_ISSUER"] != ""
	for _, other := range needed {
		if hasIssuer && values[other.name] == "" {
			refuse(other.name, other.wants)
		}
	}
	switch {
	case !hasIssuer && values["OIDC_CLIENT_ID"]+values["OIDC_CLIENT_SECRET"]+values["OIDC_ROLES"] != "":
		refuse("OIDC_ISSUER", "the issuer of the OpenID Connect provider that the other settings OIDC_… are for")
	case hasIssuer && v.Insecure:
		refuse("OSPULSE_INSECURE", "false, because OIDC_ISSUER requires everyone to sign in")
	}
	switch {
	case v.DiskLow != diskRetain:
	case v.DatabaseURL.Reveal() != "":
		refuse("DISK_LOW", "refuse: the backend does not see the disk of PostgreSQL; RETAIN_GB limits what is stored there")
	case v.RetainDays == 0 && v.RetainGB == 0:
		refuse("DISK_LOW", "RETAIN_DAYS or RETAIN_GB beside it: without them nothing is ever removed")
	case v.MinFreeMB == 0:
		refuse("DISK_LOW", "a MIN_FREE_MB above 0 beside it")
	}
	if v.BlocksURL.Bucket != "" && v.FilesURL.holds(v.BlocksURL.BucketURL) {
		refuse("BLOCKS_URL", "a bucket or prefix outside that of FILES_URL, because each sweep of files lists everything there")
	}
	v.AgentLostAfter = cmp.Or(v.AgentLostAfter, max(2*time.Minute, 3*v.AgentPollInterval))
	v.AgentPollInterval = min(v.AgentPollInterval, v.AgentLostAfter/2)
	return faults
}

// RequiresKeys reports whether every request needs a key even before one exists, because
// other machines can reach the backend.
func (c Config) RequiresKeys() bool { return !c.Host.loopback() && !c.Insecure }

// IsSelfSigned reports whether the backend makes its own certificate.
func (c Config) IsSelfSigned() bool { return c.TLS == "self-signed" }

// UsesTLS reports whether the backend serves HTTPS.
func (c Config) UsesTLS() bool { return c.TLSCert != "" || c.IsSelfSigned() }

// TLSDir is the folder of the certificate that the backend makes, in DataDir.
func (c Config) TLSDir() string { return filepath.Join(c.DataDir, "tls") }

// AuditKeep is AuditDays as a duration.
func (c Config) AuditKeep() time.Duration {
	return time.Duration(float64(c.AuditDays) * 24 * float64(time.Hour))
}

// Addr is Host and Port as net.Listen takes them; IPv6 addresses get brackets.
func (c Config) Addr() string { return net.JoinHostPort(string(c.Host), strconv.Itoa(c.Port)) }

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

// AgentBytesPerSecond is AgentMBPerSecond in bytes.
func (c Config) AgentBytesPerSecond() float64 { return float64(c.AgentMBPerSecond) * (1 << 20) }

// MaxUploadBytes is MaxUploadMB in bytes.
func (c Config) MaxUploadBytes() int64 { return int64(c.MaxUploadMB) << 20 }

// ImportDir is the folder of bundles that are being read, in DataDir.
func (c Config) ImportDir() string { return filepath.Join(c.DataDir, "imports") }

// ImportMaxBytes is ImportMaxMB in bytes.
func (c Config) ImportMaxBytes() int64 { return int64(c.ImportMaxMB) << 20 }

// MaxBodyBytes is MaxBodyMB in bytes.
func (c Config) MaxBodyBytes() int64 { return int64(c.MaxBodyMB) << 20 }

// RetainAge is RetainDays as a duration.
func (c Config) RetainAge() time.Duration {
	return time.Duration(float64(c.RetainDays) * 24 * float64(time.Hour))
}

// RetainBytes is RetainGB in bytes.
func (c Config) RetainBytes() int64 { return int64(float64(c.RetainGB) * (1 << 30)) }

// RetainsEarly reports whether retention runs when the disk is nearly full.
func (c Config) RetainsEarly() bool { return c.DiskLow == diskRetain }

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
