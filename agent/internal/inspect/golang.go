//go:build linux

package inspect

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"sort"

	"golang.org/x/arch/arm64/arm64asm"
	"golang.org/x/arch/x86/x86asm"
)

// The functions of Go's crypto/tls. GoReadReturns names the returns of GoRead. The offset of a
// function is behind the check of its stack: a function that finds its stack too small begins
// again, and a probe at its first instruction would run twice.
const (
	GoRead        = "crypto/tls.(*Conn).Read"
	GoReadReturns = "return of " + GoRead
	GoWrite       = "crypto/tls.(*Conn).Write"
	GoClose       = "crypto/tls.(*Conn).Close"
)

// Numbers at the beginning of the table of functions, since Go 1.18. Since then functions take
// their arguments in registers on all architectures.
const (
	magic118 = 0xfffffff0
	magic120 = 0xfffffff1
)

const (
	maxCode    = 64 << 10 // bytes of a function
	maxReturns = 64       // of a function
	maxCheck   = 16       // instructions before the end of the check of the stack
)

// functionTable is the beginning of the table of functions: pcHeader of Go's runtime. Offsets
// begin at it.
type functionTable struct {
	Magic                          uint32
	_                              [2]byte
	MinInstruction, PointerBytes   uint8
	Functions, _, Text             uint64 // Text is 0 since Go 1.26
	Names, NamesEnd, _, _, Entries uint64
}

// functionEntry locates a function: its code from goText on, and its data from the entries on.
type functionEntry struct{ Code, Data uint32 }

const (
	entryBytes = 8 // of a functionEntry
	wordBytes  = 4
)

// Symbols of a Go program: where its code begins, and its table of functions.
const (
	goText     = "runtime.text"
	goTable    = "runtime.pclntab"
	goTableEnd = "runtime.epclntab"
)

// golang is where a Go program has its parts. What is not known is 0.
type golang struct {
	lines                 elf.Section64 // the table of functions
	section               uint64        // address of the section .text
	text, table, tableEnd uint64        // addresses of symbols
}

// note records a section that addGolang needs. Its name is at an offset in the file.
func (t *tables) note(section *elf.Section64, name uint64) {
	text := make([]byte, 32)
	if name > 1<<62 {
		return
	}
	n, _ := t.raw.ReadAt(text, int64(name)) // it may be the end of the file
	text, _, _ = bytes.Cut(text[:n], []byte{0})
	switch string(text) {
	case ".gopclntab", ".data.rel.ro.gopclntab":
		t.golang.lines = *section
	case ".text":
		t.golang.section = section.Addr
	}
}

// addGolang finds the functions of crypto/tls in the table of functions of a Go program. The
// program has it also without symbols. The linker of C may hide it in another section; then
// only symbols tell where it is.
func (t *tables) addGolang() error {
	lines := t.golang.lines
	if begin, isIn := t.offsetOf(t.golang.table, elf.PF_R); lines.Size == 0 && isIn && t.golang.tableEnd > t.golang.table {
		lines.Off, lines.Size = begin, t.golang.tableEnd-t.golang.table
	}
	var head functionTable
	err := readStruct(t.raw, lines.Off, &head)
	if err != nil || head.Magic != magic118 && head.Magic != magic120 || head.PointerBytes != 8 ||
		head.NamesEnd < head.Names || head.NamesEnd > lines.Size || head.Entries > lines.Size || head.Functions > lines.Size/entryBytes {
		return nil //nolint:nilerr // another version of Go
	}
	named, err := t.names(lines.Off+head.Names, head.NamesEnd-head.Names, []string{"crypto/tls.(*Conn)."}, []string{GoRead, GoWrite, GoClose})
	if err != nil || len(named) == 0 {
		return err
	}
	text := t.golang.text
	if _, isIn := t.offsetOf(head.Text, elf.PF_X); text == 0 && isIn {
		text = head.Text
	} else if text == 0 {
		text = t.golang.section // the linker of C may put other code before
	}
	entries := lines.Off + head.Entries
	// The data of a function is the place of its code, and then its name.
	seen := 0
	return t.chunks(entries, lines.Size-head.Entries, wordBytes, func(at uint64, word []byte) (bool, error) {
		name, isNamed := named[binary.LittleEndian.Uint32(word)]
		if !isNamed || at < wordBytes {
			return false, nil
		}
		if seen++; seen > maxNames {
			return true, nil
		}
		if from, size := t.codeOf(entries, int(head.Functions), at-wordBytes); size > 0 && size <= maxCode {
			t.addGo(name, text+from, size)
		}
		return false, nil
	})
}

