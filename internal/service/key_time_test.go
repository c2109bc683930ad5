package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"ospulse/internal/models"
)

// fixedKeys is a repository whose keys do not change. It finds no others.
type fixedKeys struct {
	KeyRepository
	keys    []models.APIKey
	signIns []models.SignIn
	loads   int
}

var errNoSuch = models.Errorf(models.CodeNotFound, "there is none")

func (r *fixedKeys) Exist(context.Context) (bool, error) { return true, nil }

func (r *fixedKeys) Valid(context.Context, time.Time) ([]models.APIKey, error) {
	r.loads++
	return r.keys, nil
}

func (r *fixedKeys) SignIns(context.Context, time.Time) ([]models.SignIn, error) {
	return r.signIns, nil
}

func (r *fixedKeys) FindByHash(context.Context, string, time.Time) (*models.APIKey, error) {
	return nil, errNoSuch
}

func (r *fixedKeys) FindSignIn(context.Context, string, time.Time) (*models.SignIn, error) {
	return nil, errNoSuch
}

// TestTimeOfAWrongKey checks that the time until a wrong key or token is refused does not
// tell how much of it is right. All valid keys and tokens are as near to the guess as can be:
// the keys begin as it does, and the hashes differ from its hash in the last byte only. A
// loop that compares the bytes of each in turn takes many times as long for this guess as for
// one of which nothing is right; a hash and a lookup take the same. The calls alternate at
// random, and the medians ignore those that the machine interrupts.
func TestTimeOfAWrongKey(t *testing.T) {
	const calls = 2000 // of each guess
	now := time.Now()
	right, wrong := keyPrefix+strings.Repeat("A", 26), keyPrefix+strings.Repeat("7", 26)
	for name, credential := range map[string]func(text string) Credential{
		"key":   func(text string) Credential { return Credential{Key: text} },
		"token": func(text string) Credential { return Credential{Token: text} },
	} {
		stored := &fixedKeys{}
		near := func(i int) string { return hashed(right)[:60] + fmt.Sprintf("%04x", i) }
		for i := range models.MaxKeys {
			stored.keys = append(stored.keys, models.APIKey{ID: fmt.Sprint(i), Hash: near(i), Prefix: right[:shownOfKey], Role: models.RoleViewer})
			stored.signIns = append(stored.signIns, models.SignIn{Hash: near(i), KeyID: fmt.Sprint(i), ExpiresAt: now.Add(time.Hour)})
		}
		keys := NewKeys(stored, nil, KeyPolicy{}, func() time.Time { return now }, slog.New(slog.DiscardHandler))
		if err := keys.Load(t.Context()); err != nil {
			t.Fatal(err)
		}
		took := map[string][]time.Duration{}
		for range 2 * calls {
			guess := right
			if rand.IntN(2) == 0 {
				guess = wrong
			}
			shown := credential(guess)
			keys.strikes = strikes{} // otherwise the address soon waits
			began := time.Now()
			_, _, err := keys.Identify(t.Context(), shown, netip.Addr{})
			took[guess] = append(took[guess], time.Since(began))
			if !errors.Is(err, errWrongKey) {
				t.Fatal(err)
			}
		}
		median := func(guess string) time.Duration {
			slices.Sort(took[guess])
			return took[guess][len(took[guess])/2]
		}
		if nearly, far := median(right), median(wrong); nearly > 2*far || far > 2*nearly {
			t.Errorf("%s: a guess that is nearly right takes %s, and another one %s", name, nearly, far)
		}
		if stored.loads != 1 {
			t.Errorf("%s: a wrong guess reads all keys again", name)
		}
	}
}
