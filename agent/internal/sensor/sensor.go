//go:build linux

package sensor

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
	"github.com/cilium/ebpf/rlimit"

	"ospulse/agent/internal/clock"
	"ospulse/agent/internal/event"
	"ospulse/agent/internal/inspect"
)

// maxWatches is how many watches there can be at once: a bit each.
const maxWatches = 64

// MaxContent is the most that is kept of what a call reads or writes.
const MaxContent = 16384

// pollInterval is how long events may wait when there are few of them, and how
// often losses are looked for.
const pollInterval = 50 * time.Millisecond

// Options are the settings of a Sensor.
type Options struct {
	// ContentBytes is how many of the bytes that are read or written an event
	// keeps; 0 for none, at most MaxContent.
	ContentBytes int
	// RingBytes is the size of the buffer between kernel and agent; a power of
	// two and of pages, 16 MiB unless set.
	RingBytes int
	// Exclude are processes that are never reported, with their descendants: the
	// agent itself, the backend, its database.
	Exclude []int
	// TLS reads what goes through OpenSSL.
	TLS bool
	// Clock dates events; clock.System unless set.
	Clock *clock.Clock
	// Log is for what goes wrong while events are read; slog.Default unless set.
	Log *slog.Logger
}

// Scope says whom a watch is about.
type Scope struct {
	All  bool
	PIDs []int // and their descendants, from now on
	// OnExec begins with the next exec of PIDs or their descendants: what a
	// launcher does before it becomes the program is left out.
	OnExec bool
	// Exclude is as in Options, and for all watches.
	Exclude []int
}

// Sensor watches programs. It is made once; its methods may be called at any time.
type Sensor struct {
	options Options
	objects bpfObjects
	reader  *ringbuf.Reader
	helper  *inspect.Helper
	log     *slog.Logger

	mu      sync.Mutex // of everything below; held while events are given out
	links   []link.Link
	watches [maxWatches]*Watch
	next    int // where the last watch's slot was: none is used again soon
	decoder *decoder
	tls     *tlsProbes
	lost    [maxWatches][]uint64 // counts that were told, by CPU
	polled  time.Time
	epoch   uint64

	tap func(raw []byte) // of tests: sees every record first

	ring   positions
	given  uint64        // how far into the ring events have been given out
	passed chan struct{} // closed, and replaced, when given advances
	done   chan struct{}
}

// New loads the programs into the kernel. Nothing runs until the first Watch.
// It needs CAP_BPF and CAP_PERFMON (or root), a kernel with BTF, 5.8 or newer.
func New(options Options) (*Sensor, error) {
	if options.ContentBytes < 0 || options.ContentBytes > MaxContent {
		return nil, fmt.Errorf("content of %d bytes: 0 to %d can be kept", options.ContentBytes, MaxContent)
	}
	// Kernels before 5.11 count maps as locked memory; later ones need nothing.
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
	if err := spec.Variables["looks"].Set(looksOf()); err != nil {
		return nil, fmt.Errorf("set the table of calls: %w", err)
	}
	for variable, name := range map[string]string{"uring_op": uringName, "aio_op": aioName} {
		if err := spec.Variables[variable].Set(opOf(name)); err != nil {
			return nil, fmt.Errorf("set the table of calls: %w", err)
		}
	}
	multiPrograms(spec)
	s := &Sensor{options: options, log: options.Log, passed: make(chan struct{}), done: make(chan struct{})}
	if s.log == nil {
		s.log = slog.Default()
	}
	s.helper = inspect.New(s.log)
	if err := spec.LoadAndAssign(&s.objects, nil); err != nil {
		return nil, fmt.Errorf("load the programs: %w", err)
	}
	if err := s.start(cpus); err != nil {
		return nil, errors.Join(err, s.objects.Close())
	}
	go s.read()
	return s, nil
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
	s.decoder = newDecoder(s.options.Clock, s.options.ContentBytes, nameOfProcess, newCgroups())
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

// nameOfProcess gives the name of a running process's image.
func nameOfProcess(pid uint32) string {
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		return ""
	}
	return filepath.Base(strings.TrimSuffix(exe, " (deleted)"))
}

// Watch is a watch that stands.
type Watch struct {
	sensor *Sensor
	scope  Scope
	slot   int
	sink   func(*event.Event)
}

// Watch starts to report what is in scope. Events go to sink, from one goroutine
// at a time; it must not block for long, nor call the Sensor. When it returns, the
// TLS of what a process of OnExec that is held in a sandbox has in its folder can
// be read.
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
	w := &Watch{sensor: s, scope: scope, slot: -1, sink: sink}
	for i := range maxWatches {
		if slot := (s.next + i) % maxWatches; s.watches[slot] == nil {
			w.slot, s.next = slot, slot+1
			break
		}
	}
	if w.slot < 0 {
		return nil, nil, fmt.Errorf("there are %d watches already, as many as there can be", maxWatches)
	}
	// A fork during the last Close may have kept a bit of the watch that had it.
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

// Exclude excludes more processes, with their descendants, from all watches.
func (s *Sensor) Exclude(pids []int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.links) == 0 {
		return nil // there is no watch
	}
	return s.excludeAll(pids)
}

// Add adds a process and its descendants.
func (w *Watch) Add(pid int) error {
	w.sensor.mu.Lock()
	defer w.sensor.mu.Unlock()
	return w.sensor.add(w, pid)
}

