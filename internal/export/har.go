package export

import (
	"hash/maphash"
	"slices"
	"strconv"
	"strings"
	"time"

	"ospulse/internal/jsonscan"
	"ospulse/internal/models"
)

// Limits of waiting halves, and constant texts.
const (
	maxWaitingBytes  = 16 << 20
	waitingOverhead  = 512 // bytes of memory besides the data
	harVersion       = "1.2"
	harCreator       = "OS-Pulse"
	commentNoAnswer  = "no response was captured"
	commentNoRequest = "no request event was captured: the time between request and response is not known"
)

// har writes HTTP flows as an HTTP Archive 1.2
// (http://www.softwareishard.com/blog/har-12-spec/). The event of a request and the
// event of its response become one entry. har matches them by the id of the flow. Without
// an id it matches them by method, URL and body: the oldest pair first, and no response
// that is older than its request. The two may arrive in either order. The event of a response
// contains the request too, so it becomes an entry on its own if no request arrives. A
// request without a response becomes an entry with status 0.
//
// This project's agent reports an exchange on loopback twice: as the client saw it, and as
// the server saw it. The first of the two that is complete becomes the entry.
//
// An event without its other half waits until the end, within maxWaitingBytes. Beyond
// that, the oldest ones become entries as they are. If the other half arrives later, it
// becomes an entry of its own. Entries are in the order in which they became complete;
// the specification asks readers to sort them by startedDateTime.
type har struct {
	version string
	begun   bool
	seed    maphash.Seed

	waiting map[uint64]*unpaired // by flow
	order   []*half              // all waiting halves, oldest first, and some written ones
	bytes   int                  // of the waiting halves

	sides map[uint64]int // entries whose other side is to come, by half.exchange; negative for the server's
	ended bool
}

// maxSides bounds har.sides. Beyond it, an exchange can have two entries.
const maxSides = 1 << 17

// unpaired has the waiting halves of one flow, oldest first.
type unpaired struct{ requests, responses []*half }

// half is an event that waits for the other half of its flow.
type half struct {
	key        uint64
	exchange   uint64 // the same for both sides
	role       int    // 1: the client saw it; -1: the server; 0: unknown
	event      models.Event
	isResponse bool
	isWritten  bool
}

func (h *half) size() int { return len(h.event.Payload()) + waitingOverhead }

func newHAR(version string) Encoder {
	return &har{version: version, seed: maphash.MakeSeed(), waiting: map[uint64]*unpaired{}, sides: map[uint64]int{}}
}

func (h *har) Begin(out []byte) []byte {
	out = append(out, `{"log":{"version":"`+harVersion+`","creator":{"name":"`+harCreator+`","version":`...)
	return append(jsonscan.AppendText(out, h.version), `},"entries":[`...)
}

func (h *har) End(out []byte) []byte {
	h.ended = true
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
	mine := &half{event: *e, isResponse: jsonscan.Kind(jsonscan.Get(data, "response")) == '{'}
	mine.key, mine.exchange, mine.role = h.flow(data, request)
	other := h.otherOf(mine)
	switch {
	case other == nil:
		h.wait(mine)
		for h.bytes > maxWaitingBytes {
			out = h.giveUpOldest(out)
		}
		return out
	case mine.isResponse:
		h.forget(other)
		return h.entry(out, mine, &other.event)
	default:
		h.forget(other)
		return h.entry(out, other, &mine.event)
	}
}

// otherOf returns the oldest half that matches one; nil if there is none.
func (h *har) otherOf(mine *half) *half {
	waiting := h.waiting[mine.key]
	if waiting == nil {
		return nil
	}
	at := mine.event.Timestamp
	if mine.isResponse {
		for _, request := range waiting.requests {
			if !request.event.Timestamp.After(at) {
				return request
			}
		}
		return nil
	}
	for _, response := range waiting.responses {
		if !response.event.Timestamp.Before(at) {
			return response
		}
	}
	return nil
}

