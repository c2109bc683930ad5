package handlers

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/labstack/echo/v5"

	"ospulse/internal/compat"
	"ospulse/internal/models"
	"ospulse/internal/service"
	"ospulse/internal/wire"
)

const (
	flushBytes  = 256 << 10 // an answer is sent in parts of about this size
	sendTimeout = 30 * time.Second
)

// Ingest stores events. *ingest.Queue implements it and documents its contract.
type Ingest interface {
	Append(ctx context.Context, batch models.Batch) (models.Receipt, error)
}

// Senders finds the agent that sent a request. *service.Senders implements it and
// documents its contract.
type Senders interface {
	Find(name string, address netip.Addr) (agentID string)
}

// EventService reads and claims events. *service.Events implements it and documents its
// contracts.
type EventService interface {
	EventReader
	ClaimUnsent(ctx context.Context, sessionID string, filter models.EventFilter, deliver func(service.Pages) error) error
}

// Quotas limits what each sender may send. *service.Quotas implements it and documents its
// contract.
type Quotas interface {
	Take(sender string, events, bytes int, now time.Time) error
	TakeRequest(sender string, now time.Time) error
}

// RefusalMeter counts events that were refused. *telemetry.Ingest implements it.
type RefusalMeter interface {
	Refused(events int, reason string)
}

type eventHandler struct {
	ingest       Ingest
	senders      Senders
	quotas       Quotas
	refusals     RefusalMeter
	events       EventService
	maxBodyBytes int64
	dashboards   *compat.Dashboards
	exports      ExportService
}

// The statuses of answers: 200 for committed events, 202 for events that wait on this
// machine's disk for the database.
const (
	statusStored  = "success"
	statusSpooled = "spooled"
)

// storedBatch is the answer to a batch: how many events were stored, with which seqs,
// and the faults of the others.
type storedBatch struct {
	Status  string `json:"status"`
	Spooled int    `json:"spooled,omitempty"`
	models.Receipt
}

// postEvent stores one event of a controller.
func (h *eventHandler) postEvent(c *echo.Context) error { return h.postOne(c, wire.Event) }

// postHTTP stores one flow of the HTTP forwarder.
func (h *eventHandler) postHTTP(c *echo.Context) error { return h.postOne(c, wire.HTTPFlow) }

func (h *eventHandler) postOne(c *echo.Context, decode func([]byte, time.Time) (models.Incoming, error)) error {
	receipt, err := h.post(c, []string{jsonType}, func(body []byte, now time.Time) ([]models.Incoming, []models.ItemFault, error) {
		in, err := decode(body, now)
		return []models.Incoming{in}, nil, err
	})
	if err != nil {
		return err
	}
	if receipt.Spooled > 0 {
		return c.JSON(http.StatusAccepted, map[string]string{"status": statusSpooled})
	}
	// Encoded by hand, because this is the most frequent answer.
	answer := append(make([]byte, 0, 128), `{"status":"`+statusStored+`","session_id":`...)
	answer = append(wire.AppendString(answer, receipt.Ranges[0].SessionID), `,"seq":`...)
	answer = append(strconv.AppendInt(answer, receipt.Ranges[0].First, 10), "}\n"...)
	return c.JSONBlob(http.StatusOK, answer)
}

// postPackets stores a batch of the network forwarder.
func (h *eventHandler) postPackets(c *echo.Context) error {
	return h.postMany(c, []string{jsonType}, wire.Packets)
}

// postBatch stores a batch of a new agent.
func (h *eventHandler) postBatch(c *echo.Context) error {
	return h.postMany(c, []string{jsonType, ndjsonType}, wire.Events)
}

func (h *eventHandler) postMany(c *echo.Context, types []string, decode decodeFunc) error {
	receipt, err := h.post(c, types, decode)
	if err != nil {
		return err
	}
	if receipt.Spooled > 0 {
		return c.JSON(http.StatusAccepted, storedBatch{statusSpooled, receipt.Spooled, receipt})
	}
	return c.JSON(http.StatusOK, storedBatch{Status: statusStored, Receipt: receipt})
}

// decodeFunc decodes a body into its events and the faults of other items.
type decodeFunc func(body []byte, now time.Time) ([]models.Incoming, []models.ItemFault, error)

