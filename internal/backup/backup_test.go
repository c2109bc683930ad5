package backup_test

import (
	"bytes"
	"errors"
	"log/slog"
	"testing"
	"time"

	"ospulse/internal/backup"
	"ospulse/test/dbtest"
)

var quiet = slog.New(slog.DiscardHandler) //nolint:gochecknoglobals // a constant

// TestDamageIsFound checks that a backup with any damaged byte, any part of a backup, and
// one with more bytes are refused.
func TestDamageIsFound(t *testing.T) {
	var out bytes.Buffer
	if _, err := backup.Create(t.Context(), &out, dbtest.Open(t, dbtest.SQLite(t)), nil, "test", time.Now(), quiet); err != nil {
		t.Fatal(err)
	}
	file := out.Bytes()
	verify := func(file []byte) error {
		_, err := backup.Verify(t.Context(), bytes.NewReader(file), quiet)
		return err
	}
	if err := verify(file); err != nil {
		t.Fatal(err)
	}
	for i := range file {
		for _, bit := range []byte{1, 1 << (i % 8), 128} {
			file[i] ^= bit
			if err := verify(file); !errors.Is(err, backup.ErrDamaged) {
				t.Fatalf("byte %d of %d is damaged, and Verify returns %v", i, len(file), err)
			}
			file[i] ^= bit
		}
		if err := verify(file[:i]); !errors.Is(err, backup.ErrDamaged) {
			t.Fatalf("%d of %d bytes: %v", i, len(file), err)
		}
	}
	for name, other := range map[string][]byte{"another byte": append(bytes.Clone(file), 0), "itself again": append(bytes.Clone(file), file...)} {
		if err := verify(other); err == nil {
			t.Errorf("%s at the end is not found", name)
		}
	}
}
