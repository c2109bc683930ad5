package analysis_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"ospulse/internal/analysis"
	"ospulse/internal/filter"
	"ospulse/internal/jsonscan"
	"ospulse/internal/models"
	"ospulse/internal/wire"
)

var roomy = analysis.Limits{Groups: 1000, Bytes: 1 << 30}

// adder is a rollup.
type adder interface {
	Add(e *models.Event, values [][]byte)
	Bytes() int64
}

// addAll adds events as a database passes them: the values of an event's data are valid
// only until Add returns.
func addAll(d adder, types, keys []string, events []models.Event) {
	var tree jsonscan.Tree
	for i, key := range keys {
		tree.Key(key).Want(i)
	}
	for i := range events {
		if !slices.Contains(types, events[i].EventType) {
			continue
		}
		e := events[i]
		data := bytes.Clone(e.Data)
		values := make([][]byte, len(keys))
		tree.Pick(data, values)
		d.Add(&e, values)
		for j := range data {
			data[j] = 'x'
		}
		e = models.Event{}
	}
}

func filesOf(limits analysis.Limits, events []models.Event) *analysis.Files {
	d := analysis.NewFiles(limits)
	addAll(d, analysis.FileTypes(), analysis.FileKeys(), events)
	return d
}

func conversationsOf(limits analysis.Limits, events []models.Event) *analysis.Conversations {
	d := analysis.NewConversations(limits)
	addAll(d, analysis.ConversationTypes(), analysis.ConversationKeys(), events)
	return d
}

var start = time.Date(2026, 11, 22, 18, 57, 0, 0, time.UTC)

// eventsOf returns events as they are stored, one second apart, with the given data.
func eventsOf(t testing.TB, eventType string, datas ...string) (events []models.Event) {
	t.Helper()
	for i, data := range datas {
		in, err := wire.Event(fmt.Appendf(nil, `{"event_type":%q,"timestamp":%q,"data":%s}`, eventType, models.FormatTime(start.Add(time.Duration(i)*time.Second)), data), start)
		if err != nil {
			t.Fatal(err)
		}
		in.Seq = int64(i + 1)
		events = append(events, in.Event)
	}
	return events
}

// fixtureEvents returns every recorded event of real clients as it is stored.
func fixtureEvents(t testing.TB) (events []models.Event) {
	t.Helper()
	files, err := filepath.Glob("../../test/testdata/fixtures/*.jsonl")
	if err != nil || len(files) != 4 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(content) {
			var r struct{ Method, Path, Body string }
			if err := json.Unmarshal(line, &r); err != nil {
				t.Fatal(err)
			}
			var some []models.Incoming
			switch {
			case r.Method != "POST":
				continue
			case r.Path == "/api/net/events":
				some, _, err = wire.Packets([]byte(r.Body), start)
			case r.Path == "/api/http/events":
				continue
			default:
				some = make([]models.Incoming, 1)
				some[0], err = wire.Event([]byte(r.Body), start)
			}
			if err != nil {
				t.Fatal(err)
			}
			for i := range some {
				some[i].Seq = int64(len(events) + 1)
				events = append(events, some[i].Event)
			}
		}
	}
	return events
}

func TestFilesOfFixtures(t *testing.T) {
	events := fixtureEvents(t)
	page := filesOf(roomy, events).Page(nil, analysis.FilesByEvents, nil, 1000)
	total, failed := int64(0), int64(0)
	byPath := map[string]*analysis.File{}
	for i := range page.Files {
		f := &page.Files[i]
		byPath[f.Path] = f
		total += f.Reads + f.Writes + f.Creates + f.Renames + f.Deletes + f.Others
		failed += f.Failed
		sum := int64(0)
		for _, p := range f.Processes {
			sum += p.Count
		}
		if f.ProcessCount <= 10 && sum != f.Reads+f.Writes+f.Others {
			t.Errorf("%s: the processes have %d events", f.Path, sum)
		}
	}
	files := int64(0)
	for i := range events {
		if events[i].EventType == models.TypeFile {
			files++
		}
	}
	if total+page.WithoutPath+page.Others != files || page.Truncated || page.Others != 0 || page.Total != len(page.Files) || failed != 0 {
		t.Errorf("of %d events %d have a path and %d none: %+v", files, total, page.WithoutPath, page)
	}
	// A size that is an error counts no bytes, in either notation.
	if f := byPath[`\\?\C:\pagefile.sys`]; f == nil || f.Reads == 0 || f.BytesRead != 0 {
		t.Errorf("the page file: %+v", f)
	}
	if f := byPath[`\\?\C:\Temp\huge.bin`]; f == nil || f.Writes == 0 || f.BytesWritten != 0 || f.BytesRead != 0 {
		t.Errorf("the huge file: %+v", f)
	}
	if f := byPath[`\\?\C:\Temp\big.bin`]; f == nil || f.BytesWritten != f.Writes<<20 {
		t.Errorf("the big file: %+v", f)
	}
	if f := byPath[`\\?\C:\Users\analyst\Desktop\asfdasd sdfasdfasd.txt`]; f == nil || f.Others != 1 || f.Writes != 3 || f.BytesRead != 0 || f.BytesWritten != 3*18 {
		t.Errorf("of an event without an operation nobody knows which way its bytes went: %+v", f)
	}
}

// counts formats those of a file's counts that are not zero.
func counts(f *analysis.File) string {
	var parts []string
	for _, c := range []struct {
		name string
		n    int64
	}{
		{"reads", f.Reads}, {"writes", f.Writes}, {"creates", f.Creates}, {"renames", f.Renames}, {"deletes", f.Deletes}, {"others", f.Others},
		{"failed", f.Failed}, {"read", f.BytesRead}, {"written", f.BytesWritten},
	} {
		if c.n != 0 {
			parts = append(parts, fmt.Sprintf("%s %d", c.name, c.n))
		}
	}
	if f.RenamedTo != "" {
		parts = append(parts, "to "+f.RenamedTo)
	}
	return strings.Join(parts, ", ")
}

