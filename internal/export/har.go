package export

import (
	"hash/maphash"
	"slices"
	"strconv"
	"strings"
	"time"

	"ospulse/internal/jsonscan"
	"ospulse/internal/models"
	"ospulse/internal/wire"
)

// What of unanswered requests is kept until their response comes.
const (
	maxPendingBytes  = 16 << 20
	maxEarly         = 4096 // responses that came before their request
	pendingOverhead  = 256  // of memory, besides the entry
	harVersion       = "1.2"
	harCreator       = "OS-Pulse"
	commentNoAnswer  = "no response was captured"
	commentNoRequest = "no request event was captured: the time between request and response is not known"
)

// har writes HTTP flows as an HTTP Archive 1.2
// (http://www.softwareishard.com/blog/har-12-spec/). A response event becomes an
// entry, as it carries its request too; a request event is only needed for its
// time, unless no response comes: then it becomes an entry with the status 0. Both
// are brought together by the id of the flow, if they have one, or else by what was
// asked, the oldest first.
//
// Requests without a response are kept until the end, as far as they fit into
// maxPendingBytes: beyond that the oldest become entries at once, and should their
// response come after all, it is one of its own. Entries are in the order in which
// they became complete; readers sort them by startedDateTime, as the specification
// asks them to.
type har struct {
	version string
	begun   bool
	seed    maphash.Seed

	pending map[uint64][]*pendingRequest // by flow, the oldest first
	order   []*pendingRequest            // all of them, and some that were answered
	bytes   int                          // of those that were not

	early      map[uint64][]time.Time // of responses without a request
	earlyOrder []uint64
}

// pendingRequest is a request whose response has not come.
type pendingRequest struct {
	key      uint64
	seq      int64
	at       time.Time
	entry    []byte // as it is written if none comes
	answered bool
}

func newHAR(version string) Encoder {
	return &har{version: version, seed: maphash.MakeSeed(), pending: map[uint64][]*pendingRequest{}, early: map[uint64][]time.Time{}}
}

func (h *har) Begin(out []byte) []byte {
	out = append(out, `{"log":{"version":"`+harVersion+`","creator":{"name":"`+harCreator+`","version":`...)
	return append(wire.AppendText(out, h.version), `},"entries":[`...)
}

func (h *har) End(out []byte) []byte {
	for len(h.order) > 0 {
		out = h.giveUpOldest(out)
	}
	return append(out, "\n]}}\n"...)
}

func (h *har) Event(out []byte, e *models.Event) []byte {
	data := e.Payload()
	request := jsonscan.Get(data, "request")
	if e.EventType != models.TypeHTTP || jsonscan.Kind(request) != '{' {
		return out
	}
	key := h.flow(data, request)
	if jsonscan.Kind(jsonscan.Get(data, "response")) == '{' {
		return h.response(out, e, key)
	}
	if h.takeEarly(key, e.Timestamp) { // its response is written
		return out
	}
	p := &pendingRequest{key: key, seq: e.Seq, at: e.Timestamp, entry: appendEntry(nil, e, nil)}
	h.pending[key] = append(h.pending[key], p)
	h.order = append(h.order, p)
	h.bytes += len(p.entry) + pendingOverhead
	for h.bytes > maxPendingBytes {
		out = h.giveUpOldest(out)
	}
	return out
}

// flow gives what a request and its response have in common.
func (h *har) flow(data, request []byte) uint64 {
	var hash maphash.Hash
	hash.SetSeed(h.seed)
	part := func(text string) {
		hash.WriteString(text)
		hash.WriteByte(0)
	}
	if id := plain(first(data, "flow_id", "flowId", "id")); id != "" {
		part(id)
		return hash.Sum64()
	}
	body := jsonscan.Get(request, "body")
	part(plain(first(request, "method")))
	part(requestURL(request))
	part(plain(first(body, "content", "content_b64")))
	return hash.Sum64()
}

func (h *har) response(out []byte, e *models.Event, key uint64) []byte {
	waiting := h.pending[key]
	i := slices.IndexFunc(waiting, func(p *pendingRequest) bool { return !p.at.After(e.Timestamp) })
	if i < 0 {
		h.addEarly(key, e.Timestamp)
		return h.entry(out, appendEntry(nil, e, nil))
	}
	p := waiting[i]
	h.forget(p)
	return h.entry(out, appendEntry(nil, e, p))
}

// entry appends an entry to the others.
func (h *har) entry(out, entry []byte) []byte {
	if h.begun {
		out = append(out, ',')
	}
	h.begun = true
	return append(append(out, '\n'), entry...)
}

