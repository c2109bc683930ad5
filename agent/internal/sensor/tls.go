//go:build linux

package sensor

import (
	"bufio"
	"bytes"
	"debug/elf"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/link"

	"ospulse/agent/internal/event"
)

// opensslFolders are where distributions keep libssl: probes are there before the
// first process maps it. Others are found when they are mapped.
var opensslFolders = []string{
	"/lib/*/libssl.so*", "/usr/lib/*/libssl.so*", "/usr/lib/libssl.so*", "/usr/lib64/libssl.so*", "/lib64/libssl.so*",
	"/usr/local/lib/libssl.so*", "/usr/local/lib64/libssl.so*", "/usr/local/ssl/lib*/libssl.so*",
}

// fileID names a file by its inode, whatever its path.
type fileID struct{ device, inode uint64 }

// tlsProbes are the uprobes in OpenSSL: in shared libraries, and in programs that
// have it linked in and still have their symbols. Files are looked at by one
// goroutine, each once.
type tlsProbes struct {
	programs *bpfPrograms
	log      *slog.Logger
	queue    chan candidate
	done     chan struct{}

	mu     sync.Mutex
	seen   map[fileID]bool
	links  []link.Link
	closed bool
}

// candidate is a file that may hold OpenSSL, as a process sees it.
type candidate struct {
	pid  int // 0: as the agent sees it
	path string
}

// maxCandidates bounds how many files wait to be looked at; more are looked at
// when they are mapped again.
const maxCandidates = 1024

func newTLSProbes(programs *bpfPrograms, log *slog.Logger) *tlsProbes {
	p := &tlsProbes{
		programs: programs, log: log, seen: map[fileID]bool{},
		queue: make(chan candidate, maxCandidates), done: make(chan struct{}),
	}
	for _, pattern := range opensslFolders {
		paths, _ := filepath.Glob(pattern) // the patterns are good
		for _, path := range paths {
			p.look(candidate{path: path})
		}
	}
	go func() {
		defer close(p.done)
		for c := range p.queue {
			p.look(c)
		}
	}()
	return p
}

// close takes the probes out.
func (p *tlsProbes) close() error {
	close(p.queue)
	<-p.done
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	err := closeLinks(p.links)
	p.links = nil
	return err
}

// Expect tells that a program is about to run: if OpenSSL is linked into it, its
// TLS can be read from the first byte, where one that is found when it runs may
// have begun. It is called after Watch.
func (s *Sensor) Expect(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tls != nil {
		s.tls.look(candidate{path: path})
	}
}

// notice looks out for files that begin to run.
func (p *tlsProbes) notice(e *event.Event) {
	var c candidate
	switch d := e.Data.(type) {
	case *event.File:
		if d.Operation != "MapFile" || d.Result.Failed() {
			return
		}
		c = candidate{d.Actor.PID, d.Path}
	case *event.Creation:
		if d.Result.Failed() {
			return
		}
		c = candidate{d.New.PID, d.ImagePath}
	default:
		return
	}
	// A library whose name says it is looked at before anything else: the process
	// is on its way to its first use.
	if strings.Contains(filepath.Base(c.path), "ssl") {
		p.look(c)
		return
	}
	select {
	case p.queue <- c:
	default:
	}
}

// mapped looks at what processes that run already have mapped.
func (p *tlsProbes) mapped(pid int) {
	maps, err := os.Open("/proc/" + strconv.Itoa(pid) + "/maps")
	if err != nil {
		return // it ended
	}
	defer maps.Close()
	last := ""
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 6 || !strings.Contains(fields[1], "x") || fields[5][0] != '/' || fields[5] == last {
			continue
		}
		last = fields[5]
		select {
		case p.queue <- candidate{pid, last}:
		default:
		}
	}
}

