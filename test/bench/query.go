package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/url"
	"slices"
	"time"

	"ospulse/test/testbed"
)

// pageSize is the number of events of a page, the backend's default.
const pageSize = 100

// question returns the path of a request about a session and a check of the answer. It
// picks a random position where it needs one.
type question func(c *contents, random *rand.Rand) (path string, check func(answer []byte) error)

// queryScenarios read a session, one request after the other.
func queryScenarios(l *lab, dialect string) []scenario {
	all := newSelections(dialect)
	return slices.Concat(pageScenarios(l, dialect, &all), countScenarios(dialect, &all), rollupScenarios(), textScenarios(dialect, &all))
}

// pageScenarios read pages of events. Their limits are the same SELECT without HTTP and
// the page of a small session.
func pageScenarios(l *lab, dialect string, all *selections) []scenario {
	first, deep := askFirstPage(all.all), askPage(all.all)
	sameCost := func(name string, q question) comparison {
		return comparison{limit: smallLimit(fmt.Sprintf("page %s of %d events", name, l.sizes.small()), dialect, q), byP50: true, max: 1.5}
	}
	page := func(name string, q question, against ...comparison) scenario {
		return scenario{
			name: "page " + name, unit: aRequest, measure: asking(usualArchive, q),
			goals: goals{maxP99: 10 * time.Millisecond}, against: against,
		}
	}
	scenarios := []scenario{
		page("first", first, selectPage("first page", dialect, all.all, true), sameCost("first", first)),
		page("deep", deep, selectPage("deep page", dialect, all.all, false), sameCost("deep", deep)),
		page("of a common type", askPage(all.commonType), selectPage("page of a common type", dialect, all.commonType, false)),
		page("of a rare type", askPage(all.rareType), selectPage("page of a rare type", dialect, all.rareType, false)),
		page("of a common process", askPage(all.commonProcess), selectPage("page of a common process", dialect, all.commonProcess, false)),
		page("of a rare process", askPage(all.rareProcess), selectPage("page of a rare process", dialect, all.rareProcess, false)),
		page("of a pid", askPage(all.pid), selectPage("page of a pid", dialect, all.pid, false)),
	}
	if l.sizes.large {
		large := func(name string, q question) scenario {
			s := page(fmt.Sprintf("%s of %d events", name, l.sizes.huge()), q, sameCost(name, q))
			s.measure = asking(hugeArchive, q)
			return s
		}
		scenarios = append(scenarios, large("first", first), large("deep", deep))
	}
	return scenarios
}

// countScenarios read histograms and facets. Their limit is a GROUP BY in the database.
func countScenarios(dialect string, all *selections) []scenario {
	var scenarios []scenario
	for _, s := range []struct {
		of string
		selection
	}{{"", all.all}, {" of a type", all.commonType}} {
		add := func(name string, q question, limit limit) {
			scenarios = append(scenarios, scenario{
				name: name + s.of, unit: aRequest, measure: asking(usualArchive, q),
				goals: goals{maxP50: 300 * time.Millisecond}, against: []comparison{{limit: limit, byP50: true}},
			})
		}
		add("histogram", askHistogram(s.selection), groupLimit("time and type"+s.of, dialect, s.selection, timeBuckets(dialect), "event_type"))
		for _, facet := range []struct{ field, column string }{
			{"type", "event_type"}, {"operation", "operation"}, {"process", "process_name"}, {"host", ""}, {"extension", ""},
		} {
			var counted limit // hosts and extensions have no column
			if facet.column != "" {
				counted = groupLimit(facet.field+s.of, dialect, s.selection, facet.column)
			}
			add("facet "+facet.field, askFacet(s.selection, facet.field), counted)
		}
	}
	return scenarios
}

// rollupScenarios read sums that the backend keeps. Only the first request scans the
// events, which affects the maximum but not the median.
func rollupScenarios() []scenario {
	rollup := func(name string) scenario {
		return scenario{name: name, unit: aRequest, measure: asking(usualArchive, askRollup(name)), goals: goals{maxP50: 100 * time.Millisecond}}
	}
	return []scenario{rollup("files"), rollup("conversations")}
}

// textScenarios search all events for a word with too few matches to fill a page.
func textScenarios(dialect string, all *selections) []scenario {
	text := func(name string, s selection) scenario {
		return scenario{
			name: "text " + name, unit: aRequest, measure: asking(usualArchive, askFirstPage(s)),
			goals: goals{maxP50: 2 * time.Second}, against: []comparison{selectPage("page of text "+name, dialect, s, true)},
		}
	}
	return []scenario{text("nowhere", all.noWord), text("rare", all.rareWord)}
}

