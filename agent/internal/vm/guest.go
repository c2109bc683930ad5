//go:build linux

package vm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"ospulse/agent/internal/event"
	"ospulse/agent/internal/sandbox"
)

// GuestCommand is the agent's command inside a virtual machine.
const GuestCommand = "guest"

// port is the name of the virtio-serial port between host and guest. Many virtual machines
// have a port of this name.
const port = "org.qemu.guest_agent.0"

// guestUser is the user of the image that runs the program.
const guestUser = 1000

// Watch watches the whole machine, and reports to sink from one goroutine at a time. sensed
// returns the time before which sink has had all that happened. end ends the watch after sink
// has had everything.
type Watch func(program int, settings Settings, sink func(*event.Event)) (sensed func() time.Time, end func() error, err error)

// seenInterval is how often the guest tells how far it is.
const seenInterval = 250 * time.Millisecond

// Guest runs the agent's side inside a virtual machine: it takes an order from the host, runs
// the file, and reports its events and its end.
func Guest(ctx context.Context, watch Watch, log *slog.Logger) error {
	file, err := os.OpenFile("/dev/virtio-ports/"+port, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("open the port to the host: %w", err)
	}
	defer file.Close()
	g := &guest{port: file, watch: watch, log: log}
	return g.serve(ctx, newReader(file))
}

// guest is the guest's end of the port.
type guest struct {
	port  io.Writer
	watch Watch
	log   *slog.Logger

	mu sync.Mutex // held while a message is written
}

func (g *guest) send(m message) error {
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return g.write(append(text, '\n'))
}

func (g *guest) write(line []byte) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	_, err := g.port.Write(line)
	return err
}

func (g *guest) serve(ctx context.Context, in *reader) error {
	if err := g.send(message{Op: opHello}); err != nil {
		return err
	}
	m, err := in.next()
	if err != nil || m.Op != opOrder || m.Order == nil {
		return fmt.Errorf("there is no order, but %q: %w", m.Op, err)
	}
	o := *m.Order
	if err := unix.ClockSettime(unix.CLOCK_REALTIME, new(unix.NsecToTimespec(o.Time.UnixNano()))); err != nil {
		return fmt.Errorf("set the clock: %w", err)
	}
	path := filepath.Join(os.TempDir(), filepath.Base(o.Name))
	if err := save(path, io.LimitReader(in.lines, o.Bytes)); err != nil {
		return err
	}
	p, err := sandbox.Start(ctx, path, sandbox.Options{
		User: &syscall.Credential{Uid: guestUser, Gid: guestUser, Groups: []uint32{}}, Entry: o.Entry, Args: o.Args, Timeout: o.Timeout,
		MemoryMB: o.MemoryMB, DiskMB: o.DiskMB, Processes: o.Processes, Log: g.log,
	})
	if err := errors.Join(err, os.Remove(path)); err != nil {
		return g.fault(err)
	}
	run := p.Run()
	if err := g.send(message{Op: opReady, PID: p.PID(), Run: &run, Notes: p.Notes()}); err != nil {
		return err
	}
	if m, err = in.next(); err != nil || m.Op != opGo || m.Watch == nil {
		return errors.Join(err, p.Stop())
	}
	sensed, end, err := g.watch(p.PID(), *m.Watch, g.event)
	if err != nil {
		return errors.Join(g.fault(err), p.Stop())
	}
	if err := p.Release(); err != nil {
		return errors.Join(g.fault(err), end(), p.Stop())
	}
	if err := g.send(message{Op: opRunning}); err != nil {
		return err
	}
	go func() {
		_, _ = in.next() // opStop, or the host has closed the port
		if err := p.Stop(); err != nil {
			g.log.Error("stop the program", "error", err)
		}
	}()
	tick := time.NewTicker(seenInterval)
	defer tick.Stop()
	for isRunning := true; isRunning; {
		select {
		case <-p.Done():
			isRunning = false
		case <-tick.C:
			if err := g.send(message{Op: opSeen, Time: sensed()}); err != nil {
				return err
			}
		}
	}
	if err := end(); err != nil {
		g.log.Error("end the watch", "error", err)
	}
	result := p.Result()
	return errors.Join(g.send(message{Op: opEnded, Result: &result}), g.send(message{Op: opDone}))
}

// event sends an event. It waits while the host is behind; the sensor then pauses the program.
func (g *guest) event(e *event.Event) {
	line := e.AppendJSON([]byte(`{"op":"event","event":`))
	if err := g.write(append(line, '}', '\n')); err != nil {
		g.log.Error("send an event", "error", err)
	}
}

func (g *guest) fault(err error) error {
	return errors.Join(err, g.send(message{Op: opFault, Fault: err.Error(), Program: errors.Is(err, sandbox.ErrProgram)}))
}

// save writes a file that only root can read.
func save(path string, r io.Reader) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, r)
	return errors.Join(err, file.Close())
}
