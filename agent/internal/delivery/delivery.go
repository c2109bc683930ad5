//go:build linux

// Package delivery brings events to the backend: each once, in the order of their
// session, whatever happens on the way. What cannot be brought is counted, and
// reported as an event of its own. It knows nothing of where events are from.
package delivery

import (
	"context"
	"crypto/rand"
	"log/slog"
	"slices"
	"sync"
	"time"

	"ospulse/agent/internal/event"
)

const (
	linger         = 20 * time.Millisecond // that an event waits for company
	maxBatchEvents = 2000
	maxBatchBytes  = 1 << 20
	maxEventBytes  = 8 << 20
	maxMemoryBytes = 8 << 20 // of batches, as they are sent; what is more goes to disk
	firstBackoff   = 100 * time.Millisecond
	maxBackoff     = 5 * time.Second
)

// head is what is known of a batch without reading its body.
type head struct {
	Key     string    `json:"key"` // the Idempotency-Key, the same on each try
	Session string    `json:"session"`
	Count   int       `json:"count"`
	From    time.Time `json:"from"` // of its events
	To      time.Time `json:"to"`
	Losses  bool      `json:"losses,omitempty"` // nothing but events_lost
}

// batch is events of one session on their way; the body is NDJSON in zstd.
type batch struct {
	head
	body []byte
}

// loss is events of one session that are gone.
type loss struct {
	reason   string
	count    int
	from, to time.Time
}

// filling is a batch that is being filled.
type filling struct {
	text     []byte
	count    int
	from, to time.Time
	since    time.Time
}

// add appends an event; it reports false, and leaves it out, if it is too large.
func (f *filling) add(e *event.Event) bool {
	before := len(f.text)
	f.text = append(e.AppendJSON(f.text), '\n')
	if len(f.text)-before > maxEventBytes {
		f.text = f.text[:before]
		return false
	}
	f.count++
	if f.from.IsZero() || e.Time.Before(f.from) {
		f.from = e.Time
	}
	if e.Time.After(f.to) {
		f.to = e.Time
	}
	return true
}

// Options say where to bring events.
type Options struct {
	Backend       string // base URL
	Key           string // shown as Authorization: Bearer, if not empty
	SpoolDir      string
	SpoolMaxBytes int64
	Log           *slog.Logger
}

// Counts are what became of events since the start.
type Counts struct {
	Accepted    int64 `json:"accepted"`  // by Send
	Delivered   int64 `json:"delivered"` // to the backend
	Waiting     int64 `json:"waiting"`   // batches on their way, in memory or on disk
	Lost        int64 `json:"lost"`
	SpoolBytes  int64 `json:"spool_bytes"`
	BackendAway bool  `json:"backend_away"`
}

// Sender brings events to one backend. Its methods are safe for concurrent use.
//
// A batch waits in memory while the backend answers, and on disk while it does
// not, or not fast enough; memory is empty before something goes to disk, and disk
// before something goes to memory again, so nothing overtakes. When the disk's
// share is full too, the newest are dropped: how a program began tells most.
type Sender struct {
	log    *slog.Logger
	client *client // Run's own

	mu          sync.Mutex
	changed     chan struct{} // closed, and replaced, when something was sealed or done
	fillings    map[string]*filling
	order       []string // the sessions of fillings, oldest first
	losses      map[string][]loss
	memory      []*batch
	memoryBytes int
	spool       *spool
	sealed      int64 // batches that exist or existed
	finished    int64 // of these, done with
	counts      Counts
	closing     bool
}

// Open makes a sender, and takes over what an earlier run left on disk.
func Open(options Options) (*Sender, error) {
	c, err := newClient(options.Backend, options.Key)
	if err != nil {
		return nil, err
	}
	sp, err := openSpool(options.SpoolDir, options.SpoolMaxBytes)
	if err != nil {
		return nil, err
	}
	if !sp.empty() {
		options.Log.Info("events of an earlier run wait on disk", "bytes", sp.sizeBytes)
	}
	return &Sender{log: options.Log, client: c, spool: sp, changed: make(chan struct{}), fillings: map[string]*filling{}, losses: map[string][]loss{}}, nil
}

// Send takes an event of a session. It does not wait for the backend.
func (s *Sender) Send(session string, e *event.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts.Accepted++
	f := s.fillings[session]
	if f == nil {
		f = &filling{since: time.Now()}
		s.fillings[session] = f
		s.order = append(s.order, session)
		s.wake()
	}
	if !f.add(e) {
		s.lose(session, loss{event.ReasonTooLarge, 1, e.Time, e.Time})
	}
	if f.count >= maxBatchEvents || len(f.text) >= maxBatchBytes {
		s.seal(session)
	}
}

