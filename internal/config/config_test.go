package config_test

import (
	"errors"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/joho/godotenv"

	"ospulse/internal/config"
)

// env is a process environment: env{"PORT": "1"}.get is its os.Getenv.
type env map[string]string

func (e env) get(name string) string { return e[name] }

// with returns the variables of e and of others.
func (e env) with(others env) env {
	all := maps.Clone(e)
	maps.Copy(all, others)
	return all
}

// load calls Load without a .env file. The variables must be valid.
func load(t *testing.T, e env) config.Config {
	t.Helper()
	c, err := config.Load(e.get, "")
	if err != nil {
		t.Fatalf("Load(%v) = %v", e, err)
	}
	return c
}

// writeDotenv returns the path of a new .env file.
func writeDotenv(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), ".env")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoadDefaults(t *testing.T) {
	want := config.Config{
		Host:              "127.0.0.1",
		Port:              3003,
		TLS:               "off",
		DatabaseWait:      30 * time.Second,
		DatabasePoolSize:  16,
		DatabaseSync:      "on",
		CommitTimeout:     4 * time.Second,
		ReadTimeout:       30 * time.Second,
		ExportsMax:        4,
		DataDir:           "data",
		MinFreeMB:         64,
		SpoolMaxMB:        512,
		IdempotencyKeep:   90 * 24 * time.Hour,
		SealAfter:         config.SealAfter(time.Hour),
		DiskLow:           "refuse",
		OIDCRoleClaim:     "roles",
		OIDCScopes:        "profile email",
		OIDCName:          "single sign-on",
		WebhookLevel:      "high",
		AgentURL:          "http://localhost:7000",
		AgentTimeout:      8 * time.Second,
		AgentPollInterval: 10 * time.Second,
		AgentLostAfter:    2 * time.Minute,
		SessionLostAfter:  30 * time.Second,
		MaxUploadMB:       100,
		MaxBodyMB:         16,
		StreamsMax:        4096,
		StreamsPerClient:  1024,

		ImportMaxMB:     4096,
		CORSOrigins:     []string{"http://localhost:5173"},
		LogFormat:       "text",
		LogLevel:        slog.LevelInfo,
		ShutdownTimeout: 9 * time.Second,
	}
	for name, e := range map[string]env{
		"nothing is set":        {},
		"everything is empty":   {"HOST": "", "PORT": "", "DATABASE_URL": "", "CORS_ORIGINS": ""},
		"everything is a blank": {"HOST": " ", "PORT": "\t", "DATABASE_URL": " ", "CORS_ORIGINS": " "},
	} {
		t.Run(name, func(t *testing.T) {
			if got := load(t, e); !reflect.DeepEqual(got, want) {
				t.Errorf("got %v\nwant %v", got, want)
			}
		})
	}
}

