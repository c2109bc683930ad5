package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"

	"ospulse/internal/jsonscan"
	"ospulse/internal/models"
)

// Block holds the parts of consecutive events that Columns lack. It is not safe for
// concurrent use.
//
// The Data of each event is cut into its shape, which is the text around the values, and
// the values (cut). The events of a program have few shapes. The values at one place of a
// shape form a column. So do the other fields of all events. A column is unpacked when it
// is used.
type Block struct {
	hot    *Columns
	first  int // the block's first event in hot
	n      int // events
	bytes  int // about, of memory
	memory *memory

	numbers [numberCount]packedNumbers
	fields  [fieldCount]packedColumn
	shapeOf []uint32 // of each event
	row     []uint32 // of each event, among the events of its shape
	shapes  []shape
	damaged bool

	hotJSON    [refKinds][][]byte // by place in the column of the hot field; nil until it is used
	scratch    []byte
	timeSource string // of the last event
	arena      []byte // memory for the data of the next events
	dataLen    int    // of the last event
}

// shape is the text around the values of some events' data.
type shape struct {
	parts   [][]byte
	columns []packedColumn // of the values between the parts
	events  []uint32       // that have this shape

	// How to write the data of an event: each piece is a text, and then a value of a
	// column. Values that all events share are part of the texts. Nil until it is used.
	pieces []piece
	end    []byte
}

type piece struct {
	text   []byte
	column *column
}

// packedColumn is a column that is unpacked when it is used.
type packedColumn struct {
	packed   []byte
	isFrame  bool // packed is a frame of zstd
	unpacked *column
}

// packedNumbers is a list of numbers that is unpacked when it is used.
type packedNumbers struct {
	packed   []byte
	unpacked []int64
}

// The numbers of each event.
const (
	numberID      = iota
	numberCreated // CreatedAt in microseconds
	numberUpdated // UpdatedAt − CreatedAt
	numberCount
)

// The fields of an event that are columns of a block.
const (
	fieldTimeSource = iota
	fieldTimeText
	fieldDataRaw
	fieldPreview // see previewForm
	fieldCount
)

// blockVersion is the first byte of an encoded block. The CRC-32 (Castagnoli) of the rest
// follows, four bytes, little-endian; then the length of the head; then the head and the
// large columns, each a frame of zstd.
const (
	blockVersion = 1
	blockHeader  = 5
)

// frameBytes is the size from which a column is a frame of its own, so that readers unpack
// it only if they need it. Smaller columns are in the head: they compress better together.
const frameBytes = 8 << 10

// maxPlainBlock limits what a frame may unpack to. It exceeds the largest event.
const maxPlainBlock = 128 << 20

// blockWindow is the distance up to which zstd finds repetitions in a frame. The packer
// keeps a few times as much memory.
const blockWindow = 1 << 20

//nolint:gochecknoglobals // safe for concurrent use, and costly to make
var (
	castagnoli  = crc32.MakeTable(crc32.Castagnoli)
	blockPacker = sync.OnceValues(func() (*zstd.Encoder, error) {
		return zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedBetterCompression), zstd.WithEncoderCRC(false), zstd.WithWindowSize(blockWindow))
	})
	blockUnpacker = sync.OnceValues(func() (*zstd.Decoder, error) {
		return zstd.NewReader(nil, zstd.WithDecoderConcurrency(2), zstd.WithDecoderMaxMemory(maxPlainBlock), zstd.WithDecoderLowmem(true))
	})
)

// ErrDamaged means that a Packer did not make the bytes.
var ErrDamaged = errors.New("the segment is damaged")

// DecodeBlock unpacks a result of Packer.Add. hot has the events' hot fields; the block's first
// event is the one at first. Damaged bytes return ErrDamaged, never a panic. The block keeps
// packed until it is released.
func DecodeBlock(packed []byte, hot *Columns, first int) (*Block, error) {
	if len(packed) < blockHeader {
		return nil, ErrDamaged
	}
	if packed[0] != blockVersion {
		return nil, fmt.Errorf("format %d of blocks is unknown to this version", packed[0])
	}
	if binary.LittleEndian.Uint32(packed[1:]) != crc32.Checksum(packed[blockHeader:], castagnoli) {
		return nil, ErrDamaged
	}
	r, m := reader{text: packed[blockHeader:]}, newMemory()
	head, err := m.unpack(r.bytes())
	if r.failed || err != nil {
		return nil, ErrDamaged
	}
	return readBlock(head, r.text, hot, first, m)
}

// Release gives the block's memory to a later block. The caller must not use the block any more,
// nor what its methods returned, except events. A block that nobody releases is only garbage.
func (b *Block) Release() {
	b.memory.release()
	*b = Block{}
}

