package export

import (
	"net/netip"
	"net/url"
	"path"
	"strconv"
	"strings"

	"ospulse/internal/jsonscan"
)

// first returns the first value other than null under these keys of an object; nil if
// there is none.
func first(object []byte, keys ...string) []byte {
	for _, key := range keys {
		if value := jsonscan.Get(object, key); value != nil && jsonscan.Kind(value) != 'n' {
			return value
		}
	}
	return nil
}

// plain returns the text of a string or number; "" for other values.
func plain(value []byte) string {
	switch kind := jsonscan.Kind(value); {
	case kind == '"':
		return jsonscan.Unquote(value)
	case kind == '-' || '0' <= kind && kind <= '9':
		return string(value)
	default:
		return ""
	}
}

// elements returns the values of an array.
func elements(array []byte) [][]byte {
	if jsonscan.Kind(array) != '[' {
		return nil
	}
	var values [][]byte
	s := jsonscan.NewScanner(array)
	s.Array(func() { values = append(values, s.Value()) })
	return values
}

// header is a header field of an HTTP message; other values than strings are JSON text.
type header struct {
	name  string
	value []byte // a JSON string
}

// headers returns the fields of a message: an object of strings or lists of strings, or
// a list of pairs.
func headers(message []byte) []header {
	var list []header
	add := func(name string, value []byte) {
		switch jsonscan.Kind(value) {
		case '"':
			list = append(list, header{name, value})
		case '[':
			for _, one := range elements(value) {
				if jsonscan.Kind(one) == '"' {
					list = append(list, header{name, one})
				}
			}
		default:
			if text := plain(value); text != "" {
				list = append(list, header{name, strconv.AppendQuote(nil, text)})
			}
		}
	}
	sent := jsonscan.Get(message, "headers")
	for name, value := range jsonscan.Members(sent) {
		add(name, value)
	}
	for _, pair := range elements(sent) {
		if parts := elements(pair); len(parts) == 2 {
			add(plain(parts[0]), parts[1])
		}
	}
	return list
}

// headerText returns the first field with a name; "" if there is none.
func headerText(list []header, name string) string {
	for _, h := range list {
		if strings.EqualFold(h.name, name) {
			return jsonscan.Unquote(h.value)
		}
	}
	return ""
}

// requestURL returns the URL of a flow's request, joined from its parts if necessary.
func requestURL(request []byte) string {
	if text := plain(first(request, "url")); text != "" {
		return text
	}
	host := plain(first(request, "host"))
	if host == "" {
		return plain(first(request, "path"))
	}
	if port, ok := jsonscan.Integer(first(request, "port")); ok {
		host = joinHostPort(host, port)
	}
	scheme := plain(first(request, "scheme"))
	if scheme == "" {
		scheme = "http"
	}
	return scheme + "://" + host + plain(first(request, "path"))
}

func joinHostPort(host string, port int64) string {
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return host + ":" + strconv.FormatInt(port, 10)
}

// serverAddress returns the address of a flow's server, sent as [host, port] under
// server.ip; "" and 0 for missing parts.
func serverAddress(data []byte) (ip string, port int64) {
	sent := first(jsonscan.Get(data, "server"), "ip")
	if parts := elements(sent); len(parts) > 0 {
		ip = plain(parts[0])
		if len(parts) > 1 {
			port, _ = jsonscan.Integer(parts[1])
		}
	} else {
		ip = plain(sent)
	}
	if _, err := netip.ParseAddr(ip); err != nil {
		return "", port
	}
	return ip, port
}

// queryOf returns the names and values of a URL's query, in order. Wrongly escaped text
// stays unchanged.
func queryOf(address string) [][2]string {
	address, _, _ = strings.Cut(address, "#")
	_, query, _ := strings.Cut(address, "?")
	var pairs [][2]string
	for part := range strings.SplitSeq(query, "&") {
		if part == "" {
			continue
		}
		name, value, _ := strings.Cut(part, "=")
		pairs = append(pairs, [2]string{unescape(name), unescape(value)})
	}
	return pairs
}

func unescape(text string) string {
	if plain, err := url.QueryUnescape(text); err == nil {
		return plain
	}
	return text
}

// baseName returns the last element of a path of Windows or any other system.
func baseName(name string) string {
	if name == "" {
		return ""
	}
	return path.Base(strings.ReplaceAll(name, `\`, "/"))
}

// extension returns a file name's extension without its dot.
func extension(name string) string {
	return strings.TrimPrefix(path.Ext(baseName(name)), ".")
}
