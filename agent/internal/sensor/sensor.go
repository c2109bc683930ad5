//go:build linux

package sensor

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"

	"ospulse/agent/internal/clock"
	"ospulse/agent/internal/event"
	"ospulse/agent/internal/inspect"
	"ospulse/agent/internal/parser"
	"ospulse/agent/internal/pending"
	"ospulse/agent/internal/procfs"
	"ospulse/agent/internal/selection"
	"ospulse/agent/internal/syscalls"
)

// maxWatches is the most watches at once. Each has a bit in a 64-bit mask.
const maxWatches = 64

// MaxContent is the most bytes that an event keeps of what a call reads or writes.
const MaxContent = 16384

// pollInterval is how long events may wait in the ring when they are few, and how often
// the sensor checks for losses.
const pollInterval = 50 * time.Millisecond

// Options are the settings of a Sensor.
type Options struct {
	// ContentBytes is how many of the bytes that a call reads or writes an event keeps:
	// 0 to MaxContent.
	ContentBytes int
	// RingBytes is the size of the buffer between kernel and agent: a power of two and a
	// multiple of the page size; 0: 16 MiB.
	RingBytes int
	// Exclude are processes that are never reported, with their descendants: the
	// agent itself, the backend, its database.
	Exclude []int
	// Environment says which variables of a program's environment an event keeps: see
	// event.KeepVariables. "" keeps none.
	Environment string
	// TLS turns on reading the plaintext of TLS in the programs' libraries.
	TLS bool
	// Pending is the budget of waiting data, which other parts of the agent may share; nil: one
	// of the sensor's own.
	Pending *pending.Budget
	// Clock dates events; nil: clock.System.
	Clock *clock.Clock
	// Log gets errors of reading events; nil: slog.Default.
	Log *slog.Logger
}

// Scope says which processes a watch is about.
type Scope struct {
	All  bool
	PIDs []int // and their descendants, from now on
	// OnExec begins with the next exec of PIDs or their descendants, to leave out what
	// a launcher does before it becomes the program.
	OnExec bool
	// Exclude is as in Options, and applies to all watches.
	Exclude []int
	// Pause stops the watched processes while the ring is nearly full, so that no event is
	// lost. They see a SIGSTOP that nobody sent. If the agent is killed meanwhile, they stay
	// stopped.
	Pause bool
	// Hide are processes that a watch of All does not report, with those that they fork.
	// A process that executes another program than its parent is reported again.
	Hide []procfs.Identity
	// Selection says which events are left out. Their counts are reported.
	Selection selection.Selection
}

// Sensor watches programs. An agent has one. Its methods are safe for concurrent use.
type Sensor struct {
	options Options
	objects bpfObjects
	reader  *ringbuf.Reader
	helper  *inspect.Helper
	parser  *parser.Parser
	log     *slog.Logger

	mu      sync.Mutex // guards everything below; held while sinks are called
	links   []link.Link
	watches [maxWatches]*Watch
	next    int // where to look for a free slot: after the last one, so that none is reused soon
	decoder *decoder
	outbox  outbox
	tls     *tlsProbes
	lost    [maxWatches][]uint64 // count of losses reported so far, by CPU
	polled  time.Time
	epoch   uint64
	rules   map[pathKey]bool // about paths, that the kernel side has

	tap func(raw []byte) // for tests: sees every record first

	ringBytes int
	isFull    bool              // the ring was so full that processes may be paused
	resumed   map[int]time.Time // when the processes were resumed, by pid; see resumeLate

	ring   positions
	placed uint64        // ring position up to which the events are in the outbox, or given
	given  uint64        // ring position up to which the sinks have had the events
	passed chan struct{} // closed, and replaced, when given advances
	mark   mark          // the next moment of sensed
	sensed atomic.Pointer[time.Time]
	done   chan struct{}
}

// mark is a moment, and the ring position up to which the kernel had written by then.
type mark struct {
	time     time.Time
	position uint64
}

