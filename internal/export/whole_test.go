package export_test

import (
	"os"
	"testing"

	"ospulse/internal/models"

	"ospulse/internal/wire"
)

// TestWholeNumbers checks that exports read 4.0 and 4e0 as 4, for clients that write
// whole numbers as floats.
func TestWholeNumbers(t *testing.T) {
	text, err := os.ReadFile("testdata/whole-numbers-flow.json")
	if err != nil {
		t.Fatal(err)
	}
	in, err := wire.HTTPFlow(text, noon)
	if err != nil {
		t.Fatal(err)
	}
	e := in.Event
	e.SessionID, e.Seq = "s", 1
	if got := models.FormatTime(e.Timestamp); got != "2025-11-28T12:00:00.123000Z" {
		t.Errorf("timestamp %s", got)
	}
	entry := readHAR(t, write(t, "har", e))[0]
	if *entry.Response.Status != 200 || *entry.Response.Content.Size != 5 {
		t.Errorf("status %d, size %d", *entry.Response.Status, *entry.Response.Content.Size)
	}
	wantMembers(t, write(t, "ecs", e), `{"http":{"response":{"status_code":200,"body":{"bytes":5}}},"event":{"outcome":"success"}}`)
	for _, n := range []string{"4", "4.0", "4e0", "0.4e1"} {
		process := eventOf(t, 1, `{"event_type":"process_creation","data":{"newProcessId":`+n+`,"status":`+n+`,"metadata":{"processId":`+n+`}}}`)
		wantMembers(t, write(t, "ecs", process), `{"process":{"pid":4,"parent":{"pid":4}}}`)
		packet := eventOf(t, 1, `{"event_type":"raw_network_operation","data":{"src":"10.0.0.1","src_port":`+n+`,"dst":"10.0.0.2","dst_port":`+n+`,"length":`+n+`}}`)
		wantMembers(t, write(t, "ecs", packet), `{"source":{"port":4},"destination":{"port":4},"network":{"bytes":4}}`)
	}
}
