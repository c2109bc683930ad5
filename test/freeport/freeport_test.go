package freeport_test

import (
	"fmt"
	"net"
	"os"
	"strings"
	"testing"

	"ospulse/test/freeport"
)

// TestFor checks that the ports are free, and that the system does not give them to others.
func TestFor(t *testing.T) {
	ephemeral := 49_152
	if text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range"); err == nil {
		if _, err := fmt.Fscan(strings.NewReader(string(text)), &ephemeral); err != nil {
			t.Fatal(err)
		}
	}
	for range 100 {
		free := freeport.For(t)
		if free >= ephemeral {
			t.Errorf("the system may give port %d to another program", free)
		}
		l, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", free))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
	}
}
