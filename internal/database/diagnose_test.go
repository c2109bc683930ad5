package database

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

// TestEncryptionWarning checks the modes of sslmode, on this machine and on another one.
func TestEncryptionWarning(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		url       string
		encrypted bool
		want      string // "" for no warning
	}{
		"this machine":         {"postgres://u@localhost/d?sslmode=disable", false, ""},
		"a loopback address":   {"postgres://u@127.0.0.2/d?sslmode=disable", false, ""},
		"a socket":             {"postgres:///d?host=/run/postgresql", false, ""},
		"without encryption":   {"postgres://u@192.0.2.1/d?sslmode=disable", false, "not encrypted"},
		"a server without TLS": {"postgres://u@192.0.2.1/d?sslmode=prefer", false, "not encrypted"},
		"an unknown server":    {"postgres://u@192.0.2.1/d?sslmode=require", true, "not checked"},
		"a known server":       {"postgres://u@192.0.2.1/d?sslmode=verify-full", true, ""},
	} {
		config, err := pgconn.ParseConfig(tt.url)
		if err != nil {
			t.Fatal(err)
		}
		if got := encryptionWarning(config, tt.encrypted); (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}