// flow returns a hash of the values that a request and its response share, a hash that is
// also the same for both sides of an exchange, and the side.
func (h *har) flow(data, request []byte) (key, exchange uint64, role int) {
	var hash maphash.Hash
	hash.SetSeed(h.seed)
	part := func(text string) {
		hash.WriteString(text)
		hash.WriteByte(0)
	}
	if id := plain(first(data, "flow_id", "flowId", "id")); id != "" {
		part(id)
		return hash.Sum64(), 0, 0
	}
	body := jsonscan.Get(request, "body")
	part(plain(first(request, "method")))
	part(requestURL(request))
	part(plain(first(body, "content", "content_b64")))
	client := jsonscan.Get(data, "client")
	if jsonscan.Kind(client) != '[' {
		return hash.Sum64(), 0, 0
	}
	part(string(client))
	exchange = hash.Sum64()
	switch side := plain(first(data, "role")); side {
	case "client":
		role = 1
	case "server":
		role = -1
	}
	part(strconv.Itoa(role))
	return hash.Sum64(), exchange, role
}

// isSeen reports whether an entry shows the same exchange as a half from its other side. If
// not, the half is about to be an entry itself.
func (h *har) isSeen(mine *half, isComplete bool) bool {
	if mine.role == 0 {
		return false
	}
	if n := h.sides[mine.exchange]; n*mine.role < 0 {
		if h.sides[mine.exchange] = n + mine.role; n+mine.role == 0 {
			delete(h.sides, mine.exchange)
		}
		return true
	}
	// Until the end, a complete entry is better than an incomplete one.
	if (isComplete || h.ended) && len(h.sides) < maxSides {
		h.sides[mine.exchange] += mine.role
	}
	return false
}

// wait keeps a half. It copies the memory that the event shares.
func (h *har) wait(mine *half) {
	mine.event.Data, mine.event.DataRaw = slices.Clone(mine.event.Payload()), nil
	waiting := h.waiting[mine.key]
	if waiting == nil {
		waiting = &unpaired{}
		h.waiting[mine.key] = waiting
	}
	list := waiting.list(mine)
	*list = append(*list, mine)
	h.order = append(h.order, mine)
	h.bytes += mine.size()
}

// list returns the list for a half.
func (u *unpaired) list(mine *half) *[]*half {
	if mine.isResponse {
		return &u.responses
	}
	return &u.requests
}

// giveUpOldest writes the oldest waiting half, and drops it.
func (h *har) giveUpOldest(out []byte) []byte {
	oldest := h.order[0]
	h.order = h.order[1:]
	if oldest.isWritten {
		return out
	}
	h.forget(oldest)
	return h.entry(out, oldest, nil)
}

// forget drops a half that is about to be written.
func (h *har) forget(mine *half) {
	waiting := h.waiting[mine.key]
	list := waiting.list(mine)
	i := slices.Index(*list, mine)
	*list = slices.Delete(*list, i, i+1)
	if len(waiting.requests) == 0 && len(waiting.responses) == 0 {
		delete(h.waiting, mine.key)
	}
	h.bytes -= mine.size()
	mine.isWritten = true
	// Drop written halves before they fill the list.
	if len(h.order) > 1024 && len(h.order) > 4*h.bytes/waitingOverhead {
		h.order = slices.DeleteFunc(h.order, func(other *half) bool { return other.isWritten })
	}
}

// entry appends the entry of a half, after a comma if needed, unless there is one of the
// other side. request is the event of its request, if that is another.
func (h *har) entry(out []byte, mine *half, request *models.Event) []byte {
	if h.isSeen(mine, request != nil || mine.isResponse) {
		return out
	}
	if h.begun {
		out = append(out, ',')
	}
	h.begun = true
	return appendEntry(append(out, '\n'), &mine.event, request)
}

// appendEntry appends the entry of an event; request is the event of its request,
// if that is another.
func appendEntry(out []byte, e, request *models.Event) []byte {
	data := e.Payload()
	response := jsonscan.Get(data, "response")
	isAnswered := jsonscan.Kind(response) == '{'
	started, comment := e.Timestamp, ""
	if request != nil {
		started = request.Timestamp
	}
	spans := timingsOf(data)
	switch {
	case !isAnswered:
		comment = commentNoAnswer
	case spans.isKnown:
	case request != nil:
		spans.wait = float64(e.Timestamp.Sub(request.Timestamp).Microseconds()) / 1000
	default:
		comment = commentNoRequest
	}
	out = models.AppendTime(append(out, `{"startedDateTime":"`...), started)
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
		out = jsonscan.AppendText(append(out, `,"serverIPAddress":`...), ip)
	}
	if comment != "" {
		out = jsonscan.AppendText(append(out, `,"comment":`...), comment)
	}
	out = strconv.AppendInt(append(out, `,"_seq":`...), e.Seq, 10)
	if request != nil {
		out = strconv.AppendInt(append(out, `,"_requestSeq":`...), request.Seq, 10)
	}
	if e.PID != nil {
		out = strconv.AppendInt(append(out, `,"_pid":`...), *e.PID, 10)
	}
	return append(out, '}')
}

