package models_test

import (
	"testing"

	"ospulse/internal/models"
)

func TestTargets(t *testing.T) {
	for _, tt := range []struct{ eventType, target, host, extension string }{
		{models.TypeFile, `C:\Users\me\Invoice.PDF.exe`, "", "exe"},
		{models.TypeFile, "/home/me/archive.tar.gz", "", "gz"},
		{models.TypeFile, "/home/me/.bashrc", "", ""},
		{models.TypeFile, "/a.b/c", "", ""},
		{models.TypeFile, "a.", "", ""},
		{models.TypeFile, "what.a long name with no extension", "", ""},
		{models.TypeHTTP, "https://Example.COM:8443/a/b.PHP?x=1.y", "example.com", "php"},
		{models.TypeHTTP, "http://[::1]:80/", "::1", ""},
		{models.TypeHTTP, "http://%zz/", "", ""},
		{models.TypePacket, "10.0.0.5:443", "10.0.0.5", ""},
		{models.TypePacket, "[fe80::1]:53", "fe80::1", ""},
		{models.TypePacket, "fe80::1", "fe80::1", ""},
		{models.TypeNetwork, "127.0.0.1:1", "127.0.0.1", ""},
		{models.TypeNetwork, "/run/a.sock", "", "sock"},
		{models.TypeNetwork, "@name", "", ""},
	} {
		if host, extension := models.TargetHost(tt.eventType, tt.target), models.TargetExtension(tt.eventType, tt.target); host != tt.host || extension != tt.extension {
			t.Errorf("%s %s: host %q, extension %q, want %q, %q", tt.eventType, tt.target, host, extension, tt.host, tt.extension)
		}
	}
}
