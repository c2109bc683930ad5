package repository_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"ospulse/internal/database"
	"ospulse/internal/models"
	"ospulse/internal/repository"
	"ospulse/test/dbtest"
)

// TestNotices checks which findings get a notice, that the notices of a session are due in
// their order, and what the status counts.
func TestNotices(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		findings, notices, sessions := repository.NewFindings(db, []string{"critical", "high"}), repository.NewNotices(db), repository.NewSessions(db)
		at := map[string]models.Detection{}
		advance := func(id, rules string, found ...models.Finding) {
			t.Helper()
			next := models.Detection{SessionID: id, UpTo: at[id].UpTo + 1, Rules: rules}
			for i := range found {
				found[i].SessionID, found[i].Count, found[i].Failed = id, 1, 1
			}
			if done, err := findings.Advance(t.Context(), at[id], next, found); err != nil || !done {
				t.Fatal(done, err)
			}
			at[id] = next
		}
		finding := func(rule, level string, seq int64) models.Finding {
			return models.Finding{RuleID: rule, Level: level, Seqs: []int64{seq}, Tags: []string{"x"}}
		}
		due := func(limit int) (all []string) {
			t.Helper()
			list, err := notices.ListDue(t.Context(), limit)
			if err != nil {
				t.Fatal(err)
			}
			for _, n := range list {
				if n.Finding.Failed != n.Finding.Count {
					t.Errorf("the notice of %s lacks that its event failed", n.Finding.RuleID)
				}
				all = append(all, fmt.Sprintf("%s %s %d", n.Finding.SessionID, n.Finding.RuleID, n.Attempts))
			}
			slices.Sort(all)
			return all
		}
		want := func(what string, want ...string) {
			t.Helper()
			if got := due(10); !slices.Equal(got, want) {
				t.Errorf("%s: %v are due, want %v", what, got, want)
			}
		}
		finish := func(state models.NoticeState) {
			t.Helper()
			list, err := notices.ListDue(t.Context(), 10)
			for _, n := range list {
				err = errors.Join(err, notices.Finish(t.Context(), n.ID, state, "no"))
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		for _, id := range []string{"s1", "s2"} {
			if err := sessions.Create(t.Context(), &models.Session{ID: id, FileName: "a"}, &models.TargetFile{SHA256: "0"}, func() error { return nil }); err != nil {
				t.Fatal(err)
			}
		}
		advance("s1", "1", finding("late", "high", 9), finding("low", "low", 1), finding("early", "critical", 2))
		advance("s2", "1", finding("late", "high", 1))
		want("at first", "s1 early 0", "s2 late 0")
		if got := due(1); len(got) != 1 {
			t.Errorf("%v are due, want one", got)
		}
		finish(models.NoticeDelivered)
		want("then", "s1 late 0")

		// A failed attempt holds up its session only, until its time.
		list, err := notices.ListDue(t.Context(), 10)
		if err != nil || notices.Retry(t.Context(), list[0].ID, time.Hour, "it answered 500") != nil {
			t.Fatal(err)
		}
		advance("s1", "1", finding("third", "high", 10))
		advance("s2", "1", finding("third", "high", 10))
		want("after a failure", "s2 third 0")
		if s, err := notices.Status(t.Context()); err != nil || s.Retried != 1 || s.LastError != "it answered 500" || s.Failed != 0 || s.Age < 0 || s.Age > time.Minute {
			t.Errorf("%+v %v", s, err)
		}
		if err := notices.Retry(t.Context(), list[0].ID, 0, "it answered 500"); err != nil {
			t.Fatal(err)
		}
		want("after its time", "s1 late 2", "s2 third 0")
		finish(models.NoticeFailed)
		if s, err := notices.Status(t.Context()); err != nil || s.Retried != 0 || s.Failed != 2 {
			t.Errorf("%+v %v", s, err)
		}

		// Findings that are found again, or are of other levels, get none.
		advance("s1", "2", finding("late", "high", 9), finding("low", "high", 1), finding("third", "high", 10), finding("fourth", "high", 11), finding("fifth", "medium", 12))
		want("after other rules", "s1 third 0")
		finish(models.NoticeDelivered)
		want("then", "s1 fourth 0")
		// Nor one that is gone.
		advance("s1", "3", finding("late", "high", 9))
		want("after the rule is gone")
		advance("s1", "4", finding("late", "high", 9), finding("early", "critical", 2))
		want("after an old rule is back")
	})
}
