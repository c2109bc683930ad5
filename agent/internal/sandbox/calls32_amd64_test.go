//go:build linux

package sandbox

import (
	"errors"
	"os/exec"
	"syscall"
	"testing"
)

// int80 defines a function in Python that makes a 32-bit call from a 64-bit program.
const int80 = python + `
def int80(n, a=0, b=0, c=0):
  # push rbx; mov eax,edi; mov ebx,esi; mov ecx,edx; mov edx,r8d; int 0x80; pop rbx; ret
  code = bytes.fromhex('53 89f8 89f3 89d1 4489c2 cd80 5b c3')
  m = mmap.mmap(-1, 4096, prot=7)
  m.write(code)
  f = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(m)))
  return f(n, a, b, 0, c)
`

// has32BitCalls reports whether this machine's kernel answers int 0x80. A kernel that was
// booted with ia32_emulation=off, or a paravirtualised guest, sends SIGSEGV instead.
func has32BitCalls(t *testing.T) bool {
	t.Helper()
	out, err := exec.Command("/usr/bin/python3", "-c", int80+"print(int80(20) == os.getpid())\n").CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signal() == syscall.SIGSEGV {
			return false
		}
	}
	if err != nil || string(out) != "True\n" {
		t.Fatalf("the probe for 32-bit calls: %v: %s", err, out)
	}
	return true
}

// Test32BitCalls makes denied and allowed calls by int 0x80. If the machine does not support
// them, a signal of the kernel ends the program and the result says so.
func Test32BitCalls(t *testing.T) {
	needsPython(t)
	r := ended(t, int80+`
print('begins', flush=True)
print(int80(20) == os.getpid(), int80(21), int80(310, 0x10000000), int80(357), int80(336), int80(102, 1), int80(359, 40, 1, 0), int80(359, 2, 1, 0) > 0, int80(435), int80(54, 0, 0x5412), int80(120, 0x10000000))
`, small())
	output, reason, code, signal := "begins\n", ReasonKilled, -1, syscall.SIGSEGV
	if has32BitCalls(t) {
		output, reason, code, signal = "begins\nTrue -1 -1 -1 -1 -1 -97 True -38 -1 -1\n", ReasonExited, 0, 0
	}
	if string(r.Output) != output || r.Reason != reason || r.ExitCode != code || r.Signal != signal {
		t.Errorf("got %q, %s, code %d, signal %v; want %q, %s, %d, %v", r.Output, r.Reason, r.ExitCode, r.Signal, output, reason, code, signal)
	}
}
