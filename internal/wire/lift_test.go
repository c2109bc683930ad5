package wire_test

import (
	"reflect"
	"testing"
	"time"

	"ospulse/internal/models"
	"ospulse/internal/wire"
)

// TestEventTellsOfProcesses checks the facts on processes that an event has beyond the
// pid and the name of the acting process.
func TestEventTellsOfProcesses(t *testing.T) {
	seen := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	started := time.Date(2026, 11, 22, 11, 0, 0, 500_000_000, time.UTC)
	pid := func(n int64) *int64 { return &n }
	for name, tt := range map[string]struct {
		eventType, data string
		want            []models.ProcessFact
	}{
		"pid and name": {"file_operation", `{"metadata":{"processId":4,"processName":"a"}}`, nil},
		"nothing":      {"file_operation", `null`, nil},
		"start and parent": {"file_operation", `{"metadata":{"processId":4,"processName":"a","processStartTime":"2026-11-22T11:00:00.5Z","parentProcessId":1}}`,
			[]models.ProcessFact{{PID: 4, StartedAt: started, Acted: true, ProcessInfo: models.ProcessInfo{Name: "a", ParentPID: pid(1)}}}},
		"a start without a pid": {"file_operation", `{"metadata":{"processStartTime":"2026-11-22T11:00:00.5Z"}}`, nil},
		"a start that is none":  {"file_operation", `{"pid":4,"processStartTime":"soon"}`, nil},
		"a new process": {"process_creation", `{"newProcessId":9,"imagePath":"/bin/sh","commandLine":"sh -c x","status":0,"metadata":{"processId":4}}`,
			[]models.ProcessFact{{PID: 9, StartedAt: seen, ProcessInfo: models.ProcessInfo{Image: "/bin/sh", CommandLine: "sh -c x", ParentPID: pid(4)}}}},
		"a new process, its start and that of its parent": {"process_creation", `{"new_process_id":"9","new_process_start_time":"2026-11-22T11:00:00.5Z","process_info":{"processId":4,"process_start_time":"2026-11-22T12:00:00Z"}}`,
			[]models.ProcessFact{
				{PID: 4, StartedAt: seen, Acted: true},
				{PID: 9, StartedAt: started, ProcessInfo: models.ProcessInfo{ParentPID: pid(4), ParentStartedAt: &seen}},
			}},
		"a process that was not created":    {"process_creation", `{"newProcessId":9,"status":-1073741790}`, nil},
		"a process of which no pid is told": {"process_creation", `{"imagePath":"/bin/sh","commandLine":"sh","metadata":{"processId":4}}`, nil},
		"a pid in another event":            {"file_operation", `{"newProcessId":9}`, nil},
	} {
		t.Run(name, func(t *testing.T) {
			in, err := wire.Event([]byte(`{"event_type":"`+tt.eventType+`","timestamp":"2026-11-22T12:00:00Z","data":`+tt.data+`}`), receipt)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(in.Processes, tt.want) {
				t.Errorf("got %+v, want %+v", in.Processes, tt.want)
			}
		})
	}
}
