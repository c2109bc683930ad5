package bundle_test

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"ospulse/internal/bundle"
	"ospulse/internal/models"
	"ospulse/internal/wire"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 123456000, time.UTC)

// eventOf decodes an event and numbers it.
func eventOf(t testing.TB, seq int64, body string) models.Event {
	t.Helper()
	in, err := wire.Event([]byte(body), noon)
	if err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	in.ID, in.SessionID, in.Seq = uint64(seq), "s", seq
	in.CreatedAt, in.UpdatedAt = noon, noon
	return in.Event
}

var limits = bundle.Limits{MaxBytes: 64 << 20, MaxLineBytes: 1 << 20}

// pages returns values in pages of two.
func pages[T any](values []T) iter.Seq2[[]T, error] {
	return func(yield func([]T, error) bool) {
		for page := range slices.Chunk(values, 2) {
			if !yield(page, nil) {
				return
			}
		}
	}
}

const sample = "MZ a program"

// exampleSession returns a session with every field set.
func exampleSession() (*models.Session, []models.Process) {
	sha := hex.EncodeToString(sum([]byte(sample)))
	started, ended, parent := noon, noon.Add(time.Hour), int64(1)
	session := &models.Session{
		ID: "s", Name: "Näme", Notes: "a\nb", Tags: []string{"x", "ü"}, FileName: `C:\a "b".exe`, FileSHA256: &sha, FileSizeBytes: int64(len(sample)),
		Mode: models.ModePIDs, ChosenPIDs: []int64{4, 5}, EventCount: 3, CreatedAt: noon, UpdatedAt: noon.Add(time.Second), MonitoringStarted: &started, MonitoringEnded: &ended,
		End: models.SessionEnd{Reason: models.EndSignal, Signal: &parent, Text: "a"},
	}
	processes := []models.Process{
		{PID: 4, StartedAt: noon, FirstSeen: noon, LastSeen: ended, EventCounts: map[string]int64{"x": 2}},
		{PID: 4, StartedAt: ended, StartKnown: true, FirstSeen: noon, LastSeen: ended, ProcessInfo: models.ProcessInfo{ParentPID: &parent, ParentStartedAt: &started, Name: "a", Image: "/a", CommandLine: "a -b"}},
		{PID: 5, StartedAt: noon, FirstSeen: noon, LastSeen: noon},
	}
	return session, processes
}

func sum(content []byte) []byte {
	hash := sha256.Sum256(content)
	return hash[:]
}

func exampleEvents(t testing.TB) []models.Event {
	events := []models.Event{
		eventOf(t, 1, `{"event_type":"x","timestamp":"soon","data":{"a":"\u0000","a":1}}`),
		eventOf(t, 2, `{"event_type":"file_operation","source":"c","data":{"filePath":"C:\\a<b>","metadata":{"processId":7,"processName":"cmd.exe"}}}`),
		eventOf(t, 3, `{"event_type":"y","data":"`+strings.Repeat("z", 5000)+`"}`),
	}
	for i := range events {
		events[i].ID = 0
	}
	return events
}

// bundleOf writes the example as a bundle.
func bundleOf(t testing.TB) []byte {
	t.Helper()
	session, processes := exampleSession()
	var out bytes.Buffer
	n, err := bundle.Write(&out, bundle.Contents{
		Session: session, Events: pages(exampleEvents(t)), Processes: pages(processes), File: strings.NewReader(sample), ProductVersion: "1.2.3", CreatedAt: noon,
	})
	if err != nil || n != 3 {
		t.Fatal(n, err)
	}
	return out.Bytes()
}

// read reads a bundle to its end.
func read(content []byte, limits bundle.Limits) error {
	bundle, err := bundle.Open(bytes.NewReader(content), int64(len(content)), limits)
	if err != nil {
		return err
	}
	return bundle.Verify(func() error { return nil })
}

