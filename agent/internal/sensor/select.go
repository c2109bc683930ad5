//go:build linux

package sensor

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cilium/ebpf"

	"ospulse/agent/internal/syscalls"
)

// SELECT_… of bpf/event.h.
const (
	selectLookup = 16
	selectPaths  = 32
	selectHow    = 64
)

// counts mirrors struct counts of the kernel side. The index is a class.
type counts [16]uint64

// pathKey mirrors struct path_key of the kernel side.
type pathKey struct {
	Bits uint32
	Path [256]byte
}

// selectOf returns how the kernel side decides whether a session leaves out a call.
func selectOf(c *syscalls.Call) uint8 {
	how := uint8(c.Class())
	if c.LooksUp() {
		how |= selectLookup
	}
	if c.HasPath() && c.When != syscalls.WhenMap { // the agent learns from a mapping which files use TLS
		how |= selectPaths
	}
	if c.Lookup&syscalls.LookupHow != 0 {
		how |= selectHow
	}
	return how
}

// keyOf returns the key of the paths below a folder, and of the folder itself.
func keyOf(folder string) (k pathKey) {
	n := copy(k.Path[:], strings.TrimSuffix(folder, "/")+"/")
	k.Bits = uint32(8 * n)
	return k
}

// setSelections tells the kernel side what each watch leaves out. Meanwhile the rules of other
// watches stay in force: a key that is added or removed has the same verdicts on their events as
// the longest key that begins it.
func (s *Sensor) setSelections() error {
	var selecting uint64
	var classes [len(counts{})]uint64 // the watches that leave out a class
	folders := map[string]bool{}
	for slot, w := range &s.watches {
		if w == nil || w.scope.Selection.IsAll() {
			continue
		}
		what := &w.scope.Selection
		selecting |= 1 << slot
		for class := range syscalls.Classes {
			if what.Leaves(syscalls.Class(class)) {
				classes[class] |= 1 << slot
			}
		}
		if what.HasPaths() {
			classes[syscalls.ClassPaths] |= 1 << slot
			for _, folder := range slices.Concat([]string{"/"}, what.OnlyPaths, what.LeaveOutPaths) {
				folders[folder] = true
			}
		}
	}
	rules := map[pathKey]bool{}
	for folder := range folders {
		var without uint64
		for slot, w := range &s.watches {
			if w != nil && w.scope.Selection.LeavesPath(folder) {
				without |= 1 << slot
			}
		}
		key := keyOf(folder)
		rules[key], s.rules[key] = true, true
		if err := s.objects.Paths.Put(&key, without); err != nil {
			return fmt.Errorf("set the rule about %s: %w", folder, err)
		}
	}
	if err := errors.Join(s.objects.LeftOut.Set(classes), s.objects.Selecting.Set(selecting)); err != nil {
		return fmt.Errorf("set what is left out: %w", err)
	}
	s.decoder.withoutTransfers = classes[syscalls.ClassTransfers]
	for key := range s.rules {
		if rules[key] {
			continue
		}
		if err := s.objects.Paths.Delete(&key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("remove a rule about a path: %w", err)
		}
		delete(s.rules, key)
	}
	return nil
}

// countsOf returns how many events the kernel side has left out in a slot, by class.
func (s *Sensor) countsOf(slot int) (all counts, err error) {
	var perCPU []counts
	if err := s.objects.Counts.Lookup(uint32(slot), &perCPU); err != nil {
		return all, fmt.Errorf("read how many events are left out: %w", err)
	}
	for _, of := range perCPU {
		for class, n := range of {
			all[class] += n
		}
	}
	return all, nil
}

// reportLeftOut reports how many events the watch has left out, if there are more than at the
// last report.
func (w *Watch) reportLeftOut(now time.Time) {
	all, err := w.sensor.countsOf(w.slot)
	if err != nil {
		w.sensor.log.Error("cannot read how many events are left out", "error", err)
		return
	}
	for class := range syscalls.Classes {
		w.filter.Add(syscalls.Class(class), all[class]-w.leftOut[class])
	}
	w.leftOut = all
	w.filter.Report(now)
}