// New loads the programs into the kernel. They run from the first Watch on. It needs
// CAP_BPF and CAP_PERFMON (or root), and Linux 5.8 or newer with BTF.
func New(options Options) (*Sensor, error) {
	if options.ContentBytes < 0 || options.ContentBytes > MaxContent {
		return nil, fmt.Errorf("content of %d bytes: must be 0 to %d", options.ContentBytes, MaxContent)
	}
	// Kernels before 5.11 count maps as locked memory.
	if err := rlimit.RemoveMemlock(); err != nil {
		return nil, fmt.Errorf("lift the limit on locked memory: %w", err)
	}
	spec, err := loadBpf()
	if err != nil {
		return nil, fmt.Errorf("read the programs: %w", err)
	}
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return nil, fmt.Errorf("count CPUs: %w", err)
	}
	spec.Maps["buffers"].MaxEntries = uint32(cpus)
	spec.Maps["walks"].MaxEntries = uint32(cpus)
	if options.RingBytes > 0 {
		spec.Maps["events"].MaxEntries = uint32(options.RingBytes)
	}
	if err := spec.Variables["content_bytes"].Set(uint32(options.ContentBytes)); err != nil {
		return nil, fmt.Errorf("set the content size: %w", err)
	}
	wakeup := spec.Maps["events"].MaxEntries / 8
	if err := spec.Variables["wakeup_bytes"].Set(wakeup); err != nil {
		return nil, fmt.Errorf("set the wakeup size: %w", err)
	}
	if err := spec.Variables["pause_bytes"].Set(spec.Maps["events"].MaxEntries / 4 * 3); err != nil {
		return nil, fmt.Errorf("set the size of a full ring: %w", err)
	}
	if options.Environment != "" && options.Environment != event.NoVariables {
		if err := spec.Variables["environment"].Set(uint8(1)); err != nil {
			return nil, fmt.Errorf("turn on reading the environment: %w", err)
		}
	}
	if err := spec.Variables["looks"].Set(looksOf()); err != nil {
		return nil, fmt.Errorf("set the table of calls: %w", err)
	}
	for variable, name := range map[string]string{"uring_op": syscalls.UringName, "aio_op": syscalls.AioName} {
		if err := spec.Variables[variable].Set(syscalls.IndexOf(name)); err != nil {
			return nil, fmt.Errorf("set the table of calls: %w", err)
		}
	}
	if err := setHome(spec); err != nil {
		return nil, fmt.Errorf("set the agent's root: %w", err)
	}
	multiPrograms(spec)
	s := &Sensor{ringBytes: int(spec.Maps["events"].MaxEntries), options: options, log: options.Log, resumed: map[int]time.Time{}, rules: map[pathKey]bool{}, passed: make(chan struct{}), done: make(chan struct{})}
	s.sensed.Store(&time.Time{})
	if s.log == nil {
		s.log = slog.Default()
	}
	s.helper = inspect.New(s.log)
	if s.options.Pending == nil {
		s.options.Pending = pending.New(pending.Limit)
	}
	s.outbox.limit = pauseHeld
	s.parser = parser.New(s.log, &s.mu, s.parserEnded)
	if err := spec.LoadAndAssign(&s.objects, nil); err != nil {
		return nil, fmt.Errorf("load the programs: %w", err)
	}
	if err := s.start(cpus); err != nil {
		return nil, errors.Join(err, s.objects.Close())
	}
	go s.read()
	return s, nil
}

// setHome tells the kernel side the agent's root and mount namespace.
func setHome(spec *ebpf.CollectionSpec) error {
	var root unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, "/", 0, unix.STATX_INO|unix.STATX_MNT_ID, &root); err != nil {
		return err
	}
	var namespace unix.Stat_t
	if err := unix.Stat("/proc/self/ns/mnt", &namespace); err != nil {
		return err
	}
	return errors.Join(
		spec.Variables["home_mount"].Set(uint32(root.Mnt_id)),
		spec.Variables["home_inode"].Set(root.Ino),
		spec.Variables["home_is_mounted"].Set(uint8(root.Attributes/unix.STATX_ATTR_MOUNT_ROOT&1)),
		spec.Variables["home_namespace"].Set(uint32(namespace.Ino)),
	)
}

