package app

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"ospulse/internal/config"
	"ospulse/internal/ingest"
	"ospulse/internal/ingest/spool"
	"ospulse/internal/repository"
	"ospulse/internal/service"
	"ospulse/internal/telemetry"
	"ospulse/internal/wire"
)

const spoolUsage = `Look after the events that a backend keeps on its machine's disk.

Usage: ospulse-backend spool list          what the database refused, and is set aside
       ospulse-backend spool export        the same events as NDJSON
       ospulse-backend spool retry [ID …]  put these, or all, behind those that wait
       ospulse-backend spool drain DIR     store what waits in the spool folder of a
                                           backend that will not return

list, export and retry work on DATA_DIR/spool. A file that a running backend has is
left alone: stop that backend first. Its events are stored when it starts again.
`

// runSpool runs the subcommand spool with its arguments.
func runSpool(ctx context.Context, args []string, cfg config.Config, stdout io.Writer) error {
	action := ""
	if len(args) > 0 {
		action, args = args[0], args[1:]
	}
	switch {
	case action == "list" && len(args) == 0:
		return eachKept(ctx, cfg.SpoolDir(), func(_ *spool.Spool, id string, kept spool.Kept) error { return writeKept(stdout, id, kept) })
	case action == "export" && len(args) == 0:
		out := bufio.NewWriter(stdout)
		err := eachKept(ctx, cfg.SpoolDir(), func(_ *spool.Spool, _ string, kept spool.Kept) error {
			for i := range kept.Events {
				if _, err := out.Write(append(wire.AppendEvent(nil, &kept.Events[i].Event), '\n')); err != nil {
					return err
				}
			}
			return nil
		})
		return errors.Join(err, out.Flush())
	case action == "retry":
		return retrySpool(ctx, cfg.SpoolDir(), args, stdout)
	case action == "drain" && len(args) == 1:
		return drainSpool(ctx, args[0], cfg, newLogger(cfg, stdout))
	case action == "help" || action == "--help" || action == "-h":
		_, err := io.WriteString(stdout, spoolUsage)
		return err
	}
	return errors.New("spool takes list, export, retry [ID …] or drain DIR; see ospulse-backend spool --help")
}

// eachKept calls fn with each set-aside batch of a spool folder, and with its ID
// "file.number". Files of a running backend become errors.
func eachKept(ctx context.Context, dir string, fn func(s *spool.Spool, id string, kept spool.Kept) error) error {
	files, err := spool.Files(dir)
	if err != nil {
		return fmt.Errorf("read the spool %s: %w", dir, err)
	}
	var failed []error
	for n, path := range files {
		s, err := spool.OpenFile(ctx, path)
		if errors.Is(err, spool.ErrHeld) {
			err = errors.New("a running backend has it: stop that backend first")
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", path, err))
			continue
		}
		all, err := s.ListSetAside(ctx)
		failed = append(failed, err)
		for _, kept := range all {
			failed = append(failed, fn(s, fmt.Sprintf("%d.%d", n+1, kept.ID), kept))
		}
		failed = append(failed, s.Close())
	}
	return errors.Join(failed...)
}

// writeKept writes one line about a set-aside batch.
func writeKept(out io.Writer, id string, kept spool.Kept) error {
	session, eventType := "?", "cannot be read"
	if len(kept.Events) > 0 {
		session, eventType = kept.Events[0].SessionID, kept.Events[0].EventType
	}
	_, err := fmt.Fprintf(out, "%s\t%s\tsession %s\t%d events\t%s\t%s\n", id, kept.At.Format(time.RFC3339), session, kept.Count, strconv.Quote(eventType), kept.Reason)
	return err
}

// retrySpool moves the set-aside batches with these IDs, or all of them, back to the spool.
func retrySpool(ctx context.Context, dir string, ids []string, stdout io.Writer) error {
	left := slices.Clone(ids)
	events := 0
	err := eachKept(ctx, dir, func(s *spool.Spool, id string, kept spool.Kept) error {
		if len(ids) > 0 && !slices.Contains(ids, id) {
			return nil
		}
		left = slices.DeleteFunc(left, func(asked string) bool { return asked == id })
		if err := s.Retry(ctx, kept.ID); err != nil {
			return fmt.Errorf("%s: %w", id, err)
		}
		events += kept.Count
		return nil
	})
	if len(left) > 0 {
		err = errors.Join(err, fmt.Errorf("nothing is set aside under %s; see ospulse-backend spool list", strings.Join(left, ", ")))
	}
	_, writeErr := fmt.Fprintf(stdout, "%d events wait to be stored when the backend starts\n", events)
	return errors.Join(err, writeErr)
}

// drainSpool stores the backlog of a spool folder in the configured database. It may be
// interrupted and repeated: the mark of each group makes it be stored once.
func drainSpool(ctx context.Context, dir string, cfg config.Config, log *slog.Logger) error {
	if files, err := spool.Files(dir); err != nil || len(files) == 0 {
		return errors.Join(fmt.Errorf("there is no spool in %s", dir), err)
	}
	db, err := connectUpgraded(ctx, cfg, log)
	if err != nil {
		return err
	}
	defer db.Close()
	spooled, err := spool.Open(ctx, dir, 0)
	if err != nil {
		return err
	}
	events := service.NewEvents(repository.NewEvents(db), repository.NewSegments(db), repository.NewSessions(db), time.Now)
	queue := ingest.New(events, spooled, ingest.NewLimits(0, cfg.CommitTimeout), telemetry.NewIngest(telemetry.NewRegistry(nil)), ingest.Publishers{}, log)
	done := make(chan struct{})
	go func() { queue.Drain(ctx); close(done) }()
	tick := time.NewTicker(drainProgress)
	defer tick.Stop()
	for isDone := false; !isDone; {
		select {
		case <-done:
			isDone = true
		case <-tick.C:
		}
		left, _ := spooled.Backlog()
		log.Info("draining", "left", left, "waits_for", queue.WaitsFor())
	}
	left, _ := spooled.Backlog()
	setAside := spooled.SetAsideEvents()
	if err := spooled.Close(); err != nil {
		return err
	}
	if left > 0 {
		return fmt.Errorf("it was interrupted: %d events still wait in %s", left, dir)
	}
	if setAside > 0 {
		log.Warn("events are set aside in this folder, as the database refuses them (DATA_DIR is the folder above: ospulse-backend spool list)", "events", setAside)
	}
	return eachKept(ctx, dir, func(*spool.Spool, string, spool.Kept) error { return nil }) // reports files of running backends
}

// drainProgress is the time between two log lines about the backlog.
const drainProgress = 2 * time.Second
