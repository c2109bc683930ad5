package service

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"ospulse/internal/models"
)

// KeyRepository stores keys and sign-ins. *repository.Keys implements it and documents its
// contracts.
type KeyRepository interface {
	Exist(ctx context.Context) (bool, error)
	Valid(ctx context.Context, at time.Time) ([]models.APIKey, error)
	List(ctx context.Context, limit int) ([]models.APIKey, error)
	FindByHash(ctx context.Context, hash string, at time.Time) (*models.APIKey, error)
	Create(ctx context.Context, key *models.APIKey, maxKeys int) error
	Revoke(ctx context.Context, id string, at time.Time) (*models.APIKey, error)
	MarkUsed(ctx context.Context, used map[string]time.Time) error
	CreateEnrollment(ctx context.Context, enrollment *models.Enrollment, lasts time.Duration) error
	Enroll(ctx context.Context, hash string, newKey func(*models.Enrollment) *models.APIKey, maxKeys int) (*models.APIKey, error)
	SignInRepository
}

// SignInRepository stores sign-ins.
type SignInRepository interface {
	CreateSignIn(ctx context.Context, signIn *models.SignIn) error
	SignIns(ctx context.Context, at time.Time) ([]models.SignIn, error)
	FindSignIn(ctx context.Context, hash string, at time.Time) (*models.SignIn, error)
	DeleteSignIn(ctx context.Context, hash string) error
	DeleteSignInsOf(ctx context.Context, keyID string) error
	DeleteSignInsBefore(ctx context.Context, at time.Time) error
}

// KeyPolicy says who needs a key.
type KeyPolicy struct {
	// Always requires keys even if none exists: other machines can reach the backend.
	Always bool
	// Issuer is the OpenID Connect provider whose people may sign in; "" for none. It
	// requires keys of all others.
	Issuer string
	// AllowedAgents are the addresses of old agents, which cannot send a key.
	AllowedAgents []netip.Prefix
}

// Intervals of Keys. Each backend notices within keyRefresh what another one, or the
// command keys, changed.
const (
	keyRefresh    = 2 * time.Second
	usedInterval  = time.Minute
	signInLasts   = 12 * time.Hour
	setupLasts    = time.Hour
	keyPrefix     = "osp_"
	shownOfKey    = len(keyPrefix) + 4
	maxCredential = 200 // bytes; longer texts are no key
)

// Keys decides who sends a request. It holds all valid keys in memory, so it needs no
// database for a known key: events are accepted while the database is away. It is safe for
// concurrent use.
type Keys struct {
	keys    KeyRepository
	agents  AgentStore
	policy  KeyPolicy
	clock   Clock
	log     *slog.Logger
	state   atomic.Pointer[keyState]
	strikes strikes

	loading sync.Mutex // makes changes of state take turns

	setupMu   sync.Mutex
	setupHash string // of the token that creates the first key; "" for none
	setupEnds time.Time
}

// keyState is what requests are checked against. It does not change.
type keyState struct {
	anonymous *holder // nil if every request needs a key
	exist     bool    // a key was created at any time
	keys      map[string]*holder
	signIns   map[string]*holder // the sign-in of a valid key
}

// holder is an actor with the right to send requests.
type holder struct {
	actor   models.Actor
	expires time.Time       // zero: never
	valid   context.Context // ends with the right
	revoke  context.CancelFunc
	used    atomic.Int64 // Unix seconds of the last request
	stored  int64        // the part of used that was stored; owned by Run
}

func newHolder(actor models.Actor, expires time.Time) *holder {
	h := &holder{actor: actor, expires: expires}
	h.valid, h.revoke = context.WithCancel(context.Background())
	return h
}

// NewKeys returns the keys. The caller must call Load before Identify, and Run.
func NewKeys(keys KeyRepository, agents AgentStore, policy KeyPolicy, clock Clock, log *slog.Logger) *Keys {
	return &Keys{keys: keys, agents: agents, policy: policy, clock: clock, log: log}
}

// Required reports whether every request needs a key: other machines can reach the backend,
// people can sign in, or a key was created at any time. Revoking the last key does not open
// the backend again.
func (s *Keys) Required() bool { return s.state.Load().anonymous == nil }

