package event

import (
	"encoding/binary"
	"encoding/json"
	"testing"
)

// TestChangesOf32Bits checks calls of 32-bit programs: they split long numbers, and some
// have users and groups of 16 bits.
func TestChangesOf32Bits(t *testing.T) {
	words := func(values ...uint32) (raw []byte) {
		for _, v := range values {
			raw = binary.NativeEndian.AppendUint32(raw, v)
		}
		return raw
	}
	for _, test := range []struct {
		syscall string
		args    [6]uint64
		raw     []byte
		want    map[string]any
	}{
		{"chown", [6]uint64{0, 0xffff, 70000}, nil, map[string]any{"groupId": 4464.0}},
		{"chown32", [6]uint64{0, 0xffff, 0xffffffff}, nil, map[string]any{"ownerId": 65535.0}},
		{"fchown", [6]uint64{3, 0, 0xffffffff}, nil, map[string]any{"ownerId": 0.0}},
		{"truncate64", [6]uint64{0, 1, 2}, nil, map[string]any{"length": 8589934593.0}},
		{"truncate", [6]uint64{0, 7, 99}, nil, map[string]any{"length": 7.0}},
		{"fallocate", [6]uint64{3, 3, 4096, 1, 8192, 0}, nil, map[string]any{"flags": "FALLOC_FL_KEEP_SIZE|FALLOC_FL_PUNCH_HOLE", "offset": 4294971392.0, "length": 8192.0}},
		{"pwrite64", [6]uint64{3, 0, 5, 6, 1}, nil, map[string]any{"offset": 4294967302.0}},
		{"preadv2", [6]uint64{3, 0, 1, 0xffffffff, 0xffffffff}, nil, map[string]any{}},
		{"mmap2", [6]uint64{0, 4096, 5, 2, 3, 2}, nil, map[string]any{"protection": "PROT_READ|PROT_EXEC", "flags": "MAP_PRIVATE", "length": 4096.0, "offset": 8192.0}},
		{"utime", [6]uint64{0, 1}, words(0xffffffff, 978307200), map[string]any{"accessTime": "1969-12-31T23:59:59Z", "modificationTime": "2001-01-01T00:00:00Z"}},
		{"utimes", [6]uint64{0, 1}, words(0, 5, 1, 0), map[string]any{"accessTime": "1970-01-01T00:00:00.000005Z", "modificationTime": "1970-01-01T00:00:01Z"}},
		{"utimensat", [6]uint64{0, 0, 1}, words(0, 0x3fffffff, 0, 0x3ffffffe), map[string]any{"accessTime": "now"}},
		{"utimensat_time64", [6]uint64{0, 0, 1}, words(0, 1, 0, 0, 1, 0, 0, 0), map[string]any{"accessTime": "2106-02-07T06:28:16Z", "modificationTime": "1970-01-01T00:00:01Z"}},
		{"utimensat", [6]uint64{0, 0, 1}, nil, map[string]any{}}, // it could not be read
	} {
		f := &File{Handle: -1, NewHandle: -1, Struct: test.raw, Result: Result{Syscall: test.syscall, Args: test.args, Compat: true}}
		var got map[string]any
		if err := json.Unmarshal(f.AppendJSON(nil), &got); err != nil {
			t.Fatal(err)
		}
		for _, key := range []string{"mode", "ownerId", "groupId", "accessTime", "modificationTime", "offset", "length", "protection", "flags"} {
			if got[key] != test.want[key] {
				t.Errorf("%s%v: %s is %v, want %v", test.syscall, test.args, key, got[key], test.want[key])
			}
		}
	}
}
