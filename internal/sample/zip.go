package sample

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"time"
)

// MaxZippedBytes is the largest file that fits: a larger one would need Zip64.
const MaxZippedBytes = math.MaxUint32 - 1<<20

// ZipEntry is the one file of a zip.
type ZipEntry struct {
	Name      string // at most 65535 bytes of UTF-8
	Modified  time.Time
	SizeBytes int64  // at most MaxZippedBytes
	CRC32     uint32 // of the content, IEEE; it is needed before the content
}

const (
	headerLen        = 12 // of encryption, before the content
	localHeaderLen   = 30
	centralHeaderLen = 46
	endLen           = 22
	version          = 20           // 2.0: the first with encryption
	flags            = 1<<0 | 1<<11 // encrypted; the name is UTF-8
	localSignature   = 0x04034b50
	centralSignature = 0x02014b50
	endSignature     = 0x06054b50
	maxNameLen       = math.MaxUint16
)

// ZipSizeBytes returns the size of the zip that WriteZip writes.
func ZipSizeBytes(f ZipEntry) int64 {
	return localHeaderLen + centralHeaderLen + 2*int64(len(f.Name)) + headerLen + f.SizeBytes + endLen
}

// WriteZip writes a zip of f with the traditional encryption of PKWARE, which every unzip
// program can undo: PKWARE's APPNOTE.TXT 6.3, sections 4.3 (the zip) and 6.1 (the
// encryption). The encryption keeps no secret. Researchers exchange malware in such a
// zip, with a password that everybody knows, so that no scanner removes it and no double
// click starts it. WriteZip stores the content uncompressed, in constant memory.
func WriteZip(w io.Writer, f ZipEntry, password string, content io.Reader) error {
	if f.SizeBytes < 0 || f.SizeBytes > MaxZippedBytes || len(f.Name) > maxNameLen {
		return errors.New("sample: the file or its name is too long")
	}
	if _, err := w.Write(append(f.localHeader(), f.Name...)); err != nil {
		return err
	}
	keys := newKeys(password)
	header := make([]byte, headerLen)
	if _, err := rand.Read(header); err != nil {
		return err
	}
	header[headerLen-1] = byte(f.CRC32 >> 24) // readers detect a wrong password by it
	keys.encrypt(header)
	if _, err := w.Write(header); err != nil {
		return err
	}
	if err := f.writeContent(w, keys, content); err != nil {
		return err
	}
	_, err := w.Write(f.ending())
	return err
}

// writeContent writes the content, and checks that it is as f says.
func (f ZipEntry) writeContent(w io.Writer, keys *keys, content io.Reader) error {
	var (
		buffer = make([]byte, 64<<10)
		sum    = crc32.NewIEEE()
		size   = int64(0)
	)
	for {
		n, err := content.Read(buffer)
		if size += int64(n); size > f.SizeBytes {
			return errors.New("sample: the content is longer than was said")
		}
		sum.Write(buffer[:n])
		keys.encrypt(buffer[:n])
		if _, err := w.Write(buffer[:n]); err != nil {
			return err
		}
		switch {
		case errors.Is(err, io.EOF) && (size != f.SizeBytes || sum.Sum32() != f.CRC32):
			return fmt.Errorf("sample: the content has %d bytes with checksum %08x, not %d with %08x as was said", size, sum.Sum32(), f.SizeBytes, f.CRC32)
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// common is the part that the local and the central header share.
func (f ZipEntry) common(out []byte) []byte {
	date, clock := dosTime(f.Modified)
	out = binary.LittleEndian.AppendUint16(out, version)
	out = binary.LittleEndian.AppendUint16(out, flags)
	out = binary.LittleEndian.AppendUint16(out, 0) // stored
	out = binary.LittleEndian.AppendUint16(out, clock)
	out = binary.LittleEndian.AppendUint16(out, date)
	out = binary.LittleEndian.AppendUint32(out, f.CRC32)
	out = binary.LittleEndian.AppendUint32(out, uint32(f.SizeBytes+headerLen))
	out = binary.LittleEndian.AppendUint32(out, uint32(f.SizeBytes))
	out = binary.LittleEndian.AppendUint16(out, uint16(len(f.Name)))
	return binary.LittleEndian.AppendUint16(out, 0) // no extra field
}

func (f ZipEntry) localHeader() []byte {
	return f.common(binary.LittleEndian.AppendUint32(nil, localSignature))
}

// ending is the central directory and its end.
func (f ZipEntry) ending() []byte {
	out := binary.LittleEndian.AppendUint32(nil, centralSignature)
	out = binary.LittleEndian.AppendUint16(out, version) // made by, on a system without permissions
	out = f.common(out)
	out = append(out, make([]byte, 2+2+2+4+4)...) // no comment, disk 0, no attributes, local header at 0
	out = append(out, f.Name...)
	directory := uint32(len(out))
	out = binary.LittleEndian.AppendUint32(out, endSignature)
	out = binary.LittleEndian.AppendUint32(out, 0) // disk 0 of one
	out = binary.LittleEndian.AppendUint16(out, 1) // entries here
	out = binary.LittleEndian.AppendUint16(out, 1) // entries in all
	out = binary.LittleEndian.AppendUint32(out, directory)
	out = binary.LittleEndian.AppendUint32(out, uint32(localHeaderLen+int64(len(f.Name))+headerLen+f.SizeBytes))
	return binary.LittleEndian.AppendUint16(out, 0) // no comment
}

// dosTime returns a time in MS-DOS format: in steps of two seconds, from 1980 to 2107.
func dosTime(t time.Time) (date, clock uint16) {
	t = t.UTC()
	year := min(max(t.Year(), 1980), 2107)
	return uint16((year-1980)<<9 | int(t.Month())<<5 | t.Day()), uint16(t.Hour()<<11 | t.Minute()<<5 | t.Second()/2)
}

// keys is the state of the cipher (APPNOTE 6.1.5).
type keys [3]uint32

func newKeys(password string) *keys {
	k := &keys{0x12345678, 0x23456789, 0x34567890}
	for i := range len(password) {
		k.update(password[i])
	}
	return k
}

// update advances the state by one byte of plain text.
func (k *keys) update(plain byte) {
	k[0] = crc(k[0], plain)
	k[1] = (k[1]+k[0]&0xff)*134775813 + 1
	k[2] = crc(k[2], byte(k[1]>>24))
}

// next returns the key byte for the following byte.
func (k *keys) next() byte {
	t := k[2]&0xffff | 2
	return byte(t * (t ^ 1) >> 8)
}

// encrypt encrypts text in its place.
func (k *keys) encrypt(text []byte) {
	for i, plain := range text {
		text[i] = plain ^ k.next()
		k.update(plain)
	}
}

// crc adds one byte to a CRC-32 without the inversions around it.
func crc(sum uint32, b byte) uint32 { return crc32.IEEETable[byte(sum)^b] ^ sum>>8 }
