package service

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"ospulse/internal/models"
)

type agentList struct {
	agents []models.Agent
	err    error
}

func (l *agentList) List(context.Context, int) ([]models.Agent, error) { return l.agents, l.err }

func TestSenders(t *testing.T) {
	now, longAgo := time.Now(), time.Now().Add(-48*time.Hour)
	agents := &agentList{agents: []models.Agent{
		{ID: "default", Name: "vm1", ServiceURL: "http://localhost:7000"},
		{ID: "second", Name: "vm2", ServiceURL: "http://192.0.2.2:7000"},
		{ID: "third", Name: "vm3", HeartbeatAt: &now, Address: "192.0.2.3"},
		{ID: "on one", Name: "shared", HeartbeatAt: &now, Address: "192.0.2.4"},
		{ID: "machine", Name: "shared", HeartbeatAt: &now, Address: "192.0.2.4"},
		{ID: "moved", Name: "vm5", HeartbeatAt: &longAgo, Address: "192.0.2.5"},
		{ID: "six", Name: "vm6", HeartbeatAt: &now, Address: "2001:db8::6"},
		{ID: "never", Name: ""},
	}}
	senders := NewSenders(agents, "own", slog.New(slog.DiscardHandler))
	if got := senders.Find("vm2", netip.MustParseAddr("192.0.2.2")); got != "own" {
		t.Errorf("before any agent is known: %s", got)
	}
	if err := senders.Heard(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	agents.err = errors.New("the database is away") // known agents are kept
	if err := senders.Heard(t.Context(), nil); err == nil {
		t.Error("the fault is not told")
	}
	for _, tt := range []struct{ name, address, want string }{
		{"vm2", "192.0.2.3", "second"}, // the name has precedence over the address
		{"vm3", "127.0.0.1", "third"},
		{"", "192.0.2.2", "second"},
		{"", "::ffff:192.0.2.2", "second"},
		{"", "192.0.2.3", "third"},
		{"unknown", "192.0.2.3", "third"},
		{"", "2001:db8::6", "six"},
		{"", "127.0.0.1", "default"},
		{"", "127.0.0.9", "default"},
		{"", "::1", "default"},
		{"", "192.0.2.4", "own"}, // two agents have this address
		{"shared", "192.0.2.4", "own"},
		{"shared", "192.0.2.3", "third"},
		{"", "192.0.2.5", "own"}, // another machine may have this address by now
		{"", "198.51.100.1", "own"},
		{"", "", "own"},
	} {
		address, _ := netip.ParseAddr(tt.address)
		if got := senders.Find(tt.name, address); got != tt.want {
			t.Errorf("%q from %q is %s, not %s", tt.name, tt.address, got, tt.want)
		}
	}
}

// TestURLFromAMachine checks that a loopback URL in an agent's heartbeat is replaced
// with the address of the agent's machine.
func TestURLFromAMachine(t *testing.T) {
	for _, tt := range []struct{ url, from, want string }{
		{"http://127.0.0.1:7000", "192.0.2.2", "http://192.0.2.2:7000"},
		{"http://localhost", "192.0.2.2", "http://192.0.2.2:80"},
		{"https://[::1]/x", "2001:db8::6", "https://[2001:db8::6]:443/x"},
		{"http://127.0.0.1:7000", "127.0.0.1", "http://127.0.0.1:7000"},
		{"http://127.0.0.1:7000", "", "http://127.0.0.1:7000"},
		{"http://vm:7000", "192.0.2.2", "http://vm:7000"},
		{"http://192.0.2.9:7000", "192.0.2.2", "http://192.0.2.9:7000"},
	} {
		if got := urlFrom(tt.url, tt.from); got != tt.want {
			t.Errorf("%s from %s is %s, not %s", tt.url, tt.from, got, tt.want)
		}
	}
}