func TestOperationsOfFiles(t *testing.T) {
	for name, tt := range map[string]struct {
		data string
		want map[string]string // by path
	}{
		"read":            {`{"operation":"ReadFile","filePath":"a","bytesTransferred":10}`, map[string]string{"a": "reads 1, read 10"}},
		"read, NT":        {`{"operation":"NtReadFile","filePath":"a","bytesTransferred":10}`, map[string]string{"a": "reads 1, read 10"}},
		"write":           {`{"operation":"WriteFile","filePath":"a","bytesTransferred":1e3}`, map[string]string{"a": "writes 1, written 1000"}},
		"whole":           {`{"operation":"WriteFile","filePath":"a","bytesTransferred":4096.0,"status":0.0}`, map[string]string{"a": "writes 1, written 4096"}},
		"not whole":       {`{"operation":"WriteFile","filePath":"a","bytesTransferred":1.5}`, map[string]string{"a": "writes 1"}},
		"minus nothing":   {`{"operation":"WriteFile","filePath":"a","bytesTransferred":1,"status":-0.0}`, map[string]string{"a": "writes 1, written 1"}},
		"failed, whole":   {`{"operation":"DeleteFile","filePath":"a","status":-1.3e1}`, map[string]string{"a": "deletes 1, failed 1"}},
		"other key":       {`{"operation":"WriteFileEx","file_path":"a","bytes_transferred":7}`, map[string]string{"a": "writes 1, written 7"}},
		"negative":        {`{"operation":"WriteFile","filePath":"a","bytesTransferred":-16}`, map[string]string{"a": "writes 1"}},
		"unsigned":        {`{"operation":"ReadFile","filePath":"a","bytesTransferred":4294967280}`, map[string]string{"a": "reads 1"}},
		"the most":        {`{"operation":"ReadFile","filePath":"a","bytesTransferred":2147479552}`, map[string]string{"a": "reads 1, read 2147479552"}},
		"absurd":          {`{"operation":"ReadFile","filePath":"a","bytesTransferred":1e400}`, map[string]string{"a": "reads 1"}},
		"no number":       {`{"operation":"ReadFile","filePath":"a","bytesTransferred":"12"}`, map[string]string{"a": "reads 1"}},
		"create":          {`{"operation":"NtCreateFile","filePath":"a"}`, map[string]string{"a": "creates 1"}},
		"create folder":   {`{"operation":"CreateDirectory","filePath":"a"}`, map[string]string{"a": "creates 1"}},
		"no file":         {`{"operation":"CreateFileMappingW","filePath":"a"}`, map[string]string{"a": "others 1"}},
		"open":            {`{"operation":"OpenFile","filePath":"a","flags":"O_RDONLY|O_CLOEXEC"}`, map[string]string{"a": "others 1"}},
		"open to create":  {`{"operation":"OpenFile","filePath":"a","flags":"O_WRONLY|O_CREAT"}`, map[string]string{"a": "creates 1"}},
		"failed":          {`{"operation":"OpenFile","filePath":"a","flags":"O_RDWR","status":-2}`, map[string]string{"a": "others 1, failed 1"}},
		"rename":          {`{"operation":"RenameFile","filePath":"a","newFilePath":"b","status":0}`, map[string]string{"a": "renames 1, to b"}},
		"failed rename":   {`{"operation":"RenameFile","filePath":"a","newFilePath":"b","status":-13}`, map[string]string{"a": "renames 1, failed 1"}},
		"move":            {`{"operation":"MoveFileExW","filePath":"a"}`, map[string]string{"a": "renames 1"}},
		"delete":          {`{"operation":"DeleteFile","filePath":"a"}`, map[string]string{"a": "deletes 1"}},
		"delete folder":   {`{"operation":"RemoveDirectoryW","filePath":"a"}`, map[string]string{"a": "deletes 1"}},
		"copy":            {`{"operation":"CopyFile","filePath":"a","newFilePath":"b","bytesTransferred":5}`, map[string]string{"a": "reads 1, read 5", "b": "writes 1, written 5"}},
		"failed copy":     {`{"operation":"CopyFile","filePath":"a","newFilePath":"b","bytesTransferred":0,"status":-5}`, map[string]string{"a": "reads 1, failed 1"}},
		"link":            {`{"operation":"LinkFile","filePath":"a","newFilePath":"b"}`, map[string]string{"a": "others 1", "b": "creates 1"}},
		"symbolic link":   {`{"operation":"SymlinkFile","filePath":"a","linkTarget":"b"}`, map[string]string{"a": "creates 1"}},
		"read link":       {`{"operation":"ReadLink","filePath":"a"}`, map[string]string{"a": "others 1"}},
		"close":           {`{"operation":"CloseFile","filePath":"a"}`, map[string]string{"a": "others 1"}},
		"no operation":    {`{"filePath":"a","bytesTransferred":10}`, map[string]string{"a": "others 1"}},
		"a list for data": {`["filePath"]`, map[string]string{}},
		"no path":         {`{"operation":"ReadFile","filePath":null}`, map[string]string{}},
	} {
		page := filesOf(roomy, eventsOf(t, models.TypeFile, tt.data)).Page(nil, analysis.FilesByPath, nil, 10)
		got := map[string]string{}
		for i := range page.Files {
			got[page.Files[i].Path] = counts(&page.Files[i])
		}
		if !maps.Equal(got, tt.want) || page.WithoutPath != int64(1-min(1, len(tt.want))) {
			t.Errorf("%s: %v, %d without a path, want %v", name, got, page.WithoutPath, tt.want)
		}
	}
}

func TestFilesTellWhoAndWhen(t *testing.T) {
	var datas []string
	for i := range 40 {
		pid := i % 13
		if i >= 26 {
			pid = 5
		}
		datas = append(datas, fmt.Sprintf(`{"operation":"ReadFile","filePath":"a","metadata":{"processId":%d,"processName":"p%d.exe"}}`, pid, pid))
	}
	datas = append(datas, `{"operation":"RenameFile","filePath":"a","newFilePath":"b"}`, `{"operation":"RenameFile","filePath":"a","newFilePath":"c"}`, `{"operation":"DeleteFile","filePath":"z"}`)
	page := filesOf(roomy, eventsOf(t, models.TypeFile, datas...)).Page(nil, analysis.FilesByPath, nil, 10)
	f := &page.Files[0]
	if len(page.Files) != 2 || f.ProcessCount != 14 || len(f.Processes) != 10 || *f.Processes[0].PID != 5 || f.Processes[0].Name != "p5.exe" || f.Processes[0].Count != 16 {
		t.Errorf("%+v", page)
	}
	if f.FirstSeq != 1 || f.LastSeq != 42 || f.FirstMicros != start.UnixMicro() || f.LastMicros != start.Add(41*time.Second).UnixMicro() || f.RenamedTo != "c" {
		t.Errorf("%+v", f)
	}
	if last := page.Files[1]; len(last.Processes) != 1 || last.Processes[0].PID != nil {
		t.Errorf("%+v", last)
	}
}

