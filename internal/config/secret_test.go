package config_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ospulse/internal/config"
)

// renderings returns, by name, every form in which a value may appear in a log.
func renderings(value any) map[string]string {
	out := map[string]string{}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%p", "%t"} {
		out[verb] = fmt.Sprintf(verb, value)
	}
	var text, asJSON bytes.Buffer
	slog.New(slog.NewTextHandler(&text, nil)).Info("start", "value", value)
	slog.New(slog.NewJSONHandler(&asJSON, nil)).Info("start", "value", value)
	marshalled, err := json.Marshal(value)
	out["slog text"], out["slog JSON"] = text.String(), asJSON.String()
	out["JSON"] = fmt.Sprint(string(marshalled), err)
	return out
}

// hides fails the test if any rendering of any value contains the secret, literally or
// in hexadecimal.
func hides(t *testing.T, secret string, values ...any) {
	t.Helper()
	for _, value := range values {
		for way, text := range renderings(value) {
			if strings.Contains(text, secret) || strings.Contains(text, fmt.Sprintf("%x", secret)) {
				t.Errorf("%s of a %T shows the password: %s", way, value, text)
			}
		}
	}
}

// inside holds a Config in an unexported field, where fmt cannot call its methods.
type inside struct{ private config.Config }

func TestPasswordIsHidden(t *testing.T) {
	for name, password := range map[string]string{
		"plain":               "hunter2",
		"with all that hurts": "hun@te/r?2:%#&",
	} {
		encoded := url.QueryEscape(password)
		for place, databaseURL := range map[string]string{
			"before the host": "postgres://jane:" + encoded + "@h1:5432,h2/db?sslmode=disable",
			"as an option":    "postgres://h1:5432,h2/db?user=jane&pass%77ord=" + encoded,
		} {
			t.Run(name+" "+place, func(t *testing.T) {
				c := load(t, env{"DATABASE_URL": databaseURL})
				if got := c.DatabaseURL.Reveal(); got != databaseURL {
					t.Errorf("Reveal() = %s", got)
				}
				for _, secret := range []string{password, encoded} {
					hides(t, secret, c, &c, c.DatabaseURL, inside{c}, struct{ Public config.Config }{c})
				}
				for _, way := range []string{"%v", "%+v", "%#v", "slog text", "slog JSON", "JSON"} {
					for _, value := range []any{c, c.DatabaseURL} {
						if text := renderings(value)[way]; !strings.Contains(text, "h1:5432,h2/db?***") {
							t.Errorf("%s of a %T does not show the place: %s", way, value, text)
						}
					}
				}
				if got, want := fmt.Sprintf("%#v", c), c.String(); got != want {
					t.Errorf("%%#v shows %s, want %s", got, want)
				}
			})
		}
	}
}

func TestPasswordIsHiddenInFaults(t *testing.T) {
	const secret = "hunter2"
	for _, value := range []string{
		"postgres://jane:" + secret + "@h:port/db",
		"postgres://jane:" + secret + "%@h/db",
		"postgres://jane:" + secret + "@h/db?sslmode=maybe",
		"postgres://jane:" + secret + "@" + secret + "@h/db",
		"postgres://jane:" + secret + "/" + secret + "@h/db",
		"postgres://jane:1/" + secret + "@h/db",
		"postgres://jane:1?x=" + secret + "/y@h/db",
		"postgres://jane:" + secret,
		"postgres://h/db?sslmode=maybe&password=" + secret,
		"postgres:/jane:" + secret + "@h/db",
		"user=jane password=" + secret,
		secret,
	} {
		_, err := config.Load(env{"DATABASE_URL": value}.get, "")
		if err == nil {
			t.Errorf("%s is taken", value)
			continue
		}
		hides(t, secret, err)
	}
}

func TestKeyIsHidden(t *testing.T) {
	const secret = "hunter2-hunter2"
	c := load(t, env{"AGENT_API_KEY": " " + secret + "\n"})
	if got := c.AgentKey.Reveal(); got != secret {
		t.Errorf("Reveal() = %s", got)
	}
	hides(t, secret, c, &c, c.AgentKey, inside{c}, struct{ Public config.Config }{c})
	if got := load(t, env{}).AgentKey; got.Reveal() != "" || got.String() != "" || c.AgentKey.String() != "***" {
		t.Errorf("no key is %q, shown as %q; a key is shown as %q", got.Reveal(), got, c.AgentKey)
	}
	for _, value := range []string{secret + " " + secret, secret + "\r\nX: y" + secret, "\u00e9" + secret, strings.Repeat(secret, 100)} {
		_, err := config.Load(env{"AGENT_API_KEY": value}.get, "")
		if err == nil {
			t.Errorf("%q is taken", value)
			continue
		}
		hides(t, secret, err)
	}
}

