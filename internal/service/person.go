package service

import (
	"cmp"
	"context"
	"crypto/rand"
	"net/netip"
	"slices"
	"strings"
	"time"

	"ospulse/internal/models"
)

// isPersons reports whether a sign-in is that of a person who may sign in here. Sign-ins of
// another issuer end when the setting changes.
func (s *Keys) isPersons(signIn *models.SignIn) bool {
	return signIn.Person.Issuer != "" && signIn.Person.Issuer == s.policy.Issuer
}

func newPersonActor(p *models.Person) models.Actor {
	return models.Actor{KeyID: p.ID(), Name: p.Name, Role: p.Role}
}

// SignInPerson returns a token for the cookie of a browser at which the provider identified
// a person, and when it expires. attempt is the secret of the browser's attempt. The name
// and the role count in all browsers of the person. It returns conflict for an attempt that
// signed somebody in before. It returns forbidden for a person without a role, whose other
// sign-ins end.
func (s *Keys) SignInPerson(ctx context.Context, person models.Person, attempt string) (token string, expires time.Time, err error) {
	if person.Role == "" {
		if err := s.endSignIns(ctx, person.ID()); err != nil {
			return "", time.Time{}, err
		}
		return "", time.Time{}, models.Errorf(models.CodeForbidden, "OIDC_ROLES has no role for %q", person.Name)
	}
	token, now := rand.Text(), s.clock.now()
	signIn := models.SignIn{Hash: hashed(token), KeyID: person.ID(), CreatedAt: now, ExpiresAt: now.Add(signInLasts), Person: person, Attempt: new(hashed(attempt))}
	if err := s.keys.CreateSignIn(ctx, &signIn); err != nil {
		return "", time.Time{}, err
	}
	return token, signIn.ExpiresAt, s.Load(ctx)
}

// SignedIn returns the sign-ins of people that have not expired, newest first.
func (s *Keys) SignedIn(ctx context.Context) ([]models.SignIn, error) {
	all, err := s.keys.SignIns(ctx, s.clock.now())
	signIns := make([]models.SignIn, 0, len(all))
	for i := range all {
		if s.isPersons(&all[i]) {
			signIns = append(signIns, all[i])
		}
	}
	slices.SortFunc(signIns, func(a, b models.SignIn) int {
		return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), strings.Compare(a.Hash, b.Hash))
	})
	return signIns, err
}

// SignOutPerson ends all sign-ins of a person, and their requests and streams on this
// backend. It returns the person, or not_found. Other backends follow within keyRefresh.
func (s *Keys) SignOutPerson(ctx context.Context, id string) (*models.Person, error) {
	signIns, err := s.SignedIn(ctx)
	if err != nil {
		return nil, err
	}
	for i := range signIns {
		if signIns[i].KeyID == id {
			return &signIns[i].Person, s.endSignIns(ctx, id)
		}
	}
	return nil, models.Errorf(models.CodeNotFound, "no person with the ID %.100q is signed in", id)
}

func (s *Keys) endSignIns(ctx context.Context, id string) error {
	if err := s.keys.DeleteSignInsOf(ctx, id); err != nil {
		return err
	}
	return s.Load(ctx)
}

// Strike counts a failed sign-in of a person like a wrong key of the address. It reports
// whether the audit should have it: not while the address may send no other key.
func (s *Keys) Strike(address netip.Addr) bool {
	now := s.clock.now()
	if s.strikes.refusal(address, now) != nil {
		return false
	}
	s.strikes.add(address, now)
	return true
}
