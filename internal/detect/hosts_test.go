package detect_test

import (
	"fmt"
	"testing"

	"ospulse/internal/detect"
	"ospulse/internal/filter"
)

// TestHosts checks that a session which learned only what Telling selects knows the same
// names, that a sample cannot make it keep endless names, and that odd messages do no harm.
func TestHosts(t *testing.T) {
	engine := detect.New([]filter.Node{condition(t, "product: linux, category: network_connection", "{DestinationHostname: evil.example}")})
	network := func(seq int64, eventType, data string) string {
		return fmt.Sprintf(`{"event_type":%q,"timestamp":"2026-11-22T18:57:39Z","source":"os-pulse-agent","data":{%s,"metadata":{"processName":"x","processId":%d}}}`, eventType, data, seq)
	}
	answer := func(name, address string) string {
		return `"operation":"Receive","dns":[{"response":true,"questions":[{"name":"` + name + `"}],"answers":[{"data":"` + address + `"}]}]`
	}
	const connect = `"operation":"Connect","dst":"192.0.2.7"`
	var bodies []string
	for _, odd := range []string{
		`"dns":[{"answers":[]}]`, `"dns":[{"answers":[{"data":"192.0.2.7"}]}]`, `"dns":{"answers":1}`, `"dns":[1,null,{"answers":[1,"x",null]}]`,
		`"dns":[{"questions":[{"name":7}],"answers":[{"data":"192.0.2.7"}]}]`, `"a":"\"answers\""`, `"tlsServerName":7,"dst":"192.0.2.7"`, `"tlsServerName":"x"`, `"tlsServerName":"x","dst":7`,
	} {
		bodies = append(bodies, network(1, "raw_network_operation", odd), network(1, "network_operation", odd))
	}
	bodies = append(bodies, network(2, "network_operation", answer("evil.example", "192.0.2.7")), network(3, "network_operation", connect))
	all, resumed := engine.NewSession(), engine.NewSession()
	for i, body := range bodies {
		e := received(t, body, int64(i+1))
		if i < len(bodies)-1 && detect.Telling().Match(&e) {
			resumed.Learn(&e)
		}
		if got := len(all.Match(&e)); (got == 1) != (i == len(bodies)-1) {
			t.Errorf("%s: %d rules match", body, got)
		}
	}
	last := received(t, bodies[len(bodies)-1], 100)
	if len(resumed.Match(&last)) != 1 {
		t.Error("a session that learned does not know the name")
	}
	before := all.Bytes()
	for i := range 20_000 {
		e := received(t, network(4, "network_operation", answer(fmt.Sprintf("n%d.example", i), fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255))), int64(200+i))
		all.Match(&e)
	}
	if grown := all.Bytes() - before; grown > 1<<20 {
		t.Errorf("the names take %d bytes", grown)
	}
}
