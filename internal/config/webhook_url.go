package config

import (
	"errors"
	"net/url"
)

// WebhookURL is an http or https URL, whose path or query is often a secret: printed, logged
// or marshalled it reads https://host/***. The zero value means that none is set.
type WebhookURL struct {
	raw   *string // as in Secret
	shown string
}

// Reveal returns the whole URL; "" if none is set.
func (u WebhookURL) Reveal() string {
	if u.raw == nil {
		return ""
	}
	return *u.raw
}

// String returns the URL without its path and query; "" if none is set.
func (u WebhookURL) String() string { return u.shown }

// MarshalText is String, for JSON and slog.
func (u WebhookURL) MarshalText() ([]byte, error) { return []byte(u.shown), nil }

// webhookURL returns a URL as in WebhookURL.
func webhookURL(value string) (WebhookURL, error) {
	u, err := url.Parse(value)
	if err == nil && u.User == nil && u.Fragment == "" {
		if base, ok := webURL(u.Scheme + "://" + u.Host); ok {
			return WebhookURL{&value, base.String() + "/***"}, nil
		}
	}
	return WebhookURL{}, errors.New("a URL such as https://example.com/hook: http or https, a host, no user or password, nothing after #")
}
