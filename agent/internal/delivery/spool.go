//go:build linux

package delivery

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

const (
	segmentBytes   = 8 << 20
	maxRecordBytes = 64 << 20
	recordHeader   = 8 // length and CRC-32C, little endian
	syncInterval   = time.Second
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli) //nolint:gochecknoglobals // a table of constants
	errFull    = errors.New("the spool is full")
	errRecord  = errors.New("a record of the spool is damaged")
)

// spool is batches on the disk, first in first out: append-only files of records,
// each with a checksum, and a file that says how far they are done. The files are
// removed when all of them is done. What was appended outlives the program, kill
// -9 too; a machine that loses its power may lose the last second, as the files
// are synced once a second and when one is full. It is not safe for concurrent
// use.
type spool struct {
	dir       string
	maxBytes  int64
	lock      *os.File
	segments  []segment // oldest first; the last one is appended to
	writing   *os.File  // the last segment's, nil when there is none
	reading   *os.File  // the first segment's
	readAt    int64     // where the oldest batch begins
	nextAt    int64     // where it ends, 0 when it was not read
	sizeBytes int64
	syncedAt  time.Time
	damaged   int // places where something could not be read
}

type segment struct {
	number    uint64
	sizeBytes int64
}

type cursor struct {
	Segment uint64 `json:"segment"`
	Offset  int64  `json:"offset"`
}

// openSpool takes over what an earlier run left in dir. One program at a time.
func openSpool(dir string, maxBytes int64) (*spool, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = lock.Close()
		return nil, fmt.Errorf("another agent uses %s: %w", dir, err)
	}
	s := &spool{dir: dir, maxBytes: maxBytes, lock: lock, syncedAt: time.Now()}
	names, err := filepath.Glob(filepath.Join(dir, "*.spool"))
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	var at cursor
	if text, err := os.ReadFile(filepath.Join(dir, "cursor")); err == nil {
		_ = json.Unmarshal(text, &at) // a damaged one sends again what the backend knows by its keys
	}
	for _, name := range names {
		var number uint64
		info, err := os.Stat(name)
		if err != nil {
			return nil, err
		}
		if _, err := fmt.Sscanf(filepath.Base(name), "%016x.spool", &number); err != nil {
			continue
		}
		if number < at.Segment {
			if err := os.Remove(name); err != nil {
				return nil, err
			}
			continue
		}
		s.segments = append(s.segments, segment{number, info.Size()})
		s.sizeBytes += info.Size()
	}
	if len(s.segments) > 0 && s.segments[0].number == at.Segment {
		s.readAt = min(max(at.Offset, 0), s.segments[0].sizeBytes)
	}
	return s, nil
}

func (s *spool) path(number uint64) string {
	return filepath.Join(s.dir, fmt.Sprintf("%016x.spool", number))
}

// append adds a batch; errFull if it would be too much, unless it must.
func (s *spool) append(b *batch, must bool) error {
	head, err := json.Marshal(b.head)
	if err != nil {
		return err
	}
	payload := append(append(head, '\n'), b.body...)
	size := int64(recordHeader + len(payload))
	if s.sizeBytes+size > s.maxBytes && !must {
		return errFull
	}
	if s.writing == nil || s.segments[len(s.segments)-1].sizeBytes >= segmentBytes {
		if err := s.nextSegment(); err != nil {
			return err
		}
	}
	record := make([]byte, recordHeader, size)
	binary.LittleEndian.PutUint32(record, uint32(len(payload)))
	binary.LittleEndian.PutUint32(record[4:], crc32.Checksum(payload, castagnoli))
	last := &s.segments[len(s.segments)-1]
	if _, err := s.writing.WriteAt(append(record, payload...), last.sizeBytes); err != nil {
		return errors.Join(err, s.writing.Truncate(last.sizeBytes)) // half a record is none
	}
	last.sizeBytes += size
	s.sizeBytes += size
	if time.Since(s.syncedAt) >= syncInterval {
		s.syncedAt = time.Now()
		return s.writing.Sync()
	}
	return nil
}

