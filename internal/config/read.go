package config

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"
)

// parse sets the fields of v from values. It returns the errors of the parsers, by the
// name of the field. The other error means that a tag of a field is wrong.
func parse(v *variables, values map[string]string) (refused map[string]error, err error) {
	err = env.ParseWithOptions(v, env.Options{Environment: values, FuncMap: map[reflect.Type]env.ParserFunc{
		reflect.TypeFor[Amount]():      parser[Amount](amount),
		reflect.TypeFor[BaseURL]():     parser[BaseURL](baseURL),
		reflect.TypeFor[BlocksURL]():   parser[BlocksURL](blocksURL),
		reflect.TypeFor[DatabaseURL](): parser[DatabaseURL](databaseURL),
		reflect.TypeFor[FilesURL]():    parser[FilesURL](filesURL),
		reflect.TypeFor[Host]():        parser[Host](host),
		reflect.TypeFor[Hosts]():       parser[Hosts](list(host)),
		reflect.TypeFor[Issuer]():      parser[Issuer](issuer),
		reflect.TypeFor[Networks]():    parser[Networks](list(network)),
		reflect.TypeFor[Origins]():     parser[Origins](list(origin)),
		reflect.TypeFor[Roles]():       parser[Roles](roles),
		reflect.TypeFor[SealAfter]():   parser[SealAfter](sealAfter),
		reflect.TypeFor[Secret]():      parser[Secret](key),
		reflect.TypeFor[WebhookURL]():  parser[WebhookURL](webhookURL),
	}})
	var all env.AggregateError
	if err != nil && !errors.As(err, &all) {
		return nil, err
	}
	refused = map[string]error{}
	for _, err := range all.Errors {
		var fault env.ParseError
		if !errors.As(err, &fault) {
			return nil, err
		}
		refused[fault.Name] = fault.Err
	}
	return refused, nil
}

// environment returns the values of the variables that fields name, from getenv or
// else the file, without the blanks around them (cmd.exe keeps the one in
// `set PORT=1 && ospulse`).
func environment(fields []reflect.StructField, getenv func(string) string, file map[string]string) map[string]string {
	if strings.TrimSpace(getenv("AGENT_SERVICE_URL")+getenv("AGENT_URL")) != "" {
		delete(file, "AGENT_SERVICE_URL") // the environment wins under either name
		delete(file, "AGENT_URL")
	}
	values := map[string]string{}
	for _, field := range fields {
		if name := field.Tag.Get("env"); name != "" {
			values[name] = cmp.Or(strings.TrimSpace(getenv(name)), strings.TrimSpace(file[name]))
		}
	}
	return values
}

// check returns an error that says which values a field takes if value is none of
// them. Its tags range and oneof say so, or else refused, the error of its parser.
// check puts a word into lower case.
func check(tag reflect.StructTag, value reflect.Value, refused error) error {
	if words := strings.Fields(tag.Get("oneof")); len(words) > 0 {
		word := strings.ToLower(fmt.Sprint(value.Interface()))
		if value.Kind() == reflect.String {
			value.SetString(word)
		}
		if refused != nil || !slices.Contains(words, word) {
			return errors.New("one of " + strings.Join(words, ", "))
		}
	}
	if from, to, ok := strings.Cut(tag.Get("range"), ".."); ok {
		what := "a whole number"
		if value.Type() == reflect.TypeFor[time.Duration]() {
			what = "a duration with its unit, such as 5s,"
		}
		if refused != nil || value.Int() < bound(from) || value.Int() > bound(to) {
			return fmt.Errorf("%s from %s to %s", what, from, to)
		}
	}
	if refused != nil && value.Kind() == reflect.Bool {
		return errors.New("true or false")
	}
	return refused
}

// bound returns one end of a range; a duration in nanoseconds.
func bound(text string) int64 {
	if d, err := time.ParseDuration(text); err == nil {
		return int64(d)
	}
	number, _ := strconv.ParseInt(text, 10, 64)
	return number
}

