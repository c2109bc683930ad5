//go:build linux

package delivery

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"time"
)

// A segment is a file of the spool: a header, then records. All numbers are
// little endian.
//
//	segment header: magic (8) | events before it (8) | CRC-32C of both (4)
//
//	record:  0  magic
//	         4  CRC-32C of bytes 9 to the end of the session id
//	         8  1 if the record is done; the only byte that ever changes
//	         9  length of the key
//	        10  length of the session id (2)
//	        12  length of the payload
//	        16  CRC-32C of the payload
//	        20  events in it
//	        24  events in the spool before it (8)
//	        32  time of the first event, 40 of the last one: µs since 1970 (8)
//	        48  key, session id, payload
//
// The running count of events shows how many events were in records whose header is
// unreadable.
const (
	segmentHeader = 20
	recordHeader  = 48
	doneAt        = 8

	// maxPayload is far above the largest batch, which is one event of maxEventBytes.
	maxPayload = 64 << 20
	maxName    = recordHeader + 0xff + 0xffff // largest header with key and session id
)

var (
	segmentMagic = []byte("OSPSPL1\n") //nolint:gochecknoglobals // a constant
	// recordMagic begins with a byte that UTF-8 text never contains.
	recordMagic = []byte{0xf5, 'O', 'S', 'R'}         //nolint:gochecknoglobals // a constant
	castagnoli  = crc32.MakeTable(crc32.Castagnoli)   //nolint:gochecknoglobals // a table of constants
	errDamaged  = errors.New("the record is damaged") // of the spool
	errForeign  = errors.New("the segment's header is damaged")
)

// record is the decoded header of a record.
type record struct {
	key, session string
	payload      uint32 // length
	checksum     uint32 // of the payload
	count        uint32 // events
	first        uint64 // events before it
	from, to     time.Time
	done         bool
}

// headerLen returns the length of the header with key and session id.
func (r *record) headerLen() int { return recordHeader + len(r.key) + len(r.session) }

// size returns the length of the record in bytes.
func (r *record) size() int64 { return int64(r.headerLen()) + int64(r.payload) }

// appendHeader appends the header with key and session id.
func (r *record) appendHeader(out []byte) []byte {
	start := len(out)
	out = append(out, recordMagic...)
	out = append(out, 0, 0, 0, 0, 0, byte(len(r.key))) // the checksum comes last
	if r.done {
		out[start+doneAt] = 1
	}
	out = binary.LittleEndian.AppendUint16(out, uint16(len(r.session)))
	out = binary.LittleEndian.AppendUint32(out, r.payload)
	out = binary.LittleEndian.AppendUint32(out, r.checksum)
	out = binary.LittleEndian.AppendUint32(out, r.count)
	out = binary.LittleEndian.AppendUint64(out, r.first)
	out = binary.LittleEndian.AppendUint64(out, uint64(r.from.UnixMicro()))
	out = binary.LittleEndian.AppendUint64(out, uint64(r.to.UnixMicro()))
	out = append(out, r.key...)
	out = append(out, r.session...)
	binary.LittleEndian.PutUint32(out[start+4:], crc32.Checksum(out[start+doneAt+1:], castagnoli))
	return out
}

// readRecord reads the header at an offset of a segment of size bytes, which
// holds the header whole but maybe not all of the payload. Everything that is no
// such header is errDamaged. The buffer is of maxName bytes.
func readRecord(segment io.ReaderAt, offset, size int64, buffer []byte) (record, error) {
	if size-offset < recordHeader {
		return record{}, errDamaged
	}
	head := buffer[:recordHeader]
	if n, err := segment.ReadAt(head, offset); n < len(head) {
		return record{}, fmt.Errorf("read the spool: %w", err)
	}
	end := namesEnd(head)
	if !bytes.HasPrefix(head, recordMagic) || int64(end) > size-offset {
		return record{}, errDamaged
	}
	head = buffer[:end]
	if n, err := segment.ReadAt(head[recordHeader:], offset+recordHeader); n < end-recordHeader {
		return record{}, fmt.Errorf("read the spool: %w", err)
	}
	return parseRecord(head)
}

// namesEnd returns the length of the header with key and session id. head holds at least
// its first 12 bytes.
func namesEnd(head []byte) int {
	return recordHeader + int(head[9]) + int(binary.LittleEndian.Uint16(head[10:]))
}

