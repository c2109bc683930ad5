package repository

import (
	"context"
	"encoding/json"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"ospulse/internal/database"
	"ospulse/internal/models"
)

// maxImportStep and maxImportStepBytes limit the rows and the data that one transaction
// of an import adds or deletes. Incoming events wait no longer than that takes.
const (
	maxImportStep      = 1000
	maxImportStepBytes = 4 << 20
)

// BeginImport creates the session that an import fills: with its ID only, and hidden
// until FinishImport. It returns conflict if a session with that ID exists, hidden or
// not.
func (r *Transfers) BeginImport(ctx context.Context, id string, now time.Time) error {
	err := r.db.Write(ctx, func(tx *gorm.DB) error {
		return tx.Omit(clause.Associations).Create(&models.Session{ID: id, ImportingSince: &now}).Error
	})
	return translate(r.db, err, "session "+id)
}

// importing is the condition for the row of a session that is being imported and is not
// given up.
const importing = "id = ? AND importing_since IS NOT NULL AND deleting_since IS NULL"

// AddEvents adds events, with their SessionID and Seq, to a session that is being
// imported. It returns conflict if the import was taken for dead and is being deleted.
func (r *Transfers) AddEvents(ctx context.Context, sessionID string, events []models.Event, now time.Time) error {
	size := func(i int) int { return len(events[i].Data) + len(events[i].DataRaw) }
	return r.addRows(ctx, sessionID, now, len(events), size, func(tx database.Bulk, from, to int) error {
		some := events[from:to]
		return insertEvents(ctx, tx, len(some), func(i int) *models.Event { return &some[i] })
	})
}

// AddProcesses is AddEvents for processes.
func (r *Transfers) AddProcesses(ctx context.Context, sessionID string, processes []models.Process, now time.Time) error {
	rows := make([][]any, len(processes))
	for i := range processes {
		p := &processes[i]
		counts, err := json.Marshal(p.EventCounts)
		if err != nil {
			return err
		}
		rows[i] = []any{p.SessionID, p.PID, p.StartedAt, p.StartKnown, orNil(p.ParentPID), orNil(p.ParentStartedAt),
			p.Name, p.Image, p.CommandLine, p.FirstSeen, p.LastSeen, string(counts)}
	}
	size := func(i int) int { return len(processes[i].CommandLine) }
	return r.addRows(ctx, sessionID, now, len(rows), size, func(tx database.Bulk, from, to int) error {
		return tx.Insert(ctx, "processes", processColumns, to-from, func(i int) []any { return rows[from+i] })
	})
}

// AddFindings is AddEvents for what the rules of another backend found.
func (r *Transfers) AddFindings(ctx context.Context, sessionID string, found []models.Finding, now time.Time) error {
	rows := make([][]any, len(found))
	for i := range found {
		f := &found[i]
		tags, err := json.Marshal(f.Tags)
		if err != nil {
			return err
		}
		seqs, err := json.Marshal(f.Seqs)
		if err != nil {
			return err
		}
		rows[i] = []any{sessionID, f.RuleID, f.Version, f.Title, f.Level, string(tags), f.Author, f.License,
			f.Count, string(seqs), f.FirstAt, f.LastAt, orNil(f.PID), orNil(f.ProcessName), orNil(f.Target), f.Failed, orNil(f.RootPath)}
	}
	size := func(i int) int { return len(rows[i][9].(string)) }
	return r.addRows(ctx, sessionID, now, len(rows), size, func(tx database.Bulk, from, to int) error {
		return tx.Insert(ctx, "imported_findings", findingColumns, to-from, func(i int) []any { return rows[from+i] })
	})
}

// findingColumns are the columns that AddFindings fills.
var findingColumns = []string{ //nolint:gochecknoglobals // a constant
	"session_id", "rule_id", "version", "title", "level", "tags", "author", "license",
	"event_count", "seqs", "first_at", "last_at", "pid", "process_name", "target", "failed_count", "root_path",
}

// processColumns are the columns that AddProcesses fills. The database assigns the IDs.
var processColumns = []string{ //nolint:gochecknoglobals // a constant
	"session_id", "pid", "started_at", "start_known", "parent_pid", "parent_started_at",
	"name", "image", "command_line", "first_seen", "last_seen", "event_counts",
}

