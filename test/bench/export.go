package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// Trailer of a complete export.
const (
	exportTrailer  = "X-Export-Status"
	exportComplete = "complete"
)

// exportScenarios export a whole session. The limit is reading it from the database.
func exportScenarios(l *lab, dialect string) []scenario {
	export := func(name, header string, goals goals) scenario {
		return scenario{
			name: fmt.Sprintf("export ndjson%s of %d events", name, l.sizes.events), unit: anEvent, goals: goals,
			measure: exporting(usualArchive, header), against: []comparison{{limit: scanLimit(dialect)}},
		}
	}
	return []scenario{
		export("", "", goals{minPerSecond: 150_000, maxPeakMB: 100}),
		export(" zstd", "Accept-Encoding: zstd\r\n", goals{maxPeakMB: 100}),
	}
}

// exporting measures consecutive exports.
func exporting(kind archiveKind, header string) func(context.Context, *lab, string) (measurement, error) {
	return func(ctx context.Context, l *lab, dialect string) (measurement, error) {
		a, err := l.archive(ctx, archiveKey{dialect, kind})
		if err != nil {
			return measurement{}, err
		}
		return l.getting(ctx, dialect, a, func(g *getter) (int, error) {
			path := "/api/sessions/" + a.measured.id + "/export?format=ndjson"
			if err := g.export(path, header, a.measured.events); err != nil {
				return 0, fmt.Errorf("GET %s: %w", path, err)
			}
			return int(a.measured.events), nil
		})
	}
}

// export reads an export and checks that it has exactly the events 1 to want.
func (g *getter) export(path, header string, want int64) error {
	a, err := g.get(path, header)
	if err != nil {
		return err
	}
	if a.zstd != (header != "") {
		return errors.New("WRONG ANSWER: the encoding is not the one that was asked for")
	}
	body := a.body(g.answers)
	lines := body
	if a.zstd {
		decoder, err := zstd.NewReader(body, zstd.WithDecoderConcurrency(1))
		if err != nil {
			return err
		}
		defer decoder.Close()
		lines = decoder
	}
	last, err := checkLines(lines)
	if err != nil {
		return err
	}
	if last != want {
		return fmt.Errorf("WRONG ANSWER: the export has %d events, not %d", last, want)
	}
	if _, err := body.Read(make([]byte, 1)); !errors.Is(err, io.EOF) { // the decoder may stop before io.EOF
		return fmt.Errorf("the export goes on after its end: %w", err)
	}
	status, err := a.finish(g.answers, exportTrailer)
	if err == nil && status != exportComplete {
		err = fmt.Errorf("WRONG ANSWER: the export ends with %s: %q", exportTrailer, status)
	}
	return err
}

// checkLines checks that a text has one event a line, with the seqs 1, 2, 3 …, and
// returns the last seq.
func checkLines(r io.Reader) (last int64, err error) {
	buf := make([]byte, 0, 256<<10)
	for {
		if len(buf) == cap(buf) { // a long line
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		whole := buf[:bytes.LastIndexByte(buf, '\n')+1]
		for line := range bytes.Lines(whole) {
			seq, rest, faulty := nextSeq(line)
			if faulty != nil || rest == nil || seq != last+1 {
				return last, fmt.Errorf("WRONG ANSWER: event %d is followed by %.100q", last, line)
			}
			last = seq
		}
		buf = buf[:copy(buf, buf[len(whole):])]
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return last, fmt.Errorf("the export broke off after event %d: %w", last, err)
		}
	}
	if len(buf) > 0 {
		return last, fmt.Errorf("WRONG ANSWER: the last line has no end: %.100q", buf)
	}
	return last, nil
}
