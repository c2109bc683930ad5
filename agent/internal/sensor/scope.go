//go:build linux

package sensor

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"

	"github.com/cilium/ebpf"

	"ospulse/agent/internal/procfs"
	"ospulse/agent/internal/syscalls"
)

// proc mirrors struct proc of the kernel side.
type proc struct {
	Sessions, OnExec   uint64
	Hidden             uint64
	Start, ParentStart uint64
	ParentPID, Flags   uint32
}

const procExcluded = 1

// syscallEntry mirrors struct syscall of the kernel side.
type syscallEntry struct {
	Flags  uint32
	Op     uint16
	Args   syscalls.Args
	At     int8
	Lookup uint8
	When   uint8
	Select uint8
}

// fillCalls fills the kernel side's table of what to do for each system call.
func fillCalls(objects *bpfObjects) error {
	for op := range syscalls.Calls {
		c := &syscalls.Calls[op]
		entry := syscallEntry{Op: uint16(op), Flags: c.Flags, Args: c.Args, At: c.At, Lookup: c.Lookup, When: uint8(c.When), Select: selectOf(c)}
		put := func(m *ebpf.Map, number int) error { return m.Put(uint32(number), &entry) }
		var err error
		if c.Native >= 0 {
			err = put(objects.Syscalls, c.Native)
		}
		if c.X32 >= 0 {
			err = errors.Join(err, put(objects.Syscalls, c.X32))
		}
		if c.I386 >= 0 {
			err = errors.Join(err, put(objects.SyscallsCompat, c.I386))
		}
		if c.Socketcall > 0 {
			err = errors.Join(err, put(objects.SyscallsCompat, syscalls.SocketcallBase+c.Socketcall))
		}
		if err != nil {
			return fmt.Errorf("register %s: %w", c.Name, err)
		}
	}
	return nil
}

// lookEnter and lookExit say that the kernel side handles a call at its start, at its end.
const (
	lookEnter = 1
	lookExit  = 2
)

// looksOf returns the table by which the kernel side skips calls that it does not handle.
func looksOf() (looks [1024]uint8) {
	for i := range syscalls.Calls {
		c := &syscalls.Calls[i]
		look := uint8(lookExit)
		if c.Flags&(syscalls.AtEnter|syscalls.Noted) != 0 {
			look |= lookEnter
		}
		for _, n := range []int{c.Native, c.I386, c.X32} {
			if n >= 0 {
				looks[n] |= look
			}
		}
	}
	return looks
}

// change updates the kernel side's entry of a process.
func (s *Sensor) change(pid uint32, change func(*proc)) error {
	var p proc
	if err := s.objects.Procs.Lookup(pid, &p); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("look up process %d: %w", pid, err)
	}
	change(&p)
	if err := s.objects.Procs.Put(pid, &p); err != nil {
		return fmt.Errorf("watch process %d: %w", pid, err)
	}
	return nil
}

// tree applies a function to a process and all its descendants. A process forked meanwhile
// inherits its parent's entry, or the next round finds it.
func tree(pid int, do func(pid uint32) error) error {
	if _, err := os.Stat("/proc/" + strconv.Itoa(pid)); err != nil {
		return fmt.Errorf("there is no process %d: %w", pid, err)
	}
	done := map[int]bool{}
	for {
		fresh := 0
		members, err := descendants(pid)
		if err != nil {
			return err
		}
		for _, member := range members {
			if done[member] {
				continue
			}
			done[member] = true
			fresh++
			if err := do(uint32(member)); err != nil {
				return err
			}
		}
		if fresh == 0 {
			return nil
		}
	}
}

// allProcesses returns the pids of all running processes.
func allProcesses() ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var pids []int
	for _, entry := range entries {
		if pid, err := strconv.Atoi(entry.Name()); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// descendants returns a process and all its descendants.
func descendants(pid int) ([]int, error) {
	pids, err := allProcesses()
	if err != nil {
		return nil, err
	}
	children := map[int][]int{}
	for _, child := range pids {
		if parent, ok := parentOf(child); ok {
			children[parent] = append(children[parent], child)
		}
	}
	members := []int{pid}
	for i := 0; i < len(members); i++ {
		members = append(members, children[members[i]]...)
	}
	return members, nil
}

// parentOf returns the parent of a process; false if the process is gone.
func parentOf(pid int) (int, bool) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, false
	}
	// The format is "pid (name) state parent …". The name may hold any character.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 2 {
		return 0, false
	}
	parent, err := strconv.Atoi(string(fields[1]))
	return parent, err == nil
}

