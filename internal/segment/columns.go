package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"

	"github.com/klauspost/compress/zstd"

	"ospulse/internal/models"
)

// Columns holds the hot fields of some events, in the order of their Seq.
type Columns struct {
	Micros    []int64 // the events' times, microseconds since 1970
	Type      Texts
	Source    Texts
	Operation Texts
	Process   Texts // process names
	Target    Texts
	PID       Numbers
}

// Texts is a column of texts: event i has Values[Index[i]]. Values[0] is nil, for
// events without a value.
type Texts struct {
	Values []*string
	Index  []uint32
	places map[string]uint32 // used while the column is built
}

// Numbers is a column of numbers, built like Texts.
type Numbers struct {
	Values []*int64
	Index  []uint32
	places map[int64]uint32
}

// Len returns the number of events.
func (c *Columns) Len() int { return len(c.Micros) }

// Bytes returns about how much memory the columns take.
func (c *Columns) Bytes() int {
	bytes := 32*c.Len() + 16*len(c.PID.Values)
	for _, texts := range c.texts() {
		bytes += 64 * len(texts.Values)
	}
	return bytes
}

// Append adds an event.
func (c *Columns) Append(e *models.Event) {
	c.Micros = append(c.Micros, e.Timestamp.UnixMicro())
	c.Type.append(&e.EventType)
	c.Source.append(&e.Source)
	c.Operation.append(e.Operation)
	c.Process.append(e.ProcessName)
	c.Target.append(e.Target)
	c.PID.append(e.PID)
}

func (t *Texts) append(value *string) {
	if t.places == nil {
		t.places, t.Values = map[string]uint32{}, []*string{nil}
	}
	place := uint32(0)
	if value != nil {
		var known bool
		if place, known = t.places[*value]; !known {
			text := strings.Clone(*value) // which may be part of a long text
			place = uint32(len(t.Values))
			t.Values = append(t.Values, &text)
			t.places[text] = place
		}
	}
	t.Index = append(t.Index, place)
}

func (n *Numbers) append(value *int64) {
	if n.places == nil {
		n.places, n.Values = map[int64]uint32{}, []*int64{nil}
	}
	place := uint32(0)
	if value != nil {
		var known bool
		if place, known = n.places[*value]; !known {
			number := *value
			place = uint32(len(n.Values))
			n.Values = append(n.Values, &number)
			n.places[number] = place
		}
	}
	n.Index = append(n.Index, place)
}

// version is the first byte of every encoding.
const version = 1

// maxPlainBytes is the largest size to pack, a hundred times the usual one. Events with
// extremely long texts stay in their rows only.
const maxPlainBytes = 8 << 20

// ErrTooLarge means that the columns are too large for a segment.
var ErrTooLarge = errors.New("the events' hot fields are too large for a segment")

//nolint:gochecknoglobals // both are safe for concurrent use, and costly to make
var (
	packer = sync.OnceValues(func() (*zstd.Encoder, error) {
		return zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedDefault))
	})
	unpacker = sync.OnceValues(func() (*zstd.Decoder, error) {
		return zstd.NewReader(nil, zstd.WithDecoderConcurrency(2), zstd.WithDecoderMaxMemory(maxPlainBytes), zstd.WithDecoderLowmem(true))
	})
)

// EncodeColumns packs the columns. The error may be ErrTooLarge.
func EncodeColumns(c *Columns) ([]byte, error) {
	encoder, err := packer()
	if err != nil {
		return nil, err
	}
	out := binary.AppendUvarint([]byte{version}, uint64(c.Len()))
	last := int64(0)
	for _, micros := range c.Micros {
		out = binary.AppendVarint(out, micros-last)
		last = micros
	}
	for _, texts := range c.texts() {
		out = binary.AppendUvarint(out, uint64(len(texts.Values)))
		for _, value := range texts.Values[min(1, len(texts.Values)):] {
			out = append(binary.AppendUvarint(out, uint64(len(*value))), *value...)
		}
		out = appendIndex(out, texts.Index)
	}
	out = binary.AppendUvarint(out, uint64(len(c.PID.Values)))
	for _, value := range c.PID.Values[min(1, len(c.PID.Values)):] {
		out = binary.AppendVarint(out, *value)
	}
	if out = appendIndex(out, c.PID.Index); len(out) > maxPlainBytes {
		return nil, ErrTooLarge
	}
	return encoder.EncodeAll(out, nil), nil
}

