package service

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"ospulse/internal/analysis"
	"ospulse/internal/detect"
	"ospulse/internal/filter"
	"ospulse/internal/models"
	"ospulse/internal/sigma"
)

// FindingRepository stores what rules found. internal/repository implements it and documents
// its contracts.
type FindingRepository interface {
	ListUndetected(ctx context.Context, rules string, limit int) ([]string, error)
	GetDetection(ctx context.Context, sessionID string) (models.Detection, error)
	Advance(ctx context.Context, before, d models.Detection, found []models.Finding) (done bool, err error)
	Drop(ctx context.Context, from, to string, ruleIDs []string, changed func(sessionIDs []string)) error
	List(ctx context.Context, filter models.FindingFilter) ([]models.ListedFinding, error)
	ListOfSession(ctx context.Context, sessionID string) ([]models.Finding, error)
}

// Detection applies rules to the events of all sessions: to new ones right after their
// commit, and to stored ones, the newest sessions first. What it finds is a function of the
// events in the order of Seq and of the rules. Several backends may do it on one database:
// a step counts only if nobody else took it. It is safe for concurrent use.
type Detection struct {
	stored   FindingRepository
	events   EventReader
	sessions SessionFinder
	announce FindingAnnouncer
	rules    *Rules
	read     int // the generation of rules that set has; of the goroutine that loads
	set      atomic.Pointer[ruleSet]
	limit    int64 // bytes of new events and of states
	log      *slog.Logger

	wake  chan struct{}
	again chan struct{} // holds a value if sweep shall not rest

	mu         sync.Mutex
	gone       []gone            // what sweep must drop
	busy       map[string]bool   // sessions to which a goroutine applies the rules
	fresh      map[string]*fresh // sessions with new events
	freshBytes int
	arrived    int       // events since counted
	counted    time.Time // when arrived was 0
	busyAt     time.Time // when storing events last came first
	known      map[string]*detected
}

// fresh are events of a session that were just committed: those after a seq, without a gap.
// There may be more in the database.
type fresh struct {
	after  int64
	events []*models.Event // of the request: they must not change
}

// ruleSet are the rules that are applied. It is immutable.
type ruleSet struct {
	rules   []detect.Rule // those that run, are on, and are not routine
	version string
	engine  *detect.Engine
}

func newRuleSet(all []detect.Rule) *ruleSet {
	running, conditions := detect.Running(slices.DeleteFunc(slices.Clone(all), func(r detect.Rule) bool { return r.Err == nil && r.Kind == sigma.Routine }))
	return &ruleSet{running, detect.Version(running), detect.New(conditions)}
}

// gone are rules that a set had and the next one lacks, which is the same otherwise.
type gone struct {
	from, to string // the versions of the sets
	ruleIDs  []string
}

// lost returns the rules that set has and next lacks; isAll reports whether next is the same
// otherwise.
func (s *ruleSet) lost(next *ruleSet) (ruleIDs []string, isAll bool) {
	versions := map[string]string{}
	for i := range next.rules {
		versions[next.rules[i].Key] = next.rules[i].State()
	}
	kept := 0
	for i := range s.rules {
		if versions[s.rules[i].Key] == s.rules[i].State() {
			kept++
		} else {
			ruleIDs = append(ruleIDs, s.rules[i].Key)
		}
	}
	return ruleIDs, kept == len(next.rules)
}

// detected is the state of a session after the events up to upTo.
type detected struct {
	upTo    int64
	set     *ruleSet
	stored  models.Detection // the session's, in the database
	saved   time.Time        // when it was stored
	session *detect.Session
	used    time.Time
	seen    int64 // upTo when it was used
	bytes   int   // when it was used
}

// NewDetection returns the detection with rules, which it loads. The caller must call Run,
// which loads them again when they change. limit is how many bytes of memory it may use,
// besides the rules.
func NewDetection(ctx context.Context, stored FindingRepository, events EventReader, sessions SessionFinder, announce FindingAnnouncer, rules *Rules, limit int64, log *slog.Logger) (*Detection, error) {
	d := &Detection{
		stored: stored, events: events, sessions: sessions, announce: announce, rules: rules, limit: limit, log: log,
		wake: make(chan struct{}, 1), again: make(chan struct{}, 1), busy: map[string]bool{}, fresh: map[string]*fresh{}, known: map[string]*detected{},
	}
	return d, d.load(ctx)
}

