package app

import (
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"ospulse/internal/config"
)

// TestDoctorReadsCertificates checks what the doctor says about a certificate that is good,
// expires soon, has expired, and is not trusted.
func TestDoctorReadsCertificates(t *testing.T) {
	t.Parallel()
	server := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	leaf := server.Certificate()
	trusted := x509.NewCertPool()
	trusted.AddCert(leaf)
	for name, tt := range map[string]struct {
		roots *x509.CertPool
		now   time.Time
		want  string
	}{
		"good":    {trusted, leaf.NotAfter.AddDate(0, -2, 0), "ok       tls          PUBLIC_URL: the certificate of 127.0.0.1:"},
		"soon":    {trusted, leaf.NotAfter.AddDate(0, 0, -3), "expires in 3 days"},
		"expired": {trusted, leaf.NotAfter.AddDate(0, 0, 1), "fault    tls          PUBLIC_URL: tls: failed to verify certificate: x509: certificate has expired"},
		"unknown": {x509.NewCertPool(), leaf.NotAfter.AddDate(0, -2, 0), "fault    tls          PUBLIC_URL: tls: failed to verify certificate: x509: certificate signed by unknown authority"},
	} {
		var out strings.Builder
		d := &doctor{cfg: config.Config{PublicURL: config.BaseURL(server.URL)}, roots: tt.roots, now: func() time.Time { return tt.now }, out: &out}
		d.checkCertificates(t.Context())
		if !strings.Contains(out.String(), tt.want) {
			t.Errorf("%s: %s, want %q", name, out.String(), tt.want)
		}
	}
}

// TestDoctorComparesClocks checks that the doctor reports a clock that differs.
func TestDoctorComparesClocks(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	for skew, want := range map[time.Duration]string{
		0: "", time.Second: "", -2 * time.Second: "",
		5 * time.Minute: "that of the agent differs by 5m0s", -time.Hour: "differs by -1h0m0s",
	} {
		var out strings.Builder
		d := &doctor{now: func() time.Time { return now }, out: &out}
		d.compareClock("agent", now.Add(skew))
		if !strings.Contains(out.String(), want) || (want == "") != (out.String() == "") {
			t.Errorf("%s: %q, want %q", skew, out.String(), want)
		}
	}
}
