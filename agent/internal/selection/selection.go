// Package selection says which events a session gets, and counts those that it leaves out. It
// must not know how a sensor sees events. The eBPF sensor applies the same rules in the kernel.
package selection

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"ospulse/agent/internal/event"
	"ospulse/agent/internal/syscalls"
)

// Limits of a selection.
const (
	MaxPaths     = 64  // of each list
	MaxPathBytes = 255 // the kernel side compares that many, and a slash
)

// Selection says what a session leaves out. The zero value leaves out nothing.
type Selection struct {
	LeaveOut []string `json:"leaveOut,omitempty"` // classes of events
	// The paths are folders or files. Of the paths in both lists that contain the file of an
	// event, the longest decides. If none does, the event is left out if OnlyPaths has a path.
	OnlyPaths     []string `json:"onlyPaths,omitempty"`
	LeaveOutPaths []string `json:"leaveOutPaths,omitempty"`
}

// IsAll reports whether nothing is left out.
func (s *Selection) IsAll() bool { return len(s.LeaveOut) == 0 && !s.HasPaths() }

// HasPaths reports whether paths decide about events.
func (s *Selection) HasPaths() bool { return len(s.OnlyPaths)+len(s.LeaveOutPaths) > 0 }

// Equal reports whether both selections are written in the same way.
func (s *Selection) Equal(other *Selection) bool {
	return slices.Equal(s.LeaveOut, other.LeaveOut) && slices.Equal(s.OnlyPaths, other.OnlyPaths) && slices.Equal(s.LeaveOutPaths, other.LeaveOutPaths)
}

// SetLeaveOut sets the classes, which commas separate. It returns what is wrong with the selection.
func (s *Selection) SetLeaveOut(classes string) error { return s.set(&s.LeaveOut, classes, ",") }

// SetOnlyPaths sets the paths, which colons separate. It returns what is wrong with the selection.
func (s *Selection) SetOnlyPaths(paths string) error { return s.set(&s.OnlyPaths, paths, ":") }

// SetLeaveOutPaths is as SetOnlyPaths.
func (s *Selection) SetLeaveOutPaths(paths string) error { return s.set(&s.LeaveOutPaths, paths, ":") }

// set sets a list, unless that makes the selection wrong.
func (s *Selection) set(list *[]string, text, separator string) error {
	before := *list
	*list = nil
	for word := range strings.SplitSeq(text, separator) {
		if word = strings.TrimSpace(word); word != "" {
			*list = append(*list, word)
		}
	}
	err := s.Check()
	if err != nil {
		*list = before
	}
	return err
}

// Check returns what is wrong with the selection.
func (s *Selection) Check() error {
	for i, name := range s.LeaveOut {
		if slices.Contains(s.LeaveOut[:i], name) {
			return fmt.Errorf("the class %s is named twice", name)
		}
		if name == "" || name == syscalls.ClassPaths.String() || !slices.Contains(syscalls.Classes[:], name) {
			return fmt.Errorf("there is no class %.50q of events; the classes are %s", name, strings.Join(Classes(), ", "))
		}
	}
	for _, list := range [][]string{s.OnlyPaths, s.LeaveOutPaths} {
		if len(list) > MaxPaths {
			return fmt.Errorf("%d paths: there can be up to %d", len(list), MaxPaths)
		}
		for _, p := range list {
			isClean := p == path.Clean(p) || p == path.Clean(p)+"/" && p != "//"
			if !path.IsAbs(p) || !isClean || len(p) > MaxPathBytes || strings.ContainsRune(p, 0) {
				return fmt.Errorf("%.50q must be an absolute path of up to %d bytes, without . and .. in it", p, MaxPathBytes)
			}
		}
	}
	for _, p := range s.OnlyPaths {
		if slices.ContainsFunc(s.LeaveOutPaths, func(other string) bool { return strings.TrimSuffix(other, "/") == strings.TrimSuffix(p, "/") }) {
			return fmt.Errorf("%.50q must not be in both lists of paths", p)
		}
	}
	return nil
}

// Classes returns the classes that a selection can leave out.
func Classes() []string {
	return slices.DeleteFunc(slices.Clone(syscalls.Classes[:]), func(name string) bool { return name == "" || name == syscalls.ClassPaths.String() })
}

// Leaves reports whether a class is left out.
func (s *Selection) Leaves(c syscalls.Class) bool {
	return c != syscalls.ClassNone && slices.Contains(s.LeaveOut, c.String())
}

// LeavesPath reports whether the paths decide that a path is left out.
func (s *Selection) LeavesPath(p string) bool {
	longest, isOut := -1, len(s.OnlyPaths) > 0
	for i, list := range [][]string{s.OnlyPaths, s.LeaveOutPaths} {
		for _, rule := range list {
			folder := strings.TrimSuffix(rule, "/")
			isIn := strings.HasPrefix(p, folder) && (len(p) == len(folder) || p[len(folder)] == '/')
			if isIn && len(folder) > longest {
				longest, isOut = len(folder), i == 1
			}
		}
	}
	return isOut
}

// class returns the class by which an event is left out; ClassNone if it is not.
func (s *Selection) class(e *event.Event) syscalls.Class {
	switch d := e.Data.(type) {
	case *event.Network:
		call := syscalls.ByName(d.Result.Syscall)
		if call == nil || syscalls.Denied(d.Result.Return) {
			return syscalls.ClassNone
		}
		if c := call.Class(); (c == syscalls.ClassReads || c == syscalls.ClassWrites || c == syscalls.ClassTransfers) && s.Leaves(syscalls.ClassTransfers) {
			return syscalls.ClassTransfers
		}
	case *event.File:
		call := syscalls.ByName(d.Result.Syscall)
		if call == nil || syscalls.Denied(d.Result.Return) {
			return syscalls.ClassNone
		}
		if c := classOf(call, d); s.Leaves(c) {
			return c
		}
		if s.HasPaths() && call.HasPath() && s.leavesFile(d) {
			return syscalls.ClassPaths
		}
	}
	return syscalls.ClassNone
}

func classOf(call *syscalls.Call, f *event.File) syscalls.Class {
	c := call.Class()
	switch {
	case call.LooksUp() && syscalls.NotFound(f.Result.Return):
		return syscalls.ClassLookups
	case c == syscalls.ClassOpens && (f.Result.Failed() || f.Writes()):
		return syscalls.ClassNone
	default:
		return c
	}
}

// leavesFile reports whether all files of an event have a path that is left out. Pipes, sockets
// and files in memory have none.
func (s *Selection) leavesFile(f *event.File) bool {
	isMemory := f.Deleted && strings.LastIndexByte(f.Path, '/') == 0
	if f.Path == "" || isMemory {
		return false
	}
	for _, p := range []string{f.Path, f.NewPath} {
		if p != "" && (p[0] != '/' || !s.LeavesPath(p)) {
			return false
		}
	}
	return true
}