// event tells of the loss.
func (l loss) event() *event.Event {
	return &event.Event{Type: event.TypeLost, Time: l.to, Data: &event.Lost{
		Count: uint64(l.count), Reason: l.reason, From: l.from, To: l.to, CPU: -1,
	}}
}

// lose notes a loss; it is told of as soon as there is room.
func (s *Sender) lose(session string, l loss) {
	s.counts.Lost += int64(l.count)
	known := s.losses[session]
	for i := range known {
		if k := &known[i]; k.reason == l.reason {
			k.count += l.count
			if l.from.Before(k.from) {
				k.from = l.from
			}
			if l.to.After(k.to) {
				k.to = l.to
			}
			return
		}
	}
	s.losses[session] = append(known, l)
}

// tellLosses queues what was lost of a session, if there is room: while the spool
// is full, losses add up.
func (s *Sender) tellLosses(session string, must bool) {
	losses := s.losses[session]
	if len(losses) == 0 || s.spool.sizeBytes > s.spool.maxBytes/10*9 && !must {
		return
	}
	delete(s.losses, session)
	var f filling
	for _, l := range losses {
		f.add(l.event())
	}
	s.queue(s.batch(session, &f, true))
}

// wake tells whoever waits that something has changed.
func (s *Sender) wake() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// seal ends the filling of a session's batch and queues it.
func (s *Sender) seal(session string) {
	f := s.fillings[session]
	delete(s.fillings, session)
	if i := slices.Index(s.order, session); i >= 0 {
		s.order = slices.Delete(s.order, i, i+1)
	}
	s.tellLosses(session, false)
	if f.count > 0 {
		s.queue(s.batch(session, f, false))
	}
}

func (s *Sender) batch(session string, f *filling, losses bool) *batch {
	return &batch{head{rand.Text(), session, f.count, f.from, f.to, losses}, s.client.encoder.EncodeAll(f.text, nil)}
}

// queue puts a batch behind all others: into memory while that is enough, else on
// disk.
func (s *Sender) queue(b *batch) {
	s.sealed++
	fits := s.memoryBytes+len(b.body) <= maxMemoryBytes
	switch {
	case !s.spool.empty():
		s.toDisk(b, b.Losses)
	case fits && (!s.counts.BackendAway || s.spool.maxBytes == 0):
		s.memory = append(s.memory, b)
		s.memoryBytes += len(b.body)
	default:
		s.spill()
		s.toDisk(b, b.Losses)
	}
	s.wake()
}

// spill moves what is in memory to the disk, which is empty, also when that makes
// it a little more than it should hold.
func (s *Sender) spill() {
	if s.spool.maxBytes == 0 && !s.closing {
		return
	}
	batches := s.memory
	s.memory, s.memoryBytes = nil, 0
	for _, b := range batches {
		s.toDisk(b, true)
	}
}

func (s *Sender) toDisk(b *batch, must bool) {
	err := errFull
	if s.spool.maxBytes > 0 {
		err = s.spool.append(b, must)
	}
	if err == nil {
		return
	}
	if s.counts.Lost == 0 {
		s.log.Error("events are lost: they can be neither sent nor kept", "error", err)
	}
	s.finished++
	if b.Losses {
		s.counts.Lost += int64(b.Count) // to tell of these would never end
		return
	}
	s.lose(b.Session, loss{event.ReasonSpoolFull, b.Count, b.From, b.To})
}

// Run brings what is there to the backend, until ctx ends. Then everything that
// is not delivered yet is tried once more, and what fails goes to disk.
func (s *Sender) Run(ctx context.Context) {
	backoff := time.Duration(0)
	progress := 0 // events of the oldest batch that were taken one by one
	for {
		b, fromDisk := s.next(ctx)
		if b == nil {
			break
		}
		r := s.client.send(ctx, b, progress)
		if ctx.Err() != nil && r.retry {
			break
		}
		if !r.retry {
			backoff, progress = 0, 0
			s.finish(b, fromDisk, r)
			continue
		}
		progress = r.progress
		s.away(r.err)
		backoff = min(max(2*backoff, firstBackoff), maxBackoff)
		wait := time.NewTimer(max(backoff, r.after))
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
		}
		if ctx.Err() != nil {
			break
		}
	}
	s.finally(context.WithoutCancel(ctx), progress)
}