// Load reads the keys again. Requests of keys that are not valid any more end. If it fails,
// the keys stay as they are.
func (s *Keys) Load(ctx context.Context) error {
	s.loading.Lock()
	defer s.loading.Unlock()
	now := s.clock.now()
	exist, err := s.keys.Exist(ctx)
	if err != nil {
		return err
	}
	keys, err := s.keys.Valid(ctx, now)
	if err != nil {
		return err
	}
	signIns, err := s.keys.SignIns(ctx, now)
	if err != nil {
		return err
	}
	next := &keyState{exist: exist, keys: make(map[string]*holder, len(keys)), signIns: make(map[string]*holder, len(signIns))}
	before := s.state.Load()
	if before == nil {
		before = &keyState{}
	}
	if !exist && !s.policy.Always && s.policy.Issuer == "" {
		next.anonymous = before.anonymous
		if next.anonymous == nil {
			next.anonymous = newHolder(models.Actor{Role: models.RoleAdmin}, time.Time{})
		}
	} else if before.anonymous != nil {
		before.anonymous.revoke()
	}
	byID := make(map[string]*models.APIKey, len(keys))
	for i := range keys {
		key := &keys[i]
		byID[key.ID] = key
		next.keys[key.Hash] = kept(before.keys[key.Hash], newKeyActor(key), expiry(key))
	}
	for i := range signIns {
		signIn := &signIns[i]
		if key := byID[signIn.KeyID]; key != nil {
			next.signIns[signIn.Hash] = kept(before.signIns[signIn.Hash], newKeyActor(key), earlier(signIn.ExpiresAt, expiry(key)))
		} else if s.isPersons(signIn) {
			next.signIns[signIn.Hash] = kept(before.signIns[signIn.Hash], newPersonActor(&signIn.Person), signIn.ExpiresAt)
		}
	}
	s.state.Store(next)
	revokeMissing(before.keys, next.keys)
	revokeMissing(before.signIns, next.signIns)
	return nil
}

// kept returns the holder as it is, or a new one for another actor.
func kept(before *holder, actor models.Actor, expires time.Time) *holder {
	if before != nil && before.actor == actor && before.expires.Equal(expires) {
		return before
	}
	return newHolder(actor, expires)
}

func revokeMissing(before, next map[string]*holder) {
	for hash, h := range before {
		if next[hash] != h {
			h.revoke()
		}
	}
}

func newKeyActor(key *models.APIKey) models.Actor {
	return models.Actor{KeyID: key.ID, Name: key.Name, Role: key.Role, AgentID: key.AgentID}
}

func expiry(key *models.APIKey) time.Time {
	if key.ExpiresAt == nil {
		return time.Time{}
	}
	return *key.ExpiresAt
}

// earlier returns the earlier of two times; the zero time is never.
func earlier(a, b time.Time) time.Time {
	if b.IsZero() || !a.IsZero() && a.Before(b) {
		return a
	}
	return b
}

// Credential is what a request shows: a key, or the token of a cookie, or neither.
type Credential struct{ Key, Token string }

// errNoKey and errWrongKey reveal nothing about which keys exist.
var (
	errNoKey    = models.Errorf(models.CodeUnauthorized, "a key is required: send it as Authorization: Bearer or X-API-Key, or sign in with the dashboard")
	errWrongKey = models.Errorf(models.CodeUnauthorized, "the key is not valid: it is wrong, expired or revoked")
)

// Identify returns who sends a request, and a context that ends when the actor loses the
// right to it. It returns unauthorized without a valid key where one is required, and
// overloaded for a wrong key after several wrong ones from the same address.
func (s *Keys) Identify(ctx context.Context, shown Credential, address netip.Addr) (models.Actor, context.Context, error) {
	h, err := s.find(ctx, shown, address)
	if err != nil {
		return models.Actor{}, nil, err
	}
	h.used.Store(s.clock.now().Unix())
	actor := h.actor
	actor.Address = address.WithZone("").String()
	return actor, h.valid, nil
}

