//go:build planted && (amd64 || arm64)

package plant

import (
	"os"
	"syscall"
	"unsafe"
)

// clockVariable names the file whose first 8 bytes are the offset of the wall clock in
// seconds, in the byte order of the machine.
const clockVariable = "OSPULSE_JUDGE_CLOCK"

// offset is the mapped file. clockGettime reads it.
var offset *int64

// The wall clock follows the file from here on. The monotonic clock stays as it is, as
// when an administrator or NTP sets a machine's clock. Changing package time instead
// would compile everything that imports it again.
func init() {
	name, ok := os.LookupEnv(clockVariable)
	if !ok {
		return
	}
	file, err := os.Open(name)
	if err != nil {
		panic(err)
	}
	page, err := syscall.Mmap(int(file.Fd()), 0, 8, syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		panic(err)
	}
	offset = (*int64)(unsafe.Pointer(&page[0]))
	replaceClock()
}

// replaceClock makes the runtime call clockGettime instead of the kernel's function of
// that name.
func replaceClock()

// clockGettime is clock_gettime with the calling convention of C. It adds offset to
// CLOCK_REALTIME.
func clockGettime()