// codeOf returns the code of the function with its data at an offset; a size of 0 if there is
// none.
func (t *tables) codeOf(entries uint64, count int, data uint64) (from, size uint64) {
	var code uint32
	if readStruct(t.raw, entries+data, &code) != nil {
		return 0, 0
	}
	entry := func(i int) (e functionEntry) {
		_ = readStruct(t.raw, entries+uint64(i)*entryBytes, &e) // the zero value is no match
		return e
	}
	i := sort.Search(count, func(i int) bool { return entry(i).Code >= code })
	if at := entry(i); at.Code != code || uint64(at.Data) != data {
		return 0, 0
	}
	return uint64(code), uint64(entry(i+1).Code) - uint64(code)
}

// addGo adds the places of a function of crypto/tls that get probes.
func (t *tables) addGo(name string, address, size uint64) {
	offset, isIn := t.offsetOf(address, elf.PF_X)
	code := make([]byte, size)
	if _, err := t.raw.ReadAt(code, int64(offset)); !isIn || err != nil {
		return
	}
	decode := decodeX86
	if machine() == elf.EM_AARCH64 {
		decode = decodeARM64
	}
	var begin uint64
	var returns []uint64
	for at, n := uint64(0), 0; at < size; n++ {
		length, kind := decode(code[at:])
		if length == 0 {
			return // it is no code
		}
		switch {
		case kind == isCheck && begin == 0 && n < maxCheck:
			begin = offset + at + length
		case kind == isReturn && len(returns) < maxReturns:
			returns = append(returns, offset+at)
		}
		at += length
	}
	if begin == 0 || len(returns) == 0 {
		return
	}
	t.offsets[name] = []uint64{begin}
	if name == GoRead {
		t.offsets[GoReadReturns] = returns
	}
}

// instruction is a kind of instruction.
type instruction uint8

const (
	isOther instruction = iota
	isCheck             // jumps if the stack is too small
	isReturn
)

// decodeX86 returns the length and the kind of the first instruction; the length is 0 if it is
// not known.
func decodeX86(code []byte) (uint64, instruction) {
	decoded, err := x86asm.Decode(code, 64)
	switch {
	case err != nil || decoded.Op == 0:
		return 0, isOther
	case decoded.Op == x86asm.JBE:
		return uint64(decoded.Len), isCheck
	case decoded.Op == x86asm.RET:
		return uint64(decoded.Len), isReturn
	default:
		return uint64(decoded.Len), isOther
	}
}

// decodeARM64 is decodeX86 for arm64.
func decodeARM64(code []byte) (uint64, instruction) {
	decoded, err := arm64asm.Decode(code)
	condition, _ := decoded.Args[0].(arm64asm.Cond)
	const lowerOrSame = 9
	switch {
	case err != nil && len(code) < wordBytes:
		return 0, isOther
	case err != nil: // arm64asm does not know all instructions
		return wordBytes, isOther
	case decoded.Op == arm64asm.B && condition.Value == lowerOrSame && !condition.Invert:
		return wordBytes, isCheck
	case decoded.Op == arm64asm.RET:
		return wordBytes, isReturn
	default:
		return wordBytes, isOther
	}
}