// parser returns parse for fields of type T. An error of parse says which values are
// taken, and does not quote the value: it becomes the Wants of a Fault.
func parser[T, F any](parse func(string) (F, error)) env.ParserFunc {
	return func(value string) (any, error) {
		parsed, err := parse(value)
		return reflect.ValueOf(parsed).Convert(reflect.TypeFor[T]()).Interface(), err
	}
}

// SealAfter is a duration. A negative one means never.
type SealAfter time.Duration

const (
	neverSeal    = "never"
	maxSealAfter = 87600 * time.Hour
)

// sealAfter returns a duration as in SealAfter.
func sealAfter(value string) (time.Duration, error) {
	if strings.EqualFold(value, neverSeal) {
		return -1, nil
	}
	if d, err := time.ParseDuration(value); err == nil && d >= 0 && d <= maxSealAfter {
		return d, nil
	}
	return 0, errors.New("never, or a duration with its unit, such as 1h, from 0s to 87600h")
}

// String returns the value in the syntax of the variable.
func (s SealAfter) String() string {
	if s < 0 {
		return neverSeal
	}
	return time.Duration(s).String()
}

// diskRetain is a value of Config.DiskLow.
const diskRetain = "retain"

// Amount is a number from 0 on, not always a whole one.
type Amount float64

const maxAmount = 1_000_000

// amount returns a number as in Amount. It refuses what strconv reads besides decimal
// numbers, such as NaN.
func amount(value string) (float64, error) {
	n, err := strconv.ParseFloat(value, 64)
	if err != nil || n < 0 || n > maxAmount || !consistsOf(value, digits+".") {
		return 0, errors.New("a number from 0, which keeps everything, to 1000000, such as 30 or 0.5")
	}
	return n, nil
}

// String returns the value in the syntax of the variable.
func (a Amount) String() string { return strconv.FormatFloat(float64(a), 'f', -1, 64) }

// Hosts are host names and IP addresses as in Host.
type Hosts []string

// Networks are IP addresses and networks.
type Networks []netip.Prefix

// Texts returns the networks in CIDR notation.
func (n Networks) Texts() []string {
	texts := make([]string, len(n))
	for i, network := range n {
		texts[i] = network.String()
	}
	return texts
}

// network returns an IP address or a network in CIDR notation.
func network(value string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(value); err == nil {
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(value)
	if err != nil {
		return prefix, errors.New("an IP address such as 10.0.0.5, or a network such as 10.0.0.0/24")
	}
	return prefix.Masked(), nil
}

// Origins are web origins as a browser sends them: scheme://host or
// scheme://host:port, in lower case and without a port that the scheme implies.
type Origins []string

// list takes items separated by commas, and skips empty ones.
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

// Host is a host name or an IP address in lower case, without brackets or port.
type Host string

// loopback reports whether only this machine can reach the host.
func (h Host) loopback() bool {
	addr, err := netip.ParseAddr(string(h))
	return h == "localhost" || err == nil && addr.IsLoopback()
}

// host returns a host name or an IP address as in Host.
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

// BaseURL is an http or https URL without a slash at its end.
type BaseURL string

// baseURL returns a URL as in BaseURL.
func baseURL(value string) (string, error) {
	u, ok := webURL(value)
	if !ok {
		return "", errors.New("a URL such as http://localhost:7000: http or https, a host, " +
			"no user or password, nothing after ? or #")
	}
	return strings.TrimRight(u.String(), "/"), nil
}

// origin returns a web origin as in Origins.
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
	_, hostErr := host(u.Hostname())
	port, portErr := strconv.ParseUint(cmp.Or(u.Port(), "80"), 10, 16)
	u.Host = strings.ToLower(strings.TrimSuffix(u.Host, ":"))
	return u, (u.Scheme == "http" || u.Scheme == "https") && hostErr == nil && portErr == nil && port > 0
}

const (
	letters = "abcdefghijklmnopqrstuvwxyz"
	digits  = "0123456789"
)

// consistsOf reports whether each byte of value is one of chars.
func consistsOf(value, chars string) bool { return strings.Trim(value, chars) == "" }
