package handlers

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v5"

	"ospulse/internal/analysis"
	"ospulse/internal/filter"
	"ospulse/internal/models"
	"ospulse/internal/service"
	"ospulse/internal/wire"
)

// Limits of lists.
const (
	defaultEvents, maxEvents           = 100, 1000
	defaultBuckets                     = 100
	defaultFacetValues, maxFacetValues = 20, 1000
)

// EventReader reads a session's events. *service.Events implements it and documents its
// contracts.
type EventReader interface {
	List(ctx context.Context, sessionID string, where *filter.Filter, page models.EventPage) (events []models.Event, more bool, err error)
	ListWhole(ctx context.Context, sessionID string, where *filter.Filter, page models.EventPage) (events []models.Event, more bool, err error)
	Count(ctx context.Context, sessionID string, where *filter.Filter) (int64, error)
	Get(ctx context.Context, sessionID string, seq int64) (*models.Event, error)
	ExpiredSeq(ctx context.Context, sessionID string) (int64, error)
}

// Analyst counts a session's events. *service.Analysis implements it and documents its
// contracts.
type Analyst interface {
	Histogram(ctx context.Context, sessionID string, where *filter.Filter, span models.Span, buckets int) (*analysis.Histogram, error)
	Facet(ctx context.Context, sessionID, field string, where *filter.Filter, limit int) (*analysis.Facet, error)
}

type sessionEventHandler struct {
	events  EventReader
	analyst Analyst
	filters Filters
}

// Filters completes filters that name processes, routine rules or findings. *service.Filters
// implements it and documents its contracts.
type Filters interface {
	Complete(ctx context.Context, sessionID string, where *filter.Filter) (*filter.Filter, error)
}

// list sends a page of events in the order of seq: {"events", "has_more"}, "count" on
// request, and "expired" if some of the page's events expired. It reads the whole data only
// for the parameter fields.
func (h *sessionEventHandler) list(c *echo.Context) error {
	id, where, err := sessionAndFilter(c, h.filters)
	if err != nil {
		return err
	}
	page, err := eventPage(c)
	if err != nil {
		return err
	}
	wantsCount, err := boolParam(c, "count")
	if err != nil {
		return err
	}
	fields, err := filter.ParsePaths(c.QueryParam("fields"))
	if err != nil {
		return err
	}
	read := h.events.List
	if fields != nil {
		read = h.events.ListWhole
	}
	events, more, err := read(c.Request().Context(), id, where, page)
	if err != nil {
		return err
	}
	answer := []byte(`{"events":[`)
	for i := range events {
		if i > 0 {
			answer = append(answer, ',', '\n')
		}
		answer = fields.Append(wire.AppendListedEvent(answer, &events[i]), &events[i])
	}
	answer = strconv.AppendBool(append(answer, `],"has_more":`...), more)
	if wantsCount {
		n, err := h.events.Count(c.Request().Context(), id, where)
		if err != nil {
			return err
		}
		answer = strconv.AppendInt(append(answer, `,"count":`...), n, 10)
	}
	expired, err := h.events.ExpiredSeq(c.Request().Context(), id) // after the read, so that nothing is gone unsaid
	if err != nil {
		return err
	}
	if span, ok := expiredIn(page, expired, more); ok {
		answer = append(append(answer, `,"expired":`...), expiredJSON(span)...)
	}
	return c.JSONBlob(http.StatusOK, append(answer, "}\n"...))
}

// expiredIn returns the expired events of a page, which has more events or not.
func expiredIn(page models.EventPage, expired int64, more bool) (span models.SeqSpan, ok bool) {
	span = models.SeqSpan{First: page.After + 1, Last: expired}
	if page.Before > 0 {
		span.Last = min(expired, page.Before-1)
	}
	return span, page.After < span.Last && (!page.Descending || !more) // After + 1 may overflow
}

// eventPage reads which events to list: ascending from after, else descending from
// before, unless order says otherwise.
func eventPage(c *echo.Context) (models.EventPage, error) {
	var page models.EventPage
	var err error
	if page.Limit, err = limitParam(c, "limit", defaultEvents, maxEvents); err != nil {
		return page, err
	}
	if page.After, err = seqParam(c, "after", 0); err != nil {
		return page, err
	}
	if page.Before, err = seqParam(c, "before", 1); err != nil {
		return page, err
	}
	switch order := c.QueryParam("order"); order {
	case "":
		page.Descending = page.Before > 0 && c.QueryParam("after") == ""
	case "asc", "desc":
		page.Descending = order == "desc"
	default:
		return page, models.Errorf(models.CodeInvalid, "order must be asc or desc, not %.100q", order)
	}
	return page, nil
}

