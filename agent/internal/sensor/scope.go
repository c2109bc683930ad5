//go:build linux

package sensor

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"

	"github.com/cilium/ebpf"
)

// proc mirrors struct proc of the kernel side.
type proc struct {
	Sessions, OnExec   uint64
	Start, ParentStart uint64
	ParentPID, Flags   uint32
}

const procExcluded = 1

// syscallEntry mirrors struct syscall of the kernel side.
type syscallEntry struct {
	Flags  uint32
	Op     uint16
	Args   callArgs
	At     int8
	Lookup uint8
	_      [2]uint8
}

// fillCalls fills the kernel side's table of what to do for each system call.
func fillCalls(objects *bpfObjects) error {
	native := 0
	if runtime.GOARCH == "arm64" {
		native = 1
	}
	put := func(m *ebpf.Map, number, op int) error {
		entry := syscallEntry{Op: uint16(op), Flags: calls[op].flags, Args: calls[op].args, At: calls[op].at, Lookup: calls[op].lookup}
		if err := m.Put(uint32(number), &entry); err != nil {
			return fmt.Errorf("register %s: %w", calls[op].name, err)
		}
		return nil
	}
	for op := 1; op < len(calls); op++ {
		numbers := calls[op].numbers
		var err error
		if numbers[native] >= 0 {
			err = put(objects.Syscalls, numbers[native], op)
		}
		if runtime.GOARCH == "amd64" {
			if numbers[2] >= 0 {
				err = errors.Join(err, put(objects.SyscallsCompat, numbers[2], op))
			}
			if numbers[3] > 0 {
				err = errors.Join(err, put(objects.SyscallsCompat, socketcallBase+numbers[3], op))
			}
		}
		if err != nil {
			return err
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
func looksOf() (looks [512]uint8) {
	native := 0
	if runtime.GOARCH == "arm64" {
		native = 1
	}
	for op := 1; op < len(calls); op++ {
		look := uint8(lookExit)
		if calls[op].flags&(callAtEnter|callNoted) != 0 {
			look |= lookEnter
		}
		if n := calls[op].numbers[native]; n >= 0 {
			looks[n] |= look
		}
		if n := calls[op].numbers[2]; n >= 0 && runtime.GOARCH == "amd64" {
			looks[n] |= look
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
	var (
		pid  uint32
		p    proc
		pids []uint32
	)
	entries := s.objects.Procs.Iterate()
	for entries.Next(&pid, &p) {
		pids = append(pids, pid)
	}
	if err := entries.Err(); err != nil {
		return fmt.Errorf("list watched processes: %w", err)
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

// members returns the running processes of a watch.
func (s *Sensor) members(slot int) (pids []uint32, err error) {
	bit := uint64(1) << slot
	var (
		pid uint32
		p   proc
	)
	entries := s.objects.Procs.Iterate()
	for entries.Next(&pid, &p) {
		if (p.Sessions|p.OnExec)&bit != 0 {
			pids = append(pids, pid)
		}
	}
	if err := entries.Err(); err != nil {
		return pids, fmt.Errorf("list watched processes: %w", err)
	}
	return pids, nil
}

// forget removes a watch from the entries of all processes.
func (s *Sensor) forget(slot int) error {
	bit := uint64(1) << slot
	pids, err := s.members(slot)
	// An iteration that concurrent changes in the kernel cut short has seen most entries.
	if err != nil && !errors.Is(err, ebpf.ErrIterationAborted) {
		return err
	}
	for _, pid := range pids {
		var p proc
		if err := s.objects.Procs.Lookup(pid, &p); err != nil {
			continue // it ended
		}
		p.Sessions &^= bit
		p.OnExec &^= bit
		var err error
		if p.Sessions|p.OnExec == 0 && p.Flags&procExcluded == 0 {
			err = s.objects.Procs.Delete(pid)
		} else {
			err = s.objects.Procs.Update(pid, &p, ebpf.UpdateExist)
		}
		if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("forget process %d: %w", pid, err)
		}
	}
	return nil
}
