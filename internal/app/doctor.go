package app

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"ospulse/internal/agentclient"
	"ospulse/internal/certificate"
	"ospulse/internal/config"
	"ospulse/internal/database"
	"ospulse/internal/durable"
	"ospulse/internal/models"
	"ospulse/internal/repository"
	"ospulse/internal/service"
)

const doctorUsage = `Check what the backend depends on, and say what to change.

Usage: ospulse-backend doctor

It checks the data folder and its disk, the database and its settings, the clocks, the
agents, the OpenID Connect provider, the backend's own certificate, and those of all https
URLs in the settings. It changes nothing, and a backend may run meanwhile. Run it as the
backend's user, with the backend's settings. The exit code is 1 if something needs a change;
warnings alone are 0.
`

// doctorPatience limits each check, so that a host that does not answer costs no more.
const doctorPatience = 10 * time.Second

// runDoctor runs the subcommand doctor with its arguments.
func runDoctor(ctx context.Context, args []string, cfg config.Config, stdout io.Writer) error {
	if len(args) > 0 {
		if args[0] == "help" || args[0] == "--help" || args[0] == "-h" {
			_, err := io.WriteString(stdout, doctorUsage)
			return err
		}
		return errors.New("doctor takes no arguments; see ospulse-backend doctor --help")
	}
	d := &doctor{cfg: cfg, now: time.Now, out: stdout}
	for _, check := range []func(context.Context){d.checkBackend, d.checkFolder, d.checkDatabase, d.checkClock, d.checkAgent, d.checkProvider, d.checkCertificates} {
		limited, cancel := context.WithTimeout(ctx, doctorPatience)
		check(limited)
		cancel()
	}
	switch {
	case d.err != nil:
		return d.err
	case ctx.Err() != nil:
		return errors.New("it was interrupted")
	case d.faults > 0:
		return fmt.Errorf("doctor found %d faults", d.faults)
	}
	return nil
}

// doctor writes one line for each finding.
type doctor struct {
	cfg    config.Config
	roots  *x509.CertPool // nil for those of the system
	now    func() time.Time
	out    io.Writer
	err    error // of the first line that could not be written
	faults int
}

func (d *doctor) say(level, what, format string, args ...any) {
	text := strings.Map(func(r rune) rune {
		if unicode.IsControl(r) { // of an agent or a server
			return ' '
		}
		return r
	}, fmt.Sprintf(format, args...))
	_, err := fmt.Fprintf(d.out, "%-8s %-12s %s\n", level, what, text)
	d.err = cmp.Or(d.err, err)
}

func (d *doctor) ok(what, format string, args ...any)   { d.say("ok", what, format, args...) }
func (d *doctor) warn(what, format string, args ...any) { d.say("warning", what, format, args...) }

func (d *doctor) fault(what, format string, args ...any) {
	d.faults++
	d.say("fault", what, format, args...)
}

// checkBackend asks a running backend what it knows about itself.
func (d *doctor) checkBackend(ctx context.Context) {
	const what = "backend"
	d.ok(what, "%s, version %s, settings are correct", d.cfg.Addr(), BuildVersion())
	response, err := get(ctx, ownURL(d.cfg)+"/readyz")
	if err != nil {
		d.warn(what, "it does not run: %v", err)
		return
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusUnauthorized && response.Header.Get("WWW-Authenticate") != "" {
		d.ok(what, "it runs and requires keys, so its own checks are not listed here: GET /readyz with a key")
		return
	}
	var ready struct{ Checks map[string]string }
	if err := json.NewDecoder(io.LimitReader(response.Body, 1<<20)).Decode(&ready); err != nil || ready.Checks == nil {
		d.fault(what, "another program answers at its address: set PORT, or stop that program")
		return
	}
	for _, name := range slices.Sorted(maps.Keys(ready.Checks)) {
		if text := ready.Checks[name]; text != "ok" {
			d.warn(what, "/readyz, %s: %s", name, text)
		}
	}
	if response.StatusCode == http.StatusOK {
		d.ok(what, "it runs and is ready")
	} else {
		d.fault(what, "it runs and is not ready")
	}
}

// ownURL returns the URL of the backend that has these settings, for this machine.
func ownURL(cfg config.Config) string {
	host := string(cfg.Host)
	if address, err := netip.ParseAddr(host); err == nil && address.IsUnspecified() {
		host = "127.0.0.1" // also of a machine without DNS
		if address.Is6() {
			host = "::1"
		}
	}
	scheme := "http"
	if cfg.UsesTLS() {
		scheme = "https"
	}
	return scheme + "://" + net.JoinHostPort(host, strconv.Itoa(cfg.Port))
}

// runHealth runs the subcommand health: it returns an error unless the backend answers. It
// is for supervisors in containers, which have no other program.
func runHealth(ctx context.Context, cfg config.Config) error {
	ctx, cancel := context.WithTimeout(ctx, doctorPatience)
	defer cancel()
	response, err := get(ctx, ownURL(cfg)+"/healthz")
	if err != nil {
		return fmt.Errorf("the backend does not answer: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("the backend answers %s", response.Status)
	}
	return nil
}

// get makes a request without the proxies of the environment. Unlike the backend's own
// requests, it is for what any program may ask.
func get(ctx context.Context, to string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, to, nil)
	if err != nil {
		return nil, err
	}
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // it sends no secret, and the backend's own certificate does not name the loopback
	}}
	response, err := client.Do(request)
	if failed, ok := errors.AsType[*url.Error](err); ok {
		err = failed.Err // without the URL
	}
	return response, err
}