// post reads a body, stores its events, and counts those that it refuses.
func (h *eventHandler) post(c *echo.Context, types []string, decode decodeFunc) (models.Receipt, error) {
	receipt, err := h.store(c, types, decode)
	if err != nil {
		h.refusals.Refused(1, string(clientError(c, err).Code))
	}
	if len(receipt.Faults) > 0 {
		h.refusals.Refused(len(receipt.Faults), string(models.CodeInvalid))
	}
	return receipt, err
}

// store is post without the counting. If it can store no event of a batch, it returns
// an error, so that the sender notices.
func (h *eventHandler) store(c *echo.Context, types []string, decode decodeFunc) (models.Receipt, error) {
	key, err := idempotencyKey(c)
	if err != nil {
		return models.Receipt{}, err
	}
	body, err := readBody(c, h.maxBodyBytes, types...)
	if err != nil {
		return models.Receipt{}, err
	}
	now := time.Now()
	events, faults, err := decode(body, now)
	switch {
	case err != nil:
		return models.Receipt{}, err
	case len(events) == 0 && len(faults) > 0:
		return models.Receipt{}, models.Errorf(models.CodeInvalid, "events[%d]: %s (%d items, none could be taken)", faults[0].Index, faults[0].Error, len(faults))
	case len(events) == 0:
		return models.Receipt{Ranges: []models.SeqRange{}}, nil
	}
	agentID, isBound := h.sender(c)
	if err := h.quotas.Take(cmp.Or(models.ActorOf(c.Request().Context()).KeyID, agentID), len(events), len(body), now); err != nil {
		return models.Receipt{}, err
	}
	letGo(body, events)
	hint := c.QueryParam("sessionId")
	for i := range events {
		events[i].RequestHint = hint
	}
	batch := models.Batch{Events: events, Faults: faults, Key: key, ReceivedAt: now, AgentID: agentID, OwnSessionsOnly: isBound}
	if key != "" {
		batch.Digest = digest(c.Path(), hint, body)
	}
	return h.ingest.Append(c.Request().Context(), batch)
}

// agentHeader is the header with the name of the sending agent, as in its heartbeats.
const agentHeader = "X-OSPulse-Agent"

// sender returns the ID of the agent that sent a request. A key that belongs to an agent
// decides, and limits the request to that agent's sessions. Otherwise the header does, or
// the address of the client.
func (h *eventHandler) sender(c *echo.Context) (agentID string, isBound bool) {
	if bound := models.ActorOf(c.Request().Context()).AgentID; bound != "" {
		return bound, true
	}
	return h.senders.Find(c.Request().Header.Get(agentHeader), clientAddress(c)), false
}

// letGo copies the data of events that are a small part of their body, so that they do
// not keep the body in memory.
func letGo(body []byte, events []models.Incoming) {
	size := smallBody
	for i := range events {
		size += len(events[i].Data) + len(events[i].DataRaw)
	}
	if len(body) < 2*size {
		return
	}
	for i := range events {
		events[i].Data, events[i].DataRaw = bytes.Clone(events[i].Data), bytes.Clone(events[i].DataRaw)
	}
}

// idempotencyKey returns the request's Idempotency-Key, "" if it has none.
func idempotencyKey(c *echo.Context) (string, error) {
	key := c.Request().Header.Get("Idempotency-Key")
	if key != "" && (!models.ValidID(key) || strings.IndexFunc(key, unicode.IsControl) >= 0) {
		return "", models.Errorf(models.CodeInvalid, "the Idempotency-Key must be 1 to 255 bytes of text, not %.100q", key)
	}
	return key, nil
}

// digest returns a hash that distinguishes two requests with the same key.
func digest(path, hint string, body []byte) string {
	hash := sha256.New()
	hash.Write(fmt.Appendf(nil, "%q %q ", path, hint))
	hash.Write(body)
	return hex.EncodeToString(hash.Sum(nil))
}

