//go:build linux

package sensor

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"strconv"

	"ospulse/agent/internal/event"
	"ospulse/agent/internal/syscalls"
)

// Constants of the record format, as in bpf/event.h.
const (
	recordSyscall = 1
	recordFork    = 2
	recordExec    = 3
	recordExit    = 4
	recordMore    = 5
	recordTLS     = 6
	recordPart    = 7

	headerCompat    = 1
	headerTruncated = 2
	headerTalk      = 4
	headerSocket    = 8

	headerSize = 136

	sectionFile   = 1
	sectionSocket = 2
	sectionResult = 3
	sectionPath   = 4
	sectionDir    = 5
	sectionData   = 6
	sectionAddr   = 7
	sectionArgv   = 8
	sectionCwd    = 9
	sectionComm   = 10
	sectionRest   = 11
	sectionEnv    = 12
	sectionRoot   = 13
	sectionPassed = 14
	sectionHeld   = 15
	sectionText   = 16
	sectionParts  = 17

	sectionCut     = 1
	sectionFault   = 2
	sectionDeleted = 4
	sectionAbsent  = 8
	sectionName    = 16
	sectionLast    = 32
	sectionFollow  = 64
	sectionOutside = 128

	sectionHeadSize = 4
	fileHeadSize    = 24
	socketHeadSize  = 64
)

// Bits of i_mode of an inode, and of f_mode of a file.
const (
	modeType      = 0o170000
	modeFIFO      = 0o010000
	modeSocket    = 0o140000
	fileIsCreated = 0x100000 // FMODE_CREATED
)

// Magic numbers of file systems whose files have no name.
const (
	magicPidfs = 0x50494446
	magicNsfs  = 0x6e736673
)

// section is a part of a record. Its body points into the record's memory.
type section struct {
	flags uint8
	body  []byte
	set   bool
}

func (s *section) cut() bool   { return s.flags&sectionCut != 0 }
func (s *section) fault() bool { return s.flags&sectionFault != 0 }

// message is one message of a call, with the address of its sender or receiver.
type message struct{ addr, data section }

// passed is a descriptor in a control message, and the file or the socket behind it.
type passed struct {
	fd           int32
	file, socket section
}

// record is a record of the kernel side, split into its fields and sections. It points into
// the bytes that it was parsed from.
type record struct {
	time        uint64
	sessions    uint64
	ret         int64
	args        [6]uint64
	start       uint64
	parentStart uint64
	cgroup      uint64
	pid, tid    uint32
	parentPID   uint32
	uid         uint32
	kind        uint16
	op          uint16
	flags       uint32
	comm        []byte

	file, result, cwd, argv, env, parentComm, root section
	socket, resultSocket                           section
	paths                                          [2]section
	texts                                          [2]section // the zero value after the last
	dirs, rests                                    [2]section
	parts                                          [2]uint32 // of argv and of env: how many records have come before
	pathCount                                      int
	messages                                       []message
	passed                                         []passed
}

var errShort = errors.New("record ends early")

// parse splits a record. It returns errShort if a section is incomplete.
func (r *record) parse(raw []byte) error {
	if len(raw) < headerSize {
		return errShort
	}
	le := binary.LittleEndian
	*r = record{messages: r.messages[:0], passed: r.passed[:0]}
	r.time = le.Uint64(raw[0:])
	r.sessions = le.Uint64(raw[8:])
	r.ret = int64(le.Uint64(raw[16:]))
	for i := range r.args {
		r.args[i] = le.Uint64(raw[24+8*i:])
	}
	r.start = le.Uint64(raw[72:])
	r.parentStart = le.Uint64(raw[80:])
	r.cgroup = le.Uint64(raw[88:])
	r.pid = le.Uint32(raw[96:])
	r.tid = le.Uint32(raw[100:])
	r.parentPID = le.Uint32(raw[104:])
	r.uid = le.Uint32(raw[108:])
	r.kind = le.Uint16(raw[112:])
	r.op = le.Uint16(raw[114:])
	r.flags = le.Uint32(raw[116:])
	r.comm = untilNUL(raw[120:136])
	rest := raw[headerSize:]
	for len(rest) > 0 {
		if len(rest) < sectionHeadSize {
			return errShort
		}
		kind, flags, size := rest[0], rest[1], int(le.Uint16(rest[2:]))
		rest = rest[sectionHeadSize:]
		if len(rest) < size {
			return errShort
		}
		r.add(kind, section{flags: flags, body: rest[:size], set: true})
		if r.kind == recordTLS { // of a fixed size: the rest is unused
			break
		}
		rest = rest[size:]
	}
	return nil
}

