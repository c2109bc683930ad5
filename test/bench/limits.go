package main

import "context"

// ingestLimits are the fastest ways to write the scenarios' rows to the backend's table.
type ingestLimits struct {
	events, flows, packets limit // transactions of 1,000 rows on one connection
	twoWriters             limit // the same of events on two
	smallGroups            limit // transactions of 50 events
	commit, commits        limit // single events, on one connection and on several
	yardstick              limit // the speed of the machine, the same for both databases
}

func newIngestLimits(b *bodies, dialect string) ingestLimits {
	copyEvents := rawLimit("COPY of 1000 events", postgres, b.eventRows, 1, copyRows(1000))
	if dialect == sqlite { // it has one writer
		inserts := insertRows(50, 20)
		commit := rawLimit("commit of 1 event", sqlite, b.eventRows, 1, commitSQLite)
		return ingestLimits{
			events:      rawLimit("INSERT of 1000 events", sqlite, b.eventRows, 1, inserts),
			flows:       rawLimit("INSERT of 1000 flows", sqlite, b.flowRows, 1, inserts),
			packets:     rawLimit("INSERT of 1000 packets", sqlite, b.packetRows, 1, inserts),
			smallGroups: rawLimit("INSERT of 50 events", sqlite, b.eventRows, 1, insertRows(50, 1)),
			commit:      commit,
			commits:     commit,
			yardstick:   copyEvents,
		}
	}
	return ingestLimits{
		events:      copyEvents,
		flows:       rawLimit("COPY of 1000 flows", postgres, b.flowRows, 1, copyRows(1000)),
		packets:     rawLimit("COPY of 1000 packets", postgres, b.packetRows, 1, copyRows(1000)),
		twoWriters:  rawLimit("COPY of 1000 events, twice at once", postgres, b.eventRows, 2, copyRows(1000)),
		smallGroups: rawLimit("COPY of 50 events", postgres, b.eventRows, 1, copyRows(50)),
		commit:      rawLimit("commit of 1 event", postgres, b.eventRows, 1, commitPostgres),
		commits:     rawLimit("commit of 1 event, 16 at once", postgres, b.eventRows, 16, commitPostgres),
		yardstick:   copyEvents,
	}
}

func rawLimit(name, dialect string, rows [][]any, connections int, newWriter rawWriter) limit {
	return limit{name, func(ctx context.Context, l *lab) (figures, error) {
		return l.writeRaw(ctx, dialect, eventsTable, rows, connections, newWriter)
	}}
}

// bareLimit is a server that decodes the same requests and does nothing else.
func bareLimit(name string, load load) limit {
	return limit{name, func(ctx context.Context, l *lab) (figures, error) {
		t, err := l.send(ctx, load, l.bare.URL, window{warmUp: warmUp, length: l.time})
		return newFigures(t, l.time), err
	}}
}
