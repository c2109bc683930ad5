//go:build linux

package monitor

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"ospulse/agent/internal/event"
	"ospulse/agent/internal/procfs"
)

// Roles of excluded processes. All but the last are never reported.
const (
	roleAgent    = "agent"
	roleBackend  = "backend"
	roleDatabase = "database"
	roleViewer   = "dashboard" // a browser that displays the dashboard; see Viewers
)

// Own is a process of OS-Pulse: the agent, its backend, a relay between them, the backend's
// database, or a browser that displays the dashboard. It is not reported, because each report
// makes it do more.
type Own struct {
	PID        int       `json:"pid"`
	StartTime  eventTime `json:"startTime"`
	Name       string    `json:"processName"`
	Executable string    `json:"imagePath,omitempty"` // "" if it may not be read
	UserID     int       `json:"uid"`
	Role       string    `json:"role"`

	ticks int64 // StartTime in clock ticks since the boot
}

func (o Own) same(other Own) bool { return o.PID == other.PID && o.ticks == other.ticks }

// Identity is how a backend describes itself in its answer to a heartbeat.
type Identity struct {
	BootID       string         `json:"boot_id"` // of its machine
	PIDNamespace string         `json:"pid_namespace"`
	PID          int            `json:"pid"` // in that namespace
	StartTicks   int64          `json:"start_ticks"`
	Database     []DatabasePeer `json:"database"`
	Proof        string         `json:"proof"` // HMAC with the API key, "" without a key
}

// DatabasePeer is the other end of a connection of the backend to its database: an
// address for TCP, the process for a Unix socket.
type DatabasePeer struct {
	Address    string `json:"address"` // host:port, "" for a Unix socket
	PID        int    `json:"pid"`     // in the backend's namespace, 0 for TCP
	StartTicks int64  `json:"start_ticks"`
}

// proof returns the HMAC-SHA256 of nonce and identity, in hex. It proves to the agent
// that sent the nonce that the sender of the identity has the same key.
func (i *Identity) proof(key, nonce string) string {
	lines := []string{"os-pulse backend identity", nonce, i.BootID, i.PIDNamespace, strconv.Itoa(i.PID), strconv.FormatInt(i.StartTicks, 10)}
	for _, d := range i.Database {
		lines = append(lines, d.Address, strconv.Itoa(d.PID), strconv.FormatInt(d.StartTicks, 10))
	}
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(strings.Join(lines, "\n")))
	return hex.EncodeToString(mac.Sum(nil))
}

// maxNamed bounds the number of backends that have identified themselves.
const maxNamed = 64

// OwnProcesses finds the processes that are never reported. It recognises a process by
// its identity, never by its name or by a port number alone:
//
//   - the agent;
//   - a backend that identified itself in its answer to a heartbeat, with a proof by the
//     shared key (AGENT_API_KEY);
//   - the process that listens on the exact address of --backend and, without a key, the
//     process that the answer names, if its executable and user are those of a process
//     found there while no session ran. So a watched process cannot take that place;
//   - the remote end of a backend's connections to its database and, if that is a pooler,
//     the remote ends of the pooler's connections.
//
// Its methods are safe for concurrent use.
type OwnProcesses struct {
	backend *url.URL
	key     string
	log     *slog.Logger

	mu      sync.Mutex
	named   []named
	pinned  map[image]bool
	users   map[int]bool // of processes found at the address while no session ran
	refused bool         // an answer without a valid proof was logged
}

// named is a backend that identified itself.
type named struct {
	Identity
	pid    int // in this process's namespace
	proven bool
}

// image identifies a program: two processes with equal images run the same program.
type image struct {
	executable string
	userID     int
}

// NewOwnProcesses returns an OwnProcesses for the backend at a URL. key is "" if the
// agent has none.
func NewOwnProcesses(backend *url.URL, key string, log *slog.Logger) *OwnProcesses {
	return &OwnProcesses{backend: backend, key: key, log: log, pinned: map[image]bool{}, users: map[int]bool{}}
}

