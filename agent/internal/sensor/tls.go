//go:build linux

package sensor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"ospulse/agent/internal/event"
	"ospulse/agent/internal/inspect"
	"ospulse/agent/internal/procfs"
)

// libraryFolders are where distributions keep libraries, and libraryNames those with TLS.
// They get their probes before the first process maps them; others when a process maps them.
//
//nolint:gochecknoglobals // tables of constants
var (
	libraryFolders = []string{
		"/lib/*", "/usr/lib/*", "/usr/lib", "/usr/lib64", "/lib64", "/usr/local/lib", "/usr/local/lib64", "/usr/local/ssl/lib*",
	}
	libraryNames = []string{"libssl.so*", "libssl3.so", "libgnutls.so*", "libnspr4.so"}
)

// Bounds of the search for libraries.
const (
	maxCandidates = 1024    // files that wait for inspection; beyond that, their processes wait
	maxWaiting    = 1 << 16 // processes that wait to be searched
	maxProbed     = 1024    // files with probes, each of which takes some descriptors
	maxProbedUser = 256     // the same, for the processes of one user

	// prepareTime is how long a watch waits for the probes in the machine's libraries
	// and in the files of a held program's folder.
	prepareTime = 10 * time.Second
)

// fileID identifies a file by its inode, independent of its path.
type fileID struct{ device, inode uint64 }

// probedFile is a file with probes. While it has some, its inode number is not reused.
type probedFile struct {
	functions map[string][]uint64
	user      int // whose process had it first; -1: the machine's
	number    int // in the order in which they came
	links     []link.Link
}

// tlsProbes are the uprobes in libraries for TLS: in shared ones, in programs that link them
// statically and still have their symbols, and in programs of Go. A file is inspected through a process's
// mapping, so it may be in another mount namespace, under another root, or deleted. The
// helper process inspects it. Neither the reader of events nor the holder of the sensor's
// lock waits for the helper.
type tlsProbes struct {
	programs *bpfPrograms
	helper   *inspect.Helper
	log      *slog.Logger
	urgent   chan candidate // libraries with the name of one for TLS
	queue    chan candidate
	wake     chan struct{} // holds a value if processes wait to be searched
	own      fileID        // the agent's program, which needs no probes although it has Go's TLS
	ctx      context.Context
	cancel   context.CancelFunc
	prepared chan struct{} // closed when the machine's libraries have their probes
	done     chan struct{}

	waiting sync.Mutex
	pids    []int        // processes to search
	isIn    map[int]bool // pids
	unseen  []unseenFile // not taken yet

	mu     sync.Mutex
	probed map[fileID]*probedFile
	count  int
	closed bool
}

// candidate is a file that may have TLS.
type candidate struct {
	pid   int      // 0: paths are the agent's
	paths []string // possible paths, the most reliable first
	use   use
}

// use says who runs or maps a file. The zero value: nobody yet.
type use struct {
	actor    event.Process
	path     string // as the actor names the file
	sessions uint64 // 0: unknown
}

// unseenFile is a file with TLS that the agent cannot read.
type unseenFile struct {
	use
	file fileID
}

func newTLSProbes(programs *bpfPrograms, helper *inspect.Helper, log *slog.Logger) *tlsProbes {
	p := &tlsProbes{
		programs: programs, helper: helper, log: log, probed: map[fileID]*probedFile{}, isIn: map[int]bool{},
		urgent: make(chan candidate, maxCandidates), queue: make(chan candidate, maxCandidates), wake: make(chan struct{}, 1),
		prepared: make(chan struct{}), done: make(chan struct{}),
	}
	var own unix.Stat_t
	if err := unix.Stat("/proc/self/exe", &own); err != nil {
		log.Warn("the agent's own TLS gets probes", "error", err)
	}
	p.own = fileID{unix.Mkdev(unix.Major(own.Dev), unix.Minor(own.Dev)), own.Ino}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	go p.run()
	return p
}

