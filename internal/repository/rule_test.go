package repository_test

import (
	"errors"
	"slices"
	"testing"

	"ospulse/internal/database"
	"ospulse/internal/models"
	"ospulse/internal/repository"
	"ospulse/test/dbtest"
)

// TestRules checks that each change grows the revision, that checks see the new size and
// keep a change from being stored, and that a deleted rule is not off any more.
func TestRules(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		rules := repository.NewRules(db)
		revision := int64(-1)
		changed := func(want bool) {
			t.Helper()
			now, err := rules.Revision(t.Context())
			if err != nil || (now > revision) != want {
				t.Errorf("the revision was %d and is %d, %v", revision, now, err)
			}
			revision = now
		}
		changed(true)
		ok := func(int64, int64) error { return nil }
		create := func(id string, check func(rules, sizeBytes int64) error) error {
			return rules.Create(t.Context(), &models.UserRule{ID: id, Text: "four", Version: "1", SizeBytes: 4}, check)
		}
		if err := errors.Join(create("a", ok), create("b", ok)); err != nil {
			t.Fatal(err)
		}
		changed(true)
		if err := create("a", ok); models.ErrorCode(err) != models.CodeConflict {
			t.Error("a second rule with this ID: ", err)
		}
		refused := models.Errorf(models.CodeConflict, "too many")
		err := create("c", func(n, size int64) error {
			if n != 3 || size != 12 {
				t.Errorf("there are %d rules of %d bytes", n, size)
			}
			return refused
		})
		if !errors.Is(err, refused) {
			t.Error(err)
		}
		if _, err := rules.Get(t.Context(), "c"); models.ErrorCode(err) != models.CodeNotFound {
			t.Error("the refused rule was stored: ", err)
		}
		changed(false)
		next := &models.UserRule{ID: "a", Text: "longer", Version: "2", SizeBytes: 6}
		for version, want := range map[string]models.Code{"0": models.CodeConflict, "1": ""} {
			if err := rules.Replace(t.Context(), next, version, ok); models.ErrorCode(err) != want {
				t.Errorf("replace version %s: %v", version, err)
			}
		}
		changed(true)
		if err := errors.Join(rules.SetOff(t.Context(), "a", true), rules.SetOff(t.Context(), "a", true), rules.SetOff(t.Context(), "of a file", true)); err != nil {
			t.Fatal(err)
		}
		changed(true)
		all, err := rules.List(t.Context())
		if err != nil || len(all.Rules) != 2 || all.Rules[0].Text != "longer" || all.Rules[0].SizeBytes != 6 || len(all.Off) != 2 || !all.Off["a"] || all.Revision != revision {
			t.Errorf("%+v %v", all, err)
		}
		if err := errors.Join(rules.Delete(t.Context(), "a"), rules.SetOff(t.Context(), "of a file", false)); err != nil {
			t.Fatal(err)
		}
		if all, err := rules.List(t.Context()); err != nil || len(all.Rules) != 1 || len(all.Off) != 0 {
			t.Errorf("%+v %v", all, err)
		}
		if err := rules.Delete(t.Context(), "a"); models.ErrorCode(err) != models.CodeNotFound {
			t.Error("deleted again: ", err)
		}
	})
}

// TestDropFindings checks that what a rule found goes without another evaluation, and only
// where the rules without it follow those that were applied.
func TestDropFindings(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		findings := repository.NewFindings(db, nil)
		for id, rules := range map[string]string{"s1": "1", "s2": "1", "s3": "0"} {
			if err := repository.NewSessions(db).Create(t.Context(), &models.Session{ID: id, FileName: "a"}, &models.TargetFile{SHA256: "0"}, func() error { return nil }); err != nil {
				t.Fatal(err)
			}
			found := []models.Finding{{SessionID: id, RuleID: "a", Level: "high", Count: 1}, {SessionID: id, RuleID: "b", Level: "low", Count: 1}}
			if done, err := findings.Advance(t.Context(), models.Detection{}, models.Detection{SessionID: id, UpTo: 7, Rules: rules}, found); err != nil || !done {
				t.Fatal(done, err)
			}
		}
		var changed []string
		if err := findings.Drop(t.Context(), "1", "2", []string{"a"}, func(ids []string) { changed = append(changed, ids...) }); err != nil {
			t.Fatal(err)
		}
		if slices.Sort(changed); !slices.Equal(changed, []string{"s1", "s2"}) {
			t.Errorf("changed: %v", changed)
		}
		for id, want := range map[string]struct {
			rules string
			found []string
		}{"s1": {"2", []string{"b"}}, "s2": {"2", []string{"b"}}, "s3": {"0", []string{"a", "b"}}} {
			d, err := findings.GetDetection(t.Context(), id)
			if err != nil || d.Rules != want.rules || d.UpTo != 7 {
				t.Errorf("%s: %+v %v", id, d, err)
			}
			session, err := repository.NewSessions(db).Get(t.Context(), id)
			if counts := (models.LevelCounts{High: int64(len(want.found) - 1), Low: 1}); err != nil || session.Findings != counts || session.FindingVersion != int64(3-len(want.found)) {
				t.Errorf("%s: %+v, version %d, %v", id, session.Findings, session.FindingVersion, err)
			}
			list, err := findings.ListOfSession(t.Context(), id)
			var found []string
			for _, f := range list {
				found = append(found, f.RuleID)
			}
			if err != nil || !slices.Equal(found, want.found) {
				t.Errorf("%s: %v %v", id, found, err)
			}
		}
	})
}