// load reads the rules if they have changed.
func (d *Detection) load(ctx context.Context) error {
	if err := d.rules.Load(ctx); err != nil {
		return err
	}
	all, generation := d.rules.current()
	if generation == d.read {
		return nil
	}
	d.read = generation
	next, before := newRuleSet(all), d.set.Load()
	if before != nil && before.version == next.version {
		return nil
	}
	if before != nil {
		if ruleIDs, isAll := before.lost(next); isAll {
			d.mu.Lock()
			d.gone = append(d.gone, gone{before.version, next.version, ruleIDs})
			d.mu.Unlock()
		}
	}
	d.set.Store(next)
	d.log.Info("rules are applied", "rules", len(next.rules))
	select {
	case d.again <- struct{}{}:
	default:
	}
	return nil
}

// watch loads rules that change until ctx ends.
func (d *Detection) watch(ctx context.Context) {
	for ctx.Err() == nil {
		logRetried(ctx, d.log, "rules could not be read; the old ones stay", d.load(ctx))
		d.rest(ctx, detectSweep, d.rules.wake)
	}
}

// Published implements ingest.Publisher. It never blocks.
func (d *Detection) Published(batches []models.Batch, receipts []models.Receipt) {
	d.mu.Lock()
	for i := range batches {
		if receipts[i].Repeated {
			continue
		}
		d.arrived += len(batches[i].Events)
		for j := range batches[i].Events {
			d.add(&batches[i].Events[j].Event)
		}
	}
	if passed := time.Since(d.counted); passed > detectRest {
		if float64(d.arrived) > detectBusy*passed.Seconds() {
			d.busyAt = time.Now()
		}
		d.arrived, d.counted = 0, time.Now()
	}
	d.mu.Unlock()
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// add keeps an event until it is evaluated, if there is room. The caller holds the mutex.
func (d *Detection) add(e *models.Event) {
	f := d.fresh[e.SessionID]
	if f == nil {
		f = &fresh{after: e.Seq - 1}
		d.fresh[e.SessionID] = f
	}
	const each = 1024 // bytes of an event besides its data, which is at least half of its request
	size := each + 2*len(e.Data) + 2*len(e.DataRaw)
	if f.after+int64(len(f.events))+1 == e.Seq && int64(d.freshBytes+size) <= d.freshLimit() {
		d.freshBytes += size
		f.events = append(f.events, e)
	}
}

// freshLimit is how many bytes of new events are kept. Others are read from the database.
func (d *Detection) freshLimit() int64 { return min(d.limit/3, 5<<20) }

const (
	// detectRest is the least time between two looks at the events of live sessions, so that
	// a step has more than one event.
	detectRest = 100 * time.Millisecond
	// detectSweep is how often Detection looks for sessions whose events another backend
	// stored, and for those to which older rules were applied.
	detectSweep  = 2 * time.Second
	detectAtOnce = 500     // sessions that one sweep finds: more than are live at once
	detectBytes  = 2 << 20 // of the events that are read at once
	// detectSave is how often the progress in a live session is stored while nothing is found.
	detectSave = time.Second
	// Storing events comes first: while more than detectBusy events arrive in a second, the
	// rules get one part in detectShare of a processor's time.
	detectBusy  = 10_000
	detectShare = 24
)

// Run applies the rules until ctx ends.
func (d *Detection) Run(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() { d.sweep(ctx) })
	running.Go(func() { d.watch(ctx) })
	memory := &models.EventMemory{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.wake:
		}
		d.mu.Lock()
		some := d.fresh
		d.fresh, d.freshBytes = map[string]*fresh{}, 0
		d.mu.Unlock()
		began := time.Now()
		for id, f := range some {
			logRetried(ctx, d.log, "rules could not be applied; it is tried again", d.follow(ctx, id, f, memory))
		}
		d.yield(ctx, time.Since(began))
		d.rest(ctx, detectRest, nil)
	}
}

