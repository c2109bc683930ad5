//go:build linux

// Package config reads the agent's settings from its command line and its environment. A
// flag overrides the variable. Load reports all faults at once.
package config

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"ospulse/agent/internal/enroll"
	"ospulse/agent/internal/pin"
	"ospulse/agent/internal/selection"
)

// Config has the settings of the agent.
type Config struct {
	Host         string
	Port         int
	APIKey       string
	AllowedHosts []string

	Name       string // of the agent; "" for the machine's
	Backend    *url.URL
	BackendKey string
	// BackendPin is the SHA-256 of the only certificate that the backend may have; nil for
	// any that the machine trusts.
	BackendPin []byte
	// FetchWork makes the agent ask the backend for its work. It listens nowhere then.
	FetchWork bool

	DataDir     string
	MaxUploadMB int
	SpoolMB     int

	ContentBytes int
	Environment  string
	Pause        string
	RingMB       int
	TLS          bool
	Packets      bool
	Selection    selection.Selection // of sessions whose start has none
	// IncludeDashboard reports the browser that displays the dashboard, in mode 1.
	IncludeDashboard bool
	PollInterval     time.Duration

	SpawnTimeout   time.Duration
	SpawnNetwork   string
	SpawnMemoryMB  int
	SpawnDiskMB    int
	SpawnProcesses int
	SpawnCPUs      int
	SpawnLocal     bool
	SpawnIsolation string // bwrap or vm
	SpawnImage     string // folder of the virtual machine

	LogFormat string
	Check     bool
	Version   bool
}

// setting is one setting, which is both a flag and an environment variable. value is the
// default, and set stores a value in a Config or returns why it is invalid.
type setting struct {
	flag, variable, value string
	usage                 string
	set                   func(value string) error
}