// add puts a process and its descendants into a watch. If the named process is excluded
// only because its parent is, like a program that the agent spawns, add includes it.
func (s *Sensor) add(w *Watch, pid int) error {
	bit := uint64(1) << w.slot
	var named proc
	if err := s.objects.Procs.Lookup(uint32(pid), &named); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("look up process %d: %w", pid, err)
	}
	if slices.Contains(s.options.Exclude, pid) {
		named.Flags = 0 // Options.Exclude names it, so it stays excluded
	}
	return tree(pid, func(pid uint32) error {
		if s.tls != nil {
			s.tls.mapped(int(pid))
		}
		return s.change(pid, func(p *proc) {
			p.Flags &^= named.Flags & procExcluded
			if w.scope.OnExec {
				p.OnExec |= bit
			} else {
				p.Sessions |= bit
			}
		})
	})
}

// renew brings the kernel side's entries of processes up to date after a time in which it
// did not see processes end.
func (s *Sensor) renew() error {
	pids, err := s.entries(func(*proc) bool { return true })
	if err != nil {
		return err
	}
	for _, pid := range pids {
		if err := s.objects.Procs.Delete(pid); err != nil {
			return fmt.Errorf("forget process %d: %w", pid, err)
		}
	}
	// Other processes may have the pids that watches excluded; each watch names its own.
	return s.excludeAll(s.options.Exclude)
}

// excludeAll excludes those of the processes that still run.
func (s *Sensor) excludeAll(pids []int) error {
	for _, pid := range pids {
		if err := s.exclude(pid); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// exclude hides a process and its descendants from all watches, except the PIDs of a
// watch and their descendants. So a watched program cannot get itself excluded.
func (s *Sensor) exclude(root int) error {
	return tree(root, func(pid uint32) error {
		return s.change(pid, func(p *proc) {
			if p.Sessions|p.OnExec == 0 {
				p.Flags |= procExcluded
			}
		})
	})
}

// hide hides a process from a watch of all processes. It does nothing if the process is no
// longer the described one. The kernel side hides what the process forks, and shows a process
// again when it executes another program.
func (s *Sensor) hide(slot int, process procfs.Identity) error {
	bit := uint64(1) << slot
	if err := s.change(uint32(process.PID), func(p *proc) { p.Hidden |= bit }); err != nil {
		return err
	}
	// The kernel side removes the entry when the process ends. But if the process had ended
	// before, the entry would hide the next process with its pid.
	if process.Runs() {
		return nil
	}
	return s.drop(uint32(process.PID), bit)
}

// members returns the running processes of a watch.
func (s *Sensor) members(slot int) (pids []uint32, err error) {
	bit := uint64(1) << slot
	return s.entries(func(p *proc) bool { return (p.Sessions|p.OnExec)&bit != 0 })
}

// hidden returns the running processes that are hidden from a watch.
func (s *Sensor) hidden(slot int) (pids []uint32, err error) {
	bit := uint64(1) << slot
	return s.entries(func(p *proc) bool { return p.Hidden&bit != 0 })
}

// entries returns the processes whose entry on the kernel side has a property, ordered by pid.
func (s *Sensor) entries(is func(*proc) bool) (pids []uint32, err error) {
	var (
		pid uint32
		p   proc
	)
	entries := s.objects.Procs.Iterate()
	for entries.Next(&pid, &p) {
		if is(&p) {
			pids = append(pids, pid)
		}
	}
	// If the last listed entry was deleted meanwhile, the kernel lists all entries again.
	slices.Sort(pids)
	pids = slices.Compact(pids)
	if err := entries.Err(); err != nil {
		return pids, fmt.Errorf("list watched processes: %w", err)
	}
	return pids, nil
}

// forget removes a watch from the entries of all processes.
func (s *Sensor) forget(slot int) error {
	bit := uint64(1) << slot
	pids, err := s.entries(func(p *proc) bool { return (p.Sessions|p.OnExec|p.Hidden)&bit != 0 })
	// An iteration that concurrent changes in the kernel cut short has seen most entries.
	if err != nil && !errors.Is(err, ebpf.ErrIterationAborted) {
		return err
	}
	for _, pid := range pids {
		if err := s.drop(pid, bit); err != nil {
			return err
		}
	}
	return nil
}

// drop removes watches from the entry of a process.
func (s *Sensor) drop(pid uint32, bits uint64) error {
	var p proc
	if err := s.objects.Procs.Lookup(pid, &p); err != nil {
		return nil //nolint:nilerr // it ended
	}
	p.Sessions &^= bits
	p.OnExec &^= bits
	p.Hidden &^= bits
	var err error
	if p.Sessions|p.OnExec|p.Hidden == 0 && p.Flags&procExcluded == 0 {
		err = s.objects.Procs.Delete(pid)
	} else {
		err = s.objects.Procs.Update(pid, &p, ebpf.UpdateExist)
	}
	if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("forget process %d: %w", pid, err)
	}
	return nil
}
