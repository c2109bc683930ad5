//go:build linux

package parser

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"

	"ospulse/agent/internal/event"
)

// Kind is what a question is about.
type Kind uint8

// The kinds of questions. Those about a connection are answered with its flows.
const (
	Piece   Kind = iota + 1 // Data begins at Offset of the Total bytes that a call moved
	Copied                  // the program wrote Total bytes that the agent does not have
	Ended                   // the other end of the connection sends no more
	Closed                  // the connection has ended
	Dropped                 // the agent gives the connection up
	DNS                     // Data is DNS messages, each after its length in two bytes
	Frames                  // Data is frames; see NewFrames
)

// Frees reports whether the question lets the worker free memory.
func (k Kind) Frees() bool { return k == Closed || k == Dropped }

// Question is one message to the worker.
type Question struct {
	Kind          Kind
	Connection    uint64
	Written       bool // the program wrote Data; else it read it
	Missed        bool // the worker did not get all questions about the connection before
	Offset, Total int64
	Data          []byte
}

// Answer is one message from the worker. It answers a question with any number of messages
// and a last one.
type Answer struct {
	Last bool
	Kept int   // in the last answer: bytes that the worker keeps of the connection
	Flow *Flow // nil: none
	Lost bool  // part of the connection was dropped because of a limit
	DNS  *event.DNS
	// Packet is the next one of Frames.
	Packet *Packet
	// Fault says why the worker ends now; "" if it does not.
	Fault string
}

// Flow is a request, or a response with the request that it answers.
type Flow struct {
	Serving  bool // the process is the server
	Request  event.Request
	Response *event.Response
	Switched string // the protocol of the connection after the response; "": HTTP
}

// A message is its size in four bytes, which do not count, and a body.
const (
	sizeBytes   = 4
	maxQuestion = 1 << 20
	// No honest answer reaches these limits: heads and bodies have theirs, and a DNS message
	// has at most 64 KiB and 1 MiB of names.
	maxAnswer = 2 << 20
	maxList   = 1 << 15
	maxMemory = 1 << 30
)

var errMessage = errors.New("a message is malformed")

// readMessage reads the body of a message. buffer is used again if it is large enough.
func readMessage(r io.Reader, buffer []byte, limit int) ([]byte, error) {
	var head [sizeBytes]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, fmt.Errorf("read a message: %w", err)
	}
	size := int(binary.LittleEndian.Uint32(head[:]))
	if size > limit {
		return nil, fmt.Errorf("%w: it has %d bytes", errMessage, size)
	}
	if cap(buffer) < size {
		buffer = make([]byte, size)
	}
	if _, err := io.ReadFull(r, buffer[:size]); err != nil {
		return nil, fmt.Errorf("read a message: %w", err)
	}
	return buffer[:size], nil
}

// appendMessage appends a message. write appends its body.
func appendMessage(out []byte, write func(w *writer)) []byte {
	begin := len(out)
	w := writer{append(out, 0, 0, 0, 0)}
	write(&w)
	binary.LittleEndian.PutUint32(w.out[begin:], uint32(len(w.out)-begin-sizeBytes))
	return w.out
}

// append appends the question to out, as a message.
func (q *Question) append(out []byte) []byte {
	return appendMessage(out, func(w *writer) {
		w.number(int64(q.Kind))
		w.number(int64(q.Connection))
		w.flag(q.Written)
		w.flag(q.Missed)
		w.number(q.Offset)
		w.number(q.Total)
		w.bytes(q.Data)
	})
}

// read reads a question. Its Data is part of body.
func (q *Question) read(body []byte) error {
	r := reader{rest: body}
	*q = Question{
		Kind: Kind(r.number()), Connection: uint64(r.number()), Written: r.flag(), Missed: r.flag(),
		Offset: r.number(), Total: r.number(), Data: r.bytes(),
	}
	return r.end()
}

// append appends the answer to out, as a message.
func (a *Answer) append(out []byte) []byte {
	return appendMessage(out, func(w *writer) {
		w.flag(a.Last)
		w.number(int64(a.Kept))
		w.flag(a.Lost)
		if w.flag(a.Flow != nil); a.Flow != nil {
			w.flow(a.Flow)
		}
		if w.flag(a.DNS != nil); a.DNS != nil {
			w.dns(a.DNS)
		}
		if w.flag(a.Packet != nil); a.Packet != nil {
			w.packet(a.Packet)
		}
		w.text(a.Fault)
	})
}

// read reads an answer, and checks what the agent relies on. It copies what it keeps of body.
func (a *Answer) read(body []byte) error {
	r := reader{rest: body, texts: string(body)}
	*a = Answer{Last: r.flag(), Kept: int(r.number()), Lost: r.flag()}
	r.check(a.Kept >= 0 && a.Kept <= maxMemory)
	if r.flag() {
		a.Flow = r.flow()
	}
	if r.flag() {
		a.DNS = r.dns()
	}
	if r.flag() {
		a.Packet = r.packet()
	}
	a.Fault = r.text()
	return r.end()
}

