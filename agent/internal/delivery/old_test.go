//go:build linux

package delivery

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// oldRecord returns a batch of events n to m-1 in the format of the previous version.
func oldRecord(t testing.TB, key string, n, m int) []byte {
	t.Helper()
	codec, err := newCodec()
	if err != nil {
		t.Fatal(err)
	}
	b := &batch{}
	for i := n; i < m; i++ {
		b.add(numbered(i))
	}
	head, err := json.Marshal(oldHead{key, "a", b.count, b.from, b.to})
	if err != nil {
		t.Fatal(err)
	}
	payload := slices.Concat(head, []byte("\n"), codec.pack(b))
	record := binary.LittleEndian.AppendUint32(nil, uint32(len(payload)))
	record = binary.LittleEndian.AppendUint32(record, crc32.Checksum(payload, castagnoli))
	return append(record, payload...)
}

// Delivery sends the records of the previous version first, with their old keys. It reports
// the damaged ones.
func TestOldSpool(t *testing.T) {
	var records [][]byte
	for i := range 6 {
		records = append(records, oldRecord(t, fmt.Sprint("old", i), 10*i, 10*i+10))
	}
	changed := func(i, at int) []byte {
		text := slices.Clone(records[i])
		text[at] ^= 1
		return text
	}
	for name, test := range map[string]struct {
		first   []byte // the file 1; by the cursor, its record 0 was delivered
		second  []byte // the file 2
		want    []int  // the records that arrive
		lost    int
		unknown bool
	}{
		"whole":            {bytes.Join(records[:3], nil), bytes.Join(records[3:], nil), []int{1, 2, 3, 4, 5}, 0, false},
		"a body":           {slices.Concat(records[0], changed(1, len(records[1])-1), records[2]), bytes.Join(records[3:], nil), []int{2, 3, 4, 5}, 10, false},
		"a length":         {slices.Concat(records[0], changed(1, 0), records[2]), bytes.Join(records[3:], nil), []int{2, 3, 4, 5}, 10, false},
		"a head":           {slices.Concat(records[0], changed(1, 9), records[2]), bytes.Join(records[3:], nil), []int{2, 3, 4, 5}, 0, true},
		"a torn end":       {bytes.Join(records[:3], nil), slices.Concat(records[3], records[4], records[5][:len(records[5])-9]), []int{1, 2, 3, 4}, 10, false},
		"a very torn end":  {bytes.Join(records[:3], nil), slices.Concat(records[3], records[4], records[5][:20]), []int{1, 2, 3, 4}, 0, true},
		"nothing readable": {bytes.Join(records[:2], nil), bytes.Repeat([]byte("x"), 1000), []int{1}, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSink(t)
			o := options(t, s.url)
			o.SpoolMaxBytes = 100 // smaller than the files that are already on disk
			for name, text := range map[string][]byte{
				"0000000000000001.spool": test.first, "0000000000000002.spool": test.second, "0000000000000000.spool": records[5], // delivered before
				"cursor": fmt.Appendf(nil, `{"segment":1,"offset":%d}`, len(records[0])),
			} {
				if err := os.WriteFile(filepath.Join(o.Dir, name), text, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			d := newDelivery(t, o)
			d.Add("a", numbered(60))
			stop := run(t, d)
			s.wait("the newest event", func() bool { return slices.Contains(s.got["a"], 60) })
			stop()
			var want []int
			for _, record := range append(test.want, 6) {
				for i := 10 * record; i < min(10*record+10, 61); i++ {
					want = append(want, i)
				}
			}
			if got := slices.DeleteFunc(s.has("a"), func(n int) bool { return n < 0 }); !slices.Equal(got, want) {
				t.Errorf("%v arrived, want %v", got, want)
			}
			reported, lost := s.lossReports("a"), 0
			for _, r := range reported {
				lost += r.Count
			}
			if lost != test.lost || len(reported) != min(test.lost, 1) && !test.unknown || test.unknown && len(reported) != 1 {
				t.Errorf("reported losses: %+v", reported)
			}
			wantSum(t, d)
			wantFiles(t, o.Dir, "lock")
			for _, q := range s.asked() {
				if q.n < len(test.want) && q.key != fmt.Sprint("old", test.want[q.n]) {
					t.Errorf("request %d has the key %s", q.n, q.key)
				}
			}
		})
	}
}

// Reading any old file ends, and reads each byte once.
func FuzzScanOld(f *testing.F) {
	a, b := oldRecord(f, "a", 0, 3), oldRecord(f, "b", 3, 5)
	f.Add(slices.Concat(a, b), 0)
	f.Add(slices.Concat(a[:len(a)-3], b, a[:9]), 2)
	f.Fuzz(func(t *testing.T, text []byte, begin int) {
		at := int64(min(max(begin, 0), len(text)))
		scanOld(text, begin, func(head oldHead, body []byte) {
			line, _, _ := bytes.Cut(text[at+oldRecordHeader:], []byte("\n"))
			at += int64(oldRecordHeader + len(line) + 1 + len(body))
			if head.Count < 1 {
				t.Errorf("%+v", head)
			}
		}, func(d damage) {
			if d.offset != at || d.end <= at {
				t.Fatalf("after %d the damage is %+v", at, d)
			}
			at = d.end
		})
		if at != int64(len(text)) {
			t.Fatalf("%d of %d bytes were read", at, len(text))
		}
	})
}
