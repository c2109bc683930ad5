// Package pin makes a TLS client accept one certificate: a self-signed backend has no
// authority that vouches for it.
package pin

import (
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// Parse reads the SHA-256 of a certificate in hexadecimal, with or without colons. The
// result is nil for "".
func Parse(text string) ([]byte, error) {
	if text == "" {
		return nil, nil
	}
	sum, err := hex.DecodeString(strings.ReplaceAll(text, ":", ""))
	if err != nil || len(sum) != sha256.Size {
		return nil, errors.New("must be the SHA-256 of the backend's certificate: 64 hexadecimal digits, as the backend's log shows it (certificate_sha256)")
	}
	return sum, nil
}

// Config returns the settings of a client that accepts only the server certificate with the
// SHA-256, whatever its names and dates are. It returns nil, the default settings, for nil.
func Config(sum []byte) *tls.Config {
	if sum == nil {
		return nil
	}
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: true, //nolint:gosec // VerifyConnection checks the certificate itself
		VerifyConnection: func(state tls.ConnectionState) error {
			got := sha256.Sum256(state.PeerCertificates[0].Raw)
			if subtle.ConstantTimeCompare(got[:], sum) != 1 {
				return fmt.Errorf("the backend's certificate has the SHA-256 %x, not that of --backend-fingerprint: it is another backend, or has a new certificate", got)
			}
			return nil
		},
	}
}
