package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"time"

	"ospulse/internal/models"
	"ospulse/internal/wire"
)

// One event in rareEvery has the rare type, process and word. No event has noWord.
const (
	rareType    = "registry_operation"
	rareProcess = "zwischenzug.exe"
	rareWord    = "zugzwang"
	noWord      = "qxqxqxqx"
	rareEvery   = 100_000
)

// mix generates the events of a session in the proportions of an agent: mostly files and
// packets, some process starts, and one HTTP flow in 500.
type mix struct {
	rand                             *rand.Rand
	files, packets, creations, flows []models.Incoming
	rare                             models.Incoming
}

// newMix returns a mix with a fixed seed.
func newMix() (m *mix, err error) {
	g := newGenerator()
	m = &mix{rand: rand.New(rand.NewPCG(3, 4))}
	if m.files, err = allOf(wire.Events(g.batch(5000), time.Now())); err != nil {
		return nil, err
	}
	if m.packets, err = allOf(wire.Packets(g.packets(5000), time.Now())); err != nil {
		return nil, err
	}
	if m.creations, err = allOf(wire.Events(jsonArray(500, g.creation), time.Now())); err != nil {
		return nil, err
	}
	m.flows = make([]models.Incoming, 40)
	for i := range m.flows {
		if m.flows[i], err = wire.HTTPFlow(g.flow(), time.Now()); err != nil {
			return nil, err
		}
	}
	m.rare, err = wire.Event(rareEvent(), time.Now())
	return m, err
}

func rareEvent() []byte {
	return fmt.Appendf(nil, `{"event_type": %q, "timestamp": %q, "source": "os-pulse-controller", "data": {"key": "HKCU\\Software\\%s", "operation": "RegSetValue", "metadata": {"processName": %q, "processId": 31337}}}`,
		rareType, isoTime.placeholder, rareWord, rareProcess)
}

// isRare tells whether the event number seq of a session is the rare one. The first comes
// early.
func isRare(seq int64) bool { return seq%rareEvery == rareEvery/200 }

// event returns the event number seq of a session. Events share their pointers.
func (m *mix) event(seq int64) models.Incoming {
	if isRare(seq) {
		return m.rare
	}
	from := m.files
	switch n := m.rand.IntN(1000); {
	case n < 2:
		from = m.flows
	case n < 10:
		from = m.creations
	case n < 300:
		from = m.packets
	}
	return from[m.rand.IntN(len(from))]
}

// selection is a filter in the backend's language, in SQL and in Go.
type selection struct {
	filter  string // "" selects all
	where   string // in SQL, to be added to a condition
	args    []any
	matches func(*models.Event) bool
}

// selections are the filters that are measured.
type selections struct {
	all, commonType, rareType, commonProcess, rareProcess, pid, noWord, rareWord selection
}

func newSelections(dialect string) selections {
	processes := newGenerator().processes
	common, other := processes[0], processes[1]
	byType := func(name string) selection {
		return selection{fmt.Sprintf("type = %q", name), " AND event_type = ?", []any{name},
			func(e *models.Event) bool { return e.EventType == name }}
	}
	byProcess := func(name string) selection {
		return selection{fmt.Sprintf("process = %q", name), " AND process_name = ?", []any{name},
			func(e *models.Event) bool { return e.ProcessName != nil && *e.ProcessName == name }}
	}
	byWord := func(word string) selection {
		where := " AND (target LIKE ? OR data LIKE ?)" // ignoring case
		if dialect == postgres {
			where = " AND (target ILIKE ? OR CAST(data AS text) ILIKE ?)"
		}
		pattern := "%" + word + "%"
		return selection{word, where, []any{pattern, pattern},
			func(e *models.Event) bool { return bytes.Contains(e.Data, []byte(word)) }}
	}
	pid := int64(other.pid)
	return selections{
		all:           selection{matches: func(*models.Event) bool { return true }},
		commonType:    byType(models.TypeFile),
		rareType:      byType(rareType),
		commonProcess: byProcess(common.name),
		rareProcess:   byProcess(rareProcess),
		pid: selection{fmt.Sprintf("pid = %d", pid), " AND pid = ?", []any{pid},
			func(e *models.Event) bool { return e.PID != nil && *e.PID == pid }},
		noWord:   byWord(noWord),
		rareWord: byWord(rareWord),
	}
}

// list returns all selections.
func (s *selections) list() []selection {
	return []selection{s.all, s.commonType, s.rareType, s.commonProcess, s.rareProcess, s.pid, s.noWord, s.rareWord}
}
