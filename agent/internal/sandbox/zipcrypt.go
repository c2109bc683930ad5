//go:build linux

package sandbox

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha1"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
)

const (
	zipEncrypted  = 1
	zipAES        = 99     // the method of entries that are encrypted with AES
	zipAESExtra   = 0x9901 // the extra field with the parameters of the encryption
	zipAESMACSize = 10
)

var errPassword = fmt.Errorf("%w: it is encrypted, and the password is not %q (or it is damaged)", ErrProgram, password)

// decrypt returns the content of an encrypted entry, still compressed, and the method of
// compression. The Reader ends with errPassword instead of io.EOF if the content is not
// authentic.
func decrypt(f *zip.File, raw io.Reader) (io.Reader, uint16, error) {
	if f.Method == zipAES {
		return decryptAES(f, raw)
	}
	z := newZipCrypto(raw, password)
	header := make([]byte, 12)
	if _, err := io.ReadFull(z, header); err != nil {
		return nil, 0, err
	}
	// The last byte detects most wrong passwords. It is the highest byte of the checksum,
	// or of the time if the checksum follows the content.
	check := byte(f.CRC32 >> 24)
	if f.Flags&8 != 0 {
		check = byte(f.ModifiedTime >> 8) // the DOS time in the file
	}
	if header[11] != check {
		return nil, 0, errPassword
	}
	return z, f.Method, nil
}

// zipCrypto decrypts as in 6.1 of PKWARE's APPNOTE.TXT.
type zipCrypto struct {
	r    io.Reader
	keys [3]uint32
}

func newZipCrypto(r io.Reader, password string) *zipCrypto {
	z := &zipCrypto{r, [3]uint32{0x12345678, 0x23456789, 0x34567890}}
	for i := range len(password) {
		z.update(password[i])
	}
	return z
}

func (z *zipCrypto) update(plain byte) {
	crc := func(c uint32, b byte) uint32 { return crc32.IEEETable[byte(c)^b] ^ c>>8 }
	z.keys[0] = crc(z.keys[0], plain)
	z.keys[1] = (z.keys[1]+z.keys[0]&0xff)*134775813 + 1
	z.keys[2] = crc(z.keys[2], byte(z.keys[1]>>24))
}

// Read decrypts.
func (z *zipCrypto) Read(p []byte) (int, error) {
	n, err := z.r.Read(p)
	for i := range p[:n] {
		t := z.keys[2] | 2
		p[i] ^= byte(t * (t ^ 1) >> 8)
		z.update(p[i])
	}
	return n, err
}

// decryptAES decrypts entries in the format of WinZip, which 7-Zip and the sample exchanges
// use too; see https://www.winzip.com/en/support/aes-encryption/.
func decryptAES(f *zip.File, raw io.Reader) (io.Reader, uint16, error) {
	strength, method, ok := aesExtra(f.Extra)
	if !ok {
		return nil, 0, errors.New("it does not state how it is encrypted")
	}
	keySize, saltSize := 8+8*strength, 4+4*strength
	salt := make([]byte, saltSize+2) // with two bytes that detect a wrong password
	if _, err := io.ReadFull(raw, salt); err != nil {
		return nil, 0, err
	}
	key, err := pbkdf2.Key(sha1.New, password, salt[:saltSize], 1000, 2*keySize+2)
	if err != nil {
		return nil, 0, err
	}
	if !bytes.Equal(key[2*keySize:], salt[saltSize:]) {
		return nil, 0, errPassword
	}
	block, err := aes.NewCipher(key[:keySize])
	if err != nil {
		return nil, 0, err
	}
	size := int64(f.CompressedSize64) - int64(len(salt)) - zipAESMACSize
	if size < 0 {
		return nil, 0, io.ErrUnexpectedEOF
	}
	return &aesReader{
		r: io.LimitReader(raw, size), end: raw, left: size,
		block: block, mac: hmac.New(sha1.New, key[keySize:2*keySize]),
	}, method, nil
}

// aesExtra reads the strength (1 to 3) and the method of compression.
func aesExtra(extra []byte) (strength int, method uint16, ok bool) {
	field := extraField(extra, zipAESExtra)
	if len(field) < 7 {
		return 0, 0, false
	}
	strength = int(field[4])
	return strength, binary.LittleEndian.Uint16(field[5:]), strength >= 1 && strength <= 3
}

// aesReader decrypts, and checks the authentication code at the end. Unlike cipher.NewCTR,
// its counter is little endian and starts with 1.
type aesReader struct {
	r, end  io.Reader
	left    int64
	block   cipher.Block
	mac     hash.Hash
	counter uint64
	pad     [aes.BlockSize]byte
	used    int // of pad
	checked error
}

// Read decrypts.
func (a *aesReader) Read(p []byte) (int, error) {
	if a.checked != nil {
		return 0, a.checked
	}
	n, err := a.r.Read(p)
	a.mac.Write(p[:n])
	a.left -= int64(n)
	for i := range p[:n] {
		if a.used == 0 {
			a.counter++
			var counter [aes.BlockSize]byte
			binary.LittleEndian.PutUint64(counter[:], a.counter)
			a.block.Encrypt(a.pad[:], counter[:])
		}
		p[i] ^= a.pad[a.used]
		a.used = (a.used + 1) % aes.BlockSize
	}
	if !errors.Is(err, io.EOF) {
		return n, err
	}
	a.checked = io.EOF
	code := make([]byte, zipAESMACSize)
	if _, err := io.ReadFull(a.end, code); a.left != 0 || err != nil || !hmac.Equal(code, a.mac.Sum(nil)[:zipAESMACSize]) {
		a.checked = errPassword
	}
	return n, a.checked
}

// decrypted reads the uncompressed content of an encrypted entry. It ends with errPassword
// if the checksum is wrong.
type decrypted struct {
	content, plain io.Reader // uncompressed; compressed
	file           *zip.File
	sum            hash.Hash32
}

// Close does nothing.
func (*decrypted) Close() error { return nil }

// Read reads uncompressed content, and checks it at the end.
func (d *decrypted) Read(p []byte) (int, error) {
	n, err := d.content.Read(p)
	d.sum.Write(p[:n])
	switch _, corrupt := errors.AsType[flate.CorruptInputError](err); {
	case errors.Is(err, io.EOF):
		// The check covers the bytes after the end of the compressed data too.
		if _, err := io.Copy(io.Discard, d.plain); err != nil {
			return n, err
		}
		if d.file.CRC32 != 0 && d.file.CRC32 != d.sum.Sum32() { // AES has an authentication code instead
			return n, errPassword
		}
	case corrupt, errors.Is(err, io.ErrUnexpectedEOF):
		return n, errPassword
	}
	return n, err
}
