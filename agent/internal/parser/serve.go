//go:build linux

package parser

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"runtime/debug"

	"ospulse/agent/internal/confined"
	"ospulse/agent/internal/dns"
)

// Command is the agent's hidden command that runs the worker.
const Command = "parse"

const (
	// moreMemory is how much address space the worker may use more than at its start. It
	// includes what the garbage collector has not collected yet, so it is several times
	// the bytes that the agent lets the worker keep.
	moreMemory = 384 << 20
	goMemory   = "GOMEMLIMIT=96MiB"
	// bufferBytes is the size of the buffers of the socket, on both sides.
	bufferBytes = 256 << 10
	// testSetting is set by tests: the worker panics at a question with the text
	// parser-panic, and never answers one with parser-hang.
	testSetting = "OSPULSE_TEST_PARSER"
)

// Serve runs Command. It answers questions until the agent closes the socket. It returns the
// exit code.
func Serve() int {
	isTest := os.Getenv(testSetting) != ""
	socket := os.NewFile(confined.Socket, "socket")
	err := confined.Isolate(moreMemory)
	if err == nil {
		err = serve(socket, isTest)
	}
	if err == nil {
		return 0
	}
	fault := Answer{Fault: err.Error()}
	_, _ = socket.Write(fault.append(nil)) // the worker ends in any case
	return 1
}

// serve answers questions until the agent closes the socket. It returns an error for a panic.
func serve(socket *os.File, isTest bool) (err error) {
	defer func() {
		if fault := recover(); fault != nil {
			err = fmt.Errorf("panic: %v\n%s", fault, debug.Stack())
		}
	}()
	in, out := bufio.NewReaderSize(socket, bufferBytes), bufio.NewWriterSize(socket, bufferBytes)
	w := NewWorker()
	var question, message []byte
	for {
		if question, err = readMessage(in, question, maxQuestion); err != nil {
			return nil // the agent closed the socket
		}
		var q Question
		if err := q.read(question); err != nil {
			return err
		}
		if isTest {
			misbehave(q.Data)
		}
		w.Answer(&q, func(a *Answer) {
			message = a.append(message[:0])
			_, _ = out.Write(message) // Flush returns the error
		})
		if in.Buffered() == 0 { // the agent may wait for the answers
			if out.Flush() != nil {
				return nil
			}
		}
	}
}

// misbehave does what testSetting says.
func misbehave(data []byte) {
	if bytes.Contains(data, []byte("parser-panic")) {
		panic("a test asked for it")
	}
	for bytes.Contains(data, []byte("parser-hang")) {
	}
}

// Worker parses. Only one goroutine may use it.
type Worker struct {
	connections map[uint64]*connection
	decoder     decoder
}

// NewWorker returns a Worker without connections.
func NewWorker() *Worker { return &Worker{connections: map[uint64]*connection{}} }

// Answer calls answer with each answer to a question. An answer is valid until answer
// returns.
func (w *Worker) Answer(q *Question, answer func(*Answer)) {
	kept := 0
	var last *Answer // not passed on yet
	each := func(a *Answer) {
		if last != nil {
			answer(last)
		}
		last = a
	}
	switch q.Kind {
	case DNS:
		for message := range messages(q.Data) {
			if m, ok := dns.Parse(message); ok {
				each(&Answer{DNS: &m})
			}
		}
	case Frames:
		for f, contentBytes := range q.frames() {
			each(&Answer{Packet: w.decoder.packet(f, contentBytes)})
		}
	default:
		kept = w.http(q, each)
	}
	if last == nil {
		last = &Answer{}
	}
	last.Last, last.Kept = true, kept
	answer(last)
}

// messages yields the DNS messages in data, each after its length in two bytes.
func messages(data []byte) func(yield func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for len(data) >= 2 {
			end := 2 + int(binary.BigEndian.Uint16(data))
			if end > len(data) || !yield(data[2:end]) {
				return
			}
			data = data[end:]
		}
	}
}
