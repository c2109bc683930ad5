package service

import "testing"

func TestComparableURL(t *testing.T) {
	t.Parallel()
	const home = "http://localhost:7000"
	for _, same := range []string{"http://localhost:7000/", "http://127.0.0.1:7000", "HTTP://LocalHost:7000//", "http://[::1]:7000", "http://127.9.9.9:7000", "http://[::ffff:127.0.0.1]:7000"} {
		if comparableURL(same) != comparableURL(home) {
			t.Errorf("%s is not %s", same, home)
		}
	}
	for _, other := range []string{"https://localhost:7000", "http://localhost", "http://localhost:7001", "http://localhost:7000/x", "http://192.0.2.7:7000", "http://localhost.example:7000", "%"} {
		if comparableURL(other) == comparableURL(home) {
			t.Errorf("%s is taken for %s", other, home)
		}
	}
	if comparableURL("https://a/b/") != comparableURL("https://A:443/b") {
		t.Error("443 is not the port of https")
	}
}