// settings returns all settings in the order of --help. They set fields of c.
func settings(c *Config, getenv func(string) string) []setting {
	return []setting{
		{"backend", "BACKEND_URL", "http://localhost:3003", "`URL` of the backend that receives the events", c.setBackend},
		{"backend-key", "BACKEND_API_KEY", "", "the `key` that the backend requires; prefer the variable, which other users cannot see", text(&c.BackendKey)},
		{"backend-fingerprint", "BACKEND_FINGERPRINT", "", "the `SHA-256` of the backend's certificate, which replaces the check of its authority and name; the backend's log shows it", c.setPin},
		{"fetch-work", "FETCH_WORK", "false", "ask the backend for work and open no port, instead of waiting for calls of the backend; needs --backend-key; default true for an enrolled agent", boolean(&c.FetchWork)},
		{"name", "AGENT_NAME", "", "the `name` of this agent in the dashboard; default the machine's name", c.setName},
		{"host", "HOST", "127.0.0.1", "the `address` to listen on", c.setHost},
		{"port", "PORT", "7000", "the `port` to listen on; 0: any free port", integer(&c.Port, 0, 65535)},
		{"key", "AGENT_API_KEY", "", "the `key` that callers must send; prefer the variable, which other users cannot see", c.setKey},
		{"allowed-hosts", "ALLOWED_HOSTS", "", "further host `names` of the agent that callers may use, separated by commas", c.setHosts},
		{"data", "DATA_DIR", DataDir(getenv), "the `folder` for uploaded files and unsent events", text(&c.DataDir)},
		{"max-upload", "MAX_UPLOAD_MB", "100", "size limit of an uploaded file, in `MB`", integer(&c.MaxUploadMB, 1, 10000)},
		{"spool", "SPOOL_MB", "512", "how many `MB` of events to keep on disk while the backend is unreachable", integer(&c.SpoolMB, 1, 1<<20)},
		{"content", "CONTENT_BYTES", "256", "how many `bytes` to keep of the data that a call reads or writes", integer(&c.ContentBytes, 0, 16384)},
		{"environment", "REPORT_ENVIRONMENT", "all", "which variables of a program's environment to report: `all`, some (LD_*, PATH, proxies and the like) or none", oneOf(&c.Environment, "all", "some", "none")},
		{"ring", "RING_MB", "8", "`MB` of the buffer between kernel and agent, a power of two", c.setRing},
		{"pause", "PAUSE", "spawned", "which watched programs to pause while that buffer is nearly full, so that no event is lost: `spawned` ones, all or none", oneOf(&c.Pause, "spawned", "all", "none")},
		{"tls", "TRACE_TLS", "true", "read data that passes through libraries for TLS", boolean(&c.TLS)},
		{"packets", "PACKETS", "true", "capture the packets of watched processes", boolean(&c.Packets)},
		{"include-dashboard", "INCLUDE_DASHBOARD", "false", "in sessions of all processes, also report the browser that displays the dashboard", boolean(&c.IncludeDashboard)},
		{"leave-out", "LEAVE_OUT", "", "`classes` of events that sessions leave out, separated by commas: " + strings.Join(selection.Classes(), ", "), c.Selection.SetLeaveOut},
		{"only-paths", "ONLY_PATHS", "", "`paths` outside of which sessions leave out the events of files, separated by colons", c.Selection.SetOnlyPaths},
		{"leave-out-paths", "LEAVE_OUT_PATHS", "", "`paths` in which sessions leave out the events of files, separated by colons", c.Selection.SetLeaveOutPaths},
		{"poll", "POLL_INTERVAL", "100ms", "the `interval` at which to list processes if eBPF does not work, 50ms to 10s", duration(&c.PollInterval, 50*time.Millisecond, 10*time.Second)},
		{"spawn-timeout", "SPAWN_TIMEOUT", "10m", "the `time` that a spawned file may run, 1s to 24h", duration(&c.SpawnTimeout, time.Second, 24*time.Hour)},
		{"spawn-network", "SPAWN_NETWORK", "none", "the network of a spawned file: `none`, nat, or host, which needs AGENT_API_KEY", oneOf(&c.SpawnNetwork, "none", "host", "nat")},
		{"spawn-memory", "SPAWN_MEMORY_MB", "1024", "how much memory a spawned file may use, in `MB`", integer(&c.SpawnMemoryMB, 16, 1<<20)},
		{"spawn-disk", "SPAWN_DISK_MB", "512", "how much a spawned file may write, in `MB`; the data is kept in memory", integer(&c.SpawnDiskMB, 1, 1<<20)},
		{"spawn-processes", "SPAWN_PROCESSES", "512", "the `number` of processes and threads that a spawned file may have", integer(&c.SpawnProcesses, 8, 1<<20)},
		{"spawn-cpus", "SPAWN_CPUS", "1", "the `number` of CPUs that a spawned file may use", integer(&c.SpawnCPUs, 1, 1024)},
		{"spawn-local", "SPAWN_LOCAL", "false", "show a spawned file this machine's /usr/local, for interpreters and libraries that are there", boolean(&c.SpawnLocal)},
		{"spawn-isolation", "SPAWN_ISOLATION", "bwrap", "what keeps a spawned file from this machine: `bwrap`, which shares the kernel with the file, or vm, a virtual machine", oneOf(&c.SpawnIsolation, "bwrap", "vm")},
		{"spawn-image", "SPAWN_IMAGE", "", "the `folder` of the virtual machine (ospulse-agent image build); default image in the data folder", text(&c.SpawnImage)},
		{"log-format", "LOG_FORMAT", "text", "`text` or json", oneOf(&c.LogFormat, "text", "json")},
	}
}

// DataDir returns the default data folder: the one that systemd sets, or else the usual one
// for root or for the user.
func DataDir(getenv func(string) string) string {
	if folder := getenv("STATE_DIRECTORY"); folder != "" {
		first, _, _ := strings.Cut(folder, ":")
		return first
	}
	if os.Geteuid() == 0 {
		return "/var/lib/ospulse-agent"
	}
	if folder := getenv("XDG_STATE_HOME"); filepath.IsAbs(folder) {
		return filepath.Join(folder, "ospulse-agent")
	}
	if home := getenv("HOME"); home != "" {
		return filepath.Join(home, ".local", "state", "ospulse-agent")
	}
	return filepath.Join(os.TempDir(), "ospulse-agent-"+strconv.Itoa(os.Getuid()))
}

