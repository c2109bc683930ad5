//go:build linux

package delivery

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ospulse/agent/internal/event"
	"ospulse/test/wait"
)

func newServer(b *testing.B, status int) string {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = fmt.Fprint(w, `{"status":"success"}`)
	}))
	b.Cleanup(server.Close)
	return server.URL
}

func wantFiles(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	if !slices.Equal(names, want) {
		t.Errorf("the spool has the files %q, want %q", names, want)
	}
}

// fill writes records of 10 events each to a spool, and returns their places.
func fill(t testing.TB, dir string, records int) []ref {
	t.Helper()
	s, left, damages, err := openSpool(dir, 1<<20)
	if err != nil || len(left)+len(damages) > 0 {
		t.Fatal(left, damages, err)
	}
	codec, err := newCodec()
	if err != nil {
		t.Fatal(err)
	}
	var refs []ref
	for i := range records {
		b := &batch{key: fmt.Sprintf("key%d", i), session: "a"}
		for n := range 10 {
			b.add(numbered(10*i + n))
		}
		at, err := s.append(b, codec.pack(b), false)
		if err != nil {
			t.Fatal(err)
		}
		refs = append(refs, at)
	}
	if err := s.sync(); err != nil {
		t.Fatal(err)
	}
	if err := s.close(true); err != nil {
		t.Fatal(err)
	}
	return refs
}

// Any damage costs only the records that it touches. The spool reports it once, with the
// exact count if that can be known.
func TestDamage(t *testing.T) {
	for name, test := range map[string]struct {
		damage  func(file *os.File, at []ref) error
		lost    []int // the records
		nowhere bool  // the session of the lost events is unknown
		unknown bool  // the number of lost events is unknown
	}{
		"nothing": {damage: func(*os.File, []ref) error { return nil }},
		"a payload": {damage: func(file *os.File, at []ref) error {
			_, err := file.WriteAt([]byte{0, 0, 0}, int64(at[2].offset+at[2].size)-5)
			return err
		}, lost: []int{2}},
		"a header": {damage: func(file *os.File, at []ref) error {
			_, err := file.WriteAt([]byte{7}, int64(at[2].offset)+12)
			return err
		}, lost: []int{2}},
		"the first header": {damage: func(file *os.File, at []ref) error {
			_, err := file.WriteAt([]byte{0}, int64(at[0].offset))
			return err
		}, lost: []int{0}},
		"a wide part": {damage: func(file *os.File, at []ref) error {
			_, err := file.WriteAt(make([]byte, at[1].size/2+at[2].size+at[3].size/2), int64(at[1].offset+at[1].size/2))
			return err
		}, lost: []int{1, 2, 3}},
		"a torn payload at the end": {damage: func(file *os.File, at []ref) error {
			last := at[len(at)-1]
			return file.Truncate(int64(last.offset+last.size) - 3)
		}, lost: []int{5}},
		"a torn header at the end": {damage: func(file *os.File, at []ref) error {
			return file.Truncate(int64(at[len(at)-1].offset) + 20)
		}, lost: []int{5}, unknown: true},
		"text after the end": {damage: func(file *os.File, at []ref) error {
			last := at[len(at)-1]
			_, err := file.WriteAt([]byte("text"), int64(last.offset+last.size))
			return err
		}, unknown: true},
		"the segment's header": {damage: func(file *os.File, _ []ref) error {
			_, err := file.WriteAt([]byte("?"), 3)
			return err
		}},
		"the segment's header and the first": {damage: func(file *os.File, _ []ref) error {
			_, err := file.WriteAt(make([]byte, segmentHeader+30), 0)
			return err
		}, lost: []int{0}, unknown: true},
		"all of it": {damage: func(file *os.File, at []ref) error {
			_, err := file.WriteAt(make([]byte, at[5].offset+at[5].size), 0)
			return err
		}, lost: []int{0, 1, 2, 3, 4, 5}, unknown: true, nowhere: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSink(t)
			o := options(t, s.url)
			refs := fill(t, o.Dir, 6)
			file, err := os.OpenFile(filepath.Join(o.Dir, "0000000001.segment"), os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			if err := test.damage(file, refs); err != nil {
				t.Fatal(err)
			}
			var want []int
			lost := 0
			for i := range 60 {
				if slices.Contains(test.lost, i/10) {
					lost++
					continue
				}
				want = append(want, i)
			}
			reports := min(len(test.lost), 1)
			if test.unknown {
				lost, reports = 0, 1
			}
			// The damage is repaired: a second run that opens the spool reports nothing new.
			d := newDelivery(t, o)
			stop := run(t, d)
			session := "a"
			if test.nowhere {
				session = ""
			}
			s.wait("what is left", func() bool {
				sum := 0
				for _, r := range s.reports[session] {
					sum += r.Count
				}
				return len(s.got["a"]) >= len(want) && len(s.reports[session]) >= reports && sum >= lost
			})
			stop()
			got := slices.DeleteFunc(s.has("a"), func(n int) bool { return n < 0 })
			if !slices.Equal(got, want) {
				t.Errorf("%v arrived, want %v", got, want)
			}
			if status := wantSum(t, d); status.LostByReason[ReasonDamaged] != int64(lost) || status.Lost != int64(lost) {
				t.Errorf("%d are lost: %+v", lost, status)
			}
			reported := s.lossReports(session)
			if reports == 0 && len(reported) > 0 {
				t.Errorf("events that are not lost are reported: %+v", reported)
			}
			for _, r := range reported {
				if (r.Count == 0) != test.unknown || shortReason(r.Reason) != ReasonDamaged || r.From.After(r.To) || r.To.IsZero() {
					t.Errorf("%+v", r)
				}
			}
			wantFiles(t, o.Dir, "lock")
		})
	}
}

