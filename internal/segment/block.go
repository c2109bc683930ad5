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
// shape form a column. So do the other fields of all events.
type Block struct {
	hot   *Columns
	first int // the block's first event in hot

	ids, created, updated []int64 // of each event: ID; CreatedAt in microseconds; UpdatedAt after CreatedAt
	fields                [fieldCount]column
	shapeOf               []uint32 // of each event
	row                   []uint32 // of each event, among the events of its shape
	shapes                []shape
	damaged               bool
	dataLen               int // of the last event
}

// shape is the text around the values of some events' data.
type shape struct {
	parts   [][]byte
	packed  [][]byte  // columns of the values between the parts
	columns []*column // the same; nil until they are used
	rows    int       // events of this shape
}

// The fields of an event that are columns of a block.
const (
	fieldTimeSource = iota
	fieldTimeText
	fieldDataRaw
	fieldPreview // see previewForm
	fieldCount
)

// blockVersion is the first byte of an encoded block. The CRC-32 (Castagnoli) of the rest
// follows, four bytes, little-endian; then a frame of zstd.
const (
	blockVersion = 1
	blockHeader  = 5
)

// maxPlainBlock limits what a block may unpack to. It exceeds the largest event.
const maxPlainBlock = 128 << 20

// blockWindow is the distance up to which zstd finds repetitions in a block, which
// unpacks to about 1 MB. The packer keeps a few times as much memory.
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
// event is the one at first. Damaged bytes return ErrDamaged, never a panic.
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
	decoder, err := blockUnpacker()
	if err != nil {
		return nil, err
	}
	plain, err := decoder.DecodeAll(packed[blockHeader:], nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return readBlock(plain, hot, first)
}

// readBlock reads the result of appendBlock.
func readBlock(plain []byte, hot *Columns, first int) (*Block, error) {
	r := reader{text: plain}
	n := r.count()
	if first < 0 || n > hot.Len()-first {
		return nil, ErrDamaged
	}
	b := &Block{hot: hot, first: first, ids: r.numbers(n), created: r.numbers(n), updated: r.numbers(n), row: make([]uint32, n)}
	for i := range b.fields {
		b.fields[i] = r.column(n)
	}
	b.shapes = make([]shape, r.count())
	for i := range b.shapes {
		b.shapes[i].parts = make([][]byte, r.count())
		for j := range b.shapes[i].parts {
			b.shapes[i].parts[j] = r.bytes()
		}
	}
	b.shapeOf = r.index(n, len(b.shapes))
	for i := range b.shapes {
		s := &b.shapes[i]
		s.packed = make([][]byte, max(len(s.parts)-1, 0))
		s.columns = make([]*column, len(s.packed))
		for j := range s.packed {
			s.packed[j] = r.bytes()
		}
	}
	if r.failed || len(r.text) > 0 {
		return nil, ErrDamaged
	}
	for i, place := range b.shapeOf {
		b.row[i] = uint32(b.shapes[place].rows)
		b.shapes[place].rows++
	}
	return b, nil
}

// column returns the column of a shape at a place. The checksum protects its bytes. If
// they are not those of a column nevertheless, it returns an empty one, and Err an error.
func (b *Block) column(s *shape, place int) *column {
	if c := s.columns[place]; c != nil {
		return c
	}
	r := reader{text: s.packed[place]}
	c := r.column(s.rows)
	if r.failed || len(r.text) > 0 {
		b.damaged = true
		c = column{values: make([][]byte, 1), index: make([]uint32, s.rows)}
	}
	s.columns[place] = &c
	return &c
}

// Err returns ErrDamaged if something that was read of the block is damaged.
func (b *Block) Err() error {
	if b.damaged {
		return ErrDamaged
	}
	return nil
}

// Len returns the number of events.
func (b *Block) Len() int { return len(b.ids) }

// ID returns the ID of event i.
func (b *Block) ID(i int) uint64 { return uint64(b.ids[i]) }

// AppendData appends the Data of event i.
func (b *Block) AppendData(out []byte, i int) []byte {
	s, row := &b.shapes[b.shapeOf[i]], int(b.row[i])
	for j := range s.columns {
		out = append(out, s.parts[j]...)
		out = b.appendValue(out, b.column(s, j), row, i)
	}
	if len(s.parts) > 0 {
		out = append(out, s.parts[len(s.parts)-1]...)
	}
	return out
}

// appendValue appends the value of a column that event i has; row is the event's row.
func (b *Block) appendValue(out []byte, c *column, row, i int) []byte {
	if value := c.at(row); value != nil {
		return append(out, value...)
	}
	return b.hot.appendJSON(out, c.ref, i+b.first)
}

// Event sets all fields of e but SessionID, Seq and IsSent to those of event i.
func (b *Block) Event(e *models.Event, i int) error {
	hot := i + b.first
	data := b.AppendData(make([]byte, 0, b.dataLen+32), i)
	b.dataLen = len(data)
	*e = models.Event{
		ID: uint64(b.ids[i]), TimestampSource: string(b.fields[fieldTimeSource].at(i)), Data: data, DataRaw: b.fields[fieldDataRaw].at(i),
		CreatedAt: utc(b.created[i]), UpdatedAt: utc(b.created[i] + b.updated[i]),
	}
	b.hot.Event(e, hot)
	if text := b.fields[fieldTimeText].at(i); text != nil {
		s := string(text)
		e.TimestampText = &s
	}
	if form := b.fields[fieldPreview].at(i); form != nil {
		preview, err := previewOf(form, data)
		if err != nil {
			return err
		}
		e.Preview = &preview
	}
	return b.Err()
}

// previewOf reverses previewForm.
func previewOf(form, data []byte) (string, error) {
	if len(form) > 0 && form[0] == '=' {
		return string(form[1:]), nil
	}
	n, err := strconv.Atoi(string(form))
	if err != nil || n < 0 || n > len(data) {
		return "", ErrDamaged
	}
	return string(data[:n]), nil
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

// appendJSON appends a hot field of event i as JSON; nothing if the event lacks it.
func (c *Columns) appendJSON(out []byte, kind refKind, i int) []byte {
	switch kind {
	case refTime:
		return appendTime(out, c.Micros[i])
	case refPID:
		if pid := c.PID.Values[c.PID.Index[i]]; pid != nil {
			return strconv.AppendInt(out, *pid, 10)
		}
		return out
	case refNothing:
		return out
	}
	if text := c.refTexts(kind).at(i); text != nil {
		return jsonscan.AppendText(out, *text)
	}
	return out
}

// refTexts returns the column of texts that a reference means.
func (c *Columns) refTexts(kind refKind) *Texts { return c.texts()[kind-refType] }
