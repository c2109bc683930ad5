// Package config reads the agent's settings from its command line and its
// environment. A flag wins over the variable. Load reports all faults at once.
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
)

// Config is what the agent does.
type Config struct {
	Host         string
	Port         int
	AllowRemote  bool // listen beyond loopback without a key
	APIKey       string
	AllowedHosts []string

	Backend    *url.URL
	BackendKey string

	DataDir     string
	MaxUploadMB int
	SpoolMB     int

	ContentBytes int
	RingMB       int
	TLS          bool
	Packets      bool
	PollInterval time.Duration

	SpawnTimeout   time.Duration
	SpawnNetwork   string
	SpawnMemoryMB  int
	SpawnDiskMB    int
	SpawnProcesses int
	SpawnCPUs      int

	LogFormat string
	Check     bool
	Version   bool
}

// setting is a field of Config as a flag and as a variable of the environment; value
// is its default.
type setting struct {
	flag, variable, value string
	usage                 string
	set                   func(value string) error
}

// settings lists all settings, which set fields of c, in the order of --help.
func settings(c *Config, getenv func(string) string) []setting {
	return []setting{
		{"backend", "BACKEND_URL", "http://localhost:3003", "`URL` of the backend that gets the events", c.setBackend},
		{"backend-key", "BACKEND_API_KEY", "", "the `key` that the backend asks for; better set the variable", text(&c.BackendKey)},
		{"host", "HOST", "127.0.0.1", "the `address` to listen on", c.setHost},
		{"port", "PORT", "7000", "the `port` to listen on; 0 for any free one", integer(&c.Port, 0, 65535)},
		{"key", "AGENT_API_KEY", "", "the `key` that callers must send; better set the variable", c.setKey},
		{"allow-remote", "ALLOW_REMOTE", "false", "listen beyond this machine without a key: anyone who reaches it can run files here", boolean(&c.AllowRemote)},
		{"allowed-hosts", "ALLOWED_HOSTS", "", "more `names` that callers may know the agent by, with commas between", c.setHosts},
		{"data", "DATA_DIR", dataDir(getenv), "the `folder` for uploaded files and unsent events", text(&c.DataDir)},
		{"max-upload", "MAX_UPLOAD_MB", "100", "the largest file that is taken, in `MB`", integer(&c.MaxUploadMB, 1, 10000)},
		{"spool", "SPOOL_MB", "512", "how many `MB` of events are kept while the backend is away", integer(&c.SpoolMB, 1, 1<<20)},
		{"content", "CONTENT_BYTES", "256", "how many `bytes` of what is read and written an event keeps", integer(&c.ContentBytes, 0, 16384)},
		{"ring", "RING_MB", "8", "`MB` of the buffer between kernel and agent, a power of two", c.setRing},
		{"tls", "TRACE_TLS", "true", "read what goes through OpenSSL", boolean(&c.TLS)},
		{"packets", "PACKETS", "true", "capture the packets of what is watched", boolean(&c.Packets)},
		{"poll", "POLL_INTERVAL", "100ms", "how `often` to look for processes where eBPF cannot be had, 50ms to 10s", duration(&c.PollInterval, 50*time.Millisecond, 10*time.Second)},
		{"spawn-timeout", "SPAWN_TIMEOUT", "10m", "how `long` a spawned file may run, 1s to 24h", duration(&c.SpawnTimeout, time.Second, 24*time.Hour)},
		{"spawn-network", "SPAWN_NETWORK", "none", "the network of a spawned file: `none`, host or nat", oneOf(&c.SpawnNetwork, "none", "host", "nat")},
		{"spawn-memory", "SPAWN_MEMORY_MB", "1024", "how much memory it may use, in `MB`", integer(&c.SpawnMemoryMB, 16, 1<<20)},
		{"spawn-disk", "SPAWN_DISK_MB", "512", "how much it may write, in `MB`, which are of memory", integer(&c.SpawnDiskMB, 1, 1<<20)},
		{"spawn-processes", "SPAWN_PROCESSES", "512", "how `many` processes and threads it may have", integer(&c.SpawnProcesses, 8, 1<<20)},
		{"spawn-cpus", "SPAWN_CPUS", "1", "how `many` processors it may keep busy", integer(&c.SpawnCPUs, 1, 1024)},
		{"log-format", "LOG_FORMAT", "text", "`text` or json", oneOf(&c.LogFormat, "text", "json")},
	}
}

// dataDir is where a service of systemd is told to keep its data, else a folder
// that the user has for such things.
func dataDir(getenv func(string) string) string {
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

// Load reads the configuration. flag.ErrHelp means that help was asked for: write
// it with Help.
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
	for i := range all {
		s := &all[i]
		value, where := s.value, "the default of --"+s.flag
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
	if !c.AllowRemote && c.APIKey == "" && c.Host != "" && !isLoopback(c.Host) {
		faults = append(faults, fmt.Errorf("--host %s: others could reach the agent and run files on this machine: set AGENT_API_KEY, or --allow-remote if that is wanted", c.Host))
	}
	return c, errors.Join(faults...)
}

// Addr gives the address to listen on.
func (c *Config) Addr() string { return net.JoinHostPort(c.Host, strconv.Itoa(c.Port)) }

// Help writes what the command line takes.
func Help(w io.Writer, getenv func(string) string) error {
	var b strings.Builder
	b.WriteString(`The OS-Pulse agent for Linux: tells a backend what programs on this machine do.

Usage:
  ospulse-agent [--backend URL] [flags]        run the agent
  ospulse-agent --check                        tell what this machine supports
  ospulse-agent trace [flags] -- ls -l         run a command and print what it does
  ospulse-agent --help | --version

With root it sees everything (eBPF); without, it starts all the same and says
what it cannot do.

Flags, each also as a variable of the environment; the flag wins:
`)
	all := settings(&Config{}, getenv)
	for i := range all {
		s := &all[i]
		argument, usage := "", s.usage
		if before, rest, ok := strings.Cut(usage, "`"); ok {
			name, after, _ := strings.Cut(rest, "`")
			argument, usage = " "+strings.ToUpper(name), before+name+after
			if strings.Contains(s.usage, "`none`") || strings.Contains(s.usage, "`text`") {
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
		return errors.New("must be a URL as http://localhost:3003")
	}
	if u.User != nil {
		return errors.New("must have no user or password in it: set BACKEND_API_KEY")
	}
	u.Path = strings.TrimRight(u.Path, "/")
	c.Backend = u
	return nil
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
		return errors.New("must have 16 characters at least")
	}
	c.APIKey = value
	return nil
}

func (c *Config) setHosts(value string) error {
	for name := range strings.SplitSeq(value, ",") {
		if name = strings.ToLower(strings.TrimSpace(name)); name != "" {
			if strings.ContainsAny(name, "/ :*") {
				return fmt.Errorf("must be names without scheme, port or *, not %.100q", name)
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
	return within(target, "a time as 30s or 10m,", time.ParseDuration, least, most)
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
