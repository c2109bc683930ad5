package repository

import (
	"context"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"ospulse/internal/models"
)

// Hide begins to delete a session: no other query finds it from now on. check receives
// the session; if it fails, Hide changes nothing. Hide returns not_found if the session
// is hidden already.
func (r *Sessions) Hide(ctx context.Context, id string, since time.Time, check func(*models.Session) error) error {
	_, err := r.Update(ctx, id, func(session *models.Session) error {
		if err := check(session); err != nil {
			return err
		}
		session.DeletingSince = &since
		return nil
	})
	return err
}

// HideDeadImports begins to delete the sessions whose import has made no progress since a
// time.
func (r *Sessions) HideDeadImports(ctx context.Context, before, since time.Time) error {
	err := r.db.Write(ctx, func(tx *gorm.DB) error {
		return tx.Model(&models.Session{}).Where(hidden+" AND importing_since < ? AND deleting_since IS NULL", before).
			UpdateColumn("deleting_since", since).Error
	})
	return translate(r.db, err, "the session")
}

// ListDeleting returns up to limit IDs of sessions that are being deleted, by ID, after
// an ID.
func (r *Sessions) ListDeleting(ctx context.Context, after string, limit int) ([]string, error) {
	var ids []string
	err := r.db.Read(ctx).Model(&models.Session{}).Where(hidden+" AND deleting_since IS NOT NULL AND id > ?", after).
		Order("id").Limit(limit).Pluck("id", &ids).Error
	return ids, translate(r.db, err, "the session")
}

// DeleteEvents deletes the first events, up to limit, of a session that is being deleted,
// in one short transaction. It returns the number of deleted events; 0 if none is left.
// Concurrent calls take turns.
func (r *Sessions) DeleteEvents(ctx context.Context, id string, limit int) (int64, error) {
	return r.deleteSome(ctx, id, func(tx *gorm.DB) *gorm.DB {
		var first []int64 // a query of its own: PostgreSQL cannot estimate the size of a span otherwise
		found := tx.Model(&models.Event{}).Where("session_id = ?", id).Order("seq").Limit(1).Pluck("seq", &first)
		if found.Error != nil || len(first) == 0 {
			return found
		}
		return tx.Where("session_id = ? AND seq >= ? AND seq < ?", id, first[0], first[0]+int64(limit)).Delete(&models.Event{})
	})
}

// DeleteProcesses is DeleteEvents for a session's processes.
func (r *Sessions) DeleteProcesses(ctx context.Context, id string, limit int) (int64, error) {
	return r.deleteSome(ctx, id, func(tx *gorm.DB) *gorm.DB {
		some := tx.Model(&models.Process{}).Select("id").Where("session_id = ?", id).Limit(limit)
		return tx.Where("id IN (?)", some).Delete(&models.Process{})
	})
}

// DeleteSegments is DeleteEvents for a session's segments.
func (r *Sessions) DeleteSegments(ctx context.Context, id string, limit int) (int64, error) {
	return r.deleteSome(ctx, id, func(tx *gorm.DB) *gorm.DB {
		some := tx.Model(&models.Segment{}).Select("number").Where("session_id = ?", id).Limit(limit)
		return tx.Where("session_id = ? AND number IN (?)", id, some).Delete(&models.Segment{})
	})
}

// DeleteBlocks is DeleteEvents for a session's blocks.
func (r *Sessions) DeleteBlocks(ctx context.Context, id string, limit int) (int64, error) {
	return r.deleteSome(ctx, id, func(tx *gorm.DB) *gorm.DB {
		some := tx.Model(&models.Block{}).Select("first_seq").Where("session_id = ?", id).Limit(limit)
		return tx.Where("session_id = ? AND first_seq IN (?)", id, some).Delete(&models.Block{})
	})
}

func (r *Sessions) deleteSome(ctx context.Context, id string, remove func(*gorm.DB) *gorm.DB) (n int64, err error) {
	err = r.db.Write(ctx, func(tx *gorm.DB) error {
		session, err := holdDeleting(tx, id)
		if err != nil || session == nil {
			return err
		}
		removed := remove(tx)
		n = removed.RowsAffected
		return removed.Error
	})
	return n, translate(r.db, err, "session "+id)
}

// holdDeleting locks and returns a session that is being deleted; nil if there is none.
func holdDeleting(tx *gorm.DB, id string) (*models.Session, error) {
	var found []models.Session
	// No effect on SQLite, where transactions queue.
	locking := clause.Locking{Strength: clause.LockingStrengthUpdate}
	err := tx.Clauses(locking).Where("id = ? AND deleting_since IS NOT NULL", id).Find(&found).Error
	if err != nil || len(found) == 0 {
		return nil, err
	}
	return &found[0], nil
}

// FinishDelete deletes a session without events, processes, segments and blocks, and its target
// file if no other session uses it. It calls unlink, which removes the content, while it
// holds the file's row, so that a concurrent Create with the same content waits. It
// reports whether the session is deleted. It keeps a session whose agent does not know of
// its end yet, unless the session was deleted before giveUp, and a session that has
// any of them again.
func (r *Sessions) FinishDelete(ctx context.Context, id string, giveUp time.Time, unlink func(sha256 string) error) (done bool, err error) {
	err = r.db.Write(ctx, func(tx *gorm.DB) error {
		session, err := holdDeleting(tx, id)
		if err != nil || session == nil || session.StopPending && session.DeletingSince.After(giveUp) {
			return err
		}
		for _, left := range []any{&models.Event{}, &models.Process{}, &models.Segment{}, &models.Block{}} {
			var found []string
			if err := tx.Model(left).Where("session_id = ?", id).Limit(1).Pluck("session_id", &found).Error; err != nil || len(found) > 0 {
				return err
			}
		}
		if err := tx.Delete(session).Error; err != nil {
			return err
		}
		done = true
		if session.FileSHA256 == nil {
			return nil
		}
		return deleteUnused(tx, *session.FileSHA256, unlink)
	})
	return done && err == nil, translate(r.db, err, "session "+id)
}

// deleteUnused deletes a target file that no session uses. Create locks the row too, so
// that a session which it adds is visible once the row is locked here.
func deleteUnused(tx *gorm.DB, sha256 string, unlink func(sha256 string) error) error {
	var file []models.TargetFile
	locking := clause.Locking{Strength: clause.LockingStrengthUpdate}
	if err := tx.Clauses(locking).Where("sha256 = ?", sha256).Find(&file).Error; err != nil || len(file) == 0 {
		return err
	}
	var users []string
	if err := tx.Model(&models.Session{}).Where("file_sha256 = ?", sha256).Limit(1).Pluck("id", &users).Error; err != nil || len(users) > 0 {
		return err
	}
	if err := tx.Delete(&file[0]).Error; err != nil {
		return err
	}
	return unlink(sha256)
}
