//go:build linux

// Package delivery delivers events to the backend: each event once, and the events of a
// session in their order, despite failures. It counts the events that it loses and reports
// them as an event. It must not know where events come from.
//
// # The way of an event
//
// Add appends an event, as JSON, to the open batch of its session. A batch is sealed when
// it is full, or 20 ms after its first event, or after 200 ms while the previous batch is
// in flight. Delivery sends the sealed batches of a session one after the other, and those
// of different sessions in parallel, so that a batch which the backend cannot store delays
// only its own session.
//
// Delivery writes a batch to the spool on disk if the batch is not delivered one second
// after its first event, or when half of the memory is in use. The oldest batch is first.
// Therefore:
//
//   - An event is only in memory for at most a second, plus the time for writing to the
//     disk. A kill of the agent can lose that much, a power cut one second more. SafeUntil
//     returns the time until which no event can be lost, Settle waits for that, and the
//     Status of the next run says so (Unclean).
//   - An event in the spool survives kill -9. It survives a power cut after the next sync,
//     which happens every second. Until then the event is in memory too, and a failed sync
//     makes Delivery append it to another file.
//
// A batch keeps its Idempotency-Key forever, on disk too. So the backend stores it once,
// however often it is sent, while the backend remembers the key: 90 days. A backend without
// keys gets events at least once.
//
// # Loss
//
// When both the spool and the memory are full, Add drops new events and not old ones: the
// start of a program is the most informative part. Each span of loss is one events_lost
// event at its place in the session's stream, as soon as there is room.
package delivery

import (
	"crypto/tls"
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
	idleLinger   = 20 * time.Millisecond  // how long an open batch waits for more events
	busyLinger   = 200 * time.Millisecond // the same, while the previous batch is in flight
	spoolAfter   = time.Second            // how long events may be only in memory
	roomPatience = 200 * time.Millisecond // how long Add waits for memory, once per time that it is full
	retrySpool   = time.Second            // between attempts at a full spool
	maxInFlight  = 4

	firstBackoff = 100 * time.Millisecond
	maxBackoff   = 10 * time.Second
)

// Defaults of Options.
const (
	DefaultQueueMaxBytes = 16 << 20
	DefaultFlushTimeout  = 3 * time.Second
)

// Options are the settings of a Delivery. Backend and Dir are required.
type Options struct {
	Backend       string        // base URL
	Key           string        // sent as Authorization: Bearer, unless empty
	TLS           *tls.Config   // nil: the certificates that the machine trusts
	Agent         string        // this agent's name in its heartbeats, sent as X-OSPulse-Agent, unless empty
	Dir           string        // of the spool; only one agent may use it
	SpoolMaxBytes int64         // limit for the files in Dir; 0: no spool
	QueueMaxBytes int64         // limit for events in memory, as NDJSON; 0: DefaultQueueMaxBytes
	FlushTimeout  time.Duration // how long Run goes on after the end of its ctx; 0: DefaultFlushTimeout
	Log           *slog.Logger  // nil: no log
	Client        *http.Client  // nil: a client with timeouts
}

// Status counts events by their state, since New. While nothing is in flight,
// Added + Reports + Inherited = Delivered + Lost + QueuedEvents + SpooledEvents.
type Status struct {
	Added         int64            `json:"added"`                    // by Add
	Reports       int64            `json:"reports"`                  // events_lost events that Delivery created
	Inherited     int64            `json:"inherited"`                // in the spool of earlier runs
	Delivered     int64            `json:"delivered"`                // stored by the backend
	Lost          int64            `json:"lost"`                     // reported as events_lost
	LostByReason  map[string]int64 `json:"lost_by_reason,omitempty"` // Lost by reason
	QueuedEvents  int64            `json:"queued_events"`            // in memory only
	QueuedBytes   int64            `json:"queued_bytes"`
	SpooledEvents int64            `json:"spooled_events"` // on disk
	SpooledBytes  int64            `json:"spooled_bytes"`
	Away          bool             `json:"backend_away"`         // the last attempt to send failed, at all or for one session
	LastError     string           `json:"last_error,omitempty"` // of the backend or the spool
	LastErrorAt   time.Time        `json:"last_error_at,omitzero"`
	LastContact   time.Time        `json:"last_contact,omitzero"` // when the backend last stored something
	Unclean       bool             `json:"unclean,omitempty"`     // the previous run was killed and lost its events in memory, up to a second
}

// Delivery delivers events to one backend. All methods may be called concurrently.
type Delivery struct {
	log      *slog.Logger
	client   *client
	codec    *codec
	spool    *spool
	maxQueue int
	flush    time.Duration
	useSpool bool

	wake    chan struct{} // wakes the goroutine that seals and sends batches
	wakeOut chan struct{} // wakes the goroutine that writes the spool

	wakeSync chan struct{}  // makes the next sync of the spool happen now
	sends    sync.WaitGroup // lanes in flight

	mu        sync.Mutex
	lanes     map[string]*lane
	queued    int           // bytes in memory
	freed     chan struct{} // closed, and replaced, when memory is freed
	refusing  bool          // memory is full: Add drops events until there is room
	spoolFull bool          // the last write to the spool found no room
	spoolBusy time.Time     // when to write to the spool again
	inFlight  int
	gate      retry // for the whole backend
	closing   bool  // ctx of Run ended
	closed    bool
	status    Status // without the fields that Status computes
}

// New creates a Delivery, which takes over the events that earlier runs left in the spool.
// It returns an error if another agent uses the spool. It starts no goroutine.
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
	client, err := newClient(o.Backend, o.Key, o.Agent, o.TLS, o.Client)
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
	if len(left) == 0 { // keys of batches that were never spooled
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
			reason += ": the number of events is unknown"
		}
		d.lose(d.lane(damage.session), loss{reason, damage.count, damage.from, damage.to})
	}
	if spool.unclean {
		d.log.Warn("the previous run was killed: events of its last second may be lost")
	}
	if d.status.Inherited > 0 {
		d.log.Info("the spool has events of an earlier run", "events", d.status.Inherited)
	}
	return d, nil
}

// lane returns the lane of a session.
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

// Status returns the current counts.
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
		case l.head.spooled: // the spool holds the whole batch until all of its events are settled
			s.SpooledEvents -= int64(l.head.settled)
		default:
			s.QueuedEvents += int64(l.head.left())
		}
	}
	return s
}

// InFlight returns the number of events of a session that were added and are neither
// delivered nor lost, and about how many bytes of memory and disk they take.
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