// asking measures a question that one client repeats about the measured session of an
// archive.
func asking(kind archiveKind, q question) func(context.Context, *lab, string) (measurement, error) {
	return func(ctx context.Context, l *lab, dialect string) (measurement, error) {
		a, err := l.archive(ctx, archiveKey{dialect, kind})
		if err != nil {
			return measurement{}, err
		}
		return l.askOver(ctx, dialect, a, a.measured, q)
	}
}

// smallLimit is the same question about the small session.
func smallLimit(name, dialect string, q question) limit {
	return limit{name, func(ctx context.Context, l *lab) (figures, error) {
		a, err := l.archive(ctx, archiveKey{dialect, usualArchive})
		if err != nil {
			return figures{}, err
		}
		m, err := l.askOver(ctx, dialect, a, a.small, q)
		return figures{perSecond: m.PerSecond, p50Millis: m.P50Millis, p99Millis: m.P99Millis}, err
	}}
}

func (l *lab) askOver(ctx context.Context, dialect string, a *archive, c *contents, q question) (m measurement, err error) {
	random := rand.New(rand.NewPCG(5, 6))
	return l.getting(ctx, dialect, a, func(g *getter) (int, error) {
		path, check := q(c, random)
		return 1, g.ask(path, check)
	})
}

// getting measures work that one client repeats at a backend on an archive.
func (l *lab) getting(ctx context.Context, dialect string, a *archive, work func(*getter) (int, error)) (m measurement, err error) {
	err = l.withBackend(ctx, a.store, func(backend *testbed.Process) error {
		client, err := dialGetter(ctx, backend.URL, warmUp+l.time+askTimeout)
		if err != nil {
			return err
		}
		defer client.close() //nolint:errcheck // nothing is left to write
		m, err = l.observe(backend, dialect, func(w window) (*tally, error) {
			tallies, err := drive(ctx, w, []worker{func() (int, error) { return work(client) }})
			return merge(tallies), err
		})
		return err
	})
	return m, err
}

// askFirstPage asks for the first page of the selected events.
func askFirstPage(s selection) question {
	return func(c *contents, _ *rand.Rand) (string, func([]byte) error) { return askPageAfter(c, s, 0) }
}

// askPage asks for a page at a random position in the selected events.
func askPage(s selection) question {
	return func(c *contents, random *rand.Rand) (string, func([]byte) error) {
		return askPageAfter(c, s, somewhere(c, random))
	}
}

// somewhere returns a random seq that a full page follows.
func somewhere(c *contents, random *rand.Rand) int64 { return random.Int64N(c.events - pageSize + 1) }

func askPageAfter(c *contents, s selection, after int64) (string, func([]byte) error) {
	path := fmt.Sprintf("/api/sessions/%s/events?after=%d&limit=%d", c.id, after, pageSize) + filterParam(s)
	return path, func(answer []byte) error {
		seqs, more := c.page(s, after, pageSize)
		return checkPage(answer, seqs, more)
	}
}

func filterParam(s selection) string {
	if s.filter == "" {
		return ""
	}
	return "&filter=" + url.QueryEscape(s.filter)
}

// checkPage checks that a page has exactly these events.
func checkPage(answer []byte, seqs []int64, more bool) error {
	rest := answer
	for i, want := range seqs {
		got, after, err := nextSeq(rest)
		if err != nil {
			return err
		}
		if after == nil || got != want {
			return fmt.Errorf("WRONG ANSWER: event %d of %d on the page is %d, not %d", i+1, len(seqs), got, want)
		}
		rest = after
	}
	if got, after, _ := nextSeq(rest); after != nil {
		return fmt.Errorf("WRONG ANSWER: the page has more than %d events: %d", len(seqs), got)
	}
	if want := fmt.Sprintf(`"has_more":%t`, more); !bytes.Contains(rest, []byte(want)) {
		return fmt.Errorf("WRONG ANSWER: the page does not say %s", want)
	}
	return nil
}

// seqKey is the key of an event's seq. It cannot occur inside a JSON string, where each
// " has a \ before it.
var seqKey = []byte(`"seq":`)