// finally makes a last try, and keeps the rest on disk.
func (s *Sender) finally(ctx context.Context, progress int) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	s.mu.Lock()
	s.closing = true
	s.sealAll()
	away := s.counts.BackendAway
	s.mu.Unlock()
	for !away {
		b, fromDisk := s.next(ctx)
		if b == nil {
			break
		}
		r := s.client.send(ctx, b, progress)
		if r.retry {
			break
		}
		progress = 0
		s.finish(b, fromDisk, r)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sealAll()
	s.spill()
	if err := s.spool.close(); err != nil {
		s.log.Error("the spool cannot be closed", "error", err)
	}
	s.wake()
}

// sealAll queues all that is there, losses too.
func (s *Sender) sealAll() {
	for len(s.order) > 0 {
		s.seal(s.order[0])
	}
	for session := range s.losses {
		s.tellLosses(session, s.closing)
	}
}

// next waits for the oldest batch; nil when ctx ended, or when nothing is left of
// a sender that closes. The batch stays where it is until it is finished.
func (s *Sender) next(ctx context.Context) (b *batch, fromDisk bool) {
	for {
		s.mu.Lock()
		wait := linger
		for len(s.order) > 0 {
			if wait = linger - time.Since(s.fillings[s.order[0]].since); wait > 0 {
				break
			}
			s.seal(s.order[0])
		}
		idle := len(s.order) == 0
		switch {
		case ctx.Err() != nil:
		case len(s.memory) > 0:
			b = s.memory[0]
		case !s.spool.empty():
			var err error
			if b, err = s.spool.peek(); err != nil {
				s.log.Error("the spool cannot be read", "error", err)
				wait, idle = time.Second, false
			}
			if n := s.spool.damaged; n > 0 {
				s.spool.damaged = 0
				s.log.Error("a part of the spool is damaged and was skipped", "places", n)
			}
			fromDisk = b != nil
		}
		changed, closing := s.changed, s.closing
		s.mu.Unlock()
		if b != nil || ctx.Err() != nil || closing && idle {
			return b, fromDisk
		}
		var timeout <-chan time.Time
		if !idle {
			timer := time.NewTimer(wait)
			defer timer.Stop() //nolint:gocritic // few: one for each wait of one batch
			timeout = timer.C
		}
		select {
		case <-changed:
		case <-timeout:
		case <-ctx.Done():
		}
	}
}

// finish is done with the oldest batch. One that was in memory may have gone to
// disk meanwhile, where it is the oldest then.
func (s *Sender) finish(b *batch, fromDisk bool, r result) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.counts.BackendAway {
		s.counts.BackendAway = false
		s.log.Info("the backend answers again", "waiting_bytes", s.spool.sizeBytes)
	}
	if !fromDisk && len(s.memory) > 0 && s.memory[0] == b {
		s.memory = s.memory[1:]
		s.memoryBytes -= len(b.body)
	} else {
		onDisk, err := s.spool.peek()
		if err == nil && onDisk != nil && onDisk.Key == b.Key {
			err = s.spool.done()
		}
		if err != nil {
			s.log.Error("the spool cannot be advanced; the backend knows its batches by their keys", "error", err)
		}
	}
	s.finished++
	for session := range s.losses {
		s.tellLosses(session, false)
	}
	s.counts.Delivered += int64(b.Count - r.lost)
	if r.lost > 0 {
		s.log.Error("events are lost", "session", b.Session, "events", r.lost, "error", r.err)
		if b.Losses {
			s.counts.Lost += int64(r.lost) // to tell of these would never end
		} else {
			s.lose(b.Session, loss{r.reason, r.lost, b.From, b.To})
			s.tellLosses(b.Session, false)
		}
	}
	s.wake()
}

// away notes that the backend does not take events now: what waits in memory goes
// to disk.
func (s *Sender) away(cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.counts.BackendAway {
		s.counts.BackendAway = true
		s.log.Warn("the backend does not take events; they are kept here until it does", "error", cause)
	}
	if s.spool.maxBytes > 0 {
		s.spill()
	}
	s.wake()
}

// Flush waits until what was sent so far is with the backend, or on disk because
// that is away, or until ctx ends.
func (s *Sender) Flush(ctx context.Context) {
	s.mu.Lock()
	s.sealAll()
	until := s.sealed
	for s.finished < until && !s.counts.BackendAway && ctx.Err() == nil {
		changed := s.changed
		s.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		}
		s.mu.Lock()
	}
	s.mu.Unlock()
}

// Counts gives what became of events so far.
func (s *Sender) Counts() Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.counts
	c.SpoolBytes = s.spool.sizeBytes
	c.Waiting = max(s.sealed-s.finished+int64(len(s.order)), 0) // those of an earlier run are not sealed here
	return c
}