// yield lets storing events come first, after some work, while many events arrive.
func (d *Detection) yield(ctx context.Context, work time.Duration) {
	const look = 50 * time.Millisecond
	for until := time.Now().Add((detectShare - 1) * work); time.Now().Before(until) && d.isBusy() && ctx.Err() == nil; {
		d.rest(ctx, min(look, time.Until(until)), nil)
	}
}

// isBusy reports whether many events have arrived in the last moments.
func (d *Detection) isBusy() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return time.Since(d.busyAt) < 3*detectRest
}

// rest returns after a time, or if interrupt has a value.
func (*Detection) rest(ctx context.Context, duration time.Duration, interrupt <-chan struct{}) {
	if duration <= 0 {
		return
	}
	select {
	case <-ctx.Done():
	case <-interrupt:
	case <-time.After(duration):
	}
}

// sweep applies the rules to stored events until ctx ends.
func (d *Detection) sweep(ctx context.Context) {
	memory := &models.EventMemory{}
	for {
		logRetried(ctx, d.log, "the findings of rules that are gone could not be removed; it is tried again", d.drop(ctx))
		set := d.set.Load()
		ids, err := d.stored.ListUndetected(ctx, set.version, detectAtOnce)
		logRetried(ctx, d.log, "sessions without findings could not be listed; it is tried again", err)
		for _, id := range ids {
			if ctx.Err() == nil && d.set.Load() == set && !d.isLive(id) {
				logRetried(ctx, d.log, "rules could not be applied; it is tried again", d.follow(ctx, id, nil, memory))
			}
		}
		d.rest(ctx, detectSweep, d.again)
		if ctx.Err() != nil {
			return
		}
	}
}

// drop removes what rules that are gone found: nothing else changes without them. Otherwise
// all sessions would be evaluated again.
func (d *Detection) drop(ctx context.Context) error {
	for {
		d.mu.Lock()
		if len(d.gone) == 0 {
			d.mu.Unlock()
			return nil
		}
		next := d.gone[0]
		d.mu.Unlock()
		if err := d.stored.Drop(ctx, next.from, next.to, next.ruleIDs, d.changed); err != nil {
			return err
		}
		d.mu.Lock()
		d.gone = d.gone[1:]
		d.mu.Unlock()
	}
}

// isLive reports whether Run applies the rules to a session, whose events have just arrived.
func (d *Detection) isLive(id string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	state := d.known[id]
	return state != nil && state.set == d.set.Load() && time.Since(state.used) < detectSave
}

// follow applies the rules to the events of a session that they have not been applied to. f
// has some of them; nil if the caller is sweep. Only sweep does what may take long: it applies
// new rules to stored events. If another goroutine is busy with the session, follow does
// nothing, because a sweep follows.
func (d *Detection) follow(ctx context.Context, id string, f *fresh, memory *models.EventMemory) error {
	if !d.begin(id) {
		return nil
	}
	defer d.end(id)
	isSweep := f == nil
	if isSweep {
		f = &fresh{}
	}
	s := step{Detection: d, id: id, memory: memory, found: map[int]*models.Finding{}}
	upTo, err := s.open(ctx, f, isSweep)
	if err != nil || s.state == nil {
		return err
	}
	state := s.state
	for state.upTo < upTo {
		began := time.Now()
		if state.upTo == f.after && len(f.events) > 0 {
			s.match(f.events)
		} else if err := s.page(ctx, upTo); err != nil {
			return err
		}
		// What other rules found is replaced at once, at the end.
		isEnd := state.upTo == upTo
		if isEnd && state.stored.Rules != state.set.version || state.stored.Rules == state.set.version && (len(s.found) > 0 || time.Since(state.saved) > detectSave) {
			if done, err := s.commit(ctx); err != nil || !done {
				d.forget(id)
				return err
			}
		}
		if !isEnd {
			d.yield(ctx, time.Since(began))
		}
		if isSweep && d.set.Load() != state.set { // it begins again with the new rules
			return nil
		}
	}
	if isSweep && state.stored.UpTo < state.upTo {
		if done, err := s.commit(ctx); err != nil || !done {
			d.forget(id)
			return err
		}
	}
	d.keep(id, state)
	return nil
}

