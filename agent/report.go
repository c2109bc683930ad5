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
)

// agentName returns the name under which backends list the agent: its machine's host name,
// or "linux" if that is unknown or unfit for a header.
func agentName() string {
	host, err := os.Hostname()
	if err != nil || host == "" || strings.ContainsFunc(host, unicode.IsControl) {
		return "linux"
	}
	return host
}

// report returns the agent's state for a heartbeat.
func report(cfg config.Config, listens net.Addr, eyes eyes, spawner monitor.Spawner, spawnFault string, sessions *monitor.Monitor, sender *delivery.Delivery) heartbeat.Report {
	host := agentName()
	status := sender.Status()
	r := heartbeat.Report{
		Name: host, URL: "http://" + reachable(cfg.Host, host, listens), Version: buildVersion(), Platform: runtime.GOOS, Arch: monitor.Arch(), Sensor: eyes.name,
		StartOptions: startOptions(spawner), Sessions: sessions.SessionIDs(), Delivery: heartbeat.Delivery{
			Delivered: status.Delivered, Lost: status.Lost, Queued: status.QueuedEvents, Spooled: status.SpooledEvents,
		},
	}
	for _, c := range capabilities(eyes.fault, eyes.packetFault, spawnFault) {
		r.Capabilities = append(r.Capabilities, heartbeat.Capability(c))
	}
	return r
}

// reachable returns the host and port at which others reach the agent. If the agent listens
// on all addresses, the host is the machine's name.
func reachable(host, machine string, listens net.Addr) string {
	if address, err := netip.ParseAddr(host); err == nil && address.IsUnspecified() {
		host = machine
	}
	_, port, _ := net.SplitHostPort(listens.String()) // the address of a TCP socket has a port
	return net.JoinHostPort(host, port)
}
