//go:build linux

package sensor

import (
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// TestObjectsFitOldKernels checks that the objects of both architectures use only features
// of Linux 5.8, the first with the ring buffer, that every kernel is built with.
func TestObjectsFitOldKernels(t *testing.T) {
	const newestHelper = asm.FnCsumLevel // the last of 5.8
	maps := []ebpf.MapType{ebpf.Hash, ebpf.Array, ebpf.PerCPUArray, ebpf.LRUHash, ebpf.RingBuf}
	for _, path := range []string{"bpf_x86_bpfel.o", "bpf_arm64_bpfel.o"} {
		spec, err := ebpf.LoadCollectionSpec(path)
		if err != nil {
			t.Fatal(err)
		}
		if len(spec.Programs) < 10 {
			t.Errorf("%s has %d programs", path, len(spec.Programs))
		}
		for name, program := range spec.Programs {
			if program.Type != ebpf.RawTracepoint && program.Type != ebpf.Kprobe { // the type of uprobes
				t.Errorf("%s: %s is a %s", path, name, program.Type)
			}
			helpers := 0
			for _, ins := range program.Instructions {
				switch {
				case ins.IsKfuncCall():
					t.Errorf("%s: %s calls a function of the kernel", path, name)
				case ins.IsBuiltinCall():
					helpers++
					if helper := asm.BuiltinFunc(ins.Constant); helper > newestHelper {
						t.Errorf("%s: %s uses %v", path, name, helper)
					}
				case ins.OpCode.Class() == asm.StXClass && ins.OpCode.Mode() == asm.AtomicMode && ins.Constant != int64(asm.Add):
					t.Errorf("%s: %s has an atomic operation of 5.12: %v", path, name, ins)
				}
			}
			if helpers == 0 {
				t.Errorf("%s: found no call of a helper in %s", path, name)
			}
		}
		for name, m := range spec.Maps {
			if !slices.Contains(maps, m.Type) {
				t.Errorf("%s: map %s is a %s", path, name, m.Type)
			}
		}
	}
}
