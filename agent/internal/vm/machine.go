//go:build linux

// Package vm runs a file in a virtual machine for that file alone. QEMU runs in a sandbox, so
// that a sample which escapes from QEMU is still in a sandbox.
//
// The agent in the guest watches the guest and writes what it sees to a virtio-serial port, as
// lines of JSON. The host trusts nothing of it: it bounds the size of messages, accepts only
// events of a sensor, and makes the session's own events itself. Nothing of a run survives:
// QEMU writes changes of the disk to a file without a name.
//
// The package must not know sessions.
package vm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"ospulse/agent/internal/confined"
	"ospulse/agent/internal/event"
	"ospulse/agent/internal/sandbox"
)

const (
	// bootTime is how long a guest may take until its agent runs, without KVM on a busy machine.
	bootTime = 10 * time.Minute
	// endTime is how long the guest may take, after its program has ended, to send the last events.
	endTime = time.Minute
	// stopTime is the same after a stop.
	stopTime = 10 * time.Second

	// overheadMB is what QEMU takes beside the memory of the guest, and guestMB what the
	// guest's own system takes.
	overheadMB, guestMB = 384, 384

	// qemuThreads bounds the threads of QEMU: it reads and writes its disk with up to 64, and has
	// some others.
	qemuThreads = 256
)

// Options say how to run a file.
type Options struct {
	sandbox.Options // of the program

	Image Image
}

// Machine is a virtual machine that runs a file. Its methods may be called concurrently.
type Machine struct {
	options Options
	qemu    *sandbox.Process
	port    *net.UnixConn
	in      *reader
	ready   message
	kvm     bool

	sending  sync.Mutex
	stopOnce sync.Once
	settings Settings // set before Release, like sink
	sink     func(*event.Event)
	running  chan error
	done     chan struct{}

	mu     sync.Mutex
	isUsed bool // Release or Stop was called
	reason sandbox.Reason
	result sandbox.Result
	seen   time.Time // before which the host has all events of the guest
}