// nextSeq returns the seq of the next event in a JSON text, and the text after it. rest
// is nil if there is no more event.
func nextSeq(text []byte) (seq int64, rest []byte, err error) {
	i := bytes.Index(text, seqKey)
	if i < 0 {
		return 0, nil, nil
	}
	rest = text[i+len(seqKey):]
	digits := 0
	for digits < len(rest) && '0' <= rest[digits] && rest[digits] <= '9' {
		seq = 10*seq + int64(rest[digits]-'0')
		digits++
	}
	if digits == 0 {
		return 0, nil, errors.New("WRONG ANSWER: a seq is no number")
	}
	return seq, rest[digits:], nil
}

// histogramBuckets is the requested number of buckets.
const histogramBuckets = 100

// askHistogram asks for a histogram of the selected events.
func askHistogram(s selection) question {
	return func(c *contents, _ *rand.Rand) (string, func([]byte) error) {
		path := fmt.Sprintf("/api/sessions/%s/histogram?buckets=%d", c.id, histogramBuckets) + filterParam(s)
		return path, func(answer []byte) error { return checkHistogram(answer, c.selected[s.filter].counts["type"]) }
	}
}

// checkHistogram checks that a histogram counts all events, by type.
func checkHistogram(answer []byte, counts map[string]int64) error {
	var got struct {
		Buckets []struct{ Counts map[string]int64 }
	}
	if err := json.Unmarshal(answer, &got); err != nil {
		return err
	}
	if n := len(got.Buckets); n < histogramBuckets/2 || n > histogramBuckets {
		return fmt.Errorf("WRONG ANSWER: the histogram has %d buckets, not %d", n, histogramBuckets)
	}
	sum := map[string]int64{}
	for _, b := range got.Buckets {
		for name, n := range b.Counts {
			sum[name] += n
		}
	}
	if !maps.Equal(sum, counts) {
		return fmt.Errorf("WRONG ANSWER: the histogram counts %v, not %v", sum, counts)
	}
	return nil
}

// askRollup asks for the files or the conversations of a session.
func askRollup(name string) question {
	return func(c *contents, _ *rand.Rand) (string, func([]byte) error) {
		return fmt.Sprintf("/api/sessions/%s/%s", c.id, name), func(answer []byte) error { return checkRollup(answer, c.events) }
	}
}

// checkRollup checks that a rollup covers all events and is not empty.
func checkRollup(answer []byte, events int64) error {
	var got struct{ Seq, Total int64 }
	if err := json.Unmarshal(answer, &got); err != nil {
		return err
	}
	if got.Seq != events || got.Total == 0 {
		return fmt.Errorf("WRONG ANSWER: the rollup is of the events up to %d, not %d, and has %d entries", got.Seq, events, got.Total)
	}
	return nil
}

// facetValues is the requested number of values.
const facetValues = 20

// askFacet asks for the most frequent values of a field.
func askFacet(s selection, field string) question {
	return func(c *contents, _ *rand.Rand) (string, func([]byte) error) {
		path := fmt.Sprintf("/api/sessions/%s/facets?field=%s&limit=%d", c.id, field, facetValues) + filterParam(s)
		return path, func(answer []byte) error { return checkFacet(answer, c.selected[s.filter].counts[field]) }
	}
}

// checkFacet checks the count of each value, that the most frequent values come first,
// and that all events are counted.
func checkFacet(answer []byte, counts map[string]int64) error {
	var got struct {
		Values []struct {
			Value string
			Count int64
		}
		Others, None int64
	}
	if err := json.Unmarshal(answer, &got); err != nil {
		return err
	}
	frequent := slices.Sorted(maps.Values(counts)) // ascending
	if none, ok := counts[""]; ok {
		i, _ := slices.BinarySearch(frequent, none)
		frequent = slices.Delete(frequent, i, i+1)
	}
	slices.Reverse(frequent)
	if want := min(facetValues, len(frequent)); len(got.Values) != want {
		return fmt.Errorf("WRONG ANSWER: the facet has %d values, not %d", len(got.Values), want)
	}
	sum := got.Others + got.None
	for i, v := range got.Values {
		if v.Count != counts[v.Value] || v.Count != frequent[i] {
			return fmt.Errorf("WRONG ANSWER: value %d is %q, %d times; it is there %d times, and the %[1]d. most frequent value %[5]d times", i+1, v.Value, v.Count, counts[v.Value], frequent[i])
		}
		sum += v.Count
	}
	total := int64(0)
	for _, n := range counts {
		total += n
	}
	if sum != total || got.None != counts[""] {
		return fmt.Errorf("WRONG ANSWER: %d events are counted, %d of them without a value, not %d, %d", sum, got.None, total, counts[""])
	}
	return nil
}