func (r *record) add(kind uint8, s section) {
	switch kind {
	case sectionFile:
		r.file = s
	case sectionSocket:
		if last := len(r.passed) - 1; last >= 0 {
			r.passed[last].socket = s
		} else if r.socket.set || r.returnsOnly() {
			r.resultSocket = s
		} else {
			r.socket = s
		}
	case sectionResult:
		r.result = s
	case sectionPath:
		if r.pathCount < len(r.paths) {
			r.paths[r.pathCount] = s
			r.pathCount++
		}
	case sectionText:
		if !r.texts[0].set {
			r.texts[0] = s
		} else {
			r.texts[1] = s
		}
	case sectionDir:
		if r.pathCount > 0 {
			r.dirs[r.pathCount-1] = s
		}
	case sectionRest:
		if r.pathCount > 0 {
			r.rests[r.pathCount-1] = s
		}
	case sectionData:
		last := len(r.messages) - 1
		if last < 0 || r.messages[last].data.set {
			r.messages = append(r.messages, message{data: s})
		} else {
			r.messages[last].data = s
		}
	case sectionAddr:
		r.messages = append(r.messages, message{addr: s})
	case sectionArgv:
		r.argv = s
	case sectionEnv:
		r.env = s
	case sectionCwd:
		r.cwd = s
	case sectionComm:
		r.parentComm = s
	case sectionRoot:
		r.root = s
	case sectionParts:
		if len(s.body) == 8 {
			r.parts = [2]uint32{binary.LittleEndian.Uint32(s.body), binary.LittleEndian.Uint32(s.body[4:])}
		}
	case sectionPassed:
		if len(s.body) == 4 {
			r.passed = append(r.passed, passed{fd: int32(binary.LittleEndian.Uint32(s.body))})
		}
	case sectionHeld:
		if last := len(r.passed) - 1; last >= 0 {
			r.passed[last].file = s
		}
	}
}

// returnsOnly reports whether the call's only descriptor is the one that it returns.
func (r *record) returnsOnly() bool {
	c := r.call()
	return c != nil && c.Args[syscalls.ArgFd] < 0 && c.Flags&syscalls.ReturnsFD != 0
}

// call returns the system call of the record; nil if there is none.
func (r *record) call() *syscalls.Call {
	if r.op == 0 || int(r.op) >= len(syscalls.Calls) {
		return nil
	}
	return &syscalls.Calls[r.op]
}

func untilNUL(b []byte) []byte {
	for i, c := range b {
		if c == 0 {
			return b[:i]
		}
	}
	return b
}

// fileInfo is the content of a file section.
type fileInfo struct {
	path    string
	inode   uint64
	device  uint32 // of the file system
	mode    uint32
	fmode   uint32
	deleted bool
	outside bool // not below the root of the process
}

// info parses a file section. A path whose beginning is missing begins with "…".
func (s *section) info() (f fileInfo) {
	if len(s.body) < fileHeadSize {
		return f
	}
	le := binary.LittleEndian
	f.inode = le.Uint64(s.body)
	f.device = le.Uint32(s.body[8:])
	f.mode = le.Uint32(s.body[12:])
	f.fmode = le.Uint32(s.body[16:])
	f.deleted = s.flags&sectionDeleted != 0
	f.outside = s.flags&sectionOutside != 0
	components := s.body[fileHeadSize:]
	if s.flags&sectionName != 0 || len(components) == 0 && f.mode&modeType == modeFIFO {
		f.path = f.pseudo(components, le.Uint32(s.body[20:]))
		return f
	}
	// The components are in reverse order: fill the path from its end.
	var room [512]byte
	out := room[:]
	if need := len(components) + len("…"); need > len(out) {
		out = make([]byte, need)
	}
	at := len(out)
	for len(components) > 0 {
		n := int(components[0])
		if n >= len(components) {
			break
		}
		at -= n
		copy(out[at:], components[1:1+n])
		at--
		out[at] = '/'
		components = components[1+n:]
	}
	if s.flags&(sectionCut|sectionFault) != 0 {
		at -= len("…")
		copy(out[at:], "…")
	}
	if at == len(out) {
		f.path = "/"
		return f
	}
	f.path = string(out[at:])
	return f
}

