package main

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/klauspost/compress/zstd"

	"ospulse/internal/models"
	"ospulse/internal/repository"
	"ospulse/internal/wire"
	"ospulse/test/testbed"
)

// recordedLoad is a load of recorded events.
type recordedLoad struct {
	corpus              func(*lab) (*corpus, error)
	path                string
	events, connections int
	settings            []string // of the backend
}

func programEvents(l *lab) (*corpus, error) { return l.programs() }
func flowEvents(l *lab) (*corpus, error)    { return l.flows() }

func (r recordedLoad) load(l *lab) (load, error) {
	c, err := r.corpus(l)
	if err != nil {
		return load{}, err
	}
	return load{c.requests(r.path, r.events), r.events, r.connections}, nil
}

// storing is the function storing for recorded events.
func (r recordedLoad) storing(ctx context.Context, l *lab, dialect string) (measurement, error) {
	load, err := r.load(l)
	if err != nil {
		return measurement{}, err
	}
	return storing(load, r.settings...)(ctx, l, dialect)
}

// limit is storing as a limit.
func (r recordedLoad) limit(name, dialect string) limit {
	return limit{name, func(ctx context.Context, l *lab) (figures, error) {
		m, err := r.storing(ctx, l, dialect)
		return figures{perSecond: m.PerSecond, p50Millis: m.P50Millis, p99Millis: m.P99Millis, bytesEach: m.BytesEach}, err
	}}
}

// previous is limit with the older backend of the flag -previous. The limit does not
// exist without the flag.
func (r recordedLoad) previous(l *lab, name, dialect string) limit {
	if l.previous == "" {
		return limit{}
	}
	return limit{name, func(ctx context.Context, l *lab) (figures, error) {
		defer func(current string) { l.binary = current }(l.binary)
		l.binary = l.previous
		return r.limit(name, dialect).measure(ctx, l)
	}}
}

// bare is bareLimit for recorded events.
func (r recordedLoad) bare(name string) limit {
	return limit{name, func(ctx context.Context, l *lab) (figures, error) {
		load, err := r.load(l)
		if err != nil {
			return figures{}, err
		}
		return bareLimit(name, load).measure(ctx, l)
	}}
}

// realScenarios store and read the events that the agent recorded. Their goals are those
// of issue 14.
func realScenarios(l *lab, dialect string) []scenario {
	single := recordedLoad{corpus: programEvents, path: eventPath, events: 1, connections: 64}
	batch := recordedLoad{corpus: programEvents, path: batchPath, events: largeBatch, connections: 4}
	flows := recordedLoad{corpus: flowEvents, path: batchPath, events: smallBatch, connections: 4}
	unsealed, sealing := batch, batch
	unsealed.settings, sealing.settings = []string{"SEAL_AFTER=never"}, []string{"SEAL_AFTER=0s"}
	verb, writer, maxBytes, ofVictoria := "INSERT", insertRows(50, 20), 720.0, 0.4
	if dialect == postgres {
		unsealed, sealing := batch, batch
		unsealed.settings, sealing.settings = []string{"SEAL_AFTER=never"}, []string{"SEAL_AFTER=0s"}
		verb, writer, maxBytes, ofVictoria = "COPY", copyRows(1000), 930, 0
	}
	rows := realRows(verb+" of 1000 real events", dialect, eventsTable, writer)
	bareRows := realRows(verb+" of 1000 real events, bare table", dialect, bareTable, writer)
	victoria, victoriaFlows := l.victoriaStoring("VictoriaLogs", batch), l.victoriaStoring("VictoriaLogs, flows", flows)
	previous := batch.previous(l, "previous version, real batch", dialect)
	all := []scenario{
		{
			name: "real single c=64", unit: anEvent, measure: single.storing,
			against: []comparison{
				{limit: single.bare("bare decode of real events c=64")},
				{limit: single.previous(l, "previous version, real single c=64", dialect), min: 2},
			},
		},
		{
			name: "real batch 1000 c=4", unit: anEvent, measure: batch.storing, goals: goals{maxBytesEach: maxBytes},
			against: []comparison{
				{limit: rows}, {limit: bareRows}, {limit: bareRows, byBytes: true},
				{limit: victoria, min: ofVictoria}, {limit: victoria, byBytes: true},
				{limit: packedLimit("zstd -3 of real events", programEvents), byBytes: true},
				{limit: previous, min: 2.5}, {limit: previous, byBytes: true},
			},
		},
		{
			name: "real batch 1000 c=4, sealing", unit: anEvent, measure: sealing.storing,
			against: []comparison{{limit: unsealed.limit("real batch 1000 c=4, never sealing", dialect), min: 0.9}},
		},
		{
			name: "real flows 25 c=4", unit: anEvent, measure: flows.storing,
			against: []comparison{
				{limit: victoriaFlows}, {limit: victoriaFlows, byBytes: true},
				{limit: packedLimit("zstd -3 of real flows", flowEvents), byBytes: true},
			},
		},
	}
	all = append(all, storedScenarios(l, dialect, "real", realArchive, goals{maxBytesEach: maxBytes})...)
	all = append(all,
		scenario{
			name: "sealed flows bytes", unit: anEvent, measure: sizeOf(archiveKey{dialect, flowArchive}),
			against: []comparison{{limit: packedLimit("zstd -3 of real flows", flowEvents), byBytes: true, max: 1.2}},
		},
		scenario{name: "sealed delete", unit: aRequest, measure: deleting, goals: goals{maxP50: 500 * time.Millisecond}},
	)
	return append(all, storedScenarios(l, dialect, "sealed", sealedArchive, goals{maxBytesEach: 32})...)
}