// Close ends the watch, after it has given to its sink what had happened before.
func (w *Watch) Close() error {
	s := w.sensor
	if err := s.Flush(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.watches[w.slot] != w {
		return nil // a second time
	}
	s.tellLosses(time.Now())
	return w.drop()
}

// drop takes the watch out of the kernel.
func (w *Watch) drop() error {
	s := w.sensor
	s.watches[w.slot] = nil
	err := s.setAll()
	err = errors.Join(err, s.forget(w.slot))
	for _, other := range &s.watches {
		if other != nil {
			return err
		}
	}
	return errors.Join(err, s.detach())
}

// Flush returns when everything that happened before has been given out: when the
// reader has passed the place that the kernel had written up to. Events that keep
// coming in do not delay it, and any number of calls may wait at once.
func (s *Sensor) Flush() error {
	s.mu.Lock()
	until := s.ring.written()
	s.mu.Unlock()
	if err := s.reader.Flush(); err != nil { // wakes the reader up
		return fmt.Errorf("flush: %w", err)
	}
	for {
		s.mu.Lock()
		given, passed := s.given, s.passed
		s.mu.Unlock()
		if given >= until {
			return nil
		}
		select {
		case <-passed:
		case <-s.done:
			return nil
		}
	}
}

// Backlog gives how many bytes of events the kernel has written that have not been
// given out.
func (s *Sensor) Backlog() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return int64(s.ring.written() - s.given)
}

// Close ends all watches and takes the programs out of the kernel.
func (s *Sensor) Close() error {
	s.mu.Lock()
	err := s.detach()
	clear(s.watches[:])
	s.mu.Unlock()
	s.helper.Close()
	err = errors.Join(err, s.reader.Close())
	<-s.done
	s.decoder.cgroups.close()
	s.mu.Lock()
	err = errors.Join(err, s.ring.close())
	s.ring = positions{}
	s.mu.Unlock()
	return errors.Join(err, s.objects.Close())
}

// uringTracepoint is of Linux 6.3 and newer, built with io_uring.
const uringTracepoint = "io_uring_submit_req"

// attach lets the programs run.
func (s *Sensor) attach() error {
	if len(s.links) > 0 {
		return nil
	}
	if err := s.renew(); err != nil {
		return err
	}
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
	if s.tls != nil {
		err = errors.Join(err, s.tls.close())
		s.tls = nil
	}
	return err
}

// closeLinks closes links side by side: each waits for the kernel, and the waits
// are the same.
func closeLinks(links []link.Link) error {
	errs := make([]error, len(links))
	var all sync.WaitGroup
	for i, l := range links {
		all.Go(func() { errs[i] = l.Close() })
	}
	all.Wait()
	return errors.Join(errs...)
}

// setAll tells the kernel which watches are about every process.
func (s *Sensor) setAll() error {
	var all uint64
	for slot, w := range &s.watches {
		if w != nil && w.scope.All {
			all |= 1 << slot
		}
	}
	if err := s.objects.AllSessions.Set(all); err != nil {
		return fmt.Errorf("set the scope: %w", err)
	}
	return nil
}

// read gives out events until the ring is closed.
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

// batchRecords bounds how long Watch and Close wait while events come in.
const batchRecords = 4096

// readBatch waits for events and gives out what is there; false when the ring is
// closed.
func (s *Sensor) readBatch(rec *ringbuf.Record) bool {
	err := s.reader.ReadInto(rec)
	s.mu.Lock()
	for n := 0; err == nil; n++ {
		s.give(rec.RawSample)
		if n == batchRecords || rec.Remaining == 0 {
			break
		}
		err = s.reader.ReadInto(rec)
	}
	if now := time.Now(); now.Sub(s.polled) >= pollInterval {
		s.tellLosses(now)
	}
	if read := s.ring.read(); read != s.given {
		s.given = read
		close(s.passed)
		s.passed = make(chan struct{})
	}
	s.mu.Unlock()
	switch {
	case err == nil || errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, ringbuf.ErrFlushed):
	case errors.Is(err, ringbuf.ErrClosed):
		return false
	default:
		s.log.Error("reading events failed", "error", err)
		return false
	}
	return true
}

// give gives the events of a record to the watches that they are for.
func (s *Sensor) give(raw []byte) {
	if s.tap != nil {
		s.tap(raw)
	}
	err := s.decoder.decode(raw, func(e *event.Event) {
		if s.tls != nil {
			s.tls.notice(e)
		}
		for slot, bits := 0, s.decoder.record.sessions; bits != 0; slot, bits = slot+1, bits>>1 {
			if w := s.watches[slot]; bits&1 != 0 && w != nil {
				w.sink(e)
			}
		}
	})
	if err != nil {
		s.log.Error("an event of the kernel cannot be read", "error", err, "bytes", len(raw))
	}
}

// loss is struct loss of the kernel side.
type loss struct{ Count, First, Last, Epoch uint64 }

func (s *Sensor) losses(slot int) ([]loss, error) {
	var counts []loss
	if err := s.objects.Losses.Lookup(uint32(slot), &counts); err != nil {
		return nil, fmt.Errorf("read the losses: %w", err)
	}
	return counts, nil
}

// tellLosses reports events that did not fit into the ring.
func (s *Sensor) tellLosses(now time.Time) {
	for slot, w := range &s.watches {
		if w == nil {
			continue
		}
		counts, err := s.losses(slot)
		if err != nil {
			s.log.Error("losses are not known", "error", err)
			return
		}
		for cpu, l := range counts {
			lost := l.Count - s.lost[slot][cpu]
			if lost == 0 {
				continue
			}
			s.lost[slot][cpu] = l.Count
			from, to := s.decoder.wall(l.First), s.decoder.wall(l.Last)
			if l.Epoch != s.epoch { // it began before the last look
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
		s.log.Error("the accounts of loss are not dated", "error", err)
	}
}
