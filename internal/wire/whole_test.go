package wire_test

import (
	"fmt"
	"strings"
	"testing"

	"ospulse/internal/wire"
)

// TestWholeNumbers checks that a whole number is recognised in any notation, wherever
// one is lifted, and that the data stays as sent.
func TestWholeNumbers(t *testing.T) {
	places := map[string]func(string) (got, want string){ // of the number 4
		"pid": func(n string) (string, string) {
			return lifted(t, `{"event_type":"x","data":{"metadata":{"processId":`+n+`}}}`), "pid 4"
		},
		"pid of an older controller": func(n string) (string, string) {
			return lifted(t, `{"event_type":"x","data":{"process_info":{"process_id":`+n+`}}}`), "pid 4"
		},
		"parent": func(n string) (string, string) {
			return lifted(t, `{"event_type":"x","data":{"pid":1,"ppid":`+n+`}}`), "pid 1 fact 1 of 4"
		},
		"new process": func(n string) (string, string) {
			return lifted(t, `{"event_type":"process_creation","data":{"pid":1,"newProcessId":`+n+`}}`), "pid 1 fact 4 of 1"
		},
		"port": func(n string) (string, string) {
			return lifted(t, `{"event_type":"x","data":{"dst":"1.2.3.4","dst_port":`+n+`}}`), "target 1.2.3.4:4"
		},
		"failure of a creation": func(n string) (string, string) {
			return lifted(t, `{"event_type":"process_creation","data":{"pid":1,"newProcessId":2,"status":-`+n+`}}`), "pid 1"
		},
	}
	for name, place := range places {
		for _, n := range []string{"4", "4.0", "4e0", "0.4e1", "40E-1", "4.000e+0"} {
			if got, want := place(n); got != want {
				t.Errorf("%s %s: %q, want %q", name, n, got, want)
			}
		}
	}
	for _, n := range []string{"1.5", "1e400", "18446744073709551615", "18446744073709551615.0", "4e-1"} {
		if got := lifted(t, `{"event_type":"x","data":{"metadata":{"processId":`+n+`}}}`); got != "" {
			t.Errorf("%s is %s", n, got)
		}
		if got := lifted(t, `{"event_type":"x","data":{"dst":"h","dst_port":`+n+`}}`); got != "target h" {
			t.Errorf("port %s is %s", n, got)
		}
	}
	for _, count := range []string{"1", "1.0", "1e0", "0.1e1", "0", "0.0"} {
		packets, faults, err := wire.Packets([]byte(`{"events":[{"src_port":4.0}],"count":`+count+`}`), receipt)
		if err != nil || len(packets) != 1 || len(faults) != 0 || string(packets[0].Payload()) != `{"src_port":4.0}` {
			t.Errorf("count %s: %v %v %v", count, packets, faults, err)
		}
	}
	for _, count := range []string{"1.5", "-1.0", "1e400", "[]", "true"} {
		if _, _, err := wire.Packets([]byte(`{"events":[],"count":`+count+`}`), receipt); err == nil || !strings.Contains(err.Error(), "count") {
			t.Errorf("count %s: %v", count, err)
		}
	}
}

// lifted formats the numbers lifted from an event, and checks that its data reads back
// as sent.
func lifted(t *testing.T, body string) string {
	t.Helper()
	in, err := wire.Event([]byte(body), receipt)
	if err != nil {
		t.Fatal(err, body)
	}
	if !strings.Contains(body, string(in.Payload())) {
		t.Errorf("%s reads back as %s", body, in.Payload())
	}
	var b strings.Builder
	if in.PID != nil {
		fmt.Fprint(&b, " pid ", *in.PID)
	}
	if in.Target != nil {
		fmt.Fprint(&b, " target ", *in.Target)
	}
	for _, fact := range in.Processes {
		fmt.Fprint(&b, " fact ", fact.PID)
		if fact.ParentPID != nil {
			fmt.Fprint(&b, " of ", *fact.ParentPID)
		}
	}
	return strings.TrimSpace(b.String())
}
