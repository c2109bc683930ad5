package handlers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/labstack/echo/v5"

	"ospulse/internal/filter"
	"ospulse/internal/live"
	"ospulse/internal/models"
)

const (
	keepAlive      = 15 * time.Second       // a stream without events sends a comment this often
	sendInterval   = 20 * time.Millisecond  // between two messages with events, unless the first one is full
	streamTimeout  = 10 * time.Second       // a client that takes nothing for this time is disconnected
	reconnectAfter = 2 * time.Second        // retry time that clients receive
	rereadAfter    = 500 * time.Millisecond // pause after a failed read of the database
	advanceEvents  = 10_000                 // after the filter has excluded so many, the client receives the stream's position
	listedAtOnce   = 100                    // sessions per message
)

// Live opens streams. *live.Hub implements it and documents its contracts.
type Live interface {
	Subscribe(ctx context.Context, asked live.Asked) (*live.Stream, error)
	SubscribeSessions(ctx context.Context, client string) (*live.SessionStream, error)
	Closed() bool
}

// StreamMeter counts streams and their events. *telemetry.Streams implements it.
type StreamMeter interface {
	Opened()
	Closed()
	Sent(events int)
	TooSlow() // the client was disconnected
}

type streamHandler struct {
	live    Live
	filters Filters
	meter   StreamMeter
}

// streamEvents sends a session's events as Server-Sent Events while the client listens.
// The id of a message is the seq of its last event. The first message describes the
// session; its id is the seq after which the stream starts. After many excluded events,
// an id comes without a message. A message "findings", without an id, says that the findings
// of the session changed. A message "expired" has the first and the last seq of
// events that the stream cannot have, because they expired. A client that reconnects with the last id misses
// nothing.
func (h *streamHandler) streamEvents(c *echo.Context) error {
	asked := live.Asked{Client: clientAddress(c).String()}
	var err error
	if asked.SessionID, err = sessionIDParam(c); err != nil {
		return err
	}
	if asked.After, err = streamStart(c); err != nil {
		return err
	}
	if asked.Where, err = filterParam(c, h.filters, asked.SessionID); err != nil {
		return err
	}
	if asked.Where.NeedsSession() {
		asked.Renew = func(ctx context.Context, where *filter.Filter) (*filter.Filter, error) {
			return h.filters.Complete(ctx, asked.SessionID, where)
		}
	}
	if asked.Fields, err = filter.ParsePaths(c.QueryParam("fields")); err != nil {
		return err
	}
	stream, err := h.live.Subscribe(c.Request().Context(), asked)
	if err != nil {
		return err
	}
	defer stream.Close()
	h.meter.Opened()
	defer h.meter.Closed()
	out := newEventStream(c, stream.Done())
	return h.finish(c, h.sendEvents(out, stream, asked.SessionID))
}

// sendEvents sends the updates of the stream until it ends.
func (h *streamHandler) sendEvents(out *eventStream, stream *live.Stream, sessionID string) error {
	begun, told := false, int64(0)
	for !out.isDone() {
		update, err := stream.Read()
		switch {
		case models.ErrorCode(err) == models.CodeUnavailable: // the stream stays open
			out.wait(nil, rereadAfter)
			err = out.beat()
		case err != nil && out.isDone():
			return h.goodbye(out)
		case err != nil:
			return fmt.Errorf("%w: %w", errBrokenOff, err)
		case update.Deleted:
			return out.send(message{event: "deleted", data: deletedView(sessionID)})
		case update.Session != nil:
			m := message{event: "session", data: sessionJSON(update.Session)}
			if !begun {
				begun, told, m.id = true, update.Seq, strconv.FormatInt(update.Seq, 10)
			}
			err = out.send(m)
		case update.Found != nil: // without an id: it does not move the stream
			err = out.send(message{event: "findings", data: findingsJSON(update.Found)})
		case update.Expired != nil:
			told = update.Seq
			err = out.send(message{event: "expired", id: strconv.FormatInt(told, 10), data: expiredJSON(*update.Expired)})
		case len(update.Events) > 0:
			told = update.Last
			err = out.send(message{id: strconv.FormatInt(told, 10), list: update.Events})
			h.meter.Sent(len(update.Events))
			if err == nil && !update.Full { // events that arrive meanwhile share the next message
				out.wait(nil, sendInterval)
			}
		case update.Seq-told >= advanceEvents || update.Seq > told && out.isQuiet():
			// Browsers report no message, but send the id as Last-Event-ID.
			told = update.Seq
			err = out.send(message{id: strconv.FormatInt(told, 10)})
		case update.Changed != nil:
			out.wait(update.Changed, keepAlive)
			if update.Seq == told { // otherwise a message with only an id follows
				err = out.beat()
			}
		}
		if err != nil {
			return err
		}
	}
	return h.goodbye(out)
}