// TestPagesOfFiles checks that pages have no gaps and no duplicates, in the requested
// order.
func TestPagesOfFiles(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 200).Draw(t, "events")
		var events []models.Event
		for i := range n {
			path, operation := fmt.Sprintf("p%d", rapid.IntRange(0, 30).Draw(t, "path")), rapid.SampledFrom([]string{"ReadFile", "WriteFile", "CreateFile", "RenameFile", "DeleteFile"}).Draw(t, "operation")
			events = append(events, models.Event{
				Seq: int64(i + 1), EventType: models.TypeFile, Target: &path, Operation: &operation, Timestamp: start.Add(time.Duration(rapid.IntRange(0, 9).Draw(t, "second")) * time.Second),
				Data: models.JSON(fmt.Sprintf(`{"bytesTransferred":%d}`, rapid.IntRange(0, 5).Draw(t, "size"))),
			})
		}
		d := filesOf(roomy, events)
		sort := rapid.SampledFrom(analysis.FileSorts()).Draw(t, "sort")
		limit := rapid.IntRange(1, 40).Draw(t, "limit")
		var selected func(string) bool
		if rapid.Bool().Draw(t, "some") {
			selected = func(path string) bool { return strings.Contains(path, "1") }
		}
		var paged []analysis.File
		for at := (*analysis.Position)(nil); ; {
			page := d.Page(selected, sort, at, limit)
			if paged = append(paged, page.Files...); page.Next == nil {
				if page.Total != len(paged) {
					t.Fatalf("%d files of %d", len(paged), page.Total)
				}
				break
			}
			if len(page.Files) != limit {
				t.Fatalf("a page of %d files, want %d", len(page.Files), limit)
			}
			at = page.Next
		}
		number := map[analysis.FileSort]func(f *analysis.File) int64{
			analysis.FilesByPath: func(*analysis.File) int64 { return 0 }, analysis.FilesByLast: func(f *analysis.File) int64 { return f.LastMicros },
			analysis.FilesByEvents: func(f *analysis.File) int64 { return f.Reads + f.Writes + f.Creates + f.Renames + f.Deletes }, analysis.FilesByBytesRead: func(f *analysis.File) int64 { return f.BytesRead },
			analysis.FilesByBytesWritten: func(f *analysis.File) int64 { return f.BytesWritten },
			analysis.FilesByReads:        func(f *analysis.File) int64 { return f.Reads }, analysis.FilesByWrites: func(f *analysis.File) int64 { return f.Writes },
			analysis.FilesByCreates: func(f *analysis.File) int64 { return f.Creates }, analysis.FilesByRenames: func(f *analysis.File) int64 { return f.Renames },
			analysis.FilesByDeletes: func(f *analysis.File) int64 { return f.Deletes },
		}[sort]
		seen := map[string]bool{}
		for i := range paged {
			seen[paged[i].Path] = true
			if i > 0 && (number(&paged[i-1]) < number(&paged[i]) || number(&paged[i-1]) == number(&paged[i]) && paged[i-1].Path >= paged[i].Path) {
				t.Fatalf("sorted by %s, %+v comes before %+v", sort, paged[i-1], paged[i])
			}
		}
		for i := range events {
			if path := *events[i].Target; (selected == nil || selected(path)) != seen[path] {
				t.Fatalf("%s is in a page: %t", path, seen[path])
			}
		}
	})
}

// TestLimitsOfFiles checks that a rollup stays within its limits for any input, and
// that every event is counted.
func TestLimitsOfFiles(t *testing.T) {
	var events []models.Event
	long := strings.Repeat("x", 4000)
	for i := range 3000 {
		path, name := fmt.Sprint("p", i, long), fmt.Sprint("process", i)
		pid := int64(i)
		events = append(events, models.Event{Seq: int64(i + 1), EventType: models.TypeFile, Target: &path, ProcessName: &name, PID: &pid, Timestamp: start})
	}
	for i := range 3000 { // many processes of one path
		path, pid := "p0"+long, int64(-i)
		events = append(events, models.Event{Seq: int64(i + 3001), EventType: models.TypeFile, Target: &path, PID: &pid, Timestamp: start})
	}
	for name, limits := range map[string]analysis.Limits{
		"groups": {Groups: 10, Bytes: 1 << 30}, "bytes": {Groups: 1 << 20, Bytes: 100_000}, "one": {Groups: 1, Bytes: 1},
	} {
		d := filesOf(limits, events)
		page := d.Page(nil, analysis.FilesByEvents, nil, 10_000)
		total := page.Others
		for i := range page.Files {
			total += page.Files[i].Others
		}
		if total != int64(len(events)) || !page.Truncated || page.Total > limits.Groups || d.Bytes() > limits.Bytes+10_000 {
			t.Errorf("%s: %d events, %d paths, %d bytes, truncated %t", name, total, page.Total, d.Bytes(), page.Truncated)
		}
	}
}

// packet returns a packet's data.
func packet(protocol, src string, srcPort any, dst string, dstPort any, length int) string {
	text, _ := json.Marshal(map[string]any{"protocol": protocol, "src": src, "src_port": srcPort, "dst": dst, "dst_port": dstPort, "length": length})
	return string(text)
}

// line formats a conversation on one line.
func line(c *analysis.Conversation) string {
	pid := "-"
	if c.PID != nil {
		pid = fmt.Sprint(*c.PID)
	}
	return fmt.Sprintf("%s %v %s:%d-%s:%d pid %s: %d packets of %d, %d calls of %d, sent %d, received %d", c.Protocol, c.Names, c.Local.Host, c.Local.Port, c.Remote.Host, c.Remote.Port,
		pid, c.Packets, c.PacketBytes, c.Calls, c.CallBytes, c.SentBytes, c.ReceivedBytes)
}

