package handlers

import (
	"context"
	"errors"
	"log/slog"
	"net/http"

	"github.com/labstack/echo/v5"

	"ospulse/internal/models"
	"ospulse/internal/sigma"
)

// retryAfter is the Retry-After header in seconds, for requests that may succeed later.
const retryAfter = "2"

// statusClientGone is logged if the client has gone before the answer, as in nginx.
const statusClientGone = 499

// errorBody is the body of every error answer. Existing clients read Error as a string.
type errorBody struct {
	Error string      `json:"error"`
	Code  models.Code `json:"code"`
	*ruleFault
}

// ruleFault is what is wrong with a rule, and where in its text.
type ruleFault struct {
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
	Reason string `json:"reason"`
}

// StatusOf maps each code to its HTTP status.
func StatusOf(code models.Code) int {
	switch code {
	case models.CodeInvalid:
		return http.StatusBadRequest
	case models.CodeUnauthorized:
		return http.StatusUnauthorized
	case models.CodeForbidden:
		return http.StatusForbidden
	case models.CodeNotFound:
		return http.StatusNotFound
	case models.CodeMethodNotAllowed:
		return http.StatusMethodNotAllowed
	case models.CodeConflict:
		return http.StatusConflict
	case models.CodeTooLarge:
		return http.StatusRequestEntityTooLarge
	case models.CodeUnsupportedMedia:
		return http.StatusUnsupportedMediaType
	case models.CodeCannotRun:
		return http.StatusUnprocessableEntity
	case models.CodeOverloaded:
		return http.StatusTooManyRequests
	case models.CodeAgentFailed:
		return http.StatusBadGateway
	case models.CodeUnavailable:
		return http.StatusServiceUnavailable
	case models.CodeAgentTimeout:
		return http.StatusGatewayTimeout
	default:
		return http.StatusInternalServerError
	}
}

// clientError returns an error of any layer in the form that the client may see.
func clientError(c *echo.Context, err error) *models.Error {
	if e, ok := errors.AsType[*models.Error](err); ok {
		return e
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return models.Wrap(err, models.CodeTooLarge, "the request's body is too large")
	}
	if errors.Is(err, context.Canceled) { // the client is still there
		return models.Wrap(err, models.CodeUnavailable, "the request was cut off; try again")
	}
	request := c.Request()
	switch echo.StatusCode(err) {
	case http.StatusNotFound:
		return models.Wrap(err, models.CodeNotFound, "there is no %.200s", request.URL.Path)
	case http.StatusMethodNotAllowed:
		return models.Wrap(err, models.CodeMethodNotAllowed, "%.200s does not take %.20s", request.URL.Path, request.Method)
	}
	return models.Wrap(err, models.CodeInternal, "the request failed for a reason that is in the backend's log")
}

// handleError answers errors. Only it maps codes to statuses.
func handleError(log *slog.Logger) echo.HTTPErrorHandler {
	return func(c *echo.Context, err error) {
		if response, _ := echo.UnwrapResponse(c.Response()); response != nil && response.Committed {
			if errors.Is(err, errBrokenOff) {
				log.Warn("an answer broke off", "id", requestID(c), "error", err)
			}
			return // the answer has begun
		}
		if errors.Is(err, context.Canceled) && c.Request().Context().Err() != nil {
			_ = c.NoContent(statusClientGone) // for the log only
			return
		}
		e := clientError(c, err)
		status := StatusOf(e.Code)
		if status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable {
			c.Response().Header().Set("Retry-After", retryAfter)
		}
		if status >= http.StatusInternalServerError {
			level := slog.LevelError
			if e.Code != models.CodeInternal { // the agent's or the database's fault
				level = slog.LevelWarn
			}
			log.Log(c.Request().Context(), level, "request failed", "id", requestID(c), "code", e.Code, "error", err)
		}
		drain(c)
		body := errorBody{Error: e.Message, Code: e.Code}
		if fault, ok := errors.AsType[*sigma.Error](e.Err); ok {
			body.ruleFault = &ruleFault{fault.Line, fault.Column, fault.Text}
		}
		if err := c.JSON(status, body); err != nil {
			log.Debug("an error answer was not read", "id", requestID(c), "error", err)
		}
	}
}
