package pin

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestPin checks that a client with a pin reaches the server with that certificate, and no
// other, and that without a pin an unknown authority is refused.
func TestPin(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	sum := sha256.Sum256(server.Certificate().Raw)
	right := hex.EncodeToString(sum[:])
	for name, test := range map[string]struct{ pin, words string }{
		"the right one":  {strings.ToUpper(right[:2]) + ":" + right[2:], ""},
		"another one":    {strings.Repeat("ab", 32), "another backend"},
		"without":        {"", "unknown authority"},
		"too short":      {right[:62], "64 hexadecimal digits"},
		"no hexadecimal": {strings.Repeat("x", 64), "64 hexadecimal digits"},
	} {
		sum, err := Parse(test.pin)
		if err == nil {
			transport := &http.Transport{TLSClientConfig: Config(sum)}
			var response *http.Response
			if response, err = (&http.Client{Transport: transport}).Get(server.URL); err == nil {
				err = response.Body.Close()
			}
			transport.CloseIdleConnections()
		}
		if test.words == "" && err != nil || test.words != "" && (err == nil || !strings.Contains(err.Error(), test.words)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
