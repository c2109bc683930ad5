//go:build linux

// Package parser parses data that a watched program controls: HTTP, compressed bodies, DNS, TLS
// records and packets. A parser may have an error that lets a program take over the process that runs it.
// Therefore a worker process parses: the agent's own program with another command, as a
// user that owns nothing, without files, network or the right to start programs, and with
// limits for memory and time.
//
// The package must not know which programs are watched, nor how callers use the answers.
package parser

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"ospulse/agent/internal/confined"
)

const (
	// maxWaiting is the most bytes of questions that wait for an answer.
	maxWaiting = 48 << 20
	// maxAnswers is the most answers to one question, and maxAnswerBytes their size. No
	// honest worker reaches them: the first piece after a beginning of 64 KiB may complete
	// 4,000 requests, and one piece may answer 64 requests of 200 KiB.
	maxAnswers     = 1 << 13
	maxAnswerBytes = 64 << 20
	// maxMessages is the largest buffer of messages that is used again.
	maxMessages = 1 << 20

	// answerTime is the most CPU time for the next answer, and silentTime the most time, for
	// a worker that does not run. checkInterval is how often the Parser checks them.
	answerTime    = 2 * time.Second
	silentTime    = 30 * time.Second
	checkInterval = 250 * time.Millisecond
	// finishTime is how long Finish waits.
	finishTime = time.Minute

	// The pause before the next worker grows from minPause to maxPause while workers live
	// shorter than steadyTime.
	minPause   = 100 * time.Millisecond
	maxPause   = 30 * time.Second
	steadyTime = 10 * time.Second
)

// Errors of a Parser.
var (
	// ErrFull means that too many questions wait.
	ErrFull = errors.New("the parser has too much to do")
	// ErrFailed means that the worker has failed, or that there is none.
	ErrFailed = errors.New("the parser has failed")
)

// Parser asks a worker process, and starts another when it fails. Its methods may be called
// concurrently, and do not wait for the worker.
type Parser struct {
	log   *slog.Logger
	owner sync.Locker
	ended func()

	closing chan struct{} // closed by Close
	done    chan struct{} // closed when run has returned

	mu       sync.Mutex
	wake     sync.Cond // for send and Finish
	running  bool      // run was started
	closed   bool
	isPaused bool              // no worker runs, and none may start yet
	process  *confined.Process // nil while there is none
	unsent   []byte            // messages that send has not taken
	waiting  []waiting         // questions without their last answer, oldest first
	bytes    int               // of waiting
	answers  uint64            // count
}

// waiting is a question that waits for its last answer.
type waiting struct {
	answered func(*Answer, error)
	bytes    int
}

// New creates a Parser. The Parser calls ended after a worker has failed and all questions to
// it got ErrFailed: the next worker knows no connection. It holds owner while it calls ended,
// and while it passes on answers, as many at once as have arrived.
func New(log *slog.Logger, owner sync.Locker, ended func()) *Parser {
	p := &Parser{log: log, owner: owner, ended: ended, closing: make(chan struct{}), done: make(chan struct{})}
	p.wake.L = &p.mu
	return p
}

// Start starts the worker, unless it runs. Ask does so too; the first answers then come later.
func (p *Parser) Start() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.start()
}

// start starts the worker, unless it runs. The caller holds mu.
func (p *Parser) start() {
	if !p.running && !p.closed {
		p.running = true
		go p.run()
	}
}

// Ask sends a question. The Parser calls answered for each answer, in the order of the
// questions, from a goroutine of its own; or with an error if the worker fails. If Ask
// returns an error, it does not call answered. Ask does not keep q.
func (p *Parser) Ask(q *Question, answered func(*Answer, error)) error {
	const overhead = 512 // of a waiting question
	size := len(q.Data) + overhead
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed || p.isPaused:
		return ErrFailed
	case p.bytes+size > maxWaiting && !q.Kind.Frees():
		return ErrFull
	}
	p.start()
	p.bytes += size
	p.waiting = append(p.waiting, waiting{answered, size})
	p.unsent = q.append(p.unsent)
	p.wake.Broadcast()
	return nil
}

// Restart ends the worker, as if it had failed.
func (p *Parser) Restart() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.process != nil {
		p.process.Kill()
	}
}

// Finish waits until every question has its answer, finishTime at most, and closes the
// Parser. No other goroutine may ask any more.
func (p *Parser) Finish() {
	limit := time.AfterFunc(finishTime, p.Restart)
	defer limit.Stop()
	p.mu.Lock()
	for len(p.waiting) > 0 {
		p.wake.Wait()
	}
	p.mu.Unlock()
	p.Close()
}

// Close ends the worker. It waits until every question has its answer or error.
func (p *Parser) Close() {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return
	}
	p.closed = true
	if p.process != nil {
		p.process.Kill()
	}
	p.wake.Broadcast()
	running := p.running
	p.mu.Unlock()
	close(p.closing)
	if running {
		<-p.done
	}
}

// run runs workers until the Parser is closed.
func (p *Parser) run() {
	defer close(p.done)
	for pause := minPause; ; {
		began := time.Now()
		err := p.worker()
		isClosed := p.fail()
		p.owner.Lock()
		p.ended()
		p.owner.Unlock()
		if isClosed {
			return
		}
		if time.Since(began) >= steadyTime {
			pause = minPause
		}
		p.log.Error("the parser failed and will be started again; sessions report what it did not parse", "error", err, "pause", pause)
		select {
		case <-time.After(pause):
		case <-p.closing:
		}
		pause = min(2*pause, maxPause)
		p.mu.Lock()
		p.isPaused, isClosed = false, p.closed
		p.mu.Unlock()
		if isClosed {
			return
		}
	}
}