func TestConversations(t *testing.T) {
	for name, tt := range map[string]struct {
		eventType string
		datas     []string
		want      []string // lines, sorted
		others    int64
		without   int64
	}{
		"one connection": {models.TypePacket, []string{
			packet("TCP", "10.0.0.5", 49000, "192.0.2.1", 443, 60), packet("TLSv1.3", "192.0.2.1", 443, "10.0.0.5", 49000, 1400), packet("TCP", "10.0.0.5", 49000, "192.0.2.1", 443, 54),
		}, []string{"tcp [TCP TLSv1.3] 10.0.0.5:49000-192.0.2.1:443 pid -: 3 packets of 1514, 0 calls of 0, sent 114, received 1400"}, 0, 0},
		"begun by the other end": {models.TypePacket, []string{packet("TCP", "192.0.2.1", 50000, "10.0.0.5", 22, 60)},
			[]string{"tcp [TCP] 10.0.0.5:22-192.0.2.1:50000 pid -: 1 packets of 60, 0 calls of 0, sent 0, received 60"}, 0, 0},
		"both local: the larger port": {models.TypePacket, []string{packet("HTTP", "127.0.0.1", 8080, "127.0.0.1", 40000, 60)},
			[]string{"tcp [HTTP] 127.0.0.1:40000-127.0.0.1:8080 pid -: 1 packets of 60, 0 calls of 0, sent 0, received 60"}, 0, 0},
		"a group":                   {models.TypePacket, []string{packet("MDNS", "203.0.113.9", 5353, "224.0.0.251", 5353, 60)}, []string{"udp [MDNS] 203.0.113.9:5353-224.0.0.251:5353 pid -: 1 packets of 60, 0 calls of 0, sent 60, received 0"}, 0, 0},
		"with itself":               {models.TypePacket, []string{packet("UDP", "::1", 53, "::1", 53, 60)}, []string{"udp [UDP] ::1:53-::1:53 pid -: 1 packets of 60, 0 calls of 0, sent 0, received 0"}, 0, 0},
		"DNS over both":             {models.TypePacket, []string{packet("DNS", "10.0.0.5", 4000, "10.0.0.1", 53, 60), packet("TCP", "10.0.0.5", 4001, "10.0.0.1", 53, 60), packet("DNS", "10.0.0.5", 4001, "10.0.0.1", 53, 70)}, []string{"tcp [TCP DNS] 10.0.0.5:4001-10.0.0.1:53 pid -: 2 packets of 130, 0 calls of 0, sent 130, received 0", "udp [DNS] 10.0.0.5:4000-10.0.0.1:53 pid -: 1 packets of 60, 0 calls of 0, sent 60, received 0"}, 0, 0},
		"ICMP of a packet":          {models.TypePacket, []string{packet("UDP", "10.0.0.5", 4000, "10.0.0.1", 53, 60), packet("ICMP", "10.0.0.1", 4000, "10.0.0.5", 53, 90), packet("ICMP", "10.0.0.254", 4000, "10.0.0.5", 53, 90)}, []string{"udp [UDP] 10.0.0.5:4000-10.0.0.1:53 pid -: 1 packets of 60, 0 calls of 0, sent 60, received 0"}, 0, 0},
		"ICMP of an unknown packet": {models.TypePacket, []string{packet("ICMP", "10.0.0.1", 4000, "10.0.0.5", 53, 90), packet("ICMP", "10.0.0.1", 4001, "10.0.0.5", 53, 9), packet("ICMP", "10.0.0.5", nil, "10.0.0.1", nil, 1)}, []string{"icmp [ICMP] 10.0.0.1:-1-10.0.0.5:-1 pid -: 3 packets of 100, 0 calls of 0, sent 99, received 1"}, 0, 0},
		"begun by the smaller port": {models.TypePacket, []string{strings.Replace(packet("TCP", "10.0.0.6", 80, "10.0.0.5", 4000, 60), "{", `{"info_raw":"80 → 4000 [SYN] Seq=0 Win=65495 Len=0",`, 1), packet("TCP", "10.0.0.5", 4000, "10.0.0.6", 80, 70)},
			[]string{"tcp [TCP] 10.0.0.6:80-10.0.0.5:4000 pid -: 2 packets of 130, 0 calls of 0, sent 60, received 70"}, 0, 0},
		"the direction decides": {models.TypePacket, []string{strings.Replace(packet("TCP", "192.0.2.1", 80, "10.0.0.5", 4000, 60), "{", `{"direction":"out","tcpFlags":"ACK",`, 1), strings.Replace(packet("TCP", "10.0.0.5", 4000, "192.0.2.1", 80, 70), "{", `{"direction":"in","tcpFlags":"ACK",`, 1)},
			[]string{"tcp [TCP] 192.0.2.1:80-10.0.0.5:4000 pid -: 2 packets of 130, 0 calls of 0, sent 60, received 70"}, 0, 0},
		"TCP and UDP between the same ends": {models.TypePacket, []string{strings.Replace(packet("TCP", "10.0.0.5", 4000, "192.0.2.1", 53, 60), "{", `{"direction":"out","tcpFlags":"ACK",`, 1), strings.Replace(packet("DNS", "10.0.0.5", 4000, "192.0.2.1", 53, 70), "{", `{"direction":"out",`, 1), packet("DNS", "10.0.0.5", 4000, "192.0.2.1", 53, 1)},
			[]string{"tcp [TCP DNS] 10.0.0.5:4000-192.0.2.1:53 pid -: 2 packets of 61, 0 calls of 0, sent 61, received 0", "udp [DNS] 10.0.0.5:4000-192.0.2.1:53 pid -: 1 packets of 70, 0 calls of 0, sent 70, received 0"}, 0, 0},
		"DHCP":        {models.TypePacket, []string{packet("DHCP", "0.0.0.0", 68, "255.255.255.255", 67, 300)}, []string{"udp [DHCP] 0.0.0.0:68-255.255.255.255:67 pid -: 1 packets of 300, 0 calls of 0, sent 300, received 0"}, 0, 0},
		"no ports":    {models.TypePacket, []string{packet("IGMP", "10.0.0.5", nil, "224.0.0.22", nil, 60), packet("ESP", "10.0.0.5", nil, "224.0.0.22", nil, 60)}, []string{"esp [ESP] 10.0.0.5:-1-224.0.0.22:-1 pid -: 1 packets of 60, 0 calls of 0, sent 60, received 0", "igmp [IGMP] 10.0.0.5:-1-224.0.0.22:-1 pid -: 1 packets of 60, 0 calls of 0, sent 60, received 0"}, 0, 0},
		"no address":  {models.TypePacket, []string{packet("ARP", "", nil, "", nil, 42), `{}`, `[1]`, `{"src":null}`}, nil, 0, 4},
		"an odd name": {models.TypePacket, []string{packet("CORBA", "10.0.0.5", 1, "10.0.0.6", 2, 42)}, []string{" [CORBA] 10.0.0.6:2-10.0.0.5:1 pid -: 1 packets of 42, 0 calls of 0, sent 0, received 42"}, 0, 0},
		"ports as texts and other numbers": {models.TypePacket, []string{`{"protocol":"TCP","src":"10.0.0.5","src_port":"4000","dst":"10.0.0.1","dst_port":80.0,"length":1}`, `{"protocol":"TCP","src":"10.0.0.5","src_port":4e3,"dst":"10.0.0.1","dst_port":80,"length":-5}`},
			[]string{"tcp [TCP] 10.0.0.5:4000-10.0.0.1:80 pid -: 2 packets of 1, 0 calls of 0, sent 1, received 0"}, 0, 0},
		"a protocol that is no name": {models.TypePacket, []string{packet("UDP", "10.0.0.5", 4000, "10.0.0.1", 53, 60), `{"protocol":17,"src":"10.0.0.5","src_port":4000,"dst":"10.0.0.1","dst_port":53,"length":9}`, `{"protocol":17,"src":"10.0.0.5","dst":"10.0.0.1"}`},
			[]string{"udp [UDP] 10.0.0.5:4000-10.0.0.1:53 pid -: 2 packets of 69, 0 calls of 0, sent 69, received 0"}, 1, 0},
		"what no filter could tell apart": {models.TypePacket, []string{`{"src":1,"dst":"a"}`, `{"src":"a","dst":"b","src_port":-1}`, `{"src":"a","dst":"b","src_port":"080"}`, `{"src":"a","dst":"b","src_port":1.5}`, `{"src":"a","protocol":{}}`,
			`{"src":"` + strings.Repeat("x", 600) + `"}`, `{"src":"a","src_port":1e300}`, `{"src":"a","src_port":true}`}, nil, 8, 0},
		"calls of a process": {models.TypeNetwork, []string{
			`{"operation":"Connect","protocol":"tcp","src":"10.0.0.5","src_port":4000,"dst":"192.0.2.1","dst_port":443,"metadata":{"processId":7,"processName":"a"}}`,
			`{"operation":"Send","protocol":"tcp","src":"10.0.0.5","src_port":4000,"dst":"192.0.2.1","dst_port":443,"bytesTransferred":100,"metadata":{"processId":7,"processName":"b"}}`,
			`{"operation":"Receive","protocol":"tcp","src":"10.0.0.5","src_port":4000,"dst":"192.0.2.1","dst_port":443,"bytesTransferred":30,"metadata":{"processId":7}}`,
			`{"operation":"Receive","protocol":"tcp","src":"10.0.0.5","src_port":4000,"dst":"192.0.2.1","dst_port":443,"bytesTransferred":-11,"metadata":{"processId":7}}`,
			`{"operation":"Receive","protocol":"tcp","src":"10.0.0.5","src_port":4000,"dst":"192.0.2.1","dst_port":443,"bytesTransferred":1,"metadata":{"processId":8}}`,
		}, []string{"tcp [tcp] 10.0.0.5:4000-192.0.2.1:443 pid 7: 0 packets of 0, 5 calls of 131, sent 100, received 31"}, 0, 0},
		"listening, and a Unix socket": {models.TypeNetwork, []string{
			`{"operation":"Listen","protocol":"tcp","src":"0.0.0.0","src_port":4444,"metadata":{"processId":7}}`, `{"operation":"Send","protocol":"unix","dst":"/run/x.sock","bytesTransferred":3,"metadata":{"processId":7}}`,
			`{"operation":"Socket","protocol":"netlink","metadata":{"processId":7}}`,
		}, []string{"unix [unix] :-1-/run/x.sock:-1 pid 7: 0 packets of 0, 1 calls of 3, sent 3, received 0"}, 0, 1},
	} {
		events := eventsOf(t, tt.eventType, tt.datas...)
		page := conversationsOf(roomy, events).Page(analysis.ConversationsByBytes, nil, 100)
		var got []string
		for i := range page.Conversations {
			got = append(got, line(&page.Conversations[i]))
		}
		slices.Sort(got)
		if !slices.Equal(got, tt.want) || page.Others != tt.others || page.WithoutAddress != tt.without || page.Total != len(got) {
			t.Errorf("%s: %d others, %d without an address\ngot  %s\nwant %s", name, page.Others, page.WithoutAddress, strings.Join(got, "\n     "), strings.Join(tt.want, "\n     "))
		}
		checkFilters(t, name, events, page)
	}
}