// checkFolder checks the data folder and its disk.
func (d *doctor) checkFolder(context.Context) {
	const what = "data folder"
	dir := d.cfg.DataDir
	if _, err := os.Stat(d.cfg.FilesDir()); errors.Is(err, fs.ErrNotExist) {
		d.warn(what, "%s has no data yet: the first start of the backend creates it", dir)
		return
	}
	files, err := openFiles(d.cfg)
	if err != nil {
		d.fault(what, "this user cannot write to %s (DATA_DIR): %v", dir, err)
		return
	}
	free, err := files.FreeBytes()
	switch least := d.cfg.MinFreeBytes(); {
	case err != nil:
		d.fault(what, "the free space of %s cannot be read: %v", dir, err)
	case free < least:
		d.fault(what, "%s has %d MB free, less than MIN_FREE_MB=%d: free some, or set RETAIN_GB and DISK_LOW=retain", dir, free>>20, d.cfg.MinFreeMB)
	case free < earlyFactor*least:
		d.warn(what, "%s has %d MB free, near MIN_FREE_MB=%d", dir, free>>20, d.cfg.MinFreeMB)
	default:
		d.ok(what, "%s can be written, %d MB are free", dir, free>>20)
	}
	if weakness := durable.Weakness(dir); weakness != "" {
		d.warn(what, "%s %s: a crash may lose what was acknowledged", dir, weakness)
	}
}

// checkDatabase checks the database, and lists the agents that it knows.
func (d *doctor) checkDatabase(ctx context.Context) {
	const what = "database"
	if err := needDatabase(d.cfg); errors.Is(err, fs.ErrNotExist) {
		d.warn(what, "there is none yet: the first start of the backend creates it")
		return
	} else if err != nil {
		d.fault(what, "%v", err)
		return
	}
	cfg := d.cfg
	cfg.DatabaseWait = 0
	db, err := connectAs(ctx, cfg, database.ReadOnly, slog.New(slog.DiscardHandler))
	if err != nil {
		d.fault(what, "%v", err)
		return
	}
	defer db.Close()
	diagnosis, err := db.Diagnose(ctx, cfg.DatabasePoolSize)
	if err != nil {
		d.fault(what, "its settings cannot be read: %v", err)
		return
	}
	for _, fact := range diagnosis.Facts {
		d.ok(what, "%s", fact)
	}
	for _, warning := range diagnosis.Warnings {
		d.warn(what, "%s", warning)
	}
	if durability := db.Durability(); durability.Weak() {
		d.warn(what, "a commit is %s", durability)
	}
	d.compareClock("database", db.Time(d.now()))
	if err := db.CheckSchema(ctx); err != nil {
		d.fault(what, "%v: start the backend, which upgrades an older one", err)
		return
	}
	agents, err := service.NewAgents(repository.NewAgents(db), nil, cfg.AgentLostAfter, d.now).List(ctx)
	if err != nil {
		d.fault("agents", "%v", err)
	}
	for i := range agents {
		d.describeAgent(&agents[i])
	}
}

// describeAgent says what the database knows about an agent.
func (d *doctor) describeAgent(a *models.Agent) {
	const what = "agents"
	if a.Status != models.AgentUp {
		d.warn(what, "%q is %s: %s", a.Name, a.Status, a.LastError)
		return
	}
	d.ok(what, "%q is up: version %s, sensor %s", a.Name, cmp.Or(a.Version, "unknown"), cmp.Or(a.Sensor, "unknown"))
	for _, c := range a.Capabilities {
		if !c.Supported {
			d.warn(what, "%q lacks %s: %s; %s", a.Name, c.Name, c.Reason, c.Remedy)
		}
	}
	if a.Delivery.Lost > 0 {
		d.warn(what, "%q has lost %d events since its start", a.Name, a.Delivery.Lost)
	}
}

// checkClock checks that the clock of this machine is synchronised.
func (d *doctor) checkClock(context.Context) {
	const what = "clock"
	switch synchronised, known := clockIsSynchronised(); {
	case !known:
		d.ok(what, "it is %s; this system does not tell whether it is synchronised", d.now().UTC().Format(time.RFC3339))
	case !synchronised:
		d.warn(what, "nothing synchronises it: install an NTP client, such as systemd-timesyncd or chrony")
	default:
		d.ok(what, "it is synchronised")
	}
}