// worker runs one worker until it fails.
func (p *Parser) worker() error {
	environment := []string{goMemory, "GOMAXPROCS=2"}
	if os.Getenv(testSetting) != "" {
		environment = append(environment, testSetting+"=1")
	}
	ended := make(chan struct{})
	process, err := confined.Start(Command, unix.SOCK_STREAM, environment, nil, func() { close(ended) })
	if err != nil {
		return err
	}
	p.mu.Lock()
	if p.process = process; p.closed { // while the worker started
		process.Kill()
	}
	p.mu.Unlock()
	var all sync.WaitGroup
	all.Go(func() { p.send(process) })
	all.Go(func() { p.watch(process, ended) })
	err = p.receive(process)
	p.mu.Lock()
	p.process, p.isPaused = nil, true
	p.wake.Broadcast()
	p.mu.Unlock()
	process.Kill()
	all.Wait()
	return err
}

// fail answers all waiting questions with ErrFailed. It returns whether the Parser is closed.
func (p *Parser) fail() bool {
	p.mu.Lock()
	all, isClosed := p.waiting, p.closed
	p.waiting, p.unsent, p.bytes, p.isPaused = nil, nil, 0, true
	p.wake.Broadcast()
	p.mu.Unlock()
	p.owner.Lock()
	defer p.owner.Unlock()
	for _, w := range all {
		w.answered(nil, ErrFailed)
	}
	return isClosed
}

// send sends questions until the worker fails.
func (p *Parser) send(process *confined.Process) {
	var messages []byte
	for {
		p.mu.Lock()
		for len(p.unsent) == 0 && p.process == process {
			p.wake.Wait()
		}
		if cap(messages) > maxMessages {
			messages = nil
		}
		messages, p.unsent = p.unsent, messages[:0]
		isCurrent := p.process == process
		p.mu.Unlock()
		if !isCurrent {
			return
		}
		if _, err := process.Conn.Write(messages); err != nil {
			process.Kill() // ends receive
			return
		}
	}
}

// receiver reads the answers of a worker.
type receiver struct {
	in      *bufio.Reader
	body    []byte
	answers int // to the oldest question
	size    int // of them, in bytes
}

// next reads the body of a message.
func (r *receiver) next() (err error) {
	r.body, err = readMessage(r.in, r.body, maxAnswer)
	return err
}

// hasNext reports whether a whole message has arrived: next does not wait.
func (r *receiver) hasNext() bool {
	if r.in.Buffered() < sizeBytes {
		return false
	}
	head, _ := r.in.Peek(sizeBytes) // it is in the buffer
	return r.in.Buffered()-sizeBytes >= int(binary.LittleEndian.Uint32(head))
}

// receive passes on answers until the worker fails.
func (p *Parser) receive(process *confined.Process) error {
	r := receiver{in: bufio.NewReaderSize(process.Conn, bufferBytes)}
	for {
		err := r.next() // without owner: it waits
		if err != nil {
			return err
		}
		p.owner.Lock()
		for err = p.pass(&r); err == nil && r.hasNext(); {
			if err = r.next(); err == nil {
				err = p.pass(&r)
			}
		}
		p.owner.Unlock()
		if err != nil {
			return err
		}
	}
}

// pass passes on the answer that was read.
func (p *Parser) pass(r *receiver) error {
	var a Answer
	if err := a.read(r.body); err != nil {
		return err
	}
	if a.Fault != "" {
		return fmt.Errorf("%w: %.500q", ErrFailed, a.Fault)
	}
	p.mu.Lock()
	if len(p.waiting) == 0 {
		p.mu.Unlock()
		return fmt.Errorf("%w: it answers no question", errMessage)
	}
	of := p.waiting[0]
	p.answers++
	r.answers++
	r.size += len(r.body)
	if a.Last {
		p.bytes -= of.bytes
		p.waiting[0] = waiting{}
		if p.waiting = p.waiting[1:]; len(p.waiting) == 0 {
			p.wake.Broadcast()
		}
	}
	p.mu.Unlock()
	if r.answers > maxAnswers || r.size > maxAnswerBytes {
		return fmt.Errorf("%w: it is one answer too many", errMessage)
	}
	if a.Last {
		r.answers, r.size = 0, 0
	}
	of.answered(&a, nil)
	return nil
}

// watch kills a worker that takes too long for an answer.
func (p *Parser) watch(process *confined.Process, ended <-chan struct{}) {
	var (
		answers uint64
		used    time.Duration // when the latest answer came
		since   time.Time
	)
	ticker := time.NewTicker(checkInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ended:
			return
		case <-ticker.C:
		}
		p.mu.Lock()
		isIdle, count := len(p.waiting) == 0, p.answers
		p.mu.Unlock()
		now := processorTime(process.PID)
		if isIdle || count != answers || since.IsZero() {
			answers, used, since = count, now, time.Now()
		}
		if now-used > answerTime || time.Since(since) > silentTime {
			p.log.Error("the parser takes too long", "cpu", now-used, "time", time.Since(since))
			process.Kill()
			return
		}
	}
}

// processorTime returns the CPU time that a process has used; 0 if it has ended.
func processorTime(pid int) time.Duration {
	const ofProcess = 2 // CPUCLOCK_SCHED; see clock_getcpuclockid(3)
	var used unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|ofProcess), &used); err != nil {
		return 0
	}
	return time.Duration(used.Nano())
}