// poll claims and sends the session's unsent events: an array, newest first.
func (h *eventHandler) poll(c *echo.Context) error {
	id, err := sessionIDParam(c)
	if err != nil {
		return err
	}
	var filter models.EventFilter
	filter.Limit = compat.PollLimit(c.QueryParam("limit"))
	if filter.Start, err = timeParam(c, "start"); err != nil {
		return err
	}
	if filter.End, err = timeParam(c, "end"); err != nil {
		return err
	}
	// The old dashboard expects another name for one event type. Its browser sends the
	// page's origin. All other clients get the data that the agent sent.
	isDashboard := h.dashboards.Origin(c.Request()) != ""
	answer := arrayWriter{response: newPatientWriter(c.Response(), sendTimeout), element: func(out []byte, e *models.Event) []byte {
		return compat.AppendEvent(out, e, isDashboard)
	}}
	return answer.finish(h.events.ClaimUnsent(c.Request().Context(), id, filter, answer.write))
}

// export sends all events of one session, or of all sessions, as a download. The old
// dashboard names no session, so it gets the one that it started last.
func (h *eventHandler) export(c *echo.Context) error {
	id := c.QueryParam("sessionId")
	if origin := h.dashboards.Origin(c.Request()); id == "" && origin != "" {
		var err error
		if id, err = h.startedLast(c.Request().Context(), origin); err != nil {
			return err
		}
	}
	name := "os-pulse-events.json"
	if id != "" {
		if err := checkSessionID(id); err != nil {
			return err
		}
		name = "os-pulse-events-" + safeName(id) + ".json"
	}
	pages, err := h.exports.All(c.Request().Context(), id)
	if err != nil {
		return err
	}
	answer := arrayWriter{response: newPatientWriter(c.Response(), sendTimeout), element: wire.AppendEvent, fileName: name}
	return answer.finish(answer.write(pages))
}

// startedLast returns the session that the pages of an origin started last. After a
// restart, or if that session was deleted, it returns the session that anyone started
// last, or else the unassigned session.
func (h *eventHandler) startedLast(ctx context.Context, origin string) (string, error) {
	if id := h.dashboards.LastStarted(origin); id != "" {
		if _, err := h.exports.Session(ctx, id); models.ErrorCode(err) != models.CodeNotFound {
			return id, err
		}
	}
	session, err := h.exports.LastStarted(ctx)
	switch {
	case models.ErrorCode(err) == models.CodeNotFound:
		return models.UnassignedID, nil
	case err != nil:
		return "", err
	}
	return session.ID, nil
}

// maxSafeName is the most bytes of an id in a file name.
const maxSafeName = 128

// safeName returns an id without characters that are unsafe in a file name. The caller
// must put a prefix before it, because an id may be a device name in Windows.
func safeName(id string) string {
	name := strings.Map(func(r rune) rune {
		if r == '-' || r == '_' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' {
			return r
		}
		return '_'
	}, id)
	return name[:min(len(name), maxSafeName)]
}

// arrayWriter sends events as a JSON array while they are read. It sends nothing before
// it has flushBytes, so that an early error still sets the status.
type arrayWriter struct {
	response *patientWriter
	element  func(out []byte, e *models.Event) []byte
	fileName string // for a download
	out      []byte
	started  bool // the status was sent
}

// write sends all pages. It returns after they have left this program.
func (w *arrayWriter) write(pages service.Pages) error {
	w.out = append(w.out, '[')
	separator := ""
	for page, err := range pages {
		if err != nil {
			return err
		}
		for i := range page {
			w.out = w.element(append(w.out, separator...), &page[i])
			separator = ",\n"
			if len(w.out) >= flushBytes {
				if err := w.send(); err != nil {
					return err
				}
			}
		}
	}
	w.out = append(w.out, "]\n"...)
	return w.send()
}

// send sends the buffered part.
func (w *arrayWriter) send() error {
	if !w.started {
		w.started = true
		header := w.response.Header()
		header.Set("Content-Type", "application/json; charset=utf-8")
		header.Set("X-Content-Type-Options", "nosniff")
		if w.fileName != "" {
			header.Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", w.fileName))
		}
		w.response.WriteHeader(http.StatusOK)
	}
	if _, err := w.response.Write(w.out); err != nil {
		return err
	}
	w.out = w.out[:0]
	return w.response.flush()
}

// finish returns err for the error handler, or errBrokenOff if a part of the array was
// sent, because the client must not take half an array for a whole one.
func (w *arrayWriter) finish(err error) error {
	if !w.started {
		return err
	}
	return brokenOff(cmp.Or(err, w.response.finish()))
}
