package openid

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"strings"
)

// Attempt is one try of a browser to sign in. Its cookie holds the secret from which the
// state, the nonce and the verifier of PKCE are derived, so a provider's answer fits one
// browser only. The zero Attempt fits no answer.
type Attempt struct {
	Secret string
	To     string // the path of the dashboard that the browser wants
}

// secretLength is the length of a secret, of 130 bits.
const secretLength = 26

// NewAttempt returns an attempt with a new secret.
func NewAttempt(to string) Attempt { return Attempt{rand.Text(), to} }

// ParseAttempt returns the attempt with a text of String. The browser may have forged it:
// the caller must check To. It returns the zero Attempt for another text.
func ParseAttempt(text string) Attempt {
	secret, encoded, _ := strings.Cut(text, ".")
	to, err := base64.RawURLEncoding.DecodeString(encoded)
	if err != nil || len(secret) != secretLength {
		return Attempt{}
	}
	return Attempt{secret, string(to)}
}

// String returns the attempt as a value of a cookie.
func (a Attempt) String() string {
	return a.Secret + "." + base64.RawURLEncoding.EncodeToString([]byte(a.To))
}

// Fits reports whether the state of an answer is that of this attempt.
func (a Attempt) Fits(state string) bool { return a.Secret != "" && state == a.derive("state") }

// derive returns a text of 43 letters, digits, - and _, as PKCE wants (RFC 7636, 4.1). It
// reveals neither the secret nor what is derived for another use.
func (a Attempt) derive(use string) string {
	sum := sha256.Sum256([]byte(use + " " + a.Secret))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
