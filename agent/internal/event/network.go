package event

import (
	"net/netip"
	"time"
)

// Address is one end of a connection: an internet address with its port, or the name of a
// Unix socket.
type Address struct {
	Port netip.AddrPort
	Unix string // the name of an abstract socket begins with @
}

// IsZero reports whether the address is unset.
func (a Address) IsZero() bool { return !a.Port.IsValid() && a.Unix == "" }

// String returns host:port, or the name of a Unix socket.
func (a Address) String() string {
	if a.Port.IsValid() {
		return a.Port.String()
	}
	return a.Unix
}

// DNS is a DNS message.
type DNS struct {
	ID        int
	Response  bool
	Code      string // NOERROR, NXDOMAIN …; only in a response
	Truncated bool
	Questions []DNSRecord
	Answers   []DNSRecord
}

// DNSRecord is a question or a record of an answer.
type DNSRecord struct {
	Name, Type string
	Data       string // "" in a question
	TTL        uint32
}

// Network is a network_operation.
type Network struct {
	Actor     Process
	Result    Result
	Time      time.Time
	Operation string // Connect, Accept, Send, Receive …
	Ring      string // operation handed to an io_uring; its result is not known
	Aio       string // operation handed to native AIO; its result is not known
	Handle    int    // descriptor; -1: none
	NewHandle int    // descriptor that accept or socket made; -1: none
	Protocol  string // tcp, udp, unix, netlink …
	Local     Address
	Remote    Address
	// FromMemory says that the agent read an address from the program's memory, and not from
	// the kernel's socket; see File.FromMemory.
	FromMemory bool
	Transfer   bool // the call moves bytes
	Bytes      int64
	Messages   int     // number of messages of sendmmsg and recvmmsg; 0: another call
	Content    Content // of the first message
	DNS        []DNS
	Option     string // that setsockopt sets
	// Descriptors are those that the call passed over a Unix socket, with the numbers of
	// this process.
	Descriptors    []Descriptor
	DescriptorsCut bool // there were more, or the files of some are missing
}

// Descriptor is a descriptor that a process passed to another, or received.
type Descriptor struct {
	FD      int
	Path    string // "": not known
	Inode   uint64 // 0: not known
	Device  uint32 // see File.Device
	Outside bool   // see File.Outside
}

// descriptors writes the descriptors that a call passed, if there are any.
func (o *object) descriptors(all []Descriptor) {
	if len(all) == 0 {
		return
	}
	o.key("descriptors")
	o.out = append(o.out, '[')
	for i := range all {
		if i > 0 {
			o.out = append(o.out, ',')
		}
		o.out = append(o.out, '{')
		o.number("fd", int64(all[i].FD))
		o.some("filePath", all[i].Path)
		o.flag("outsideRoot", all[i].Outside)
		o.inode(all[i].Inode, all[i].Device)
		o.out = append(o.out, '}')
	}
	o.out = append(o.out, ']')
}

func (o *object) address(name string, a Address) {
	switch {
	case a.Port.IsValid():
		o.text(name, a.Port.Addr().String())
		o.number(name+"_port", int64(a.Port.Port()))
	case a.Unix != "":
		o.text(name, a.Unix)
	}
}

func (o *object) records(name string, records []DNSRecord) {
	o.key(name)
	o.out = append(o.out, '[')
	for i := range records {
		if i > 0 {
			o.out = append(o.out, ',')
		}
		r := &records[i]
		o.out = append(o.out, '{')
		o.text("name", r.Name)
		o.text("type", r.Type)
		if r.Data != "" {
			o.text("data", r.Data)
			o.number("ttl", int64(r.TTL))
		}
		o.out = append(o.out, '}')
	}
	o.out = append(o.out, ']')
}

// dns writes the DNS messages, if there are any.
func (o *object) dns(messages []DNS) {
	if len(messages) == 0 {
		return
	}
	o.key("dns")
	o.out = append(o.out, '[')
	for i := range messages {
		if i > 0 {
			o.out = append(o.out, ',')
		}
		d := &messages[i]
		o.out = append(o.out, '{')
		o.number("id", int64(d.ID))
		o.key("response")
		if d.Response {
			o.out = append(o.out, "true"...)
			o.text("code", d.Code)
		} else {
			o.out = append(o.out, "false"...)
		}
		o.flag("truncated", d.Truncated)
		o.records("questions", d.Questions)
		if d.Response {
			o.records("answers", d.Answers)
		}
		o.out = append(o.out, '}')
	}
	o.out = append(o.out, ']')
}

// AppendJSON appends the data of the event. The program is src and the other end is dst,
// in the packet shape.
func (n *Network) AppendJSON(out []byte) []byte {
	o := begin(out)
	o.text("operation", n.Operation)
	o.some("ioUringOperation", n.Ring)
	o.some("aioOperation", n.Aio)
	o.some("protocol", n.Protocol)
	o.address("src", n.Local)
	o.address("dst", n.Remote)
	o.flag("fromMemory", n.FromMemory)
	if n.Handle >= 0 {
		o.number("fd", int64(n.Handle))
	}
	if n.NewHandle >= 0 {
		o.number("newFd", int64(n.NewHandle))
	}
	if n.Transfer {
		o.number("bytesTransferred", n.Bytes)
	}
	o.positive("messages", int64(n.Messages))
	o.content(&n.Content)
	o.dns(n.DNS)
	o.some("option", n.Option)
	o.descriptors(n.Descriptors)
	o.flag("descriptorsTruncated", n.DescriptorsCut)
	o.result(&n.Result)
	o.time("timestamp", n.Time)
	o.metadata(&n.Actor)
	return o.end()
}
