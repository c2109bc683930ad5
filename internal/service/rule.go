package service

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/google/uuid"

	"ospulse/internal/detect"
	"ospulse/internal/models"
	"ospulse/internal/sigma"
)

// RuleRepository stores the rules of users. *repository.Rules implements it and documents
// its contracts.
type RuleRepository interface {
	Revision(ctx context.Context) (int64, error)
	List(ctx context.Context) (models.StoredRules, error)
	Get(ctx context.Context, id string) (*models.UserRule, error)
	Create(ctx context.Context, rule *models.UserRule, check func(rules, sizeBytes int64) error) error
	Replace(ctx context.Context, rule *models.UserRule, version string, check func(rules, sizeBytes int64) error) error
	Delete(ctx context.Context, id string) error
	SetOff(ctx context.Context, id string, isOff bool) error
}

// Limits of the rules of users. The whole set of SigmaHQ has some 3,500 rules of 7 MB.
const (
	maxUserRules     = 5000
	maxUserRuleBytes = 16 << 20 // of all of them
)

// Rules has the detection rules: those of files, and those of users, which it changes. It is
// safe for concurrent use.
type Rules struct {
	files  *detect.Sources
	stored RuleRepository
	log    *slog.Logger
	wake   chan struct{} // holds a value if the rules have changed

	loading  sync.Mutex // guards files, and the next two
	revision int64      // of the users' rules; −1 before they were read
	ofFiles  []detect.Rule

	mu           sync.Mutex
	all          []detect.Rule
	placeholders sigma.Placeholders // that all were read with
	generation   int                // of all
}

// NewRules returns the rules of files and those that users stored. The caller must call Load.
func NewRules(files *detect.Sources, stored RuleRepository, log *slog.Logger) *Rules {
	return &Rules{files: files, stored: stored, log: log, wake: make(chan struct{}, 1), revision: -1}
}

// Load reads the rules again if they have changed, on this backend or another. If it fails,
// the rules stay as they are.
func (r *Rules) Load(ctx context.Context) error {
	r.loading.Lock()
	defer r.loading.Unlock()
	revision, err := r.stored.Revision(ctx)
	if err != nil {
		return err
	}
	found, changed, err := r.files.Load()
	if err != nil {
		return err
	}
	if changed {
		r.ofFiles, r.revision = found, -1
	}
	if revision == r.revision {
		return nil
	}
	stored, err := r.stored.List(ctx)
	if err != nil {
		return err
	}
	all := make([]detect.Rule, 0, len(r.ofFiles)+len(stored.Rules))
	all = append(all, r.ofFiles...)
	placeholders, known := r.files.Placeholders(), map[string]detect.Rule{}
	if r.revision >= 0 { // otherwise the placeholders may have changed
		known = r.ofUsers()
	}
	for i := range stored.Rules {
		rule, ok := known[stored.Rules[i].Version]
		if !ok {
			rule = detect.Read([]byte(stored.Rules[i].Text), placeholders)
		}
		rule.Origin, rule.Key = detect.UserOrigin, stored.Rules[i].ID
		all = append(all, rule)
	}
	detect.SetKeys(all)
	broken := 0
	for i := range all {
		all[i].IsOff = stored.Off[all[i].Key]
		if all[i].Err != nil {
			broken++
		}
	}
	r.log.Info("rules were read", "rules", len(all), "of_users", len(stored.Rules), "off", len(stored.Off), "broken", broken)
	r.revision = stored.Revision
	r.mu.Lock()
	r.all, r.placeholders, r.generation = all, placeholders, r.generation+1
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
	return nil
}

// ofUsers returns the users' rules that were read, by their versions.
func (r *Rules) ofUsers() map[string]detect.Rule {
	known := map[string]detect.Rule{}
	all, _ := r.current()
	for i := range all {
		if all[i].Origin == detect.UserOrigin {
			known[all[i].Hash] = all[i]
		}
	}
	return known
}

// current returns all rules, and a number that differs for other rules. The caller must not
// change them.
func (r *Rules) current() (all []detect.Rule, generation int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.all, r.generation
}

// List returns all rules, with those that are off, broken or cannot run.
func (r *Rules) List() []detect.Rule {
	all, _ := r.current()
	return all
}

// Get returns a rule and its text, or not_found.
func (r *Rules) Get(ctx context.Context, id string) (*detect.Rule, string, error) {
	rule, err := r.find(ctx, id)
	if err != nil {
		return nil, "", err
	}
	if rule.Origin != detect.UserOrigin {
		text, err := r.files.Text(rule)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, "", models.Wrap(err, models.CodeNotFound, "the file of rule %s is gone", id)
		}
		return rule, string(text), err
	}
	stored, err := r.stored.Get(ctx, id)
	if err != nil {
		return nil, "", err
	}
	if stored.Version != rule.Hash { // it was just changed
		changed := r.read(stored.Text)
		changed.Origin, changed.Key, changed.IsOff = rule.Origin, rule.Key, rule.IsOff
		rule = &changed
	}
	return rule, stored.Text, nil
}