// reporter is the part that testing.T and rapid.T share.
type reporter interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// checkFilters checks that the filter of each conversation selects exactly the
// conversation's events.
func checkFilters(t reporter, name string, events []models.Event, page analysis.ConversationPage) {
	t.Helper()
	ids, total := map[string]bool{}, int64(0)
	for i := range page.Conversations {
		c := &page.Conversations[i]
		ids[c.ID] = true
		where, err := filter.Parse(c.Filter)
		if err != nil {
			t.Fatalf("%s: %s: %v", name, c.Filter, err)
		}
		n, size := int64(0), int64(0)
		firstSeq, lastSeq := int64(math.MaxInt64), int64(0)
		for j := range events {
			if e := &events[j]; where.Match(e) {
				n++
				firstSeq, lastSeq = min(firstSeq, e.Seq), max(lastSeq, e.Seq)
				var data struct{ Length json.Number }
				if json.Unmarshal(e.Data, &data) == nil {
					if length, err := data.Length.Int64(); err == nil {
						size += max(length, 0)
					}
				}
			}
		}
		if total += n; n != c.Packets+c.Calls+c.Errors || firstSeq != c.FirstSeq || lastSeq != c.LastSeq || size < c.PacketBytes || size > c.PacketBytes && c.Errors == 0 {
			t.Errorf("%s: %s selects %d events of %d bytes, %d to %d, but the conversation is %+v", name, c.Filter, n, size, firstSeq, lastSeq, *c)
		}
	}
	net := int64(0)
	for i := range events {
		if slices.Contains(analysis.ConversationTypes(), events[i].EventType) {
			net++
		}
	}
	if total+page.Others+page.WithoutAddress+page.WithoutRemote != net || len(ids) != len(page.Conversations) {
		t.Errorf("%s: %d of %d events are in conversations, %d are others, %d without an address; %d IDs for %d", name, total, net, page.Others, page.WithoutAddress, len(ids), len(page.Conversations))
	}
}

