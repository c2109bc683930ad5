//go:build linux

package sensor

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"ospulse/agent/internal/event"
)

// opensslFolders are where distributions keep libssl: probes are there before the
// first process maps it. Others are found when they are mapped.
var opensslFolders = []string{
	"/lib/*/libssl.so*", "/usr/lib/*/libssl.so*", "/usr/lib/libssl.so*", "/usr/lib64/libssl.so*", "/lib64/libssl.so*",
	"/usr/local/lib/libssl.so*", "/usr/local/lib64/libssl.so*", "/usr/local/ssl/lib*/libssl.so*",
}

// Bounds of what is looked at.
const (
	maxCandidates = 1024    // files that wait to be looked at; then their processes wait
	maxExpected   = 4096    // files of a folder whose program is about to run
	maxSeen       = 1 << 16 // files that are remembered
)

// fileID names a file by its inode, whatever its path.
type fileID struct{ device, inode uint64 }

// seenFile is a file that was looked at, with what tells whether it is the same
// still: numbers of inodes are used again, and files are written anew.
type seenFile struct {
	size     int64
	modified unix.Timespec
	links    []link.Link // the probes in it: none if it has no OpenSSL
}

// tlsProbes are the uprobes in OpenSSL: in shared libraries, and in programs that
// have it linked in and still have their symbols. Each file is looked at once, and
// as a process has it mapped, whatever became of its path: in another mount
// namespace, under another root, deleted.
type tlsProbes struct {
	programs *bpfPrograms
	log      *slog.Logger
	queue    chan candidate
	wake     chan struct{} // holds one value when there are processes to go through
	quit     chan struct{}
	done     chan struct{}

	waiting sync.Mutex
	pids    []int // processes to go through

	mu     sync.Mutex
	seen   map[fileID]*seenFile
	closed bool
}

// candidate is a file that may hold OpenSSL.
type candidate struct {
	pid   int      // 0: as the agent sees it
	paths []string // where it may be found, the surest first
}

func newTLSProbes(programs *bpfPrograms, log *slog.Logger) *tlsProbes {
	p := &tlsProbes{
		programs: programs, log: log, seen: map[fileID]*seenFile{},
		queue: make(chan candidate, maxCandidates), wake: make(chan struct{}, 1),
		quit: make(chan struct{}), done: make(chan struct{}),
	}
	for _, pattern := range opensslFolders {
		paths, _ := filepath.Glob(pattern) // the patterns are good
		for _, path := range paths {
			p.look(candidate{paths: []string{path}})
		}
	}
	go p.run()
	return p
}

// run looks at what was found, first at what programs run just now.
func (p *tlsProbes) run() {
	defer close(p.done)
	for {
		select {
		case <-p.quit:
			return
		case c := <-p.queue:
			p.look(c)
			continue
		default:
		}
		if pid, ok := p.next(); ok {
			p.goThrough(pid)
			continue
		}
		select {
		case <-p.quit:
			return
		case c := <-p.queue:
			p.look(c)
		case <-p.wake:
		}
	}
}

// close takes the probes out.
func (p *tlsProbes) close() error {
	close(p.quit)
	<-p.done
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	var links []link.Link
	for _, file := range p.seen {
		links = append(links, file.links...)
	}
	clear(p.seen)
	return closeLinks(links)
}

// Expect tells that a program is about to run: if OpenSSL is linked into it, its
// TLS can be read from the first byte, where one that is found when it runs may
// have begun. It is called after Watch.
func (s *Sensor) Expect(path string) {
	s.mu.Lock()
	probes := s.tls
	s.mu.Unlock()
	if probes != nil {
		probes.look(candidate{paths: []string{path}})
	}
}

// expect looks at what a process that is held in a sandbox is about to run: the
// files of its folder, which came there with the program. Outside of a sandbox the
// folder is any of this machine's, and says nothing.
func (p *tlsProbes) expect(pid int) {
	own, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil {
		return
	}
	its, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/mnt", pid))
	if err != nil || its == own {
		return
	}
	files := 0
	// A folder that cannot be read hides its files from the program too.
	_ = filepath.WalkDir(fmt.Sprintf("/proc/%d/cwd/", pid), func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // the other files count
		}
		if files++; files > maxExpected {
			return fs.SkipAll
		}
		if entry.Type().IsRegular() {
			p.look(candidate{paths: []string{path}})
		}
		return nil
	})
}

// notice looks out for files that begin to run.
func (p *tlsProbes) notice(e *event.Event) {
	switch d := e.Data.(type) {
	case *event.File:
		if d.Operation != "MapFile" || d.Result.Failed() {
			return
		}
		page := uint64(os.Getpagesize())
		begin := uint64(d.Result.Return)
		end := begin + (d.Result.Args[1]+page-1)&^(page-1)
		c := candidate{d.Actor.PID, []string{mapFile(d.Actor.PID, fmt.Sprintf("%x-%x", begin, end)), rooted(d.Actor.PID, d.Path)}}
		// A library whose name says it is looked at before anything else: the
		// process is on its way to its first use.
		if strings.Contains(filepath.Base(d.Path), "ssl") {
			p.look(c)
			return
		}
		p.add(c)
	case *event.Creation:
		p.add(candidate{d.New.PID, []string{fmt.Sprintf("/proc/%d/exe", d.New.PID)}})
	}
}

// mapFile names the file that a process has mapped at a range of addresses.
func mapFile(pid int, addresses string) string {
	return fmt.Sprintf("/proc/%d/map_files/%s", pid, addresses)
}

// rooted gives a path of a process as the agent can use it.
func rooted(pid int, path string) string { return fmt.Sprintf("/proc/%d/root%s", pid, path) }

