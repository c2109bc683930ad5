package main

import (
	"context"
	"io"
	"net/http"
	"time"

	"github.com/labstack/echo/v5"

	"ospulse/internal/models"
	"ospulse/internal/wire"
	"ospulse/test/testbed"
)

// bareVariable, set in the environment, makes this program the bare handler.
const bareVariable = "OSPULSE_BENCH_BARE"

// serveBare serves the limit of ingesting single events: it reads and decodes them as
// the backend does and drops them. It has no middleware and logs no requests.
func serveBare(ctx context.Context, stdin io.Reader, stdout io.Writer) error {
	e := echo.New()
	e.POST(eventPath, decodeOnly(wire.Event))
	e.POST(flowPath, decodeOnly(wire.HTTPFlow))
	return testbed.Serve(ctx, e, stdin, stdout)
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