// recordedEvents returns what this project's agent sent about a small program.
func recordedEvents(t testing.TB, name string) (events []models.Event) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("testdata/agent", name+".ndjson"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(content) {
		in, err := wire.Event(line, start)
		if err != nil {
			t.Fatal(err)
		}
		in.Seq = int64(len(events) + 1)
		events = append(events, in.Event)
	}
	return events
}

// TestConversationsOfTheAgent checks the conversations of programs that this project's
// agent watched as root on loopback, so that it watched both ends.
func TestConversationsOfTheAgent(t *testing.T) {
	for name, tt := range map[string]struct {
		want      []string
		listeners []string
	}{
		"tcp": {[]string{
			"tcp net 21116 127.0.0.1:47554 - net 21102 127.0.0.1:18080: 10 packets of 5685, 9 calls of 5009, opened 1, sent 413, received 5272",
			"tcp net 21116 127.0.0.1:47562 - net 21102 127.0.0.1:18080: 10 packets of 5685, 9 calls of 5009, opened 1, sent 413, received 5272",
		}, []string{"tcp 0.0.0.0:18080 net 21102"}},
		"tcp6":   {[]string{"tcp net 21184 ::1:48434 - net 21165 ::1:18081: 10 packets of 5885, 9 calls of 5009, opened 1, sent 533, received 5352"}, []string{"tcp :::18081 net 21165"}},
		"mapped": {[]string{"tcp net 21227 127.0.0.1:50432 - net 21212 127.0.0.1:18082: 10 packets of 692, 9 calls of 16, opened 1, sent 347, received 345"}, []string{"tcp :::18082 net 21212"}},
		// The client binds a port before it connects.
		"bound": {[]string{"tcp net 21323 127.0.0.1:29000 - net 21307 127.0.0.1:18083: 10 packets of 5685, 10 calls of 5009, opened 1, sent 413, received 5272"}, []string{"tcp 0.0.0.0:18083 net 21307"}},
		// Two connections, one after the other, between the same ends.
		"reuse": {[]string{"tcp net 4445 127.0.0.1:29500 - net 4421 127.0.0.1:18084: 20 packets of 11370, 20 calls of 10018, opened 2, sent 826, received 10544"}, []string{"tcp 0.0.0.0:18084 net 4421"}},
		// The calls do not have the port of the client.
		"refused": {[]string{"tcp net 21362 127.0.0.1:37076 - 127.0.0.1:18999: 2 packets of 128, 2 calls of 0, opened 1, sent 74, received 54"}, nil},
		"nonblocking": {[]string{
			"tcp nb 26923 127.0.0.1:33926 - nb 26909 127.0.0.1:18085: 10 packets of 692, 9 calls of 16, opened 1, sent 413, received 279",
			"tcp nb 26923 127.0.0.1:54264 - 127.0.0.1:18998: 2 packets of 128, 2 calls of 0, opened 1, sent 74, received 54",
			"tcp nb 26923 192.0.2.2:51222 - 192.0.2.7:18998: 0 packets of 0, 2 calls of 0, opened 1, sent 0, received 0",
		}, []string{"tcp 127.0.0.1:18085 nb 26909"}},
		// An ICMP packet says that nobody listens.
		"dns":  {[]string{"udp net 21403 127.0.0.1:36251 - 127.0.0.1:53: 1 packets of 67, 2 calls of 25, 1 errors, sent 67, received 0"}, nil},
		"dnsc": {[]string{"udp net 21481 127.0.0.1:54913 - 127.0.0.1:53: 1 packets of 67, 4 calls of 25, 1 errors, sent 67, received 0"}, nil},
		"dns6": {[]string{"udp net 21534 ::1:37602 - ::1:53: 1 packets of 87, 4 calls of 25, 1 errors, sent 87, received 0"}, nil},
		"dnsb": {[]string{"udp net 21576 127.0.0.1:29700 - 127.0.0.1:53: 1 packets of 67, 3 calls of 25, 1 errors, sent 67, received 0"}, nil},
		// The sockets have no local address, and the client does not ask who sent the answer.
		"udp":  {[]string{"udp net 21641 127.0.0.1:50016 - net 21629 127.0.0.1:18090: 4 packets of 198, 11 calls of 30, sent 94, received 104"}, nil},
		"udp6": {[]string{"udp net 21695 ::1:55404 - net 21681 ::1:18091: 4 packets of 278, 11 calls of 30, sent 134, received 144"}, nil},
		"unix": {[]string{
			"raw python3.11 5346 0.0.0.0:1 - python3.11 5346 127.0.0.1: 2 packets of 100, 3 calls of 88, sent 100, received 0", // a ping of itself
			"unix python3.11 5362  - python3.11 5346 /tmp/x.sock: 0 packets of 0, 10 calls of 14, opened 1, sent 8, received 6",
		}, nil},
	} {
		events := recordedEvents(t, name)
		page := conversationsOf(roomy, events).Page(analysis.ConversationsByLast, nil, 100)
		var got, listeners []string
		for i := range page.Conversations {
			got = append(got, ends(&page.Conversations[i]))
		}
		for _, l := range page.Listeners {
			listeners = append(listeners, fmt.Sprintf("%s %s:%d %s %d", l.Protocol, l.Local.Host, l.Local.Port, l.Process, *l.PID))
		}
		slices.Sort(got)
		if !slices.Equal(got, tt.want) || !slices.Equal(listeners, tt.listeners) {
			t.Errorf("%s: %q\ngot  %s\nwant %s", name, listeners, strings.Join(got, "\n     "), strings.Join(tt.want, "\n     "))
		}
		checkFilters(t, name, events, page)
		// Without packets, as an agent without the right to capture sends them.
		calls := conversationsOf(roomy, slices.DeleteFunc(slices.Clone(events), func(e models.Event) bool { return e.EventType == models.TypePacket })).Page(analysis.ConversationsByLast, nil, 100)
		if len(calls.Conversations) != len(page.Conversations) {
			t.Errorf("%s: %d conversations by calls alone, %d with packets", name, len(calls.Conversations), len(page.Conversations))
		}
		for i := range calls.Conversations {
			if c := &calls.Conversations[i]; c.Bytes != c.CallBytes || !c.ByCalls {
				t.Errorf("%s: %s", name, ends(c))
			}
		}
		// Packets alone show the same ends, and the same sides.
		packets := conversationsOf(roomy, slices.DeleteFunc(slices.Clone(events), func(e models.Event) bool { return e.EventType != models.TypePacket })).Page(analysis.ConversationsByLast, nil, 100)
		for i := range packets.Conversations {
			c := &packets.Conversations[i]
			same := func(other analysis.Conversation) bool {
				return c.Local == other.Local && c.Remote == other.Remote && c.SentBytes == other.SentBytes && c.ReceivedBytes == other.ReceivedBytes
			}
			if !slices.ContainsFunc(page.Conversations, same) && name != "unix" {
				t.Errorf("%s: by packets alone %s", name, ends(c))
			}
		}
	}
}