// readBlock reads the head and the frames of a block.
func readBlock(head, frames []byte, hot *Columns, first int, m *memory) (*Block, error) {
	r, rest := reader{text: head, memory: m}, reader{text: frames}
	n := r.count()
	if first < 0 || n > hot.Len()-first {
		return nil, ErrDamaged
	}
	b := &Block{hot: hot, first: first, n: n, bytes: len(head) + len(frames) + 12*n, memory: m}
	for i := range b.numbers {
		b.numbers[i].packed = r.bytes()
	}
	for i := range b.fields {
		b.fields[i] = r.packedColumn(&rest)
	}
	b.shapes = make([]shape, r.count())
	for i := range b.shapes {
		b.shapes[i].parts = make([][]byte, r.count())
		for j := range b.shapes[i].parts {
			b.shapes[i].parts[j] = r.bytes()
		}
		if len(b.shapes[i].parts) == 0 {
			r.fail()
		}
	}
	b.shapeOf = r.index(n, len(b.shapes))
	for i := range b.shapes {
		s := &b.shapes[i]
		s.columns = make([]packedColumn, max(len(s.parts)-1, 0))
		for j := range s.columns {
			s.columns[j] = r.packedColumn(&rest)
		}
	}
	if r.failed || rest.failed || len(r.text) > 0 || len(rest.text) > 0 {
		return nil, ErrDamaged
	}
	b.row = m.uint32s(n)
	counts := m.uint32s(len(b.shapes))
	clear(counts)
	for i, place := range b.shapeOf {
		b.row[i] = counts[place]
		counts[place]++
	}
	all := m.uint32s(n)
	for i := range b.shapes {
		b.shapes[i].events, all = all[:0:counts[i]], all[counts[i]:]
	}
	for i, place := range b.shapeOf {
		s := &b.shapes[place]
		s.events = append(s.events, uint32(i))
	}
	return b, nil
}

// packedColumn reads the place of a column: in the head, or the next frame.
func (r *reader) packedColumn(frames *reader) packedColumn {
	if n := r.count(); n > 0 {
		p := packedColumn{packed: r.text[:n:n]}
		r.text = r.text[n:]
		return p
	}
	return packedColumn{packed: frames.bytes(), isFrame: true}
}

// column returns a column with this number of rows. The checksum protects its bytes. If
// they are not those of a column nevertheless, it returns an empty one, and Err an error.
func (b *Block) column(p *packedColumn, rows int) *column {
	if p.unpacked != nil {
		return p.unpacked
	}
	if p.isFrame {
		plain, err := b.memory.unpack(p.packed)
		p.packed, p.isFrame = plain, false
		b.bytes += len(plain)
		b.damaged = b.damaged || err != nil
	}
	r := reader{text: p.packed, memory: b.memory}
	c := r.column(rows)
	if r.failed || len(r.text) > 0 {
		b.damaged = true
		c = emptyColumn
	}
	p.packed, p.unpacked = nil, &c
	b.bytes += len(c.text) + 4*len(c.ends) + 4*len(c.index)
	return &c
}

// field returns a field of event i.
func (b *Block) field(field, i int) []byte { return b.column(&b.fields[field], b.n).at(i) }

// number returns a number of event i.
func (b *Block) number(number, i int) int64 {
	p := &b.numbers[number]
	if p.unpacked == nil {
		r := reader{text: p.packed, memory: b.memory}
		p.unpacked = r.numbers(b.n)
		b.damaged = b.damaged || r.failed || len(r.text) > 0
	}
	return p.unpacked[i]
}

// Err returns ErrDamaged if something that was read of the block is damaged.
func (b *Block) Err() error {
	if b.damaged {
		return ErrDamaged
	}
	return nil
}

// Len returns the number of events.
func (b *Block) Len() int { return b.n }

// Bytes returns about how much memory the block takes, without its columns of hot fields.
// That grows when it is used.
func (b *Block) Bytes() int { return b.bytes }

// ID returns the ID of event i.
func (b *Block) ID(i int) uint64 { return uint64(b.number(numberID, i)) }

// AppendData appends the Data of event i.
func (b *Block) AppendData(out []byte, i int) []byte {
	s, row := &b.shapes[b.shapeOf[i]], int(b.row[i])
	if s.end == nil {
		b.setPieces(s)
	}
	for j := range s.pieces {
		p := &s.pieces[j]
		out = append(out, p.text...)
		if value := p.column.at(row); value != nil {
			out = append(out, value...)
		} else {
			out = append(out, b.hotValue(p.column.ref, i)...)
		}
	}
	return append(out, s.end...)
}

