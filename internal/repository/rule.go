package repository

import (
	"context"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"ospulse/internal/database"
	"ospulse/internal/models"
)

// Rules stores the rules that users wrote, and which rules they turned off.
type Rules struct{ db *database.DB }

// NewRules returns the rules of db.
func NewRules(db *database.DB) *Rules { return &Rules{db} }

// Revision returns a number that grows with each change; 0 before the first one.
func (r *Rules) Revision(ctx context.Context) (revision int64, err error) {
	err = r.db.Read(ctx).Model(&models.RuleRevision{}).Select("COALESCE(MAX(revision), 0)").Scan(&revision).Error
	return revision, translate(r.db, err, "the rules")
}

// List returns everything, as it is at the returned revision or later.
func (r *Rules) List(ctx context.Context) (all models.StoredRules, err error) {
	if all.Revision, err = r.Revision(ctx); err != nil {
		return all, err
	}
	if err := r.db.Read(ctx).Order("id").Find(&all.Rules).Error; err != nil {
		return all, translate(r.db, err, "the rules")
	}
	var off []models.RuleOff
	err = r.db.Read(ctx).Find(&off).Error
	all.Off = map[string]bool{}
	for _, o := range off {
		all.Off[o.RuleID] = true
	}
	return all, translate(r.db, err, "the rules")
}

// Get returns a user's rule, or not_found.
func (r *Rules) Get(ctx context.Context, id string) (*models.UserRule, error) {
	var rule models.UserRule
	err := r.db.Read(ctx).Where("id = ?", id).Take(&rule).Error
	return &rule, translate(r.db, err, "rule "+id)
}

// Create stores a new rule. It calls check with the number and the bytes of all users' rules,
// those of the new one included. It returns conflict if there is a rule with the ID.
func (r *Rules) Create(ctx context.Context, rule *models.UserRule, check func(rules, sizeBytes int64) error) error {
	return r.change(ctx, rule.ID, func(tx *gorm.DB) error {
		if err := tx.Create(rule).Error; err != nil {
			return err
		}
		return checkSize(tx, check)
	})
}

// Replace replaces the text of a rule if it still has a version; otherwise it returns
// conflict. It returns not_found if the rule is gone.
func (r *Rules) Replace(ctx context.Context, rule *models.UserRule, version string, check func(rules, sizeBytes int64) error) error {
	return r.change(ctx, rule.ID, func(tx *gorm.DB) error {
		done := tx.Model(rule).Where("version = ?", version).Select("text", "version", "size_bytes").Updates(rule)
		if done.Error != nil {
			return done.Error
		}
		if done.RowsAffected == 0 {
			if err := tx.Select("id").Where("id = ?", rule.ID).Take(&models.UserRule{}).Error; err != nil {
				return err
			}
			return models.Errorf(models.CodeConflict, "the rule was changed meanwhile: read it again, and change the new text")
		}
		return checkSize(tx, check)
	})
}

// Delete deletes a rule, or returns not_found.
func (r *Rules) Delete(ctx context.Context, id string) error {
	return r.change(ctx, id, func(tx *gorm.DB) error {
		done := tx.Where("id = ?", id).Delete(&models.UserRule{})
		if done.Error != nil {
			return done.Error
		}
		if done.RowsAffected == 0 {
			return gorm.ErrRecordNotFound
		}
		return tx.Where("rule_id = ?", id).Delete(&models.RuleOff{}).Error
	})
}

// SetOff turns a rule of any source off or on.
func (r *Rules) SetOff(ctx context.Context, id string, isOff bool) error {
	return r.change(ctx, id, func(tx *gorm.DB) error {
		if isOff {
			return tx.Clauses(clause.OnConflict{DoNothing: true}).Create(&models.RuleOff{RuleID: id, At: time.Now().UTC().Truncate(time.Microsecond)}).Error
		}
		return tx.Where("rule_id = ?", id).Delete(&models.RuleOff{}).Error
	})
}

// change runs fn in a transaction that no other change overlaps.
func (r *Rules) change(ctx context.Context, id string, fn func(tx *gorm.DB) error) error {
	err := r.db.Write(ctx, func(tx *gorm.DB) error {
		if err := tx.Exec("INSERT INTO rule_revisions (id, revision) VALUES (1, 1) ON CONFLICT (id) DO UPDATE SET revision = rule_revisions.revision + 1").Error; err != nil {
			return err
		}
		return fn(tx)
	})
	return translate(r.db, err, "rule "+id)
}

func checkSize(tx *gorm.DB, check func(rules, sizeBytes int64) error) error {
	var all struct{ Rules, Size int64 }
	if err := tx.Model(&models.UserRule{}).Select("COUNT(*) AS rules, COALESCE(SUM(size_bytes), 0) AS size").Scan(&all).Error; err != nil {
		return err
	}
	return check(all.Rules, all.Size)
}