// ends formats a conversation with the processes at its ends.
func ends(c *analysis.Conversation) string {
	end := func(pid *int64, name string, e analysis.End) string {
		text := e.Host
		if e.Port >= 0 {
			text += fmt.Sprint(":", e.Port)
		}
		if pid != nil {
			text = fmt.Sprint(name, " ", *pid, " ", text)
		}
		return text
	}
	text := fmt.Sprintf("%s %s - %s: %d packets of %d, %d calls of %d", c.Protocol, end(c.PID, c.Process, c.Local), end(c.RemotePID, c.RemoteProcess, c.Remote), c.Packets, c.PacketBytes, c.Calls, c.CallBytes)
	if c.Errors > 0 {
		text += fmt.Sprintf(", %d errors", c.Errors)
	}
	if c.Opened > 0 {
		text += fmt.Sprintf(", opened %d", c.Opened)
	}
	return text + fmt.Sprintf(", sent %d, received %d", c.SentBytes, c.ReceivedBytes)
}

func TestConversationsOfFixtures(t *testing.T) {
	events := fixtureEvents(t)
	d := conversationsOf(analysis.Limits{Groups: 10_000, Bytes: 1 << 30}, events)
	page := d.Page(analysis.ConversationsByPackets, nil, 10_000)
	checkFilters(t, "fixtures", events, page)
	protocols := map[string]int{}
	for _, c := range page.Conversations {
		protocols[c.Protocol]++
		if len(c.Names) > 3 {
			t.Errorf("%+v", c)
		}
	}
	if page.WithoutAddress != 5 || page.Others != 0 || protocols["tcp"] == 0 || protocols["udp"] == 0 || protocols["icmp"] == 0 || protocols["icmpv6"] == 0 || len(protocols) != 4 {
		t.Errorf("%v, %d without an address", protocols, page.WithoutAddress)
	}
}

// TestFiltersSelectTheirConversations checks that the filter of a conversation selects
// its events, for events of any shape.
func TestFiltersSelectTheirConversations(t *testing.T) {
	value := rapid.SampledFrom([]string{`"10.0.0.1"`, `"192.0.2.1"`, `"a\"\\b*?"`, `"\ud800"`, `"\u0000"`, `""`, `null`, `1`, `{}`, `[]`, `"ICMP"`, `"TCP"`, `"and"`, `"0.0.0.0"`, `"::"`, `"10.0.0.2"`})
	protocol := rapid.SampledFrom([]string{`"tcp"`, `"udp"`, `"SCTP"`, `"sctp"`, `"ICMP"`, `"ICMPv6"`, `"icmp"`, `"raw"`, `"unix"`, `"TCP"`, `"DNS"`, `"and"`, `""`, `null`, `1`, `{}`, `"\ud800"`})
	port := rapid.SampledFrom([]string{`1`, `2`, `1.0`, `10e-1`, `"1"`, `"01"`, `0`, `-0`, `-1`, `null`, `1.5`, `true`, `1e10`, `99999999999999999999`, `"x"`})
	rapid.Check(t, func(t *rapid.T) {
		var events []models.Event
		for i := range rapid.IntRange(1, 40).Draw(t, "events") {
			var parts []string
			add := func(key string, of *rapid.Generator[string]) {
				if rapid.IntRange(0, 4).Draw(t, "has") > 0 {
					parts = append(parts, fmt.Sprintf("%q:%s", key, of.Draw(t, key)))
				}
			}
			add("protocol", protocol)
			add("src", value)
			add("src_port", port)
			add("dst", value)
			add("dst_port", port)
			add("direction", rapid.SampledFrom([]string{`"in"`, `"out"`, `null`, `1`}))
			add("tcpFlags", rapid.SampledFrom([]string{`"SYN"`, `null`}))
			add("operation", rapid.SampledFrom([]string{`"Listen"`, `"Bind"`, `"Send"`, `"Close"`}))
			add("bytesTransferred", port)
			add("pid", rapid.SampledFrom([]string{"1", "2", "null"}))
			eventType := rapid.SampledFrom(analysis.ConversationTypes()).Draw(t, "type")
			in, err := wire.Event([]byte(`{"event_type":"`+eventType+`","data":{`+strings.Join(parts, ",")+`}}`), start)
			if err != nil {
				t.Fatal(err)
			}
			in.Seq = int64(i + 1)
			events = append(events, in.Event)
		}
		checkFilters(t, "any", events, conversationsOf(roomy, events).Page(analysis.ConversationsByLast, nil, 100))
	})
}

