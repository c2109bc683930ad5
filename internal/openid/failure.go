package openid

import (
	"errors"
	"fmt"
	"net/http"
	"slices"

	"golang.org/x/oauth2"
)

// Reason is why a person could not sign in. The dashboard has a sentence for each.
type Reason string

// The reasons.
const (
	ReasonDenied   Reason = "denied"   // the provider refused the person or the request
	ReasonNoRole   Reason = "no_role"  // no value of the role claim is in the settings
	ReasonExpired  Reason = "expired"  // the attempt is of another browser, was used, or took too long
	ReasonProvider Reason = "provider" // the provider does not answer, or not as a provider
	ReasonToken    Reason = "token"    // the answer is not for this attempt, or not of this provider
	ReasonFailed   Reason = "failed"   // a fault of the backend
)

// Failure is a sign-in that failed. Its text is for the log, and has no code, token or
// secret.
type Failure struct {
	Reason Reason
	Err    error
}

// Error returns at most some 300 bytes: a provider writes a part of it.
func (f *Failure) Error() string { return fmt.Sprintf("%.300s", f.Err.Error()) }

// Unwrap returns the cause.
func (f *Failure) Unwrap() error { return f.Err }

// Failf returns a Failure.
func Failf(reason Reason, format string, args ...any) *Failure {
	return &Failure{reason, fmt.Errorf(format, args...)}
}

// knownErrors are the errors of a provider that the log may have (RFC 6749, 4.1.2.1 and
// 5.2). Others may repeat what the provider was sent.
var knownErrors = []string{ //nolint:gochecknoglobals // a constant
	"access_denied", "invalid_client", "invalid_grant", "invalid_request", "invalid_scope", "server_error", "temporarily_unavailable",
	"unauthorized_client", "unsupported_grant_type", "unsupported_response_type",
}

// Refused returns the failure of an answer with the parameter error.
func Refused(code string) *Failure {
	if !slices.Contains(knownErrors, code) {
		code = "an unknown error"
	}
	return Failf(ReasonDenied, "the provider answered %s", code)
}

// exchangeFailed returns the failure of an exchange of a code for a token. The body of the
// answer may repeat the code and the client's secret.
func exchangeFailed(err error) *Failure {
	refused, ok := errors.AsType[*oauth2.RetrieveError](err)
	switch {
	case !ok:
		return Failf(ReasonProvider, "the code could not be exchanged: %w", err)
	case refused.Response.StatusCode >= http.StatusInternalServerError:
		return Failf(ReasonProvider, "the provider answered the code with status %d", refused.Response.StatusCode)
	case slices.Contains(knownErrors, refused.ErrorCode):
		return Failf(ReasonToken, "the provider did not accept the code: %s", refused.ErrorCode)
	}
	return Failf(ReasonToken, "the provider did not accept the code, with status %d", refused.Response.StatusCode)
}
