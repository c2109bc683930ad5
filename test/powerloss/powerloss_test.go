package powerloss_test

import (
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"ospulse/test/powerloss"
)

// hex formats a text as strace -xx does.
func hex(text string) string {
	var out strings.Builder
	for _, c := range []byte(text) {
		out.WriteString(`\x` + string("0123456789abcdef"[c>>4]) + string("0123456789abcdef"[c&15]))
	}
	return out.String()
}

func TestParse(t *testing.T) {
	line := func(parts ...string) string { // the text between two % is in hexadecimal
		text := strings.Split(strings.Join(parts, ""), "%")
		for i := 1; i < len(text); i += 2 {
			text[i] = hex(text[i])
		}
		return strings.Join(text, "") + "\n"
	}
	log := line(`7 mkdirat(AT_FDCWD<%/%>, "%/r/d%", 0700) = 0`) +
		line(`7 mkdirat(AT_FDCWD<%/%>, "%/r/d%", 0700) = -1 EEXIST (File exists)`) +
		line(`7 openat(AT_FDCWD<%/%>, "%/etc/x%", O_RDONLY) = 3<%/etc/x%>`) +
		line(`7 openat(AT_FDCWD<%/%>, "%/r/d/f%", O_RDWR|O_CREAT|O_TRUNC, 0600) = 3<%/r/d/f%>`) +
		line(`7 write(3<%/r/d/f%>, "%ab%", 2) = 2`) +
		line(`7 write(3<%/r/d/f%>, "%cde%", 3) = 1`) +
		line(`7 fsync(3<%/r/d/f%> <unfinished ...>`) +
		line(`8 pwrite64(3<%/r/d/f%>, "%x"y%", 3, 10) = 3`) +
		line(`7 <... fsync resumed>)            = -1 EIO (Input/output error) (INJECTED)`) +
		line(`8 write(9<%socket:[1]%>, "%HTTP/1.1 200 OK%", 15 <unfinished ...>`) +
		line(`7 ftruncate(3<%/r/d/f%>, 1) = 0`) +
		line(`8 <... write resumed>) = 15`) +
		line(`7 renameat(AT_FDCWD<%/%>, "%/r/d/f%", AT_FDCWD<%/%>, "%/r/d/g%") = 0`) +
		line(`7 unlinkat(AT_FDCWD<%/%>, "%/r/d/g%", 0) = 0`) +
		line(`7 1700000000.000005 pwrite64(3<%/r/t%>, "%x%", 1, 0 <unfinished ...>`) +
		line(`8 1700000001.000000 utimensat(AT_FDCWD<%/%>, "%/r/t%", [{tv_sec=1, tv_nsec=2} /* 1970 */, {tv_sec=3, tv_nsec=4} /* 1970 */], 0) = 0`) +
		line(`7 1700000002.000000 <... pwrite64 resumed>) = 1`) +
		line(`7 pwrite64(3<%/r/d/g (deleted)%>, "%x%", 1, 0) = 1`) +
		line(`8 pwrite64(3<%/r/d/f%>, "%x%", 1, 0 <unfinished ...>`) +
		"8 +++ killed by SIGKILL +++\n7 fsync(3<"
	got, err := powerloss.Parse(strings.NewReader(log), "/r")
	if err != nil {
		t.Fatal(err)
	}
	want := []powerloss.Op{
		{Kind: powerloss.Mkdir, Path: "/r/d"},
		{Kind: powerloss.Create, Path: "/r/d/f"},
		{Kind: powerloss.Truncate, Path: "/r/d/f"},
		{Kind: powerloss.Write, Path: "/r/d/f", Data: []byte("ab")},
		{Kind: powerloss.Write, Path: "/r/d/f", Offset: 2, Data: []byte("c")},
		{Kind: powerloss.SyncBegin, Path: "/r/d/f", Sync: 1},
		{Kind: powerloss.Write, Path: "/r/d/f", Offset: 10, Data: []byte(`x"y`)},
		{Kind: powerloss.SyncEnd, Path: "/r/d/f", Sync: 1, Failed: true},
		{Kind: powerloss.Answer, Data: []byte("HTTP/1.1 200 OK")},
		{Kind: powerloss.Truncate, Path: "/r/d/f", Offset: 1},
		{Kind: powerloss.Rename, Path: "/r/d/f", To: "/r/d/g"},
		{Kind: powerloss.Remove, Path: "/r/d/g"},
		{Kind: powerloss.SetTime, Path: "/r/t", Time: time.Unix(3, 4)},
		{Kind: powerloss.Write, Path: "/r/t", Data: []byte("x"), Time: time.Unix(1700000000, 5000)},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v, want\n%+v", got, want)
	}
	for _, unknown := range []string{
		line(`7 linkat(AT_FDCWD<%/%>, "%/r/a%", AT_FDCWD<%/%>, "%/r/b%", 0) = 0`),
		line(`7 pwritev(3<%/r/f%>, [{iov_base="%x%", iov_len=1}], 1, 0) = 1`),
		line(`7 openat(AT_FDCWD<%/%>, "%/r/f%", O_WRONLY|O_APPEND) = 3<%/r/f%>`),
		line(`7 pwrite64(3<%/r/f%>, "%x%"..., 2, 0) = 2`),
	} {
		if _, err := powerloss.Parse(strings.NewReader(unknown), "/r"); err == nil {
			t.Errorf("it was taken: %s", unknown)
		}
	}
}