// find returns a rule. It reads the rules again if another backend may have created it.
func (r *Rules) find(ctx context.Context, id string) (*detect.Rule, error) {
	for isFresh := false; ; isFresh = true {
		all, _ := r.current()
		i := slices.IndexFunc(all, func(rule detect.Rule) bool { return rule.Key == id })
		if i >= 0 {
			return &all[i], nil
		}
		if isFresh || !models.ValidID(id) {
			return nil, models.Errorf(models.CodeNotFound, "rule %.100q does not exist", id)
		}
		if err := r.Load(ctx); err != nil {
			return nil, err
		}
	}
}

// userRuleID matches the IDs that users' rules may have, which are part of URLs.
var userRuleID = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z._-]{0,99}$`)

// Create stores a new rule. It returns invalid, wrapping a *sigma.Error, if the text has no
// rule, and conflict if there is a rule with the same ID.
func (r *Rules) Create(ctx context.Context, text string) (*detect.Rule, error) {
	rule, err := r.parse(text)
	if err != nil {
		return nil, err
	}
	switch rule.Key = rule.ID; {
	case rule.Key == "":
		rule.Key = uuid.NewString()
	case !userRuleID.MatchString(rule.Key) || rule.Key == "test":
		return nil, models.Errorf(models.CodeInvalid, "id is %.120q: it must be up to 100 letters, digits, dots, hyphens and underscores, such as a UUID, and begin with a letter or digit", rule.Key)
	default:
		_, err := r.find(ctx, rule.Key)
		if err == nil {
			return nil, models.Errorf(models.CodeConflict, "rule %s exists already: change that rule, or give this one another id or none", rule.Key)
		}
		if models.ErrorCode(err) != models.CodeNotFound {
			return nil, err
		}
	}
	if err := r.stored.Create(ctx, stored(rule, text), checkUserRules); err != nil {
		return nil, err
	}
	r.reload(ctx)
	return rule, nil
}

// Replace replaces the text of a user's rule that has a version: its Hash. It returns
// conflict if the rule has another version, and otherwise the errors of Create. The rule's
// ID stays.
func (r *Rules) Replace(ctx context.Context, id, version, text string) (*detect.Rule, error) {
	before, err := r.find(ctx, id)
	if err != nil {
		return nil, err
	}
	if err := mustBeUsers(before); err != nil {
		return nil, err
	}
	rule, err := r.parse(text)
	if err != nil {
		return nil, err
	}
	if rule.ID != "" && rule.ID != id {
		return nil, models.Errorf(models.CodeInvalid, "the rule's id is %s, and stays: write it, or no id", id)
	}
	rule.Key, rule.IsOff = id, before.IsOff
	if err := r.stored.Replace(ctx, stored(rule, text), version, checkUserRules); err != nil {
		return nil, err
	}
	r.reload(ctx)
	return rule, nil
}

// Delete deletes a user's rule.
func (r *Rules) Delete(ctx context.Context, id string) error {
	rule, err := r.find(ctx, id)
	if err != nil {
		return err
	}
	if err := mustBeUsers(rule); err != nil {
		return err
	}
	if err := r.stored.Delete(ctx, id); err != nil {
		return err
	}
	r.reload(ctx)
	return nil
}

// SetEnabled turns a rule of any source on or off, and returns it.
func (r *Rules) SetEnabled(ctx context.Context, id string, enabled bool) error {
	if _, err := r.find(ctx, id); err != nil {
		return err
	}
	if err := r.stored.SetOff(ctx, id, !enabled); err != nil {
		return err
	}
	r.reload(ctx)
	return nil
}

// reload makes a change count on this backend now. Other backends read it within
// detectSweep, as this one does if it fails now.
func (r *Rules) reload(ctx context.Context) {
	logRetried(ctx, r.log, "a change of the rules does not count yet; it is tried again", r.Load(ctx))
}

// read reads the text of a user's rule.
func (r *Rules) read(text string) detect.Rule {
	r.mu.Lock()
	placeholders := r.placeholders
	r.mu.Unlock()
	rule := detect.Read([]byte(text), placeholders)
	rule.Origin = detect.UserOrigin
	return rule
}

// parse reads the rule that a user sent. It returns invalid, wrapping a *sigma.Error, if the
// text has none.
func (r *Rules) parse(text string) (*detect.Rule, error) {
	if !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
		return nil, models.Errorf(models.CodeInvalid, "the rule must be text in UTF-8 without NUL characters")
	}
	rule := r.read(text)
	if rule.Err != nil {
		return nil, models.Wrap(rule.Err, models.CodeInvalid, "the rule is broken: %s", rule.Err)
	}
	return &rule, nil
}

func mustBeUsers(rule *detect.Rule) error {
	if rule.Origin == detect.UserOrigin {
		return nil
	}
	return models.Errorf(models.CodeForbidden, "rule %s is not a user's: turn it off, or create a changed copy with another id", rule.Key)
}

func stored(rule *detect.Rule, text string) *models.UserRule {
	return &models.UserRule{ID: rule.Key, Text: text, Version: rule.Hash, SizeBytes: int64(len(text))}
}

func checkUserRules(rules, sizeBytes int64) error {
	switch {
	case rules > maxUserRules:
		return models.Errorf(models.CodeConflict, "there are %d rules of users, which is the limit: delete some, or use RULES_DIR", maxUserRules)
	case sizeBytes > maxUserRuleBytes:
		return models.Errorf(models.CodeConflict, "the rules of users have %d MB, which is the limit: delete some, or use RULES_DIR", maxUserRuleBytes>>20)
	}
	return nil
}
