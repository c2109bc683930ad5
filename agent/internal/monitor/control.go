//go:build linux

package monitor

import (
	"slices"

	"ospulse/agent/internal/procfs"
)

// IsQuiet reports whether no session runs and none begins.
func (m *Monitor) IsQuiet() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.sessions)+len(m.starting) == 0
}

// HasPrograms reports whether a session runs that chose or spawned programs.
func (m *Monitor) HasPrograms() bool { return len(m.withPrograms()) > 0 }

// withPrograms returns the sessions that chose or spawned programs.
func (m *Monitor) withPrograms() []*session {
	m.mu.Lock()
	defer m.mu.Unlock()
	var with []*session
	for _, s := range m.sessions {
		if s.request.Mode != ModeAll {
			with = append(with, s)
		}
	}
	return with
}

// IsProgram reports whether a process is one that a running session chose or spawned, or a
// descendant of one. A process that was excluded when its session began is none, such as a
// backend that was started from a chosen shell. If that cannot be decided, the process is one.
func (m *Monitor) IsProgram(pid int) bool {
	process, ok := read(pid, "")
	if !ok {
		return true // it has ended, and something else may have its socket
	}
	sessions := m.withPrograms()
	if len(sessions) == 0 || slices.ContainsFunc(m.reportedOwn(), process.same) {
		return false
	}
	namespace := procfs.PIDNamespace(pid)
	return descendsFrom(pid, m.roots()) || slices.ContainsFunc(sessions, func(s *session) bool {
		if s.namespace != "" && s.namespace == namespace {
			return true
		}
		isIn, err := s.watch.Has(pid)
		return isIn || err != nil
	})
}
