package models

import (
	"errors"
	"fmt"
)

// Code is the kind of an Error. The string is part of the API: error answers have it as
// "code".
type Code string

// The codes, with the HTTP status that internal/handlers maps each one to.
const (
	CodeInvalid          Code = "invalid"            // 400: the request is wrong; a retry does not help
	CodeUnauthorized     Code = "unauthorized"       // 401: no key, or a wrong one
	CodeForbidden        Code = "forbidden"          // 403: the request is not allowed
	CodeNotFound         Code = "not_found"          // 404
	CodeMethodNotAllowed Code = "method_not_allowed" // 405
	CodeConflict         Code = "conflict"           // 409: the request does not fit the present state
	CodeTooLarge         Code = "too_large"          // 413: larger than a configured limit
	CodeUnsupportedMedia Code = "unsupported_media"  // 415: the route does not accept the type of the body
	CodeCannotRun        Code = "cannot_run"         // 422: the agent cannot run a file of this kind
	CodeOverloaded       Code = "overloaded"         // 429: try again after Retry-After
	CodeInternal         Code = "internal"           // 500: a fault of the backend
	CodeAgentFailed      Code = "agent_failed"       // 502: the agent is down, or refused the request
	CodeUnavailable      Code = "unavailable"        // 503: try again after Retry-After
	CodeAgentTimeout     Code = "agent_timeout"      // 504: the agent did not answer in time
)

// Error is the one error type that crosses layers. Message is for the client and holds
// no SQL, no path of this machine and no secret. Err, when not nil, is the cause; it
// goes to the log only.
type Error struct {
	Code    Code
	Message string
	Err     error
}

// Error returns the message and the cause, for the log.
func (e *Error) Error() string {
	if e.Err == nil {
		return e.Message
	}
	return e.Message + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Errorf returns an Error without a cause. The client sees the formatted text.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// Wrap returns an Error with a cause. The client sees only the formatted text.
func Wrap(err error, code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...), Err: err}
}

// ErrorCode returns the code of the outermost Error in err's chain, CodeInternal if
// there is none, and "" for nil.
func ErrorCode(err error) Code {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return CodeInternal
}
