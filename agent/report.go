//go:build linux

package main

import (
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"unicode"

	"ospulse/agent/internal/config"
	"ospulse/agent/internal/delivery"
	"ospulse/agent/internal/heartbeat"
	"ospulse/agent/internal/monitor"
	"ospulse/agent/internal/selection"
)

// agentName returns the name under which backends list the agent: the one in its settings,
// else its machine's host name, or "linux" if that is unknown or unfit for a header.
func agentName(cfg config.Config) string {
	if cfg.Name != "" {
		return cfg.Name
	}
	host, err := os.Hostname()
	if err != nil || host == "" || strings.ContainsFunc(host, unicode.IsControl) {
		return "linux"
	}
	return host
}

// report returns the agent's state for a heartbeat.
func report(cfg config.Config, listener net.Listener, eyes eyes, spawner monitor.Spawner, spawnFault string, sessions *monitor.Monitor, sender *delivery.Delivery) heartbeat.Report {
	status := sender.Status()
	r := heartbeat.Report{
		Name: agentName(cfg), URL: listenURL(cfg, listener), FetchesWork: listener == nil, EventClasses: selection.Classes(), Version: buildVersion(), Platform: runtime.GOOS, Arch: monitor.Arch(), Sensor: eyes.name,
		StartOptions: startOptions(spawner), Sessions: sessions.SessionIDs(), Delivery: heartbeat.Delivery{
			Delivered: status.Delivered, Lost: status.Lost, Queued: status.QueuedEvents, Spooled: status.SpooledEvents,
		},
	}
	for _, c := range capabilities(eyes, cfg.SpawnIsolation, spawnFault) {
		r.Capabilities = append(r.Capabilities, heartbeat.Capability(c))
	}
	return r
}

// listenURL returns the URL at which others reach the agent; "" if it listens nowhere. If the
// agent listens on all addresses, the host is the machine's name.
func listenURL(cfg config.Config, listener net.Listener) string {
	if listener == nil {
		return ""
	}
	host := cfg.Host
	if address, err := netip.ParseAddr(host); err == nil && address.IsUnspecified() {
		host = agentName(config.Config{})
	}
	_, port, _ := net.SplitHostPort(listener.Addr().String()) // the address of a TCP socket has a port
	return "http://" + net.JoinHostPort(host, port)
}
