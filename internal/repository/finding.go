package repository

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"ospulse/internal/database"
	"ospulse/internal/models"
)

// Findings stores what rules found.
type Findings struct {
	db     *database.DB
	levels []string
}

// NewFindings returns the findings of db. A new finding of one of the levels gets a notice, for
// the webhook.
func NewFindings(db *database.DB, levels []string) *Findings { return &Findings{db, levels} }

// ListUndetected returns up to limit visible sessions to whose events the rules of a version
// have not been applied, those with the newest changes first.
func (r *Findings) ListUndetected(ctx context.Context, rules string, limit int) (ids []string, err error) {
	err = r.db.Read(ctx).Raw("SELECT sessions.id FROM sessions LEFT JOIN detections d ON d.session_id = sessions.id WHERE "+visible+
		" AND sessions.event_count > sessions.expired_seq AND sessions.backfilled_seq >= sessions.backfill_up_to AND (d.session_id IS NULL OR d.rules <> ? OR d.up_to < sessions.event_count)"+
		" ORDER BY sessions.updated_at DESC, sessions.id LIMIT ?", rules, limit).Scan(&ids).Error
	return ids, translate(r.db, err, "the session")
}

// GetDetection returns how far rules have been applied to a session: the zero value if they
// have not been.
func (r *Findings) GetDetection(ctx context.Context, sessionID string) (d models.Detection, err error) {
	err = r.db.Read(ctx).Where("session_id = ?", sessionID).Limit(1).Find(&d).Error
	return d, translate(r.db, err, "session "+sessionID)
}

// Advance adds what was found in the events up to d.UpTo, if the session's detection is still
// before; it reports whether it is. If before has other rules, what they found is replaced.
// It stores nothing for a session that is hidden. A finding that the session did not have gets
// a notice, unless it had one before. If the findings change, it counts them in
// the session.
func (r *Findings) Advance(ctx context.Context, before, d models.Detection, found []models.Finding) (done bool, err error) {
	err = r.db.Write(ctx, func(tx *gorm.DB) error {
		done = false
		var now []models.Detection
		lock := clause.Locking{Strength: clause.LockingStrengthUpdate} // no effect on SQLite, where transactions queue
		var sessions []string
		strength := "KEY SHARE"
		if len(found) > 0 || before.Rules != d.Rules { // the counts may change: a later, stronger lock could deadlock
			strength = "NO KEY UPDATE"
		}
		if err := tx.Model(&models.Session{}).Clauses(clause.Locking{Strength: strength}).Where("id = ? AND "+visible, d.SessionID).Pluck("id", &sessions).Error; err != nil || len(sessions) == 0 {
			return err
		}
		if before.Rules == "" {
			created := tx.Clauses(clause.OnConflict{DoNothing: true}).Create(&models.Detection{SessionID: d.SessionID})
			if created.Error != nil || created.RowsAffected == 0 {
				return created.Error
			}
		}
		if err := tx.Clauses(lock).Where("session_id = ? AND up_to = ? AND rules = ?", d.SessionID, before.UpTo, before.Rules).Find(&now).Error; err != nil || len(now) == 0 {
			return err
		}
		changed := len(found) > 0
		known := map[string]bool{} // the rules whose findings are replaced
		if before.Rules != d.Rules {
			var ids []string
			if err := tx.Model(&models.Finding{}).Where("session_id = ?", d.SessionID).Pluck("rule_id", &ids).Error; err != nil {
				return err
			}
			for _, id := range ids {
				known[id] = true
			}
			deleted := tx.Where("session_id = ?", d.SessionID).Delete(&models.Finding{})
			if deleted.Error != nil {
				return deleted.Error
			}
			changed = changed || deleted.RowsAffected > 0
		}
		var notable []*models.Finding
		for i := range found {
			isNew, err := mergeFinding(tx, &found[i])
			if err != nil {
				return err
			}
			if isNew && !known[found[i].RuleID] && slices.Contains(r.levels, found[i].Level) {
				notable = append(notable, &found[i])
			}
		}
		if err := r.notify(tx, notable); err != nil {
			return err
		}
		if changed {
			if err := countFindings(tx, []string{d.SessionID}); err != nil {
				return err
			}
		}
		done = true
		return tx.Model(&now[0]).Select("up_to", "rules").Updates(&d).Error
	})
	return done && err == nil, translate(r.db, err, "session "+d.SessionID)
}

// dropAtOnce is the number of sessions of one transaction of Drop. Incoming events wait for it
// on SQLite.
const dropAtOnce = 500

