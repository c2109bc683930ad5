package handlers

import (
	"context"
	"net/http"
	"slices"

	"github.com/labstack/echo/v5"
)

// ReadLimiter limits slow reads. *service.Reads implements it and documents its
// contract.
type ReadLimiter interface {
	Do(ctx context.Context, read func(ctx context.Context, done func()) error) error
}

// Gate bounds the concurrent requests of a kind. *service.Gate implements it and
// documents its contract.
type Gate interface {
	Enter(ctx context.Context) (leave func(), err error)
}

// limitReads limits a route's requests: all, or those with any of some query
// parameters. The read ends when its answer begins, so a slow client does not block
// other reads.
func limitReads(reads ReadLimiter, params ...string) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c *echo.Context) error {
			isGiven := func(name string) bool { return c.QueryParam(name) != "" }
			if len(params) > 0 && !slices.ContainsFunc(params, isGiven) {
				return next(c)
			}
			request, response := c.Request(), c.Response()
			defer c.SetRequest(request)
			defer c.SetResponse(response)
			return reads.Do(request.Context(), func(ctx context.Context, done func()) error {
				c.SetRequest(request.WithContext(ctx))
				c.SetResponse(&doneWhenAnswered{response, done})
				return next(c)
			})
		}
	}
}

// doneWhenAnswered calls done when the answer begins.
type doneWhenAnswered struct {
	http.ResponseWriter
	done func()
}

func (w *doneWhenAnswered) WriteHeader(status int) {
	w.done()
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap serves http.ResponseController.
func (w *doneWhenAnswered) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// enter makes each request of a route enter a gate and leave it at its end.
func enter(gate Gate) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c *echo.Context) error {
			leave, err := gate.Enter(c.Request().Context())
			if err != nil {
				return err
			}
			defer leave()
			return next(c)
		}
	}
}