// start fills the maps and opens the ring.
func (s *Sensor) start(cpus int) error {
	for i := range s.lost {
		s.lost[i] = make([]uint64, cpus)
	}
	if err := fillCalls(&s.objects); err != nil {
		return err
	}
	if s.options.Clock == nil {
		s.options.Clock = clock.System()
	}
	s.decoder = newDecoder(s.options.Clock, s.options.ContentBytes, nameOfProcess, newCgroups(), s.options.Pending)
	s.decoder.environment, s.decoder.ask = s.options.Environment, s.ask
	s.decoder.lookup = newFollower(followTime).follow
	var err error
	if s.ring, err = openPositions(s.objects.Events.FD()); err != nil {
		s.decoder.cgroups.close()
		return err
	}
	if s.reader, err = ringbuf.NewReader(s.objects.Events); err != nil {
		s.decoder.cgroups.close()
		return errors.Join(fmt.Errorf("open the ring buffer: %w", err), s.ring.close())
	}
	return nil
}

// nameOfProcess returns the name of a running process's image.
func nameOfProcess(pid uint32) string {
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		return ""
	}
	return filepath.Base(strings.TrimSuffix(exe, " (deleted)"))
}

// Watch is a running watch.
type Watch struct {
	sensor   *Sensor
	scope    Scope
	slot     int
	sink     func(*event.Event)
	unparsed parser.Losses
	filter   *selection.Filter  // nil: the watch gets everything
	leftOut  counts             // that filter knows, of those that the kernel side left out
	unseen   map[unseenTLS]bool // reported
}

// Watch starts to report the events in scope to sink, from one goroutine at a time. sink
// must not block for long, nor call the Sensor. Watch returns once the machine's
// libraries and the files in the folder of a held OnExec process have their TLS probes, or
// after prepareTime.
func (s *Sensor) Watch(scope Scope, sink func(*event.Event)) (*Watch, error) {
	s.options.Clock.Check()
	w, probes, err := s.watch(scope, sink)
	if err != nil || probes == nil {
		return w, err
	}
	var held []int
	if scope.OnExec {
		held = scope.PIDs
	}
	probes.expect(held)
	return w, nil
}

func (s *Sensor) watch(scope Scope, sink func(*event.Event)) (*Watch, *tlsProbes, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := &Watch{sensor: s, scope: scope, slot: -1, sink: sink, unseen: map[unseenTLS]bool{}}
	for i := range maxWatches {
		if slot := (s.next + i) % maxWatches; s.watches[slot] == nil {
			w.slot, s.next = slot, slot+1
			break
		}
	}
	if w.slot < 0 {
		return nil, nil, fmt.Errorf("there are %d watches already, which is the limit", maxWatches)
	}
	// A fork during the last Close may have kept the bit of this slot's last watch.
	if err := s.forget(w.slot); err != nil {
		return nil, nil, err
	}
	if err := s.attach(); err != nil {
		return nil, nil, err
	}
	if err := s.excludeAll(scope.Exclude); err != nil {
		return nil, nil, err
	}
	counts, err := s.losses(w.slot)
	if err != nil {
		return nil, nil, err
	}
	for cpu := range counts {
		s.lost[w.slot][cpu] = counts[cpu].Count
	}
	s.watches[w.slot] = w
	if err := s.setSelections(); err != nil {
		return nil, nil, errors.Join(err, w.drop())
	}
	if !scope.Selection.IsAll() {
		if w.leftOut, err = s.countsOf(w.slot); err != nil {
			return nil, nil, errors.Join(err, w.drop())
		}
		w.filter = selection.NewFilter(scope.Selection, sink)
	}
	for _, process := range scope.Hide {
		if err := s.hide(w.slot, process); err != nil {
			return nil, nil, errors.Join(err, w.drop())
		}
	}
	if err := s.setAll(); err != nil {
		return nil, nil, errors.Join(err, w.drop())
	}
	for _, pid := range scope.PIDs {
		if err := s.add(w, pid); err != nil {
			return nil, nil, errors.Join(err, w.drop())
		}
	}
	if s.tls != nil && scope.All {
		pids, err := allProcesses()
		if err != nil {
			return nil, nil, errors.Join(err, w.drop())
		}
		for _, pid := range pids {
			s.tls.mapped(pid)
		}
	}
	return w, s.tls, nil
}