// Drop removes what some rules found from the sessions to which the set of rules from was
// applied. The set to is from without these rules, so it counts as applied then. Drop calls
// changed with the sessions whose findings changed, after each of its transactions.
func (r *Findings) Drop(ctx context.Context, from, to string, ruleIDs []string, changed func(sessionIDs []string)) error {
	for more := true; more; {
		var some []string // sessions whose findings go
		err := r.db.Write(ctx, func(tx *gorm.DB) error {
			var ids []string
			if err := tx.Model(&models.Detection{}).Where("rules = ?", from).Limit(dropAtOnce).Pluck("session_id", &ids).Error; err != nil || len(ids) == 0 {
				more = false
				return err
			}
			// In the order in which incoming events lock sessions, and before detections as
			// Advance does.
			locked := tx.Model(&models.Session{}).Clauses(clause.Locking{Strength: "NO KEY UPDATE"}).Where("id IN ?", ids).Order(inBytes(r.db, "id")).Pluck("id", &ids)
			if locked.Error != nil {
				return locked.Error
			}
			if err := tx.Model(&models.Detection{}).Clauses(clause.Locking{Strength: clause.LockingStrengthUpdate}).Where("session_id IN ? AND rules = ?", ids, from).Pluck("session_id", &ids).Error; err != nil || len(ids) == 0 {
				return err
			}
			if err := tx.Model(&models.Finding{}).Distinct("session_id").Where("session_id IN ? AND rule_id IN ?", ids, ruleIDs).Pluck("session_id", &some).Error; err != nil {
				return err
			}
			if err := tx.Where("session_id IN ? AND rule_id IN ?", ids, ruleIDs).Delete(&models.Finding{}).Error; err != nil {
				return err
			}
			if err := countFindings(tx, some); err != nil {
				return err
			}
			return tx.Model(&models.Detection{}).Where("session_id IN ?", ids).Update("rules", to).Error
		})
		if err != nil {
			return translate(r.db, err, "the findings")
		}
		changed(some)
	}
	return nil
}

// countFindings counts the findings of sessions in their rows, which the caller has locked.
func countFindings(tx *gorm.DB, sessionIDs []string) error {
	if len(sessionIDs) == 0 {
		return nil
	}
	text := "UPDATE sessions SET finding_version = finding_version + 1"
	for _, level := range models.FindingLevels {
		text += ", findings_" + level + " = (SELECT COUNT(*) FROM findings WHERE session_id = sessions.id AND level = '" + level + "')" +
			" + (SELECT COUNT(*) FROM imported_findings WHERE session_id = sessions.id AND level = '" + level + "' AND " + imports + ")"
	}
	return tx.Exec(text+" WHERE id IN ?", sessionIDs).Error
}

// notify creates notices of findings of one session, in the order of their first events, unless
// there are some.
func (r *Findings) notify(tx *gorm.DB, found []*models.Finding) error {
	slices.SortStableFunc(found, func(a, b *models.Finding) int { return cmp.Compare(a.Seqs[0], b.Seqs[0]) })
	for _, f := range found {
		now := nowMicros(r.db)
		err := tx.Exec("INSERT INTO notices (session_id, rule_id, state, found_at, next_at, attempts, error) VALUES (?, ?, ?, "+now+", "+now+", 0, '') ON CONFLICT (session_id, rule_id) DO NOTHING",
			f.SessionID, f.RuleID, models.NoticeWaiting).Error
		if err != nil {
			return err
		}
	}
	return nil
}

// mergeFinding stores a finding, or adds it to the stored one of the rule.
func mergeFinding(tx *gorm.DB, found *models.Finding) (isNew bool, err error) {
	var stored []models.Finding
	if err := tx.Where("session_id = ? AND rule_id = ?", found.SessionID, found.RuleID).Find(&stored).Error; err != nil {
		return false, err
	}
	if len(stored) == 0 {
		return true, tx.Create(found).Error
	}
	stored[0].Merge(found)
	return false, tx.Select("event_count", "failed_count", "root_path", "seqs", "first_at", "last_at").Updates(&stored[0]).Error
}

// imports is the condition for findings of imports that are shown: no rule with the same ID
// found something here.
const imports = "NOT EXISTS (SELECT 1 FROM findings f WHERE f.session_id = imported_findings.session_id AND f.rule_id = imported_findings.rule_id)"

