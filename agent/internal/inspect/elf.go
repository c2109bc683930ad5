//go:build linux

package inspect

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime"
	"time"
)

// prefixes and functions are the names in symbol tables that TLS looks for. A module of
// PKCS #11 derives keys for the library that calls it.
//
//nolint:gochecknoglobals // tables of constants
var (
	prefixes  = []string{"SSL_", "gnutls_", "PR_", "C_GetFunctionList", goText, goTable, goTableEnd}
	functions = []string{
		"SSL_read", "SSL_write", "SSL_read_ex", "SSL_write_ex", "SSL_free", // OpenSSL
		"gnutls_record_recv", "gnutls_record_send", "gnutls_deinit", // GnuTLS
		"SSL_ImportFD", "PR_Read", "PR_Write", "PR_Recv", "PR_Send", "PR_Close", // NSS and NSPR
		"C_GetFunctionList", goText, goTable, goTableEnd,
	}
)

// marks are texts that code of TLS has, from RFC 5246 (7.4.9) and RFC 8446 (7.1).
var marks = []string{"client finished", "c hs traffic"} //nolint:gochecknoglobals // a table of constants

// Found is what TLS found in a file.
type Found struct {
	// Functions are the offsets of functions in the file, by name.
	Functions map[string][]uint64 `json:"functions,omitempty"`
	// IsUnseen says that the file seems to have code of TLS, but none of the functions.
	IsUnseen bool `json:"unseen,omitempty"`
}

// Limits for one file.
const (
	maxTable         = 64 << 20 // bytes of one table
	maxSegments      = 1024
	maxNames         = 64          // positions in a string table that name one of the functions
	chunkBytes       = 1 << 20     // how much of a table one read takes
	maxProcessorTime = time.Second // CPU time
)

var errBounds = errors.New("the file exceeds the limits of an inspection")

// TLS finds the functions of libraries for TLS that a program or library defines; functions
// that it only calls do not count. It finds nothing in a file that this machine cannot run.
// The error says that the file exceeds a limit; the result then has the functions found so
// far.
//
// TLS reads the first SHT_DYNSYM and the first SHT_SYMTAB section, since linkers write no
// more than one of each. It reads them in pieces: debug/elf reads whole sections of any
// size, and a hostile file may be crafted to exploit that.
func TLS(raw io.ReaderAt) (Found, error) {
	var head elf.Header64
	if err := readStruct(raw, 0, &head); err != nil || string(head.Ident[:len(elf.ELFMAG)]) != elf.ELFMAG {
		return Found{}, nil //nolint:nilerr // a file that is too short is not a program
	}
	if head.Ident[elf.EI_CLASS] != byte(elf.ELFCLASS64) || head.Ident[elf.EI_DATA] != byte(elf.ELFDATA2LSB) ||
		head.Machine != uint16(machine()) || head.Shentsize != sectionBytes || head.Phentsize != segmentBytes {
		return Found{}, nil // this machine cannot run it
	}
	t := &tables{raw: raw, began: processorTime(), offsets: map[string][]uint64{}}
	if head.Phnum > maxSegments {
		return Found{}, fmt.Errorf("%w: %d segments", errBounds, head.Phnum)
	}
	t.segments = make([]elf.Prog64, head.Phnum)
	if err := readStruct(raw, head.Phoff, t.segments); err != nil {
		return Found{}, nil //nolint:nilerr // this machine cannot run it
	}
	err := t.sections(&head)
	if err == nil {
		err = t.addGolang()
	}
	found := Found{Functions: t.offsets}
	if err == nil && len(t.offsets) == 0 {
		found.IsUnseen, err = t.isMarked()
	}
	return found, err
}

// sections reads the symbol tables, and finds the sections of a Go program.
func (t *tables) sections(head *elf.Header64) error {
	var texts elf.Section64
	at := func(index uint32) uint64 { return head.Shoff + uint64(index)*sectionBytes }
	_ = readStruct(t.raw, at(uint32(head.Shstrndx)), &texts) // without it, the sections have no names
	done := map[elf.SectionType]bool{}
	return t.chunks(head.Shoff, uint64(head.Shnum)*sectionBytes, sectionBytes, func(_ uint64, entry []byte) (bool, error) {
		var section, names elf.Section64
		if _, err := binary.Decode(entry, binary.LittleEndian, &section); err != nil {
			return false, fmt.Errorf("read a section: %w", err)
		}
		switch kind := elf.SectionType(section.Type); {
		case kind == elf.SHT_PROGBITS:
			t.note(&section, texts.Off+uint64(section.Name))
		case (kind == elf.SHT_DYNSYM || kind == elf.SHT_SYMTAB) && !done[kind]:
			done[kind] = true
			if section.Link >= uint32(head.Shnum) || readStruct(t.raw, at(section.Link), &names) != nil {
				return false, nil //nolint:nilerr // the symbols have no names
			}
			return false, t.add(&section, &names)
		}
		return false, nil
	})
}

// isMarked reports whether the file has marks of TLS.
func (t *tables) isMarked() (isMarked bool, err error) {
	const overlap = 16 // longer than every mark
	for i := range t.segments {
		p := &t.segments[i]
		if p.Type != uint32(elf.PT_LOAD) {
			continue
		}
		t.text = t.text[:0]
		err := t.pieces(p.Off, min(p.Filesz, maxTable), chunkBytes, func(_ uint64, piece []byte) (bool, error) {
			t.text = append(t.text, piece...)
			for _, mark := range marks {
				isMarked = isMarked || bytes.Contains(t.text, []byte(mark))
			}
			t.text = append(t.text[:0], t.text[max(0, len(t.text)-overlap):]...)
			return isMarked, nil
		})
		if isMarked || err != nil {
			return isMarked, err
		}
	}
	return false, nil
}

