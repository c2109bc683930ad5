package segment

import (
	"fmt"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// memory holds what a block unpacks. Released blocks leave it to later ones, so that a reader of
// many blocks makes little garbage. A nil memory allocates.
type memory struct {
	texts   arena[byte]
	places  arena[uint32]
	numbers arena[int64]
}

// maxReleased is the most bytes that a block may have used of a memory that serves later blocks.
// Most blocks use a few million.
const maxReleased = 16 << 20

//nolint:gochecknoglobals // of all readers
var released = sync.Pool{New: func() any { return &memory{} }}

// newMemory returns a memory that a block has released, or an empty one.
func newMemory() *memory {
	m := released.Get().(*memory) //nolint:forcetypeassert // it has no others
	m.texts.reset()
	m.places.reset()
	m.numbers.reset()
	return m
}

// release leaves the memory to a later block.
func (m *memory) release() {
	if m.texts.taken+4*m.places.taken+8*m.numbers.taken <= maxReleased {
		released.Put(m)
	}
}

// text returns an empty slice with room for n bytes.
func (m *memory) text(n int) []byte {
	if m == nil {
		return make([]byte, 0, n)
	}
	return m.texts.take(n)[:0]
}

// uint32s returns n numbers of any value.
func (m *memory) uint32s(n int) []uint32 {
	if m == nil {
		return make([]uint32, n)
	}
	return m.places.take(n)
}

// int64s returns n numbers of any value.
func (m *memory) int64s(n int) []int64 {
	if m == nil {
		return make([]int64, n)
	}
	return m.numbers.take(n)
}

// unpack unpacks a frame. The error is ErrDamaged.
func (m *memory) unpack(frame []byte) ([]byte, error) {
	decoder, err := blockUnpacker()
	if err != nil {
		return nil, err
	}
	size := 0
	var header zstd.Header
	if err := header.Decode(frame); err == nil && header.HasFCS {
		size = int(min(header.FrameContentSize, maxPlainBlock)) + 16 // zstd copies faster if some room is left
	}
	plain, err := decoder.DecodeAll(frame, m.text(size))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return plain, nil
}

// arena gives out parts of one slice. It allocates each part that does not fit. The next reset
// then makes the slice larger.
type arena[T any] struct {
	all   []T
	taken int // may exceed all
}

// take returns n elements of any value.
func (a *arena[T]) take(n int) []T {
	from := a.taken
	a.taken += n
	if a.taken > len(a.all) {
		return make([]T, n)
	}
	return a.all[from:a.taken:a.taken]
}

// reset takes all parts back. The next block may be a little larger.
func (a *arena[T]) reset() {
	if a.taken > len(a.all) {
		a.all = make([]T, a.taken+a.taken/4)
	}
	a.taken = 0
}
