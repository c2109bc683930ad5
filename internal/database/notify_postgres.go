package database

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"gorm.io/gorm"
)

// Times of the listening connection.
const (
	listenCheck   = 30 * time.Second       // of silence, after which it is tested
	listenAnswer  = 5 * time.Second        // limit of the test
	firstRelisten = 100 * time.Millisecond // wait before a new connection, doubled up to
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

// hear listens on a connection of its own until the connection is lost or ctx ends. It
// reports whether it could connect. It does not report why the connection was lost: the
// same fault shows in all other uses of the database.
func (d *postgresDialect) hear(ctx context.Context, channel string, connected func(), heard func(string)) bool {
	conn, err := d.connectToListen(ctx, channel)
	if err != nil {
		return false
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = conn.Close(closing) // the server may be gone
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
		default: // only a test notices a peer that vanished silently
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

// answers reports whether the connection's server answers. The connection keeps
// notifications that arrive meanwhile.
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