// NewFrames returns a question about frames that AddFrame adds. Each frame is answered with a
// Packet, whose event keeps contentBytes of the payload. buffer is used for Data.
func NewFrames(contentBytes int, buffer []byte) *Question {
	w := writer{buffer[:0]}
	w.number(int64(contentBytes))
	return &Question{Kind: Frames, Data: w.out}
}

// AddFrame adds a frame to a question of NewFrames.
func (q *Question) AddFrame(f *Frame) {
	w := writer{q.Data}
	w.number(int64(f.Network))
	w.number(int64(f.Length))
	w.number(int64(f.EtherType))
	w.number(int64(f.VLAN))
	w.bytes(f.Data)
	q.Data = w.out
}

// frames yields the frames of a question, and the bytes of content that their events keep.
func (q *Question) frames() func(yield func(*Frame, int) bool) {
	r := reader{rest: q.Data}
	contentBytes := int(r.number())
	return func(yield func(*Frame, int) bool) {
		for len(r.rest) > 0 {
			f := Frame{Network: int(r.number()), Length: int(r.number()), EtherType: uint16(r.number()), VLAN: int(r.number()), Data: r.bytes()}
			if !yield(&f, contentBytes) {
				return
			}
		}
	}
}

// writer appends values.
type writer struct{ out []byte }

func (w *writer) number(n int64) { w.out = binary.AppendVarint(w.out, n) }

func (w *writer) flag(isSet bool) {
	if isSet {
		w.out = append(w.out, 1)
	} else {
		w.out = append(w.out, 0)
	}
}

func (w *writer) bytes(b []byte) {
	w.number(int64(len(b)))
	w.out = append(w.out, b...)
}

func (w *writer) text(s string) {
	w.number(int64(len(s)))
	w.out = append(w.out, s...)
}

func (w *writer) flow(f *Flow) {
	w.flag(f.Serving)
	w.text(f.Request.Method)
	w.text(f.Request.Target)
	w.text(f.Request.Version)
	w.header(f.Request.Header)
	w.header(f.Request.Trailer)
	w.body(&f.Request.Body)
	w.flag(f.Response != nil)
	if r := f.Response; r != nil {
		w.number(int64(r.StatusCode))
		w.text(r.Reason)
		w.text(r.Version)
		w.header(r.Header)
		w.header(r.Trailer)
		w.body(&r.Body)
	}
	w.text(f.Switched)
}

func (w *writer) header(h event.Header) {
	w.number(int64(len(h)))
	for i := range h {
		w.text(h[i].Name)
		w.text(h[i].Value)
	}
}

func (w *writer) body(b *event.Body) {
	w.bytes(b.Bytes)
	w.number(b.Size)
	w.flag(b.Truncated)
	w.text(b.Encoding)
	w.number(b.Encoded)
}

func (w *writer) dns(d *event.DNS) {
	w.number(int64(d.ID))
	w.flag(d.Response)
	w.text(d.Code)
	w.flag(d.Truncated)
	for _, records := range [][]event.DNSRecord{d.Questions, d.Answers} {
		w.number(int64(len(records)))
		for i := range records {
			w.text(records[i].Name)
			w.text(records[i].Type)
			w.text(records[i].Data)
			w.number(int64(records[i].TTL))
		}
	}
}

func (w *writer) packet(p *Packet) {
	w.ends(&p.Ends)
	w.ends(&p.About)
	if w.flag(p.Fragment != Fragment{}); p.Fragment != (Fragment{}) {
		w.number(int64(p.Fragment.Protocol))
		w.number(int64(p.Fragment.ID))
	}
	w.flag(p.IsLater)
	w.flag(p.IsFirst)
	w.flag(p.IsFinal)
	e := p.Event
	w.text(e.Protocol)
	w.text(e.Info)
	w.number(int64(e.SourcePort))
	w.number(int64(e.DestPort))
	w.number(int64(e.VLAN))
	if w.flag(e.TCP != nil); e.TCP != nil {
		w.text(e.TCP.Flags)
		w.number(int64(e.TCP.Sequence))
		w.number(int64(e.TCP.Ack))
		w.number(int64(e.TCP.Window))
	}
	w.number(int64(e.Payload))
	w.flag(e.Content.Known)
	w.flag(e.Content.Cut)
	w.bytes(e.Content.Bytes)
	w.number(int64(len(e.DNS)))
	for i := range e.DNS {
		w.dns(&e.DNS[i])
	}
	w.text(e.ServerName)
}

func (w *writer) ends(e *Ends) {
	w.number(int64(e.Protocol))
	for _, end := range [...]netip.AddrPort{e.From, e.To} {
		w.bytes(end.Addr().AsSlice())
		w.number(int64(end.Port()))
	}
}

// reader reads values. After a malformed one, it returns zero values.
type reader struct {
	rest []byte
	bad  bool
	// texts is the message. All texts are parts of it, so that they need one allocation.
	texts string
}

// check marks the message as malformed if ok is false.
func (r *reader) check(ok bool) {
	if !ok {
		r.rest, r.bad = nil, true
	}
}

