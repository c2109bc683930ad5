//go:build linux

package parser

import (
	"bytes"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"ospulse/agent/internal/event"
)

// Limits of a connection that speaks HTTP/2.
const (
	maxExchanges     = 256      // unfinished ones
	maxExchangeBytes = 8 << 20  // kept of unfinished ones
	maxFrame         = 64 << 10 // a frame that is read as a whole
	maxTable         = 64 << 10 // of field compression, in each direction, as RFC 7541 counts
	tableFactor      = 4        // memory of such a table: short fields take more than RFC 7541 counts
	// maxReported is the most bytes of flows in the answers to one question: one byte may stand
	// for a field of 64 KiB.
	maxReported = 8 << 20
)

const (
	http2Version    = "HTTP/2.0"
	frameHeaderSize = 9
	firstTable      = 4096 // bytes of a table, until SETTINGS allow more
)

// http2Connection reads a connection that speaks HTTP/2 (RFC 9113), from its beginning. It is
// lost as a whole if any frame but part of a DATA frame is missed: the fields that follow refer
// to earlier ones.
type http2Connection struct {
	connection          *connection
	requests, responses *frames
	exchanges           map[uint32]*exchange // unfinished ones, by stream
	newest              uint32               // stream of the client
	kept                int                  // bytes, of exchanges
	reported            int                  // bytes of flows in the answers to the current question
	isLost              bool
}

// exchange is a request and its response: a stream of HTTP/2.
type exchange struct {
	request             event.Request // complete if isAsked
	asking, answering   *httpMessage  // what is being read; nil before and after
	isAsked, isAnswered bool
	protocol            string // that the client wants to switch to (RFC 8441); "": none
	kept                int    // bytes
}

// frames reads one direction of a connection: frames, one after another.
type frames struct {
	owner       *http2Connection
	areRequests bool
	preface     string // what is to come of the client's preface
	isBegun     bool   // the first frame has come
	head        []byte // of an incomplete frame
	frame       http2.FrameHeader
	// Of a frame that is read in parts:
	left     int64 // bytes of the payload to come
	padding  int64 // bytes at its end
	isPadded bool  // the next byte is the length of the padding
	// The header block that is being read.
	decoder    *hpack.Decoder
	block      http2.FrameHeader // its first frame; the zero value if none is being read
	promised   uint32            // stream that the block promises; 0: none
	fields     []hpack.HeaderField
	fieldBytes int
	isTooLarge bool
	table      int // bytes, at most
	tableLimit int
}

func newHTTP2(c *connection) *http2Connection {
	h := &http2Connection{connection: c, exchanges: map[uint32]*exchange{}}
	h.requests, h.responses = newFrames(h, true), newFrames(h, false)
	return h
}

func newFrames(h *http2Connection, areRequests bool) *frames {
	f := &frames{owner: h, areRequests: areRequests, tableLimit: firstTable}
	if areRequests {
		f.preface = http2.ClientPreface
	}
	f.decoder = hpack.NewDecoder(firstTable, f.field)
	f.decoder.SetMaxStringLength(maxHead)
	return f
}

// beginsHeaders reports whether a piece begins with the only HEADERS frame of a request or a
// response: the connection speaks HTTP/2, and its beginning was missed.
func beginsHeaders(b []byte) bool {
	if len(b) < frameHeaderSize {
		return false
	}
	h, err := http2.ReadFrameHeader(bytes.NewReader(b))
	const known = http2.FlagHeadersEndStream | http2.FlagHeadersEndHeaders | http2.FlagHeadersPadded | http2.FlagHeadersPriority
	const idAt = 5 // a stream below 2^24
	return err == nil && h.Type == http2.FrameHeaders && h.Flags&^known == 0 && h.Flags.Has(http2.FlagHeadersEndHeaders) &&
		h.Length > 0 && h.Length <= 1<<14 && h.StreamID%2 == 1 && b[idAt] == 0
}

// feed reads the next bytes.
func (f *frames) feed(b []byte) {
	for len(b) > 0 && !f.owner.isLost {
		switch {
		case f.preface != "":
			n := min(len(b), len(f.preface))
			if string(b[:n]) != f.preface[:n] {
				f.owner.lose()
				return
			}
			f.preface, b = f.preface[n:], b[n:]
		case f.left > 0:
			b = f.feedPayload(b)
		default:
			b = f.feedFrame(b)
		}
	}
}

// gap handles n bytes that were missed. They may only be part of a payload that is not read as
// a whole.
func (f *frames) gap(n int64) {
	if f.owner.isLost || n == 0 {
		return
	}
	if f.preface != "" || n > f.left || f.isPadded {
		f.owner.lose()
		return
	}
	f.take(nil, n)
}

