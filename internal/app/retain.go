package app

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"ospulse/internal/config"
	"ospulse/internal/database"
	"ospulse/internal/handlers"
	"ospulse/internal/models"
	"ospulse/internal/repository"
	"ospulse/internal/service"
)

// retainSettings returns the settings of retention, for users.
func retainSettings(cfg config.Config) handlers.Retention {
	return handlers.Retention{Days: float64(cfg.RetainDays), GB: float64(cfg.RetainGB), DiskLow: cfg.DiskLow}
}

// retainRules returns the rules of the settings.
func retainRules(cfg config.Config) service.RetainRules {
	rules := service.RetainRules{Age: cfg.RetainAge(), Bytes: cfg.RetainBytes(), Days: cfg.RetainDays.String(), GB: cfg.RetainGB.String()}
	if cfg.RetainsEarly() {
		rules.EarlyBytes = earlyFactor * cfg.MinFreeBytes()
	}
	return rules
}

// earlyFactor is the multiple of MIN_FREE_MB below which retention runs early.
const earlyFactor = 2

const expireUsage = `Remove what expires by RETAIN_DAYS and RETAIN_GB now, oldest first.

Usage: ospulse-backend expire --dry-run  list what would be removed, and change nothing
       ospulse-backend expire            remove it

A backend with these settings does the same by itself, and may run meanwhile. Sessions
that are live, marked keep or were never started stay. Sizes are estimates.
`

// runExpire runs the subcommand expire with its arguments.
func runExpire(ctx context.Context, args []string, cfg config.Config, stdout io.Writer) error {
	flags := flag.NewFlagSet("expire", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	dryRun := flags.Bool("dry-run", false, "")
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp) || flags.Arg(0) == "help":
		_, err := io.WriteString(stdout, expireUsage)
		return err
	case err != nil || flags.NArg() > 0:
		return errors.New("expire takes --dry-run or nothing; see ospulse-backend expire --help")
	case !retainRules(cfg).IsOn():
		return errors.New("nothing expires: neither RETAIN_DAYS nor RETAIN_GB is set")
	}
	log := newLogger(cfg, stdout)
	db, err := connectUpgraded(ctx, cfg, log)
	if err != nil {
		return err
	}
	defer db.Close()
	files, err := openFiles(cfg)
	if err != nil {
		return fmt.Errorf("the data folder %s (DATA_DIR) cannot be used: %w", cfg.DataDir, err)
	}
	catalog := service.NewCatalog(repository.NewSessions(db), repository.NewAgents(db), files, unheard{}, time.Now, log)
	retention := service.NewRetention(repository.NewRetention(db), catalog, repository.NewLeases(db), retainRules(cfg), files.FreeBytes, time.Now, time.Now, log)

	table := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "SINCE\tRULE\tMB\tEVENTS\tSESSION\tNAME") //nolint:errcheck // Flush returns it
	removals, bytes := 0, int64(0)
	err = retention.ExpireAlone(ctx, *dryRun, func(e service.Removal) {
		events := "none"
		if e.FirstSeq <= e.LastSeq {
			events = fmt.Sprintf("%d–%d", e.FirstSeq, e.LastSeq)
		}
		//nolint:errcheck // Flush returns it
		fmt.Fprintf(table, "%s\t%s=%s\t%.1f\t%s\t%s\t%q\n", e.At.Format(time.RFC3339), e.Rule, e.Setting, float64(e.SizeBytes)/(1<<20), events, e.SessionID, nameOf(&e.Expirable))
		removals++
		bytes += e.SizeBytes
	})
	if flushErr := table.Flush(); err == nil {
		err = flushErr
	}
	if err != nil {
		return err
	}
	done := "removed"
	if *dryRun {
		done = "would be removed"
	}
	_, err = fmt.Fprintf(stdout, "%d %s, about %.1f MB\n", removals, done, float64(bytes)/(1<<20))
	return err
}

// nameOf returns the name that users know a session by.
func nameOf(e *models.Expirable) string {
	if e.Name != "" {
		return e.Name
	}
	return e.FileName
}

// unheard ignores announcements: the backends see changes in the database.
type unheard struct{}

// SessionChanged does nothing.
func (unheard) SessionChanged(string) {}

const vacuumUsage = `Rewrite the embedded database without its free space, and let it return free space by
itself from then on. It needs as much free disk as the database has, and a stopped
backend. A database that this version has created needs it only once in a while, if ever.

Usage: ospulse-backend vacuum
`

// runVacuum runs the subcommand vacuum with its arguments.
func runVacuum(ctx context.Context, args []string, cfg config.Config, stdout io.Writer) error {
	if len(args) > 0 {
		if args[0] == "help" || args[0] == "--help" || args[0] == "-h" {
			_, err := io.WriteString(stdout, vacuumUsage)
			return err
		}
		return errors.New("vacuum takes no arguments; see ospulse-backend vacuum --help")
	}
	if cfg.DatabaseURL.Reveal() != "" {
		return errors.New("PostgreSQL vacuums by itself (autovacuum); vacuum is for the embedded database")
	}
	if err := needDatabase(cfg); err != nil {
		return err
	}
	log := newLogger(cfg, stdout)
	db, err := connectAs(ctx, cfg, database.Exclusive, log)
	if err != nil {
		return err
	}
	defer db.Close()
	before, after, err := db.Vacuum(ctx)
	if err != nil {
		return err
	}
	log.Info("vacuumed", "mb_before", before>>20, "mb_after", after>>20)
	return nil
}
