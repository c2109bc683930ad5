//go:build linux

// Package callers decides which programs on this machine may control the agent without its
// key. It identifies a caller by the owner of the socket at the other end of the
// connection. It must not know HTTP, nor how sessions are run.
package callers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/user"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"ospulse/agent/internal/procfs"
	"ospulse/agent/internal/sandbox"
)

// remedy ends each refusal.
const remedy = "set AGENT_API_KEY for the agent and its callers"

// usersFor is how long Check uses what BackendUsers returned. So callers that are refused
// again and again cost little.
const usersFor = 100 * time.Millisecond

var errSample = errors.New("samples may not control the agent")

// Options are the settings of Callers.
type Options struct {
	// BackendUsers returns the users of the backend's processes on this machine.
	BackendUsers func() []int
	// HasPrograms reports whether a session runs that chose or spawned programs.
	// IsProgram reports whether a process is such a program or a descendant of one.
	HasPrograms func() bool
	IsProgram   func(pid int) bool
	Log         *slog.Logger
}

// Callers decides about callers. Its methods are safe for concurrent use.
type Callers struct {
	options Options
	self    int // the agent's user

	mu      sync.Mutex
	users   []int // of the backend, as of usersAt
	usersAt time.Time
	refused map[int]bool // users whose refusal was logged
}

// New returns a Callers.
func New(options Options) *Callers {
	return &Callers{options: options, self: os.Geteuid(), refused: map[int]bool{}}
}

// Check returns an error unless the program at the other end of a connection may control
// the agent: one of root, of the agent's own user or of the backend's user, and none that a
// session chose or spawned. The error's text is for the caller.
func (c *Callers) Check(conn net.Conn) error {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return fmt.Errorf("the agent cannot tell which user calls: the connection is not TCP; %s", remedy)
	}
	peer, err := peerOf(tcp)
	if err != nil {
		return fmt.Errorf("the agent cannot tell which user calls: %w; %s", err, remedy)
	}
	if err := c.checkUser(peer.UserID); err != nil {
		c.log(peer.UserID, err)
		return err
	}
	return c.checkPrograms(peer)
}

// peerOf returns the other end of an open connection.
func peerOf(conn *net.TCPConn) (procfs.Peer, error) {
	local, ok1 := conn.LocalAddr().(*net.TCPAddr)
	remote, ok2 := conn.RemoteAddr().(*net.TCPAddr)
	if !ok1 || !ok2 {
		return procfs.Peer{}, errors.New("the connection has no addresses")
	}
	if err := checkEstablished(conn); err != nil { // without the cost of a look
		return procfs.Peer{}, err
	}
	peer, err := procfs.PeerOf(local.AddrPort(), remote.AddrPort())
	if err != nil {
		return procfs.Peer{}, err
	}
	// After the look: as long as this end is established, no other program's socket can have
	// had the caller's address meanwhile.
	return peer, checkEstablished(conn)
}

// checkEstablished returns an error if the other end has closed the connection, also for
// writing only.
func checkEstablished(conn *net.TCPConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return fmt.Errorf("look at the connection: %w", err)
	}
	var info *unix.TCPInfo
	var infoErr error
	if err := raw.Control(func(fd uintptr) { info, infoErr = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) }); err != nil || infoErr != nil {
		return fmt.Errorf("look at the connection: %w", errors.Join(err, infoErr))
	}
	if info.State != unix.BPF_TCP_ESTABLISHED {
		return errors.New("it has closed the connection")
	}
	return nil
}

// checkUser returns an error unless programs of a user may control the agent.
func (c *Callers) checkUser(id int) error {
	switch {
	case sandbox.IsUser(id):
		return errSample
	case id == 0 || id == c.self:
		return nil
	case procfs.IsAmbiguousUser(id):
		return fmt.Errorf("the agent cannot tell which user calls: its user namespace does not have the user; %s", remedy)
	}
	others := slices.DeleteFunc(c.backendUsers(), func(user int) bool { return user == 0 || user == c.self })
	switch {
	case len(others) > 1:
		return fmt.Errorf("programs of several users (%s, %s) answer at the address of --backend, so that the agent trusts none of them; %s", nameOf(others[0]), nameOf(others[1]), remedy)
	case len(others) == 1 && others[0] == id:
		return nil
	}
	return fmt.Errorf("%s may not control this agent: without a key, only root, the agent's user and the user of the backend at the address of --backend may; %s", nameOf(id), remedy)
}

// checkPrograms returns an error if a program that a session chose or spawned has the
// caller's socket open.
func (c *Callers) checkPrograms(peer procfs.Peer) error {
	if !c.options.HasPrograms() {
		return nil
	}
	pids := procfs.SocketOwners(peer.Inode)
	if len(pids) == 0 && (c.self == 0 || peer.UserID == c.self) {
		return fmt.Errorf("the agent cannot tell which program calls: it finds none that has the connection open; %s", remedy)
	}
	for _, pid := range pids {
		if c.options.IsProgram(pid) {
			return fmt.Errorf("process %d may not control the agent: a session watches it; %s", pid, remedy)
		}
	}
	return nil
}

// backendUsers returns a copy of what Options.BackendUsers has returned at most usersFor ago.
func (c *Callers) backendUsers() []int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.usersAt) > usersFor {
		c.users, c.usersAt = c.options.BackendUsers(), time.Now()
	}
	return slices.Clone(c.users)
}

// maxRefused bounds the number of users whose refusals are logged.
const maxRefused = 100

// log logs the first refusal of each user.
func (c *Callers) log(id int, err error) {
	c.mu.Lock()
	isNew := !c.refused[id] && len(c.refused) < maxRefused
	if isNew {
		c.refused[id] = true
	}
	c.mu.Unlock()
	if isNew {
		c.options.Log.LogAttrs(context.Background(), slog.LevelWarn, "a request to control the agent was refused", slog.Int("user", id), slog.Any("error", err))
	}
}

// nameOf returns a user for a message: "user 1000 (alice)".
func nameOf(id int) string {
	number := strconv.Itoa(id)
	if found, err := user.LookupId(number); err == nil {
		return fmt.Sprintf("user %s (%.40s)", number, found.Username)
	}
	return "user " + number
}
