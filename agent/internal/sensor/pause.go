//go:build linux

package sensor

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"ospulse/agent/internal/event"
	"ospulse/agent/internal/procfs"
)

// pause mirrors struct pause of the kernel side.
type pause struct{ Since, Sessions uint64 }

// pauseFrom makes the kernel side pause processes while that many bytes of the ring are
// unread.
func (s *Sensor) pauseFrom(unread int) {
	if err := s.objects.PauseBytes.Set(uint32(unread)); err != nil {
		s.log.Error("cannot set when processes are paused", "error", err)
	}
}

// resumeAt resumes the paused processes once few bytes of the ring are unread. The kernel
// side pauses processes when three quarters are, or when the outbox is full.
func (s *Sensor) resumeAt(unread int) {
	switch {
	case unread > s.ringBytes/2:
		s.isFull = true
	case s.isFull && unread < s.ringBytes/8 && !s.outbox.isFull:
		s.isFull = false
		s.resume()
	}
}

// resume resumes all paused processes, and reports each pause to its watches.
func (s *Sensor) resume() {
	var pid uint32
	var p pause
	paused := map[uint32]pause{}
	entries := s.objects.Pauses.Iterate()
	for entries.Next(&pid, &p) {
		paused[pid] = p
	}
	if err := entries.Err(); err != nil {
		s.isFull = true // it is tried again
		s.log.Error("cannot list the paused processes", "error", err)
	}
	for pid, p := range paused {
		// The entry first: a process that is paused again at once has a new one.
		if err := s.objects.Pauses.Delete(pid); err != nil {
			s.isFull = true
			s.log.Error("cannot resume a paused process", "pid", pid, "error", err)
			continue
		}
		s.resumeProcess(int(pid))
		s.resumed[int(pid)] = time.Now()
		from, to := s.decoder.wall(p.Since), time.Now()
		e := &event.Event{Type: event.TypePaused, Time: to, Data: &event.Paused{PID: int(pid), Name: nameOfProcess(pid), From: from, To: to}}
		for slot, w := range &s.watches {
			if w != nil && p.Sessions>>slot&1 != 0 {
				w.sink(e)
			}
		}
	}
}

func (s *Sensor) resumeProcess(pid int) {
	if err := unix.Kill(pid, unix.SIGCONT); err != nil && !errors.Is(err, unix.ESRCH) {
		s.log.Error("cannot resume a paused process", "pid", pid, "error", err)
	}
}

// signalTime is the most time that the kernel takes to send the SIGSTOP of a pause, which it
// does after the program of the kernel side has ended.
const signalTime = 30 * time.Millisecond

// resumeLate resumes the processes that were resumed before their SIGSTOP was sent, and
// stopped after that.
func (s *Sensor) resumeLate() {
	for pid, at := range s.resumed {
		if time.Since(at) < signalTime {
			continue
		}
		delete(s.resumed, pid)
		if err := s.objects.Pauses.Lookup(uint32(pid), &pause{}); err == nil {
			continue // it is paused again
		}
		// Without its first thread, a process looks like one that has ended.
		if p, err := procfs.Read(pid); err == nil && (p.Stopped || p.Zombie) {
			s.resumeProcess(pid)
		}
	}
}