func (s *Keys) find(ctx context.Context, shown Credential, address netip.Addr) (*holder, error) {
	state := s.state.Load()
	if state.anonymous != nil && !strings.HasPrefix(shown.Key, keyPrefix) { // existing controllers send any key
		return state.anonymous, nil
	}
	if shown == (Credential{}) {
		if s.isAllowedAgent(address) {
			return &holder{actor: models.Actor{Role: models.RoleAgent}, valid: context.Background()}, nil
		}
		return nil, errNoKey
	}
	if h := state.lookUp(shown); h != nil && s.isInTime(h) {
		return h, nil
	}
	// Another backend or the command keys may have created it a moment ago.
	if err := s.strikes.refusal(address, s.clock.now()); err != nil {
		return nil, err
	}
	exists, err := s.exists(ctx, shown)
	if err != nil {
		return nil, err
	}
	if exists {
		if err := s.Load(ctx); err != nil {
			return nil, err
		}
		if h := s.state.Load().lookUp(shown); h != nil && s.isInTime(h) {
			return h, nil
		}
	}
	if state.anonymous != nil && !exists {
		return state.anonymous, nil
	}
	s.strikes.add(address, s.clock.now())
	return nil, errWrongKey
}

// lookUp returns the holder of a credential; nil if there is none. It compares hashes, so
// its time tells nothing about the valid keys.
func (k *keyState) lookUp(shown Credential) *holder {
	if shown.Key != "" {
		return k.keys[hashed(shown.Key)]
	}
	return k.signIns[hashed(shown.Token)]
}

func (s *Keys) isInTime(h *holder) bool { return h.expires.IsZero() || s.clock.now().Before(h.expires) }

// exists reports whether the database has the credential and it is valid. The time that this
// takes, and what the caller does next, must not tell an invalid one from an unknown one.
func (s *Keys) exists(ctx context.Context, shown Credential) (bool, error) {
	if len(shown.Key) > maxCredential || len(shown.Token) > maxCredential {
		return false, nil
	}
	var err error
	if shown.Key != "" {
		_, err = s.keys.FindByHash(ctx, hashed(shown.Key), s.clock.now())
	} else {
		_, err = s.keys.FindSignIn(ctx, hashed(shown.Token), s.clock.now())
	}
	if models.ErrorCode(err) == models.CodeNotFound {
		return false, nil
	}
	return err == nil, err
}

func (s *Keys) isAllowedAgent(address netip.Addr) bool {
	address = address.Unmap().WithZone("")
	return slices.ContainsFunc(s.policy.AllowedAgents, func(p netip.Prefix) bool { return p.Contains(address) })
}

// hashed returns the hash under which a key or token is stored. Both are random texts of
// 128 bits or more, so a fast hash is safe.
func hashed(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// NewKey describes a key that an admin creates.
type NewKey struct {
	Name      string
	Role      models.Role
	Agent     string // ID or name, for RoleAgent
	ExpiresAt *time.Time
}

// Create stores a new key. It returns the key's row and the key itself, which is not stored.
// It returns invalid for a bad name, role, agent or time, and unless the first key is an
// admin's or people can sign in.
func (s *Keys) Create(ctx context.Context, by models.Actor, wanted NewKey) (*models.APIKey, string, error) {
	now := s.clock.now()
	name := strings.TrimSpace(wanted.Name)
	switch {
	case name == "" || len(name) > models.MaxKeyNameBytes || !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl):
		return nil, "", models.Errorf(models.CodeInvalid, "name must be 1 to %d bytes of text without control characters: who or what holds the key", models.MaxKeyNameBytes)
	case !slices.Contains(models.Roles, wanted.Role):
		return nil, "", models.Errorf(models.CodeInvalid, "role must be agent, viewer, analyst or admin, not %.100q", wanted.Role)
	case wanted.Role != models.RoleAgent && wanted.Agent != "":
		return nil, "", models.Errorf(models.CodeInvalid, "agent is only for keys of the role agent")
	case wanted.ExpiresAt != nil && !now.Before(*wanted.ExpiresAt):
		return nil, "", models.Errorf(models.CodeInvalid, "expires_at must be in the future")
	}
	if exist, err := s.keys.Exist(ctx); err != nil {
		return nil, "", err
	} else if !exist && wanted.Role != models.RoleAdmin && s.policy.Issuer == "" {
		return nil, "", models.Errorf(models.CodeInvalid, "the first key must be an admin's: from then on only an admin can create others")
	}
	key, text := newKey(name, wanted.Role, by.Name, now)
	key.ExpiresAt = wanted.ExpiresAt
	if key.Role == models.RoleAgent {
		var err error
		if key.AgentID, key.AgentName, err = s.findAgent(ctx, wanted.Agent); err != nil {
			return nil, "", err
		}
	}
	if err := s.keys.Create(ctx, key, models.MaxKeys); err != nil {
		return nil, "", err
	}
	return key, text, s.Load(ctx)
}