// streamStart returns the seq after which a stream starts, nil for its live edge.
// Last-Event-ID, which a browser sends when it reconnects, is newer than the URL's
// parameter.
func streamStart(c *echo.Context) (*int64, error) {
	name, text := "Last-Event-ID", c.Request().Header.Get("Last-Event-ID")
	if text == "" {
		name, text = "after", c.QueryParam("after")
	}
	if text == "" {
		return nil, nil
	}
	seq, err := strconv.ParseInt(text, 10, 64)
	if err != nil || seq < 0 {
		return nil, models.Errorf(models.CodeInvalid, "%s must be the seq of an event, or 0 for the beginning, not %.100q", name, text)
	}
	return &seq, nil
}

// streamSessions sends the changes of all sessions. A client that lists the sessions
// after each ready message, one per connection, misses nothing.
func (h *streamHandler) streamSessions(c *echo.Context) error {
	stream, err := h.live.SubscribeSessions(c.Request().Context(), clientAddress(c).String())
	if err != nil {
		return err
	}
	defer stream.Close()
	h.meter.Opened()
	defer h.meter.Closed()
	out := newEventStream(c, stream.Done())
	return h.finish(c, h.sendSessions(out, stream))
}

func (h *streamHandler) sendSessions(out *eventStream, stream *live.SessionStream) error {
	if err := out.send(message{event: "ready", data: []byte("{}")}); err != nil {
		return err
	}
	for !out.isDone() {
		changes, changed := stream.Read(listedAtOnce)
		if changed != nil {
			out.wait(changed, keepAlive)
			if err := out.beat(); err != nil {
				return err
			}
			continue
		}
		messages := make([]message, 0, 2*len(changes))
		for _, change := range changes {
			if change.Session == nil {
				messages = append(messages, message{event: "deleted", data: deletedView(change.ID)})
				continue
			}
			if change.Changed {
				messages = append(messages, message{event: "session", data: sessionJSON(change.Session)})
			}
			if change.Found {
				messages = append(messages, message{event: "findings", data: findingsJSON(change.Session)})
			}
		}
		if err := out.send(messages...); err != nil {
			return err
		}
	}
	return h.goodbye(out)
}

func sessionJSON(session *models.Session) []byte {
	text, _ := json.Marshal(newSessionView(session)) // strings and numbers cannot fail
	return text
}

// findingsJSON is the message about the findings of a session: two members of the session.
func findingsJSON(session *models.Session) []byte {
	text, _ := json.Marshal(struct { // strings and numbers cannot fail
		ID       string        `json:"id"`
		Findings findingCounts `json:"findings"`
	}{session.ID, newFindingCounts(session)})
	return text
}

func expiredJSON(span models.SeqSpan) []byte {
	text, _ := json.Marshal(seqSpan(span)) // numbers cannot fail
	return text
}

func deletedView(id string) []byte {
	text, _ := json.Marshal(map[string]string{"id": id}) // cannot fail
	return text
}

// goodbye sends the reason of the end to a client that is still connected.
func (h *streamHandler) goodbye(out *eventStream) error {
	if !h.live.Closed() {
		return nil
	}
	return out.comment(" the backend is shutting down")
}

// finish returns the error to report: none if the client has gone. It disconnects a
// client that was too slow.
func (h *streamHandler) finish(c *echo.Context, err error) error {
	switch {
	case errors.Is(err, errBrokenOff):
		return err
	case !errors.Is(err, os.ErrDeadlineExceeded):
		return nil
	}
	h.meter.TooSlow()
	return fmt.Errorf("%w: %s took nothing of a stream for %s, and can come back", errBrokenOff, clientAddress(c).String(), streamTimeout)
}

