package database

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"gorm.io/gorm"
)

// How a connection that listens is kept.
const (
	listenCheck   = 30 * time.Second       // it is asked whether it still stands when it was quiet for so long
	listenAnswer  = 5 * time.Second        // how long it may take to answer
	firstRelisten = 100 * time.Millisecond // after it was lost, doubled up to
	lastRelisten  = 2 * time.Second
)

func (d *postgresDialect) listen(ctx context.Context, channel string, connected func(), heard func(string)) {
	wait := firstRelisten
	for ctx.Err() == nil {
		if d.hear(ctx, channel, connected, heard) {
			wait = firstRelisten
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
		wait = min(2*wait, lastRelisten)
	}
}

// hear listens on a connection of its own until that is lost or ctx ends, and
// reports whether it could be made. Why it was lost is of no interest: the same
// fault shows wherever the database is used.
func (d *postgresDialect) hear(ctx context.Context, channel string, connected func(), heard func(string)) bool {
	conn, err := d.connectToListen(ctx, channel)
	if err != nil {
		return false
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = conn.Close(closing) // it says goodbye to whoever may be gone
	}()
	connected()
	for {
		quiet, cancel := context.WithTimeout(ctx, listenCheck)
		notification, err := conn.WaitForNotification(quiet)
		cancel()
		switch {
		case err == nil:
			heard(notification.Payload)
		case ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded):
			return true
		default: // a peer that vanished without a word is noticed by asking only
			if !answers(ctx, conn) {
				return true
			}
		}
	}
}

func (d *postgresDialect) connectToListen(ctx context.Context, channel string) (*pgx.Conn, error) {
	config := d.config.Copy()
	config.RuntimeParams["application_name"] += " (listening)"
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	asking, cancel := context.WithTimeout(ctx, listenAnswer)
	defer cancel()
	if _, err := conn.Exec(asking, "LISTEN "+pgx.Identifier{channel}.Sanitize()); err != nil {
		return nil, errors.Join(err, conn.Close(asking))
	}
	return conn, nil
}

// answers reports whether the connection's server is there. What it has notified
// meanwhile is kept for the next wait.
func answers(ctx context.Context, conn *pgx.Conn) bool {
	ctx, cancel := context.WithTimeout(ctx, listenAnswer)
	defer cancel()
	return conn.Ping(ctx) == nil
}

func (*postgresDialect) notify(tx *gorm.DB, channel string, payloads []string) error {
	for _, payload := range payloads {
		if err := tx.Exec("SELECT pg_notify(?, ?)", channel, payload).Error; err != nil {
			return err
		}
	}
	return nil
}
