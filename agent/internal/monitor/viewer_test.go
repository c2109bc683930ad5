//go:build linux

package monitor

import (
	"net/netip"
	"net/url"
	"os"
	"slices"
	"testing"

	"ospulse/agent/internal/procfs"
)

// TestInstalledBrowsers checks that neither a folder nor a name alone makes a browser.
func TestInstalledBrowsers(t *testing.T) {
	v := NewViewers(&url.URL{}, BrowserFolders())
	for path, want := range map[string]bool{
		"/usr/lib/chromium/chromium":     true,
		"/usr/lib64/firefox/firefox":     true,
		"/opt/google/chrome/chrome":      true,
		"/home/user/.cache/x/chrome":     false,
		"/tmp/usr/lib/chromium/chromium": false,
		"/opt/sample/firefox":            false,
		"/usr/bin/python3.11":            false,
		"/usr/bin/curl":                  false,
		"/usr/lib/chromium":              true, // a file of this name there can only be root's
		"":                               false,
	} {
		if got := v.isInstalled(&Own{PID: os.Getpid(), Executable: path}); got != want {
			t.Errorf("%q is a browser: %v, want %v", path, got, want)
		}
	}
	if v.isInstalled(&Own{PID: 1 << 30, Executable: "/usr/lib/chromium/chromium"}) {
		t.Error("a process whose mount namespace is unknown is a browser")
	}
}

// TestViewersOfSessions checks that a browser is not hidden if it is excluded already, or if a
// session chose it or one of its ancestors.
func TestViewersOfSessions(t *testing.T) {
	chosen, _, _ := peer(t, python(), "print()")
	other, _, _ := peer(t, python(), "print()")
	excluded, _, _ := peer(t, python(), "print()")
	viewers := make([]Own, 0, 3)
	for _, pid := range []int{chosen, other, excluded} {
		own, _ := read(pid, roleViewer)
		viewers = append(viewers, own)
	}
	m := newMonitor(&world{})
	if _, err := m.Start(t.Context(), Request{SessionID: "a", Mode: ModePIDs, PIDs: []int{chosen}}); err != nil {
		t.Fatal(err)
	}
	hidden := m.hide(viewers, viewers[2:])
	want := []procfs.Identity{{PID: other, Ticks: viewers[1].ticks, Executable: viewers[1].Executable}}
	if !slices.Equal(hidden, want) {
		t.Errorf("%v are hidden, want %v", hidden, want)
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
}

// TestBackendAtAnyAddress checks that the dashboard is at each address of this machine at which
// the backend listens, and at no other.
func TestBackendAtAnyAddress(t *testing.T) {
	addresses := func(host string) []netip.AddrPort {
		_, at, _ := peer(t, python(), listening(host, 0))
		port := netip.MustParseAddrPort(at).Port()
		u := &url.URL{Scheme: "http", Host: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port).String()}
		found := NewViewers(u, nil).addresses()
		for i := range found {
			found[i] = netip.AddrPortFrom(found[i].Addr(), 0)
		}
		return found
	}
	var all []netip.AddrPort
	for _, a := range machineAddresses() {
		if a.Is4() && !slices.Contains(all, netip.AddrPortFrom(a, 0)) {
			all = append(all, netip.AddrPortFrom(a, 0))
		}
	}
	got := slices.DeleteFunc(addresses("0.0.0.0"), func(a netip.AddrPort) bool { return !a.Addr().Is4() })
	if !slices.Equal(got, all) {
		t.Errorf("a backend at all addresses: %v, want %v", got, all)
	}
	if got := addresses("127.0.0.1"); !slices.Equal(got, all[:1]) {
		t.Errorf("a backend at one address: %v, want %v", got, all[:1])
	}
}
