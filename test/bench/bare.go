package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/labstack/echo/v5"

	"ospulse/internal/models"
	"ospulse/internal/wire"
)

// bareVariable, set in the environment, makes this program the bare handler.
const bareVariable = "OSPULSE_BENCH_BARE"

// serveBare is the limit of taking single events in: a server that reads and
// decodes them as the backend does, and then forgets them. It has no middleware
// and no log beside the line that says where it listens. It ends with ctx, and
// with the input, which whoever started it holds open.
func serveBare(ctx context.Context, stdin io.Reader, stdout io.Writer) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	e := echo.New()
	e.POST(eventPath, decodeOnly(wire.Event))
	e.POST(flowPath, decodeOnly(wire.HTTPFlow))
	server := &http.Server{Handler: e, ReadHeaderTimeout: 10 * time.Second}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, stdin)
		cancel()
	}()
	context.AfterFunc(ctx, func() { _ = server.Close() })
	slog.New(slog.NewJSONHandler(stdout, nil)).Info("listening", "url", "http://"+listener.Addr().String())
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func decodeOnly(decode func([]byte, time.Time) (models.Incoming, error)) echo.HandlerFunc {
	type answer struct {
		Status string `json:"status"`
	}
	return func(c *echo.Context) error {
		body, err := io.ReadAll(c.Request().Body)
		if err != nil {
			return err
		}
		if _, err := decode(body, time.Now()); err != nil {
			return c.String(http.StatusBadRequest, err.Error())
		}
		return c.JSON(http.StatusOK, answer{"success"})
	}
}
