//go:build linux

package monitor

import (
	"cmp"
	"context"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"ospulse/agent/internal/procfs"
)

// resolveTime is how long a session may wait for the addresses of a backend on another machine.
const resolveTime = 2 * time.Second

// Viewers finds the browsers that display the dashboard on this machine. In mode 1 every
// event makes the dashboard do something, and each report of that would be another event.
//
// A program can connect to the backend, so a connection alone excludes nothing. The process
// must also run an installed browser: a known name, in a folder that only root can change.
// A program that the user downloaded or compiled is not there, nor is a script.
type Viewers struct {
	backend *url.URL
	folders []string // of installed browsers
}

// NewViewers returns a Viewers for the backend at a URL, and browsers in the given folders,
// each with a slash at its end. Only root must be able to change them.
func NewViewers(backend *url.URL, folders []string) *Viewers { return &Viewers{backend, folders} }

// BrowserFolders returns the folders in which packages install browsers.
func BrowserFolders() []string {
	return []string{"/usr/", "/opt/google/", "/opt/brave.com/", "/opt/microsoft/", "/opt/vivaldi/"}
}

// isBrowser reports whether name is the file name of a browser's program.
func isBrowser(name string) bool {
	switch name {
	case "chrome", "chromium", "chromium-browser", "chromium-headless-shell", "headless_shell", "brave", "msedge", "vivaldi-bin", "opera", "firefox", "firefox-bin", "firefox-esr", "librewolf":
		return true
	}
	return false
}

// Find returns the processes of the browsers that have a connection to the backend now,
// ordered by pid.
func (v *Viewers) Find() []Own {
	var found []Own
	for _, pid := range procfs.Clients(v.addresses()) {
		if main, ok := read(founder(pid), roleViewer); ok && v.isInstalled(&main) && !slices.ContainsFunc(found, main.same) {
			found = append(found, main)
		}
	}
	all, err := procfs.List()
	if err != nil {
		return nil
	}
	// The processes of a browser are an unbroken line of its program.
	for i := 0; i < len(found); i++ {
		for p := range slices.Values(all) {
			if p.ParentPID != found[i].PID {
				continue
			}
			own, ok := read(p.PID, roleViewer)
			if ok && own.ticks == p.Ticks && own.Executable == found[i].Executable && own.UserID == found[i].UserID &&
				procfs.SharesMounts(own.PID) && !slices.ContainsFunc(found, own.same) {
				found = append(found, own)
			}
		}
	}
	slices.SortFunc(found, func(a, b Own) int { return cmp.Compare(a.PID, b.PID) })
	return found
}

// isInstalled reports whether a process runs an installed browser. In another mount namespace
// a user may have put any program at that path.
func (v *Viewers) isInstalled(o *Own) bool {
	isInside := slices.ContainsFunc(v.folders, func(folder string) bool { return strings.HasPrefix(o.Executable, folder) })
	return isInside && isBrowser(filepath.Base(o.Executable)) && procfs.SharesMounts(o.PID)
}

// addresses returns the addresses at which this machine reaches the backend.
func (v *Viewers) addresses() []netip.AddrPort {
	local := localAddresses(v.backend)
	if len(local) == 0 {
		return remoteAddresses(v.backend)
	}
	var servers []int
	for _, address := range local {
		servers = append(servers, procfs.Listeners(address)...)
	}
	for _, a := range machineAddresses() {
		address := netip.AddrPortFrom(a, local[0].Port())
		isSame := slices.ContainsFunc(procfs.Listeners(address), func(pid int) bool { return slices.Contains(servers, pid) })
		if isSame && !slices.Contains(local, address) {
			local = append(local, address)
		}
	}
	return local
}

// remoteAddresses returns the addresses of a URL's host; none if it has none.
func remoteAddresses(u *url.URL) []netip.AddrPort {
	port, ok := portOf(u)
	if !ok {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), resolveTime)
	defer cancel()
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", u.Hostname())
	if err != nil {
		return nil // the browser that has the page open stays visible
	}
	addresses := make([]netip.AddrPort, len(found))
	for i, a := range found {
		addresses[i] = netip.AddrPortFrom(a.Unmap(), port)
	}
	return addresses
}

// hide returns the viewers that a new session does not report: not those that are excluded
// already, and none that a running session chose or spawned, nor a descendant of one.
func (m *Monitor) hide(viewers, excluded []Own) []procfs.Identity {
	roots := m.roots()
	var hide []procfs.Identity
	for _, v := range viewers {
		if !slices.ContainsFunc(excluded, v.same) && !descendsFrom(v.PID, roots) {
			hide = append(hide, procfs.Identity{PID: v.PID, Ticks: v.ticks, Executable: v.Executable})
		}
	}
	return hide
}

// hiddenFrom returns the viewers that a watch does not report, by pid. If they are not known
// at present, it returns those among the exclusions that were reported before.
func (m *Monitor) hiddenFrom(w Watch, before []Own) []Own {
	pids, err := w.Hidden()
	if err != nil {
		return slices.DeleteFunc(slices.Clone(before), func(o Own) bool { return o.Role != roleViewer })
	}
	slices.Sort(pids)
	var hidden []Own
	for _, pid := range pids {
		if own, ok := read(pid, roleViewer); ok {
			hidden = append(hidden, own)
		}
	}
	return hidden
}
