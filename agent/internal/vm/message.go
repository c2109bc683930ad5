//go:build linux

package vm

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
	"unicode/utf8"

	"ospulse/agent/internal/event"
	"ospulse/agent/internal/sandbox"
	"ospulse/agent/internal/selection"
)

// The operations of messages, in their order.
const (
	opHello   = "hello"   // from the guest: its agent runs
	opOrder   = "order"   // from the host: the file, whose bytes follow the message
	opReady   = "ready"   // from the guest: the program is held
	opFault   = "fault"   // from the guest: the program cannot be run
	opGo      = "go"      // from the host: watch, then run the program
	opRunning = "running" // from the guest: the kernel executed the program
	opEvent   = "event"   // from the guest
	opSeen    = "seen"    // from the guest, often: it has sent all that happened before a time
	opStop    = "stop"    // from the host: end the program
	opEnded   = "ended"   // from the guest: the program has ended
	opDone    = "done"    // from the guest: the host has received everything
)

// The size of messages is bounded. maxEventBytes is more than the largest event has: 1 MiB of
// arguments, in JSON. The messages before the first event are small.
const (
	maxEventBytes = 8 << 20
	maxSetupBytes = 64 << 10
)

// message is one line of JSON on the port between host and guest.
type message struct {
	Op      string          `json:"op"`
	Time    time.Time       `json:"time,omitzero"` // seen
	Order   *order          `json:"order,omitempty"`
	PID     int             `json:"pid,omitempty"` // ready: of the program in the guest
	Run     *sandbox.Run    `json:"run,omitempty"`
	Notes   []string        `json:"notes,omitempty"`
	Fault   string          `json:"fault,omitempty"`
	Program bool            `json:"program,omitempty"` // fault: the file is at fault
	Watch   *Settings       `json:"watch,omitempty"`   // go
	Event   json.RawMessage `json:"event,omitempty"`
	Result  *sandbox.Result `json:"result,omitempty"`
}

// order says what to run in the guest.
type order struct {
	Time                        time.Time // by the host's clock, which the guest takes over
	Name, Entry                 string
	Args                        []string
	Bytes                       int64 // size of the file
	MemoryMB, DiskMB, Processes int
	Timeout                     time.Duration
}

// Settings say what the agent in the guest reports.
type Settings struct {
	ContentBytes int
	Environment  string
	Selection    selection.Selection
}

// reader reads messages. It bounds their size.
type reader struct {
	lines *bufio.Reader
	most  int // bytes of a message
}

func newReader(r io.Reader) *reader { return &reader{bufio.NewReaderSize(r, 64<<10), maxSetupBytes} }

// next returns the next message. It returns io.EOF at the end of the stream.
func (r *reader) next() (m message, err error) {
	var line []byte
	for {
		part, err := r.lines.ReadSlice('\n')
		if len(line)+len(part) > r.most {
			return m, errors.New("a message is too long")
		}
		line = append(line, part...)
		if err == nil {
			break
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return m, err
		}
	}
	if err := json.Unmarshal(line, &m); err != nil {
		return m, fmt.Errorf("a message: %w", err)
	}
	return m, nil
}

// types are the events that a guest may report: those of its sensor. The host itself makes
// the events about the session.
var types = []string{ //nolint:gochecknoglobals // a table of constants
	event.TypeFile, event.TypeProcessCreation, event.TypeProcessFork, event.TypeThreadCreation, event.TypeProcessExit, event.TypeProcess,
	event.TypeNetwork, event.TypeHTTP, event.TypePacket, event.TypeLost, event.TypePaused, event.TypeLeftOut, event.TypeUnseenTLS,
}

// raw is the data of an event as the guest wrote it.
type raw []byte

// AppendJSON appends the data.
func (r raw) AppendJSON(out []byte) []byte { return append(out, r...) }

// decodeEvent returns an event from a guest. It refuses all but UTF-8 text of an object with the
// known keys, a type in types, a time, and an object as data. It keeps the bytes of the data, which
// may have lone surrogates.
func decodeEvent(text []byte) (*event.Event, error) {
	var e struct {
		Type   string          `json:"event_type"`
		Time   time.Time       `json:"timestamp"`
		Source string          `json:"source"`
		Data   json.RawMessage `json:"data"`
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&e); err != nil {
		return nil, fmt.Errorf("an event: %w", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("text after an event")
	}
	e.Time = e.Time.UTC()
	switch data := bytes.TrimSpace(e.Data); {
	case !utf8.Valid(data):
		return nil, errors.New("an event that is not UTF-8")
	case !slices.Contains(types, e.Type):
		return nil, fmt.Errorf("an event of the type %.50q", e.Type)
	case e.Time.IsZero() || e.Time.Year() < 1970 || e.Time.Year() > 9999:
		return nil, errors.New("an event without a time")
	case len(data) == 0 || data[0] != '{':
		return nil, errors.New("an event whose data is no object")
	}
	return &event.Event{Type: e.Type, Time: e.Time, Data: raw(slices.Clone(e.Data))}, nil
}