// run inspects the machine's libraries, then the files that are queued, urgent ones first.
// While none are queued it searches the waiting processes. It ends with ctx.
func (p *tlsProbes) run() {
	defer close(p.done)
	for _, folder := range libraryFolders {
		for _, name := range libraryNames {
			paths, _ := filepath.Glob(folder + "/" + name) // it fails only for a malformed pattern
			for _, path := range paths {
				p.look(p.ctx, candidate{paths: []string{path}})
			}
		}
	}
	close(p.prepared)
	for p.ctx.Err() == nil {
		select {
		case c := <-p.urgent:
			p.look(p.ctx, c)
			continue
		default:
		}
		select {
		case c := <-p.urgent:
			p.look(p.ctx, c)
			continue
		case c := <-p.queue:
			p.look(p.ctx, c)
			continue
		default:
		}
		if pid, ok := p.next(); ok {
			p.goThrough(pid)
			continue
		}
		select {
		case <-p.ctx.Done():
		case c := <-p.urgent:
			p.look(p.ctx, c)
		case c := <-p.queue:
			p.look(p.ctx, c)
		case <-p.wake:
		}
	}
}

// close removes the probes.
func (p *tlsProbes) close() error {
	p.cancel()
	<-p.done
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	var links []link.Link
	for _, file := range p.probed {
		links = append(links, file.links...)
	}
	clear(p.probed)
	return closeLinks(links)
}

// Expect announces a program that is about to run, so that a library for TLS linked into it
// gets its probes before the first byte. Without it, the sensor finds the program only when it
// runs, which may be too late. The caller calls Expect after Watch.
func (s *Sensor) Expect(path string) {
	s.mu.Lock()
	probes := s.tls
	s.mu.Unlock()
	if probes != nil {
		ctx, cancel := context.WithTimeout(probes.ctx, prepareTime)
		defer cancel()
		probes.look(ctx, candidate{paths: []string{path}})
	}
}

// expect waits until the machine's libraries have their probes, then inspects what the
// held processes are about to run: the files in their folder, which came with the program.
func (p *tlsProbes) expect(held []int) {
	ctx, cancel := context.WithTimeout(p.ctx, prepareTime)
	defer cancel()
	select {
	case <-p.prepared:
	case <-ctx.Done():
	}
	for _, pid := range held {
		var paths []string
		err := p.helper.Folder(ctx, pid, func(path string) { paths = append(paths, path) })
		for _, path := range paths {
			p.look(ctx, candidate{pid: pid, paths: []string{path}})
		}
		if err = errors.Join(err, ctx.Err()); err != nil {
			p.log.Warn("not all files of a program were searched for TLS before it runs", "pid", pid, "error", err)
		}
	}
}

// notice queues files that an event of sessions shows being mapped or run.
func (p *tlsProbes) notice(e *event.Event, sessions uint64) {
	switch d := e.Data.(type) {
	case *event.File:
		const execute = 4 // PROT_EXEC
		if d.Operation != "MapFile" || d.Result.Failed() || d.Result.Args[2]&execute == 0 {
			return
		}
		page := uint64(os.Getpagesize())
		begin := uint64(d.Result.Return)
		end := begin + (d.Result.Args[1]+page-1)&^(page-1)
		c := candidate{
			d.Actor.PID, []string{mapFile(d.Actor.PID, fmt.Sprintf("%x-%x", begin, end)), rooted(d.Actor.PID, d.Path)},
			use{d.Actor, d.Path, sessions},
		}
		// A library with such a name takes precedence: the process is about to use it.
		name := filepath.Base(d.Path)
		if strings.Contains(name, "ssl") || strings.Contains(name, "gnutls") || strings.Contains(name, "nspr") {
			p.add(p.urgent, c)
			return
		}
		p.add(p.queue, c)
	case *event.Creation:
		p.add(p.queue, candidate{d.New.PID, []string{exeFile(d.New.PID)}, use{d.New, d.ImagePath, sessions}})
	}
}

// exeFile returns the /proc path of the image that a process runs now.
func exeFile(pid int) string { return fmt.Sprintf("/proc/%d/exe", pid) }

// isReplaced reports whether the process of an exec runs another image by now. What exeFile
// has is then not what the candidate names, and that image has a candidate of its own. Only
// the last component is compared: the rest depends on the root from which one looks.
func (c *candidate) isReplaced() bool {
	if c.use.path == "" || c.paths[0] != exeFile(c.pid) {
		return false
	}
	name := func(path string) string { return strings.TrimSuffix(filepath.Base(path), " (deleted)") }
	now, err := os.Readlink(c.paths[0])
	return err == nil && name(now) != name(c.use.path)
}

