//go:build linux

// Package delivery brings events to the backend: each once, those of a session in
// their order, whatever happens on the way, and what cannot be brought is counted
// and reported as an event. It knows nothing of where events come from.
//
// # The way of an event
//
// Add appends it, as JSON, to the batch that its session has open. A batch is
// sealed when it is full, or 20 ms after its first event, or 200 ms when the one
// before it is still on its way. Sealed batches of a session are sent one after
// the other, those of different sessions side by side, so that one that the
// backend chokes on holds up its own session only.
//
// What has not been delivered within a second of its first event, or when half of
// the memory is used up, goes to the spool on disk, oldest first. So:
//
//   - An event is in memory only for a second at most, plus what the disk takes.
//     That much can be lost when the agent is killed, and a second more when the
//     machine is. SafeUntil says up to when nothing could be, Settle waits for that,
//     and Status tells the next run (Unclean).
//   - What is in the spool survives kill -9, and a power cut once the spool is synced,
//     every second. Until then it is in memory too: what a sync fails for is appended
//     to another file.
//
// A batch keeps its Idempotency-Key for good, on disk too, so the backend stores
// it once, however often it is sent, as long as it remembers the key: 90 days.
// Backends without keys get events at least once.
//
// # Loss
//
// When both the spool and the memory are full, new events are refused: how a
// program began tells most. Each span of loss is one events_lost in the session's
// stream, in its place, once there is room.
package delivery

import (
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"
)

const (
	idleLinger   = 20 * time.Millisecond  // that an event waits for company
	busyLinger   = 200 * time.Millisecond // the same while the batch before is on its way
	spoolAfter   = time.Second            // that events are in memory only
	roomPatience = 200 * time.Millisecond // that Add waits for memory, once for each time it is full
	retrySpool   = time.Second            // until a full spool is tried again
	maxInFlight  = 4

	firstBackoff = 100 * time.Millisecond
	maxBackoff   = 10 * time.Second
)

// Defaults of Options.
const (
	DefaultQueueMaxBytes = 16 << 20
	DefaultFlushTimeout  = 3 * time.Second
)

// Options say where events go. Backend and Dir must be set.
type Options struct {
	Backend       string        // base URL
	Key           string        // sent as Authorization: Bearer, unless empty
	Agent         string        // this agent's name in its heartbeats, sent as X-OSPulse-Agent, unless empty
	Dir           string        // of the spool; this agent's own
	SpoolMaxBytes int64         // of the files in Dir; 0: nothing is kept there
	QueueMaxBytes int64         // of events in memory, as NDJSON; 0: DefaultQueueMaxBytes
	FlushTimeout  time.Duration // that Run goes on after its ctx ended; 0: DefaultFlushTimeout
	Log           *slog.Logger  // nil: none
	Client        *http.Client  // nil: one of its own, with time limits
}

// Status is what became of events since New. At rest it holds that
// Added + Reports + Inherited = Delivered + Lost + QueuedEvents + SpooledEvents.
type Status struct {
	Added         int64            `json:"added"`                    // by Add
	Reports       int64            `json:"reports"`                  // events_lost that delivery made itself
	Inherited     int64            `json:"inherited"`                // in the spool of earlier runs
	Delivered     int64            `json:"delivered"`                // taken by the backend
	Lost          int64            `json:"lost"`                     // gone
	LostByReason  map[string]int64 `json:"lost_by_reason,omitempty"` // the same
	QueuedEvents  int64            `json:"queued_events"`            // in memory only
	QueuedBytes   int64            `json:"queued_bytes"`
	SpooledEvents int64            `json:"spooled_events"` // on disk
	SpooledBytes  int64            `json:"spooled_bytes"`
	Away          bool             `json:"backend_away"`           // the last try of the backend, or of a session there, failed
	LastError     string           `json:"last_error,omitempty"`   // of the backend or the spool
	LastErrorAt   time.Time        `json:"last_error_at,omitzero"` //
	LastContact   time.Time        `json:"last_contact,omitzero"`  // when the backend last took something
	Unclean       bool             `json:"unclean,omitempty"`      // the run before was killed: what it had in memory, up to a second, is lost
}

// Delivery brings events to one backend. Its methods are safe for concurrent use.
type Delivery struct {
	log      *slog.Logger
	client   *client
	codec    *codec
	spool    *spool
	maxQueue int
	flush    time.Duration
	useSpool bool

	wake    chan struct{} // to look for what is to be sealed or sent
	wakeOut chan struct{} // to look for what is to be spooled

	wakeSync chan struct{}  // to sync the spool now
	sends    sync.WaitGroup // lanes in flight

	mu        sync.Mutex
	lanes     map[string]*lane
	queued    int           // bytes in memory
	freed     chan struct{} // closed, and replaced, when memory is freed
	refusing  bool          // memory is full: Add takes nothing until there is room
	spoolFull bool          // the last try to spool found no room
	spoolBusy time.Time     // when spooling is tried again
	inFlight  int
	gate      retry // the whole backend's
	closing   bool  // ctx of Run ended
	closed    bool
	status    Status // without what is counted elsewhere
}