// RecordIdentity records the identity that a backend sent in answer to the nonce. It ignores
// backends on other machines and, if the agent has a key, identities without a valid proof.
func (o *OwnProcesses) RecordIdentity(nonce string, identity Identity) {
	if identity.BootID == "" || identity.BootID != procfs.BootID() {
		return // from another machine, so its pids mean nothing here
	}
	proven := o.key != "" && hmac.Equal([]byte(identity.Proof), []byte(identity.proof(o.key, nonce)))
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.key != "" && !proven {
		if o.refused {
			return
		}
		o.refused = true
		o.log.Warn("the backend's answer does not prove that it has this agent's key (AGENT_API_KEY): the agent does not exclude the processes that it names")
		return
	}
	pid := procfs.InNamespace(identity.PIDNamespace, identity.PID, identity.StartTicks)
	if pid <= 1 {
		return
	}
	o.named = slices.DeleteFunc(o.named, func(n named) bool { return n.pid == pid })
	if len(o.named) >= maxNamed {
		o.named = slices.Delete(o.named, 0, 1)
	}
	o.named = append(o.named, named{identity, pid, proven})
}

// Find returns the present processes, ordered by pid. isQuiet says that no session runs,
// so that no watched process can be at the backend's address.
func (o *OwnProcesses) Find(isQuiet bool) []Own {
	o.mu.Lock()
	defer o.mu.Unlock()
	found := map[int]Own{}
	add := func(pid int, role string) {
		own, ok := read(pid, role)
		if _, known := found[pid]; ok && !known && pid > 1 {
			found[pid] = own
		}
	}
	add(os.Getpid(), roleAgent)
	isPinned := func(pid int) bool {
		own, ok := read(pid, roleBackend)
		p := image{own.Executable, own.UserID}
		if ok && isQuiet && p.executable != "" && pid > 1 { // systemd's socket is not the backend
			o.pinned[p] = true
			if user, ok := procfs.SocketUser(pid); ok {
				o.users[user] = true
			}
		}
		return ok && o.pinned[p]
	}
	for _, address := range localAddresses(o.backend) {
		for _, pid := range procfs.Listeners(address) {
			if isPinned(pid) {
				add(pid, roleBackend)
			}
		}
	}
	o.dropEnded()
	for _, n := range o.named {
		if !n.proven && !isPinned(n.pid) {
			continue
		}
		add(n.pid, roleBackend)
		for _, pid := range databases(&n) {
			add(pid, roleDatabase)
		}
	}
	own := make([]Own, 0, len(found))
	for _, f := range found {
		own = append(own, f)
	}
	slices.SortFunc(own, func(a, b Own) int { return cmp.Compare(a.PID, b.PID) })
	return own
}

// BackendUsers returns the users of the backend's processes on this machine, in ascending
// order: those that listen on the exact address of --backend, and those that identified
// themselves. While sessions run, it leaves out a user of which it found no such process
// before, so that a watched program cannot make its user one of them.
func (o *OwnProcesses) BackendUsers(isQuiet bool) []int {
	o.mu.Lock()
	defer o.mu.Unlock()
	var pids []int
	for _, address := range localAddresses(o.backend) {
		pids = append(pids, procfs.Listeners(address)...)
	}
	o.dropEnded()
	for _, n := range o.named {
		pids = append(pids, n.pid)
	}
	var users []int
	for _, pid := range pids {
		user, ok := procfs.SocketUser(pid)
		if !ok || pid <= 1 { // systemd's socket is not the backend
			continue
		}
		if isQuiet {
			o.users[user] = true
		}
		if o.users[user] {
			users = append(users, user)
		}
	}
	slices.Sort(users)
	return slices.Compact(users)
}

