//go:build linux

package program

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
)

// onLinux is File.Lacks of a program for another operating system.
const onLinux = "; this agent is on Linux"

// maxDynamicBytes bounds how much hasSoname reads of an ELF file's dynamic segment.
const maxDynamicBytes = 64 << 10

// machines lists the architectures that this machine's kernel can run.
var machines = map[string][]elf.Machine{ //nolint:gochecknoglobals // a table of constants
	"amd64": {elf.EM_X86_64, elf.EM_386},
	"arm64": {elf.EM_AARCH64},
}[runtime.GOARCH]

// withoutSections reads an ELF file as if it had no sections. A hostile file can have so
// many sections that debug/elf needs minutes to read them. The kernel ignores sections
// too.
type withoutSections struct {
	io.ReaderAt
	head []byte // the ELF header, with the section fields set to zero
}

func newWithoutSections(r io.ReaderAt, head []byte) withoutSections {
	fields := [2][2]int{{32, 36}, {46, 52}} // e_shoff; e_shentsize, e_shnum and e_shstrndx
	if head[elf.EI_CLASS] == byte(elf.ELFCLASS64) {
		fields = [2][2]int{{40, 48}, {58, 64}}
	}
	head = bytes.Clone(head[:64])
	for _, f := range fields {
		clear(head[f[0]:f[1]])
	}
	return withoutSections{r, head}
}

// ReadAt reads from the changed header and from the rest of the file.
func (w withoutSections) ReadAt(p []byte, offset int64) (int, error) {
	n := 0
	if offset >= 0 && offset < int64(len(w.head)) {
		n = copy(p, w.head[offset:])
	}
	if n == len(p) {
		return n, nil
	}
	m, err := w.ReaderAt.ReadAt(p[n:], offset+int64(n))
	return n + m, err
}

// identifyELF identifies an ELF file. It rejects a file only if this machine certainly
// cannot run it. Samples often have odd headers; about these the kernel decides.
func identifyELF(r io.ReaderAt, head []byte, look Lookup) File {
	native := File{What: "a program", Why: "it is an ELF file for this machine", Rank: RankProgram}
	if len(head) < 64 {
		return native
	}
	f, err := elf.NewFile(newWithoutSections(r, head))
	if err != nil {
		return native
	}
	interpreter := ""
	var dynamic *elf.Prog
	for _, p := range f.Progs {
		switch {
		case p.Type == elf.PT_DYNAMIC && dynamic == nil:
			dynamic = p
		case p.Type == elf.PT_INTERP && p.Filesz > 0 && p.Filesz < 4096 && interpreter == "":
			path := make([]byte, p.Filesz)
			if _, err := io.ReadFull(p.Open(), path); err == nil {
				interpreter = string(bytes.TrimRight(path, "\x00"))
			}
		}
	}
	bits := map[elf.Class]string{elf.ELFCLASS32: "32-bit", elf.ELFCLASS64: "64-bit"}[f.Class]
	switch {
	case len(machines) > 0 && !slices.Contains(machines, f.Machine):
		return File{
			What:  fmt.Sprintf("a program for %s (ELF, %s)", strings.TrimPrefix(f.Machine.String(), "EM_"), bits),
			Lacks: ", and this machine is " + runtime.GOARCH,
		}
	case f.Type == elf.ET_REL:
		return File{What: "an object file, or a kernel module"}
	case f.Type == elf.ET_CORE:
		return File{What: "a core dump"}
	case f.Type == elf.ET_DYN && interpreter == "" && (f.Entry == 0 || hasSoname(f, dynamic)):
		return File{What: "a shared library"}
	case strings.HasPrefix(interpreter, "/") && look(interpreter) == "":
		return File{What: "a program", Lacks: fmt.Sprintf(", and its interpreter %q is not in the sandbox", interpreter)}
	}
	if string(head[8:11]) == "AI\x02" {
		// The sandbox has no FUSE: this variable makes the runtime unpack the image.
		native.What, native.Env = "an AppImage", []string{"APPIMAGE_EXTRACT_AND_RUN=1"}
	}
	return native
}

