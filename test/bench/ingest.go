package main

import (
	"context"
	"time"

	"ospulse/test/testbed"
)

// ingestScenarios send events to the backend. Single events are compared with a server
// that only decodes them, batches and flows with the fastest way to write the same rows
// to the same table.
func ingestScenarios(b *bodies, dialect string) []scenario {
	limits := newIngestLimits(b, dialect)
	pick := func(onSQLite, onPostgres float64) float64 {
		if dialect == sqlite {
			return onSQLite
		}
		return onPostgres
	}
	single := func(connections int) load { return load{b.events, 1, connections} }
	flows := load{b.flows, 1, 16}
	return []scenario{
		{
			name: "single c=1", unit: anEvent, measure: storing(single(1)),
			against: []comparison{
				{limit: bareLimit("bare decode c=1", single(1))},
				{limit: limits.commit, byP50: true, max: 1},
			},
		},
		{
			name: "single c=16", unit: anEvent, measure: storing(single(16)),
			against: []comparison{
				{limit: bareLimit("bare decode c=16", single(16))},
				{limit: limits.commits},
			},
		},
		{
			name: "single c=64", unit: anEvent, measure: storing(single(64)), goals: goals{maxP99: 12 * time.Millisecond},
			against: []comparison{
				{limit: bareLimit("bare decode c=64", single(64)), min: pick(0.55, 0.50)},
				{limit: limits.smallGroups},
			},
		},
		{
			name: "single c=256", unit: anEvent, measure: storing(single(256)), goals: goals{maxP99: 30 * time.Millisecond},
			against: []comparison{{limit: bareLimit("bare decode c=256", single(256)), min: 0.65}},
		},
		{
			name: "batch 1000 c=4", unit: anEvent, measure: storing(load{b.batches, largeBatch, 4}),
			against: []comparison{
				{limit: limits.events, min: pick(0.70, 0.80)},
				{limit: limits.twoWriters},
			},
		},
		{
			name: "batch 1000 zstd c=4", unit: anEvent, measure: storing(load{b.packedBatches, largeBatch, 4}),
			against: []comparison{{limit: limits.events, min: pick(0.70, 0.80)}},
		},
		{
			name: "flows 50KB c=16", unit: anEvent, measure: storing(flows),
			against: []comparison{
				// 3000 and 1900 flows a second, on a machine that copies 100,000 rows.
				{limit: limits.yardstick, min: pick(0.030, 0.019)},
				{limit: limits.flows},
				{limit: bareLimit("bare decode of flows", flows)},
			},
		},
		{
			name: "packets 25 c=16", unit: anEvent, measure: storing(load{b.packets, smallBatch, 16}),
			against: []comparison{{limit: limits.packets, min: pick(0, 0.60)}},
		},
		{
			name: "packets 1000 c=4", unit: anEvent, measure: storing(load{b.manyPackets, largeBatch, 4}),
			against: []comparison{{limit: limits.packets}},
		},
	}
}

// storing measures a load on a fresh database, and then checks that the database has
// every acknowledged event. The size of the database is that after the backend's end.
// Settings of the backend are NAME=VALUE.
func storing(load load, settings ...string) func(context.Context, *lab, string) (measurement, error) {
	return storingAfter(func(context.Context, store, string) error { return nil }, load, settings...)
}

// storingAfter is storing after a preparation of the backend at a URL.
func storingAfter(prepare func(ctx context.Context, s store, url string) error, load load, settings ...string) func(context.Context, *lab, string) (measurement, error) {
	return func(ctx context.Context, l *lab, dialect string) (m measurement, err error) {
		return m, l.withStore(ctx, dialect, func(s store) error {
			var acknowledged int64
			err := l.withBackend(ctx, s, func(backend *testbed.Process) error {
				if err := prepare(ctx, s, backend.URL); err != nil {
					return err
				}
				if _, err := startSession(ctx, backend.URL); err != nil {
					return err
				}
				m, err = l.observe(backend, dialect, func(w window) (*tally, error) {
					t, err := l.send(ctx, load, backend.URL, w)
					acknowledged = t.acknowledged
					return t, err
				})
				return err
			}, settings...)
			if err != nil {
				return err
			}
			if m.BytesEach, err = s.bytesEach(ctx, acknowledged); err != nil {
				return err
			}
			return verify(ctx, s.options, acknowledged)
		})
	}
}
