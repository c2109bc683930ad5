// Package backup writes a whole installation to one file, and reads it back into either
// database: the rows of every table at one moment, and the target files that they name.
// It takes the tables from the database's models, so it knows none of their columns
// except the few that it counts.
//
// # The file
//
// A backup is a tar archive in one Zstandard frame, and then a skippable frame (magic
// number 0x184D2A5E, little-endian, and a length of 32) with the SHA-256 of all bytes
// before it. Programs for .tar.zst read it and ignore the skippable frame. The entries
// of the archive, in this order:
//
//	backup.json              Head: where the rows come from, the tables and their columns
//	files/SHA-256            the content of a target file
//	tables/NAME/0000000001   rows of a table in the binary format of PostgreSQL's COPY,
//	                         with its header and trailer; about a megabyte in each part
//	contents.json            Contents: what a complete backup has
//
// In the rows, all numbers are bigint, times are timestamptz, JSON is jsonb, and all
// other text is text.
//
// # Sums
//
// The database returns rows in any order. So the sum of a table is the sum of the SHA-256
// of its rows, each taken as four big-endian numbers of 64 bits. The bytes of a row are
// its fields, each after its length (64 bits, big-endian, −1 for NULL). A column X with a
// column X_raw of bytes counts once: as X_raw if that is not NULL, otherwise as X, so that
// both databases have the same sum.
package backup

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"time"

	"ospulse/internal/database"
)

const (
	formatName    = "ospulse-backup"
	formatVersion = 1

	headEntry     = "backup.json"
	contentsEntry = "contents.json"
	filesFolder   = "files/"
	tablesFolder  = "tables/"

	// partBytes is the size from which a part of a table is written.
	partBytes = 1 << 20
)

// Head describes where a backup comes from.
type Head struct {
	Format    string           `json:"format"`
	Version   int              `json:"version"`
	Program   string           `json:"program"` // its version
	CreatedAt time.Time        `json:"created_at"`
	Dialect   string           `json:"dialect"`
	Schema    int              `json:"schema"` // its version
	Tables    []database.Table `json:"tables"` // each after those to which it refers
}

// Contents is what a complete backup has.
type Contents struct {
	Tables map[string]Sum `json:"tables"`
	Files  int            `json:"files"`
	// Missing and Damaged are target files that rows name. The storage did not have the
	// missing ones, for example because their session was deleted during the backup. The
	// content of the damaged ones did not have their SHA-256.
	Missing []string `json:"missing_files"`
	Damaged []string `json:"damaged_files"`
}

// Sum identifies the rows of a table.
type Sum struct {
	Rows    int64  `json:"rows"`
	SHA256  string `json:"sum"`     // see the package's documentation
	Counter int64  `json:"counter"` // the last number that the database gave; 0 without a counter
}

// summer computes the Sum of a table.
type summer struct {
	table  *database.Table
	raw    []int // for each column, the column that replaces it if it is not NULL; or −1
	fields [][]byte
	hash   hash.Hash
	rows   int64
	sum    [4]uint64
}

func newSummer(table *database.Table) *summer {
	s := &summer{table: table, raw: make([]int, len(table.Columns)), hash: sha256.New()}
	for i, column := range table.Columns {
		s.raw[i] = -1
		if column.Kind == database.KindJSON {
			s.raw[i] = slices.Index(table.Columns, database.Column{Name: column.Name + "_raw", Kind: database.KindBytes})
		}
	}
	return s
}

// add adds a row and returns its fields, which are valid until the next call.
func (s *summer) add(row database.Row) ([][]byte, error) {
	var err error
	if s.fields, err = s.table.Fields(row, s.fields); err != nil {
		return nil, err
	}
	s.hash.Reset()
	for i, field := range s.fields {
		if slices.Contains(s.raw, i) {
			continue
		}
		if s.table.Columns[i].Kind == database.KindJSON && len(field) > 0 {
			field = field[1:] // without the version of jsonb
		}
		if s.raw[i] >= 0 && s.fields[s.raw[i]] != nil {
			field = s.fields[s.raw[i]]
		}
		size := int64(len(field))
		if field == nil {
			size = -1
		}
		var length [8]byte
		binary.BigEndian.PutUint64(length[:], uint64(size))
		s.hash.Write(length[:])
		s.hash.Write(field)
	}
	var digest [sha256.Size]byte
	s.hash.Sum(digest[:0])
	for i := range s.sum {
		s.sum[i] += binary.BigEndian.Uint64(digest[8*i:])
	}
	s.rows++
	return s.fields, nil
}

func (s *summer) result() Sum {
	var sum [sha256.Size]byte
	for i, n := range s.sum {
		binary.BigEndian.PutUint64(sum[8*i:], n)
	}
	return Sum{Rows: s.rows, SHA256: hex.EncodeToString(sum[:])}
}

// trailerStart begins the skippable frame.
const trailerStart = "\x5e\x2a\x4d\x18\x20\x00\x00\x00"

const trailerBytes = len(trailerStart) + sha256.Size

// ErrDamaged means that a file is no complete backup.
var ErrDamaged = errors.New("the file is damaged or incomplete") //nolint:gochecknoglobals // a constant

// trailerReader reads what precedes the trailer of a backup. At the end it returns
// ErrDamaged instead of io.EOF if the trailer does not match.
type trailerReader struct {
	from io.Reader
	hash hash.Hash
	buf  []byte // buf[read:] is not read yet; its last trailerBytes may be the trailer
	read int
	err  error // of from
}

func newTrailerReader(from io.Reader) *trailerReader {
	return &trailerReader{from: from, hash: sha256.New(), buf: make([]byte, 0, 1<<17)}
}

func (r *trailerReader) Read(p []byte) (int, error) {
	for len(r.buf)-r.read <= trailerBytes && r.err == nil {
		r.buf = append(r.buf[:0], r.buf[r.read:]...)
		r.read = 0
		var n int
		n, r.err = r.from.Read(r.buf[len(r.buf):cap(r.buf)])
		r.buf = r.buf[:len(r.buf)+n]
	}
	n := copy(p, r.buf[r.read:max(r.read, len(r.buf)-trailerBytes)])
	r.hash.Write(p[:n])
	r.read += n
	if n > 0 || len(p) == 0 {
		return n, nil
	}
	if !errors.Is(r.err, io.EOF) {
		return 0, r.err
	}
	if !bytes.Equal(r.buf[r.read:], r.hash.Sum([]byte(trailerStart))) {
		return 0, fmt.Errorf("%w: the SHA-256 at its end does not match", ErrDamaged)
	}
	return 0, io.EOF
}