// List returns up to filter.Limit findings of visible sessions, the most severe first, and of
// one level those with the newest first event first. It has the imported ones of rules that
// found nothing here.
func (r *Findings) List(ctx context.Context, filter models.FindingFilter) (found []models.ListedFinding, err error) {
	for _, level := range filter.Levels {
		after := filter.After
		if after != nil && after.Level != level {
			if slices.Index(models.FindingLevels, level) < slices.Index(models.FindingLevels, after.Level) {
				continue
			}
			after = nil
		}
		limit := filter.Limit - len(found)
		some, err := r.listLevel(ctx, "findings", level, filter, after, limit)
		if err != nil {
			return nil, err
		}
		imported, err := r.listLevel(ctx, "imported_findings", level, filter, after, limit)
		if err != nil {
			return nil, err
		}
		for i := range imported {
			imported[i].IsImported = true
		}
		if some = append(some, imported...); len(imported) > 0 {
			slices.SortFunc(some, func(a, b models.ListedFinding) int {
				return cmp.Or(b.FirstAt.Compare(a.FirstAt), strings.Compare(b.SessionID, a.SessionID), strings.Compare(b.RuleID, a.RuleID))
			})
		}
		if found = append(found, some[:min(len(some), limit)]...); len(found) == filter.Limit {
			break
		}
	}
	return found, nil
}

// listedColumns returns the columns of a models.ListedFinding in a join of a table of findings
// with sessions.
func listedColumns(table string) string {
	return table + ".session_id, rule_id, version, title, level, " + table + ".tags, author, license, " + table + ".event_count, failed_count, first_at, last_at, pid, process_name, target, root_path, sessions.name AS session_name, sessions.file_name"
}

// listLevel returns up to limit findings of one level from a table, which is findings or
// imported_findings.
func (r *Findings) listLevel(ctx context.Context, table, level string, filter models.FindingFilter, after *models.FindingCursor, limit int) (found []models.ListedFinding, err error) {
	query := r.db.Read(ctx).Table(table).Joins("JOIN sessions ON sessions.id = "+table+".session_id").Select(listedColumns(table)).Where("level = ? AND "+visible, level)
	if table == "imported_findings" {
		query = query.Where(imports)
	}
	session, rule := inBytes(r.db, "session_id"), inBytes(r.db, "rule_id") // List merges in this order
	if after != nil {
		query = query.Where("(first_at, "+session+", "+rule+") < (?, ?, ?)", after.FirstAt, after.SessionID, after.RuleID)
	}
	if filter.RuleID != "" {
		query = query.Where("rule_id = ?", filter.RuleID)
	}
	if filter.SessionID != "" {
		query = query.Where("session_id = ?", filter.SessionID)
	}
	tags := "LOWER(" + inBytes(r.db, table+".tags") + ")"
	if filter.Tag != "" {
		query = query.Where(position(r.db, tags), lower(string(jsonText(filter.Tag))))
	}
	if len(filter.Techniques) > 0 {
		var some []string
		var args []any
		for _, id := range filter.Techniques {
			tag := `"attack.` + lower(id)
			some, args = append(some, position(r.db, tags), position(r.db, tags)), append(args, tag+`"`, tag+".")
		}
		query = query.Where("("+strings.Join(some, " OR ")+")", args...)
	}
	err = query.Order("first_at DESC, " + session + " DESC, " + rule + " DESC").Limit(limit).Scan(&found).Error
	return found, translate(r.db, err, "the findings")
}

// ListOfSession returns the findings of a session, the most severe first. It adds the imported
// ones of rules that found nothing here.
func (r *Findings) ListOfSession(ctx context.Context, sessionID string) ([]models.Finding, error) {
	return listFindings(ctx, r.db, sessionID)
}

func listFindings(ctx context.Context, db *database.DB, sessionID string) (found []models.Finding, err error) {
	if err := db.Read(ctx).Where("session_id = ?", sessionID).Find(&found).Error; err != nil {
		return nil, translate(db, err, "session "+sessionID)
	}
	var imported []models.ImportedFinding
	err = db.Read(ctx).Where("session_id = ? AND "+imports, sessionID).Find(&imported).Error
	for i := range imported {
		imported[i].IsImported = true
		found = append(found, imported[i].Finding)
	}
	slices.SortFunc(found, func(a, b models.Finding) int {
		return cmp.Or(models.LevelRank(b.Level)-models.LevelRank(a.Level), a.FirstAt.Compare(b.FirstAt), strings.Compare(a.RuleID, b.RuleID))
	})
	return found, translate(db, err, "session "+sessionID)
}
