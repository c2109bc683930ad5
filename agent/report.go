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

// agentName gives the name by which backends know the agent: that of its machine.
func agentName() string {
	host, err := os.Hostname()
	if err != nil || host == "" || strings.ContainsFunc(host, unicode.IsControl) { // no header takes such a name
		return "linux"
	}
	return host
}

// report is what heartbeats tell a backend.
func report(cfg config.Config, listens net.Addr, eyes eyes, spawnFault string, sessions *monitor.Monitor, sender *delivery.Delivery) heartbeat.Report {
	host := agentName()
	status := sender.Status()
	r := heartbeat.Report{
		Name: host, URL: "http://" + reachable(cfg.Host, host, listens), Version: buildVersion(), Platform: runtime.GOOS, Arch: monitor.Arch(), Sensor: eyes.name,
		Sessions: sessions.SessionIDs(), Delivery: heartbeat.Delivery{
			Delivered: status.Delivered, Lost: status.Lost, Queued: status.QueuedEvents, Spooled: status.SpooledEvents,
		},
	}
	for _, c := range capabilities(eyes.fault, eyes.packetFault, spawnFault) {
		r.Capabilities = append(r.Capabilities, heartbeat.Capability(c))
	}
	return r
}

// reachable gives the host and port at which others find what listens: an agent
// that listens everywhere is found by its machine's name.
func reachable(host, machine string, listens net.Addr) string {
	if address, err := netip.ParseAddr(host); err == nil && address.IsUnspecified() {
		host = machine
	}
	_, port, _ := net.SplitHostPort(listens.String()) // of a socket, it has one
	return net.JoinHostPort(host, port)
}