// Exclude adds processes, with their descendants, to those excluded from all watches.
func (s *Sensor) Exclude(pids []int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.links) == 0 {
		return nil // no watch is running
	}
	return s.excludeAll(pids)
}

// Add adds a process and its descendants to the watch.
func (w *Watch) Add(pid int) error {
	w.sensor.mu.Lock()
	defer w.sensor.mu.Unlock()
	return w.sensor.add(w, pid)
}

// Close ends the watch, after its sink has received all events that happened before.
func (w *Watch) Close() error {
	s := w.sensor
	if err := s.Flush(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.watches[w.slot] != w {
		return nil // already closed
	}
	s.reportUnseen(time.Now())
	s.reportLosses(time.Now())
	if w.filter != nil {
		w.reportLeftOut(time.Now())
	}
	return w.drop()
}

// IsOver reports whether no process of the watch is left. A watch of all processes never
// is over.
func (w *Watch) IsOver() (bool, error) {
	if w.scope.All {
		return false, nil
	}
	members, err := w.sensor.members(w.slot)
	if errors.Is(err, ebpf.ErrIterationAborted) { // processes started or ended meanwhile
		return false, nil
	}
	return err == nil && len(members) == 0, err
}

// Has reports whether the watch is about a process.
func (w *Watch) Has(pid int) (bool, error) {
	var p proc
	if err := w.sensor.objects.Procs.Lookup(uint32(pid), &p); errors.Is(err, ebpf.ErrKeyNotExist) {
		return w.scope.All, nil
	} else if err != nil {
		return false, fmt.Errorf("look up process %d: %w", pid, err)
	}
	if p.Flags&procExcluded != 0 {
		return false, nil
	}
	bit := uint64(1) << w.slot
	return (p.Sessions|p.OnExec)&bit != 0 || w.scope.All && p.Hidden&bit == 0, nil
}

// Hidden returns the running processes that the watch does not report because of Scope.Hide.
// The error is temporary.
func (w *Watch) Hidden() ([]int, error) {
	if len(w.scope.Hide) == 0 {
		return nil, nil
	}
	hidden, err := w.sensor.hidden(w.slot)
	pids := make([]int, len(hidden))
	for i, pid := range hidden {
		pids[i] = int(pid)
	}
	return pids, err
}

// drop removes the watch from the kernel side.
func (w *Watch) drop() error {
	s := w.sensor
	s.watches[w.slot] = nil
	err := errors.Join(s.setAll(), s.setSelections())
	s.resume() // of this watch, and others, which may be paused again
	err = errors.Join(err, s.forget(w.slot))
	for _, other := range &s.watches {
		if other != nil {
			return err
		}
	}
	return errors.Join(err, s.detach())
}

// flushTime is how long a flush waits for the parser.
const flushTime = time.Minute

// Flush returns when the sinks have had every event that happened before the call: when
// the reader has passed the ring position that the kernel had written up to. Later events
// do not delay it. Any number of calls may wait at once.
func (s *Sensor) Flush() error {
	s.mu.Lock()
	until := s.ring.written()
	s.mu.Unlock()
	if err := s.reader.Flush(); err != nil { // wakes the reader
		return fmt.Errorf("flush: %w", err)
	}
	limit := time.NewTimer(flushTime)
	defer limit.Stop()
	for {
		s.mu.Lock()
		given, passed, waits := s.given, s.passed, len(s.outbox.items) > 0
		s.mu.Unlock()
		if given >= until {
			return nil
		}
		select {
		case <-passed:
		case <-limit.C:
			if waits {
				s.parser.Restart()
			}
		case <-s.done:
			return nil
		}
	}
}

// Backlog returns how many bytes of events the kernel has written to the ring that the
// sinks have not had yet.
func (s *Sensor) Backlog() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return int64(s.ring.written() - s.given)
}

