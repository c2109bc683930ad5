package config

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// reader looks variables up and collects what is wrong with them.
type reader struct {
	sources []func(name string) string // the first one with a value wins
	faults  Faults
}

// newReader reads variables through getenv, and through the file at dotenvPath
// what getenv has no value for.
func newReader(getenv func(string) string, dotenvPath string) *reader {
	file, fault := readDotenv(dotenvPath)
	r := &reader{sources: []func(string) string{getenv, func(name string) string { return file[name] }}}
	if fault != nil {
		r.faults = append(r.faults, *fault)
	}
	return r
}

// read gives the parsed value of the variable name, or of the first alias that
// has one, or else of the fallback; an empty fallback means the zero T. The text
// of an error from parse says what the variable takes: it becomes the Wants of a
// fault, and must not quote the value.
//
// A name and an alias that one source gives different values for are a fault.
func read[T any](r *reader, name, fallback string, parse func(string) (T, error), aliases ...string) T {
	names := append([]string{name}, aliases...)
	found, value := r.lookup(names)
	for _, other := range r.others(names, found, value) {
		r.faults = append(r.faults, Fault{
			Name: found + " and " + other, Got: "different values for the same setting", Wants: "one of them, or the same value in both",
		})
	}
	value = cmp.Or(value, fallback)
	if value == "" {
		return *new(T)
	}
	parsed, err := parse(value)
	if err != nil {
		r.faults = append(r.faults, Fault{Name: found, Got: quote(value, isSecret(name)), Wants: err.Error()})
	}
	return parsed
}

// isSecret reports whether a fault must not show the value of a variable.
func isSecret(name string) bool {
	return slices.Contains([]string{"DATABASE_URL", "AGENT_API_KEY", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}, name)
}

// lookup gives the first of names that has a value, and that value without the
// blanks around it (cmd.exe keeps the one in `set PORT=1 && ospulse`). A source
// is asked for all names before the next source is. Without a value it gives the
// first name.
func (r *reader) lookup(names []string) (name, value string) {
	for _, source := range r.sources {
		for _, name := range names {
			if value := strings.TrimSpace(source(name)); value != "" {
				return name, value
			}
		}
	}
	return names[0], ""
}

// others gives those of names that have another value in the source in which name
// has value.
func (r *reader) others(names []string, name, value string) (others []string) {
	for _, source := range r.sources {
		if value == "" || strings.TrimSpace(source(name)) != value {
			continue
		}
		for _, other := range names {
			if different := strings.TrimSpace(source(other)); different != "" && different != value {
				others = append(others, other)
			}
		}
		break
	}
	return others
}

func text(value string) (string, error) { return value, nil }

func boolean(value string) (bool, error) {
	b, err := strconv.ParseBool(value)
	if err != nil {
		return false, errors.New("true or false")
	}
	return b, nil
}

func number(low, high int) func(string) (int, error) {
	return between(low, high, "a whole number", strconv.Atoi)
}

func duration(low, high time.Duration) func(string) (time.Duration, error) {
	return between(low, high, "a duration with its unit, such as 5s,", time.ParseDuration)
}

// between takes what parse takes, from low to high.
func between[T cmp.Ordered](low, high T, what string, parse func(string) (T, error)) func(string) (T, error) {
	return func(value string) (T, error) {
		parsed, err := parse(value)
		if err != nil || parsed < low || parsed > high {
			return *new(T), fmt.Errorf("%s from %v to %v", what, low, high)
		}
		return parsed, nil
	}
}

// oneOf takes one of words, in any case, and gives it as written here.
func oneOf(words ...string) func(string) (string, error) {
	return func(value string) (string, error) {
		word := strings.ToLower(value)
		if !slices.Contains(words, word) {
			return "", errors.New("one of " + strings.Join(words, ", "))
		}
		return word, nil
	}
}

func logLevel(value string) (level slog.Level, err error) {
	name, err := oneOf("debug", "info", "warn", "error")(value)
	if err != nil {
		return level, err
	}
	return level, level.UnmarshalText([]byte(name))
}

// list takes items separated by commas, leaving out empty ones.
func list[T any](item func(string) (T, error)) func(string) ([]T, error) {
	return func(value string) ([]T, error) {
		var items []T
		for part := range strings.SplitSeq(value, ",") {
			part = strings.TrimSpace(part)
			if part == "" {
				continue
			}
			parsed, err := item(part)
			if err != nil {
				return nil, fmt.Errorf("as item %d %w", len(items)+1, err)
			}
			items = append(items, parsed)
		}
		return items, nil
	}
}

// host takes a host name or an IP address and gives it in canonical form: lower
// case, no brackets, no port.
func host(value string) (string, error) {
	if addr, err := netip.ParseAddr(value); err == nil {
		return addr.String(), nil
	}
	name := strings.ToLower(value)
	if name == "" || !consistsOf(name, letters+digits+".-_") {
		return "", errors.New("a host name or an IP address, without brackets or port")
	}
	return name, nil
}

// listenHost takes what host takes if only this machine can reach it, or if
// insecure.
func listenHost(insecure bool) func(string) (string, error) {
	return func(value string) (string, error) {
		name, err := host(value)
		if err != nil {
			return "", err
		}
		addr, err := netip.ParseAddr(name)
		loopback := name == "localhost" || err == nil && addr.IsLoopback()
		if !loopback && !insecure {
			return "", errors.New("127.0.0.1, ::1 or localhost, or else OSPULSE_INSECURE=true beside it: " +
				"this version has no API keys, so whoever reaches this port may start programs, " +
				"and listening beyond this machine must be asked for explicitly")
		}
		return name, nil
	}
}

// agentURL takes a base URL and gives it without slashes at its end.
func agentURL(value string) (string, error) {
	u, ok := webURL(value)
	if !ok {
		return "", errors.New("a URL such as http://localhost:7000: http or https, a host, " +
			"no user or password, nothing after ? or #")
	}
	return strings.TrimRight(u.String(), "/"), nil
}

// origin takes a web origin and gives it as a browser sends it: in lower case
// and without a port that its scheme implies.
func origin(value string) (string, error) {
	if value == "*" {
		return "", errors.New("an origin by name, such as http://localhost:5173: " +
			"with * any web page that is open on this machine could start a sample")
	}
	u, ok := webURL(value)
	if !ok || u.Path != "" {
		return "", errors.New("an origin such as http://localhost:5173: http or https, a host, " +
			"perhaps a port, and no slash after it")
	}
	implied := map[string]string{"http": ":80", "https": ":443"}[u.Scheme]
	return u.Scheme + "://" + strings.TrimSuffix(u.Host, implied), nil
}

// webURL parses an absolute http or https URL without user, query and fragment;
// its host is in lower case.
func webURL(value string) (*url.URL, bool) {
	u, err := url.Parse(value)
	if err != nil || u.User != nil || strings.ContainsAny(value, "?#") {
		return nil, false
	}
	_, schemeErr := oneOf("http", "https")(u.Scheme)
	_, hostErr := host(u.Hostname())
	_, portErr := number(1, 65535)(cmp.Or(u.Port(), "80"))
	u.Host = strings.ToLower(strings.TrimSuffix(u.Host, ":"))
	return u, schemeErr == nil && hostErr == nil && portErr == nil
}

const (
	letters = "abcdefghijklmnopqrstuvwxyz"
	digits  = "0123456789"
)

// consistsOf reports whether each byte of value is one of chars.
func consistsOf(value, chars string) bool { return strings.Trim(value, chars) == "" }