// open returns the Seq up to which there are events, and sets the state from which to go on.
// The state stays nil if there is nothing to do.
func (s *step) open(ctx context.Context, f *fresh, isSweep bool) (upTo int64, err error) {
	set := s.set.Load()
	s.mu.Lock()
	state := s.known[s.id]
	s.mu.Unlock()
	if !isSweep && state != nil && state.set == set && state.upTo >= f.after {
		s.state = state
		return f.after + int64(len(f.events)), nil
	}
	session, err := s.sessions.Get(ctx, s.id)
	if err != nil {
		if models.ErrorCode(err) == models.CodeNotFound { // it was deleted
			s.forget(s.id)
			err = nil
		}
		return 0, err
	}
	before, err := s.stored.GetDetection(ctx, s.id)
	if err != nil || session.IsBackfilling() || before.Rules == set.version && before.UpTo >= session.EventCount {
		return 0, err
	}
	if !isSweep && before.Rules != set.version && f.after > session.ExpiredSeq {
		return 0, nil
	}
	upTo = max(session.EventCount, f.after+int64(len(f.events)))
	if state != nil && state.set == set && state.stored == before {
		s.state = state
		return upTo, nil
	}
	s.state, err = s.stateAt(ctx, set, before, session.ExpiredSeq)
	return upTo, err
}

// begin reports whether no other goroutine is busy with a session. If so, the caller must
// call end.
func (d *Detection) begin(id string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.busy[id] {
		return false
	}
	d.busy[id] = true
	return true
}

func (d *Detection) end(id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.busy, id)
}

// step is one application of the rules to a session.
type step struct {
	*Detection
	id     string
	state  *detected
	memory *models.EventMemory
	found  map[int]*models.Finding // by rule, since the last commit
}

// stateAt returns the state after the events up to which the rules have been applied, which
// some of them tell.
func (s *step) stateAt(ctx context.Context, set *ruleSet, before models.Detection, expired int64) (*detected, error) {
	state := &detected{set: set, stored: before, saved: time.Now(), session: set.engine.NewSession()}
	if before.Rules != set.version {
		state.upTo = expired
		return state, nil
	}
	for state.upTo < before.UpTo {
		err := s.read(ctx, detect.Telling(), before.UpTo, func(e *models.Event) { state.session.Learn(e) }, &state.upTo)
		if err != nil {
			return nil, err
		}
	}
	return state, nil
}

// page applies the rules to some events of the database, up to a seq at most.
func (s *step) page(ctx context.Context, upTo int64) error {
	return s.read(ctx, nil, upTo, s.matchOne, &s.state.upTo)
}

// match applies the rules to the next events.
func (s *step) match(events []*models.Event) {
	var own models.Event // rules add facts to an event
	for _, e := range events {
		own = *e
		s.matchOne(&own)
	}
	s.state.upTo += int64(len(events))
}

func (s *step) matchOne(e *models.Event) {
	rules := s.state.session.Match(e)
	if len(rules) == 0 {
		return
	}
	failed, rootPath := analysis.Failed(e), analysis.RootPath(e)
	for _, rule := range rules {
		if s.found[rule] == nil {
			s.found[rule] = s.finding(rule)
		}
		s.found[rule].Add(e, failed, rootPath)
	}
}

// read calls fn with the events of one page that a filter selects, those after *from, and
// advances *from. The events of a damaged segment are left out; /readyz reports them.
func (s *step) read(ctx context.Context, where *filter.Filter, upTo int64, fn func(*models.Event), from *int64) error {
	upTo = min(upTo, (*from/models.SegmentEvents+1)*models.SegmentEvents)
	events, err := s.events.ReadEvents(ctx, s.id, where, models.EventRange{After: *from, UpTo: upTo}, models.SegmentEvents, detectBytes, s.memory)
	if errors.Is(err, models.ErrDamaged) {
		events, err = nil, nil
	}
	if err != nil {
		return err
	}
	size := 0
	for i := range events {
		fn(&events[i])
		size += len(events[i].Data) + len(events[i].DataRaw)
	}
	if *from = upTo; size >= detectBytes { // the page may have more
		*from = events[len(events)-1].Seq
	}
	return nil
}

