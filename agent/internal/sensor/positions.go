//go:build linux

package sensor

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// positions are the positions of a ring buffer up to which the kernel has written and the
// agent has read, in bytes since its creation. Each is at the start of a page of its own: see
// kernel/bpf/ringbuf.c. The zero value's positions are 0.
type positions struct{ consumer, producer []byte }

func openPositions(ringFD int) (positions, error) {
	page := os.Getpagesize()
	consumer, err := unix.Mmap(ringFD, 0, page, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return positions{}, fmt.Errorf("map the ring's consumer position: %w", err)
	}
	producer, err := unix.Mmap(ringFD, int64(page), page, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return positions{}, errors.Join(fmt.Errorf("map the ring's producer position: %w", err), unix.Munmap(consumer))
	}
	return positions{consumer, producer}, nil
}

func (p positions) written() uint64 { return position(p.producer) }

func (p positions) read() uint64 { return position(p.consumer) }

func position(page []byte) uint64 {
	if len(page) == 0 {
		return 0
	}
	return uint64(atomic.LoadUintptr((*uintptr)(unsafe.Pointer(&page[0]))))
}

func (p positions) close() error {
	return errors.Join(unix.Munmap(p.consumer), unix.Munmap(p.producer))
}