// maxSkew is the difference between two clocks that is no fault. HTTP's Date has whole
// seconds.
const maxSkew = 2 * time.Second

// compareClock compares the clock of another program with this machine's.
func (d *doctor) compareClock(of string, its time.Time) {
	if skew := its.Sub(d.now()).Round(time.Second); skew.Abs() > maxSkew {
		d.warn("clock", "that of the %s differs by %s: synchronise both by NTP", of, skew)
	}
}

// checkAgent asks the configured agent.
func (d *doctor) checkAgent(ctx context.Context) {
	const what = "agent"
	base := string(d.cfg.AgentURL)
	health, err := agentclient.New(base, d.cfg.AgentTimeout).WithKey(d.cfg.AgentKey.Reveal()).Health(ctx)
	if err != nil {
		text := err.Error()
		if e, ok := errors.AsType[*models.Error](err); ok {
			text = e.Message
		}
		d.warn(what, "%s (AGENT_SERVICE_URL): %s", base, text)
		return
	}
	d.ok(what, "%s answers: %s, %d active sessions", base, cmp.Or(health.Service, "an agent"), health.ActiveSessions)
	response, err := get(ctx, base+"/health")
	if err != nil {
		return // it has answered before
	}
	defer response.Body.Close()
	if its, err := http.ParseTime(response.Header.Get("Date")); err == nil {
		d.compareClock("agent", its)
	}
}

// checkProvider asks the OpenID Connect provider.
func (d *doctor) checkProvider(ctx context.Context) {
	if d.cfg.OIDCIssuer == "" {
		return
	}
	if err := newProvider(d.cfg).Check(ctx); err != nil {
		d.fault("sign-in", "%s (OIDC_ISSUER): %v", d.cfg.OIDCIssuer, err)
		return
	}
	d.ok("sign-in", "%s (OIDC_ISSUER) answers", d.cfg.OIDCIssuer)
}

// expiresSoon is how long before its end a certificate is reported.
const expiresSoon = 30 * 24 * time.Hour

// checkCertificates checks the backend's own certificate, and those of the servers that the
// settings name.
func (d *doctor) checkCertificates(ctx context.Context) {
	d.checkOwnCertificate()
	for _, at := range []struct{ setting, url string }{
		{"PUBLIC_URL", string(d.cfg.PublicURL)}, {"AGENT_SERVICE_URL", string(d.cfg.AgentURL)}, {"WEBHOOK_URL", d.cfg.WebhookURL.Reveal()},
		{"FILES_URL", d.cfg.FilesURL.Endpoint}, {"BLOCKS_URL", d.cfg.BlocksURL.Endpoint},
	} {
		if u, err := url.Parse(at.url); err == nil && u.Scheme == "https" {
			d.checkCertificate(ctx, at.setting, net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "443")))
		}
	}
	if d.cfg.Insecure && !strings.HasPrefix(string(d.cfg.PublicURL), "https://") {
		d.warn("tls", "other machines reach this backend without encryption: put a proxy with TLS before it, and set PUBLIC_URL to its https URL")
	}
}

// checkOwnCertificate checks the files of the backend's own certificate, if it has one.
func (d *doctor) checkOwnCertificate() {
	setting, cert, key := "TLS_CERT", d.cfg.TLSCert, d.cfg.TLSKey
	if d.cfg.IsSelfSigned() {
		setting = "TLS=self-signed"
		cert, key = certificate.Names(d.cfg.TLSDir())
		if _, err := os.Stat(cert); errors.Is(err, fs.ErrNotExist) {
			return // the first start of the backend makes it
		}
	}
	if cert == "" {
		return
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		d.fault("tls", "%s: %v", setting, err)
		return
	}
	d.judgeCertificate(setting, cert, pair.Leaf)
}

// checkCertificate connects to an address and checks the certificate there.
func (d *doctor) checkCertificate(ctx context.Context, setting, address string) {
	const what = "tls"
	dialer := tls.Dialer{Config: &tls.Config{RootCAs: d.roots, Time: d.now}}
	c, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		d.fault(what, "%s: %v", setting, err)
		return
	}
	defer c.Close()
	d.judgeCertificate(setting, address, c.(*tls.Conn).ConnectionState().PeerCertificates[0])
}

// judgeCertificate says until when a certificate is valid.
func (d *doctor) judgeCertificate(setting, of string, leaf *x509.Certificate) {
	const what = "tls"
	ends := leaf.NotAfter.UTC().Format(time.DateOnly)
	switch left := leaf.NotAfter.Sub(d.now()); {
	case left <= 0:
		d.fault(what, "%s: the certificate of %s has expired on %s", setting, of, ends)
	case left < expiresSoon:
		d.warn(what, "%s: the certificate of %s expires in %d days", setting, of, int(left.Hours()/24))
	default:
		d.ok(what, "%s: the certificate of %s is valid until %s", setting, of, ends)
	}
}