// giveUpOldest writes the oldest request that is kept, if no response came for it.
func (h *har) giveUpOldest(out []byte) []byte {
	p := h.order[0]
	h.order = h.order[1:]
	if p.answered {
		return out
	}
	out = h.entry(out, p.entry)
	h.forget(p)
	return out
}

// forget drops a request that is written, or that needs not be.
func (h *har) forget(p *pendingRequest) {
	waiting := h.pending[p.key]
	i := slices.Index(waiting, p)
	if waiting = slices.Delete(waiting, i, i+1); len(waiting) == 0 {
		delete(h.pending, p.key)
	} else {
		h.pending[p.key] = waiting
	}
	h.bytes -= len(p.entry) + pendingOverhead
	p.answered, p.entry = true, nil
	// What was answered is not to fill the order of those that were not.
	for len(h.order) > 0 && h.order[0].answered {
		h.order = h.order[1:]
	}
	if live := h.bytes / pendingOverhead; len(h.order) > 1024 && len(h.order) > 4*live {
		h.order = slices.DeleteFunc(h.order, func(p *pendingRequest) bool { return p.answered })
	}
}

func (h *har) addEarly(key uint64, at time.Time) {
	h.early[key] = append(h.early[key], at)
	h.earlyOrder = append(h.earlyOrder, key)
	if len(h.earlyOrder) > maxEarly {
		oldest := h.earlyOrder[0]
		h.earlyOrder = h.earlyOrder[1:]
		h.dropEarly(oldest, 0)
	}
}

// takeEarly reports whether a request's response came before it.
func (h *har) takeEarly(key uint64, at time.Time) bool {
	i := slices.IndexFunc(h.early[key], func(response time.Time) bool { return !response.Before(at) })
	if i < 0 {
		return false
	}
	h.dropEarly(key, i)
	place := slices.Index(h.earlyOrder, key)
	h.earlyOrder = slices.Delete(h.earlyOrder, place, place+1)
	return true
}

func (h *har) dropEarly(key uint64, i int) {
	if left := slices.Delete(h.early[key], i, i+1); len(left) == 0 {
		delete(h.early, key)
	} else {
		h.early[key] = left
	}
}

// appendEntry appends the entry of an event; request is the event of its request,
// if that is another.
func appendEntry(out []byte, e *models.Event, request *pendingRequest) []byte {
	data := e.Payload()
	response := jsonscan.Get(data, "response")
	isAnswered := jsonscan.Kind(response) == '{'
	started, comment := e.Timestamp, ""
	if request != nil {
		started = request.at
	}
	spans := timingsOf(data)
	switch {
	case !isAnswered:
		comment = commentNoAnswer
	case spans.isKnown:
	case request != nil:
		spans.wait = float64(e.Timestamp.Sub(request.at).Microseconds()) / 1000
	default:
		comment = commentNoRequest
	}
	out = wire.AppendTime(append(out, `{"startedDateTime":"`...), started)
	out = appendFloat(append(out, `","time":`...), spans.sum())
	out = appendRequest(append(out, `,"request":`...), jsonscan.Get(data, "request"))
	out = append(out, `,"response":`...)
	if isAnswered {
		out = appendResponse(out, response)
	} else {
		out = append(out, `{"status":0,"statusText":"","httpVersion":"","cookies":[],"headers":[],"content":{"size":0,"mimeType":""},"redirectURL":"","headersSize":-1,"bodySize":-1,"comment":"`+commentNoAnswer+`"}`...)
	}
	out = spans.append(append(out, `,"cache":{},"timings":`...))
	if ip, _ := serverAddress(data); ip != "" {
		out = wire.AppendText(append(out, `,"serverIPAddress":`...), ip)
	}
	if comment != "" {
		out = wire.AppendText(append(out, `,"comment":`...), comment)
	}
	out = strconv.AppendInt(append(out, `,"_seq":`...), e.Seq, 10)
	if request != nil {
		out = strconv.AppendInt(append(out, `,"_requestSeq":`...), request.seq, 10)
	}
	if e.PID != nil {
		out = strconv.AppendInt(append(out, `,"_pid":`...), *e.PID, 10)
	}
	return append(out, '}')
}

// timings are the phases of an entry in milliseconds; -1 is for one that is not
// known. send, wait and receive are never: the specification wants them.
type timings struct {
	blocked, dns, connect, send, wait, receive, ssl float64

	isKnown bool // the agent has measured
}

