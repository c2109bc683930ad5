package repository

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"ospulse/internal/database"
	"ospulse/internal/models"
)

// Blocks moves the data of blocks from the database to objects of a bucket, and removes
// objects that no block uses.
type Blocks struct {
	db    *database.DB
	files *TargetFiles // for the installation's ID
}

// NewBlocks returns the blocks of db, whose program has a bucket.
func NewBlocks(db *database.DB) *Blocks { return &Blocks{db, NewTargetFiles(db)} }

const (
	// maxMoved and maxMovedBytes limit the blocks of one Move.
	maxMoved      = 16
	maxMovedBytes = 4 << 20
	// objectsAtOnce is the number of concurrent requests to the bucket.
	objectsAtOnce = 8
	// maxSwept is the number of objects that one step of Sweep removes.
	maxSwept = 500
)

// Check checks that the bucket answers and is that of this database.
func (r *Blocks) Check(ctx context.Context) error {
	_, err := r.check(ctx)
	return err
}

func (r *Blocks) check(ctx context.Context) (installationID string, err error) {
	id, err := r.files.InstallationID(ctx)
	if err != nil {
		return "", err
	}
	var known []string
	err = r.db.Read(ctx).Model(&models.Block{}).Where("object <> ''").Limit(1).Pluck("object", &known).Error
	if err != nil {
		return "", translate(r.db, err, "the block")
	}
	return id, r.db.Objects().Check(ctx, id, append(known, "")[0])
}

// Move moves some blocks whose data is in the database to the bucket, and returns their
// number; 0 if there are none. The objects are stored and noted as unused before a
// transaction makes the blocks use them. So a crash leaves objects that Sweep removes,
// and never a block without its data.
func (r *Blocks) Move(ctx context.Context) (int, error) {
	var blocks []models.Block
	err := r.db.Read(ctx).Where("object = '' AND length(data) > 0").Order("session_id, first_seq").Limit(maxMoved).Find(&blocks).Error
	if err != nil || len(blocks) == 0 {
		return 0, translate(r.db, err, "the block")
	}
	size := 0
	for i := range blocks {
		if size += len(blocks[i].Data); size > maxMovedBytes && i > 0 {
			blocks = blocks[:i]
			break
		}
	}
	id, err := r.check(ctx)
	if err != nil {
		return 0, err
	}
	names := make([]string, len(blocks))
	for i := range blocks {
		names[i] = r.db.Objects().Name(id, blocks[i].Data)
	}
	err = r.db.Write(ctx, func(tx *gorm.DB) error {
		for _, name := range names {
			if err := tx.Exec("INSERT INTO unused_objects (name, since) VALUES (?, "+nowMicros(r.db)+")", name).Error; err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return 0, translate(r.db, err, "the object")
	}
	err = atOnce(ctx, len(blocks), func(ctx context.Context, i int) error {
		return r.db.Objects().Put(ctx, names[i], blocks[i].Data)
	})
	if err != nil {
		return 0, err
	}
	err = r.db.Write(ctx, func(tx *gorm.DB) error {
		for i := range blocks {
			if err := useObject(tx, &blocks[i], names[i]); err != nil {
				return err
			}
		}
		return nil
	})
	return len(blocks), translate(r.db, err, "the block")
}

// useObject makes a block use an object instead of its data. It does nothing if the block
// was changed or deleted meanwhile. It returns conflict if Sweep is removing the object.
func useObject(tx *gorm.DB, b *models.Block, name string) error {
	used := tx.Model(&models.Block{}).Where("session_id = ? AND first_seq = ? AND object = '' AND data = ?", b.SessionID, b.FirstSeq, b.Data).
		UpdateColumns(map[string]any{"object": name, "object_bytes": len(b.Data), "data": []byte{}})
	if used.Error != nil || used.RowsAffected == 0 {
		return used.Error
	}
	noted := tx.Where("name = ? AND NOT is_doomed", name).Delete(&models.UnusedObject{})
	if noted.Error == nil && noted.RowsAffected == 0 {
		return errChanged
	}
	return noted.Error
}

// atOnce calls fn with 0 … n−1, up to objectsAtOnce at a time. It returns the first error.
func atOnce(ctx context.Context, n int, fn func(ctx context.Context, i int) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(objectsAtOnce)
	for i := range n {
		group.Go(func() error { return fn(ctx, i) })
	}
	return group.Wait()
}

// unlocked locks the selected rows, and leaves out those that another transaction has locked: two
// that wait for rows of each other would deadlock. It has no effect on SQLite, where transactions
// queue.
var unlocked = clause.Locking{Strength: clause.LockingStrengthUpdate, Options: clause.LockingOptionsSkipLocked} //nolint:gochecknoglobals // a constant

// Sweep removes the objects that no block has used for a time, and returns their number.
// age must exceed the time of every read and backup, because they may have begun when a
// block still used the object. Several programs may call Sweep at once.
func (r *Blocks) Sweep(ctx context.Context, age time.Duration) (removed int, err error) {
	for {
		var old, names []string
		err = r.db.Write(ctx, func(tx *gorm.DB) error {
			err := tx.Model(&models.UnusedObject{}).Where("since < "+nowMicros(r.db)+" - ? AND NOT is_doomed", age.Microseconds()).
				Order("since").Limit(maxSwept).Clauses(unlocked).Pluck("name", &old).Error
			if err == nil && len(old) > 0 {
				err = tx.Model(&models.UnusedObject{}).Where("name IN ?", old).UpdateColumn("is_doomed", true).Error
			}
			if err != nil {
				return err
			}
			return tx.Model(&models.UnusedObject{}).Where("is_doomed").Order("since").Limit(maxSwept).Pluck("name", &names).Error
		})
		if err != nil || len(names) == 0 {
			return removed, translate(r.db, err, "the object")
		}
		err = atOnce(ctx, len(names), func(ctx context.Context, i int) error { return r.db.Objects().Remove(ctx, names[i]) })
		if err != nil {
			return removed, err
		}
		err = r.db.Write(ctx, func(tx *gorm.DB) error {
			var gone []string
			err := tx.Model(&models.UnusedObject{}).Where("name IN ?", names).Clauses(unlocked).Pluck("name", &gone).Error
			if err != nil || len(gone) == 0 {
				return err
			}
			return tx.Where("name IN ?", gone).Delete(&models.UnusedObject{}).Error
		})
		if err != nil {
			return removed, translate(r.db, err, "the object")
		}
		removed += len(names)
	}
}