// feedFrame collects a frame. It returns the bytes after it.
func (f *frames) feedFrame(b []byte) []byte {
	need := frameHeaderSize
	if len(f.head) >= need {
		need += int(f.frame.Length)
	}
	n := min(need-len(f.head), len(b))
	f.head, b = append(f.head, b[:n]...), b[n:]
	switch {
	case len(f.head) < need:
	case need > frameHeaderSize:
		f.whole()
	default:
		f.begin()
	}
	return b
}

// begin handles the header of a frame.
func (f *frames) begin() {
	var err error
	f.frame, err = http2.ReadFrameHeader(bytes.NewReader(f.head))
	isSettings := f.frame.Type == http2.FrameSettings && !f.frame.Flags.Has(http2.FlagSettingsAck)
	isContinued := f.block.StreamID != 0
	isNext := isContinued == (f.frame.Type == http2.FrameContinuation) && (!isContinued || f.frame.StreamID == f.block.StreamID)
	if err != nil || !f.isBegun && !isSettings || !isNext {
		f.owner.lose()
		return
	}
	f.isBegun = true
	switch f.frame.Type {
	case http2.FrameHeaders, http2.FramePushPromise, http2.FrameContinuation, http2.FrameSettings, http2.FrameRSTStream, http2.FrameGoAway:
		switch {
		case f.frame.Length > maxFrame:
			f.owner.lose()
		case f.frame.Length == 0:
			f.whole()
		}
		return
	case http2.FrameData:
		f.isPadded = f.frame.Flags.Has(http2.FlagDataPadded)
	default: // nothing that a flow needs
	}
	f.head = nil
	if f.left = int64(f.frame.Length); f.left == 0 {
		f.end()
	}
}

// feedPayload reads the payload of a frame that is not read as a whole. It returns the bytes
// after it.
func (f *frames) feedPayload(b []byte) []byte {
	if f.isPadded {
		f.isPadded, f.padding = false, int64(b[0])
		if f.left--; f.padding > f.left {
			f.owner.lose()
			return nil
		}
		if f.left == 0 {
			f.end()
		}
		return b[1:]
	}
	n := min(int64(len(b)), f.left)
	f.take(b[:n], n)
	return b[n:]
}

// take consumes n bytes of a payload; b is nil if they were missed.
func (f *frames) take(b []byte, n int64) {
	if m := f.owner.message(f.frame.StreamID, f.areRequests); f.frame.Type == http2.FrameData && m != nil {
		data := max(0, min(n, f.left-f.padding))
		switch x := f.owner.exchanges[f.frame.StreamID]; {
		case b != nil && f.owner.kept < maxExchangeBytes:
			before := len(m.body.Bytes)
			m.addBody(b[:data])
			f.owner.keep(x, len(m.body.Bytes)-before)
		case data > 0:
			m.skipBody(data)
		}
	}
	if f.left -= n; f.left == 0 {
		f.end()
	}
}

// end handles the end of a payload that was not read as a whole.
func (f *frames) end() {
	f.padding, f.isPadded = 0, false
	if f.frame.Type == http2.FrameData && f.frame.Flags.Has(http2.FlagDataEndStream) {
		f.owner.complete(f.frame.StreamID, f.areRequests)
	}
}

// whole handles a frame that has been read as a whole.
func (f *frames) whole() {
	framer := http2.NewFramer(nil, bytes.NewReader(f.head))
	framer.AllowIllegalReads = true // begin checks the order of frames
	frame, err := framer.ReadFrame()
	f.head = nil
	if err != nil {
		f.owner.lose()
		return
	}
	switch frame := frame.(type) {
	case *http2.SettingsFrame:
		if size, ok := frame.Value(http2.SettingHeaderTableSize); ok {
			f.other().allow(int(min(size, maxTable)))
		}
	case *http2.HeadersFrame:
		f.block = f.frame
		f.decode(frame.HeaderBlockFragment(), frame.HeadersEnded())
	case *http2.PushPromiseFrame:
		f.block, f.promised = f.frame, frame.PromiseID
		f.decode(frame.HeaderBlockFragment(), frame.HeadersEnded())
	case *http2.ContinuationFrame:
		f.decode(frame.HeaderBlockFragment(), frame.HeadersEnded())
	case *http2.RSTStreamFrame:
		f.owner.finish(f.frame.StreamID, true, true)
	case *http2.GoAwayFrame:
		f.owner.goneAway(f.areRequests, frame.LastStreamID)
	}
}

// other returns the other direction.
func (f *frames) other() *frames {
	if f.areRequests {
		return f.owner.responses
	}
	return f.owner.requests
}

// allow sets the most bytes that the sender's table may have from now on.
func (f *frames) allow(size int) {
	f.tableLimit = max(f.tableLimit, size)
	f.decoder.SetAllowedMaxDynamicTableSize(uint32(size))
}