func TestBundleComesBack(t *testing.T) {
	content := bundleOf(t)
	bundle, err := bundle.Open(bytes.NewReader(content), int64(len(content)), limits)
	if err != nil {
		t.Fatal(err)
	}
	if err := bundle.Verify(func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	session, processes := exampleSession()
	if !reflect.DeepEqual(bundle.Session, session) {
		t.Errorf("the session is\n%+v, want\n%+v", bundle.Session, session)
	}
	if got := collect(t, bundle.Events()); !reflect.DeepEqual(got, exampleEvents(t)) {
		t.Errorf("the events are\n%+v, want\n%+v", got, exampleEvents(t))
	}
	for i := range processes {
		if processes[i].EventCounts == nil {
			processes[i].EventCounts = map[string]int64{}
		}
	}
	if got := collect(t, bundle.ProcessPages()); !reflect.DeepEqual(got, processes) {
		t.Errorf("the processes are\n%+v, want\n%+v", got, processes)
	}
	file, err := bundle.File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if got, err := io.ReadAll(file); err != nil || string(got) != sample {
		t.Errorf("the file is %q, %v", got, err)
	}
}

func collect[T any](t *testing.T, pages iter.Seq2[[]T, error]) []T {
	t.Helper()
	var all []T
	for page, err := range pages {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, page...)
	}
	return all
}

// TestBundleOfVersion1 checks that a bundle of version 1, which does not say how its
// session ended, is still read.
func TestBundleOfVersion1(t *testing.T) {
	const end = ",\n  \"end\": {\n    \"reason\": \"signal\",\n    \"exitCode\": null,\n    \"signal\": 1,\n    \"text\": \"a\"\n  }"
	list := parts(t, edit("session.json", end, "")(t))
	if err := read(pack(t, list), limits); err == nil || !strings.Contains(err.Error(), "end is missing") {
		t.Errorf("of version 2: %v", err)
	}
	content := pack(t, resealed(t, list, func(m map[string]any) { m["version"] = 1 }))
	bundle, err := bundle.Open(bytes.NewReader(content), int64(len(content)), limits)
	if err != nil {
		t.Fatal(err)
	}
	if err := bundle.Verify(func() error { return nil }); err != nil || bundle.Session.End != (models.SessionEnd{}) {
		t.Errorf("%v, %+v", err, bundle.Session.End)
	}
}

// part is an entry of a test's zip.
type part struct {
	name, content string
	mode          fs.FileMode
	method        uint16
	flags         uint16
}

// parts takes a bundle apart.
func parts(t testing.TB, content []byte) []part {
	t.Helper()
	archive, err := zip.NewReader(bytes.NewReader(content), int64(len(content)))
	if err != nil {
		t.Fatal(err)
	}
	var list []part
	for _, file := range archive.File {
		r, err := file.Open()
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, part{name: file.Name, content: string(text), mode: 0o644, method: zip.Deflate})
	}
	return list
}