// Load reads the settings. Its error names all invalid settings. The error is flag.ErrHelp
// if the arguments ask for help: the caller then calls Help.
func Load(args []string, getenv func(string) string) (Config, error) {
	var c Config
	flags := flag.NewFlagSet("ospulse-agent", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.BoolVar(&c.Check, "check", false, "")
	flags.BoolVar(&c.Version, "version", false, "")
	all := settings(&c, getenv)
	given := map[string]string{}
	for i := range all {
		name := all[i].flag
		record := func(value string) error {
			given[name] = value
			return nil
		}
		if all[i].value == "true" || all[i].value == "false" {
			flags.BoolFunc(name, "", record)
		} else {
			flags.Func(name, "", record)
		}
	}
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return c, err
		}
		return c, fmt.Errorf("%w; see --help", err)
	}
	if flags.NArg() > 0 {
		return c, fmt.Errorf("there is no command %q; see --help", flags.Arg(0))
	}
	var faults []error
	enrolled, err := enrolledValues(given, getenv)
	if err != nil {
		faults = append(faults, err)
	}
	for i := range all {
		s := &all[i]
		value, where := s.value, "the default of --"+s.flag
		if fromFile := enrolled[s.flag]; fromFile != "" {
			value, where = fromFile, "the enrollment of this agent"
		}
		if fromEnv := getenv(s.variable); fromEnv != "" {
			value, where = fromEnv, s.variable
		}
		if fromFlag, ok := given[s.flag]; ok {
			value, where = fromFlag, "--"+s.flag
		}
		if err := s.set(value); err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", where, err))
		}
	}
	if c.FetchWork && c.BackendKey == "" {
		faults = append(faults, errors.New("--fetch-work needs the agent's key (BACKEND_API_KEY), or ospulse-agent enroll"))
	}
	if !c.FetchWork && c.APIKey == "" && c.Host != "" && !isLoopback(c.Host) {
		faults = append(faults, fmt.Errorf("--host %s: others could reach the agent and run files on this machine: set AGENT_API_KEY, or let the agent fetch its work (ospulse-agent enroll)", c.Host))
	}
	if c.BackendPin != nil && c.Backend != nil && c.Backend.Scheme != "https" {
		faults = append(faults, fmt.Errorf("--backend %s: --backend-fingerprint needs https", c.Backend))
	}
	if c.SpawnIsolation == "vm" && c.SpawnNetwork == "host" {
		faults = append(faults, errors.New("--spawn-network host: a virtual machine has none or nat"))
	}
	c.SpawnImage = cmp.Or(c.SpawnImage, filepath.Join(c.DataDir, "image"))
	if !c.FetchWork && c.APIKey == "" && c.SpawnNetwork == "host" {
		faults = append(faults, errors.New("--spawn-network host: a sample could control this agent: set the same AGENT_API_KEY for the agent and the backend"))
	}
	return c, errors.Join(faults...)
}

// enrolledValues returns the values of settings in the enrollment of the agent, by flag. It
// does not count if the backend is set in another way, so that its key is sent to no other
// backend.
func enrolledValues(given map[string]string, getenv func(string) string) (map[string]string, error) {
	folder := cmp.Or(given["data"], getenv("DATA_DIR"), DataDir(getenv))
	if given["backend"] != "" || getenv("BACKEND_URL") != "" {
		return nil, nil
	}
	e, err := enroll.Read(folder)
	if e == nil {
		return nil, err
	}
	return map[string]string{
		"backend": e.Backend, "backend-fingerprint": e.Fingerprint, "backend-key": e.Key, "name": e.Name, "fetch-work": "true",
	}, nil
}

// Addr returns the address to listen on.
func (c *Config) Addr() string { return net.JoinHostPort(c.Host, strconv.Itoa(c.Port)) }

