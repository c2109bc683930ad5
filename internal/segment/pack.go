package segment

import (
	"encoding/binary"
	"hash/crc32"
	"time"

	"github.com/klauspost/compress/zstd"

	"ospulse/internal/models"
)

// Packer packs consecutive events of a session as a segment. Add gets them block by block,
// so that it holds no more than one block of whole events.
type Packer struct {
	hot                 *Columns
	words               *words
	firstTime, lastTime time.Time
	frameBytes          int // see the constant
}

// Packed is what Add does not return of a segment.
type Packed struct {
	FirstTime, LastTime time.Time // of its events
	Columns             []byte    // for DecodeColumns
	Skip                []byte    // for MayMatch
}

// NewPacker returns a packer without events.
func NewPacker() *Packer { return &Packer{hot: &Columns{}, words: newWords(), frameBytes: frameBytes} }

// MaxBlockBytes limits Data and DataRaw of the events that one call of Add should get. One
// event may be larger. The limit bounds the memory of the packer and of readers.
const MaxBlockBytes = 4 << 20

// Add packs the next events, at least one. It returns the bytes for DecodeBlock. The
// events must have all of their fields; SessionID, Seq and IsSent are not packed. The
// error may be ErrTooLarge.
func (p *Packer) Add(events []models.Event) ([]byte, error) {
	for i := range events {
		e := &events[i]
		if p.hot.Len() == 0 || e.Timestamp.Before(p.firstTime) {
			p.firstTime = e.Timestamp
		}
		if p.hot.Len() == 0 || e.Timestamp.After(p.lastTime) {
			p.lastTime = e.Timestamp
		}
		p.hot.Append(e)
	}
	return p.encodeBlock(events)
}

// Hot returns the hot fields of the events so far.
func (p *Packer) Hot() *Columns { return p.hot }

// Pack returns the rest of the segment. The error may be ErrTooLarge.
func (p *Packer) Pack() (*Packed, error) {
	columns, err := EncodeColumns(p.hot)
	if err != nil {
		return nil, err
	}
	p.words.addHot(p.hot)
	return &Packed{p.firstTime, p.lastTime, columns, p.words.encode()}, nil
}

// encodeBlock packs all that Add packs but the hot fields.
func (p *Packer) encodeBlock(events []models.Event) ([]byte, error) {
	encoder, err := blockPacker()
	if err != nil {
		return nil, err
	}
	b := p.buildBlock(events, encoder)
	if len(b.head) > maxPlainBlock || b.isTooLarge {
		return nil, ErrTooLarge
	}
	head := encoder.EncodeAll(b.head, nil)
	out := make([]byte, blockHeader, blockHeader+binary.MaxVarintLen64+len(head)+len(b.frames))
	out = append(appendBytes(out, head), b.frames...)
	out[0] = blockVersion
	binary.LittleEndian.PutUint32(out[1:], crc32.Checksum(out[blockHeader:], castagnoli))
	return out, nil
}

// blockBuilder collects the parts of a block.
type blockBuilder struct {
	head, frames []byte
	frameBytes   int
	isTooLarge   bool // a frame would be
	encoder      *zstd.Encoder
	scratch      []byte
}

// add adds a column.
func (b *blockBuilder) add(c *column) {
	b.scratch = c.appendTo(b.scratch[:0])
	if len(b.scratch) < b.frameBytes {
		b.head = appendBytes(b.head, b.scratch)
		return
	}
	b.isTooLarge = b.isTooLarge || len(b.scratch) > maxPlainBlock
	b.head = append(b.head, 0)
	b.frames = appendBytes(b.frames, b.encoder.EncodeAll(b.scratch, nil))
}

func appendBytes(out, text []byte) []byte {
	return append(binary.AppendUvarint(out, uint64(len(text))), text...)
}

// buildBlock collects the parts of a block, and the words of the events' data.
func (p *Packer) buildBlock(events []models.Event, encoder *zstd.Encoder) *blockBuilder {
	b := &blockBuilder{frameBytes: p.frameBytes, encoder: encoder, head: binary.AppendUvarint(nil, uint64(len(events)))}
	for _, of := range [numberCount]func(*models.Event) int64{
		numberID:      func(e *models.Event) int64 { return int64(e.ID) },
		numberCreated: func(e *models.Event) int64 { return e.CreatedAt.UnixMicro() },
		numberUpdated: func(e *models.Event) int64 { return e.UpdatedAt.UnixMicro() - e.CreatedAt.UnixMicro() },
	} {
		b.scratch = appendNumbers(b.scratch[:0], events, of)
		b.head = appendBytes(b.head, b.scratch)
	}
	var fields [fieldCount]columnBuilder
	shapes := newShapes()
	for i := range events {
		e := &events[i]
		fields[fieldTimeSource].add([]byte(e.TimestampSource))
		fields[fieldTimeText].add(bytesOf(e.TimestampText))
		fields[fieldDataRaw].add(e.DataRaw)
		fields[fieldPreview].add(previewForm(e))
		shapes.add(e)
	}
	for i := range fields {
		b.add(fields[i].column())
	}
	shapes.addTo(b, p.words)
	return b
}

func bytesOf(text *string) []byte {
	if text == nil {
		return nil
	}
	return []byte(*text)
}

func appendNumbers(out []byte, events []models.Event, of func(*models.Event) int64) []byte {
	last := int64(0)
	for i := range events {
		n := of(&events[i])
		out = binary.AppendVarint(out, n-last)
		last = n
	}
	return out
}