// timingsOf reads what an agent has measured, under the names of the HAR
// specification.
func timingsOf(data []byte) timings {
	sent := jsonscan.Get(data, "timings")
	t := timings{blocked: -1, dns: -1, connect: -1, ssl: -1}
	for name, span := range map[string]*float64{
		"blocked": &t.blocked, "dns": &t.dns, "connect": &t.connect, "send": &t.send, "wait": &t.wait, "receive": &t.receive, "ssl": &t.ssl,
	} {
		value, err := strconv.ParseFloat(plain(jsonscan.Get(sent, name)), 64)
		if err == nil && value >= 0 && value < 1e12 {
			*span = value
			t.isKnown = true
		}
	}
	return t
}

// sum is the entry's time: ssl is a part of connect.
func (t *timings) sum() float64 {
	total := t.send + t.wait + t.receive
	for _, span := range [...]float64{t.blocked, t.dns, t.connect} {
		total += max(span, 0)
	}
	return total
}

func (t *timings) append(out []byte) []byte {
	out = appendFloat(append(out, `{"blocked":`...), t.blocked)
	out = appendFloat(append(out, `,"dns":`...), t.dns)
	out = appendFloat(append(out, `,"connect":`...), t.connect)
	out = appendFloat(append(out, `,"send":`...), t.send)
	out = appendFloat(append(out, `,"wait":`...), t.wait)
	out = appendFloat(append(out, `,"receive":`...), t.receive)
	return append(appendFloat(append(out, `,"ssl":`...), t.ssl), '}')
}

func appendFloat(out []byte, f float64) []byte { return strconv.AppendFloat(out, f, 'f', -1, 64) }

func appendRequest(out, request []byte) []byte {
	fields := headers(request)
	address := requestURL(request)
	out = wire.AppendText(append(out, `{"method":`...), plain(first(request, "method")))
	out = wire.AppendText(append(out, `,"url":`...), address)
	out = wire.AppendText(append(out, `,"httpVersion":`...), plain(first(request, "http_version", "httpVersion")))
	out = append(out, `,"cookies":[`...)
	for i, pair := range cookiesOf(fields) {
		out = appendPair(comma(out, i), pair[0], pair[1])
		out = append(out, '}')
	}
	out = appendHeaders(append(out, `],"headers":`...), fields)
	out = append(out, `,"queryString":[`...)
	for i, pair := range queryOf(address) {
		out = append(appendPair(comma(out, i), pair[0], pair[1]), '}')
	}
	out = append(out, ']')
	body := bodyOf(jsonscan.Get(request, "body"))
	if body.content != nil && len(body.content) > len(`""`) {
		out = wire.AppendText(append(out, `,"postData":{"mimeType":`...), headerText(fields, "Content-Type"))
		out = append(append(out, `,"params":[],"text":`...), body.content...)
		if body.isBase64 { // the specification has no field for it here
			out = append(out, `,"_encoding":"base64"`...)
		}
		out = append(body.appendComment(out), '}')
	}
	out = strconv.AppendInt(append(out, `,"headersSize":-1,"bodySize":`...), body.size, 10)
	return append(out, '}')
}

func appendResponse(out, response []byte) []byte {
	fields := headers(response)
	status, _ := whole(first(response, "status_code", "status", "statusCode"))
	out = strconv.AppendInt(append(out, `{"status":`...), status, 10)
	out = wire.AppendText(append(out, `,"statusText":`...), plain(first(response, "reason", "statusText")))
	out = wire.AppendText(append(out, `,"httpVersion":`...), plain(first(response, "http_version", "httpVersion")))
	out = append(out, `,"cookies":[`...)
	for i, c := range setCookiesOf(fields) {
		out = c.append(comma(out, i))
	}
	out = appendHeaders(append(out, `],"headers":`...), fields)
	body := bodyOf(jsonscan.Get(response, "body"))
	out = strconv.AppendInt(append(out, `,"content":{"size":`...), max(body.size, 0), 10)
	out = wire.AppendText(append(out, `,"mimeType":`...), headerText(fields, "Content-Type"))
	if body.content != nil {
		out = append(append(out, `,"text":`...), body.content...)
		if body.isBase64 {
			out = append(out, `,"encoding":"base64"`...)
		}
	}
	out = append(body.appendComment(out), '}')
	out = wire.AppendText(append(out, `,"redirectURL":`...), headerText(fields, "Location"))
	bodySize := int64(-1) // on the wire, where it may have been compressed
	if n, err := strconv.ParseInt(headerText(fields, "Content-Length"), 10, 64); err == nil && n >= 0 {
		bodySize = n
	}
	out = strconv.AppendInt(append(out, `,"headersSize":-1,"bodySize":`...), bodySize, 10)
	return append(out, '}')
}

// body is the body of a message as it was captured.
type body struct {
	content   []byte // a JSON string; nil if there is none
	isBase64  bool
	size      int64 // of the whole body; -1 if it is not known
	truncated bool
}