// pseudo returns the name of a file that is in no directory, in the form of /proc/PID/fd.
func (f *fileInfo) pseudo(components []byte, magic uint32) string {
	name := ""
	if len(components) > 0 && int(components[0]) < len(components) {
		name = string(components[1 : 1+components[0]])
	}
	switch {
	case f.mode&modeType == modeFIFO:
		return "pipe:[" + strconv.FormatUint(f.inode, 10) + "]"
	case f.mode&modeType == modeSocket:
		return "socket:[" + strconv.FormatUint(f.inode, 10) + "]"
	case len(name) > 0 && name[0] == '[':
		return "anon_inode:" + name
	case magic == magicPidfs:
		return "anon_inode:[pidfd]"
	case magic == magicNsfs:
		return "namespace:[" + strconv.FormatUint(f.inode, 10) + "]"
	default:
		f.deleted = true
		return "/" + name
	}
}

// Address families.
const (
	familyUnix    = 1
	familyInet    = 2
	familyInet6   = 10
	familyNetlink = 16
	familyPacket  = 17
)

// socketInfo is the content of a socket section.
type socketInfo struct {
	sock          uint64 // address of its struct sock, unique while it is open
	inode         uint64
	protocol      string
	local, remote event.Address
}

func (s *section) socketInfo() (k socketInfo) {
	if len(s.body) < socketHeadSize {
		return k
	}
	le := binary.LittleEndian
	k.sock = le.Uint64(s.body)
	k.inode = le.Uint64(s.body[8:])
	family, kind, protocol := le.Uint16(s.body[16:]), le.Uint16(s.body[18:]), le.Uint16(s.body[20:])
	k.protocol = protocolName(family, kind, protocol)
	switch family {
	case familyInet, familyInet6:
		k.local = inetAddress(family, s.body[32:48], le.Uint16(s.body[22:]))
		k.remote = inetAddress(family, s.body[48:64], le.Uint16(s.body[24:]))
	case familyUnix:
		names := s.body[socketHeadSize:]
		k.local.Unix, names = unixName(names)
		k.remote.Unix, _ = unixName(names)
	}
	return k
}

func inetAddress(family uint16, raw []byte, port uint16) event.Address {
	addr := netip.AddrFrom4([4]byte(raw[:4]))
	if family == familyInet6 {
		addr = netip.AddrFrom16([16]byte(raw[:16])).Unmap()
	}
	if port == 0 && addr.IsUnspecified() {
		return event.Address{}
	}
	return event.Address{Port: netip.AddrPortFrom(addr, port)}
}

// unixName parses a name that follows its length. It returns the name and the bytes after it.
func unixName(b []byte) (string, []byte) {
	if len(b) == 0 || int(b[0]) >= len(b) {
		return "", nil
	}
	n := int(b[0])
	return socketName(b[1 : 1+n]), b[1+n:]
}

// socketName returns the name in sun_path. Abstract names begin with @ in place of NUL.
func socketName(path []byte) string {
	if len(path) > 0 && path[0] == 0 {
		return "@" + string(path[1:])
	}
	return string(untilNUL(path))
}

// sockaddr parses a struct sockaddr; the zero address for other families and short input.
func sockaddr(b []byte) event.Address {
	if len(b) < 2 {
		return event.Address{}
	}
	switch family := binary.LittleEndian.Uint16(b); {
	case family == familyInet && len(b) >= 8:
		return event.Address{Port: netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[4:8])), binary.BigEndian.Uint16(b[2:]))}
	case family == familyInet6 && len(b) >= 24:
		return event.Address{Port: netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[8:24])).Unmap(), binary.BigEndian.Uint16(b[2:]))}
	case family == familyUnix:
		return event.Address{Unix: socketName(b[2:])}
	default:
		return event.Address{}
	}
}

func protocolName(family, kind, protocol uint16) string {
	switch family {
	case familyUnix:
		return "unix"
	case familyNetlink:
		return "netlink"
	case familyPacket:
		return "packet"
	case familyInet, familyInet6:
	default:
		return "family-" + strconv.Itoa(int(family))
	}
	switch {
	case kind == 3:
		return "raw"
	case protocol == 6 || kind == 1 && protocol == 0:
		return "tcp"
	case protocol == 17 || kind == 2 && protocol == 0:
		return "udp"
	case protocol == 1 || protocol == 58:
		return "icmp"
	case protocol == 132:
		return "sctp"
	case protocol == 262:
		return "mptcp"
	default:
		return "ip-" + strconv.Itoa(int(protocol))
	}
}