// Help writes the usage of the command line.
func Help(w io.Writer, getenv func(string) string) error {
	var b strings.Builder
	b.WriteString(`The OS-Pulse agent for Linux reports what programs on this machine do.

Usage:
  ospulse-agent [--backend URL] [flags]        run the agent
  ospulse-agent enroll URL TOKEN               make this agent a backend's; see enroll --help
  ospulse-agent --check                        print what this machine supports
  ospulse-agent trace [flags] -- ls -l         run a command and print its events
  ospulse-agent image build                    build the virtual machine for SPAWN_ISOLATION=vm
  ospulse-agent --help | --version

As root, the agent uses eBPF. As another user it sees less, and reports which
features are missing.

Each flag is also an environment variable. The flag overrides the variable.
`)
	all := settings(&Config{}, getenv)
	for i := range all {
		s := &all[i]
		argument, usage := "", s.usage
		if before, rest, ok := strings.Cut(usage, "`"); ok {
			name, after, _ := strings.Cut(rest, "`")
			argument, usage = " "+strings.ToUpper(name), before+name+after
			if strings.Contains(s.usage, "`none`") || strings.Contains(s.usage, "`all`") || strings.Contains(s.usage, "`text`") {
				argument = " KIND"
			}
		}
		fmt.Fprintf(&b, "  %-24s %s\n", "--"+s.flag+argument, usage)
		fmt.Fprintf(&b, "  %-24s %s", "", s.variable)
		if s.value != "" {
			fmt.Fprintf(&b, "; default %s", s.value)
		}
		b.WriteString("\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func isLoopback(host string) bool {
	address, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && address.IsLoopback()
}

func (c *Config) setBackend(value string) error {
	u, err := url.Parse(value)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.RawQuery != "" || u.Fragment != "" {
		return errors.New("must be a URL such as http://localhost:3003")
	}
	if u.User != nil {
		return errors.New("must not contain a user or password: set BACKEND_API_KEY")
	}
	u.Path = strings.TrimRight(u.Path, "/")
	c.Backend = u
	return nil
}

func (c *Config) setName(value string) error {
	if len(value) > 200 || !utf8.ValidString(value) || strings.ContainsFunc(value, unicode.IsControl) {
		return errors.New("must be at most 200 bytes of text without control characters")
	}
	c.Name = value
	return nil
}

func (c *Config) setPin(value string) (err error) {
	c.BackendPin, err = pin.Parse(value)
	return err
}

func (c *Config) setHost(value string) error {
	value = strings.Trim(value, "[]")
	if value != "localhost" {
		if _, err := netip.ParseAddr(value); err != nil {
			return fmt.Errorf("must be an IP address of this machine or localhost, not %.100q", value)
		}
	}
	c.Host = value
	return nil
}

func (c *Config) setKey(value string) error {
	if value != "" && len(value) < 16 {
		return errors.New("must have at least 16 characters")
	}
	c.APIKey = value
	return nil
}

func (c *Config) setHosts(value string) error {
	for name := range strings.SplitSeq(value, ",") {
		if name = strings.ToLower(strings.TrimSpace(name)); name != "" {
			if strings.ContainsAny(name, "/ :*") {
				return fmt.Errorf("must be host names without scheme, port or *, not %.100q", name)
			}
			c.AllowedHosts = append(c.AllowedHosts, name)
		}
	}
	return nil
}

func (c *Config) setRing(value string) error {
	n, err := strconv.Atoi(value)
	if err != nil || n < 1 || n > 1024 || n&(n-1) != 0 {
		return fmt.Errorf("must be a power of two from 1 to 1024, not %.50q", value)
	}
	c.RingMB = n
	return nil
}

func text(target *string) func(string) error {
	return func(value string) error {
		*target = value
		return nil
	}
}

func boolean(target *bool) func(string) error {
	return func(value string) (err error) {
		if *target, err = strconv.ParseBool(value); err != nil {
			return fmt.Errorf("must be true or false, not %.50q", value)
		}
		return nil
	}
}

func integer(target *int, least, most int) func(string) error {
	return within(target, "a number", strconv.Atoi, least, most)
}

func duration(target *time.Duration, least, most time.Duration) func(string) error {
	return within(target, "a duration such as 30s or 10m,", time.ParseDuration, least, most)
}

func within[T cmp.Ordered](target *T, what string, parse func(string) (T, error), least, most T) func(string) error {
	return func(value string) (err error) {
		if *target, err = parse(value); err != nil || *target < least || *target > most {
			return fmt.Errorf("must be %s from %v to %v, not %.50q", what, least, most, value)
		}
		return nil
	}
}

func oneOf(target *string, words ...string) func(string) error {
	return func(value string) error {
		if *target = value; !slices.Contains(words, value) {
			return fmt.Errorf("must be one of %s, not %.50q", strings.Join(words, ", "), value)
		}
		return nil
	}
}
