package app

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ospulse/internal/certificate"
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

// TestDoctorReadsTheOwnCertificate checks what the doctor says about the files of TLS_CERT and
// of a self-signed certificate, and that it makes none.
func TestDoctorReadsTheOwnCertificate(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	dir := t.TempDir()
	selfSigned := config.Config{DataDir: dir, TLS: "self-signed"}
	cert, key, err := certificate.SelfSigned(selfSigned.TLSDir(), []string{"localhost"})
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	own := config.Config{TLSCert: cert, TLSKey: key}
	for name, tt := range map[string]struct {
		cfg  config.Config
		left time.Duration
		want string // "" for no line
	}{
		"good":              {own, 31 * day, "ok       tls          TLS_CERT: the certificate of " + cert + " is valid until "},
		"soon":              {own, 29*day + time.Hour, "warning  tls          TLS_CERT: the certificate of " + cert + " expires in 29 days"},
		"expired":           {own, -time.Hour, "fault    tls          TLS_CERT: the certificate of " + cert + " has expired on "},
		"self-signed, soon": {selfSigned, 3*day + time.Hour, "warning  tls          TLS=self-signed: the certificate of " + cert + " expires in 3 days"},
		"not made yet":      {config.Config{DataDir: filepath.Join(dir, "new"), TLS: "self-signed"}, 31 * day, ""},
		"no TLS":            {config.Config{}, 31 * day, ""},
		"a missing file":    {config.Config{TLSCert: cert + "x", TLSKey: key}, 31 * day, "fault    tls          TLS_CERT: open "},
		"no certificate":    {config.Config{TLSCert: key, TLSKey: key}, 31 * day, "fault    tls          TLS_CERT: tls: "},
	} {
		var out strings.Builder
		d := &doctor{cfg: tt.cfg, now: func() time.Time { return pair.Leaf.NotAfter.Add(-tt.left) }, out: &out}
		d.checkCertificates(t.Context())
		if !strings.HasPrefix(out.String(), tt.want) || (tt.want == "") != (out.String() == "") {
			t.Errorf("%s: %q, want %q", name, out.String(), tt.want)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "new")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the doctor made a folder: %v", err)
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
