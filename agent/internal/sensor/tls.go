//go:build linux

package sensor

import (
	"bufio"
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/cilium/ebpf"
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
	var err error
	for _, l := range p.links {
		err = errors.Join(err, l.Close())
	}
	p.links = nil
	return err
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
	if !holdsOpenSSL(path) {
		return
	}
	if err := p.attach(path); err != nil {
		p.log.Warn("TLS of a library cannot be read", "path", c.path, "error", err)
	}
}

// holdsOpenSSL reports whether a file names SSL_write among its symbols.
func holdsOpenSSL(path string) bool {
	file, err := elf.Open(path)
	if err != nil {
		return false
	}
	defer file.Close()
	const maxNames = 64 << 20
	for _, name := range []string{".dynstr", ".strtab"} {
		section := file.Section(name)
		if section == nil || section.Size > maxNames {
			continue
		}
		if names, err := section.Data(); err == nil && bytes.Contains(names, []byte("\x00SSL_write\x00")) {
			return true
		}
	}
	return false
}

// attach puts probes into a file; a function that it only imports has none.
func (p *tlsProbes) attach(path string) error {
	executable, err := link.OpenExecutable(path)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	for symbol, programs := range map[string][2]*ebpf.Program{
		"SSL_read":     {p.programs.TlsEnter, p.programs.TlsRead},
		"SSL_read_ex":  {p.programs.TlsEnterEx, p.programs.TlsRead},
		"SSL_write":    {p.programs.TlsEnter, p.programs.TlsWrite},
		"SSL_write_ex": {p.programs.TlsEnterEx, p.programs.TlsWrite},
		"SSL_free":     {p.programs.TlsFree, nil},
	} {
		l, err := executable.Uprobe(symbol, programs[0], nil)
		switch {
		case errors.Is(err, link.ErrNoSymbol), errors.Is(err, link.ErrNotSupported), errors.Is(err, ebpf.ErrNotSupported):
			continue
		case err != nil:
			return fmt.Errorf("attach to %s: %w", symbol, err)
		}
		p.links = append(p.links, l)
		if programs[1] == nil {
			continue
		}
		if l, err = executable.Uretprobe(symbol, programs[1], nil); err != nil {
			return fmt.Errorf("attach to the end of %s: %w", symbol, err)
		}
		p.links = append(p.links, l)
	}
	return nil
}
