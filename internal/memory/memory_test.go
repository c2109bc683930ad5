package memory_test

import (
	"testing"
	"testing/fstest"

	"ospulse/internal/memory"
)

const (
	mb = 1 << 20
	gb = 1 << 30
)

func files(contents map[string]string) fstest.MapFS {
	root := fstest.MapFS{}
	for name, text := range contents {
		root[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return root
}

const (
	v2      = "35 24 0:30 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
	v1      = "36 32 0:31 / /sys/fs/cgroup/memory rw,nosuid shared:10 - cgroup cgroup rw,memory\n37 32 0:32 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
	v1Bound = "36 32 0:31 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"
	noLimit = "9223372036854771712\n"
)

func TestDetect(t *testing.T) {
	for name, tt := range map[string]struct {
		files      map[string]string
		goMemLimit int64
		want       memory.Limit
	}{
		"no cgroups": {nil, 0, memory.Limit{Bytes: 8 * gb, Source: memory.Machine}},
		"version 2": {map[string]string{
			"proc/self/mountinfo": v2, "proc/self/cgroup": "0::/system.slice/ospulse.service\n",
			"sys/fs/cgroup/system.slice/ospulse.service/memory.max": "536870912\n",
		}, 0, memory.Limit{Bytes: 512 * mb, Source: memory.Cgroup}},
		"version 2, limited above": {map[string]string{
			"proc/self/mountinfo": v2, "proc/self/cgroup": "0::/a/b/c\n",
			"sys/fs/cgroup/a/memory.max": "268435456\n", "sys/fs/cgroup/a/b/memory.max": "536870912\n", "sys/fs/cgroup/a/b/c/memory.max": "max\n",
		}, 0, memory.Limit{Bytes: 256 * mb, Source: memory.Cgroup}},
		"version 2, throttled": {map[string]string{
			"proc/self/mountinfo": v2, "proc/self/cgroup": "0::/a\n",
			"sys/fs/cgroup/a/memory.max": "536870912\n", "sys/fs/cgroup/a/memory.high": "402653184\n",
		}, 0, memory.Limit{Bytes: 384 * mb, Source: memory.Cgroup}},
		"version 2, in its own namespace": {map[string]string{
			"proc/self/mountinfo": v2, "proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "1073741824\n",
		}, 0, memory.Limit{Bytes: gb, Source: memory.Cgroup}},
		"version 1": {map[string]string{
			"proc/self/mountinfo": v1, "proc/self/cgroup": "5:cpu,cpuacct:/x\n4:memory:/a/b\n0::/\n",
			"sys/fs/cgroup/memory/a/b/memory.limit_in_bytes": noLimit, "sys/fs/cgroup/memory/a/memory.limit_in_bytes": "268435456\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": noLimit, "sys/fs/cgroup/cpu/x/memory.limit_in_bytes": "1\n",
		}, 0, memory.Limit{Bytes: 256 * mb, Source: memory.Cgroup}},
		"version 1, a container's part of the tree": {map[string]string{
			"proc/self/mountinfo": v1Bound, "proc/self/cgroup": "4:memory:/docker/abc\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "134217728\n",
		}, 0, memory.Limit{Bytes: 128 * mb, Source: memory.Cgroup}},
		"both, of which version 1 limits memory": {map[string]string{
			"proc/self/mountinfo": v1 + "38 32 0:33 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n", "proc/self/cgroup": "4:memory:/a\n0::/\n",
			"sys/fs/cgroup/memory/a/memory.limit_in_bytes": "268435456\n",
		}, 0, memory.Limit{Bytes: 256 * mb, Source: memory.Cgroup}},
		"no limit": {map[string]string{
			"proc/self/mountinfo": v2, "proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/memory.max": "max\n",
		}, 0, memory.Limit{Bytes: 8 * gb, Source: memory.Machine}},
		"a limit above the machine's memory": {map[string]string{
			"proc/self/mountinfo": v2, "proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/memory.max": "17179869184\n",
		}, 0, memory.Limit{Bytes: 8 * gb, Source: memory.Machine}},
		"GOMEMLIMIT wins": {map[string]string{
			"proc/self/mountinfo": v2, "proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/memory.max": "536870912\n",
		}, 300 * mb, memory.Limit{Bytes: 300 * mb, Source: memory.GoMemLimit}},
		"nonsense": {map[string]string{
			"proc/self/mountinfo": "\n- -\n1 2 3 - cgroup2\n" + v2, "proc/self/cgroup": "0\n0::/../../a\nx:memory:/\n", "sys/fs/cgroup/memory.max": "-5\n",
		}, 0, memory.Limit{Bytes: 8 * gb, Source: memory.Machine}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := memory.Detect(files(tt.files), tt.goMemLimit, 8*gb); got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

// TestDivide checks that the parts leave a third of the memory, and that none is empty.
func TestDivide(t *testing.T) {
	for name, tt := range map[string]struct {
		limit memory.Limit
		total int64
	}{
		"a tiny cgroup":     {memory.Limit{Bytes: 32 * mb, Source: memory.Cgroup}, 128 * mb},
		"a cgroup":          {memory.Limit{Bytes: 500 * mb, Source: memory.Cgroup}, 400 * mb},
		"a laptop":          {memory.Limit{Bytes: 16 * gb, Source: memory.Machine}, 4 * gb},
		"a large server":    {memory.Limit{Bytes: 1 << 40, Source: memory.Machine}, 1 << 38},
		"GOMEMLIMIT":        {memory.Limit{Bytes: 300 * mb, Source: memory.GoMemLimit}, 300 * mb},
		"a tiny GOMEMLIMIT": {memory.Limit{Bytes: mb, Source: memory.GoMemLimit}, 128 * mb},
	} {
		t.Run(name, func(t *testing.T) {
			b := memory.Divide(tt.limit)
			if b.Total != tt.total || b.Limit != tt.limit || b.Heap() != b.Total-b.Caches {
				t.Errorf("got %+v, want a total of %d", b, tt.total)
			}
			sum := int64(0)
			for _, part := range []int64{b.Queue, b.Rings, b.Rollups, b.Rules, b.Bodies, b.Imports, b.Caches} {
				if part < 8*mb {
					t.Errorf("a part has %d bytes: %+v", part, b)
				}
				sum += part
			}
			if sum > b.Total*2/3 {
				t.Errorf("the parts are %d bytes of %d", sum, b.Total)
			}
		})
	}
}
