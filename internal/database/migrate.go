package database

import (
	"context"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"time"

	"gorm.io/gorm"

	"ospulse/internal/models"
	"ospulse/migrations"
)

// schemaMigration is one numbered migration that was applied.
type schemaMigration struct {
	Version   int       `gorm:"primaryKey;autoIncrement:false"`
	AppliedAt time.Time `gorm:"column:applied_at;not null"`
}

// Migrate brings the schema up to date: GORM's AutoMigrate for tables and
// columns, then the numbered SQL that was not applied yet, all in one
// transaction. Any number of programs may call it at once. A schema newer than
// this program is refused and left alone.
func (db *DB) Migrate(ctx context.Context) error {
	return db.write.WithContext(ctx).Transaction(func(tx *gorm.DB) error { // unlike Write, it can be interrupted
		if err := db.dialect.makeDurable(tx); err != nil {
			return fmt.Errorf("migrate the schema: %w", err)
		}
		if err := db.dialect.lockSchema(tx); err != nil {
			return fmt.Errorf("lock the schema: %w", err)
		}
		if err := tx.AutoMigrate(&schemaMigration{}); err != nil {
			return fmt.Errorf("migrate the schema: %w", err)
		}
		version, err := schemaVersion(tx)
		if err != nil {
			return err
		}
		if latest := latestMigration(db.Dialect()); version > latest {
			return fmt.Errorf("the database's schema is version %d, made by a newer OS-Pulse; this one knows versions up to %d: upgrade it, or use another database", version, latest)
		}
		if err := tx.AutoMigrate(&models.Agent{}, &models.Installation{}, &models.TargetFile{}, &models.Session{}, &models.SessionRun{}, &models.Event{}, &models.Process{}, &models.Segment{}, &models.SessionTotals{}, &models.IdempotencyKey{}, &models.WriterMark{}, &models.Lease{}); err != nil {
			return fmt.Errorf("migrate the schema: %w", err)
		}
		return applyMigrations(tx, db.Dialect(), version)
	})
}

// schemaVersion gives the number of the newest migration that was applied, 0 for
// none.
func schemaVersion(tx *gorm.DB) (int, error) {
	var version int
	if err := tx.Model(&schemaMigration{}).Select("COALESCE(MAX(version), 0)").Scan(&version).Error; err != nil {
		return 0, fmt.Errorf("read the schema's version: %w", err)
	}
	return version, nil
}

func applyMigrations(tx *gorm.DB, dialect string, version int) error {
	for i, name := range migrationNames(dialect) {
		number := i + 1
		if number <= version {
			continue
		}
		text, err := migrations.Files.ReadFile(name)
		if err != nil {
			return err
		}
		if err := tx.Exec(string(text)).Error; err != nil {
			return fmt.Errorf("apply migration %s: %w", name, err)
		}
		if err := tx.Create(&schemaMigration{Version: number, AppliedAt: tx.NowFunc()}).Error; err != nil {
			return fmt.Errorf("note migration %s: %w", name, err)
		}
	}
	return nil
}

func latestMigration(dialect string) int { return len(migrationNames(dialect)) }

// migrationNames gives the files of a dialect in their order. They are part of
// the program: it panics if they are not numbered 0001, 0002 … without gaps.
func migrationNames(dialect string) []string {
	names, err := fs.Glob(migrations.Files, path.Join(dialect, "*.sql"))
	if err != nil || len(names) == 0 {
		panic("database: no migrations for " + dialect)
	}
	for i, name := range names {
		number, _, _ := strings.Cut(path.Base(name), "_")
		if n, err := strconv.Atoi(number); err != nil || n != i+1 {
			panic("database: migration " + name + " is out of order")
		}
	}
	return names
}