// Start boots a virtual machine, gives it the file, and holds the program before its first
// instruction. The error wraps sandbox.ErrProgram if the file is at fault. ctx bounds the start
// only.
func Start(ctx context.Context, path string, o Options) (_ *Machine, err error) {
	if o.Network == sandbox.NetworkHost {
		return nil, fmt.Errorf("%w: a virtual machine has no network host", sandbox.ErrProgram)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	ours, theirs, err := confined.SocketPair(unix.SOCK_STREAM)
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	m := &Machine{options: o, port: ours, in: newReader(ours), kvm: HasKVM(), running: make(chan error, 1), done: make(chan struct{})}
	defer func() {
		if err != nil {
			err = errors.Join(err, m.abandon())
		}
	}()
	if err := m.boot(ctx, theirs); err != nil {
		return nil, err
	}
	_ = theirs.Close()
	stopWatching := context.AfterFunc(ctx, func() { _ = ours.SetDeadline(time.Unix(1, 0)) })
	defer stopWatching()
	if err := ours.SetDeadline(time.Now().Add(bootTime)); err != nil {
		return nil, err
	}
	if err := m.prepare(file, info.Size()); err != nil {
		return nil, errors.Join(err, ctx.Err())
	}
	if !stopWatching() {
		return nil, ctx.Err()
	}
	return m, ours.SetDeadline(time.Time{})
}

// boot starts QEMU in a sandbox.
func (m *Machine) boot(ctx context.Context, port *os.File) error {
	files, err := m.options.Image.open()
	if err != nil {
		return err
	}
	defer func() {
		for _, f := range files {
			_ = f.Close()
		}
	}()
	o := m.options.Options
	outer := sandbox.Options{
		Network: o.Network, Timeout: bootTime + o.Timeout + endTime, MemoryMB: o.MemoryMB + guestMB + overheadMB, DiskMB: 2 * o.DiskMB,
		Processes: qemuThreads, CPUs: o.CPUs, DataDir: o.DataDir, Log: o.Log,
		Program: &sandbox.Program{Argv: arguments(o, m.kvm), Stdin: port, Files: files, Devices: []string{"/dev/kvm"}},
	}
	if m.qemu, err = sandbox.Start(ctx, os.DevNull, outer); err != nil {
		return err
	}
	return m.qemu.Release()
}

// arguments returns the command line of QEMU.
func arguments(o sandbox.Options, kvm bool) []string {
	accelerator, cpu := "tcg,tb-size=128", "max"
	if kvm {
		accelerator, cpu = "kvm", "host"
	}
	network := []string{}
	if o.Network == sandbox.NetworkNAT {
		// The sandbox's own network does not reach this machine's loopback.
		network = []string{"-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net"}
	}
	file := func(n int) string { return fmt.Sprintf("/proc/self/fd/%d", sandbox.FirstFile+n) }
	return append([]string{
		qemuPath(), "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
		"-machine", "q35", "-accel", accelerator, "-cpu", cpu, "-smp", "1", "-m", fmt.Sprint(o.MemoryMB + guestMB),
		"-rtc", "base=utc", "-kernel", file(0), "-initrd", file(1), "-append", "root=/dev/vda rw quiet",
		"-drive", "file=" + file(2) + ",format=raw,if=none,id=root,snapshot=on,werror=report,rerror=report", "-device", "virtio-blk-pci,drive=root",
		"-device", "virtio-serial-pci", "-chardev", "socket,id=port,fd=0", "-device", "virtserialport,chardev=port,name=" + port,
		"-device", "virtio-rng-pci",
	}, network...)
}

// prepare exchanges the messages with the guest until the program is held.
func (m *Machine) prepare(file io.Reader, size int64) error {
	hello, err := m.in.next()
	if err != nil {
		return fmt.Errorf("the guest did not boot: %w", err)
	}
	if hello.Op != opHello {
		return fmt.Errorf("the guest did not boot: it sent %.20q", hello.Op)
	}
	o := m.options
	if err := m.send(message{Op: opOrder, Order: &order{
		Time: time.Now(), Name: nameOf(file), Entry: o.Entry, Args: o.Args, Bytes: size, MemoryMB: o.MemoryMB, DiskMB: o.DiskMB, Processes: o.Processes, Timeout: o.Timeout,
	}}); err != nil {
		return err
	}
	if _, err := io.CopyN(m.port, file, size); err != nil {
		return fmt.Errorf("give the file to the guest: %w", err)
	}
	m.ready, err = m.in.next()
	switch {
	case err != nil:
		return fmt.Errorf("prepare the file in the guest: %w", err)
	case m.ready.Op == opFault:
		return m.ready.failure()
	case m.ready.Op != opReady || m.ready.Run == nil || m.ready.PID <= 0:
		return errors.New("the guest does not say what it runs")
	}
	return nil
}

func nameOf(file io.Reader) string {
	if f, ok := file.(*os.File); ok {
		return filepath.Base(f.Name())
	}
	return "file"
}

// failure returns the error in a fault of a guest.
func (m message) failure() error {
	text := strings.ToValidUTF8(m.Fault, "?")
	if len(text) > 4000 {
		text = strings.ToValidUTF8(text[:4000], "") + " …"
	}
	if m.Program {
		return programError(text)
	}
	return errors.New(text)
}

// programError is a sandbox.ErrProgram that the guest reported.
type programError string

func (e programError) Error() string { return string(e) }
func (programError) Unwrap() error   { return sandbox.ErrProgram }

func (m *Machine) send(msg message) error {
	text, err := json.Marshal(msg)
	if err != nil {
		return err
	}
	m.sending.Lock()
	defer m.sending.Unlock()
	_, err = m.port.Write(append(text, '\n'))
	return err
}

// Watch sets which events the guest reports, and their sink. The caller calls it once, before
// Release.
func (m *Machine) Watch(settings Settings, sink func(*event.Event)) {
	m.settings, m.sink = settings, sink
}

// Release lets the program run, and returns when the guest's kernel has executed it.
func (m *Machine) Release() error {
	if !m.use() {
		return errors.New("the virtual machine was stopped")
	}
	m.mu.Lock()
	m.seen = time.Now()
	m.mu.Unlock()
	m.in.most = maxEventBytes
	err := m.send(message{Op: opGo, Watch: &m.settings})
	go m.receive()
	if err != nil {
		return err
	}
	return <-m.running
}

// use returns true at its first call.
func (m *Machine) use() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	isFirst := !m.isUsed
	m.isUsed = true
	return isFirst
}

