package app

import (
	"context"
	"fmt"
	"io"
	"time"

	"ospulse/internal/config"
	"ospulse/internal/models"
	"ospulse/internal/repository"
	"ospulse/internal/service"
)

const sealUsage = `Move the events of a session between rows and compressed segments.

Usage: ospulse-backend seal SESSION    compress all events now, without waiting for SEAL_AFTER
       ospulse-backend unseal SESSION  make them rows of the table events again, which stay

A backend may run meanwhile. Both commands may be interrupted and repeated. Reads return
the same events before, during and after.
`

// runSeal runs the subcommand seal or unseal with its arguments.
func runSeal(ctx context.Context, action string, args []string, cfg config.Config, stdout io.Writer) error {
	if len(args) == 1 && (args[0] == "help" || args[0] == "--help" || args[0] == "-h") {
		_, err := io.WriteString(stdout, sealUsage)
		return err
	}
	if len(args) != 1 {
		return fmt.Errorf("%s takes the ID of a session; see ospulse-backend %[1]s --help", action)
	}
	log := newLogger(cfg, stdout)
	db, err := connectUpgraded(ctx, cfg, log)
	if err != nil {
		return err
	}
	defer db.Close()
	seals := service.NewSeals(repository.NewSegments(db), repository.NewSessions(db), repository.NewLeases(db), 0, time.Now, log)
	run, done := seals.Seal, "sealed"
	if action == "unseal" {
		run, done = seals.Unseal, "unsealed"
	}
	next := time.Now().Add(sealProgress)
	err = run(ctx, args[0], func(upTo, total int64) {
		if time.Now().After(next) {
			log.Info(done, "up_to_seq", upTo, "of", total)
			next = time.Now().Add(sealProgress)
		}
	})
	if models.ErrorCode(err) == models.CodeNotFound {
		return fmt.Errorf("session %s does not exist", args[0])
	}
	if err != nil {
		return err
	}
	log.Info(done, "session", args[0])
	return nil
}

// sealProgress is the time between two log lines about the progress.
const sealProgress = 2 * time.Second