// pack returns a zip of parts.
func pack(t testing.TB, list []part) []byte {
	t.Helper()
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	w.RegisterCompressor(99, func(w io.Writer) (io.WriteCloser, error) { return nopCloser{w}, nil })
	for _, p := range list {
		header := &zip.FileHeader{Name: p.name, Method: p.method, Flags: p.flags}
		header.SetMode(p.mode)
		to, err := w.CreateHeader(header)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(to, p.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// resealed updates the manifest to match the other parts, so that the reader must find
// the fault in the parts themselves.
func resealed(t testing.TB, list []part, change func(manifest map[string]any)) []part {
	t.Helper()
	i := slices.IndexFunc(list, func(p part) bool { return p.name == "manifest.json" })
	var manifest map[string]any
	if err := json.Unmarshal([]byte(list[i].content), &manifest); err != nil {
		t.Fatal(err)
	}
	entries := map[string]any{}
	for _, p := range list {
		if p.name != "manifest.json" {
			entries[p.name] = map[string]any{"size_bytes": len(p.content), "sha256": hex.EncodeToString(sum([]byte(p.content)))}
		}
	}
	manifest["entries"] = entries
	if change != nil {
		change(manifest)
	}
	text, err := json.Marshal(manifest)
	if err != nil {
		t.Fatal(err)
	}
	list[i].content = string(text)
	return list
}

// edit returns a bundle in which the text of a part is replaced, and resealed.
func edit(name, old, with string) func(t *testing.T) []byte {
	return func(t *testing.T) []byte {
		list := parts(t, bundleOf(t))
		for i := range list {
			if list[i].name == name {
				if !strings.Contains(list[i].content, old) {
					t.Fatalf("%s has no %s: %s", name, old, list[i].content)
				}
				list[i].content = strings.Replace(list[i].content, old, with, 1)
			}
		}
		return pack(t, resealed(t, list, nil))
	}
}

// altered returns a bundle of the parts that change returns.
func altered(change func(list []part) []part) func(t *testing.T) []byte {
	return func(t *testing.T) []byte { return pack(t, change(parts(t, bundleOf(t)))) }
}

// sealed returns a bundle whose manifest is changed.
func sealed(change func(manifest map[string]any)) func(t *testing.T) []byte {
	return func(t *testing.T) []byte { return pack(t, resealed(t, parts(t, bundleOf(t)), change)) }
}

func added(p part) func(t *testing.T) []byte {
	return altered(func(list []part) []part { return append(list, p) })
}

func without(name string) func(list []part) []part {
	return func(list []part) []part {
		return slices.DeleteFunc(list, func(p part) bool { return strings.HasPrefix(p.name, name) })
	}
}

// TestBundleWithByteOrderMarks checks that an editor's byte order marks do not make a
// bundle unreadable.
func TestBundleWithByteOrderMarks(t *testing.T) {
	list := parts(t, bundleOf(t))
	for i := range list {
		if strings.HasSuffix(list[i].name, "json") {
			list[i].content = "\ufeff" + list[i].content
		}
	}
	content := pack(t, list)
	if err := read(content, limits); err == nil {
		t.Error("an entry is not what the manifest says, and was taken")
	}
	list = parts(t, bundleOf(t))
	for i := range list {
		if strings.HasSuffix(list[i].name, "json") && list[i].name != "manifest.json" {
			list[i].content = "\ufeff" + list[i].content
		}
	}
	list = resealed(t, list, nil)
	for i := range list {
		if list[i].name == "manifest.json" {
			list[i].content = "\ufeff" + list[i].content
		}
	}
	if err := read(pack(t, list), limits); err != nil {
		t.Error(err)
	}
}

func TestHostileBundlesAreRefused(t *testing.T) {
	regular := func(name string) part { return part{name: name, content: "x", mode: 0o644} }
	changed := func(change func(p *part)) func(t *testing.T) []byte {
		return altered(func(list []part) []part {
			change(&list[1]) // events.ndjson
			return list
		})
	}
	long := strings.Repeat("x", 5000)
	sha := hex.EncodeToString(sum([]byte(sample)))
	for name, tt := range map[string]struct {
		make func(t *testing.T) []byte
		want string
	}{
		"nothing":              {func(*testing.T) []byte { return nil }, "no zip"},
		"no zip":               {func(*testing.T) []byte { return []byte(strings.Repeat("PK\x03\x04", 500)) }, "no zip"},
		"cut at the end":       {func(t *testing.T) []byte { b := bundleOf(t); return b[:len(b)-30] }, "no zip"},
		"cut in the middle":    {func(t *testing.T) []byte { b := bundleOf(t); return b[:len(b)/2] }, "no zip"},
		"cut at the beginning": {func(t *testing.T) []byte { return bundleOf(t)[100:] }, "damaged"},
		"a hole":               {func(t *testing.T) []byte { b := bundleOf(t); return slices.Delete(b, 100, 110) }, ""},
		"a flipped byte": {func(t *testing.T) []byte {
			b := bundleOf(t)
			i := bytes.Index(b, []byte("events.ndjson"))
			b[i+40] ^= 0x55
			return b
		}, ""},
		"another zip":         {func(t *testing.T) []byte { return pack(t, []part{regular("word/document.xml")}) }, "which no bundle has"},
		"empty zip":           {func(t *testing.T) []byte { return pack(t, nil) }, "no entry manifest.json"},
		"unknown entry":       {added(regular("more.txt")), `"more.txt", which no bundle has`},
		"path traversal":      {added(regular("../../etc/passwd")), "which no bundle has"},
		"absolute path":       {added(regular("/etc/passwd")), "which no bundle has"},
		"backslashes":         {added(regular(`..\..\windows\x`)), "which no bundle has"},
		"drive":               {added(regular(`C:/x`)), "which no bundle has"},
		"traversal in a file": {added(regular("file/../session.json")), "which no bundle has"},
		"folder":              {added(part{name: "file/", mode: fs.ModeDir | 0o755}), "which no bundle has"},
		"NUL in a name":       {added(regular("session.json\x00")), "which no bundle has"},
		"another case":        {added(regular("SESSION.JSON")), "which no bundle has"},
		"entry twice":         {added(regular("session.json")), "session.json twice"},
		"no session":          {altered(without("session.json")), "session.json"},
		"no manifest":         {altered(without("manifest.json")), "no entry manifest.json"},
		"no events":           {func(t *testing.T) []byte { return pack(t, resealed(t, without("events")(parts(t, bundleOf(t))), nil)) }, "no entry events.ndjson"},
		"no processes": {func(t *testing.T) []byte {
			return pack(t, resealed(t, without("processes")(parts(t, bundleOf(t))), nil))
		}, "no entry processes.ndjson"},
		"file not in the zip":   {altered(without("file/")), "that the zip has not"},
		"file not in manifest":  {sealed(func(m map[string]any) { delete(m["entries"].(map[string]any), "file/"+sha) }), "does not name the entry"},
		"symlink":               {changed(func(p *part) { p.mode = fs.ModeSymlink | 0o777 }), "no regular file"},
		"device":                {changed(func(p *part) { p.mode = fs.ModeDevice | 0o600 }), "no regular file"},
		"encrypted":             {changed(func(p *part) { p.flags = 1 }), "is encrypted"},
		"unknown compression":   {changed(func(p *part) { p.method = 99 }), "compressed by method 99"},
		"changed without seal":  {changed(func(p *part) { p.content = strings.Replace(p.content, `"seq":2`, `"seq":3`, 1) }), "events.ndjson"},
		"other bytes":           {changed(func(p *part) { p.content = strings.Replace(p.content, `"pid":7`, `"pid":8`, 1) }), "SHA-256 differs"},
		"longer than it says":   {changed(func(p *part) { p.content += strings.Repeat(" ", 100_000) }), "larger than the"},
		"shorter than it says":  {changed(func(p *part) { p.content = "" }), "the entry events.ndjson"},
		"another format":        {sealed(func(m map[string]any) { m["format"] = "zip" }), "another kind of file"},
		"later version":         {sealed(func(m map[string]any) { m["version"] = 7; m["new"] = true }), "made by a newer OS-Pulse"},
		"version 0":             {sealed(func(m map[string]any) { m["version"] = 0 }), "version must be 1 or more"},
		"version of no number":  {sealed(func(m map[string]any) { m["version"] = "1" }), "manifest.json"},
		"unknown end":           {edit("session.json", `"reason": "signal"`, `"reason": "x"`), "end.reason must be"},
		"end of no text":        {edit("session.json", `"text": "a"`, `"text": "\u0000"`), ""},
		"unknown member":        {sealed(func(m map[string]any) { m["new"] = true }), `unknown field "new"`},
		"too few events":        {sealed(func(m map[string]any) { m["events"] = 2 }), "counts 3 events"},
		"negative count":        {sealed(func(m map[string]any) { m["processes"] = -1 }), "cannot be negative"},
		"wrong process count":   {sealed(func(m map[string]any) { m["processes"] = 4 }), "processes.ndjson has 3 lines; the bundle counts 4"},
		"of another session":    {sealed(func(m map[string]any) { m["session_id"] = "t" }), `of session "s"`},
		"claims to be huge":     {sealed(func(m map[string]any) { entry(m, "events.ndjson")["size_bytes"] = 1 << 50 }), "more than the 64 MB"},
		"claims beyond a zip":   {sealed(func(m map[string]any) { entry(m, "events.ndjson")["size_bytes"] = 60 << 20 }), "which no zip does"},
		"overflowing sizes":     {sealed(func(m map[string]any) { entry(m, "events.ndjson")["size_bytes"] = int64(1<<63 - 1) }), "more than the 64 MB"},
		"negative size":         {sealed(func(m map[string]any) { entry(m, "events.ndjson")["size_bytes"] = -1 }), "no size"},
		"no hash":               {sealed(func(m map[string]any) { entry(m, "events.ndjson")["sha256"] = "x" }), "no SHA-256"},
		"manifest of no JSON":   {altered(func(l []part) []part { l[len(l)-1].content = "{"; return l }), "manifest.json: malformed JSON"},
		"manifest of an array":  {altered(func(l []part) []part { l[len(l)-1].content = "[]"; return l }), "manifest.json"},
		"huge manifest":         {altered(func(l []part) []part { l[len(l)-1].content = strings.Repeat(" ", 5<<20); return l }), "larger than 4 MB"},
		"events count":          {edit("session.json", `"event_count": 3`, `"event_count": 4`), "counts 4 events"},
		"session of no JSON":    {edit("session.json", `{`, `[`), "session.json: malformed JSON"},
		"member twice":          {edit("session.json", `"mode"`, `"id": "s", "mode"`), "a member twice"},
		"invalid UTF-8":         {edit("session.json", "Näme", "N\xe4me"), "invalid UTF-8"},
		"NUL in a text":         {edit("session.json", "Näme", `N\u0000`), "session.json"},
		"member missing":        {edit("session.json", `"created_at"`, `"created_At"`), `unknown field "created_At"`},
		"no member":             {edit("processes.ndjson", `"start_known":false,`, ``), "start_known is missing"},
		"long name":             {edit("session.json", "Näme", long), "name is 5000 bytes long"},
		"unknown state":         {edit("session.json", `"ended"`, `"dead"`), "state must be"},
		"state and times":       {edit("session.json", `"ended"`, `"created"`), "contradict"},
		"time":                  {edit("session.json", `"created_at": "2026`, `"created_at": "x2026`), "no time such as"},
		"mode":                  {edit("session.json", `"mode": 2`, `"mode": 4`), "mode must be 0 to 3"},
		"hash in another case":  {edit("session.json", sha, strings.ToUpper(sha)), "no SHA-256"},
		"file of another hash":  {edit("session.json", sha, strings.Repeat("0", 64)), "not the session's target file"},
		"file of another size":  {edit("session.json", `"file_size_bytes": 12`, `"file_size_bytes": 13`), "not the size"},
		"other file":            {edit("file/"+sha, sample, "MZ another p"), "not the size or the SHA-256"},
		"gap":                   {edit("events.ndjson", `"seq":2`, `"seq":4`), "events.ndjson, line 2: seq is 4, and must be 2"},
		"twice the same seq":    {edit("events.ndjson", `"seq":2`, `"seq":1`), "line 2: seq is 1"},
		"seq from 0":            {edit("events.ndjson", `"seq":1`, `"seq":0`), "line 1: seq is 0"},
		"event of another":      {edit("events.ndjson", `"session_id":"s"`, `"session_id":"t"`), `line 1: session_id is "t"`},
		"event of no JSON":      {edit("events.ndjson", `{"session_id"`, `{session_id`), "line 1: malformed JSON"},
		"event in invalid UTF8": {edit("events.ndjson", `C:\\a`, "C:\xff"), "UTF-8"},
		"long hot field":        {edit("events.ndjson", `"process_name":"cmd.exe"`, `"process_name":"`+long+`"`), "process_name is 5000 bytes long"},
		"too few lines":         {edit("events.ndjson", `{"session_id":"s","seq":1`, `{"session_id":"s","seq":1,`), "line 1"},
		"empty line":            {edit("events.ndjson", "\n", "\n\n"), "line 2"},
		"line without an end":   {edit("events.ndjson", `zzz"}`+"\n", `zzz"}`), "line 3: the line does not end"},
		"more lines":            {edit("processes.ndjson", "\n", "\n"+`{"pid":4,"started_at":"2026-11-22T12:30:00Z","start_known":false,"parent_pid":null,"parent_started_at":null,"name":"","image":"","command_line":"","first_seen":"2026-11-22T12:30:00Z","last_seen":"2026-11-22T12:30:00Z","event_counts":{}}`+"\n"), "has 4 lines; the bundle counts 3"},
		"process twice":         {edit("processes.ndjson", `"pid":5`, `"pid":4`), "does not come after"},
		"long command line":     {edit("processes.ndjson", "a -b", long), "command_line is 5000"},
		"negative counts":       {edit("processes.ndjson", `"x":2`, `"x":-2`), "cannot be negative"},
		"a bomb of an event": {func(t *testing.T) []byte {
			return edit("events.ndjson", strings.Repeat("z", 5000), strings.Repeat("z", 20<<20))(t)
		}, "longer than the 1 MB"},
		"entries that share bytes": {overlapping, "share their bytes"},
		"a directory without end":  {endlessDirectory, "directory is larger"},
	} {
		t.Run(name, func(t *testing.T) {
			err := read(tt.make(t), limits)
			code := models.ErrorCode(err)
			if code != models.CodeInvalid && code != models.CodeTooLarge || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: %v, want %q", code, err, tt.want)
			}
		})
	}
}

func entry(manifest map[string]any, name string) map[string]any {
	return manifest["entries"].(map[string]any)[name].(map[string]any)
}

// overlapping makes the processes entry overlap the bytes of the events entry, as zip
// bombs do.
func overlapping(t *testing.T) []byte {
	content := bundleOf(t)
	directory := bytes.Index(content, []byte("PK\x01\x02"))
	at := func(name string) int { return directory + bytes.Index(content[directory:], []byte(name)) - 46 }
	offset := binary.LittleEndian.Uint32(content[at("events.ndjson")+42:])
	binary.LittleEndian.PutUint32(content[at("processes.ndjson")+42:], offset)
	return content
}

// endlessDirectory returns a zip with a very large number of empty entries.
func endlessDirectory(t *testing.T) []byte {
	list := make([]part, 60_000)
	for i := range list {
		list[i] = part{name: fmt.Sprintf("file/%060d", i)}
	}
	return pack(t, list)
}

func TestBundleOverTheLimit(t *testing.T) {
	if err := read(bundleOf(t), bundle.Limits{MaxBytes: 5000, MaxLineBytes: 1 << 20}); models.ErrorCode(err) != models.CodeTooLarge || !strings.Contains(err.Error(), "IMPORT_MAX_MB") {
		t.Error(err)
	}
}

// FuzzImport checks that no zip makes the reader panic, use unbounded memory, or fail
// without a message. A zip that the reader accepts is a whole session.
func FuzzImport(f *testing.F) {
	f.Add(bundleOf(f))
	f.Add(pack(f, nil))
	list := parts(f, bundleOf(f))
	for i := range list {
		list[i].method = zip.Store // so that mutations reach the content
	}
	f.Add(pack(f, list))
	f.Fuzz(func(t *testing.T, content []byte) {
		bundle, err := bundle.Open(bytes.NewReader(content), int64(len(content)), limits)
		if err == nil {
			err = bundle.Verify(func() error { return nil })
		}
		if code := models.ErrorCode(err); err != nil && code != models.CodeInvalid && code != models.CodeTooLarge {
			t.Fatalf("%s: %v", code, err)
		}
		if err != nil {
			return
		}
		if events := collect(t, bundle.Events()); int64(len(events)) != bundle.Session.EventCount {
			t.Fatalf("%d events of %d", len(events), bundle.Session.EventCount)
		}
	})
}

// FuzzImportedText checks the same for the content of the entries, with a manifest that
// matches them.
func FuzzImportedText(f *testing.F) {
	list := parts(f, bundleOf(f))
	f.Add([]byte(list[0].content), []byte(list[1].content), []byte(list[2].content))
	f.Fuzz(func(t *testing.T, session, events, processes []byte) {
		list := parts(t, bundleOf(t))
		list[0].content, list[1].content, list[2].content = string(session), string(events), string(processes)
		err := read(pack(t, resealed(t, list, nil)), limits)
		if code := models.ErrorCode(err); err != nil && code != models.CodeInvalid && code != models.CodeTooLarge {
			t.Fatalf("%s: %v", code, err)
		}
	})
}
