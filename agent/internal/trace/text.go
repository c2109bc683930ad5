//go:build linux

package trace

import (
	"net/netip"
	"strconv"

	"ospulse/agent/internal/event"
)

// Colours, as SGR parameters.
const (
	dim    = "2"
	bold   = "1"
	red    = "31"
	green  = "32"
	yellow = "33"
	cyan   = "36"
)

// text appends an event as a line much like strace's.
func (p *printer) text(out []byte, e *event.Event) []byte {
	t := line{out: out, color: p.color}
	t.paint(dim, e.Time.Local().Format("15:04:05.000000"))
	switch data := e.Data.(type) {
	case *event.File:
		t.who(&data.Actor)
		if data.Ring != "" {
			t.queued("io_uring", data.Ring, func() { t.file(data) })
			break
		}
		if data.Aio != "" {
			t.queued("aio", data.Aio, func() { t.file(data) })
			break
		}
		t.call(data.Result.Syscall)
		t.file(data)
		t.result(&data.Result)
	case *event.Network:
		t.who(&data.Actor)
		if data.Ring != "" {
			t.queued("io_uring", data.Ring, func() { t.network(data) })
			break
		}
		if data.Aio != "" {
			t.queued("aio", data.Aio, func() { t.network(data) })
			break
		}
		t.call(data.Result.Syscall)
		t.network(data)
		t.result(&data.Result)
		t.dns(data.DNS)
	case *event.Creation:
		t.who(&data.New)
		t.exec(data.Result.Syscall, data.ImagePath, data.Args, data.ArgsCut)
		if data.Memory {
			t.note("in memory")
		}
		if data.FilePath != "" {
			t.note("script " + strconv.Quote(data.FilePath))
		}
		t.result(&data.Result)
	case *event.FailedExec:
		t.who(&data.Actor)
		t.exec(data.Result.Syscall, data.Path, data.Args, data.ArgsCut)
		t.result(&data.Result)
	case *event.Fork:
		t.who(&data.Actor)
		t.call(data.Result.Syscall)
		if flags := event.CloneFlags(data.Flags); flags != "" {
			t.comma()
			t.add(flags)
		}
		t.result(&data.Result)
	case *event.Exit:
		t.who(&data.Actor)
		if data.Signal != 0 {
			t.paint(red, "+++ killed by "+event.SignalName(data.Signal)+" +++")
		} else {
			t.paint(dim, "+++ exited with "+strconv.Itoa(data.Code)+" +++")
		}
	case *event.Operation:
		t.who(&data.Actor)
		t.call(data.Result.Syscall)
		t.operation(data)
		t.result(&data.Result)
	case *event.HTTP:
		t.who(&data.Actor)
		t.http(data)
	case *event.Packet:
		t.who(&data.Actor)
		t.packet(data)
	case *event.Lost:
		t.add(" ")
		t.paint(red, "!!! "+strconv.FormatUint(data.Count, 10)+" events lost !!!")
	default:
		t.add(" " + e.Type + " ")
		t.out = data.AppendJSON(t.out)
	}
	return t.out
}

// line is an output line under construction.
type line struct {
	out   []byte
	color bool
	some  bool // the call has an argument already
}

func (t *line) add(s string) { t.out = append(t.out, s...) }

func (t *line) paint(color, s string) {
	if !t.color {
		t.add(s)
		return
	}
	t.add("\x1b[" + color + "m" + s + "\x1b[0m")
}

func (t *line) who(p *event.Process) {
	t.add(" [")
	t.paint(cyan, escaped(p.Name))
	t.add(" ")
	t.add(strconv.Itoa(p.PID))
	if p.ThreadID != 0 && p.ThreadID != p.PID {
		t.add("/" + strconv.Itoa(p.ThreadID))
	}
	t.add("] ")
}

func (t *line) call(name string) {
	t.paint(bold, name)
	t.add("(")
	t.some = false
}

func (t *line) comma() {
	if t.some {
		t.add(", ")
	}
	t.some = true
}

func (t *line) quoted(s string) { t.paint(green, strconv.Quote(s)) }

func (t *line) note(s string) {
	t.add(" ")
	t.paint(yellow, "/* "+s+" */")
}

// fd writes a descriptor and its file, as strace -y does.
func (t *line) fd(fd int, path string) {
	t.add(strconv.Itoa(fd))
	if path != "" {
		t.add("<")
		t.paint(green, escaped(path))
		t.add(">")
	}
}

// escaped makes a name safe for a terminal.
func escaped(s string) string {
	q := strconv.Quote(s)
	return q[1 : len(q)-1]
}

func (t *line) content(c *event.Content) {
	switch {
	case !c.Known:
		t.add("…")
		return
	case len(c.Bytes) == 0 && !c.Fault:
		t.add(`""`)
		return
	case c.Fault && len(c.Bytes) == 0:
		t.add("?")
		return
	}
	const shown = 64
	b := c.Bytes
	if len(b) > shown {
		b = b[:shown]
	}
	t.out = strconv.AppendQuote(t.out, string(b))
	if c.Cut || len(b) < len(c.Bytes) {
		t.add("…")
	}
}