// look looks at a file, and puts probes into it if it holds OpenSSL.
func (p *tlsProbes) look(c candidate) {
	path := c.path
	if c.pid != 0 {
		path = fmt.Sprintf("/proc/%d/root%s", c.pid, c.path)
	}
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() {
		return
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return
	}
	id := fileID{uint64(stat.Dev), stat.Ino} //nolint:unconvert // the type of Dev differs between architectures
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.seen[id] || p.closed {
		return
	}
	p.seen[id] = true
	symbols := opensslSymbols(path)
	if len(symbols) == 0 {
		return
	}
	if err := p.attach(path, symbols); err != nil {
		p.log.Warn("TLS of a library cannot be read", "path", c.path, "error", err)
	}
}

// opensslSymbols lists the functions of OpenSSL that a file has: not those that
// it only calls.
func opensslSymbols(path string) []string {
	file, err := elf.Open(path)
	if err != nil {
		return nil
	}
	defer file.Close()
	if !names(file, ".dynstr") && !names(file, ".strtab") {
		return nil
	}
	dynamic, _ := file.DynamicSymbols() // no symbols is an error there
	static, _ := file.Symbols()
	var found []string
	for _, symbol := range append(dynamic, static...) {
		if symbol.Section != elf.SHN_UNDEF && strings.HasPrefix(symbol.Name, "SSL_") && !slices.Contains(found, symbol.Name) {
			found = append(found, symbol.Name)
		}
	}
	return found
}

// names reports whether SSL_write is in a table of names: a quick look, as most
// files have nothing of it.
func names(file *elf.File, table string) bool {
	const maxSize = 64 << 20
	section := file.Section(table)
	if section == nil || section.Size > maxSize {
		return false
	}
	data, err := section.Data()
	return err == nil && bytes.Contains(data, []byte("\x00SSL_write\x00"))
}

// attach puts probes into a file. A kernel that can (6.6) takes all the symbols of
// a program at once, and is quick to take them out again.
func (p *tlsProbes) attach(path string, has []string) error {
	executable, err := link.OpenExecutable(path)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	multi := features.HaveBPFLinkUprobeMulti() == nil
	for _, probe := range []struct {
		program *ebpf.Program
		atEnd   bool
		symbols []string
	}{
		{p.programs.TlsEnter, false, []string{"SSL_read", "SSL_write"}},
		{p.programs.TlsEnterEx, false, []string{"SSL_read_ex", "SSL_write_ex"}},
		{p.programs.TlsRead, true, []string{"SSL_read", "SSL_read_ex"}},
		{p.programs.TlsWrite, true, []string{"SSL_write", "SSL_write_ex"}},
		{p.programs.TlsFree, false, []string{"SSL_free"}},
	} {
		symbols := slices.DeleteFunc(probe.symbols, func(s string) bool { return !slices.Contains(has, s) })
		if len(symbols) == 0 {
			continue
		}
		var links []link.Link
		if multi {
			links, err = attachMulti(executable, probe.program, probe.atEnd, symbols)
		} else {
			links, err = attachEach(executable, probe.program, probe.atEnd, symbols)
		}
		p.links = append(p.links, links...)
		if err != nil {
			return fmt.Errorf("attach to %v: %w", symbols, err)
		}
	}
	return nil
}

func attachMulti(executable *link.Executable, program *ebpf.Program, atEnd bool, symbols []string) ([]link.Link, error) {
	attach := executable.UprobeMulti
	if atEnd {
		attach = executable.UretprobeMulti
	}
	l, err := attach(symbols, program, nil)
	if err != nil {
		return nil, err
	}
	return []link.Link{l}, nil
}

func attachEach(executable *link.Executable, program *ebpf.Program, atEnd bool, symbols []string) ([]link.Link, error) {
	attach := executable.Uprobe
	if atEnd {
		attach = executable.Uretprobe
	}
	var links []link.Link
	for _, symbol := range symbols {
		l, err := attach(symbol, program, nil)
		if err != nil {
			return links, err
		}
		links = append(links, l)
	}
	return links, nil
}

// multiPrograms prepares the programs for the way in which they will be attached.
func multiPrograms(spec *ebpf.CollectionSpec) {
	if features.HaveBPFLinkUprobeMulti() != nil {
		return
	}
	for name, program := range spec.Programs {
		if strings.HasPrefix(name, "tls_") {
			program.AttachType = ebpf.AttachTraceUprobeMulti
		}
	}
}