// New makes a delivery, and takes over what earlier runs left in the spool. It
// fails if another agent uses it. It starts no goroutine.
func New(o Options) (*Delivery, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.QueueMaxBytes == 0 {
		o.QueueMaxBytes = DefaultQueueMaxBytes
	}
	if o.FlushTimeout == 0 {
		o.FlushTimeout = DefaultFlushTimeout
	}
	if o.Dir == "" || o.SpoolMaxBytes < 0 || o.QueueMaxBytes < 0 || o.FlushTimeout < 0 {
		return nil, errors.New("delivery needs a folder for its spool, and limits that are not negative")
	}
	client, err := newClient(o.Backend, o.Key, o.Agent, o.Client)
	if err != nil {
		return nil, err
	}
	codec, err := newCodec()
	if err != nil {
		return nil, err
	}
	spool, left, damages, err := openSpool(o.Dir, o.SpoolMaxBytes)
	if err != nil {
		return nil, err
	}
	d := &Delivery{
		log: o.Log, client: client, codec: codec, spool: spool, maxQueue: int(o.QueueMaxBytes), flush: o.FlushTimeout, useSpool: o.SpoolMaxBytes > 0,
		wake: make(chan struct{}, 1), wakeOut: make(chan struct{}, 1), freed: make(chan struct{}), wakeSync: make(chan struct{}, 1),
		lanes: map[string]*lane{}, status: Status{LostByReason: map[string]int64{}, Unclean: spool.unclean},
	}
	if len(left) == 0 { // of batches that were never spooled
		files, _ := filepath.Glob(filepath.Join(o.Dir, divisionPrefix+"*"))
		for _, file := range files {
			_ = os.Remove(file)
		}
	}
	for _, l := range left {
		lane := d.lane(l.session)
		lane.disk = append(lane.disk, l.ref)
		d.status.Inherited += int64(l.ref.count)
	}
	for _, damage := range damages {
		d.log.Error("a part of the spool is damaged", "session", damage.session, "bytes", damage.end-damage.offset, "events", damage.count)
		d.status.Inherited += int64(damage.count)
		reason := ReasonDamaged
		if damage.count == 0 {
			reason += ": how many events is not known"
		}
		d.lose(d.lane(damage.session), loss{reason, damage.count, damage.from, damage.to})
	}
	if spool.unclean {
		d.log.Warn("the run before this one was killed: events of its last second may be lost")
	}
	if d.status.Inherited > 0 {
		d.log.Info("the spool has events of an earlier run", "events", d.status.Inherited)
	}
	return d, nil
}

// lane gives the session's lane.
func (d *Delivery) lane(session string) *lane {
	l := d.lanes[session]
	if l == nil {
		l = &lane{session: session}
		d.lanes[session] = l
	}
	return l
}

// note keeps the last error for Status.
func (d *Delivery) note(err error) {
	d.status.LastError, d.status.LastErrorAt = err.Error(), time.Now()
}

// Status gives what became of events so far.
func (d *Delivery) Status() Status {
	spooled, bytes := d.spool.backlog()
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.status
	s.LostByReason = maps.Clone(s.LostByReason)
	s.SpooledEvents, s.SpooledBytes = spooled, bytes
	s.QueuedBytes = int64(d.queued)
	s.Away = d.gate.fails > 0
	for _, l := range d.lanes {
		s.Away = s.Away || l.retry.fails > 0
		if l.open != nil {
			s.QueuedEvents += int64(l.open.count)
		}
		for _, b := range l.memory {
			s.QueuedEvents += int64(b.count)
		}
		switch {
		case l.head == nil:
		case l.head.spooled: // the spool has it whole until all of it is settled
			s.SpooledEvents -= int64(l.head.settled)
		default:
			s.QueuedEvents += int64(l.head.left())
		}
	}
	return s
}

// InFlight gives how many events of a session have been added and neither delivered
// nor lost, and about how many bytes of memory and disk they take.
func (d *Delivery) InFlight(session string) (events, bytes int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	l := d.lanes[session]
	if l == nil {
		return 0, 0
	}
	batches := l.memory
	if l.open != nil {
		batches = append([]*batch{l.open}, batches...)
	}
	if l.head != nil {
		batches = append([]*batch{l.head}, batches...)
	}
	for _, b := range batches {
		events, bytes = events+int64(b.left()), bytes+int64(b.size)
	}
	for _, r := range l.disk {
		events, bytes = events+int64(r.count), bytes+int64(r.size)
	}
	return events, bytes
}