// hasSoname reports whether an ELF file has a DT_SONAME, the name by which others load
// it. Libraries have one, programs do not.
func hasSoname(f *elf.File, dynamic *elf.Prog) bool {
	if dynamic == nil {
		return false
	}
	content, err := io.ReadAll(io.LimitReader(dynamic.Open(), maxDynamicBytes))
	if err != nil {
		return false
	}
	for size := map[elf.Class]int{elf.ELFCLASS32: 4, elf.ELFCLASS64: 8}[f.Class]; size > 0 && len(content) >= 2*size; content = content[2*size:] {
		tag := uint64(0)
		if size == 4 {
			tag = uint64(f.ByteOrder.Uint32(content))
		} else {
			tag = f.ByteOrder.Uint64(content)
		}
		switch elf.DynTag(tag) {
		case elf.DT_SONAME:
			return true
		case elf.DT_NULL:
			return false
		}
	}
	return false
}

// identifyPE identifies a program for Windows or DOS; see Microsoft's "PE Format".
func identifyPE(r io.ReaderAt, head []byte) File {
	const (
		isDLL       = 0x2000
		headerBytes = 24 // the signature and the file header
		plus        = 0x20b
	)
	pe := make([]byte, headerBytes+256)
	if len(head) < 64 {
		return File{What: "a program for Windows or DOS", Lacks: onLinux}
	}
	n, _ := r.ReadAt(pe, int64(binary.LittleEndian.Uint32(head[0x3c:]))) // a short file has no header
	pe = pe[:n]
	if n < headerBytes+2 || string(pe[:4]) != "PE\x00\x00" {
		return File{What: "a program for Windows or DOS", Lacks: onLinux}
	}
	machine := binary.LittleEndian.Uint16(pe[4:])
	arch, ok := map[uint16]string{0x14c: "x86", 0x8664: "x86-64", 0x1c0: "ARM", 0x1c4: "ARM", 0xaa64: "ARM64"}[machine]
	if !ok {
		arch = fmt.Sprintf("machine %#x", machine)
	}
	format, clr := "PE32", headerBytes+96+14*8 // the 15th entry of the data directory
	if binary.LittleEndian.Uint16(pe[headerBytes:]) == plus {
		format, clr = "PE32+", clr+16
	}
	what := "a program for Windows"
	if n >= clr+4 && binary.LittleEndian.Uint32(pe[clr:]) != 0 {
		what = "a .NET program for Windows"
	}
	if binary.LittleEndian.Uint16(pe[22:])&isDLL != 0 {
		what = "a library for Windows (DLL)"
	}
	return File{What: fmt.Sprintf("%s (%s, %s)", what, format, arch), Lacks: onLinux}
}

// identifyCafeBabe tells a Java class from a universal program for macOS. The field
// after the magic number is the version of a class, at least 45, or the number of
// architectures of a program, which is smaller.
func identifyCafeBabe(head []byte, look Lookup) File {
	if binary.BigEndian.Uint32(head[4:]) < 45 {
		return File{What: "a program for macOS (Mach-O, universal)", Lacks: onLinux}
	}
	f := javaProgram("a Java class", []string{"-cp"}, look)
	f.class = true
	return f
}

func javaProgram(what string, options []string, look Lookup) File {
	return language{what: what, by: []string{"java"}, options: options}.run(what, "its content is "+what, RankProgram, look)
}

// pycVersions lists the first magic number of each version of Python; see
// Include/internal/pycore_magic_number.h in its source. The last entry starts the
// unknown versions.
var pycVersions = []struct { //nolint:gochecknoglobals // a table of constants
	magic   uint16
	version string
}{
	{3400, "3.8"}, {3420, "3.9"}, {3430, "3.10"}, {3450, "3.11"}, {3500, "3.12"}, {3550, "3.13"}, {3600, "3.14"}, {3650, ""},
}

// identifyPyc identifies compiled Python code. Only one version of Python can run it.
func identifyPyc(head []byte, look Lookup) File {
	magic, version := binary.LittleEndian.Uint16(head), ""
	for _, v := range pycVersions {
		if magic >= v.magic {
			version = v.version
		}
	}
	if version == "" {
		return File{What: "a compiled Python program", Lacks: ", for a version of Python that the agent does not know"}
	}
	what := "a compiled program for Python " + version
	return language{by: []string{"python" + version}}.run(what, "its content is "+what, RankProgram, look)
}