// The next run does not report a damaged part again.
func TestDamageIsMended(t *testing.T) {
	dir := t.TempDir()
	refs := fill(t, dir, 6)
	path := filepath.Join(dir, "0000000001.segment")
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	content[refs[1].offset] = 0
	content = content[:refs[5].offset+20]
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	for i, want := range []int{2, 0} {
		s, left, damages, err := openSpool(dir, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if len(left) != 4 || len(damages) != want {
			t.Errorf("run %d: %d records, and the damages %+v", i, len(left), damages)
		}
		if err := s.close(true); err != nil {
			t.Fatal(err)
		}
	}
}

// The spool does not touch files of others. A segment without a header, which a kill can
// leave, has no records.
func TestForeignFiles(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{"0000000007.segment": "OSP", "note.txt": "x", "x.segment": "y", "x.spool": "z"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	fill(t, dir, 1)
	wantFiles(t, dir, "0000000008.segment", "lock", "note.txt", "x.segment", "x.spool")
}

// A segment whose first record does not fit on the disk does not stay there.
func TestFullDiskLeavesNoEmptySegmentAsRoot(t *testing.T) {
	dir := t.TempDir()
	smallDisk(t, dir, "32k")
	s, _, _, err := openSpool(dir, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	b := &batch{key: "k", session: "a", count: 1}
	if _, err := s.append(b, make([]byte, 64<<10), false); !errors.Is(err, errFull) {
		t.Errorf("the error is %v, want %v", err, errFull)
	}
	wantFiles(t, dir, "lock")
	at, err := s.append(b, make([]byte, 10), false)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.done(at); err != nil {
		t.Error(err)
	}
	if err := s.close(true); err != nil {
		t.Error(err)
	}
	wantFiles(t, dir, "lock")
}

// smallDisk mounts a disk of the size on dir until the test ends.
func smallDisk(t *testing.T, dir, size string) {
	t.Helper()
	if err := unix.Mount("none", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skip("a small disk cannot be mounted: ", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
}

// A full disk acts like a full spool: Delivery counts the loss, and the stored records stay
// undamaged.
func TestFullDiskAsRoot(t *testing.T) {
	dir := t.TempDir()
	smallDisk(t, dir, "128k")
	s := newSink(t)
	s.fault = func(request) string { return "503" }
	o := options(t, s.url)
	o.Dir, o.QueueMaxBytes, o.FlushTimeout = dir, 200_000, time.Millisecond
	d := newDelivery(t, o)
	stop := run(t, d)
	n := 0
	for ; d.Status().LostByReason[event.ReasonSpoolFull] < 500; n++ {
		d.Add("a", numbered(n))
	}
	if status := wantSum(t, d); status.SpooledBytes < 64<<10 || status.SpooledBytes > 128<<10 {
		t.Errorf("%+v", status)
	}
	s.set(nil)
	s.waitReports(d, "a")
	d.Add("a", numbered(n))
	s.wait("the last event", func() bool { return s.got["a"][len(s.got["a"])-1] == n })
	wait.For(t, "the answer to the last event", func() bool { return d.Status().SpooledEvents+d.Status().QueuedEvents == 0 })
	stop()
	next := 0
	for _, got := range s.has("a") {
		switch {
		case got < 0:
			next -= got
		case got != next:
			t.Fatalf("the next event has the number %d, want %d", got, next)
		default:
			next++
		}
	}
	if next != n+1 {
		t.Errorf("%d of %d events arrived or were reported as lost", next, n+1)
	}
	wantSum(t, d)
	wantFiles(t, dir, "lock")
}

func TestRecord(t *testing.T) {
	want := record{key: "k", session: "s", payload: 5, checksum: 6, count: 7, first: 8, from: time.UnixMicro(9), to: time.UnixMicro(10), done: true}
	head := want.appendHeader([]byte("before"))[6:]
	got, err := parseRecord(append(head, "payload"...))
	if err != nil || got != want {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
	for i := range head {
		if i == doneAt {
			continue
		}
		changed := slices.Clone(head)
		changed[i] ^= 1
		if got, err := parseRecord(changed); !errors.Is(err, errDamaged) {
			t.Errorf("with byte %d changed it is %+v, %v", i, got, err)
		}
	}
}

// For any content of a file, scan reads to its end, reads nothing twice, and reports event
// counts that add up.
func FuzzScan(f *testing.F) {
	dir := f.TempDir()
	refs := fill(f, dir, 3)
	content, err := os.ReadFile(filepath.Join(dir, "0000000001.segment"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(content)
	f.Add(content[:refs[2].offset+9])
	f.Add(append(slices.Clone(content[:refs[1].offset+3]), content[refs[1].offset:]...))
	f.Add(bytes.Repeat(recordMagic, 40))
	f.Fuzz(func(t *testing.T, content []byte) {
		at, events := int64(segmentHeader), uint64(0)
		err := scan(bytes.NewReader(content), int64(len(content)), new(uint64), nil, func(offset int64, r record) {
			if offset < at || r.first < events {
				t.Fatalf("the record at %d begins before %d, or its events before %d: %+v", offset, at, events, r)
			}
			at, events = offset+r.size(), r.first+uint64(r.count)
		}, func(d damage) {
			if d.offset != at || d.end <= d.offset || d.first < events {
				t.Fatalf("after %d the damage is %+v", at, d)
			}
			at, events = d.end, d.first+d.count
		})
		if err != nil {
			t.Fatal(err)
		}
		if at < int64(len(content)) {
			t.Fatalf("%d of %d bytes were read", at, len(content))
		}
	})
}