func bodyOf(sent []byte) body {
	b := body{size: -1}
	if size, ok := whole(jsonscan.Get(sent, "size")); ok && size >= 0 {
		b.size = size
	}
	b.truncated = jsonscan.Kind(jsonscan.Get(sent, "truncated")) == 't'
	if text := jsonscan.Get(sent, "content"); jsonscan.Kind(text) == '"' {
		b.content = text
	} else if binary := jsonscan.Get(sent, "content_b64"); jsonscan.Kind(binary) == '"' {
		b.content, b.isBase64 = binary, true
	}
	return b
}

func (b *body) appendComment(out []byte) []byte {
	if b.truncated {
		out = append(out, `,"comment":"the body was cut when it was captured: only its beginning is here"`...)
	}
	return out
}

func appendHeaders(out []byte, fields []header) []byte {
	out = append(out, '[')
	for i, h := range fields {
		out = wire.AppendText(append(comma(out, i), `{"name":`...), h.name)
		out = append(append(out, `,"value":`...), h.value...)
		out = append(out, '}')
	}
	return append(out, ']')
}

// appendPair appends an object of a name and a value that is left open.
func appendPair(out []byte, name, value string) []byte {
	out = wire.AppendText(append(out, `{"name":`...), name)
	return wire.AppendText(append(out, `,"value":`...), value)
}

// comma appends what stands before the element i of an array.
func comma(out []byte, i int) []byte {
	if i > 0 {
		return append(out, ',')
	}
	return out
}

// cookiesOf gives the cookies that a request sends.
func cookiesOf(fields []header) [][2]string {
	var cookies [][2]string
	for _, h := range fields {
		if !strings.EqualFold(h.name, "Cookie") {
			continue
		}
		for part := range strings.SplitSeq(jsonscan.Unquote(h.value), ";") {
			if part = strings.TrimSpace(part); part != "" {
				name, value, _ := strings.Cut(part, "=")
				cookies = append(cookies, [2]string{name, value})
			}
		}
	}
	return cookies
}

// setCookie is a cookie that a response sets.
type setCookie struct {
	name, value, path, domain string
	expires                   time.Time
	httpOnly, secure          bool
}

func setCookiesOf(fields []header) []setCookie {
	var cookies []setCookie
	for _, h := range fields {
		if !strings.EqualFold(h.name, "Set-Cookie") {
			continue
		}
		for _, text := range splitSetCookie(jsonscan.Unquote(h.value)) {
			cookies = append(cookies, readSetCookie(text))
		}
	}
	return cookies
}

// splitSetCookie takes apart several cookies that a client has joined with commas;
// the comma of a date is followed by no name and "=".
func splitSetCookie(text string) []string {
	var parts []string
	start := 0
	for i := range len(text) {
		if text[i] != ',' {
			continue
		}
		next := strings.TrimLeft(text[i+1:], " ")
		if end := strings.IndexAny(next, "=;, "); end > 0 && next[end] == '=' {
			parts = append(parts, text[start:i])
			start = len(text) - len(next)
		}
	}
	return append(parts, text[start:])
}

func readSetCookie(text string) setCookie {
	pair, attributes, _ := strings.Cut(text, ";")
	name, value, _ := strings.Cut(strings.TrimSpace(pair), "=")
	c := setCookie{name: name, value: value}
	for attribute := range strings.SplitSeq(attributes, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(attribute), "=")
		switch strings.ToLower(name) {
		case "path":
			c.path = value
		case "domain":
			c.domain = value
		case "httponly":
			c.httpOnly = true
		case "secure":
			c.secure = true
		case "expires":
			for _, layout := range [...]string{time.RFC1123, "Mon, 02-Jan-2006 15:04:05 MST", time.RFC850, time.ANSIC} {
				if t, err := time.Parse(layout, value); err == nil {
					c.expires = t
					break
				}
			}
		}
	}
	return c
}

func (c *setCookie) append(out []byte) []byte {
	out = appendPair(out, c.name, c.value)
	if c.path != "" {
		out = wire.AppendText(append(out, `,"path":`...), c.path)
	}
	if c.domain != "" {
		out = wire.AppendText(append(out, `,"domain":`...), c.domain)
	}
	if !c.expires.IsZero() {
		out = append(wire.AppendTime(append(out, `,"expires":"`...), c.expires), '"')
	}
	out = strconv.AppendBool(append(out, `,"httpOnly":`...), c.httpOnly)
	out = strconv.AppendBool(append(out, `,"secure":`...), c.secure)
	return append(out, '}')
}
