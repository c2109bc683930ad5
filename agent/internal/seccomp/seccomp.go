//go:build linux

// Package seccomp builds filters for system calls; see seccomp(2).
package seccomp

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The offsets in struct seccomp_data. An argument has its lower half there: all supported
// architectures are little endian.
const (
	Number = 0
	Arch   = 4
	Arg0   = 16
	Arg1   = 24
	Arg2   = 32
)

// NativeArch identifies the architecture of the agent in a filter.
var NativeArch = map[string]uint32{"amd64": unix.AUDIT_ARCH_X86_64, "arm64": unix.AUDIT_ARCH_AARCH64}[runtime.GOARCH] //nolint:gochecknoglobals // a constant

// Program is a filter.
type Program []unix.SockFilter

// Add adds an instruction.
func (p *Program) Add(code uint16, jt, jf uint8, k uint32) {
	*p = append(*p, unix.SockFilter{Code: code, Jt: jt, Jf: jf, K: k})
}

// Load loads the value at an offset in struct seccomp_data.
func (p *Program) Load(offset uint32) { p.Add(unix.BPF_LD|unix.BPF_W|unix.BPF_ABS, 0, 0, offset) }

// Answer ends the filter with an answer.
func (p *Program) Answer(value uint32) { p.Add(unix.BPF_RET|unix.BPF_K, 0, 0, value) }

// Each returns an answer if the loaded value is one of the values.
func (p *Program) Each(values []uint32, value uint32) {
	for _, v := range values {
		p.Add(unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K, 0, 1, v)
		p.Answer(value)
	}
}

// Call adds the rules for one system call. They test the value at an offset in its data, and
// allow the call if no rule answers.
func (p *Program) Call(number, offset uint32, rules Program) {
	p.Add(unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K, 0, uint8(len(rules)+2), number)
	p.Load(offset)
	*p = append(*p, rules...)
	p.Answer(unix.SECCOMP_RET_ALLOW)
}

// Bytes returns the filter in the format that bubblewrap reads.
func (p Program) Bytes() []byte {
	text := make([]byte, 0, 8*len(p))
	for _, in := range p {
		text = binary.NativeEndian.AppendUint16(text, in.Code)
		text = append(text, in.Jt, in.Jf)
		text = binary.NativeEndian.AppendUint32(text, in.K)
	}
	return text
}

// Install applies the filter to all threads of the agent's process, for ever, and denies
// them new privileges.
func (p Program) Install() error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("deny new privileges: %w", err)
	}
	all := unix.SockFprog{Len: uint16(len(p)), Filter: &p[0]}
	if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&all))); errno != 0 {
		return fmt.Errorf("install the filter for system calls: %w", errno)
	}
	return nil
}