// Sizes of Elf64_Shdr, Elf64_Phdr and Elf64_Sym.
const (
	sectionBytes = 64
	segmentBytes = 56
	symbolBytes  = 24
)

// machine returns the architecture of this machine.
func machine() elf.Machine {
	if runtime.GOARCH == "arm64" {
		return elf.EM_AARCH64
	}
	return elf.EM_X86_64
}

func readStruct(raw io.ReaderAt, at uint64, value any) error {
	text := make([]byte, binary.Size(value))
	if at > 1<<62 {
		return io.EOF
	}
	if n, err := raw.ReadAt(text, int64(at)); n < len(text) {
		return err
	}
	_, err := binary.Decode(text, binary.LittleEndian, value)
	return err
}

// tables reads the symbol tables of one file.
type tables struct {
	raw      io.ReaderAt
	began    time.Duration
	segments []elf.Prog64
	offsets  map[string][]uint64 // the result, by function
	golang   golang
	buffer   [chunkBytes]byte
	text     []byte // of a string table: the end of the previous piece, and the current one
}

// chunks calls do for each entry of a table until do returns true or an error. It stops
// at the end of the file.
func (t *tables) chunks(at, size, entry uint64, do func(at uint64, entry []byte) (done bool, err error)) error {
	return t.pieces(at, size, chunkBytes/entry*entry, func(begin uint64, piece []byte) (bool, error) {
		for i := uint64(0); i+entry <= uint64(len(piece)); i += entry {
			if done, err := do(begin+i, piece[i:i+entry]); done || err != nil {
				return done, err
			}
		}
		return false, nil
	})
}

// pieces reads a table in pieces of length bytes and calls do for each, until do returns
// true or an error. It returns errBounds if the table is too large or reading it takes
// too long.
func (t *tables) pieces(at, size, length uint64, do func(begin uint64, piece []byte) (done bool, err error)) error {
	switch {
	case size > maxTable:
		return fmt.Errorf("%w: a table of %d bytes", errBounds, size)
	case at > 1<<62:
		return nil
	}
	for begin := uint64(0); begin < size; begin += length {
		if processorTime()-t.began > maxProcessorTime {
			return fmt.Errorf("%w: reading it takes longer than %s", errBounds, maxProcessorTime)
		}
		n, err := t.raw.ReadAt(t.buffer[:min(length, size-begin)], int64(at+begin))
		if done, doErr := do(begin, t.buffer[:n]); done || doErr != nil {
			return doErr
		}
		if err != nil {
			return nil //nolint:nilerr // the file ends here
		}
	}
	return nil
}

// add adds the functions that one symbol table defines; names is its string table.
func (t *tables) add(symbols, names *elf.Section64) error {
	if (symbols.Flags|names.Flags)&uint64(elf.SHF_COMPRESSED) != 0 {
		return nil // sections that the kernel loads are never compressed
	}
	functions, err := t.names(names.Off, names.Size, prefixes, functions)
	if err != nil || len(functions) == 0 {
		return err // the usual case: the file has none of the functions
	}
	return t.chunks(symbols.Off, symbols.Size, symbolBytes, func(_ uint64, entry []byte) (bool, error) {
		function, ok := functions[binary.LittleEndian.Uint32(entry)]
		if !ok || binary.LittleEndian.Uint16(entry[6:]) == uint16(elf.SHN_UNDEF) {
			return false, nil
		}
		address := binary.LittleEndian.Uint64(entry[8:])
		switch function {
		case goText:
			t.golang.text = address
		case goTable:
			t.golang.table = address
		case goTableEnd:
			t.golang.tableEnd = address
		default:
			if offset, ok := t.offsetOf(address, elf.PF_X); ok && elf.ST_TYPE(entry[4]) == elf.STT_FUNC {
				t.offsets[function] = []uint64{offset}
			}
		}
		return false, nil
	})
}

// names returns the positions in a table of texts at which a name of functions starts. Each
// begins with one of prefixes.
func (t *tables) names(at, size uint64, prefixes, functions []string) (map[uint32]string, error) {
	const overlap = 32 // longer than every name: finds a name that crosses two pieces
	found := map[uint32]string{}
	t.text = t.text[:0]
	err := t.pieces(at, size, chunkBytes, func(begin uint64, piece []byte) (bool, error) {
		begin -= uint64(len(t.text))
		t.text = append(t.text, piece...)
		for _, prefix := range prefixes {
			for at := 0; len(found) < maxNames; at += len(prefix) {
				next := bytes.Index(t.text[at:], []byte(prefix))
				if next < 0 {
					break
				}
				at += next
				for _, function := range functions {
					if bytes.HasPrefix(t.text[at:], []byte(function+"\x00")) {
						found[uint32(begin)+uint32(at)] = function
					}
				}
			}
		}
		t.text = append(t.text[:0], t.text[max(0, len(t.text)-overlap):]...)
		return len(found) >= maxNames, nil
	})
	return found, err
}

// offsetOf converts an address to an offset in the file. Its segment must have the flag.
func (t *tables) offsetOf(address uint64, flag elf.ProgFlag) (uint64, bool) {
	for _, p := range t.segments {
		if p.Type == uint32(elf.PT_LOAD) && p.Flags&uint32(flag) != 0 && p.Vaddr <= address && address-p.Vaddr < p.Filesz {
			return address - p.Vaddr + p.Off, true
		}
	}
	return 0, false
}
