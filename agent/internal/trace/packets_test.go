//go:build linux

package trace

import (
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"testing"
)

// TestPacketsAsRoot checks that --packets adds packets in both formats, and that there are
// none without it.
func TestPacketsAsRoot(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	script := fmt.Sprintf("exec 3<>/dev/tcp/127.0.0.1/%d; echo hi >&3", port)
	for _, test := range []struct {
		name string
		args []string
		want int // lines of packets with the data
	}{
		{"text", []string{"--packets"}, 1},
		{"ndjson", []string{"--packets", "--format", "ndjson"}, 1},
		{"off", []string{"--format", "ndjson"}, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			args := append(append([]string{"trace"}, test.args...), "--", "bash", "-c", script)
			out, errors, code := agent(t, args...)
			if code != 0 || errors != "" {
				t.Fatalf("code %d: %s", code, errors)
			}
			n := 0
			for line := range strings.Lines(out) {
				var packet struct {
					Type string `json:"event_type"`
					Data struct {
						Content string
						DstPort int `json:"dst_port"`
					}
				}
				switch {
				case test.name == "text":
					if strings.Contains(line, fmt.Sprintf("→ 127.0.0.1:%d ", port)) && strings.Contains(line, `bytes "hi\n"`) && strings.Contains(line, "[bash ") {
						n++
					}
				case json.Unmarshal([]byte(line), &packet) != nil:
					t.Errorf("not JSON: %s", line)
				case packet.Type == "raw_network_operation" && packet.Data.Content == "68 69 0A" && packet.Data.DstPort == port:
					n++
				}
			}
			if n != test.want {
				t.Errorf("%d packets, want %d, in\n%s", n, test.want, out)
			}
		})
	}
}