// timings are the phases of an entry in milliseconds; -1 means unknown. send, wait and
// receive are always known, because the specification requires them.
type timings struct {
	blocked, dns, connect, send, wait, receive, ssl float64

	isKnown bool // measured by the agent
}

// timingsOf reads the agent's measurements, which have the names of the HAR
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

// sum returns the entry's time: ssl is a part of connect.
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
	out = jsonscan.AppendText(append(out, `{"method":`...), plain(first(request, "method")))
	out = jsonscan.AppendText(append(out, `,"url":`...), address)
	out = jsonscan.AppendText(append(out, `,"httpVersion":`...), plain(first(request, "http_version", "httpVersion")))
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
		out = jsonscan.AppendText(append(out, `,"postData":{"mimeType":`...), headerText(fields, "Content-Type"))
		out = append(append(out, `,"params":[],"text":`...), body.content...)
		if body.isBase64 { // the specification has no field for the encoding here
			out = append(out, `,"_encoding":"base64"`...)
		}
		out = append(body.appendComment(out), '}')
	}
	out = strconv.AppendInt(append(out, `,"headersSize":-1,"bodySize":`...), body.size, 10)
	return append(out, '}')
}

func appendResponse(out, response []byte) []byte {
	fields := headers(response)
	status, _ := jsonscan.Integer(first(response, "status_code", "status", "statusCode"))
	out = strconv.AppendInt(append(out, `{"status":`...), status, 10)
	out = jsonscan.AppendText(append(out, `,"statusText":`...), plain(first(response, "reason", "statusText")))
	out = jsonscan.AppendText(append(out, `,"httpVersion":`...), plain(first(response, "http_version", "httpVersion")))
	out = append(out, `,"cookies":[`...)
	for i, c := range setCookiesOf(fields) {
		out = c.append(comma(out, i))
	}
	out = appendHeaders(append(out, `],"headers":`...), fields)
	body := bodyOf(jsonscan.Get(response, "body"))
	out = strconv.AppendInt(append(out, `,"content":{"size":`...), max(body.size, 0), 10)
	out = jsonscan.AppendText(append(out, `,"mimeType":`...), headerText(fields, "Content-Type"))
	if body.content != nil {
		out = append(append(out, `,"text":`...), body.content...)
		if body.isBase64 {
			out = append(out, `,"encoding":"base64"`...)
		}
	}
	out = append(body.appendComment(out), '}')
	out = jsonscan.AppendText(append(out, `,"redirectURL":`...), headerText(fields, "Location"))
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
	size      int64 // of the whole body; -1 if unknown
	truncated bool
}

func bodyOf(sent []byte) body {
	b := body{size: -1}
	if size, ok := jsonscan.Integer(jsonscan.Get(sent, "size")); ok && size >= 0 {
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
		out = jsonscan.AppendText(append(comma(out, i), `{"name":`...), h.name)
		out = append(append(out, `,"value":`...), h.value...)
		out = append(out, '}')
	}
	return append(out, ']')
}

// appendPair appends an object with a name and a value, without its closing brace.
func appendPair(out []byte, name, value string) []byte {
	out = jsonscan.AppendText(append(out, `{"name":`...), name)
	return jsonscan.AppendText(append(out, `,"value":`...), value)
}

// comma appends the separator before element i of an array.
func comma(out []byte, i int) []byte {
	if i > 0 {
		return append(out, ',')
	}
	return out
}

// cookiesOf returns the cookies of a request.
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

// splitSetCookie splits several cookies that a client joined with commas. After the
// comma of a date there is no name and "=".
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
		out = jsonscan.AppendText(append(out, `,"path":`...), c.path)
	}
	if c.domain != "" {
		out = jsonscan.AppendText(append(out, `,"domain":`...), c.domain)
	}
	if !c.expires.IsZero() {
		out = append(models.AppendTime(append(out, `,"expires":"`...), c.expires), '"')
	}
	out = strconv.AppendBool(append(out, `,"httpOnly":`...), c.httpOnly)
	out = strconv.AppendBool(append(out, `,"secure":`...), c.secure)
	return append(out, '}')
}