// TestDisk checks which contents of a file are possible after some operations and any
// of many power losses; "-" is no file. Each sequence begins with a synced file "old".
func TestDisk(t *testing.T) {
	type op = powerloss.Op
	write := func(data string) op { return op{Kind: powerloss.Write, Path: "/r/f", Data: []byte(data)} }
	sync := func(path string, failed bool) []op {
		return []op{{Kind: powerloss.SyncBegin, Path: path, Sync: 1}, {Kind: powerloss.SyncEnd, Path: path, Sync: 1, Failed: failed}}
	}
	begin := append(append([]op{{Kind: powerloss.Create, Path: "/r/f"}, write("old")}, sync("/r/f", false)...), sync("/r", false)...)
	long := strings.Repeat("n", 600) // two sectors
	mixed := "old" + strings.Repeat("\x00", 509) + long[512:]
	for name, test := range map[string]struct {
		ops  []op
		want []string
	}{
		"nothing":                        {nil, []string{"old"}},
		"a write":                        {[]op{write("new")}, []string{"new", "old"}},
		"a write that is synced":         {append([]op{write("new")}, sync("/r/f", false)...), []string{"new"}},
		"a torn write":                   {[]op{write(long)}, []string{"old", long, mixed, long[:512] + strings.Repeat("\x00", 88), "old" + strings.Repeat("\x00", 597)}},
		"a write after the sync began":   {[]op{write("1st"), {Kind: powerloss.SyncBegin, Path: "/r/f", Sync: 1}, write("2nd"), {Kind: powerloss.SyncEnd, Path: "/r/f", Sync: 1}}, []string{"1st", "2nd"}},
		"a sync that fails":              {append([]op{write("new")}, sync("/r/f", true)...), []string{"new", "old"}},
		"a sync after one that failed":   {append(append([]op{write("new")}, sync("/r/f", true)...), sync("/r/f", false)...), []string{"new", "old"}},
		"written again after a failure":  {append(append(append([]op{write("new")}, sync("/r/f", true)...), write("new")), sync("/r/f", false)...), []string{"new"}},
		"removed":                        {[]op{{Kind: powerloss.Remove, Path: "/r/f"}}, []string{"-", "old"}},
		"removed and synced":             {append([]op{{Kind: powerloss.Remove, Path: "/r/f"}}, sync("/r", false)...), []string{"-"}},
		"renamed, and its folder synced": {append([]op{{Kind: powerloss.Rename, Path: "/r/f", To: "/r/g"}}, sync("/r", false)...), []string{"-"}},
		"renamed":                        {[]op{{Kind: powerloss.Rename, Path: "/r/f", To: "/r/g"}}, []string{"-", "old"}},
		"a folder whose sync failed":     {append([]op{{Kind: powerloss.Remove, Path: "/r/f"}}, sync("/r", true)...), []string{"-", "old"}},
		"cut off":                        {[]op{{Kind: powerloss.Truncate, Path: "/r/f", Offset: 1}}, []string{"o", "old"}},
		"cut off and synced":             {append([]op{{Kind: powerloss.Truncate, Path: "/r/f", Offset: 1}}, sync("/r/f", false)...), []string{"o"}},
		"cut off, written and not synced": {[]op{{Kind: powerloss.Truncate, Path: "/r/f", Offset: 0}, write("n")},
			[]string{"", "n", "nld", "o", "old"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := map[string]bool{}
			dir := t.TempDir()
			for seed := range uint64(400) {
				disk := powerloss.NewDisk("/r", powerloss.Rules{}, rand.New(rand.NewPCG(seed, 0)))
				for _, o := range append(append([]op{}, begin...), test.ops...) {
					if err := disk.Apply(o); err != nil {
						t.Fatal(err)
					}
				}
				if err := disk.Crash(dir); err != nil {
					t.Fatal(err)
				}
				content, err := os.ReadFile(filepath.Join(dir, "f"))
				if err != nil {
					content = []byte("-")
				}
				if _, err := os.Stat(filepath.Join(dir, "g")); err != nil && string(content) == "-" && strings.HasPrefix(name, "renamed") {
					t.Error("a file that was renamed is lost")
				}
				got[string(content)] = true
				os.Remove(filepath.Join(dir, "f")) //nolint:errcheck // it may not exist
				os.Remove(filepath.Join(dir, "g")) //nolint:errcheck // it may not exist
			}
			want := map[string]bool{}
			for _, content := range test.want {
				want[content] = true
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got %v, want %v", slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
			}
		})
	}
}

// TestLostFolder checks that a folder which was not synced is lost with its content.
func TestLostFolder(t *testing.T) {
	lost := 0
	for seed := range uint64(50) {
		disk := powerloss.NewDisk("/r", powerloss.Rules{}, rand.New(rand.NewPCG(seed, 0)))
		for _, op := range []powerloss.Op{
			{Kind: powerloss.Mkdir, Path: "/r/d"}, {Kind: powerloss.Create, Path: "/r/d/f"},
			{Kind: powerloss.SyncBegin, Path: "/r/d", Sync: 1}, {Kind: powerloss.SyncEnd, Path: "/r/d", Sync: 1},
		} {
			if err := disk.Apply(op); err != nil {
				t.Fatal(err)
			}
		}
		dir := t.TempDir()
		if err := disk.Crash(dir); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(filepath.Join(dir, "d", "f")); err != nil {
			lost++
		}
	}
	if lost == 0 || lost == 50 {
		t.Errorf("it was lost %d times of 50", lost)
	}
}