// mapFile returns the /proc path of the file that a process maps at a range of addresses.
func mapFile(pid int, addresses string) string {
	return fmt.Sprintf("/proc/%d/map_files/%s", pid, addresses)
}

// rooted returns a process's path as one that the agent can open.
func rooted(pid int, path string) string { return fmt.Sprintf("/proc/%d/root%s", pid, path) }

// add puts a file into a queue. If the queue is full, its process is searched later.
func (p *tlsProbes) add(queue chan candidate, c candidate) {
	select {
	case queue <- c:
	default:
		p.mapped(c.pid)
	}
}

// mapped queues a process to have its mappings searched.
func (p *tlsProbes) mapped(pid int) {
	p.waiting.Lock()
	defer p.waiting.Unlock()
	if len(p.pids) >= maxWaiting { // drop the oldest, which has likely ended
		delete(p.isIn, p.pids[0])
		p.pids = slices.Delete(p.pids, 0, 1)
	}
	if !p.isIn[pid] {
		p.isIn[pid] = true
		p.pids = append(p.pids, pid)
	}
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// next returns a process to search: the newest, which most likely has not begun TLS yet.
func (p *tlsProbes) next() (int, bool) {
	p.waiting.Lock()
	defer p.waiting.Unlock()
	n := len(p.pids)
	if n == 0 {
		return 0, false
	}
	pid := p.pids[n-1]
	p.pids = p.pids[:n-1]
	delete(p.isIn, pid)
	return pid, true
}

// goThrough inspects the files that a process maps as executable. Urgent files that arrive
// meanwhile take precedence.
func (p *tlsProbes) goThrough(pid int) {
	var files []candidate
	err := p.helper.Mapped(p.ctx, pid, func(addresses, path string) {
		actor := event.Process{PID: pid, Name: nameOfProcess(uint32(pid))}
		files = append(files, candidate{pid, []string{mapFile(pid, addresses), rooted(pid, path)}, use{actor: actor, path: path}})
	})
	p.complain(err, fmt.Sprintf("process %d", pid))
	for _, c := range files {
		if len(p.urgent) > 0 {
			p.look(p.ctx, <-p.urgent)
		}
		p.look(p.ctx, c)
	}
}

// look inspects a file, and puts probes into it if it has functions for TLS.
func (p *tlsProbes) look(ctx context.Context, c candidate) {
	if c.isReplaced() {
		return
	}
	file, handle, err := p.helper.TLS(ctx, c.pid, c.paths...)
	if err != nil {
		p.complain(err, c.paths[0])
		return
	}
	if handle == nil {
		if file.IsUnseen && c.use.path != "" && !c.isReplaced() {
			p.addUnseen(unseenFile{c.use, fileID{file.Device, file.Inode}})
		}
		return
	}
	defer handle.Close()
	user := -1
	if c.pid > 0 {
		user = procfs.UserID(c.pid)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	id := fileID{file.Device, file.Inode}
	if id == p.own {
		return
	}
	if before := p.probed[id]; before != nil {
		// A file that was rewritten has other functions. One that was removed or renamed keeps
		// its probes, or a call in progress would be missed.
		if len(before.links) > 0 && maps.EqualFunc(before.functions, file.Functions, slices.Equal) {
			return
		}
		p.forget(id)
	}
	p.makeRoom(user)
	p.count++
	probed := &probedFile{functions: file.Functions, user: user, number: p.count}
	// The inspected file gets the probes, even if its path changes meanwhile.
	if probed.links, err = p.attach(fmt.Sprintf("/proc/self/fd/%d", handle.Fd()), file.Functions); err != nil {
		p.log.Warn("cannot put TLS probes into a program or library", "path", c.paths[len(c.paths)-1], "error", err)
	}
	p.probed[id] = probed
}

// addUnseen adds a file to those that takeUnseen returns.
func (p *tlsProbes) addUnseen(f unseenFile) {
	p.waiting.Lock()
	defer p.waiting.Unlock()
	if len(p.unseen) < maxCandidates {
		p.unseen = append(p.unseen, f)
	}
}

// takeUnseen returns the files with TLS that the agent cannot read, found since the last call.
func (p *tlsProbes) takeUnseen() []unseenFile {
	p.waiting.Lock()
	defer p.waiting.Unlock()
	taken := p.unseen
	p.unseen = nil
	return taken
}

// unseenTLS is what a watch reports once: a file with TLS in a program.
type unseenTLS struct {
	file    fileID
	program string
}

// reportUnseen reports files with TLS that the agent cannot read.
func (s *Sensor) reportUnseen(now time.Time) {
	if s.tls == nil {
		return
	}
	for _, f := range s.tls.takeUnseen() {
		e := &event.Event{Type: event.TypeUnseenTLS, Time: now, Data: &event.UnseenTLS{Actor: f.actor, Path: f.path}}
		key := unseenTLS{f.file, f.actor.Name}
		for slot, w := range &s.watches {
			if w == nil || w.unseen[key] || len(w.unseen) >= maxCandidates {
				continue
			}
			isIn := f.sessions>>slot&1 != 0
			if f.sessions == 0 {
				isIn, _ = w.Has(f.actor.PID) // a process of which nothing is known is in no watch
			}
			if isIn {
				w.unseen[key] = true
				s.send(e, 1<<slot, 0)
			}
		}
	}
}

// complain logs why a file or process was not inspected: as a warning if the inspection
// took too long, else for debugging.
func (p *tlsProbes) complain(err error, of string) {
	if errors.Is(err, inspect.ErrTime) {
		p.log.Warn("timeout while inspecting a file: its TLS is not read", "file", of, "error", err)
	} else if err != nil {
		p.log.Debug("cannot inspect a file for TLS", "file", of, "error", err)
	}
}

// makeRoom removes the oldest probes if there are too many, those of the user first.
func (p *tlsProbes) makeRoom(user int) {
	var oldest, oldestOfUser fileID
	first, firstOfUser, ofUser := 0, 0, 0
	for id, file := range p.probed {
		if file.user < 0 {
			continue // the machine's libraries are few, and keep their probes
		}
		if first == 0 || file.number < first {
			first, oldest = file.number, id
		}
		if file.user != user {
			continue
		}
		if ofUser++; firstOfUser == 0 || file.number < firstOfUser {
			firstOfUser, oldestOfUser = file.number, id
		}
	}
	switch {
	case ofUser >= maxProbedUser:
		p.forget(oldestOfUser)
	case len(p.probed) >= maxProbed && first > 0:
		p.forget(oldest)
	}
}

// forget removes the probes of a file.
func (p *tlsProbes) forget(id fileID) {
	if err := closeLinks(p.probed[id].links); err != nil {
		p.log.Warn("cannot remove the probes of a library", "error", err)
	}
	delete(p.probed, id)
}

// attach puts probes into a file. Linux 6.6 and newer attaches all functions of a program
// at once, and removes them quickly.
func (p *tlsProbes) attach(path string, offsets map[string][]uint64) (links []link.Link, err error) {
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
		// The return probe comes before the entry probe, so that a call is read whole or
		// not at all.
		{p.programs.TlsRead, true, []string{"SSL_read", "SSL_read_ex", "gnutls_record_recv", "PR_Read", "PR_Recv"}},
		{p.programs.TlsWrite, true, []string{"SSL_write", "SSL_write_ex", "gnutls_record_send", "PR_Write", "PR_Send"}},
		{p.programs.TlsGoRead, false, []string{inspect.GoReadReturns}},
		{p.programs.TlsEnter, false, []string{"SSL_read", "SSL_write", "gnutls_record_recv", "gnutls_record_send"}},
		{p.programs.TlsEnterEx, false, []string{"SSL_read_ex", "SSL_write_ex"}},
		{p.programs.TlsNssEnter, false, []string{"PR_Read", "PR_Write"}},
		{p.programs.TlsNssEnterFlags, false, []string{"PR_Recv", "PR_Send"}},
		{p.programs.TlsNssImport, true, []string{"SSL_ImportFD"}},
		{p.programs.TlsGoEnter, false, []string{inspect.GoRead}},
		{p.programs.TlsGoWrite, false, []string{inspect.GoWrite}},
		{p.programs.TlsFree, false, []string{"SSL_free", "gnutls_deinit"}},
		{p.programs.TlsNssClose, false, []string{"PR_Close"}},
		{p.programs.TlsGoClose, false, []string{inspect.GoClose}},
	} {
		var at []uint64
		for _, function := range probe.functions {
			at = append(at, offsets[function]...)
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

// multiPrograms lets the TLS programs attach to several functions at once, if the kernel can.
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