// decode reads the next part of a header block.
func (f *frames) decode(fragment []byte, isLast bool) {
	_, err := f.decoder.Write(fragment)
	if err == nil && isLast {
		err = f.decoder.Close()
	}
	if err != nil {
		f.owner.lose()
		return
	}
	if !isLast {
		return
	}
	h, fields := f.owner, f.fields
	id, promised, isEnd, isTooLarge := f.block.StreamID, f.promised, f.block.Flags.Has(http2.FlagHeadersEndStream), f.isTooLarge
	f.block, f.promised, f.fields, f.fieldBytes, f.isTooLarge = http2.FrameHeader{}, 0, nil, 0, false
	f.decoder.SetEmitEnabled(true)
	switch {
	case promised != 0:
		h.promise(promised, fields)
	case isTooLarge:
		if f.areRequests {
			h.newest = max(h.newest, id)
		}
		h.drop(id)
	case f.areRequests:
		h.request(id, fields, isEnd)
	default:
		h.response(id, fields, isEnd)
	}
}

// field takes a field of a header block.
func (f *frames) field(field hpack.HeaderField) {
	f.table = min(f.table+int(field.Size()), f.tableLimit)
	f.fieldBytes += len(field.Name) + len(field.Value)
	if f.fieldBytes > maxHead || len(f.fields) >= maxFields {
		f.isTooLarge, f.fields = true, nil
		f.decoder.SetEmitEnabled(false)
		return
	}
	f.fields = append(f.fields, field)
}

// keptBytes returns how much memory the direction keeps.
func (f *frames) keptBytes() int { return cap(f.head) + f.fieldBytes + f.table*tableFactor }

// keptBytes returns how much memory the connection keeps.
func (h *http2Connection) keptBytes() int {
	const always = 2048
	if h.isLost {
		return 0
	}
	return always + h.kept + h.requests.keptBytes() + h.responses.keptBytes()
}

// keep records that n more bytes of an exchange are kept.
func (h *http2Connection) keep(x *exchange, n int) {
	x.kept += n
	h.kept += n
}

// message returns the message of a stream that is being read; nil if there is none.
func (h *http2Connection) message(id uint32, isRequest bool) *httpMessage {
	x := h.exchanges[id]
	switch {
	case x == nil:
		return nil
	case isRequest:
		return x.asking
	default:
		return x.answering
	}
}

// add adds an exchange; nil if there are too many.
func (h *http2Connection) add(id uint32) *exchange {
	if len(h.exchanges) >= maxExchanges || h.kept > maxExchangeBytes {
		h.connection.lost()
		return nil
	}
	x := &exchange{}
	h.exchanges[id] = x
	return x
}

// drop gives up an exchange.
func (h *http2Connection) drop(id uint32) {
	h.connection.lost()
	h.remove(id)
}

func (h *http2Connection) remove(id uint32) {
	if x := h.exchanges[id]; x != nil {
		h.kept -= x.kept
		delete(h.exchanges, id)
	}
}

// request handles the header block of a request, or its trailers.
func (h *http2Connection) request(id uint32, fields []hpack.HeaderField, isEnd bool) {
	x := h.exchanges[id]
	if x == nil {
		if id%2 == 0 || id <= h.newest {
			return // it was given up or reset
		}
		h.newest = id
		if x = h.add(id); x == nil {
			return
		}
		if x.asking = requestHead(fields); x.asking == nil {
			h.drop(id)
			return
		}
		x.protocol = pseudo(fields, ":protocol")
		h.keep(x, headerSize(x.asking.header)+len(x.protocol))
		isEnd = isEnd || x.asking.first[0] == http.MethodConnect // what follows is a tunnel
	} else {
		h.trailers(x, x.asking, fields)
	}
	if isEnd {
		h.complete(id, true)
	}
}

// response handles the header block of a response, or its trailers.
func (h *http2Connection) response(id uint32, fields []hpack.HeaderField, isEnd bool) {
	x := h.exchanges[id]
	if x == nil || x.isAnswered {
		return
	}
	if x.answering == nil {
		m := responseHead(fields)
		switch {
		case m == nil:
			h.drop(id)
			return
		case m.first[1][0] == '1':
			return // the final response follows
		}
		x.answering = m
		h.keep(x, headerSize(m.header))
		isEnd = isEnd || x.isAsked && x.request.Method == http.MethodConnect && m.first[1][0] == '2'
	} else {
		h.trailers(x, x.answering, fields)
	}
	if isEnd {
		h.complete(id, false)
	}
}

// promise handles a request that the server makes for the client. Only its response is
// reported.
func (h *http2Connection) promise(id uint32, fields []hpack.HeaderField) {
	m := requestHead(fields)
	if m == nil || id%2 == 1 || h.exchanges[id] != nil {
		h.drop(id)
		return
	}
	if x := h.add(id); x != nil {
		x.request, x.isAsked = requestOf(m), true
		h.keep(x, headerSize(m.header))
	}
}

