//go:build linux

package delivery

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// The previous version of the agent has a spool in another format. The name of a file is a
// number in 16 hexadecimal digits. A file is a series of records: length and CRC-32C of the
// rest (4 bytes each, little endian), a line of JSON, and events as NDJSON in zstd. The file
// cursor holds the position of the oldest record that is not done.
const (
	oldRecordHeader = 8
	oldSuffix       = ".spool"
	oldHeadBegins   = `{"key":"`
)

type oldHead struct {
	Key     string    `json:"key"`
	Session string    `json:"session"`
	Count   int       `json:"count"`
	From    time.Time `json:"from"`
	To      time.Time `json:"to"`
}

// takeOld moves the records of the previous version's spool to this one. It keeps their
// order and keys, and ignores the limit, because the disk holds the data already. It
// deletes a file after it has moved all of its records. If takeOld is interrupted, the next
// run moves them again, and the backend recognises the repeated keys.
func (s *spool) takeOld() (left []leftover, damages []damage, err error) {
	names, err := filepath.Glob(filepath.Join(s.dir, "????????????????"+oldSuffix)) // sorted
	if err != nil {
		return nil, nil, err
	}
	cursorPath := filepath.Join(s.dir, "cursor")
	var cursor struct {
		Segment uint64 `json:"segment"`
		Offset  int    `json:"offset"`
	}
	if text, err := os.ReadFile(cursorPath); err == nil {
		_ = json.Unmarshal(text, &cursor) // if it is damaged, the agent repeats keys that the backend recognises
	}
	neighbor := "" // session of the previous record
	for _, name := range names {
		var number uint64
		if n, err := fmt.Sscanf(filepath.Base(name), "%016x"+oldSuffix, &number); n != 1 || err != nil {
			continue
		}
		if number >= cursor.Segment {
			begin := 0
			if number == cursor.Segment {
				begin = cursor.Offset
			}
			fromFile, broken, err := s.takeOldFile(name, begin, &neighbor)
			if err != nil {
				return nil, nil, fmt.Errorf("take over the spool of an earlier version: %w", err)
			}
			left, damages = append(left, fromFile...), append(damages, broken...)
		}
		if err := os.Remove(name); err != nil {
			return nil, nil, err
		}
	}
	if err := os.Remove(cursorPath); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, err
	}
	return left, damages, nil
}

func (s *spool) takeOldFile(name string, begin int, neighbor *string) (left []leftover, damages []damage, err error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, nil, err
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, nil, err
	}
	scanOld(text, begin, func(head oldHead, body []byte) {
		if *neighbor == "" && len(damages) > 0 {
			damages[len(damages)-1].session = head.Session
		}
		*neighbor = head.Session
		if err != nil {
			return
		}
		b := &batch{key: head.Key, session: head.Session, count: head.Count, from: head.From, to: head.To}
		var at ref
		if at, err = s.appendWithin(b, body, 1<<62, false); err == nil {
			left = append(left, leftover{head.Session, at})
		}
	}, func(d damage) {
		if d.count == 0 {
			d.session, d.to = *neighbor, info.ModTime()
		}
		damages = append(damages, d)
	})
	if err == nil {
		err = s.sync()
	}
	return left, damages, err
}

// scanOld reads a file of the old spool from an offset. It calls found for each record and
// broken for each damaged part.
func scanOld(text []byte, begin int, found func(oldHead, []byte), broken func(damage)) {
	for at := min(max(begin, 0), len(text)); at < len(text); {
		head, body, size, err := readOld(text[at:])
		if err == nil {
			found(head, body)
			at += size
			continue
		}
		end := at + size // the record is complete, but its content is damaged
		if size == 0 {
			end = nextOld(text, at+1)
		}
		broken(damage{offset: int64(at), end: int64(end), session: head.Session, count: uint64(head.Count), from: head.From, to: head.To})
		at = end
	}
}

// readOld reads the record at the start of text. For a damaged record it returns errDamaged
// with the head, if it is readable, and with the size, if another record or nothing follows;
// otherwise size is 0.
func readOld(text []byte) (head oldHead, body []byte, size int, err error) {
	if len(text) < oldRecordHeader {
		return head, nil, 0, errDamaged
	}
	size = oldRecordHeader + int(binary.LittleEndian.Uint32(text))
	payload := text[oldRecordHeader:min(size, len(text))]
	line, body, ok := bytes.Cut(payload, []byte("\n"))
	if !ok || json.Unmarshal(line, &head) != nil || head.Key == "" || len(head.Key) > 255 || head.Count < 1 || head.Count > 1<<20 {
		return oldHead{}, nil, 0, errDamaged
	}
	if size <= len(text) && crc32.Checksum(payload, castagnoli) == binary.LittleEndian.Uint32(text[4:]) {
		return head, body, size, nil
	}
	if size != len(text) && (size > len(text) || !bytes.HasPrefix(text[min(size+oldRecordHeader, len(text)):], []byte(oldHeadBegins))) {
		size = 0
	}
	return head, nil, size, errDamaged
}

// nextOld returns the offset of the next undamaged record at or after from, or len(text).
func nextOld(text []byte, from int) int {
	for at := from; ; at++ {
		i := bytes.Index(text[min(at+oldRecordHeader, len(text)):], []byte(oldHeadBegins))
		if i < 0 {
			return len(text)
		}
		at += i
		if _, _, _, err := readOld(text[at:]); err == nil {
			return at
		}
	}
}