func (c *Columns) texts() []*Texts {
	return []*Texts{&c.Type, &c.Source, &c.Operation, &c.Process, &c.Target}
}

func appendIndex(out []byte, index []uint32) []byte {
	for _, place := range index {
		out = binary.AppendUvarint(out, uint64(place))
	}
	return out
}

// DecodeColumns unpacks the result of EncodeColumns. Damaged bytes return an error,
// never a panic.
func DecodeColumns(packed []byte) (*Columns, error) {
	decoder, err := unpacker()
	if err != nil {
		return nil, err
	}
	plain, err := decoder.DecodeAll(packed, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if len(plain) == 0 || plain[0] != version {
		return nil, ErrDamaged
	}
	r := reader{text: plain[1:]}
	n := int(min(r.uvarint(), uint64(len(plain)))) // every event takes at least one byte
	c := &Columns{Micros: r.numbers(n)}
	for _, texts := range c.texts() {
		values := make([]string, max(int(min(r.uvarint(), uint64(len(plain)))), 1))
		texts.Values = make([]*string, len(values))
		for i := 1; i < len(values); i++ {
			values[i] = string(r.bytes()) // a copy each, because callers keep some of them
			texts.Values[i] = &values[i]
		}
		texts.Index = r.index(n, len(values))
	}
	numbers := make([]int64, max(int(min(r.uvarint(), uint64(len(plain)))), 1))
	c.PID.Values = make([]*int64, len(numbers))
	for i := 1; i < len(numbers); i++ {
		numbers[i] = r.varint()
		c.PID.Values[i] = &numbers[i]
	}
	c.PID.Index = r.index(n, len(c.PID.Values))
	if r.failed || len(r.text) > 0 {
		return nil, ErrDamaged
	}
	return c, nil
}

// reader reads varints and texts. After a failure it returns zeros.
type reader struct {
	text   []byte
	memory *memory // of what index, numbers and column return
	failed bool
}

func (r *reader) uvarint() uint64 {
	value, n := binary.Uvarint(r.text)
	r.skip(n)
	return value
}

func (r *reader) varint() int64 {
	value, n := binary.Varint(r.text)
	r.skip(n)
	return value
}

func (r *reader) skip(n int) {
	if n <= 0 {
		r.failed, r.text = true, nil
		return
	}
	r.text = r.text[n:]
}

// index reads n indexes below values.
func (r *reader) index(n, values int) []uint32 {
	index := r.memory.uint32s(n)
	for i := range index {
		var place uint64
		if len(r.text) > 0 && r.text[0] < 0x80 { // most are one byte
			place, r.text = uint64(r.text[0]), r.text[1:]
		} else {
			place = r.uvarint()
		}
		if place >= uint64(values) || place > math.MaxUint32 {
			r.failed = true
			clear(index[i:])
			return index
		}
		index[i] = uint32(place)
	}
	return index
}

func (r *reader) fail() { r.failed, r.text = true, nil }

func (r *reader) byte() byte {
	if len(r.text) == 0 {
		r.fail()
		return 0
	}
	b := r.text[0]
	r.text = r.text[1:]
	return b
}

// count reads the number of things that follow, each of which takes at least a byte.
func (r *reader) count() int {
	n := r.uvarint()
	if n > uint64(len(r.text)) {
		r.fail()
		return 0
	}
	return int(n)
}

func (r *reader) bytes() []byte {
	n := r.count()
	text := r.text[:n:n]
	r.text = r.text[n:]
	return text
}

func (r *reader) numbers(n int) []int64 {
	numbers := r.memory.int64s(n)
	last := int64(0)
	for i := range numbers {
		if len(r.text) > 0 && r.text[0] < 0x80 { // most are one byte
			last += int64(r.text[0]>>1) ^ -int64(r.text[0]&1)
			r.text = r.text[1:]
		} else {
			last += r.varint()
		}
		numbers[i] = last
	}
	return numbers
}