// newKey returns the row of a new key, and the key itself.
func newKey(name string, role models.Role, createdBy string, now time.Time) (key *models.APIKey, text string) {
	text = keyPrefix + rand.Text()
	return &models.APIKey{
		ID: strings.ToLower(rand.Text()[:12]), Hash: hashed(text), Prefix: text[:shownOfKey], Name: name, Role: role, CreatedAt: now, CreatedBy: createdBy,
	}, text
}

// findAgent returns the ID and the name of an agent. An agent that has sent nothing yet gets
// the ID that its first heartbeat would get; "" is the agent at AGENT_SERVICE_URL.
func (s *Keys) findAgent(ctx context.Context, wanted string) (id, name string, err error) {
	if wanted == "" {
		return models.DefaultAgentID, models.DefaultAgentID, nil
	}
	if len(wanted) > maxAgentNameBytes || !utf8.ValidString(wanted) || strings.ContainsFunc(wanted, unicode.IsControl) {
		return "", "", models.Errorf(models.CodeInvalid, "agent must be at most %d bytes of text without control characters", maxAgentNameBytes)
	}
	agents, err := s.agents.List(ctx, models.MaxAgents)
	if err != nil {
		return "", "", err
	}
	if agent := agentNamed(wanted, agents); agent != nil {
		return agent.ID, agent.Name, nil
	}
	return hashedID(wanted), wanted, nil
}

// List returns all keys, newest first, with their last use on this backend until now.
func (s *Keys) List(ctx context.Context) ([]models.APIKey, error) {
	keys, err := s.keys.List(ctx, 2*models.MaxKeys)
	state, used := s.state.Load(), map[string]int64{}
	for _, holders := range []map[string]*holder{state.keys, state.signIns} {
		for _, h := range holders {
			used[h.actor.KeyID] = max(used[h.actor.KeyID], h.used.Load())
		}
	}
	for i := range keys {
		if at := used[keys[i].ID]; at > 0 && (keys[i].LastUsedAt == nil || at > keys[i].LastUsedAt.Unix()) {
			keys[i].LastUsedAt = new(time.Unix(at, 0).UTC())
		}
	}
	return keys, err
}

// Revoke revokes a key, ends its requests and streams on this backend, and returns it, or
// not_found. Other backends follow within keyRefresh.
func (s *Keys) Revoke(ctx context.Context, id string) (*models.APIKey, error) {
	key, err := s.keys.Revoke(ctx, id, s.clock.now())
	if err != nil {
		return nil, err
	}
	return key, s.Load(ctx)
}

// SignIn returns a token for a browser's cookie in exchange for a key, and when it expires.
// Each sign-in has a token of its own. It returns unauthorized for a wrong key, and
// forbidden for a key of an agent.
func (s *Keys) SignIn(ctx context.Context, key string, address netip.Addr) (token string, expires time.Time, actor models.Actor, err error) {
	if s.Required() && key == "" {
		return "", time.Time{}, actor, errNoKey
	}
	if actor, _, err = s.Identify(ctx, Credential{Key: key}, address); err != nil {
		return "", time.Time{}, actor, err
	}
	switch {
	case actor.IsAnonymous():
		return "", time.Time{}, actor, models.Errorf(models.CodeConflict, "this backend requires no key")
	case actor.Role == models.RoleAgent:
		return "", time.Time{}, actor, models.Errorf(models.CodeForbidden, "the key of an agent cannot sign in")
	}
	token = rand.Text()
	now := s.clock.now()
	signIn := models.SignIn{Hash: hashed(token), KeyID: actor.KeyID, CreatedAt: now, ExpiresAt: now.Add(signInLasts)}
	if h := s.state.Load().lookUp(Credential{Key: key}); h != nil {
		signIn.ExpiresAt = earlier(signIn.ExpiresAt, h.expires) // then it is as unknown as the key
	}
	if err := s.keys.CreateSignIn(ctx, &signIn); err != nil {
		return "", time.Time{}, actor, err
	}
	return token, signIn.ExpiresAt, actor, s.Load(ctx)
}