// Sensed returns a recent moment: the sinks have had every event that happened before it. It
// advances about every 50 ms while the reader keeps up. A sink may call it.
func (s *Sensor) Sensed() time.Time { return *s.sensed.Load() }

// Close ends all watches and unloads the programs from the kernel.
func (s *Sensor) Close() error {
	s.mu.Lock()
	err := s.detach()
	s.resume()
	clear(s.watches[:])
	s.mu.Unlock()
	s.helper.Close()
	err = errors.Join(err, s.reader.Close())
	<-s.done
	s.parser.Close()
	s.decoder.cgroups.close()
	s.mu.Lock()
	if len(s.resumed) > 0 {
		<-time.After(signalTime)
		s.resumeLate()
	}
	err = errors.Join(err, s.ring.close())
	s.ring = positions{}
	s.mu.Unlock()
	return errors.Join(err, s.objects.Close())
}

// uringTracepoint exists in Linux 6.3 and newer, if built with io_uring.
const uringTracepoint = "io_uring_submit_req"

// attach attaches the programs to their tracepoints.
func (s *Sensor) attach() error {
	if len(s.links) > 0 {
		return nil
	}
	if err := s.renew(); err != nil {
		return err
	}
	s.parser.Start()
	for name, program := range map[string]*ebpf.Program{
		"sched_process_fork": s.objects.ProcessFork,
		"sched_process_exec": s.objects.ProcessExec,
		"sched_process_exit": s.objects.ProcessExit,
		"sys_enter":          s.objects.SysEnter,
		"sys_exit":           s.objects.SysExit,
		uringTracepoint:      s.objects.UringSubmit,
	} {
		l, err := link.AttachRawTracepoint(link.RawTracepointOptions{Name: name, Program: program})
		if name == uringTracepoint && errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return errors.Join(fmt.Errorf("attach to %s: %w", name, err), s.detach())
		}
		s.links = append(s.links, l)
	}
	if s.options.TLS {
		s.tls = newTLSProbes(&s.objects.bpfPrograms, s.helper, s.log)
	}
	return nil
}

func (s *Sensor) detach() error {
	err := closeLinks(s.links)
	s.links = nil
	s.decoder.http.clear(s.decoder)
	if s.tls != nil {
		err = errors.Join(err, s.tls.close())
		s.tls = nil
	}
	return err
}

// closeLinks closes links in parallel. Each close waits for the kernel; in parallel, all
// take as long as one.
func closeLinks(links []link.Link) error {
	errs := make([]error, len(links))
	var all sync.WaitGroup
	for i, l := range links {
		all.Go(func() { errs[i] = l.Close() })
	}
	all.Wait()
	return errors.Join(errs...)
}

// setAll tells the kernel side which watches cover every process, and which pause theirs.
func (s *Sensor) setAll() error {
	var all, pausing uint64
	for slot, w := range &s.watches {
		if w != nil && w.scope.All {
			all |= 1 << slot
		}
		if w != nil && w.scope.Pause {
			pausing |= 1 << slot
		}
	}
	if err := errors.Join(s.objects.AllSessions.Set(all), s.objects.Pausing.Set(pausing)); err != nil {
		return fmt.Errorf("set the scope: %w", err)
	}
	return nil
}

// read passes events to the sinks until the ring is closed.
func (s *Sensor) read() {
	defer close(s.done)
	var rec ringbuf.Record
	for {
		s.reader.SetDeadline(time.Now().Add(pollInterval))
		if !s.readBatch(&rec) {
			return
		}
	}
}

