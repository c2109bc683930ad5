package repository

import (
	"context"
	"crypto/rand"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"ospulse/internal/database"
	"ospulse/internal/models"
)

// TargetFiles stores the rows of target files.
type TargetFiles struct{ db *database.DB }

// NewTargetFiles returns the target files of db.
func NewTargetFiles(db *database.DB) *TargetFiles { return &TargetFiles{db} }

// InstallationID returns the identity of the database. It creates the identity if there
// is none.
func (r *TargetFiles) InstallationID(ctx context.Context) (string, error) {
	var found models.Installation
	err := r.db.Write(ctx, func(tx *gorm.DB) error {
		fresh := models.Installation{Number: 1, ID: rand.Text()}
		if err := tx.Clauses(clause.OnConflict{DoNothing: true}).Create(&fresh).Error; err != nil {
			return err
		}
		return tx.Take(&found).Error
	})
	return found.ID, translate(r.db, err, "the installation")
}

// Has reports whether a target file has a row.
func (r *TargetFiles) Has(ctx context.Context, sha256 string) (bool, error) {
	var n int64
	err := r.db.Read(ctx).Model(&models.TargetFile{}).Where("sha256 = ?", sha256).Count(&n).Error
	return n > 0, translate(r.db, err, "the target file")
}

// List returns up to limit target files that follow a SHA-256, by SHA-256. It
// leaves out those without content.
func (r *TargetFiles) List(ctx context.Context, after string, limit int) ([]models.TargetFile, error) {
	var files []models.TargetFile
	err := r.db.Read(ctx).Where("sha256 > ? AND NOT no_content", after).Order("sha256").Limit(limit).Find(&files).Error
	return files, translate(r.db, err, "the target file")
}

// DeleteOrphan calls unlink for a file that has no row, and reports whether it did. Until
// unlink returns, it reserves the row's key: a concurrent Create of the same file waits,
// and then calls its place.
func (r *TargetFiles) DeleteOrphan(ctx context.Context, sha256 string, unlink func(sha256 string) error) (deleted bool, err error) {
	err = r.db.Write(ctx, func(tx *gorm.DB) error {
		row := &models.TargetFile{SHA256: sha256}
		added := tx.Clauses(clause.OnConflict{DoNothing: true}).Create(row)
		if added.Error != nil || added.RowsAffected == 0 {
			return added.Error
		}
		if err := unlink(sha256); err != nil {
			return err
		}
		deleted = true
		return tx.Delete(row).Error
	})
	return deleted && err == nil, translate(r.db, err, "the target file")
}