// TestWebhookURLIsHidden checks that nothing shows the path of a webhook, which is often a
// secret.
func TestWebhookURLIsHidden(t *testing.T) {
	const secret = "hunter2-hunter2"
	const value = "https://Hooks.example:8443/services/T0/" + secret + "?key=" + secret
	c := load(t, env{"WEBHOOK_URL": value, "WEBHOOK_SECRET": secret})
	if c.WebhookURL.Reveal() != value || c.WebhookURL.String() != "https://hooks.example:8443/***" || c.WebhookSecret.Reveal() != secret {
		t.Errorf("%s is shown as %s", c.WebhookURL.Reveal(), c.WebhookURL)
	}
	for _, text := range []string{c.String(), fmt.Sprintf("%+v", c), fmt.Sprintf("%#v", c)} {
		if strings.Contains(text, secret) {
			t.Error("the configuration shows the secret: ", text)
		}
	}
	if _, err := config.Load(env{"WEBHOOK_URL": value}.get, ""); err == nil || !strings.HasPrefix(err.Error(), "WEBHOOK_SECRET: ") {
		t.Errorf("without a secret: %v", err)
	}
}

func TestDatabaseURLIsShown(t *testing.T) {
	for value, want := range map[string]string{
		"":                                "",
		"postgres://u:p@h1:1,h2:2/db?a=b": "postgres://u:***@h1:1,h2:2/db?***",
		"postgres://u:p:q?r@h":            "postgres://u:***@h",
		"postgres://u@h/db":               "postgres://u@h/db",
		"postgresql:///db?host=/run/x":    "postgresql:///db?***",
		"postgres://[::1]:5432/db":        "postgres://[::1]:5432/db",
	} {
		got := load(t, env{"DATABASE_URL": value}).DatabaseURL
		if got.String() != want || got.Reveal() != value {
			t.Errorf("%s is shown as %s, want %s; revealed as %s", value, got, want, got.Reveal())
		}
	}
}

// FuzzLoad checks that Load does not panic, and that a password after the first colon
// that follows the scheme never appears in its results.
func FuzzLoad(f *testing.F) {
	f.Add("postgres", "jane", "", "", "h1:5432,h2:5432/db?sslmode=disable", "127.0.0.1", "http://localhost:5173,*", "8s", "PORT=1\n")
	f.Add("postgresql", "", "%40", "@", "h", "::1", "https://a", "9.5s", "export A='1\r\n2' # c\r\n")
	f.Add("postgres", "a/b", "1/", "?x=", "h:1/db", "[::1]", "", "-1", "\uFEFFA=\"")
	path := filepath.Join(f.TempDir(), ".env")
	f.Fuzz(func(t *testing.T, scheme, user, before, after, place, host, list, number, dotenv string) {
		const secret = "hunter2"
		if strings.Contains(user+scheme+place+host+list+number+dotenv, secret) {
			return // appears elsewhere, too
		}
		if err := os.WriteFile(path, []byte(dotenv), 0o600); err != nil {
			t.Fatal(err)
		}
		databaseURL := scheme + "://" + user + ":" + before + secret + after + "@" + place
		_, err := config.Load(env{
			"DATABASE_URL": databaseURL, "AGENT_SERVICE_URL": databaseURL, "HOST": host,
			"CORS_ORIGINS": list, "ALLOWED_HOSTS": list, "LOG_LEVEL": list,
			"PORT": number, "AGENT_TIMEOUT": number, "OSPULSE_INSECURE": number,
		}.get, path)
		if err == nil {
			t.Fatal("a database URL is taken for an agent's")
		}
		hides(t, secret, err)

		c, err := config.Load(env{"DATABASE_URL": databaseURL}.get, "")
		hides(t, secret, c, err, inside{c})
		if err == nil && c.DatabaseURL.Reveal() != strings.TrimSpace(databaseURL) {
			t.Errorf("%q became %q", databaseURL, c.DatabaseURL.Reveal())
		}
	})
}