// sizeOf measures the size of the events of an archive.
func sizeOf(key archiveKey) func(context.Context, *lab, string) (measurement, error) {
	return func(ctx context.Context, l *lab, _ string) (measurement, error) {
		a, err := l.archive(ctx, key)
		if err != nil {
			return measurement{}, err
		}
		return measurement{BytesEach: a.bytesEach}, nil
	}
}

// deleting measures the deletion of a sealed session, until nothing of it is left.
func deleting(ctx context.Context, l *lab, dialect string) (m measurement, err error) {
	return m, l.withStore(ctx, dialect, func(s store) error {
		a := &archive{store: s, measured: newContents(int64(l.sizes.events))}
		if err := l.fill(ctx, archiveKey{dialect, sealedArchive}, a, l.storeReal(programEvents), a.measured); err != nil {
			return err
		}
		return l.withBackend(ctx, s, func(backend *testbed.Process) error {
			return readDatabase(ctx, s, func(pool *sql.DB) error {
				began := time.Now()
				request, err := http.NewRequestWithContext(ctx, http.MethodDelete, backend.URL+"/api/sessions/"+a.measured.id, http.NoBody)
				if err != nil {
					return err
				}
				answer, err := http.DefaultClient.Do(request)
				if err != nil {
					return err
				}
				defer answer.Body.Close()
				if answer.StatusCode != http.StatusAccepted {
					return fmt.Errorf("the deletion is answered %s", answer.Status)
				}
				for left := 1; left > 0; {
					at(ctx, time.Now().Add(5*time.Millisecond), nil)
					err := pool.QueryRowContext(ctx, forDialect(dialect, "SELECT COUNT(*) FROM sessions WHERE id = ?"), a.measured.id).Scan(&left)
					if err != nil {
						return err
					}
				}
				took := time.Since(began)
				m = measurement{PerSecond: 1 / took.Seconds(), P50Millis: millis(took), P99Millis: millis(took)}
				return nil
			})
		})
	})
}

// storedScenarios read the real events of an archive. The goals of searches are for
// sealed events.
func storedScenarios(l *lab, dialect, prefix string, kind archiveKind, size goals) []scenario {
	key := archiveKey{dialect, kind}
	ofSealed := func(g goals) goals {
		if kind == sealedArchive {
			return g
		}
		return goals{}
	}
	all := []scenario{{
		name: prefix + " bytes", unit: anEvent, goals: size, measure: sizeOf(key),
		against: []comparison{{limit: l.victoriaLimit("VictoriaLogs, stored", storedVictoria), byBytes: true}},
	}}
	for _, s := range []struct {
		name      string
		selection selection
		query     string // of VictoriaLogs
		goals     goals
	}{
		{"text nowhere", absentText, "*:" + noWord, goals{maxP50: 30 * time.Millisecond}},
		{"text rare", rareText, "*:" + rareWord, goals{maxP50: 100 * time.Millisecond}},
		{"JSON path", rareCall, "data.syscall:=" + rareSyscall, goals{maxP50: 400 * time.Millisecond}},
		{"page of a rare type", rareEvents, "_msg:=" + rareType, goals{maxP99: 10 * time.Millisecond}},
	} {
		all = append(all, scenario{
			name: prefix + " " + s.name, unit: aRequest, measure: asking(kind, askFirstPage(s.selection)), goals: ofSealed(s.goals),
			against: []comparison{{limit: l.victoriaAsking(key, "VictoriaLogs, "+s.name, s.query, s.selection), byP50: true}},
		})
	}
	for _, name := range []string{"files", "conversations"} {
		all = append(all, scenario{
			name: prefix + " " + name + ", first time", unit: aRequest, measure: askingOnce(kind, askRollup(name)),
			goals: ofSealed(goals{maxP50: 700 * time.Millisecond}),
		})
	}
	return append(all, scenario{
		name: prefix + " export ndjson", unit: anEvent, measure: exporting(kind, ""),
		goals:   ofSealed(goals{minPerSecond: 500_000, maxPeakMB: 100}),
		against: []comparison{{limit: l.victoriaExporting(key, "VictoriaLogs, export")}},
	})
}

