package service_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"ospulse/internal/database"
	"ospulse/internal/models"
	"ospulse/internal/repository"
	"ospulse/internal/service"
	"ospulse/test/dbtest"
)

// TestAuditAtOnce checks that no entry of many actions at once is lost or mixed up, that a
// reader meanwhile sees each once, newest first, and that a finished entry stays as it is.
func TestAuditAtOnce(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		const actors, each = 8, 20
		var logged bytes.Buffer
		audit := service.NewAudit(repository.NewAudit(db), 0, time.Now, time.Now, slog.New(slog.NewTextHandler(&logged, nil)))
		var all sync.WaitGroup
		var last models.AuditEntry
		for i := range actors {
			all.Go(func() {
				for j := range each {
					entry := models.AuditEntry{ActorName: fmt.Sprint(i), Action: "updateSession", Target: fmt.Sprint(j)}
					if j%2 == 0 { // the others were refused
						if err := audit.Begin(t.Context(), &entry); err != nil {
							t.Error(err)
						}
					}
					entry.After, entry.Status = fmt.Sprintf(`"%d %d"`, i, j), 200
					audit.Record(t.Context(), &entry)
					if i == 0 && j == 0 {
						last = entry
					}
				}
			})
		}
		read := func() (entries []models.AuditEntry) {
			for page, err := range audit.All(t.Context(), models.AuditFilter{}) {
				if err != nil {
					t.Error(err)
				}
				entries = append(entries, page...)
			}
			for i := 1; i < len(entries); i++ {
				if entries[i].ID >= entries[i-1].ID {
					t.Errorf("entry %d follows %d", entries[i].ID, entries[i-1].ID)
				}
			}
			return entries
		}
		for range 20 {
			read()
		}
		all.Wait()
		entries := read()
		for _, e := range entries {
			if want := fmt.Sprintf("%q", e.ActorName+" "+e.Target); e.Status != 200 || e.After != want {
				t.Errorf("an entry has the status %d and %s, want %s", e.Status, e.After, want)
			}
		}
		if len(entries) != actors*each || logged.Len() > 0 {
			t.Errorf("%d entries of %d; %s", len(entries), actors*each, &logged)
		}
		last.Status = 500
		audit.Record(t.Context(), &last)
		if entries := read(); entries[len(entries)-1].Status != 200 || !strings.Contains(logged.String(), "could not be stored") {
			t.Errorf("a finished entry was changed to %+v; %s", entries[len(entries)-1], &logged)
		}
	})
}
