package config

import "errors"

// maxSecretBytes is the largest key that fits into a header.
const maxSecretBytes = 1024

// Secret is a text that no log shows.
type Secret struct {
	// text is behind a pointer because fmt prints unexported fields as they are: of
	// a pointer it shows the address.
	text *string
}

// Reveal returns the text, to use it; "" if none is set.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// String returns *** for any text; "" if none is set.
func (s Secret) String() string {
	if s.text == nil {
		return ""
	}
	return "***"
}

// MarshalText is String, for JSON and slog.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// key accepts text that a header can carry as a key.
func key(value string) (Secret, error) {
	for i := range len(value) {
		if value[i] <= ' ' || value[i] > '~' {
			return Secret{}, errors.New("a key of letters, digits and signs of ASCII, without blanks")
		}
	}
	if len(value) > maxSecretBytes {
		return Secret{}, errors.New("a key of at most 1024 characters")
	}
	return Secret{&value}, nil
}