func TestDerivedValues(t *testing.T) {
	c := load(t, env{"HOST": "::1", "PORT": "0", "DATA_DIR": "some/where", "MAX_UPLOAD_MB": "2048", "MAX_BODY_MB": "1", "MIN_FREE_MB": "1073741824"})
	got := []any{c.Addr(), c.SQLitePath(), c.MaxUploadBytes(), c.MaxBodyBytes(), c.MinFreeBytes()}
	want := []any{"[::1]:0", filepath.Join("some", "where", "ospulse.db"), int64(2 << 30), int64(1 << 20), int64(1 << 50)}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestCertificateNeedsBothFiles checks that TLS_CERT and TLS_KEY come together, and that they
// replace the certificate that the backend makes.
func TestCertificateNeedsBothFiles(t *testing.T) {
	for name, e := range map[string]env{
		"TLS_KEY":  {"TLS_CERT": "cert.pem"},
		"TLS_CERT": {"TLS_KEY": "key.pem"},
		"TLS":      {"TLS_CERT": "cert.pem", "TLS_KEY": "key.pem", "TLS": "self-signed"},
	} {
		_, err := config.Load(e.get, "")
		var faults config.Faults
		if !errors.As(err, &faults) || len(faults) != 1 || faults[0].Name != name {
			t.Errorf("%v: got %v, want a fault of %s", e, err, name)
		}
	}
	if c := load(t, env{"TLS_CERT": "cert.pem", "TLS_KEY": "key.pem"}); !c.UsesTLS() || c.IsSelfSigned() {
		t.Error("a certificate of files is not used")
	}
}

// TestSettingsOfOIDC checks which settings need others, that all faults are reported at once,
// and that no secret is shown.
func TestSettingsOfOIDC(t *testing.T) {
	good := env{"OIDC_ISSUER": "https://login.test/realms/Lab/", "OIDC_CLIENT_ID": "ospulse", "OIDC_CLIENT_SECRET": "hunter2", "OIDC_ROLES": "cn=ops = admin, lab=analyst,*=viewer", "PUBLIC_URL": "https://pulse.test/"}
	c := load(t, good)
	want := config.Roles{"cn=ops": "admin", "lab": "analyst", "*": "viewer"}
	if c.OIDCIssuer != "https://login.test/realms/Lab/" || !reflect.DeepEqual(c.OIDCRoles, want) || strings.Contains(c.String(), "hunter2") {
		t.Errorf("got %s", c)
	}
	for name, tt := range map[string]struct {
		env  env
		want []string // the names of the faults
	}{
		"the issuer alone":                {env{"OIDC_CLIENT_ID": "", "OIDC_ROLES": "", "PUBLIC_URL": ""}, []string{"OIDC_CLIENT_ID", "OIDC_ROLES", "PUBLIC_URL"}},
		"no issuer":                       {env{"OIDC_ISSUER": ""}, []string{"OIDC_ISSUER"}},
		"all wrong":                       {env{"OIDC_ISSUER": "login.test", "OIDC_ROLES": "ops", "OIDC_CLIENT_ID": "", "PUBLIC_URL": "x"}, []string{"OIDC_ISSUER", "OIDC_ROLES", "PUBLIC_URL", "OIDC_CLIENT_ID"}},
		"http beyond this machine":        {env{"OIDC_ISSUER": "http://login.test"}, []string{"OIDC_ISSUER"}},
		"a query":                         {env{"OIDC_ISSUER": "https://login.test/?x=1"}, []string{"OIDC_ISSUER"}},
		"http on this machine":            {env{"OIDC_ISSUER": "http://localhost:8080"}, nil},
		"a public client":                 {env{"OIDC_CLIENT_SECRET": ""}, nil},
		"the role agent":                  {env{"OIDC_ROLES": "ops=admin,agents=agent"}, []string{"OIDC_ROLES"}},
		"an unknown role":                 {env{"OIDC_ROLES": "ops=root"}, []string{"OIDC_ROLES"}},
		"no value":                        {env{"OIDC_ROLES": "=admin"}, []string{"OIDC_ROLES"}},
		"a value with two roles":          {env{"OIDC_ROLES": "ops=admin,ops=viewer"}, []string{"OIDC_ROLES"}},
		"an open backend with a provider": {env{"OSPULSE_INSECURE": "true"}, []string{"OSPULSE_INSECURE"}},
	} {
		_, err := config.Load(good.with(tt.env).get, "")
		var faults config.Faults
		errors.As(err, &faults)
		var got []string
		for _, f := range faults {
			got = append(got, f.Name)
		}
		if slices.Sort(got); !slices.Equal(got, slices.Sorted(slices.Values(tt.want))) {
			t.Errorf("%s: %v, want faults of %v", name, err, tt.want)
		}
	}
}

// TestReadsOfAPool checks that heavy reads and streams never take all connections of a
// pool that is large enough.
func TestReadsOfAPool(t *testing.T) {
	for name, tt := range map[string]struct {
		env            env
		processors     int
		reads, streams int
	}{
		"default, two processors":  {env{}, 2, 2, 4},
		"default, one processor":   {env{}, 1, 2, 4},
		"default, many processors": {env{}, 64, 8, 4},
		"a small pool":             {env{"DATABASE_POOL_SIZE": "4"}, 64, 2, 1},
		"the smallest pool":        {env{"DATABASE_POOL_SIZE": "2"}, 64, 1, 1},
		"as asked for":             {env{"READS_MAX": "5"}, 2, 5, 4},
		"more than the pool has":   {env{"READS_MAX": "100"}, 2, 8, 4},
	} {
		t.Run(name, func(t *testing.T) {
			c := load(t, tt.env)
			if reads, streams := c.HeavyReads(tt.processors), c.StreamReaders(); reads != tt.reads || streams != tt.streams {
				t.Errorf("%d reads and %d streams, want %d and %d", reads, streams, tt.reads, tt.streams)
			}
		})
	}
}

// TestAccepted lists the accepted values of each variable and the resulting settings.
func TestAccepted(t *testing.T) {
	const insecure = "OSPULSE_INSECURE"
	host := func(c config.Config) any { return string(c.Host) }
	database := func(c config.Config) any { return c.DatabaseURL.Reveal() }
	agent := func(c config.Config) any { return string(c.AgentURL) }
	origins := func(c config.Config) any { return []string(c.CORSOrigins) }
	files := func(c config.Config) any { return c.FilesURL.BucketURL }
	blocks := func(c config.Config) any { return c.BlocksURL.BucketURL }
	bucketKeys := env{"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "s/3+cret"}
	const multiHost = "postgres://u:p@h1:5432,h2:5432/db?target_session_attrs=read-write"
	for name, test := range map[string]struct {
		env   env
		field func(config.Config) any
		want  any
	}{
		"host: another loopback address":      {env{"HOST": "127.9.9.9"}, host, "127.9.9.9"},
		"host: IPv6 in its short form":        {env{"HOST": "0:0:0:0:0:0:0:1"}, host, "::1"},
		"host: in lower case":                 {env{"HOST": "LocalHost"}, host, "localhost"},
		"host: every address, if asked for":   {env{"HOST": "0.0.0.0", insecure: "true"}, host, "0.0.0.0"},
		"host: a name, if asked for":          {env{"HOST": "vm_1.lab", insecure: "1"}, host, "vm_1.lab"},
		"database: postgresql scheme":         {env{"DATABASE_URL": "postgresql://h/db"}, database, "postgresql://h/db"},
		"database: several hosts":             {env{"DATABASE_URL": multiHost}, database, multiHost},
		"database: encoded password":          {env{"DATABASE_URL": "postgres://u:%40%2F@h/db"}, database, "postgres://u:%40%2F@h/db"},
		"database: blanks around are no part": {env{"DATABASE_URL": " postgres://h/db \r"}, database, "postgres://h/db"},
		"agent: no slash at the end":          {env{"AGENT_SERVICE_URL": "HTTPS://Agent:7000/base//"}, agent, "https://agent:7000/base"},
		"agent: alias":                        {env{"AGENT_URL": "http://a"}, agent, "http://a"},
		"origins: as a browser sends them":    {env{"CORS_ORIGINS": "HTTP://Lab:80, https://lab:443,,http://[::1]:5173,"}, origins, []string{"http://lab", "https://lab", "http://[::1]:5173"}},
		"allowed hosts: in lower case":        {env{"ALLOWED_HOSTS": "Pulse.Lab, 10.0.0.7,::1"}, func(c config.Config) any { return []string(c.AllowedHosts) }, []string{"pulse.lab", "10.0.0.7", "::1"}},
		"files: the data folder":              {env{"FILES_URL": "file://", "AWS_ENDPOINT_URL": "anything"}, files, config.BucketURL{}},
		"files: a bucket of Amazon":           {env{"FILES_URL": "s3://bucket", "AWS_REGION": "eu-central-1"}.with(bucketKeys), files, config.BucketURL{Bucket: "bucket", Endpoint: "https://s3.eu-central-1.amazonaws.com", Region: "eu-central-1"}},
		"files: another service":              {env{"FILES_URL": "s3://bucket/a/b/", "AWS_ENDPOINT_URL": "http://s3:9000/"}.with(bucketKeys), files, config.BucketURL{Bucket: "bucket", Prefix: "a/b", Endpoint: "http://s3:9000", Region: "us-east-1"}},
		"files: the options win":              {env{"FILES_URL": "s3://bucket?region=here&endpoint=http://127.0.0.1:9000", "AWS_REGION": "there", "AWS_ENDPOINT_URL": "anything"}.with(bucketKeys), files, config.BucketURL{Bucket: "bucket", Endpoint: "http://127.0.0.1:9000", Region: "here"}},
		"blocks: in the database":             {env{"FILES_URL": "s3://bucket"}.with(bucketKeys), blocks, config.BucketURL{}},
		"blocks: beside the files":            {env{"FILES_URL": "s3://bucket/a", "BLOCKS_URL": "s3://bucket/ab", "AWS_ENDPOINT_URL": "http://s3:9000/"}.with(bucketKeys), blocks, config.BucketURL{Bucket: "bucket", Prefix: "ab", Endpoint: "http://s3:9000", Region: "us-east-1"}},
		"blocks: another service":             {env{"FILES_URL": "s3://bucket", "BLOCKS_URL": "s3://bucket?endpoint=http://s3:9000&region=x"}.with(bucketKeys), blocks, config.BucketURL{Bucket: "bucket", Endpoint: "http://s3:9000", Region: "x"}},
		"log level: in any case":              {env{"LOG_LEVEL": "WARN"}, func(c config.Config) any { return c.LogLevel }, slog.LevelWarn},
		"log format":                          {env{"LOG_FORMAT": "json"}, func(c config.Config) any { return c.LogFormat }, "json"},
		"duration: zero":                      {env{"DATABASE_WAIT": "0"}, func(c config.Config) any { return c.DatabaseWait }, time.Duration(0)},
		"duration: upper end":                 {env{"SHUTDOWN_TIMEOUT": "10s"}, func(c config.Config) any { return c.ShutdownTimeout }, 10 * time.Second},
		"agent lost: with slow polls":         {env{"AGENT_POLL_INTERVAL": "5m"}, func(c config.Config) any { return c.AgentLostAfter }, 15 * time.Minute},
		"agent lost: polled in time":          {env{"AGENT_LOST_AFTER": "6s"}, func(c config.Config) any { return c.AgentPollInterval }, 3 * time.Second},
		"number: upper end":                   {env{"PORT": "65535"}, func(c config.Config) any { return c.Port }, 65535},
	} {
		t.Run(name, func(t *testing.T) {
			if got := test.field(load(t, test.env)); !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %#v, want %#v", got, test.want)
			}
		})
	}
}

// TestRefused lists the refused values of each variable. Each is one fault that names
// the variable, shows got and contains the words in wants.
func TestRefused(t *testing.T) {
	long := strings.Repeat("x", 200)
	for outcome, test := range map[string]struct{ variable, value, got, wants string }{
		"TLS: unknown":                     {"TLS", "on", `"on"`, "one of off, self-signed"},
		"agents: no address":               {"AGENT_ALLOW", "10.0.0.5,agent.lab", `"10.0.0.5,agent.lab"`, "as item 2 an IP address"},
		"proxies: no network":              {"TRUSTED_PROXIES", "10.0.0.0/33", `"10.0.0.0/33"`, "an IP address"},
		"host: with a port":                {"HOST", "localhost:3003", `"localhost:3003"`, "without brackets or port"},
		"host: in brackets":                {"HOST", "[::1]", `"[::1]"`, "without brackets or port"},
		"port: too large":                  {"PORT", "65536", `"65536"`, "a whole number from 0 to 65535"},
		"port: below zero":                 {"PORT", "-1", `"-1"`, "from 0 to 65535"},
		"port: no number":                  {"PORT", "http", `"http"`, "a whole number"},
		"insecure: neither true nor false": {"OSPULSE_INSECURE", "yes", `"yes"`, "true or false"},
		"wait: no unit":                    {"DATABASE_WAIT", "30", `"30"`, "a duration with its unit"},
		"wait: too long":                   {"DATABASE_WAIT", "11m", `"11m"`, "from 0s to 10m"},
		"pool: too small":                  {"DATABASE_POOL_SIZE", "1", `"1"`, "from 2 to 500"},
		"sync: off":                        {"DATABASE_SYNC", "off", `"off"`, "one of local, remote_write, on, remote_apply"},
		"pool: too large":                  {"DATABASE_POOL_SIZE", "501", `"501"`, "from 2 to 500"},
		"reads: too many":                  {"READS_MAX", "501", `"501"`, "from 0 to 500"},
		"read: too short":                  {"READ_TIMEOUT", "10ms", `"10ms"`, "from 1s to 10m"},
		"exports: none":                    {"EXPORTS_MAX", "0", `"0"`, "from 1 to 1000"},
		"free: below zero":                 {"MIN_FREE_MB", "-1", `"-1"`, "from 0 to 1073741824"},
		"upload: zero":                     {"MAX_UPLOAD_MB", "0", `"0"`, "from 1 to 2048"},
		"streams: none":                    {"STREAMS_MAX", "0", `"0"`, "from 1 to 1000000"},
		"streams of a client: no number":   {"STREAMS_PER_CLIENT", "many", `"many"`, "from 1 to 1000000"},

		"keep: too short":                    {"IDEMPOTENCY_KEEP", "59m", `"59m"`, "from 1h"},
		"retain: negative":                   {"RETAIN_DAYS", "-1", `"-1"`, "a number from 0"},
		"retain: a word":                     {"RETAIN_GB", "10GB", `"10GB"`, "such as 30 or 0.5"},
		"retain: no number":                  {"RETAIN_GB", "NaN", `"NaN"`, "a number from 0"},
		"retain: too much":                   {"RETAIN_DAYS", "1e9", `"1e9"`, "to 1000000"},
		"disk: a word":                       {"DISK_LOW", "panic", `"panic"`, "one of refuse, retain"},
		"disk: nothing to remove":            {"DISK_LOW", "retain", `"retain"`, "RETAIN_DAYS or RETAIN_GB"},
		"seal: negative":                     {"SEAL_AFTER", "-1s", `"-1s"`, "never, or a duration"},
		"seal: a word":                       {"SEAL_AFTER", "always", `"always"`, "never, or a duration"},
		"keep: no unit":                      {"IDEMPOTENCY_KEEP", "90", `"90"`, "a duration with its unit"},
		"import: too large":                  {"IMPORT_MAX_MB", "1048577", `"1048577"`, "from 1 to 1048576"},
		"import: nothing":                    {"IMPORT_MAX_MB", "0", `"0"`, "from 1 to 1048576"},
		"body: too large":                    {"MAX_BODY_MB", "257", `"257"`, "from 1 to 256"},
		"agent: no scheme":                   {"AGENT_SERVICE_URL", "localhost:7000", `"localhost:7000"`, "http://localhost:7000"},
		"agent: another scheme":              {"AGENT_SERVICE_URL", "ftp://a", `"ftp://a"`, "http or https"},
		"agent: no host":                     {"AGENT_SERVICE_URL", "http:///x", `"http:///x"`, "a host"},
		"agent: query":                       {"AGENT_SERVICE_URL", "http://a?", `"http://a?"`, "nothing after ?"},
		"agent: fragment":                    {"AGENT_SERVICE_URL", "http://a#", `"http://a#"`, "nothing after ? or #"},
		"agent: password":                    {"AGENT_SERVICE_URL", "http://u:p@a", `"http://***"`, "no user or password"},
		"agent: port too large":              {"AGENT_SERVICE_URL", "http://a:70000", `"http://a:70000"`, "http://localhost:7000"},
		"agent: the alias is named":          {"AGENT_URL", "no", `"no"`, "http://localhost:7000"},
		"agent timeout: beyond the caller's": {"AGENT_TIMEOUT", "9.1s", `"9.1s"`, "from 100ms to 9s"},
		"agent poll: too often":              {"AGENT_POLL_INTERVAL", "1ms", `"1ms"`, "from 1s to 10m"},
		"agent lost: at once":                {"AGENT_LOST_AFTER", "0s", `"0s"`, "from 1s to 24h"},
		"session lost: no unit":              {"SESSION_LOST_AFTER", "30", `"30"`, "from 1s to 24h"},
		"shutdown: too long":                 {"SHUTDOWN_TIMEOUT", "11s", `"11s"`, "from 1s to 10s"},
		"origins: all":                       {"CORS_ORIGINS", "*", `"*"`, "could start a sample"},
		"origins: a path":                    {"CORS_ORIGINS", "http://a/", `"http://a/"`, "no slash"},
		"origins: the second":                {"CORS_ORIGINS", "http://a,b", `"http://a,b"`, "as item 2 an origin"},
		"origins: null":                      {"CORS_ORIGINS", "null", `"null"`, "an origin such as"},
		"allowed hosts: a port":              {"ALLOWED_HOSTS", "a:1", `"a:1"`, "without brackets or port"},
		"allowed hosts: a pattern":           {"ALLOWED_HOSTS", "*.lab", `"*.lab"`, "a host name"},
		"webhook: no URL":                    {"WEBHOOK_URL", "example.com/hook", `"***"`, "a URL such as https://example.com/hook"},
		"webhook: a password":                {"WEBHOOK_URL", "https://u:p@h/x", `"https://***"`, "no user or password"},
		"webhook: a level":                   {"WEBHOOK_LEVEL", "huge", `"huge"`, "one of informational, low, medium, high, critical"},
		"blocks: a folder":                   {"BLOCKS_URL", "file://", `"file://"`, "s3://bucket/prefix, with the options endpoint"},
		"files: no scheme":                   {"FILES_URL", "bucket", `"bucket"`, "s3://bucket/prefix"},
		"files: a folder":                    {"FILES_URL", "file:///tmp", `"file:///tmp"`, "for the data folder"},
		"files: keys in the URL":             {"FILES_URL", "s3://id:secret@bucket", `"s3://***"`, "AWS_SECRET_ACCESS_KEY"},
		"files: no bucket":                   {"FILES_URL", "s3:///prefix", `"s3:///prefix"`, "s3://bucket/prefix"},
		"files: a prefix that leads out":     {"FILES_URL", "s3://bucket/a/../b", `"s3://bucket/a/../b"`, "s3://bucket/prefix"},
		"files: an unknown option":           {"FILES_URL", "s3://bucket?secret=x", `"s3://bucket?secret=x"`, "the options endpoint"},
		"files: an endpoint with a path":     {"FILES_URL", "s3://bucket?endpoint=http://s3/x", `"s3://bucket?endpoint=http://s3/x"`, "the options endpoint"},
		"files: a key with a blank":          {"AWS_SECRET_ACCESS_KEY", "hun ter2", `"***"`, "without blanks"},
		"log format: unknown":                {"LOG_FORMAT", "xml", `"xml"`, "one of text, json"},
		"log level: unknown":                 {"LOG_LEVEL", "loud", `"loud"`, "one of debug, info, warn, error"},
		"log level: not slog's INFO+1":       {"LOG_LEVEL", "INFO+1", `"INFO+1"`, "one of debug"},
		"database: another scheme":           {"DATABASE_URL", "mysql://u:p@h/db", `"mysql://***"`, "embedded SQLite"},
		"database: no URL":                   {"DATABASE_URL", "host=h password=p", `"***"`, "postgres://user:password@host:5432/database"},
		"database: '@' in the password":      {"DATABASE_URL", "postgres://u:p@p@h/db", `"postgres://***"`, "%40 for @"},
		"database: '/' in the password":      {"DATABASE_URL", "postgres://u:1/p@h/db", `"postgres://***"`, "%2F for /"},
		"database: '%' in the password":      {"DATABASE_URL", "postgres://u:100%@h/db", `"postgres://***"`, "%25 for %"},
		"database: no '@' but a password":    {"DATABASE_URL", "postgres://u:pw", `"postgres://***"`, "user:password@host"},
		"database: port too large":           {"DATABASE_URL", "postgres://h:70000/db", `"postgres://***"`, "ports from 1 to 65535"},
		"database: ports do not fit hosts":   {"DATABASE_URL", "postgres://h:1,i:2,j/db?port=1,2", `"postgres://***"`, "after the ? only options"},
		"database: unknown sslmode":          {"DATABASE_URL", "postgres://h/db?sslmode=maybe", `"postgres://***"`, "after the ? only options"},
		"database: unknown mode of pgx":      {"DATABASE_URL", "postgres://h/db?default_query_exec_mode=x", `"postgres://***"`, "after the ? only options"},
		"database: missing certificate":      {"DATABASE_URL", "postgres://u:a?b@h/db?sslrootcert=/no/such/file", `"postgres://***"`, "files that exist"},
		"a database URL in the wrong place":  {"LOG_FORMAT", "postgres://u:p@h/db", `"postgres://***"`, "one of text, json"},
		"a long value is shortened":          {"LOG_FORMAT", long, `"` + long[:80] + `…"`, "one of text, json"},
		"a line break does not break lines":  {"LOG_FORMAT", "a\nb", `"a\nb"`, "one of text, json"},
	} {
		t.Run(outcome, func(t *testing.T) {
			_, err := config.Load(env{test.variable: test.value}.get, "")
			var faults config.Faults
			if !errors.As(err, &faults) || len(faults) != 1 {
				t.Fatalf("got %v, want one fault", err)
			}
			fault := faults[0]
			if fault.Name != test.variable || fault.Got != test.got || !strings.Contains(fault.Wants, test.wants) {
				t.Errorf("got  %v\nwant %s: got %s, wants … %s …", fault, test.variable, test.got, test.wants)
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("more than one line: %q", err)
			}
		})
	}
}

func TestDatabaseURLBesidePGVariables(t *testing.T) {
	t.Setenv("PGSSLMODE", "maybe")
	_, err := config.Load(env{"DATABASE_URL": "postgres://h/db"}.get, "")
	if err == nil || !strings.Contains(err.Error(), "PGSSLMODE") {
		t.Errorf("got %v, want a fault that names PGSSLMODE", err)
	}
	load(t, env{"DATABASE_URL": "postgres://h/db?sslmode=disable"})
}

func TestBucketNeedsKeys(t *testing.T) {
	_, err := config.Load(env{"FILES_URL": "s3://bucket"}.get, "")
	if err == nil || strings.Count(err.Error(), "wants the key of the bucket that FILES_URL names") != 2 {
		t.Errorf("got %v, want a fault of either key", err)
	}
	_, err = config.Load(env{"FILES_URL": "s3://bucket", "AWS_ACCESS_KEY_ID": "id"}.get, "")
	if err == nil || !strings.HasPrefix(err.Error(), "AWS_SECRET_ACCESS_KEY: ") || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v, want a fault of the key that is missing", err)
	}
	_, err = config.Load(env{"FILES_URL": "s3://bucket", "AWS_ENDPOINT_URL": "s3:9000"}.get, "")
	if err == nil || !strings.HasPrefix(err.Error(), "AWS_ENDPOINT_URL: ") {
		t.Errorf("got %v, want a fault of the endpoint", err)
	}
	_, err = config.Load(env{"BLOCKS_URL": "s3://bucket", "FILES_URL": "s3://files", "AWS_ENDPOINT_URL": "s3:9000", "AWS_ACCESS_KEY_ID": "id"}.get, "")
	if err == nil || strings.Count(err.Error(), "\n") != 1 || !strings.Contains(err.Error(), "AWS_SECRET_ACCESS_KEY: ") || !strings.Contains(err.Error(), "FILES_URL or BLOCKS_URL") {
		t.Errorf("got %v, want a fault of the endpoint and one of the key that is missing", err)
	}
	for _, prefix := range []string{"", "/a", "/a/b"} { // the sweep of files would list all blocks
		_, err = config.Load(env{"FILES_URL": "s3://bucket/a", "BLOCKS_URL": "s3://bucket" + prefix}.with(env{"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "key"}).get, "")
		if isInside := prefix != ""; (err != nil) != isInside || isInside && !strings.HasPrefix(err.Error(), "BLOCKS_URL: ") {
			t.Errorf("blocks at %q beside files at /a: %v", prefix, err)
		}
	}
	c := load(t, env{"FILES_URL": "s3://bucket/a", "AWS_ACCESS_KEY_ID": "hunter1", "AWS_SECRET_ACCESS_KEY": "hunter2"})
	if shown := c.String(); strings.Contains(shown, "hunter") || !strings.Contains(shown, "s3://bucket/a?endpoint=") {
		t.Errorf("shows %s", shown)
	}
}

func TestFaultsAreCollected(t *testing.T) {
	path := writeDotenv(t, "LOG_LEVEL=loud\nwhat is this\n")
	_, err := config.Load(env{"PORT": "a", "HOST": "b:c"}.get, path)
	want := path + `:2: got a line that cannot be understood, wants NAME=value, NAME='value' with both quotes, or # and a comment
HOST: got "b:c", wants a host name or an IP address, without brackets or port
PORT: got "a", wants a whole number from 0 to 65535
LOG_LEVEL: got "loud", wants one of debug, info, warn, error`
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%v", err, want)
	}
}

// template returns .env.example.
func template(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../.env.example")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestTwoAgents checks that a setting with different values under its two names is
// refused, and that the error has both names.
func TestTwoAgents(t *testing.T) {
	for name, load := range map[string]func() (config.Config, error){
		"environment": func() (config.Config, error) {
			return config.Load(env{"AGENT_SERVICE_URL": "http://a", "AGENT_URL": "http://b"}.get, writeDotenv(t, ""))
		},
		"file": func() (config.Config, error) {
			return config.Load(env{}.get, writeDotenv(t, "AGENT_URL=http://b\nAGENT_SERVICE_URL=http://a\n"))
		},
	} {
		if _, err := load(); err == nil || !strings.Contains(err.Error(), "AGENT_SERVICE_URL and AGENT_URL") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestBackslashesInDotenv checks that a value in double quotes reads as in a shell.
func TestBackslashesInDotenv(t *testing.T) {
	for text, want := range map[string]string{
		`"C:\new\readme"`: `C:\new\readme`, `"C:\Users\x"`: `C:\Users\x`, `"a\\b"`: `a\b`, `"say \"hi\""`: `say "hi"`, `"pa\$s"`: `pa$s`, `"\d+\."`: `\d+\.`,
		`'C:\new'`: `C:\new`, `C:\new\readme`: `C:\new\readme`, `"\\\\server\share"`: `\\server\share`, `"C:\dir" # "C:\new"`: `C:\dir`, `"${PORT}\n"`: `1\n`, `"é\ü"`: `é\ü`, `"C:\data\\"`: `C:\data\`, `"\""`: `"`, `"\\$PORT"`: `\1`, `"a\	b"`: "a\\\tb",
	} {
		for _, before := range []string{"", "export ", "  "} {
			c, err := config.Load(env{}.get, writeDotenv(t, "PORT=1\n# A=\"\\n\n"+before+"DATA_DIR="+text+"\nHOST=\"localhost\"\n"))
			if err != nil || c.DataDir != want || c.Host != "localhost" {
				t.Errorf("%s%s is read as %q (host %q, %v), want %q", before, text, c.DataDir, c.Host, err, want)
			}
		}
	}
}

func TestDotenv(t *testing.T) {
	type fields struct {
		port int
		url  string
	}
	for outcome, test := range map[string]struct {
		env     env
		content string
		want    fields
	}{
		"fills in what is unset":        {env{}, "PORT=1", fields{1, "http://localhost:7000"}},
		"fills in what is empty":        {env{"PORT": ""}, "PORT=1\n", fields{1, "http://localhost:7000"}},
		"the environment wins":          {env{"PORT": "2"}, "PORT=1\n", fields{2, "http://localhost:7000"}},
		"empty values are unset":        {env{}, "PORT=\nAGENT_URL=''\n", fields{3003, "http://localhost:7000"}},
		"Windows line endings":          {env{}, "# x\r\nPORT=1\r\nAGENT_URL=http://a\r\n", fields{1, "http://a"}},
		"byte order mark":               {env{}, "\uFEFFPORT=1\n", fields{1, "http://localhost:7000"}},
		"quotes, export and comments":   {env{}, "export PORT='1' # x\nAGENT_URL=\"http://a\"\n", fields{1, "http://a"}},
		"alias in the environment wins": {env{"AGENT_URL": "http://a"}, "AGENT_SERVICE_URL=http://b\n", fields{3003, "http://a"}},
		"alias alone":                   {env{}, "AGENT_URL=http://a\n", fields{3003, "http://a"}},
		"alias with the same value":     {env{}, "AGENT_URL=http://a\nAGENT_SERVICE_URL=http://a\n", fields{3003, "http://a"}},
		"the template and an alias":     {env{}, template(t) + "\nAGENT_URL=http://a\n", fields{3003, "http://a"}},
		"single quotes keep $ and #":    {env{}, "PORT=1\nAGENT_URL='http://a/$PORT' #\n", fields{1, "http://a/$PORT"}},
		"nothing in it":                 {env{}, "", fields{3003, "http://localhost:7000"}},
	} {
		t.Run(outcome, func(t *testing.T) {
			c, err := config.Load(test.env.get, writeDotenv(t, test.content))
			if got := (fields{c.Port, string(c.AgentURL)}); err != nil || got != test.want {
				t.Errorf("got %v, %v; want %v", got, err, test.want)
			}
		})
	}
}

func TestDotenvLeavesTheEnvironmentAlone(t *testing.T) {
	const name = "OSPULSE_TEST_ONLY_IN_DOTENV"
	if _, err := config.Load(os.Getenv, writeDotenv(t, name+"=1\n")); err != nil {
		t.Fatal(err)
	}
	if value, ok := os.LookupEnv(name); ok {
		t.Errorf("%s=%s got into the process environment", name, value)
	}
}

func TestDotenvRefused(t *testing.T) {
	const secret = "hunter2"
	for outcome, test := range map[string]struct{ content, line, got string }{
		"no equals sign":        {"A=1\n\n# c\n" + secret + "\nB=1\n", ":4", "cannot be understood"},
		"no equals sign at end": {"A=1\nB=2\n" + secret, ":3", "cannot be understood"},
		"quote left open":       {"A='1\n2'\nB='" + secret + "\nC=1\n", ":3", "cannot be understood"},
		"first line":            {"A B!=" + secret, ":1", "cannot be understood"},
		"UTF-16":                {"\xff\xfeA\x00=\x001\x00", "", "another encoding"},
		"UTF-16 without mark":   {"A\x00=\x001\x00", "", "another encoding"},
	} {
		t.Run(outcome, func(t *testing.T) {
			path := writeDotenv(t, test.content)
			_, err := config.Load(env{}.get, path)
			if err == nil || !strings.HasPrefix(err.Error(), path+test.line+": got ") || !strings.Contains(err.Error(), test.got) {
				t.Fatalf("got %v, want %s%s: … %s …", err, path, test.line, test.got)
			}
			if strings.Contains(err.Error(), secret) {
				t.Errorf("shows a value: %v", err)
			}
		})
	}
	t.Run("directory", func(t *testing.T) {
		dir := t.TempDir()
		_, err := config.Load(env{}.get, dir)
		if err == nil || !strings.HasPrefix(err.Error(), dir+": got an error") || strings.Count(err.Error(), dir) != 1 {
			t.Errorf("got %v, want a fault of %s", err, dir)
		}
	})
	t.Run("no file is no fault", func(t *testing.T) {
		if _, err := config.Load(env{}.get, filepath.Join(t.TempDir(), "none")); err != nil {
			t.Error(err)
		}
	})
}

// TestExample keeps .env.example complete and true: it has every variable that
// Load asks for, and every value in it but DATABASE_URL is the default.
func TestExample(t *testing.T) {
	const path = "../../.env.example"
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}

	active, err := godotenv.UnmarshalBytes(content)
	if want := (map[string]string{"PORT": "3003"}); err != nil || !maps.Equal(active, want) {
		t.Errorf("active: got %v, %v; want %v", active, err, want)
	}

	everyLine := regexp.MustCompile(`(?m)^# ([A-Z_]+=)`).ReplaceAll(content, []byte("$1"))
	shown, err := godotenv.UnmarshalBytes(everyLine)
	if err != nil {
		t.Fatal(err)
	}
	asked := map[string]bool{}
	defaults, err := config.Load(func(name string) string { asked[name] = true; return "" }, "")
	if err != nil {
		t.Fatal(err)
	}
	got, want := slices.Sorted(maps.Keys(shown)), slices.Sorted(maps.Keys(asked))
	if !slices.Equal(got, want) {
		t.Errorf("variables:\ngot  %v\nwant %v", got, want)
	}
	for name, value := range shown {
		c := load(t, env{name: value})
		if name == "DATABASE_URL" {
			c.DatabaseURL = config.DatabaseURL{}
		}
		if !reflect.DeepEqual(c, defaults) {
			t.Errorf("%s=%s is not the default", name, value)
		}
	}
}
