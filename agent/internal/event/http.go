package event

import (
	"encoding/base64"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// MaxBody is how many bytes of a body are kept. The contract sets it.
const MaxBody = 100 << 10

// Header holds the header fields of a message in their order. A name may repeat.
type Header []HeaderField

// HeaderField is the name of a header field, as sent, and its value.
type HeaderField struct{ Name, Value string }

// Get returns the first value of a header field, without regard to case; "" if there is none.
func (h Header) Get(name string) string {
	for i := range h {
		if strings.EqualFold(h[i].Name, name) {
			return h[i].Value
		}
	}
	return ""
}

// Body is the body of a message, without the framing of chunks.
type Body struct {
	Bytes     []byte // at most MaxBody
	Size      int64  // of the whole body
	Truncated bool   // Bytes is incomplete
	Encoding  string // the encoding that was decoded (gzip, deflate); "" for none
	Encoded   int64  // size before decoding
}

// Request is an HTTP request.
type Request struct {
	Method, Target, Version string
	Header                  Header
	Trailer                 Header // fields after the body, of HTTP/2
	Body                    Body
}

// Response is an HTTP response.
type Response struct {
	StatusCode      int
	Reason, Version string
	Header          Header
	Trailer         Header // as Request.Trailer
	Body            Body
}

// HTTP is an http_network_operation: a request, or a response with the request
// that it answers.
type HTTP struct {
	Actor    Process
	Time     time.Time
	TLS      bool      // a library in the process had the data: the kernel saw only what was encrypted
	Serving  bool      // the process is the server
	Server   Address   // zero if unknown
	Client   Address   // zero if unknown
	Request  Request   // zero if the agent did not see it
	Response *Response // nil: this event reports the request
	// SwitchedTo is the protocol that the connection speaks after the response; "": HTTP.
	SwitchedTo string
}

func (o *object) headers(key string, h Header) {
	o.object(key, func(o *object) {
		for i := range h {
			value, again, separator := h[i].Value, false, ", "
			if strings.EqualFold(h[i].Name, "cookie") { // HTTP/2 splits it (RFC 9113, 8.2.3)
				separator = "; "
			}
			for j := range h {
				if j != i && strings.EqualFold(h[j].Name, h[i].Name) {
					if j < i {
						again = true
						break
					}
					value += separator + h[j].Value
				}
			}
			if !again { // each key appears once; its values are joined
				if o.out[len(o.out)-1] != '{' {
					o.out = append(o.out, ',')
				}
				o.out = append(AppendString(o.out, h[i].Name), ':')
				o.out = AppendString(o.out, value)
			}
		}
	})
}

// fields appends the fields before and after a body.
func (o *object) fields(header, trailer Header) {
	o.headers("headers", header)
	if len(trailer) > 0 {
		o.headers("trailers", trailer)
	}
}

func (o *object) body(b *Body) {
	o.object("body", func(o *object) {
		text := b.Bytes
		if b.Truncated { // the cut may be within a character
			for i := 0; i < utf8.UTFMax-1 && len(text) > 0; i++ {
				if r, size := utf8.DecodeLastRune(text); r != utf8.RuneError || size != 1 {
					break
				}
				text = text[:len(text)-1]
			}
		}
		if utf8.Valid(text) {
			o.text("type", "text")
			o.text("content", string(text))
		} else {
			o.text("type", "binary")
			o.key("content_b64")
			o.out = append(base64.StdEncoding.AppendEncode(append(o.out, '"'), b.Bytes), '"')
		}
		o.number("size", b.Size)
		o.key("truncated")
		o.out = strconv.AppendBool(o.out, b.Truncated)
		if b.Encoding != "" {
			o.text("encoding", b.Encoding)
			o.number("encoded_size", b.Encoded)
		}
	})
}

// URL returns the scheme, host, port and full URL of the request.
func (h *HTTP) URL() (scheme, host string, port int, url string) {
	scheme, port = "http", 80
	if h.TLS {
		scheme, port = "https", 443
	}
	standard := port
	named := h.Request.Header.Get("Host")
	if s, rest, ok := strings.Cut(h.Request.Target, "://"); ok { // a request to a proxy
		scheme = s
		named, _, _ = strings.Cut(rest, "/")
	} else if h.isTunnel() {
		named = h.Request.Target
	}
	host = named
	if name, p, err := net.SplitHostPort(named); err == nil {
		if n, err := strconv.ParseUint(p, 10, 16); err == nil {
			host, port = name, int(n)
		}
	} else if h.Server.Port.IsValid() {
		port = int(h.Server.Port.Port())
		if host == "" {
			host = h.Server.Port.Addr().String()
		}
	}
	host = strings.Trim(host, "[]")
	switch {
	case strings.Contains(h.Request.Target, "://"), h.isTunnel():
		return scheme, host, port, h.Request.Target
	case port == standard && strings.Contains(host, ":"):
		return scheme, host, port, scheme + "://[" + host + "]" + h.Request.Target
	case port == standard:
		return scheme, host, port, scheme + "://" + host + h.Request.Target
	default:
		return scheme, host, port, scheme + "://" + net.JoinHostPort(host, strconv.Itoa(port)) + h.Request.Target
	}
}

// isTunnel reports whether the target is the address of another server. In HTTP/2, CONNECT may
// have a path instead, to switch to another protocol (RFC 8441).
func (h *HTTP) isTunnel() bool {
	return h.Request.Method == http.MethodConnect && !strings.HasPrefix(h.Request.Target, "/")
}

func (o *object) endpoint(name string, a Address) {
	o.key(name)
	if !a.Port.IsValid() {
		o.out = append(o.out, "null"...)
		return
	}
	o.out = append(o.out, '[')
	o.out = AppendString(o.out, a.Port.Addr().String())
	o.out = append(o.out, ',')
	o.out = strconv.AppendUint(o.out, uint64(a.Port.Port()), 10)
	o.out = append(o.out, ']')
}

// AppendJSON appends the data of the event, in the shape of an HTTP flow.
func (h *HTTP) AppendJSON(out []byte) []byte {
	o := begin(out)
	o.number("timestamp_ms", h.Time.UnixMilli())
	if h.Response == nil {
		o.text("kind", "request")
	} else {
		o.text("kind", "response")
	}
	o.endpoint("client", h.Client)
	o.object("server", func(o *object) { o.endpoint("ip", h.Server) })
	scheme, host, port, url := h.URL()
	o.object("request", func(o *object) {
		r := &h.Request
		o.text("method", r.Method)
		o.text("scheme", scheme)
		o.text("host", host)
		o.number("port", int64(port))
		o.text("path", r.Target)
		o.text("url", url)
		o.text("http_version", r.Version)
		o.fields(r.Header, r.Trailer)
		o.body(&r.Body)
	})
	if r := h.Response; r != nil {
		o.object("response", func(o *object) {
			o.number("status_code", int64(r.StatusCode))
			o.text("reason", r.Reason)
			o.text("http_version", r.Version)
			o.fields(r.Header, r.Trailer)
			o.body(&r.Body)
		})
	}
	o.flag("tls", h.TLS)
	if h.TLS {
		o.text("seenAt", "library")
	}
	o.some("switchedTo", h.SwitchedTo)
	o.key("role")
	if h.Serving {
		o.out = append(o.out, `"server"`...)
	} else {
		o.out = append(o.out, `"client"`...)
	}
	o.metadata(&h.Actor)
	return o.end()
}
