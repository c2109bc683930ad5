package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"ospulse/test/testbed"
)

// VictoriaLogs is a log store that compresses events by column. It answers before the
// events are on the disk, and has neither an order of events nor an exact copy of them.
// Its module, test/bench/victorialogs, is not part of the main one.
const (
	victoriaPackage = "github.com/VictoriaMetrics/VictoriaLogs/app/victoria-logs"
	victoriaInsert  = "/insert/jsonline?_time_field=timestamp&_msg_field=event_type&_stream_fields=source"
	victoriaQuery   = "/select/logsql/query?query="
)

// victoria is the built VictoriaLogs.
type victoria struct {
	binary  string // "" if it does not take part
	archive string // folder of the same events as in an archive of real events; "" before the first question
}

// needsVictoria tells whether a chosen scenario is compared with VictoriaLogs.
func (l *lab) needsVictoria(o options) bool {
	return slices.ContainsFunc(realScenarios(l, sqlite), func(s scenario) bool { return o.Scenarios.MatchString(s.name) })
}

// buildVictoria builds VictoriaLogs. If that fails, it says so.
func (l *lab) buildVictoria(ctx context.Context) {
	l.say("building VictoriaLogs")
	folder, err := exec.CommandContext(ctx, "go", "list", "-f", "{{.Dir}}", "ospulse/test/bench").Output()
	if err == nil {
		l.victoria.binary, err = testbed.BuildIn(ctx, filepath.Join(strings.TrimSpace(string(folder)), "victorialogs"), l.dir, "victoria-logs", victoriaPackage)
	}
	if err != nil {
		l.say("VictoriaLogs is left out, because it cannot be built: %s", err)
	}
}

// withVictoria starts VictoriaLogs on a folder, calls fn and stops it.
func (l *lab) withVictoria(ctx context.Context, dir string, fn func(*testbed.Process) error) error {
	p, err := testbed.Start(ctx, l.dir, nil, l.victoria.binary, "-storageDataPath="+dir, "-httpListenAddr=127.0.0.1:0", "-loggerFormat=json")
	if err != nil {
		return err
	}
	return errors.Join(fn(p), p.Stop())
}

// victoriaLimit is a limit that does not exist without VictoriaLogs.
func (l *lab) victoriaLimit(name string, measure func(ctx context.Context, l *lab) (figures, error)) limit {
	if l.victoria.binary == "" {
		return limit{}
	}
	return limit{name, measure}
}

// victoriaStoring stores recorded events in VictoriaLogs.
func (l *lab) victoriaStoring(name string, events recordedLoad) limit {
	return l.victoriaLimit(name, func(ctx context.Context, l *lab) (f figures, err error) {
		events.path = victoriaInsert
		load, err := events.load(l)
		if err != nil {
			return f, err
		}
		dir, err := os.MkdirTemp(l.dir, "victoria-")
		if err != nil {
			return f, err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
		var t *tally
		err = l.withVictoria(ctx, dir, func(p *testbed.Process) error {
			t, err = l.send(ctx, load, p.URL, window{warmUp: warmUp, length: l.time})
			return err
		})
		if err != nil {
			return f, err
		}
		size, err := folderBytes(dir)
		f = newFigures(t, l.time)
		f.bytesEach = float64(size) / float64(t.acknowledged)
		return f, err
	})
}

// folderBytes returns the size of all files in a folder.
func folderBytes(dir string) (size int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			size += info.Size()
		}
		return err
	})
	return size, err
}

// victoriaAsking asks VictoriaLogs for a page of the selected events.
func (l *lab) victoriaAsking(dialect, name, query string, s selection) limit {
	return l.victoriaReading(dialect, name, fmt.Sprintf("%s%s&limit=%d", victoriaQuery, url.QueryEscape(query), pageSize), func(c *contents) (int, int) {
		seqs, _ := c.page(s, 0, pageSize)
		return len(seqs), 1
	})
}

// victoriaExporting reads all events from VictoriaLogs.
func (l *lab) victoriaExporting(dialect, name string) limit {
	return l.victoriaReading(dialect, name, victoriaQuery+"*", func(c *contents) (int, int) { return int(c.events), int(c.events) })
}

// victoriaReading repeats a request about the events of the real session. expect returns the number of lines of an answer, and
// what an answer counts.
func (l *lab) victoriaReading(dialect, name, path string, expect func(*contents) (lines, counts int)) limit {
	return l.victoriaLimit(name, func(ctx context.Context, l *lab) (f figures, err error) {
		a, err := l.archive(ctx, archiveKey{dialect, realArchive})
		if err != nil {
			return f, err
		}
		c := a.measured
		if err := l.fillVictoria(ctx, dialect, c.events); err != nil {
			return f, err
		}
		lines, counts := expect(c)
		err = l.withVictoria(ctx, l.victoria.archive, func(p *testbed.Process) error {
			client, err := dialGetter(ctx, p.URL, warmUp+l.time+askTimeout)
			if err != nil {
				return err
			}
			defer client.close() //nolint:errcheck // nothing is left to write
			tallies, err := drive(ctx, window{warmUp: warmUp, length: l.time}, []worker{func() (int, error) {
				return counts, client.ask(path, func(answer []byte) error {
					if n := bytes.Count(answer, []byte("\n")); n != lines {
						return fmt.Errorf("WRONG ANSWER: VictoriaLogs gives %d events, not %d", n, lines)
					}
					return nil
				})
			}})
			f = newFigures(merge(tallies), l.time)
			return err
		})
		return f, err
	})
}

// fillVictoria stores the events of the real session once.
func (l *lab) fillVictoria(ctx context.Context, dialect string, events int64) error {
	if l.victoria.archive != "" {
		return nil
	}
	l.say("VictoriaLogs: storing %d events", events)
	c, err := l.programs()
	if err != nil {
		return err
	}
	dir := filepath.Join(l.dir, "victoria")
	err = l.withVictoria(ctx, dir, func(p *testbed.Process) error {
		var text []byte
		for stored := int64(0); stored < events; stored += largeBatch {
			text = c.appendReal(text[:0], stored, min(stored+largeBatch, events))
			if _, err := testbed.Call(ctx, http.MethodPost, p.URL+victoriaInsert, "application/x-ndjson", bytes.NewReader(text)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	size, err := folderBytes(dir)
	l.victoria.archive = dir
	l.note(dialect, "VictoriaLogs takes %.1f bytes for each of the %d real events", float64(size)/float64(events), events)
	return err
}