// receive takes messages from the guest until it has sent all, breaks a rule, or has ended.
func (m *Machine) receive() {
	defer close(m.done)
	timer := time.AfterFunc(m.options.Timeout, func() { m.end(sandbox.ReasonTimeout) })
	defer timer.Stop()
	err := m.take()
	if stopErr := m.qemu.Stop(); stopErr != nil {
		err = errors.Join(err, stopErr)
	}
	_ = m.port.Close()
	if err != nil {
		m.options.Log.Warn("the virtual machine ended before it had sent all events", "error", err, "qemu", string(m.qemu.Result().Output))
		m.sink(&event.Event{Type: event.TypeLost, Time: time.Now(), Data: &event.Lost{Reason: event.ReasonGuest, From: m.Seen(), To: time.Now(), CPU: -1}})
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.result.Reason == "" {
		m.result = sandbox.Result{Reason: sandbox.ReasonKilled, ExitCode: -1}
	}
	if m.reason != "" {
		m.result.Reason = m.reason
	}
	select {
	case m.running <- errors.New("the virtual machine ended"):
	default:
	}
}

// take returns nil once the guest has sent all. The guest says first whether the program runs, and
// once how it ended.
func (m *Machine) take() error {
	for isRunning, hasEnded := false, false; ; {
		msg, err := m.in.next()
		if err != nil {
			return err
		}
		switch msg.Op {
		case opRunning:
			if isRunning {
				return errors.New("the guest says twice that the program runs")
			}
			isRunning = true
			m.running <- nil
		case opFault:
			if isRunning {
				return fmt.Errorf("the guest failed: %w", msg.failure())
			}
			m.running <- msg.failure()
			return nil
		case opEvent:
			e, err := decodeEvent(msg.Event)
			if err != nil {
				return err
			}
			m.sink(e)
		case opSeen:
			m.mu.Lock()
			if msg.Time.After(m.seen) && msg.Time.Before(time.Now()) {
				m.seen = msg.Time
			}
			m.mu.Unlock()
		case opEnded:
			if msg.Result == nil || !isRunning || hasEnded {
				return errors.New("the guest does not say how the program ended, or says it twice")
			}
			hasEnded = true
			m.mu.Lock()
			m.result = bounded(*msg.Result)
			if m.reason == "" { // else the machine ends sooner
				_ = m.port.SetReadDeadline(time.Now().Add(endTime))
			}
			m.mu.Unlock()
		case opDone:
			if !hasEnded {
				return errors.New("the guest does not say how the program ended")
			}
			return nil
		default:
			return fmt.Errorf("the guest sent %.20q", msg.Op)
		}
	}
}

// bounded returns what the guest says about the end of its program, without what it cannot know.
func bounded(r sandbox.Result) sandbox.Result {
	const most = 64 << 10
	r.Left = nil
	r.Output = r.Output[max(0, len(r.Output)-most):]
	r.OutputBytes = max(r.OutputBytes, int64(len(r.Output)))
	r.ExitCode, r.Signal, r.Duration = min(max(r.ExitCode, -1), 255), min(max(r.Signal, 0), 64), max(r.Duration, 0)
	var limits []string
	for _, limit := range []string{"memory", "processes", "cpu", "disk"} {
		if slices.Contains(r.Limits, limit) {
			limits = append(limits, limit)
		}
	}
	r.Limits = limits
	switch r.Reason {
	case sandbox.ReasonExited, sandbox.ReasonKilled, sandbox.ReasonMemory, sandbox.ReasonCPU, sandbox.ReasonDisk, sandbox.ReasonTimeout:
	default:
		r.Reason = sandbox.ReasonKilled
	}
	return r
}

// end asks the guest to end the program, and ends the machine soon after.
func (m *Machine) end(why sandbox.Reason) {
	m.stopOnce.Do(func() {
		m.mu.Lock()
		m.reason = why
		m.mu.Unlock()
		_ = m.port.SetDeadline(time.Now().Add(stopTime))
		_ = m.send(message{Op: opStop}) // if the guest does not read, the deadline ends it
	})
}

// Stop ends the machine and returns when it has ended.
func (m *Machine) Stop() error {
	if m.use() { // it was never released
		defer close(m.done)
		return m.abandon()
	}
	m.end(sandbox.ReasonStopped)
	<-m.done
	return m.qemu.Stop()
}

func (m *Machine) abandon() error {
	_ = m.port.Close()
	if m.qemu == nil {
		return nil
	}
	return m.qemu.Stop()
}

// PID returns the pid of the program in the guest.
func (m *Machine) PID() int { return m.ready.PID }

// HostPID returns the pid of QEMU on this machine.
func (m *Machine) HostPID() int { return m.qemu.PID() }

// Run returns what runs in the guest.
func (m *Machine) Run() sandbox.Run { return *m.ready.Run }

// Accelerator returns kvm or tcg.
func (m *Machine) Accelerator() string {
	if m.kvm {
		return "kvm"
	}
	return "tcg"
}

// Seen returns the time before which the sink has had all events of the guest. It is the zero
// time before Release.
func (m *Machine) Seen() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.seen
}

// Notes returns what the guest or the sandbox of QEMU could not do as requested.
func (m *Machine) Notes() []string { return slices.Concat(m.qemu.Notes(), m.ready.Notes) }

// Done returns a channel that is closed when the machine has ended.
func (m *Machine) Done() <-chan struct{} { return m.done }

// Result returns how the program ended. It is valid after Done is closed.
func (m *Machine) Result() sandbox.Result { return m.result }

// HasKVM reports whether any user may use KVM, as udev sets it up.
func HasKVM() bool {
	info, err := os.Stat("/dev/kvm")
	return err == nil && info.Mode()&0o006 == 0o006
}
