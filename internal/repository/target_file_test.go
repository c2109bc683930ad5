package repository_test

import (
	"errors"
	"strings"
	"testing"

	"ospulse/internal/database"
	"ospulse/internal/models"
	"ospulse/internal/repository"
	"ospulse/test/dbtest"
)

func TestTargetFiles(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		rows, sessions := repository.NewTargetFiles(db), repository.NewSessions(db)
		known, unknown, without := strings.Repeat("1", 64), strings.Repeat("2", 64), strings.Repeat("3", 64)
		create := func(id string, file *models.TargetFile) {
			t.Helper()
			if err := sessions.Create(t.Context(), &models.Session{ID: id, FileSHA256: &file.SHA256}, file, func() error { return nil }); err != nil {
				t.Fatal(err)
			}
		}
		create("known", &models.TargetFile{SHA256: known, SizeBytes: 1})
		create("without", &models.TargetFile{SHA256: without, SizeBytes: 1, NoContent: true})
		create("known again", &models.TargetFile{SHA256: known, SizeBytes: 1, NoContent: true})
		list := func(after string) (names string) {
			t.Helper()
			files, err := rows.List(t.Context(), after, 10)
			if err != nil {
				t.Fatal(err)
			}
			for _, file := range files {
				names += file.SHA256[:1]
			}
			return names
		}
		if got := list(""); got != "1" {
			t.Errorf("listed are %s, want the one that has content", got)
		}
		create("with", &models.TargetFile{SHA256: without, SizeBytes: 1}) // the content arrives later
		if got := list("") + "," + list(known); got != "13,3" {
			t.Errorf("listed are %s", got)
		}
		for sha256, want := range map[string]bool{known: true, unknown: false} {
			if has, err := rows.Has(t.Context(), sha256); err != nil || has != want {
				t.Errorf("Has %s: %v, %v", sha256[:1], has, err)
			}
			called := false
			deleted, err := rows.DeleteOrphan(t.Context(), sha256, func(string) error { called = true; return nil })
			if err != nil || deleted == want || called == want {
				t.Errorf("DeleteOrphan %s: %v, called %v, %v", sha256[:1], deleted, called, err)
			}
		}
		failed := errors.New("failed")
		if deleted, err := rows.DeleteOrphan(t.Context(), unknown, func(string) error { return failed }); deleted || !errors.Is(err, failed) {
			t.Errorf("unlink failed, and DeleteOrphan said %v, %v", deleted, err)
		}
		if has, err := rows.Has(t.Context(), unknown); err != nil || has {
			t.Errorf("an orphan has a row: %v, %v", has, err)
		}
	})
}

func TestInstallationIDStays(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		rows := repository.NewTargetFiles(db)
		first, err := rows.InstallationID(t.Context())
		if err != nil || first == "" {
			t.Fatal(first, err)
		}
		if second, err := rows.InstallationID(t.Context()); err != nil || second != first {
			t.Errorf("got %s and then %s, %v", first, second, err)
		}
	})
}