// addRows adds n rows in steps. Each step is a transaction that also records the import's
// progress. size returns the bytes of a row.
func (r *Transfers) addRows(ctx context.Context, sessionID string, now time.Time, n int, size func(i int) int, add func(tx database.Bulk, from, to int) error) error {
	for from, to := 0, 0; from < n; from = to {
		for bytes := 0; to < n && to-from < maxImportStep && bytes < maxImportStepBytes; to++ {
			bytes += size(to)
		}
		err := r.db.BulkBeside(ctx, func(tx database.Bulk) error {
			isThere := false
			var had string
			err := tx.Run(ctx, database.Statement{
				Text: "UPDATE sessions SET importing_since = ? WHERE " + importing + " RETURNING durability",
				Args: []any{now, sessionID},
				Dest: []any{&had},
				Row:  func() { isThere = true },
			})
			switch {
			case err != nil:
				return err
			case !isThere:
				return errImportGone
			}
			if err := tx.Run(ctx, noteDurability(nil, tx, sessionID, had)...); err != nil {
				return err
			}
			return add(tx, from, to)
		})
		if err != nil {
			return translate(r.db, err, "the row of the bundle")
		}
	}
	return nil
}

// errImportGone means that the import's session does not exist any more.
var errImportGone = models.Errorf(models.CodeConflict, "the import took so long that it was taken for dead: send the bundle again") //nolint:gochecknoglobals // a constant

// FinishImport sets the values of a completely imported session and makes it visible. If
// file is not nil, it is the session's target file, and FinishImport calls place as
// Sessions.Create does.
func (r *Transfers) FinishImport(ctx context.Context, session *models.Session, file *models.TargetFile, place func() error) error {
	err := r.db.Write(ctx, func(tx *gorm.DB) error {
		if file != nil {
			if err := holdFile(tx, file, place); err != nil {
				return err
			}
		}
		done := tx.Model(&models.Session{}).Where(importing, session.ID).
			Select("*").Omit("id", "durability", clause.Associations).UpdateColumns(session) // also the times
		if done.Error != nil {
			return done.Error
		}
		if done.RowsAffected == 0 {
			return errImportGone
		}
		if err := countFindings(tx, []string{session.ID}); err != nil {
			return err
		}
		return claimAll(tx, session)
	})
	return translate(r.db, err, "session "+session.ID)
}

// claimAll stores that all events of a session are claimed.
func claimAll(tx *gorm.DB, session *models.Session) error {
	var all []models.Claim
	for first := int64(0); first < session.EventCount; first += models.SegmentEvents {
		claim := models.Claim{SessionID: session.ID, Number: first / models.SegmentEvents}
		if n := session.EventCount - first; n < models.SegmentEvents {
			bits := claimsOf(nil)
			for seq := first + 1; seq <= session.EventCount; seq++ {
				bits.flip(seq)
			}
			claim.Sent = bits
		}
		all = append(all, claim)
	}
	return tx.Omit(clause.Associations).CreateInBatches(all, maxImportStep).Error
}

// AbortImport deletes what an import has added, in steps, and then its session. It
// changes only sessions that are being imported.
func (r *Transfers) AbortImport(ctx context.Context, id string) error {
	for _, step := range []func(tx *gorm.DB) *gorm.DB{
		func(tx *gorm.DB) *gorm.DB { return deleteSome(tx, &models.Event{}, id) },
		func(tx *gorm.DB) *gorm.DB { return deleteSome(tx, &models.Process{}, id) },
		func(tx *gorm.DB) *gorm.DB {
			return tx.Where("id = ? AND importing_since IS NOT NULL", id).Delete(&models.Session{})
		},
	} {
		for deleted := int64(1); deleted > 0; {
			err := r.db.Write(ctx, func(tx *gorm.DB) error {
				done := step(tx)
				deleted = done.RowsAffected
				return done.Error
			})
			if err != nil {
				return translate(r.db, err, "session "+id)
			}
		}
	}
	return nil
}

// deleteSome deletes up to maxImportStep rows of a session that is being imported.
func deleteSome(tx *gorm.DB, model any, sessionID string) *gorm.DB {
	some := tx.Session(&gorm.Session{NewDB: true}).Model(model).Select("id").Limit(maxImportStep).
		Where("session_id = ? AND EXISTS (SELECT 1 FROM sessions WHERE sessions.id = ? AND importing_since IS NOT NULL)", sessionID, sessionID)
	return tx.Where("id IN (?)", some).Delete(model)
}
