package service_test

import (
	"context"
	"log/slog"
	"net/netip"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ospulse/internal/database"
	"ospulse/internal/models"
	"ospulse/internal/repository"
	"ospulse/internal/service"
	"ospulse/test/dbtest"
)

// countedKeys notes which reads there were.
type countedKeys struct {
	*repository.Keys
	reads []string
}

func (r *countedKeys) Valid(ctx context.Context, at time.Time) ([]models.APIKey, error) {
	r.reads = append(r.reads, "all keys")
	return r.Keys.Valid(ctx, at)
}

func (r *countedKeys) FindByHash(ctx context.Context, hash string, at time.Time) (*models.APIKey, error) {
	r.reads = append(r.reads, "one")
	return r.Keys.FindByHash(ctx, hash, at)
}

func (r *countedKeys) FindSignIn(ctx context.Context, hash string, at time.Time) (*models.SignIn, error) {
	r.reads = append(r.reads, "one")
	return r.Keys.FindSignIn(ctx, hash, at)
}

// TestWrongKeysAreAlike checks that a key or token that was revoked or has expired gets the
// same answer as one that never existed, after the same work, so that the time of the answer
// does not tell them apart. Names are no part of a credential.
func TestWrongKeysAreAlike(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		now := time.Now()
		stored := &countedKeys{Keys: repository.NewKeys(db)}
		keys := service.NewKeys(stored, repository.NewAgents(db), service.KeyPolicy{}, func() time.Time { return now }, slog.New(slog.DiscardHandler))
		var address netip.Addr
		create := func(role models.Role, expires *time.Time) (id, key string) {
			t.Helper()
			row, key, err := keys.Create(t.Context(), models.Actor{}, service.NewKey{Name: "x", Role: role, ExpiresAt: expires})
			if err != nil {
				t.Fatal(err)
			}
			return row.ID, key
		}
		signIn := func(key string) string {
			t.Helper()
			token, _, _, err := keys.SignIn(t.Context(), key, address)
			if err != nil {
				t.Fatal(err)
			}
			return token
		}
		if err := keys.Load(t.Context()); err != nil {
			t.Fatal(err)
		}
		_, admin := create(models.RoleAdmin, nil)
		revokedID, revoked := create(models.RoleViewer, nil)
		_, expired := create(models.RoleViewer, new(now.Add(time.Minute)))
		revokedToken, expiredToken, tokenOfExpired := signIn(revoked), signIn(admin), signIn(expired)
		if _, err := keys.Revoke(t.Context(), revokedID); err != nil {
			t.Fatal(err)
		}
		now = now.Add(time.Hour)
		var want string
		for i, shown := range []service.Credential{
			{Key: "osp_AAAAAAAAAAAAAAAAAAAAAAAAAA"}, {Key: admin[:len(admin)-1] + "x"}, {Key: revoked}, {Key: expired},
			{Token: "AAAAAAAAAAAAAAAAAAAAAAAAAA"}, {Token: revokedToken}, {Token: tokenOfExpired}, {Token: expiredToken},
		} {
			if shown.Token == expiredToken {
				now = now.Add(24 * time.Hour)
			}
			stored.reads = nil
			address = netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}) // an address waits after some wrong keys
			_, _, err := keys.Identify(t.Context(), shown, address)
			if i == 0 {
				want = err.Error()
			}
			if models.ErrorCode(err) != models.CodeUnauthorized || err.Error() != want || !reflect.DeepEqual(stored.reads, []string{"one"}) {
				t.Errorf("%d: %v after reading %q", i, err, stored.reads)
			}
		}
		if _, _, err := keys.Identify(t.Context(), service.Credential{Key: admin}, address); err != nil {
			t.Error(err)
		}
	})
}

// TestKeysAtOnce checks keys that many goroutines use, create, revoke and read at once: a
// key is accepted from its creation to its revocation and never after that, its context ends,
// and one of many gets the first key of the setup link.
func TestKeysAtOnce(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		keys := service.NewKeys(repository.NewKeys(db), repository.NewAgents(db), service.KeyPolicy{Always: true}, time.Now, slog.New(slog.DiscardHandler))
		if err := keys.Load(t.Context()); err != nil {
			t.Fatal(err)
		}
		link := keys.OfferSetup()
		ctx, cancel := context.WithCancel(t.Context())
		var beside, all sync.WaitGroup
		beside.Go(func() { keys.Run(ctx) })
		for range 4 {
			beside.Go(func() {
				for ctx.Err() == nil {
					if err := keys.Load(ctx); err != nil && ctx.Err() == nil {
						t.Error(err)
					}
					if _, err := keys.List(ctx); err != nil && ctx.Err() == nil {
						t.Error(err)
					}
				}
			})
		}
		var first atomic.Int64
		for range 8 {
			all.Go(func() {
				if _, _, err := keys.Setup(ctx, link, "Ada", netip.Addr{}, func() error { return nil }); err == nil {
					first.Add(1)
				}
			})
		}
		all.Wait()
		if first.Load() != 1 {
			t.Errorf("the link works %d times", first.Load())
		}
		for i := range 8 {
			all.Go(func() {
				address := netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})
				row, key, err := keys.Create(ctx, models.Actor{}, service.NewKey{Name: "x", Role: models.RoleViewer})
				if err != nil {
					t.Error(err)
					return
				}
				token, _, _, err := keys.SignIn(ctx, key, address)
				if err != nil {
					t.Error(err)
					return
				}
				shown := []service.Credential{{Key: key}, {Token: token}}
				var valid []context.Context
				for range 100 {
					for _, s := range shown {
						actor, ends, err := keys.Identify(ctx, s, address)
						if err != nil || actor.KeyID != row.ID || ends.Err() != nil {
							t.Errorf("%+v, %v, want %s", actor, err, row.ID)
							return
						}
						valid = append(valid, ends)
					}
				}
				if _, err := keys.Revoke(ctx, row.ID); err != nil {
					t.Error(err)
				}
				for range 200 {
					for _, s := range shown {
						if _, _, err := keys.Identify(ctx, s, address); err == nil {
							t.Error("the revoked key is accepted")
							return
						}
					}
				}
				for _, ends := range valid {
					if ends.Err() == nil {
						t.Error("a request of the revoked key does not end")
						return
					}
				}
			})
		}
		all.Wait()
		cancel()
		beside.Wait()
	})
}
