// Package certificate gives a TLS server its certificate: one from files, which it reads
// again when they change, or one that it makes. It must not know what is served.
package certificate

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// checkInterval is the time between two looks at the files.
const checkInterval = 2 * time.Second

// Files is the certificate of two files. It is safe for concurrent use.
type Files struct {
	cert, key string
	log       *slog.Logger

	mu      sync.Mutex
	now     *tls.Certificate
	state   [2]fileState
	checked time.Time
}

// fileState tells whether a file has changed.
type fileState struct {
	modified time.Time
	size     int64
}

// Open reads a certificate chain and its key from PEM files.
func Open(cert, key string, log *slog.Logger) (*Files, error) {
	f := &Files{cert: cert, key: key, log: log}
	state, err := f.stat()
	if err != nil {
		return nil, err
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, err
	}
	f.now, f.state, f.checked = &pair, state, time.Now()
	return f, nil
}

func (f *Files) stat() (state [2]fileState, err error) {
	for i, name := range [...]string{f.cert, f.key} {
		info, err := os.Stat(name)
		if err != nil {
			return state, err
		}
		state[i] = fileState{info.ModTime(), info.Size()}
	}
	return state, nil
}

// Get returns the certificate, for tls.Config.GetCertificate. It reads files that have
// changed. While they are faulty, it returns the last certificate and logs why.
func (f *Files) Get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if time.Since(f.checked) < checkInterval {
		return f.now, nil
	}
	f.checked = time.Now()
	state, err := f.stat()
	if err == nil && state == f.state {
		return f.now, nil
	}
	if err == nil {
		f.state = state // a faulty file is reported once
		var pair tls.Certificate
		if pair, err = tls.LoadX509KeyPair(f.cert, f.key); err == nil {
			f.now = &pair
			f.log.Info("the certificate was read again", "sha256", fingerprint(f.now))
			return f.now, nil
		}
	}
	f.log.Error("the changed certificate cannot be used; the last one stays (TLS_CERT, TLS_KEY)", "error", err)
	return f.now, nil
}

// Fingerprint returns the SHA-256 of the server's own certificate, in hexadecimal, by which
// clients can pin it.
func (f *Files) Fingerprint() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return fingerprint(f.now)
}

func fingerprint(c *tls.Certificate) string {
	sum := sha256.Sum256(c.Certificate[0])
	return hex.EncodeToString(sum[:])
}

// lasts is how long a self-signed certificate is valid. Clients pin it, so it is made once.
const lasts = 10 * 365 * 24 * time.Hour

// Names returns the names of the files of a self-signed certificate in a folder.
func Names(dir string) (cert, key string) {
	return filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
}

// SelfSigned returns the Names in a folder. If the folder has no certificate, it makes one
// for the hosts.
func SelfSigned(dir string, hosts []string) (cert, key string, err error) {
	cert, key = Names(dir)
	_, certErr := os.Stat(cert)
	_, keyErr := os.Stat(key)
	if err := errors.Join(certErr, keyErr); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return cert, key, err
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return "", "", err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "OS-Pulse"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(lasts),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true,
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	signed, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		return "", "", err
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return "", "", err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", "", err
	}
	err = errors.Join(
		os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded}), 0o600),
		os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: signed}), 0o600))
	if err != nil {
		return "", "", fmt.Errorf("store the certificate: %w", err)
	}
	return cert, key, nil
}