// end returns errMessage if the message was malformed or has more bytes.
func (r *reader) end() error {
	if r.bad || len(r.rest) > 0 {
		return errMessage
	}
	return nil
}

func (r *reader) number() int64 {
	n, size := binary.Varint(r.rest)
	if r.check(size > 0); r.bad {
		return 0
	}
	r.rest = r.rest[size:]
	return n
}

func (r *reader) flag() bool {
	if r.check(len(r.rest) > 0); r.bad {
		return false
	}
	isSet := r.rest[0] == 1
	r.rest = r.rest[1:]
	return isSet
}

// bytes returns a part of the message.
func (r *reader) bytes() []byte {
	n := r.number()
	if r.check(n >= 0 && n <= int64(len(r.rest))); r.bad {
		return nil
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) text() string {
	n := len(r.bytes())
	end := len(r.texts) - len(r.rest)
	return r.texts[end-n : end]
}

// count reads the length of a list.
func (r *reader) count() int {
	n := r.number()
	if r.check(n >= 0 && n <= min(maxList, int64(len(r.rest)))); r.bad {
		return 0
	}
	return int(n)
}

func (r *reader) flow() *Flow {
	f := &Flow{
		Serving: r.flag(),
		Request: event.Request{
			Method: r.text(), Target: r.text(), Version: r.text(), Header: r.header(), Trailer: r.header(), Body: r.body(),
		},
	}
	if r.flag() {
		f.Response = &event.Response{
			StatusCode: int(r.number()), Reason: r.text(), Version: r.text(), Header: r.header(), Trailer: r.header(), Body: r.body(),
		}
		r.check(f.Response.StatusCode >= 100 && f.Response.StatusCode <= 999)
	}
	f.Switched = r.text()
	return f
}

func (r *reader) header() event.Header {
	n := r.count()
	r.check(n <= maxFields)
	if n == 0 || r.bad {
		return nil
	}
	h := make(event.Header, n)
	for i := range h {
		h[i] = event.HeaderField{Name: r.text(), Value: r.text()}
	}
	return h
}

func (r *reader) body() event.Body {
	b := event.Body{Bytes: append([]byte(nil), r.bytes()...), Size: r.number(), Truncated: r.flag(), Encoding: r.text(), Encoded: r.number()}
	r.check(len(b.Bytes) <= event.MaxBody && b.Size >= int64(len(b.Bytes)) && b.Encoded >= 0)
	return b
}

func (r *reader) dns() *event.DNS {
	d := &event.DNS{ID: int(r.number()), Response: r.flag(), Code: r.text(), Truncated: r.flag()}
	r.check(d.ID >= 0 && d.ID <= 0xffff)
	d.Questions, d.Answers = r.records(), r.records()
	return d
}

func (r *reader) records() []event.DNSRecord {
	n := r.count()
	if n == 0 {
		return nil
	}
	all := make([]event.DNSRecord, n)
	for i := range all {
		all[i] = event.DNSRecord{Name: r.text(), Type: r.text(), Data: r.text(), TTL: uint32(r.number())}
	}
	return all
}

func (r *reader) packet() *Packet {
	p := &Packet{Ends: r.ends(), About: r.ends()}
	if r.flag() {
		p.Fragment = Fragment{p.From.Addr(), p.To.Addr(), r.byte(), uint32(r.number())}
	}
	p.IsLater, p.IsFirst, p.IsFinal = r.flag(), r.flag(), r.flag()
	e := &event.Packet{
		Source: p.From.Addr(), Destination: p.To.Addr(), Protocol: r.text(), Info: r.text(),
		SourcePort: r.within(-1, 0xffff), DestPort: r.within(-1, 0xffff), VLAN: r.within(0, 0xfff),
	}
	if r.flag() {
		e.TCP = &event.TCPHeader{Flags: r.text(), Sequence: uint32(r.number()), Ack: uint32(r.number()), Window: r.within(0, 0xffff)}
	}
	e.Payload = r.within(0, maxMemory)
	e.Content = event.Content{Known: r.flag(), Cut: r.flag(), Bytes: append([]byte(nil), r.bytes()...)}
	if n := r.count(); n > 0 {
		e.DNS = make([]event.DNS, n)
		for i := range e.DNS {
			e.DNS[i] = *r.dns()
		}
	}
	e.ServerName = r.text()
	p.Event = e
	return p
}

func (r *reader) ends() Ends {
	return Ends{r.byte(), r.addrPort(), r.addrPort()}
}

func (r *reader) addrPort() netip.AddrPort {
	b := r.bytes()
	a, isValid := netip.AddrFromSlice(b)
	r.check(isValid || len(b) == 0)
	return netip.AddrPortFrom(a, uint16(r.within(0, 0xffff)))
}

func (r *reader) byte() uint8 { return uint8(r.within(0, 0xff)) }

// within reads a number that is at least least and at most most.
func (r *reader) within(least, most int64) int {
	n := r.number()
	if r.check(n >= least && n <= most); r.bad {
		return 0
	}
	return int(n)
}