// batchRecords bounds how long Watch and Close wait while events come in, and shareRecords
// how long the parser's answers wait.
const (
	batchRecords = 4096
	shareRecords = 64
)

// readBatch waits for events and passes those in the ring to the sinks, about
// batchRecords at most. It returns false if the ring is closed.
func (s *Sensor) readBatch(rec *ringbuf.Record) bool {
	err := s.reader.ReadInto(rec)
	s.mu.Lock()
	for n := 0; err == nil; n++ {
		s.give(rec.RawSample)
		s.resumeAt(int(s.ring.written() - s.ring.read())) // the reader may be closed meanwhile
		if n == batchRecords || rec.Remaining == 0 || n >= shareRecords && len(s.outbox.items) > 0 {
			break
		}
		err = s.reader.ReadInto(rec)
	}
	if now := time.Now(); now.Sub(s.polled) >= pollInterval {
		s.reportUnseen(now)
		s.reportLosses(now)
		s.resumeLate()
		// A process may be paused by a look at the ring that is older than the last resume.
		if slices.ContainsFunc(s.watches[:], func(w *Watch) bool { return w != nil && w.scope.Pause }) {
			s.isFull = true
			s.resumeAt(int(s.ring.written() - s.ring.read()))
		}
	}
	if read := s.ring.read(); read != s.placed {
		s.placed = read
		s.reached(read)
	}
	if s.given >= s.mark.position {
		sensed := s.mark.time
		s.sensed.Store(&sensed)
		s.mark = mark{time: time.Now()} // before the position: later events may be behind it
		s.mark.position = s.ring.written()
	}
	s.mu.Unlock()
	switch {
	case err == nil || errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, ringbuf.ErrFlushed):
	case errors.Is(err, ringbuf.ErrClosed):
		return false
	default:
		s.log.Error("cannot read events", "error", err)
		return false
	}
	return true
}

// give decodes a record and sends its events to the watches that cover its process.
func (s *Sensor) give(raw []byte) {
	if s.tap != nil {
		s.tap(raw)
	}
	err := s.decoder.decode(raw, func(e *event.Event) {
		if s.tls != nil {
			s.tls.notice(e, s.decoder.record.sessions)
		}
		s.send(e, s.decoder.record.sessions, len(raw))
	})
	if err != nil {
		s.log.Error("cannot decode a record from the kernel", "error", err, "bytes", len(raw))
	}
}

// loss mirrors struct loss of the kernel side.
type loss struct{ Count, First, Last, Epoch uint64 }

func (s *Sensor) losses(slot int) ([]loss, error) {
	var counts []loss
	if err := s.objects.Losses.Lookup(uint32(slot), &counts); err != nil {
		return nil, fmt.Errorf("read the losses: %w", err)
	}
	return counts, nil
}

// reportLosses reports events that did not fit into the ring, and data that was not parsed.
func (s *Sensor) reportLosses(now time.Time) {
	for slot, w := range &s.watches {
		if w == nil {
			continue
		}
		w.unparsed.Report(w.sink)
		if w.filter != nil && !now.Before(w.filter.ReportAt) {
			w.reportLeftOut(now)
		}
		counts, err := s.losses(slot)
		if err != nil {
			s.log.Error("cannot read how many events were lost", "error", err)
			return
		}
		for cpu, l := range counts {
			lost := l.Count - s.lost[slot][cpu]
			if lost == 0 {
				continue
			}
			s.lost[slot][cpu] = l.Count
			from, to := s.decoder.wall(l.First), s.decoder.wall(l.Last)
			if l.Epoch != s.epoch { // it began before the last check
				from = s.polled
			}
			w.sink(&event.Event{Type: event.TypeLost, Time: to, Data: &event.Lost{
				Count: lost, Reason: event.ReasonOverrun, From: from, To: to, CPU: cpu,
			}})
		}
	}
	s.polled = now
	s.epoch++
	if err := s.objects.Epoch.Set(s.epoch); err != nil {
		s.log.Error("cannot date the losses", "error", err)
	}
}
