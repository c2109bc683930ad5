package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
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
	archive string // folder of the events of a real session; "" before the first question

	bytesEach float64 // of these events on disk
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
	p, err := testbed.Start(ctx, l.dir, nil, l.victoria.binary, "-storageDataPath="+dir, "-httpListenAddr=127.0.0.1:0", "-loggerFormat=json",
		"-search.maxQueryDuration="+askTimeout.String())
	if err != nil {
		return err
	}
	if err := fn(p); err != nil {
		return errors.Join(fmt.Errorf("%w; the log of VictoriaLogs ends:\n%s", err, p.LogTail()), p.Stop())
	}
	return p.Stop()
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
func (l *lab) victoriaAsking(key archiveKey, name, query string, s selection) limit {
	return l.victoriaReading(key, name, fmt.Sprintf("%s%s&limit=%d", victoriaQuery, url.QueryEscape(query), pageSize), func(c *contents) (int, int) {
		seqs, _ := c.page(s, 0, pageSize)
		return len(seqs), 1
	})
}

// victoriaExporting reads all events from VictoriaLogs.
func (l *lab) victoriaExporting(key archiveKey, name string) limit {
	return l.victoriaReading(key, name, victoriaQuery+"*", func(c *contents) (int, int) { return int(c.events), int(c.events) })
}

// victoriaReading repeats a request about the events of an archive of real events. expect
// returns the number of lines of an answer, and what an answer counts.
func (l *lab) victoriaReading(key archiveKey, name, path string, expect func(*contents) (lines, counts int)) limit {
	return l.victoriaLimit(name, func(ctx context.Context, l *lab) (f figures, err error) {
		a, err := l.archive(ctx, key)
		if err != nil {
			return f, err
		}
		c := a.measured
		if err := l.fillVictoria(ctx); err != nil {
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
				n, err := client.countLines(path)
				if err == nil && n != lines {
					err = fmt.Errorf("WRONG ANSWER: VictoriaLogs gives %d events, not %d: GET %s", n, lines, path)
				}
				return counts, err
			}})
			f = newFigures(merge(tallies), l.time)
			return err
		})
		return f, err
	})
}

// countLines returns the number of lines in an answer.
func (g *getter) countLines(path string) (n int, err error) {
	a, err := g.get(path, "")
	if err != nil {
		return 0, err
	}
	body := a.body(g.answers)
	buf := make([]byte, 64<<10)
	for {
		read, err := body.Read(buf)
		n += bytes.Count(buf[:read], []byte("\n"))
		if errors.Is(err, io.EOF) {
			_, err = a.finish(g.answers, "")
			return n, err
		}
		if err != nil {
			return n, err
		}
	}
}

// storedVictoria returns the size of the real session in VictoriaLogs.
func storedVictoria(ctx context.Context, l *lab) (figures, error) {
	err := l.fillVictoria(ctx)
	return figures{bytesEach: l.victoria.bytesEach}, err
}

// fillVictoria stores the events of the real session once.
func (l *lab) fillVictoria(ctx context.Context) error {
	if l.victoria.archive != "" {
		return nil
	}
	events := int64(l.sizes.events)
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
	l.victoria.archive, l.victoria.bytesEach = dir, float64(size)/float64(events)
	return err
}
