package models

import (
	"errors"
	"fmt"
)

// Code says what kind of failure an Error is. The string is part of the API:
// clients find it under "code" in an error answer.
type Code string

// The codes, with the HTTP status that internal/handlers maps each one to.
const (
	CodeInvalid          Code = "invalid"            // 400: the request is wrong; sending it again will not help
	CodeUnauthorized     Code = "unauthorized"       // 401: no key, or a wrong one
	CodeForbidden        Code = "forbidden"          // 403: understood and refused
	CodeNotFound         Code = "not_found"          // 404
	CodeMethodNotAllowed Code = "method_not_allowed" // 405
	CodeConflict         Code = "conflict"           // 409: true of the request, not of the present state
	CodeTooLarge         Code = "too_large"          // 413: over a configured limit
	CodeUnsupportedMedia Code = "unsupported_media"  // 415: the body is not of a type that is read here
	CodeCannotRun        Code = "cannot_run"         // 422: the agent cannot run a file of this kind
	CodeOverloaded       Code = "overloaded"         // 429: try again after Retry-After
	CodeInternal         Code = "internal"           // 500: a fault of ours
	CodeAgentFailed      Code = "agent_failed"       // 502: the agent is down, or refused
	CodeUnavailable      Code = "unavailable"        // 503: try again after Retry-After
	CodeAgentTimeout     Code = "agent_timeout"      // 504: the agent did not answer in time
)

// Error is the one error type that crosses layers. Message is for the client:
// it holds no SQL, no path of this machine and no secret. Err, when not nil, is
// the cause and goes to the log only.
type Error struct {
	Code    Code
	Message string
	Err     error
}

// Error gives the message and the cause, for the log.
func (e *Error) Error() string {
	if e.Err == nil {
		return e.Message
	}
	return e.Message + ": " + e.Err.Error()
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Errorf makes an Error of the given code. The formatted text is what the
// client reads; a cause is added with Wrap.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// Wrap makes an Error of the given code around a cause that the client does not
// see.
func Wrap(err error, code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...), Err: err}
}

// ErrorCode gives the code of the outermost Error in err's chain, CodeInternal
// when there is none, and "" for nil.
func ErrorCode(err error) Code {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return CodeInternal
}