// add puts a file into the queue; if that is full, its process is gone through
// later.
func (p *tlsProbes) add(c candidate) {
	select {
	case p.queue <- c:
	default:
		p.mapped(c.pid)
	}
}

// mapped has a process gone through for what it has mapped.
func (p *tlsProbes) mapped(pid int) {
	p.waiting.Lock()
	defer p.waiting.Unlock()
	if n := len(p.pids); n == 0 || p.pids[n-1] != pid {
		p.pids = append(p.pids, pid)
	}
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// next gives a process to go through: the last that came, which is the likeliest
// to have TLS before it.
func (p *tlsProbes) next() (int, bool) {
	p.waiting.Lock()
	defer p.waiting.Unlock()
	n := len(p.pids)
	if n == 0 {
		return 0, false
	}
	pid := p.pids[n-1]
	p.pids = p.pids[:n-1]
	return pid, true
}

// goThrough looks at the files that a process has mapped to run.
func (p *tlsProbes) goThrough(pid int) {
	maps, err := os.Open(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return // it ended
	}
	defer maps.Close()
	last := ""
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		fields := strings.Fields(lines.Text()) // addresses, rights, offset, device, inode, path
		if len(fields) < 6 || !strings.Contains(fields[1], "x") || fields[5][0] != '/' || fields[5] == last {
			continue
		}
		last = fields[5]
		p.look(candidate{pid, []string{mapFile(pid, fields[0]), rooted(pid, last)}})
	}
}

// look looks at a file, and puts probes into it if it holds OpenSSL.
func (p *tlsProbes) look(c candidate) {
	for _, path := range c.paths {
		// O_PATH: to open a device or a pipe would do something to it.
		handle, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			continue
		}
		p.lookAt(handle, path)
		_ = unix.Close(handle)
		return
	}
}

// lookAt looks at an open file.
func (p *tlsProbes) lookAt(handle int, path string) {
	var stat unix.Stat_t
	if unix.Fstat(handle, &stat) != nil || stat.Mode&unix.S_IFMT != unix.S_IFREG {
		return
	}
	id := fileID{uint64(stat.Dev), stat.Ino} //nolint:unconvert // the type of Dev differs between architectures
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	if before := p.seen[id]; before != nil {
		if before.size == stat.Size && before.modified == stat.Mtim {
			return
		}
		if err := closeLinks(before.links); err != nil {
			p.log.Warn("the probes of a library that was changed stay", "path", path, "error", err)
		}
	}
	if len(p.seen) >= maxSeen {
		p.forget()
	}
	file := &seenFile{size: stat.Size, modified: stat.Mtim}
	p.seen[id] = file
	// What is looked at is what gets the probes, whatever happens to the path.
	opened := fmt.Sprintf("/proc/self/fd/%d", handle)
	var err error
	if file.links, err = p.attach(opened); err != nil {
		p.log.Warn("TLS of a program or library cannot be read", "path", path, "error", err)
	}
}

// forget makes room: files without OpenSSL may be looked at again.
func (p *tlsProbes) forget() {
	for id, file := range p.seen {
		if len(file.links) == 0 {
			delete(p.seen, id)
		}
	}
}

// attach puts probes into a file, if it holds OpenSSL. A kernel that can (6.6) takes all the functions
// of a program at once, and is quick to take them out again.
func (p *tlsProbes) attach(path string) (links []link.Link, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open: %w", err)
	}
	defer file.Close()
	offsets, err := opensslOffsets(file)
	if err != nil || len(offsets) == 0 {
		return nil, err
	}
	executable, err := link.OpenExecutable(path)
	if err != nil {
		return nil, fmt.Errorf("open: %w", err)
	}
	multi := features.HaveBPFLinkUprobeMulti() == nil
	for _, probe := range []struct {
		program   *ebpf.Program
		atEnd     bool
		functions []string
	}{
		// What ends a call is there before what begins it: a call is read whole or
		// not at all.
		{p.programs.TlsRead, true, []string{"SSL_read", "SSL_read_ex"}},
		{p.programs.TlsWrite, true, []string{"SSL_write", "SSL_write_ex"}},
		{p.programs.TlsEnter, false, []string{"SSL_read", "SSL_write"}},
		{p.programs.TlsEnterEx, false, []string{"SSL_read_ex", "SSL_write_ex"}},
		{p.programs.TlsFree, false, []string{"SSL_free"}},
	} {
		var at []uint64
		for _, function := range probe.functions {
			if offset, ok := offsets[function]; ok {
				at = append(at, offset)
			}
		}
		if len(at) == 0 {
			continue
		}
		var made []link.Link
		if multi {
			made, err = attachMulti(executable, probe.program, probe.atEnd, at)
		} else {
			made, err = attachEach(executable, probe.program, probe.atEnd, at)
		}
		links = append(links, made...)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("attach to %v: %w", probe.functions, err), closeLinks(links))
		}
	}
	return links, nil
}

func attachMulti(executable *link.Executable, program *ebpf.Program, atEnd bool, at []uint64) ([]link.Link, error) {
	attach := executable.UprobeMulti
	if atEnd {
		attach = executable.UretprobeMulti
	}
	l, err := attach(nil, program, &link.UprobeMultiOptions{Addresses: at})
	if err != nil {
		return nil, err
	}
	return []link.Link{l}, nil
}

func attachEach(executable *link.Executable, program *ebpf.Program, atEnd bool, at []uint64) ([]link.Link, error) {
	attach := executable.Uprobe
	if atEnd {
		attach = executable.Uretprobe
	}
	var links []link.Link
	for _, offset := range at {
		l, err := attach("", program, &link.UprobeOptions{Address: offset})
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