// message is one message of an event stream; empty fields are left out. Without data it
// only sets the id. See section 9.2 of the HTML standard.
type message struct {
	event string   // the type
	id    string   // the client sends it as Last-Event-ID when it reconnects
	data  []byte   // JSON, which has no line breaks
	list  [][]byte // the elements of a JSON array, which is the data
}

// eventStream writes an answer of Server-Sent Events. It holds hardly any memory
// between messages.
type eventStream struct {
	response *patientWriter
	done     <-chan struct{}
	timer    *time.Timer
	written  time.Time // time of the last write
}

// newEventStream begins the answer. The stream ends when done is closed.
func newEventStream(c *echo.Context, done <-chan struct{}) *eventStream {
	header := c.Response().Header()
	header.Set("Content-Type", "text/event-stream")
	header.Set("Cache-Control", "no-store")
	header.Set("X-Accel-Buffering", "no") // nginx must not buffer
	header.Set("X-Content-Type-Options", "nosniff")
	c.Response().WriteHeader(http.StatusOK)
	timer := time.NewTimer(0)
	timer.Stop()
	return &eventStream{newPatientWriter(c.Response(), streamTimeout), done, timer, time.Time{}}
}

func (s *eventStream) isDone() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// isQuiet reports whether the stream has written nothing for keepAlive.
func (s *eventStream) isQuiet() bool { return time.Since(s.written) >= keepAlive }

// outputs are buffers for messages.
var outputs = sync.Pool{New: func() any { return new([]byte) }} //nolint:gochecknoglobals // a pool

// send writes messages. The first message also has the retry time for clients that
// reconnect.
func (s *eventStream) send(messages ...message) error {
	buffer := outputs.Get().(*[]byte)
	defer func() {
		if cap(*buffer) <= 4*writeBytes {
			outputs.Put(buffer)
		}
	}()
	out := (*buffer)[:0]
	if s.written.IsZero() {
		out = fmt.Appendf(out, "retry: %d\n", reconnectAfter.Milliseconds())
	}
	var err error
	for i := range messages {
		if out, err = s.append(out, &messages[i]); err != nil {
			return err
		}
	}
	*buffer = out
	return s.flush(out)
}

// append appends a message, and writes the buffer when it becomes too large.
func (s *eventStream) append(out []byte, m *message) ([]byte, error) {
	if m.event != "" {
		out = append(append(append(out, "event: "...), m.event...), '\n')
	}
	switch {
	case m.data != nil:
		out = append(append(append(out, "data: "...), m.data...), '\n')
	case m.list != nil:
		out = append(out, "data: "...)
		for i, element := range m.list {
			out = append(append(out, "[,"[min(i, 1)]), element...)
			if len(out) >= writeBytes {
				if _, err := s.response.Write(out); err != nil {
					return nil, err
				}
				out = out[:0]
			}
		}
		out = append(out, "]\n"...)
	}
	if m.id != "" { // last, so that a client does not use the id of a message that was cut
		out = append(append(append(out, "id: "...), m.id...), '\n')
	}
	return append(out, '\n'), nil
}

func (s *eventStream) comment(text string) error { return s.flush([]byte(":" + text + "\n\n")) }

// flush writes out and flushes the connection.
func (s *eventStream) flush(out []byte) error {
	if _, err := s.response.Write(out); err != nil {
		return err
	}
	s.written = time.Now()
	return s.response.flush()
}

// beat writes a comment if the stream is quiet.
func (s *eventStream) beat() error {
	if s.isQuiet() && !s.isDone() {
		return s.comment("")
	}
	return nil
}

// wait returns when changed is closed, most has elapsed, a comment is due, or the
// stream is done.
func (s *eventStream) wait(changed <-chan struct{}, most time.Duration) {
	s.timer.Reset(min(most, time.Until(s.written.Add(keepAlive))))
	defer s.timer.Stop()
	select {
	case <-changed:
	case <-s.done:
	case <-s.timer.C:
	}
}