// parseRecord decodes the header at the start of head. It returns errDamaged if the header
// is invalid.
func parseRecord(head []byte) (record, error) {
	if len(head) < recordHeader || !bytes.HasPrefix(head, recordMagic) {
		return record{}, errDamaged
	}
	end := namesEnd(head)
	if end > len(head) || crc32.Checksum(head[doneAt+1:end], castagnoli) != binary.LittleEndian.Uint32(head[4:]) {
		return record{}, errDamaged
	}
	key := recordHeader + int(head[9])
	r := record{
		key: string(head[recordHeader:key]), session: string(head[key:end]),
		payload: binary.LittleEndian.Uint32(head[12:]), checksum: binary.LittleEndian.Uint32(head[16:]),
		count: binary.LittleEndian.Uint32(head[20:]), first: binary.LittleEndian.Uint64(head[24:]),
		from: time.UnixMicro(int64(binary.LittleEndian.Uint64(head[32:]))), to: time.UnixMicro(int64(binary.LittleEndian.Uint64(head[40:]))),
		done: head[doneAt] != 0,
	}
	if r.payload > maxPayload {
		return record{}, errDamaged
	}
	return r, nil
}

func appendSegmentHeader(out []byte, first uint64) []byte {
	start := len(out)
	out = append(out, segmentMagic...)
	out = binary.LittleEndian.AppendUint64(out, first)
	return binary.LittleEndian.AppendUint32(out, crc32.Checksum(out[start:], castagnoli))
}

// readSegmentHeader returns the number of events before the segment. The error wraps
// errForeign if the header is invalid.
func readSegmentHeader(segment io.ReaderAt) (uint64, error) {
	var head [segmentHeader]byte
	if n, err := segment.ReadAt(head[:], 0); n < len(head) {
		return 0, errors.Join(errForeign, err)
	}
	first := binary.LittleEndian.Uint64(head[8:])
	if !bytes.Equal(head[:], appendSegmentHeader(nil, first)) {
		return 0, errForeign
	}
	return first, nil
}

// damage is an unreadable part of a segment.
type damage struct {
	offset, end int64
	session     string // of a neighbour, if the part does not name its own
	first       uint64 // events before it
	count       uint64 // events in it; 0: unknown
	from, to    time.Time
}

// scan reads the headers of a segment of size bytes. It calls found for each record and
// broken for each damaged part, in order. first is the number of events before this segment,
// next the number before the following segment; nil means unknown.
func scan(segment io.ReaderAt, size int64, first, next *uint64, found func(offset int64, r record), broken func(damage)) error {
	buffer := make([]byte, maxName)
	offset := int64(segmentHeader)
	expected, known := uint64(0), first != nil
	if known {
		expected = *first
	}
	var last record
	for offset < size {
		r, err := readRecord(segment, offset, size, buffer)
		switch {
		case err == nil && offset+r.size() <= size && r.first >= expected:
			found(offset, r)
			last, offset, expected, known = r, offset+r.size(), r.first+uint64(r.count), true
			continue
		case err == nil && offset+r.size() > size && r.first >= expected && !r.done: // the file ends within the record
			broken(damage{offset, size, r.session, r.first, uint64(r.count), r.from, r.to})
			return nil
		case err != nil && !errors.Is(err, errDamaged):
			return err
		}
		end, r, err := resync(segment, offset+1, size, expected, buffer)
		if err != nil {
			return err
		}
		d := damage{offset: offset, end: end, session: last.session, first: expected, from: last.to, to: last.to}
		switch {
		case end < size:
			d.to = r.from
			if last.key == "" {
				d.session = r.session
			}
			if known {
				d.count = r.first - expected
			}
		case known && next != nil && *next > expected:
			d.count = *next - expected
		}
		broken(d)
		offset, expected, known = end, expected+d.count, false
	}
	return nil
}

// resync returns the offset and header of the next valid record at or after offset. It
// returns size if there is none.
func resync(segment io.ReaderAt, offset, size int64, expected uint64, buffer []byte) (int64, record, error) {
	chunk := make([]byte, 64<<10)
	for offset+recordHeader <= size {
		part := chunk[:min(int64(len(chunk)), size-offset)]
		if n, err := segment.ReadAt(part, offset); n < len(part) {
			return 0, record{}, fmt.Errorf("read the spool: %w", err)
		}
		for at := 0; ; at++ {
			i := bytes.Index(part[at:], recordMagic)
			if i < 0 {
				break
			}
			at += i
			r, err := readRecord(segment, offset+int64(at), size, buffer)
			if err == nil && offset+int64(at)+r.size() <= size && r.first >= expected {
				return offset + int64(at), r, nil
			}
			if err != nil && !errors.Is(err, errDamaged) {
				return 0, record{}, err
			}
		}
		offset += int64(len(part) - (len(recordMagic) - 1)) // the magic may span two chunks
	}
	return size, record{}, nil
}