// realRows is the speed of the database with the real events as rows.
func realRows(name, dialect string, table rawTable, newWriter rawWriter) limit {
	return limit{name, func(ctx context.Context, l *lab) (figures, error) {
		c, err := l.programs()
		if err != nil {
			return figures{}, err
		}
		var rows [][]any
		for chunk := range slices.Chunk(c.events, largeBatch) {
			var text []byte
			for _, e := range chunk {
				text = append(append(text, e.text...), '\n')
			}
			more, err := rowsOf(wire.Events(text, time.Now()))
			if err != nil {
				return figures{}, err
			}
			rows = append(rows, more...)
		}
		return l.writeRaw(ctx, dialect, table, rows, 1, newWriter)
	}}
}

// zstdWindow is the window of zstd -3. A larger one would find the next repetition.
const zstdWindow = 2 << 20

// packedLimit is the size of events that are compressed in groups as large as a segment.
func packedLimit(name string, of func(*lab) (*corpus, error)) limit {
	return limit{name, func(_ context.Context, l *lab) (f figures, err error) {
		c, err := of(l)
		if err != nil {
			return f, err
		}
		var text []byte
		size := 0
		for i := range c.events {
			text = c.appendLine(text, int64(i))
			if (i+1)%models.SegmentEvents == 0 || i == len(c.events)-1 {
				packed, err := compress(text, zstd.SpeedDefault, zstdWindow)
				if err != nil {
					return f, err
				}
				size += len(packed)
				text = text[:0]
			}
		}
		return figures{bytesEach: float64(size) / float64(len(c.events))}, nil
	}}
}

// The filters of real events. The rare call is one of a few in a repetition of the
// corpus, so a page of it needs all events.
const rareSyscall = "kill"

var (
	absentText = selection{filter: noWord, matches: func(*models.Event) bool { return false }}
	rareText   = selection{filter: rareWord, matches: isRareEvent}
	rareEvents = selection{filter: "type = " + rareType, matches: isRareEvent}
	rareCall   = selection{filter: "data.syscall = " + rareSyscall, matches: func(e *models.Event) bool {
		return bytes.Contains(e.Data, []byte(`"syscall":"`+rareSyscall+`"`))
	}}
)

func isRareEvent(e *models.Event) bool { return e.EventType == rareType }

func realSelections() []selection { return []selection{absentText, rareText, rareEvents, rareCall} }

// appendReal appends the events after to upTo of a session of real events, a line each.
// The rare event replaces some of them.
func (c *corpus) appendReal(dst []byte, after, upTo int64) []byte {
	for seq := after + 1; seq <= upTo; seq++ {
		if !isRare(seq) {
			dst = c.appendLine(dst, seq-1)
			continue
		}
		at := c.appendTime(nil, seq-1)
		dst = append(append(dst, bytes.Replace(rareEvent(), []byte(isoTime.placeholder), at, 1)...), '\n')
	}
	return dst
}

// storeReal returns a function that stores the recorded events of one session.
func (l *lab) storeReal(of func(*lab) (*corpus, error)) storeFunc {
	return func(ctx context.Context, to *repository.Events, sessions []*contents) error {
		c, err := of(l)
		if err != nil {
			return err
		}
		var text []byte
		for s := sessions[0]; s.noted < s.events; {
			text = c.appendReal(text[:0], s.noted, min(s.noted+largeBatch, s.events))
			group, err := allOf(wire.Events(text, time.Now()))
			if err != nil {
				return err
			}
			for i := range group {
				group[i].RequestHint = s.id
				s.note(&group[i].Event)
			}
			if _, err := to.Append(ctx, models.Group{Batches: []models.Batch{{Events: group}}}); err != nil {
				return err
			}
		}
		return nil
	}
}

// askingOnce measures the first answer of a backend to a question about real events.
func askingOnce(kind archiveKind, q question) func(context.Context, *lab, string) (measurement, error) {
	return func(ctx context.Context, l *lab, dialect string) (m measurement, err error) {
		a, err := l.archive(ctx, archiveKey{dialect, kind})
		if err != nil {
			return m, err
		}
		return m, l.withBackend(ctx, a.store, func(backend *testbed.Process) error {
			client, err := dialGetter(ctx, backend.URL, askTimeout)
			if err != nil {
				return err
			}
			defer client.close() //nolint:errcheck // nothing is left to write
			path, check := q(a.measured, nil)
			began := time.Now()
			err = client.ask(path, check)
			took := time.Since(began)
			m = measurement{PerSecond: 1 / took.Seconds(), P50Millis: millis(took), P99Millis: millis(took), PeakMB: testbed.Megabytes(testbed.PeakBytes(backend.Pid))}
			return err
		})
	}
}
