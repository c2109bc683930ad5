//go:build linux

package sensor

import (
	"cmp"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// TestObjectsFitOldKernels checks that the objects of both architectures use only features
// of Linux 5.8, the first with the ring buffer, that every kernel is built with.
func TestObjectsFitOldKernels(t *testing.T) {
	const newestHelper = asm.FnCsumLevel // the last of 5.8
	maps := []ebpf.MapType{ebpf.Hash, ebpf.Array, ebpf.PerCPUArray, ebpf.LRUHash, ebpf.LPMTrie, ebpf.RingBuf}
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

// TestStacksFitOldKernels checks the stack that each chain of functions needs. Kernels before
// 6.13 allow 512 bytes in all, and count a function's bytes in steps of 32. Newer ones give each
// function a stack of its own, so that the programs would load here in any case.
func TestStacksFitOldKernels(t *testing.T) {
	const most, frames = 512, 8
	for _, path := range []string{"bpf_x86_bpfel.o", "bpf_arm64_bpfel.o"} {
		spec, err := ebpf.LoadCollectionSpec(path)
		if err != nil {
			t.Fatal(err)
		}
		for name, program := range spec.Programs {
			sizes, calls, function, entry := map[string]int{}, map[string][]string{}, "", ""
			var last asm.Instruction
			for _, ins := range program.Instructions {
				if symbol := ins.Symbol(); symbol != "" {
					function = symbol
					entry = cmp.Or(entry, symbol)
				}
				offset := 0
				switch class := ins.OpCode.Class(); {
				case class == asm.LdXClass && ins.Src == asm.RFP, class.IsStore() && ins.Dst == asm.RFP:
					offset = int(ins.Offset)
				case ins.OpCode == asm.Add.Op(asm.ImmSource) && last.OpCode == asm.Mov.Op(asm.RegSource) && last.Src == asm.RFP && last.Dst == ins.Dst:
					offset = int(ins.Constant) // the address of a variable
				}
				sizes[function] = max(sizes[function], -offset)
				if ins.IsFunctionCall() {
					calls[function] = append(calls[function], ins.Reference())
				}
				last = ins
			}
			var deepest func(function string) (size int, chain []string)
			deepest = func(function string) (size int, chain []string) {
				for _, callee := range calls[function] {
					if below, its := deepest(callee); below > size {
						size, chain = below, its
					}
				}
				return size + (max(sizes[function], 1)+31)&^31, append([]string{function}, chain...)
			}
			if size, chain := deepest(entry); size > most || len(chain) > frames || size < 64 && len(calls[entry]) > 0 {
				t.Errorf("%s: %s needs %d bytes of stack: %v", path, name, size, chain)
			}
		}
	}
}
