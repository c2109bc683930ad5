package repository_test

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"ospulse/internal/database"
	"ospulse/internal/models"
	"ospulse/internal/repository"
	"ospulse/test/dbtest"
)

// TestImportedFindings checks that findings of a bundle are listed as they came, until a rule
// of this backend with the same ID finds something, and again once it does not.
func TestImportedFindings(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		transfers, findings := repository.NewTransfers(db), repository.NewFindings(db, nil)
		if err := transfers.BeginImport(t.Context(), "s", noon); err != nil {
			t.Fatal(err)
		}
		pid, text := int64(7), "ü <b>"
		came := []models.Finding{
			{RuleID: "a", Version: "1", Title: "A", Level: "high", Tags: []string{"x", "y"}, Author: "u", License: "MIT", Count: 2000, Failed: 1999, Seqs: []int64{1, 2}, FirstAt: noon, LastAt: noon.Add(time.Hour), PID: &pid, ProcessName: &text, Target: &text, RootPath: &text},
			{RuleID: "b", Version: "1", Title: "B", Level: "low", Tags: []string{}, Count: 1, Seqs: []int64{2}, FirstAt: noon, LastAt: noon},
		}
		if err := transfers.AddFindings(t.Context(), "s", came, noon); err != nil {
			t.Fatal(err)
		}
		session := &models.Session{ID: "s", EventCount: 2, CreatedAt: noon, UpdatedAt: noon}
		if err := transfers.FinishImport(t.Context(), session, nil, nil); err != nil {
			t.Fatal(err)
		}
		for i := range came {
			came[i].SessionID, came[i].IsImported = "s", true
		}
		if got, err := findings.ListOfSession(t.Context(), "s"); err != nil || !reflect.DeepEqual(got, came) {
			t.Errorf("the findings are\n%+v, want\n%+v, %v", got, came, err)
		}
		listed := func(want ...string) {
			t.Helper()
			for _, list := range []func() ([]models.Finding, error){
				func() ([]models.Finding, error) { return findings.ListOfSession(t.Context(), "s") },
				func() ([]models.Finding, error) { return transfers.ListFindings(t.Context(), "s") },
			} {
				var got []string
				found, err := list()
				for _, f := range found {
					got = append(got, fmt.Sprint(f.RuleID, " ", f.Level, " ", f.Version, " ", f.IsImported))
				}
				if err != nil || !slices.Equal(got, want) {
					t.Errorf("the findings are %q, want %q, %v", got, want, err)
				}
			}
			// The list over all sessions and the counts have the same, also page by page.
			for _, limit := range []int{1, 100} {
				var got []string
				filter := models.FindingFilter{Levels: models.FindingLevels, Limit: limit}
				for {
					page, err := findings.List(t.Context(), filter)
					if err != nil {
						t.Fatal(err)
					}
					for _, f := range page {
						got = append(got, fmt.Sprint(f.RuleID, " ", f.Level, " ", f.Version, " ", f.IsImported))
						filter.After = &models.FindingCursor{Level: f.Level, FirstAt: f.FirstAt, SessionID: f.SessionID, RuleID: f.RuleID}
					}
					if len(page) < limit {
						break
					}
				}
				slices.Sort(got)
				if all := slices.Sorted(slices.Values(want)); !slices.Equal(got, all) {
					t.Errorf("the list has %q, want %q", got, all)
				}
			}
			counted, err := repository.NewSessions(db).Get(t.Context(), "s")
			if err != nil {
				t.Fatal(err)
			}
			var counts models.LevelCounts
			for _, one := range want {
				switch {
				case strings.Contains(one, " high "):
					counts.High++
				case strings.Contains(one, " medium "):
					counts.Medium++
				default:
					counts.Low++
				}
			}
			if counted.Findings != counts || counted.FindingVersion == 0 {
				t.Errorf("the session counts %+v, want %+v", counted.Findings, counts)
			}
		}
		advance := func(before, after string, rules ...string) {
			t.Helper()
			var found []models.Finding
			for _, id := range rules {
				found = append(found, models.Finding{SessionID: "s", RuleID: id, Version: "2", Level: "medium", Count: 1, Seqs: []int64{1}, FirstAt: noon, LastAt: noon})
			}
			d, err := findings.GetDetection(t.Context(), "s")
			if err != nil || d.Rules != before {
				t.Fatalf("%+v, %v", d, err)
			}
			if done, err := findings.Advance(t.Context(), d, models.Detection{SessionID: "s", UpTo: 2, Rules: after}, found); err != nil || !done {
				t.Fatal(done, err)
			}
		}
		all, err := findings.List(t.Context(), models.FindingFilter{Levels: []string{"high"}, Limit: 1})
		if err != nil || len(all) != 1 || all[0].Failed != 1999 {
			t.Errorf("the list has %+v, %v", all, err)
		}
		listed("a high 1 true", "b low 1 true")
		advance("", "first", "a", "c")
		listed("a medium 2 false", "c medium 2 false", "b low 1 true")
		if err := findings.Drop(t.Context(), "first", "second", []string{"a"}, func([]string) {}); err != nil {
			t.Fatal(err)
		}
		listed("a high 1 true", "c medium 2 false", "b low 1 true")
		advance("second", "third")
		listed("a high 1 true", "b low 1 true")
	})
}