// dropEnded forgets the backends that have ended. The caller holds o.mu.
func (o *OwnProcesses) dropEnded() {
	o.named = slices.DeleteFunc(o.named, func(n named) bool {
		p, err := procfs.Read(n.pid)
		return err != nil || p.Zombie || p.Ticks != n.StartTicks
	})
}

// read returns the identity of a process; false if it has ended.
func read(pid int, role string) (Own, bool) {
	p, err := procfs.Read(pid)
	if err != nil || p.Zombie {
		return Own{}, false
	}
	executable, _ := procfs.Exe(pid)
	return Own{
		PID: pid, StartTime: eventTime(p.Start), Name: p.Name, Executable: executable, UserID: procfs.UserID(pid), Role: role, ticks: p.Ticks,
	}, true
}

// databases returns the pids of the servers and poolers on this machine to which a
// backend's database connections lead.
func databases(n *named) []int {
	var found []int
	for _, d := range n.Database {
		if d.Address == "" {
			found = append(found, founder(procfs.InNamespace(n.PIDNamespace, d.PID, d.StartTicks)))
			continue
		}
		if address, err := netip.ParseAddrPort(d.Address); err == nil {
			for _, pid := range procfs.Peers(n.pid, address) {
				found = append(found, founder(pid))
			}
		}
	}
	// A pooler's own connections lead to servers or to another pooler.
	for i := 0; i < len(found) && i < maxNamed; i++ {
		upstreams := procfs.UnixUpstreams(found[i], ".s.PGSQL.") // name prefix of PostgreSQL's sockets
		for _, address := range procfs.Upstreams(found[i]) {
			upstreams = append(upstreams, procfs.Peers(found[i], address)...)
		}
		for _, pid := range upstreams {
			if pid = founder(pid); !slices.Contains(found, pid) && pid != n.pid {
				found = append(found, pid)
			}
		}
	}
	return found
}

// founder returns the oldest ancestor in the unbroken line of ancestors that run the same
// program as the same user. PostgreSQL has a process for each connection; for each of
// these founder returns the server.
func founder(pid int) int {
	own, ok := read(pid, "")
	for ok && own.Executable != "" {
		p, err := procfs.Read(pid)
		if err != nil || p.ParentPID <= 1 {
			break
		}
		parent, isThere := read(p.ParentPID, "")
		if !isThere || parent.Executable != own.Executable || parent.UserID != own.UserID {
			break
		}
		pid = parent.PID
	}
	return pid
}

// localAddresses returns the addresses of this machine to which a URL leads; none if it
// leads to another machine.
func localAddresses(u *url.URL) []netip.AddrPort {
	port, ok := portOf(u)
	if !ok {
		return nil
	}
	machine := machineAddresses()
	var addresses []netip.Addr
	host := u.Hostname()
	name, _ := os.Hostname()
	address, err := netip.ParseAddr(host)
	switch {
	case host == "localhost" || err == nil && address.IsUnspecified():
		addresses = machine[:2]
	case host == name:
		addresses = machine
	case err == nil && (address.IsLoopback() || slices.Contains(machine, address.Unmap())):
		addresses = []netip.Addr{address.Unmap()}
	}
	var ends []netip.AddrPort
	for _, a := range addresses {
		ends = append(ends, netip.AddrPortFrom(a, port))
	}
	return ends
}

// portOf returns the port of a URL; false if it has none.
func portOf(u *url.URL) (port uint16, ok bool) {
	text := u.Port()
	if text == "" {
		text = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	number, err := strconv.ParseUint(text, 10, 16)
	return uint16(number), err == nil
}

// machineAddresses returns the addresses of this machine. The first two are those of localhost.
func machineAddresses() []netip.Addr {
	machine := []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()}
	if own, err := net.InterfaceAddrs(); err == nil {
		for _, a := range own {
			if prefix, err := netip.ParsePrefix(a.String()); err == nil {
				machine = append(machine, prefix.Addr().Unmap())
			}
		}
	}
	return machine
}