// get sends one whole event, as exports do.
func (h *sessionEventHandler) get(c *echo.Context) error {
	id, err := sessionIDParam(c)
	if err != nil {
		return err
	}
	seq, err := strconv.ParseInt(c.Param("seq"), 10, 64)
	if err != nil || seq < 1 {
		return models.Errorf(models.CodeNotFound, "session %s has no event %.100q: events are numbered 1, 2, 3 …", id, c.Param("seq"))
	}
	event, err := h.events.Get(c.Request().Context(), id, seq)
	if err != nil {
		return err
	}
	return c.JSONBlob(http.StatusOK, append(wire.AppendExported(nil, event), '\n'))
}

// histogramAnswer has counts over time, for a timeline.
type histogramAnswer struct {
	From        string   `json:"from"` // the session's creation if there are no events
	To          string   `json:"to"`
	WidthMicros int64    `json:"width_micros"` // of a bucket
	UpTo        int64    `json:"up_to"`        // counts the events up to this seq
	Types       []string `json:"types"`        // types with events
	Buckets     []bucket `json:"buckets"`
}

type bucket struct {
	Start  string           `json:"start"`
	Counts map[string]int64 `json:"counts"` // by type; missing ones are 0
}

// histogram counts events over time by type.
func (h *sessionEventHandler) histogram(c *echo.Context) error {
	id, where, err := sessionAndFilter(c, h.filters)
	if err != nil {
		return err
	}
	buckets, err := limitParam(c, "buckets", defaultBuckets, service.MaxBuckets)
	if err != nil {
		return err
	}
	var span models.Span
	if span.From, err = timeParam(c, "from"); err != nil {
		return err
	}
	if span.To, err = timeParam(c, "to"); err != nil {
		return err
	}
	counted, err := h.analyst.Histogram(c.Request().Context(), id, where, span, buckets)
	if err != nil {
		return err
	}
	answer := histogramAnswer{
		From: models.FormatTime(counted.Span.From), To: models.FormatTime(counted.Span.To), WidthMicros: counted.WidthMicros, UpTo: counted.UpTo,
		Types: []string{}, Buckets: []bucket{},
	}
	for i, counts := range counted.Buckets() {
		start := time.UnixMicro(counted.Span.From.UnixMicro() + int64(i)*counted.WidthMicros)
		answer.Buckets = append(answer.Buckets, bucket{models.FormatTime(start), counts})
		for eventType := range counts {
			if place, known := slices.BinarySearch(answer.Types, eventType); !known {
				answer.Types = slices.Insert(answer.Types, place, eventType)
			}
		}
	}
	return c.JSON(http.StatusOK, answer)
}

// facetAnswer has the most frequent values of a field.
type facetAnswer struct {
	Field  string                `json:"field"`
	Values []analysis.FacetValue `json:"values"`
	Others int64                 `json:"others"` // events with other values
	None   int64                 `json:"none"`   // events without a value
}

// facet counts the values of a field.
func (h *sessionEventHandler) facet(c *echo.Context) error {
	id, where, err := sessionAndFilter(c, h.filters)
	if err != nil {
		return err
	}
	field := c.QueryParam("field")
	if !slices.Contains(analysis.FacetFields(), field) {
		return models.Errorf(models.CodeInvalid, "field must be one of %s, not %.100q", strings.Join(analysis.FacetFields(), ", "), field)
	}
	limit, err := limitParam(c, "limit", defaultFacetValues, maxFacetValues)
	if err != nil {
		return err
	}
	facet, err := h.analyst.Facet(c.Request().Context(), id, field, where, limit)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, facetAnswer{facet.Field, orEmpty(facet.Values), facet.Others, facet.None})
}

// sessionAndFilter reads the session id and the filter.
func sessionAndFilter(c *echo.Context, filters Filters) (id string, where *filter.Filter, err error) {
	if id, err = sessionIDParam(c); err != nil {
		return "", nil, err
	}
	where, err = filterParam(c, filters, id)
	return id, where, err
}

// filterParam reads the filter for a session.
func filterParam(c *echo.Context, filters Filters, sessionID string) (*filter.Filter, error) {
	where, err := filter.Parse(c.QueryParam("filter"))
	if err != nil {
		return nil, err
	}
	return filters.Complete(c.Request().Context(), sessionID, where)
}

// seqParam reads a seq, at least minimum; 0 if it is missing.
func seqParam(c *echo.Context, name string, minimum int64) (int64, error) {
	text := c.QueryParam(name)
	if text == "" {
		return 0, nil
	}
	seq, err := strconv.ParseInt(text, 10, 64)
	if err != nil || seq < minimum {
		return 0, models.Errorf(models.CodeInvalid, "%s must be the seq of an event, a whole number from %d on, not %.100q", name, minimum, text)
	}
	return seq, nil
}
