package filter_test

import (
	"strings"
	"testing"
	"time"

	"ospulse/internal/filter"
	"ospulse/internal/models"
)

// sample returns an event as a controller sends it.
func sample() *models.Event {
	pid, name, operation, target := int64(102), "cmd.exe", "ReadFile", `\\?\C:\Windows\System32\UIAutomationCore.dll`
	return &models.Event{
		SessionID: "s", Seq: 7, EventType: models.TypeFile, Source: "os-pulse-controller",
		Timestamp: time.Date(2026, 11, 22, 18, 57, 39, 967_551_000, time.UTC),
		PID:       &pid, ProcessName: &name, Operation: &operation, Target: &target,
		Data: models.JSON(`{"handle":"0x1b4","filePath":"\\\\?\\C:\\Windows\\System32\\UIAutomationCore.dll","bytesTransferred":4,"size":1.50e3,` +
			`"content":"92 B7 DC 01","caf\u00e9":"na\u00efve","ok":true,"none":null,"list":[{"x y":"A \"quote\""},2],"operation":"ReadFile","metadata":{"sessionId":"mws78o95-pb4w1knlzuc","processName":"cmd.exe","processId":102}}`),
	}
}

func parse(t testing.TB, text string) *filter.Filter {
	t.Helper()
	f, err := filter.Parse(text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return f
}

func TestMatch(t *testing.T) {
	for _, text := range []string{
		``, `  `, `*`, `type = file_operation`, `event_type: "file_operation"`, `TYPE == file_operation`, `type: file_*`, `type in (x, file_operation)`, `type: (x or file_operation)`,
		`not type = x`, `!type:x`, `type != x`, `type not in (x, y)`, `not (type: x or pid: 1)`, `type:(not x)`,
		`pid = 102`, `pid in (1, 102)`, `pid > 101 and pid < 103`, `pid >= 102 && pid <= 102`, `seq = 7`, `exists pid`, `pid: *`,
		`time = 2026-11-22T18:57:39.967551Z`, `time > 2026-11-22`, `time < 2026-11-23`, `time >= "2026-11-22 19:57:39+01:00"`,
		`process: CMD.*`, `process = cmd.exe`, `process startswith CMD`, `process endswith ".EXE"`, `process contains Md.e`, `process like "c?d.*"`, `not process = CMD.EXE`,
		`target: \\?\C:\Windows\*`, `target = "\\\\?\\C:\\Windows\\System32\\UIAutomationCore.dll"`, `target = '\\?\C:\Windows\System32\UIAutomationCore.dll'`,
		`target = \\[?]\C:\Windows\System32\UIAutomationCore.dll`, `target contains 'C:\windows'`, `target contains "C:\Windows"`, `target like '*\UIAutomationCore.???'`,
		`data.operation = ReadFile`, `data.metadata.processId = 102`, `data.bytesTransferred: 4.0`, `data.bytesTransferred < 4.5`, `data.size = 1500`, `data.size: 15*0`, `data.size > 1.4e3`,
		`data.ok: true`, `data.none: null`, `exists data.none`, `not exists data.missing`, `not data.missing = 1`, `data.missing != 1`, `data.list[1] = 2`,
		`data.list[0]["x y"] contains 'a "QUOTE'`, `data.list[0]."x y" like "a *"`, `data["café"] = naïve`, `data.handle in ("0x1b4")`, `data.content: 92*`,
		`uiautomation`, `"windows\\system32"`, `C:\Windows\System32`, `'"quote"'`, `"a \"quote\""`, `café`, `naïve`, `NAïVE`, `processId`, `1500`, `102`, `null`, `TRU`, `ui*core`, `c?fé`,
		`read and windows`, `readfile windows`, `missing or readfile`, `(missing or readfile) type:file*`, `readfile !missing`,
	} {
		if !parse(t, text).Match(sample()) {
			t.Errorf("%s does not select the event", text)
		}
	}
	for _, text := range []string{
		`not *`, `type = File_operation`, `type: file`, `type: file?`, `pid = 1`, `pid != 102`, `pid > 102`, `time > 2026-11-22T18:57:39.967551Z`, `seq < 7`,
		`process = CMD.EXE`, `process: cmd`, `process like cmd`, `target contains Ü`,
		`data.operation = readfile`, `data.ok: "true"`, `data.ok: 1`, `data.none: 0`, `data.bytesTransferred = "4"`, `data.bytesTransferred > 4`, `data.handle > 0`, `data.list = 2`, `data.list[0] = 2`, `data.list[2]: *`,
		`data.list["1"] = 2`, `data.metadata contains cmd`, `exists data.missing`, `data.ok contains rue`,
		`missing`, `"a \"quote\"x"`, `NAÏVE`, `": "`, `","`, `"{"`, `u00e9`, `1.50e3`, `"4,"`, `nul null missing`,
	} {
		if parse(t, text).Match(sample()) {
			t.Errorf("%s selects the event", text)
		}
	}
}

// TestMatchEmptyEvent checks that a missing value is never equal to, above or like
// anything.
func TestMatchEmptyEvent(t *testing.T) {
	e := &models.Event{}
	for _, field := range []string{"pid", "process", "operation", "target", "data.a", "data[0]"} {
		for _, rest := range []string{" = 1", " != 1", " in (1, 2)", ": *"} {
			if got, want := parse(t, field+rest).Match(e), strings.HasPrefix(rest, " !="); got != want {
				t.Errorf("%s%s is %v", field, rest, got)
			}
		}
	}
	if !parse(t, "null").Match(e) || parse(t, "x").Match(e) {
		t.Error("the data of an event without data is null")
	}
}

func TestNeedsData(t *testing.T) {
	for text, want := range map[string]bool{
		``: false, `type: x and not (pid > 1 or target: *x*)`: false, `exists pid`: false, `*`: false,
		`word`: true, `type: x or data.a = 1`: true, `not exists data.a`: true, `type: x and (pid = 1 or not data.a like "x*")`: true,
	} {
		if got := parse(t, text).NeedsData(); got != want {
			t.Errorf("%s needs data: %v, want %v", text, got, want)
		}
	}
}

func BenchmarkMatch(b *testing.B) {
	e := sample()
	for name, text := range map[string]string{
		"type":        `type = http_network_operation`,
		"hot":         `type = file_operation and process: (a.exe or cmd.exe) and pid >= 102 and not time < 2026-11-22`,
		"target":      `target: *core.exe*`,
		"path":        `data.metadata.processName = cmd.exe`,
		"number":      `data.bytesTransferred > 4`,
		"text":        `missing`,
		"text-found":  `processId`,
		"text-number": `4711`,
		"wildcards":   `ui*core*missing`,
	} {
		f := parse(b, text)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				f.Match(e)
			}
		})
	}
}

// TestMatchOfColumnsDoesNotAllocate checks that a filter of columns allocates nothing:
// it runs for every event of a stream.
func TestMatchOfColumnsDoesNotAllocate(t *testing.T) {
	f, e := parse(t, `type: file_* and pid in (1, 102) and not target: *missing* and exists process and data.metadata.processName = cmd.exe and not missing`), sample()
	if n := testing.AllocsPerRun(100, func() { f.Match(e) }); n > 0 {
		t.Errorf("a match allocates %v times", n)
	}
}