func (b *Block) setPieces(s *shape) {
	s.pieces = make([]piece, 0, len(s.columns))
	size := len(s.parts[0])
	for j := range s.columns {
		if c := b.column(&s.columns[j], len(s.events)); c.isSame() {
			size += len(c.at(0))
		}
		size += len(s.parts[j+1])
	}
	texts, from := append(b.memory.text(size), s.parts[0]...), 0
	for j := range s.columns {
		if c := s.columns[j].unpacked; c.isSame() {
			texts = append(texts, c.at(0)...)
		} else {
			s.pieces = append(s.pieces, piece{texts[from:len(texts):len(texts)], c})
			from = len(texts)
		}
		texts = append(texts, s.parts[j+1]...)
	}
	s.end = texts[from:len(texts):len(texts)]
}

// hotValue returns a hot field of event i as JSON; nil if the event lacks it. The time is
// valid until the next call.
func (b *Block) hotValue(kind refKind, i int) []byte {
	switch kind {
	case refNothing:
		return nil
	case refTime:
		b.scratch = appendTime(b.scratch[:0], b.hot.Micros[i+b.first])
		return b.scratch
	}
	known := b.hotJSON[kind]
	if known == nil {
		known = make([][]byte, b.hot.different(kind))
		b.hotJSON[kind] = known
	}
	place := b.hot.place(kind, i+b.first)
	if known[place] == nil {
		known[place] = b.hot.json(kind, place)
	}
	return known[place]
}

// arenaBytes is the size of the memory from which an event gets its data, so that not
// every event allocates.
const arenaBytes = 16 << 10

// Event sets all fields of e but SessionID, Seq and IsSent to those of event i. The event stays
// valid when the block is released.
func (b *Block) Event(e *models.Event, i int) error {
	if cap(b.arena)-len(b.arena) < b.dataLen+32 {
		b.arena = make([]byte, 0, max(arenaBytes, b.dataLen+32))
	}
	before := len(b.arena)
	b.arena = b.exported(e, i, b.arena)
	b.dataLen = len(b.arena) - before
	e.UpdatedAt = utc(b.number(numberCreated, i) + b.number(numberUpdated, i))
	if form := b.field(fieldPreview, i); form != nil {
		preview, err := previewOf(form, e.Data)
		if err != nil {
			return err
		}
		e.Preview = &preview
	}
	return b.Err()
}

// Exported is Event without Preview and UpdatedAt. It appends the event's Data and DataRaw to
// out, where they stay.
func (b *Block) Exported(e *models.Event, i int, out []byte) ([]byte, error) {
	out = b.exported(e, i, out)
	return out, b.Err()
}

func (b *Block) exported(e *models.Event, i int, out []byte) []byte {
	before := len(out)
	out = b.AppendData(out, i)
	if source := b.field(fieldTimeSource, i); string(source) != b.timeSource {
		b.timeSource = string(source)
	}
	*e = models.Event{ID: b.ID(i), TimestampSource: b.timeSource, Data: out[before:len(out):len(out)], CreatedAt: utc(b.number(numberCreated, i))}
	if raw := b.field(fieldDataRaw, i); raw != nil {
		from := len(out)
		out = append(out, raw...)
		e.DataRaw = out[from:len(out):len(out)]
	}
	b.hot.Event(e, i+b.first)
	if text := b.field(fieldTimeText, i); text != nil {
		s := string(text)
		e.TimestampText = &s
	}
	return out
}

func utc(micros int64) time.Time { return time.UnixMicro(micros).UTC() }

// Event sets the hot fields of e to those of event i.
func (c *Columns) Event(e *models.Event, i int) {
	e.Timestamp = utc(c.Micros[i])
	e.EventType, e.Source = deref(c.Type.at(i)), deref(c.Source.at(i))
	e.Operation, e.ProcessName, e.Target, e.PID = c.Operation.at(i), c.Process.at(i), c.Target.at(i), c.PID.Values[c.PID.Index[i]]
}

// at returns the value of event i.
func (t *Texts) at(i int) *string { return t.Values[t.Index[i]] }

func deref(text *string) string {
	if text == nil {
		return ""
	}
	return *text
}

// refTexts returns the column of texts that a reference means.
func (c *Columns) refTexts(kind refKind) *Texts { return c.texts()[kind-refType] }

// different returns the number of places in the column of a hot field, which is not the
// time.
func (c *Columns) different(kind refKind) int {
	if kind == refPID {
		return len(c.PID.Values)
	}
	return len(c.refTexts(kind).Values)
}

// place returns the place of event i in the column of a hot field, which is not the time.
func (c *Columns) place(kind refKind, i int) uint32 {
	if kind == refPID {
		return c.PID.Index[i]
	}
	return c.refTexts(kind).Index[i]
}

// json returns the value at a place in the column of a hot field as JSON; nil if there is
// none.
func (c *Columns) json(kind refKind, place uint32) []byte {
	if kind == refPID {
		if pid := c.PID.Values[place]; pid != nil {
			return strconv.AppendInt(nil, *pid, 10)
		}
	} else if text := c.refTexts(kind).Values[place]; text != nil {
		return jsonscan.AppendText(nil, *text)
	}
	return nil
}