// typeExclusions is the type of the event that reports a change of the excluded processes.
const typeExclusions = "exclusions_changed"

// exclusions is the data of the event.
type exclusions struct {
	Timestamp eventTime `json:"timestamp"`
	Added     []Own     `json:"added"`
	Removed   []Own     `json:"removed"` // they ended or have lost their role
}

// AppendJSON appends the data of the event.
func (e *exclusions) AppendJSON(out []byte) []byte { return appendJSON(out, e) }

// exclude makes the sensor exclude the processes in now, and reports the change to each
// session. It does not exclude a process that a session chose or spawned, nor a
// descendant of one, unless that is the agent or was excluded before.
func (m *Monitor) exclude(now []Own) {
	roots := m.roots()
	known := m.reportedOwn()
	now = slices.DeleteFunc(now, func(o Own) bool {
		return o.Role != roleAgent && !slices.ContainsFunc(known, o.same) && descendsFrom(o.PID, roots)
	})
	if pids := pidsOf(now); !slices.Equal(pids, pidsOf(known)) {
		if err := m.options.Sensor.Exclude(pids); err != nil {
			m.options.Log.Warn("cannot exclude the backend's processes", "error", err)
		}
	}
	m.reportExclusions(now)
}

// roots returns the processes that running sessions chose or spawned.
func (m *Monitor) roots() []int {
	m.mu.Lock()
	defer m.mu.Unlock()
	var roots []int
	for _, s := range m.sessions {
		switch {
		case s.request.Mode == ModePIDs:
			roots = append(roots, s.request.PIDs...)
		case s.hostPID > 0:
			roots = append(roots, s.hostPID)
		case s.pid > 0:
			roots = append(roots, s.pid)
		}
	}
	return roots
}

// reportedOwn returns the excluded processes that were reported to any session, by pid,
// without the browsers, which each session has for itself.
func (m *Monitor) reportedOwn() []Own {
	m.mu.Lock()
	defer m.mu.Unlock()
	var known []Own
	for _, s := range m.sessions {
		for _, o := range s.excluded {
			if o.Role != roleViewer && !slices.ContainsFunc(known, o.same) {
				known = append(known, o)
			}
		}
	}
	slices.SortFunc(known, func(a, b Own) int { return cmp.Compare(a.PID, b.PID) })
	return known
}

// reportExclusions reports to each session the change since its last report. own are the
// processes that are excluded from every session.
func (m *Monitor) reportExclusions(own []Own) {
	m.mu.Lock()
	defer m.mu.Unlock()
	at := time.Now()
	for id, s := range m.sessions {
		if s.isEnding || s.hostPID > 0 { // OS-Pulse's processes of this machine are in no other one
			continue
		}
		now := slices.Concat(own, m.hiddenFrom(s.watch, s.excluded))
		change := exclusions{Timestamp: eventTime(at), Added: without(now, s.excluded), Removed: without(s.excluded, now)}
		if len(change.Added)+len(change.Removed) > 0 {
			m.options.Deliver(id, &event.Event{Type: typeExclusions, Time: at, Data: &change})
			s.excluded = now
		}
	}
}

// without returns the processes of own that are not in others.
func without(own, others []Own) []Own {
	return slices.DeleteFunc(slices.Clone(own), func(o Own) bool { return slices.ContainsFunc(others, o.same) })
}

func pidsOf(own []Own) []int {
	pids := make([]int, len(own))
	for i, o := range own {
		pids[i] = o.PID
	}
	return pids
}

// descendsFrom reports whether a process is one of the roots or a descendant of one.
func descendsFrom(pid int, roots []int) bool {
	for depth := 0; pid > 1 && depth < 1000; depth++ {
		if slices.Contains(roots, pid) {
			return true
		}
		p, err := procfs.Read(pid)
		if err != nil {
			return false
		}
		pid = p.ParentPID
	}
	return false
}