// queued writes an operation that was handed to an io_uring or to native AIO. It is not a
// call, and its result is not known.
func (t *line) queued(by, operation string, arguments func()) {
	t.call(by)
	t.comma()
	t.add(operation)
	arguments()
	t.add(") = ?")
}

func (t *line) file(f *event.File) {
	byFD := f.Given == "" && f.Flags == "" && f.Handle >= 0 || f.Operation == "CloseFile"
	if f.Ring != "" && f.Path == "" {
		return
	}
	t.comma()
	switch {
	case byFD:
		t.fd(f.Handle, f.Path)
	case f.Path == "" && f.Result.Failed():
		t.quoted(f.Given)
	default:
		t.quoted(f.Path)
	}
	if f.NewPath != "" {
		t.comma()
		t.quoted(f.NewPath)
	}
	if f.Target != "" {
		t.add(" → ")
		t.quoted(f.Target)
	}
	if f.Flags != "" {
		t.comma()
		t.add(f.Flags)
	}
	if f.Transfer && f.NewPath == "" && !f.Result.Failed() {
		t.comma()
		t.content(&f.Content)
	}
	if change := f.Change(); change != "" {
		t.comma()
		t.add(change)
	}
	if f.Operation == "CreateFile" {
		t.note("created")
	}
}

func (t *line) exec(name, path string, args []string, isCut bool) {
	t.call(name)
	t.comma()
	t.quoted(path)
	t.comma()
	t.add("[")
	for i, arg := range args {
		if i > 0 {
			t.add(", ")
		}
		t.out = strconv.AppendQuote(t.out, arg)
	}
	if isCut {
		t.add("…")
	}
	t.add("]")
}

func (t *line) network(n *event.Network) {
	if n.Handle >= 0 {
		t.comma()
		t.fd(n.Handle, n.Protocol)
	} else if n.Protocol != "" {
		t.comma()
		t.add(n.Protocol)
	}
	if n.Transfer && !n.Result.Failed() {
		t.comma()
		t.content(&n.Content)
	}
	if !n.Local.IsZero() && n.Operation != "Connect" {
		t.comma()
		t.quoted(n.Local.String())
	}
	if !n.Remote.IsZero() {
		t.add(" → ")
		t.quoted(n.Remote.String())
	}
	for i := range n.Descriptors {
		t.comma()
		t.fd(n.Descriptors[i].FD, n.Descriptors[i].Path)
	}
}

func (t *line) dns(messages []event.DNS) {
	for i := range messages {
		m := &messages[i]
		s := "DNS"
		for _, q := range m.Questions {
			s += " " + q.Type + " " + escaped(q.Name) + "?"
		}
		if m.Response {
			s += " " + m.Code
			for _, a := range m.Answers {
				s += " " + a.Type + " " + escaped(a.Data)
			}
		}
		t.note(s)
	}
}

func (t *line) http(h *event.HTTP) {
	_, _, _, url := h.URL()
	arrow := "→ "
	if h.Serving != (h.Response != nil) {
		arrow = "← "
	}
	t.paint(yellow, "HTTP "+arrow)
	t.paint(bold, escaped(h.Request.Method))
	t.add(" ")
	t.paint(green, escaped(url))
	body := &h.Request.Body
	if r := h.Response; r != nil {
		body = &r.Body
		t.add(" = ")
		color := green
		if r.StatusCode >= 400 {
			color = red
		}
		t.paint(color, strconv.Itoa(r.StatusCode))
		t.add(" " + escaped(r.Reason))
	}
	if body.Size > 0 {
		t.add(", " + strconv.FormatInt(body.Size, 10) + " bytes")
	}
}

func (t *line) packet(p *event.Packet) {
	arrow := "→ "
	if p.Direction == event.DirectionIn {
		arrow = "← "
	}
	t.paint(yellow, p.Protocol+" "+arrow)
	t.paint(green, host(p.Source, p.SourcePort)+" → "+host(p.Destination, p.DestPort))
	t.add(" " + escaped(p.Info) + ", " + strconv.Itoa(p.Length) + " bytes")
	if p.Payload > 0 {
		t.add(" ")
		t.content(&p.Content)
	}
}

// host formats one end of a packet.
func host(a netip.Addr, port int) string {
	switch {
	case !a.IsValid():
		return "?"
	case port < 0:
		return a.String()
	default:
		return netip.AddrPortFrom(a, uint16(port)).String()
	}
}

func (t *line) operation(p *event.Operation) {
	if p.Path != "" {
		t.comma()
		t.quoted(p.Path)
	} else {
		for _, arg := range p.Arguments() {
			t.comma()
			t.add(strconv.FormatInt(arg, 10))
		}
	}
	if meaning := p.Meaning(); meaning != "" {
		t.comma()
		t.add(meaning)
	}
}

func (t *line) result(r *event.Result) {
	t.add(") = ")
	if r.Failed() {
		t.paint(red, "-1 "+event.Errno(r.Return))
		return
	}
	t.add(strconv.FormatInt(r.Return, 10))
}