// finding returns a finding of a rule without events.
func (s *step) finding(rule int) *models.Finding {
	r := &s.state.set.rules[rule]
	return &models.Finding{SessionID: s.id, RuleID: r.Key, Version: r.Hash, Title: r.Title, Level: string(r.Level), Tags: r.Tags, Author: r.Author, License: r.License}
}

// commit stores what was found since the last commit.
func (s *step) commit(ctx context.Context) (bool, error) {
	found := make([]models.Finding, 0, len(s.found))
	for _, rule := range slices.Sorted(maps.Keys(s.found)) {
		found = append(found, *s.found[rule])
	}
	next := models.Detection{SessionID: s.id, UpTo: s.state.upTo, Rules: s.state.set.version}
	done, err := s.stored.Advance(ctx, s.state.stored, next, found)
	if done && (len(found) > 0 || s.state.stored.Rules != next.Rules) {
		s.changed([]string{s.id})
	}
	s.state.stored, s.state.saved = next, time.Now()
	clear(s.found)
	return done, err
}

// changed announces that the findings of sessions changed.
func (d *Detection) changed(sessionIDs []string) {
	for _, id := range sessionIDs {
		d.announce.FindingsChanged(id)
	}
}

func (d *Detection) forget(id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.known, id)
}

// keep keeps the state of a session. It drops those that were used longest ago until the
// others take little memory.
func (d *Detection) keep(id string, state *detected) {
	d.mu.Lock()
	defer d.mu.Unlock()
	state.used, state.seen, state.bytes = time.Now(), state.upTo, state.session.Bytes()
	d.known[id] = state
	for bytes := d.stateBytes(); int64(bytes) > d.limit-d.freshLimit() && len(d.known) > 1; {
		oldest := ""
		for other, s := range d.known {
			if oldest == "" || s.used.Before(d.known[oldest].used) {
				oldest = other
			}
		}
		bytes -= d.known[oldest].bytes
		delete(d.known, oldest)
	}
}

// stateBytes returns the memory of the states. The caller holds the mutex.
func (d *Detection) stateBytes() (bytes int) {
	for _, s := range d.known {
		bytes += s.bytes
	}
	return bytes
}

// Bytes returns about how much memory is in use, besides the rules.
func (d *Detection) Bytes() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return int64(d.freshBytes + d.stateBytes())
}

// Findings is what the rules found in a session, and how far they have been applied.
type Findings struct {
	Findings []models.Finding
	UpTo     int64 // the Seq of the last event that was evaluated
	Total    int64 // the session's events
}

// Findings returns what the rules found in a session, the most severe first.
func (d *Detection) Findings(ctx context.Context, sessionID string) (found Findings, err error) {
	session, err := d.sessions.Get(ctx, sessionID)
	if err != nil {
		return found, err
	}
	before, err := d.stored.GetDetection(ctx, sessionID)
	if err != nil {
		return found, err
	}
	found.Total = session.EventCount
	set := d.set.Load()
	if before.Rules == set.version {
		found.UpTo = before.UpTo
	}
	d.mu.Lock()
	if state := d.known[sessionID]; state != nil && state.set == set {
		found.UpTo = max(found.UpTo, state.seen)
	}
	d.mu.Unlock()
	found.Findings, err = d.stored.ListOfSession(ctx, sessionID)
	return found, err
}

// List returns up to filter.Limit findings of all sessions, the most severe first, and the
// cursor of the next page; nil at the end.
func (d *Detection) List(ctx context.Context, filter models.FindingFilter) ([]models.ListedFinding, *models.FindingCursor, error) {
	limit := filter.Limit
	filter.Limit++ // to see whether more follow
	found, err := d.stored.List(ctx, filter)
	if err != nil || len(found) <= limit {
		return found, nil, err
	}
	last := &found[limit-1]
	return found[:limit], &models.FindingCursor{Level: last.Level, FirstAt: last.FirstAt, SessionID: last.SessionID, RuleID: last.RuleID}, nil
}