func (h *http2Connection) trailers(x *exchange, m *httpMessage, fields []hpack.HeaderField) {
	if m != nil && m.trailer == nil {
		m.trailer = regular(fields)
		h.keep(x, headerSize(m.trailer))
	}
}

// complete handles the end of a message. A message whose end the agent does not see is marked
// as truncated before.
func (h *http2Connection) complete(id uint32, isRequest bool) {
	x, m := h.exchanges[id], h.message(id, isRequest)
	if m == nil {
		return
	}
	if isRequest {
		x.request, x.isAsked, x.asking = requestOf(m), true, nil
		h.report(x.request, nil, "")
	} else {
		x.isAnswered, x.answering = true, nil
		request := x.request
		if x.asking != nil {
			request = partOf(x.asking)
		}
		switched := ""
		if request.Method == http.MethodConnect && m.first[1][0] == '2' {
			switched = x.protocol
		}
		h.report(request, responseOf(m), switched)
	}
	if x.isAsked && x.isAnswered {
		h.remove(id)
	}
}

// finish handles the end of a stream before the end of its request, its response, or both.
func (h *http2Connection) finish(id uint32, request, response bool) {
	for _, side := range []struct{ isRequest, isEnded bool }{{true, request}, {false, response}} {
		if m := h.message(id, side.isRequest); side.isEnded && m != nil {
			m.body.Truncated = true
			h.complete(id, side.isRequest)
		}
	}
	if request && response {
		h.remove(id)
	}
}

// finishAll handles the end of one direction, or of both.
func (h *http2Connection) finishAll(requests, responses bool) {
	for _, id := range slices.Sorted(maps.Keys(h.exchanges)) {
		h.finish(id, requests, responses)
	}
}

// goneAway handles that one side will not handle the streams of the other after the last.
func (h *http2Connection) goneAway(byClient bool, last uint32) {
	for _, id := range slices.Sorted(maps.Keys(h.exchanges)) {
		if isOfServer := id%2 == 0; isOfServer == byClient && id > last {
			h.finish(id, true, true)
		}
	}
}

// lose gives up the connection.
func (h *http2Connection) lose() {
	if h.isLost {
		return
	}
	h.finishAll(true, true)
	h.connection.lost()
	h.isLost = true
	for _, f := range []*frames{h.requests, h.responses} {
		*f = frames{owner: h} // frees what it keeps
	}
}

func (h *http2Connection) report(request event.Request, response *event.Response, switched string) {
	h.reported += len(request.Body.Bytes) + headerSize(request.Header) + headerSize(request.Trailer)
	if response != nil {
		h.reported += len(response.Body.Bytes) + headerSize(response.Header) + headerSize(response.Trailer)
	}
	if h.reported > maxReported {
		h.connection.lost()
		return
	}
	h.connection.report(request, response, switched)
}

// requestHead returns the request of a header block; nil if it is malformed. The authority is
// reported as the field host, as RFC 9113 (8.3.1) says for a translation to HTTP/1.
func requestHead(fields []hpack.HeaderField) *httpMessage {
	m := &httpMessage{request: true, header: regular(fields)}
	authority := pseudo(fields, ":authority")
	m.first = [3]string{pseudo(fields, ":method"), pseudo(fields, ":path"), http2Version}
	if m.first[0] == http.MethodConnect && pseudo(fields, ":protocol") == "" {
		m.first[1] = authority
	}
	if !isToken(m.first[0]) || m.first[1] == "" {
		return nil
	}
	if authority != "" && m.header.Get("host") == "" {
		m.header = slices.Insert(m.header, 0, event.HeaderField{Name: "host", Value: authority})
	}
	return m
}

// responseHead returns the response of a header block; nil if it is malformed.
func responseHead(fields []hpack.HeaderField) *httpMessage {
	code := pseudo(fields, ":status")
	if n, err := strconv.Atoi(code); err != nil || n < 100 || n > 999 || len(code) != 3 {
		return nil
	}
	return &httpMessage{first: [3]string{http2Version, code, ""}, header: regular(fields)}
}

// pseudo returns the value of a pseudo-header field; "" if there is none.
func pseudo(fields []hpack.HeaderField, name string) string {
	for i := range fields {
		if fields[i].Name == name {
			return fields[i].Value
		}
	}
	return ""
}

// regular returns the fields that are no pseudo-header fields.
func regular(fields []hpack.HeaderField) (h event.Header) {
	for i := range fields {
		if !strings.HasPrefix(fields[i].Name, ":") {
			h = append(h, event.HeaderField{Name: fields[i].Name, Value: fields[i].Value})
		}
	}
	return h
}
