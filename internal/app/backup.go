package app

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"ospulse/internal/backup"
	"ospulse/internal/config"
	"ospulse/internal/database"
	"ospulse/internal/durable"
	"ospulse/internal/models"
	"ospulse/internal/repository"
)

const backupUsage = `Copy everything that a backend keeps to one file, while the backend runs.

Usage: ospulse-backend backup [--force] FILE

FILE gets all sessions, events and target files as they are at one moment. It appears
when it is complete. "-" writes to standard output. --force overwrites a FILE that
exists. The settings are those of the backend (DATABASE_URL, DATA_DIR, FILES_URL …).
`

const restoreUsage = `Fill a database from a backup, or check a backup.

Usage: ospulse-backend restore [--replace] FILE
       ospulse-backend restore --verify FILE

Restore needs a new or empty database, SQLite or PostgreSQL, whichever the backup is
from. No backend may use the database. Either all of FILE is restored, or nothing.
--replace first removes the sessions and events that the database has.
--verify checks FILE and uses no database: every byte, the counts and sums of all
tables, the target files, and the seq of each session.
`

// runBackup runs the subcommand backup with its arguments.
func runBackup(ctx context.Context, args []string, cfg config.Config, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("backup", flag.ContinueOnError)
	force := flags.Bool("force", false, "")
	path, err := parseFile(flags, args, stdout, backupUsage)
	if err != nil || path == "" {
		return err
	}
	log := newLogger(cfg, stderr)
	create := func(w io.Writer) (report backup.Report, err error) {
		// The store would create its folder, and SQLite its file.
		db, err := connectAs(ctx, cfg, database.ReadOnly, log)
		if err != nil {
			return report, err
		}
		files, err := openFiles(cfg)
		if err == nil {
			report, err = backup.Create(ctx, w, db, files, BuildVersion(), time.Now(), log)
		}
		return report, errors.Join(err, db.Close())
	}
	if path == "-" {
		report, err := create(stdout)
		if err == nil {
			err = writeReport(stderr, "backed up", &report)
		}
		return err
	}
	if _, err := os.Lstat(path); err == nil && !*force {
		return fmt.Errorf("%s exists already; --force overwrites it", path)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var report backup.Report
	err = durable.Create(path, func(w io.Writer) (err error) {
		report, err = create(w)
		return err
	})
	if err != nil {
		return fmt.Errorf("no backup was made: %w", interrupted(ctx, err))
	}
	return writeReport(stdout, "backed up", &report)
}

// runRestore runs the subcommand restore with its arguments.
func runRestore(ctx context.Context, args []string, cfg config.Config, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("restore", flag.ContinueOnError)
	verify, replace := flags.Bool("verify", false, ""), flags.Bool("replace", false, "")
	path, err := parseFile(flags, args, stdout, restoreUsage)
	if err != nil || path == "" {
		return err
	}
	log := newLogger(cfg, stderr)
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	report, err := backup.Verify(ctx, file, log)
	if err != nil {
		return fmt.Errorf("%s: %w", path, interrupted(ctx, err))
	}
	if *verify {
		return writeReport(stdout, "the backup is complete:", &report)
	}
	files, err := openFiles(cfg)
	if err != nil {
		return fmt.Errorf("the data folder %s (DATA_DIR) cannot be used: %w", cfg.DataDir, err)
	}
	db, err := connectAs(ctx, cfg, database.Exclusive, log)
	if err != nil {
		return err
	}
	err = backup.Restore(ctx, file, &report, db, files, backup.Options{Replace: *replace, Settle: repository.SettleRestored}, log)
	if err := errors.Join(err, db.Close()); err != nil {
		return fmt.Errorf("restore %s: %w", path, interrupted(ctx, err))
	}
	return writeReport(stdout, "restored", &report)
}

// interrupted returns a clearer error if err follows from the end of ctx.
func interrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return errors.New("it was interrupted")
	}
	return err
}

// connectAs opens the database for a program that does not serve.
func connectAs(ctx context.Context, cfg config.Config, access database.Access, log *slog.Logger) (*database.DB, error) {
	o, err := databaseOptions(cfg, 0, log)
	if err != nil {
		return nil, err
	}
	o.Access = access
	return database.Open(ctx, o)
}

// parseFile parses the arguments of a subcommand that takes one file and flags around it.
// It returns "" if it has written the usage.
func parseFile(flags *flag.FlagSet, args []string, stdout io.Writer, usage string) (path string, err error) {
	flags.SetOutput(io.Discard)
	var paths []string
	for err == nil {
		if err = flags.Parse(args); flags.NArg() == 0 {
			break
		}
		paths, args = append(paths, flags.Arg(0)), flags.Args()[1:]
	}
	switch {
	case errors.Is(err, flag.ErrHelp) || len(paths) == 1 && paths[0] == "help":
		_, err := io.WriteString(stdout, usage)
		return "", err
	case err != nil:
		return "", fmt.Errorf("%w; see ospulse-backend %s --help", err, flags.Name())
	case len(paths) != 1 || paths[0] == "":
		return "", fmt.Errorf("%s takes one file; see ospulse-backend %s --help", flags.Name(), flags.Name())
	}
	return filepath.Clean(paths[0]), nil
}

// maxGaps is how many sessions with missing events a report names.
const maxGaps = 20

// writeReport writes what a backup has.
func writeReport(out io.Writer, done string, r *backup.Report) error {
	var text strings.Builder
	fmt.Fprintf(&text, "%s %d sessions, %d events and %d target files of %s (%s, schema %d, OS-Pulse %s)\n",
		done, r.Sessions, r.Events, r.Contents.Files-len(r.Contents.Damaged), models.FormatTime(r.Head.CreatedAt), r.Head.Dialect, r.Head.Schema, r.Head.Program)
	for what, files := range map[string][]string{"the storage did not have": r.Contents.Missing, "damaged in the storage:": r.Contents.Damaged} {
		for _, file := range files {
			fmt.Fprintf(&text, "warning: %s the target file %s\n", what, file)
		}
	}
	for _, gap := range r.Gaps[:min(len(r.Gaps), maxGaps)] {
		fmt.Fprintf(&text, "warning: session %s has %d of its %d events, as in the database that was copied\n", gap.SessionID, gap.Present, gap.Expected)
	}
	if more := len(r.Gaps) - maxGaps; more > 0 {
		fmt.Fprintf(&text, "warning: %d more sessions lack events\n", more)
	}
	_, err := io.WriteString(out, text.String())
	return err
}
