//go:build linux

package monitor

import (
	"net"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"

	"ospulse/agent/internal/procfs"
)

// OwnProcesses gives a function that finds the processes which must never be
// reported, since reporting them makes them do more: the agent itself; the
// backend, if it is on this machine: whoever listens on its port; and the
// databases that the backend is connected to.
func OwnProcesses(backend *url.URL) func() []int {
	return func() []int {
		pids := []int{os.Getpid()}
		if port, ok := localPort(backend); ok {
			for _, pid := range procfs.Listeners(port) {
				if pid > 1 { // systemd's socket is not the backend
					pids = append(pids, pid)
					pids = append(pids, procfs.Databases(pid)...)
				}
			}
		}
		slices.Sort(pids)
		return slices.Compact(pids)
	}
}

// localPort gives the port of a URL that points to this machine.
func localPort(u *url.URL) (uint16, bool) {
	text := u.Port()
	if text == "" {
		text = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return 0, false
	}
	host := u.Hostname()
	if name, _ := os.Hostname(); host == "localhost" || host == name {
		return uint16(port), true
	}
	address, err := netip.ParseAddr(host)
	if err != nil {
		return 0, false
	}
	if address.IsLoopback() || address.IsUnspecified() {
		return uint16(port), true
	}
	own, err := net.InterfaceAddrs()
	if err != nil {
		return 0, false
	}
	for _, a := range own {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil && prefix.Addr() == address.Unmap() {
			return uint16(port), true
		}
	}
	return 0, false
}