func TestHostsOfAnswers(t *testing.T) {
	info := func(protocol, text string) models.Event {
		return eventsOf(t, models.TypePacket, string(must(json.Marshal(map[string]any{"protocol": protocol, "src": "10.0.0.1", "src_port": 53, "dst": "10.0.0.5", "dst_port": 4000, "info_raw": text}))))[0]
	}
	call := func(dns string) models.Event {
		return eventsOf(t, models.TypeNetwork, `{"operation":"Receive","protocol":"udp","src":"10.0.0.5","dst":"10.0.0.1","dst_port":53,"dns":`+dns+`}`)[0]
	}
	for name, tt := range map[string]struct {
		events []models.Event
		want   []string // of 192.0.2.1
	}{
		"none":               {nil, nil},
		"an answer":          {[]models.Event{info("DNS", "Standard query response 0x0010 A example.com A 192.0.2.1")}, []string{"example.com"}},
		"through an alias":   {[]models.Event{info("DNS", "Standard query response 0x0010 A WWW.example.com CNAME example.net A 198.51.100.1 A 192.0.2.1 OPT")}, []string{"www.example.com"}},
		"IPv4 in IPv6":       {[]models.Event{info("DNS", "Standard query response 0x0010 AAAA example.com AAAA ::ffff:192.0.2.1")}, []string{"example.com"}},
		"a question":         {[]models.Event{info("DNS", "Standard query 0x0010 A example.com")}, nil},
		"an error":           {[]models.Event{info("DNS", "Standard query response 0x0013 No such name A example.com A 192.0.2.1")}, nil},
		"another protocol":   {[]models.Event{info("HTTP", "Standard query response 0x0010 A example.com A 192.0.2.1")}, nil},
		"no address":         {[]models.Event{info("DNS", "Standard query response 0x0010 A example.com A 192.0.2.1x"), info("DNS", "Standard query response 0x0010 A A"), info("DNS", "Standard query response 0x0010")}, nil},
		"not twice":          {[]models.Event{info("DNS", "Standard query response 0x0010 A a.example A 192.0.2.1 A 192.0.2.1"), info("DNS", "Standard query response 0x0011 A A.EXAMPLE A 192.0.2.1")}, []string{"a.example"}},
		"at most five":       {[]models.Event{info("DNS", "Standard query response 0x1 A a A 192.0.2.1"), info("DNS", "Standard query response 0x1 A b A 192.0.2.1"), info("DNS", "Standard query response 0x1 A c A 192.0.2.1"), info("DNS", "Standard query response 0x1 A d A 192.0.2.1"), info("DNS", "Standard query response 0x1 A e A 192.0.2.1"), info("DNS", "Standard query response 0x1 A f A 192.0.2.1")}, []string{"a", "b", "c", "d", "e"}},
		"our agent's":        {[]models.Event{call(`[{"id":1,"response":true,"code":"NOERROR","questions":[{"name":"example.com.","type":"A"}],"answers":[{"name":"example.com.","type":"CNAME","data":"example.net."},{"name":"example.net.","type":"A","data":"192.0.2.1","ttl":60}]}]`)}, []string{"example.com"}},
		"without a question": {[]models.Event{call(`[{"response":true,"answers":[{"name":"example.net","type":"A","data":"192.0.2.1"}]}]`)}, []string{"example.net"}},
		"asked":              {[]models.Event{call(`[{"response":false,"questions":[{"name":"example.com","type":"A"}],"answers":[{"name":"x","type":"A","data":"192.0.2.1"}]}]`)}, nil},
		"the second message": {[]models.Event{call(`[{"response":false},{"response":true,"questions":[{"name":"example.com"}],"answers":[{"type":"A","data":"192.0.2.1"}]}]`)}, []string{"example.com"}},
		"nonsense":           {[]models.Event{call(`{"response":true}`), call(`[1,null,{"response":true,"answers":5}]`), call(`[{"response":true,"answers":[1,{"type":"A"},{"type":"A","data":1}]}]`)}, nil},
	} {
		events := slices.Concat(tt.events, eventsOf(t, models.TypePacket, packet("TCP", "10.0.0.5", 5000, "192.0.2.1", 443, 1)))
		d := conversationsOf(roomy, events)
		found := false
		page := d.Page(analysis.ConversationsByBytes, nil, 100)
		d.NameHosts(page.Conversations)
		for _, c := range page.Conversations {
			if c.Remote.Host != "192.0.2.1" {
				continue
			}
			if found = true; !slices.Equal(c.Hosts, tt.want) {
				t.Errorf("%s: %q, want %q", name, c.Hosts, tt.want)
			}
		}
		if !found {
			t.Errorf("%s: there is no conversation", name)
		}
	}
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func TestLimitsOfConversations(t *testing.T) {
	var datas []string
	for i := range 2000 {
		datas = append(datas,
			packet(fmt.Sprint("P", i%100), fmt.Sprintf("10.0.%d.%d", i/250, i%250), 1, "192.0.2.1", 2, 10),
			fmt.Sprintf(`{"protocol":"DNS","src":"10.0.0.1","src_port":53,"dst":"10.0.0.5","dst_port":4000,"info_raw":"Standard query response 0x1 A n%d.example A 10.%d.%d.1"}`, i, i/250, i%250),
		)
	}
	events := eventsOf(t, models.TypePacket, datas...)
	for name, limits := range map[string]analysis.Limits{"groups": {Groups: 10, Bytes: 1 << 30}, "bytes": {Groups: 1 << 20, Bytes: 50_000}} {
		d := conversationsOf(limits, events)
		page := d.Page(analysis.ConversationsByLast, nil, 10_000)
		total := page.Others
		for _, c := range page.Conversations {
			if total += c.Packets; len(c.Names) > 16 {
				t.Errorf("%s: %d names", name, len(c.Names))
			}
		}
		if total != int64(len(events)) || !page.Truncated || page.Total > limits.Groups || d.Bytes() > limits.Bytes+5_000 {
			t.Errorf("%s: %d events, %d conversations, %d bytes, truncated %t", name, total, page.Total, d.Bytes(), page.Truncated)
		}
	}
}

// FuzzAdd checks that a rollup neither fails nor loses an event, whatever the data.
func FuzzAdd(f *testing.F) {
	for _, seed := range []string{packet("TCP", "a", 1, "b", 2, 3), `{"dns":[{"response":true,"answers":[{"type":"A","data":"1.2.3.4","name":"x"}]}]}`, `{"filePath":"a","operation":"CopyFile","newFilePath":"b","bytesTransferred":1}`, `null`, `{"src_port":-0,"dst":"\u0000"}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var events []models.Event
		for i, eventType := range []string{models.TypePacket, models.TypeNetwork, models.TypeFile} {
			in, err := wire.Event(slices.Concat([]byte(`{"event_type":"`+eventType+`","data":`), data, []byte(`}`)), start)
			if err != nil {
				return
			}
			in.Seq = int64(i + 1)
			events = append(events, in.Event)
		}
		page := conversationsOf(roomy, events).Page(analysis.ConversationsByLast, nil, 10)
		n := page.Others + page.WithoutAddress
		for _, c := range page.Conversations {
			if n += c.Packets + c.Calls; c.PacketBytes < 0 || c.CallBytes < 0 {
				t.Errorf("%+v", c)
			}
			if where, err := filter.Parse(c.Filter); err != nil || !where.Match(&events[c.FirstSeq-1]) {
				t.Errorf("%s does not select its event: %v", c.Filter, err)
			}
		}
		if n != 2 {
			t.Errorf("%d events are counted, want 2: %+v", n, page)
		}
	})
}