// SignOut ends the sign-in with a token, if it exists.
func (s *Keys) SignOut(ctx context.Context, token string) error {
	if err := s.keys.DeleteSignIn(ctx, hashed(token)); err != nil {
		return err
	}
	return s.Load(ctx)
}

// OfferSetup returns a token with which someone can create the first key within an hour; ""
// unless keys are required, none exists, and people cannot sign in. The program prints it on
// its terminal.
func (s *Keys) OfferSetup() string {
	if s.state.Load().exist || !s.Required() || s.policy.Issuer != "" {
		return ""
	}
	token := rand.Text()
	s.setupMu.Lock()
	defer s.setupMu.Unlock()
	s.setupHash, s.setupEnds = hashed(token), s.clock.now().Add(setupLasts)
	return token
}

// Setup creates the first key, of an admin, for the holder of the setup token, which works
// once. It returns unauthorized for another token, and after a key exists. It calls begin
// before it creates the key, and returns its error.
func (s *Keys) Setup(ctx context.Context, token, name string, address netip.Addr, begin func() error) (*models.APIKey, string, error) {
	if err := s.strikes.refusal(address, s.clock.now()); err != nil {
		return nil, "", err
	}
	s.setupMu.Lock()
	defer s.setupMu.Unlock()
	exist, err := s.keys.Exist(ctx)
	if err != nil {
		return nil, "", err
	}
	if exist || s.setupHash == "" || subtle.ConstantTimeCompare([]byte(hashed(token)), []byte(s.setupHash)) == 0 || !s.clock.now().Before(s.setupEnds) {
		s.strikes.add(address, s.clock.now())
		return nil, "", models.Errorf(models.CodeUnauthorized, "the link is not valid: it works once, within an hour of the backend's start, and while no key exists")
	}
	if err := begin(); err != nil {
		return nil, "", err
	}
	key, text, err := s.Create(ctx, models.Actor{Name: "the link of the first start"}, NewKey{Name: name, Role: models.RoleAdmin})
	if err == nil {
		s.setupHash = ""
	}
	return key, text, err
}

// Run keeps the keys current until ctx ends.
func (s *Keys) Run(ctx context.Context) {
	refresh, used := time.NewTicker(keyRefresh), time.NewTicker(usedInterval)
	defer refresh.Stop()
	defer used.Stop()
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaseCall)
		defer cancel()
		s.storeUsed(ctx)
	}()
	failed := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-used.C:
			s.storeUsed(ctx)
			if err := s.keys.DeleteSignInsBefore(ctx, s.clock.now()); err != nil && ctx.Err() == nil {
				s.log.Debug("expired sign-ins could not be removed", "error", err)
			}
		case <-refresh.C:
			err := s.Load(ctx)
			if err != nil && !failed && ctx.Err() == nil {
				s.log.Warn("the keys could not be read again; those that are known stay valid", "error", err)
			}
			failed = err != nil
		}
	}
}

// storeUsed stores when the keys were used last.
func (s *Keys) storeUsed(ctx context.Context) {
	state, used := s.state.Load(), map[string]time.Time{}
	var changed []*holder
	for _, holders := range []map[string]*holder{state.keys, state.signIns} {
		for _, h := range holders {
			if at := h.used.Load(); at > h.stored {
				used[h.actor.KeyID] = latest(used[h.actor.KeyID], time.Unix(at, 0).UTC())
				changed = append(changed, h)
			}
		}
	}
	if len(used) == 0 {
		return
	}
	if err := s.keys.MarkUsed(ctx, used); err != nil {
		s.log.Debug("the last use of keys could not be stored", "error", err)
		return
	}
	for _, h := range changed {
		h.stored = used[h.actor.KeyID].Unix()
	}
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