// nextSegment begins a file. A run never appends to one of an earlier run, whose
// end may be half a record.
func (s *spool) nextSegment() error {
	if s.writing != nil {
		if err := errors.Join(s.writing.Sync(), s.writing.Close()); err != nil {
			return err
		}
		s.writing = nil
	}
	number := uint64(1)
	if len(s.segments) > 0 {
		number = s.segments[len(s.segments)-1].number + 1
	} else if text, err := os.ReadFile(filepath.Join(s.dir, "cursor")); err == nil {
		var at cursor
		if json.Unmarshal(text, &at) == nil {
			number = at.Segment + 1 // never a number that the cursor may be beyond
		}
	}
	file, err := os.OpenFile(s.path(number), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	s.writing = file
	s.segments = append(s.segments, segment{number: number})
	return nil
}

func (s *spool) empty() bool { return s.sizeBytes == 0 && len(s.segments) == 0 }

// peek gives the oldest batch, nil when there is none. What is damaged is counted
// and skipped, to the next file.
func (s *spool) peek() (*batch, error) {
	for len(s.segments) > 0 {
		if s.readAt >= s.segments[0].sizeBytes {
			if err := s.dropFirst(); err != nil {
				return nil, err
			}
			continue
		}
		if s.reading == nil {
			file, err := os.Open(s.path(s.segments[0].number))
			if err != nil {
				return nil, err
			}
			s.reading = file
		}
		b, size, err := readRecord(io.NewSectionReader(s.reading, s.readAt, s.segments[0].sizeBytes-s.readAt))
		if err == nil {
			s.nextAt = s.readAt + size
			return b, nil
		}
		s.damaged++
		s.readAt = s.segments[0].sizeBytes
		if len(s.segments) == 1 && s.writing != nil { // go on in a file that is whole
			if err := s.nextSegment(); err != nil {
				return nil, err
			}
		}
	}
	return nil, nil //nolint:nilnil // none is no error here
}

// readRecord reads one batch and tells how long its record is.
func readRecord(r io.Reader) (*batch, int64, error) {
	var header [recordHeader]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return nil, 0, fmt.Errorf("%w: %w", errRecord, err)
	}
	size := binary.LittleEndian.Uint32(header[:])
	if size > maxRecordBytes {
		return nil, 0, errRecord
	}
	payload, err := io.ReadAll(io.LimitReader(r, int64(size))) // grows with what is there, not with what is claimed
	if err != nil || len(payload) != int(size) || crc32.Checksum(payload, castagnoli) != binary.LittleEndian.Uint32(header[4:]) {
		return nil, 0, errRecord
	}
	b := &batch{}
	at := slices.Index(payload, '\n')
	if at < 0 || json.Unmarshal(payload[:at], &b.head) != nil {
		return nil, 0, errRecord
	}
	b.body = payload[at+1:]
	return b, recordHeader + int64(size), nil
}

// done removes the batch that peek gave.
func (s *spool) done() error {
	s.readAt, s.nextAt = s.nextAt, 0
	if s.readAt >= s.segments[0].sizeBytes {
		return s.dropFirst()
	}
	return s.writeCursor(cursor{s.segments[0].number, s.readAt})
}

// writeCursor is atomic: the file is replaced.
func (s *spool) writeCursor(at cursor) error {
	text, err := json.Marshal(at)
	if err != nil {
		return err
	}
	path := filepath.Join(s.dir, "cursor")
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// dropFirst removes the oldest file, all of which is done.
func (s *spool) dropFirst() error {
	first := s.segments[0]
	if s.reading != nil {
		_ = s.reading.Close()
		s.reading = nil
	}
	if len(s.segments) == 1 && s.writing != nil {
		_ = s.writing.Close()
		s.writing = nil
	}
	if err := s.writeCursor(cursor{first.number, first.sizeBytes}); err != nil {
		return err
	}
	if err := os.Remove(s.path(first.number)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	s.segments = s.segments[1:]
	s.sizeBytes -= first.sizeBytes
	s.readAt = 0
	return nil
}

func (s *spool) close() error {
	var err error
	if s.writing != nil {
		err = errors.Join(s.writing.Sync(), s.writing.Close())
	}
	if s.reading != nil {
		err = errors.Join(err, s.reading.Close())
	}
	return errors.Join(err, s.lock.Close())
}
