package repository

import (
	"context"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"ospulse/internal/models"
)

// Hide begins to delete a session: from now on it is found by nobody. check gets
// the session as it is, and its error leaves everything as it was. A session that
// is hidden already is not_found.
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

// HideDeadImports begins to delete the sessions whose import got no further since
// a time.
func (r *Sessions) HideDeadImports(ctx context.Context, before, since time.Time) error {
	err := r.db.Write(ctx, func(tx *gorm.DB) error {
		return tx.Model(&models.Session{}).Where(hidden+" AND importing_since < ? AND deleting_since IS NULL", before).
			UpdateColumn("deleting_since", since).Error
	})
	return translate(r.db, err, "the session")
}

// ListDeleting gives up to limit IDs of sessions that are being deleted and come
// after an ID, by ID.
func (r *Sessions) ListDeleting(ctx context.Context, after string, limit int) ([]string, error) {
	var ids []string
	err := r.db.Read(ctx).Model(&models.Session{}).Where(hidden+" AND deleting_since IS NOT NULL AND id > ?", after).
		Order("id").Limit(limit).Pluck("id", &ids).Error
	return ids, translate(r.db, err, "the session")
}

// DeleteEvents deletes up to limit events of a session that is being deleted, the
// first ones, in one short transaction. It gives how many it deleted: 0 when none
// is left. Several may do so at once: they take turns.
func (r *Sessions) DeleteEvents(ctx context.Context, id string, limit int) (int64, error) {
	return r.deleteSome(ctx, id, func(tx *gorm.DB) *gorm.DB {
		var first []int64 // asked for by itself: PostgreSQL could not tell how little a span up to it is
		found := tx.Model(&models.Event{}).Where("session_id = ?", id).Order("seq").Limit(1).Pluck("seq", &first)
		if found.Error != nil || len(first) == 0 {
			return found
		}
		return tx.Where("session_id = ? AND seq >= ? AND seq < ?", id, first[0], first[0]+int64(limit)).Delete(&models.Event{})
	})
}

// DeleteProcesses does with a session's processes what DeleteEvents does.
func (r *Sessions) DeleteProcesses(ctx context.Context, id string, limit int) (int64, error) {
	return r.deleteSome(ctx, id, func(tx *gorm.DB) *gorm.DB {
		some := tx.Model(&models.Process{}).Select("id").Where("session_id = ?", id).Limit(limit)
		return tx.Where("id IN (?)", some).Delete(&models.Process{})
	})
}

// DeleteSegments does with a session's segments what DeleteEvents does.
func (r *Sessions) DeleteSegments(ctx context.Context, id string, limit int) (int64, error) {
	return r.deleteSome(ctx, id, func(tx *gorm.DB) *gorm.DB {
		some := tx.Model(&models.Segment{}).Select("number").Where("session_id = ?", id).Limit(limit)
		return tx.Where("session_id = ? AND number IN (?)", id, some).Delete(&models.Segment{})
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

// holdDeleting gives a session that is being deleted and holds its row; nil when
// there is none.
func holdDeleting(tx *gorm.DB, id string) (*models.Session, error) {
	var found []models.Session
	// Nothing on SQLite, where transactions queue.
	locking := clause.Locking{Strength: clause.LockingStrengthUpdate}
	err := tx.Clauses(locking).Where("id = ? AND deleting_since IS NOT NULL", id).Find(&found).Error
	if err != nil || len(found) == 0 {
		return nil, err
	}
	return &found[0], nil
}

// FinishDelete deletes a session that has no events, processes and segments any
// more, and its target file if no other session has it: unlink, which removes the
// content, is called while the file's row is held, so that nobody who stores the
// same content can come between. It reports whether the session is gone by that: one
// whose agent is still to be told of its end stays, unless it was deleted before
// giveUp, and so does one that has something of these again.
func (r *Sessions) FinishDelete(ctx context.Context, id string, giveUp time.Time, unlink func(sha256 string) error) (done bool, err error) {
	err = r.db.Write(ctx, func(tx *gorm.DB) error {
		session, err := holdDeleting(tx, id)
		if err != nil || session == nil || session.StopPending && session.DeletingSince.After(giveUp) {
			return err
		}
		for _, left := range []any{&models.Event{}, &models.Process{}, &models.Segment{}} {
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

// deleteUnused deletes a target file that no session has. Create holds the row
// too: a session that it adds is there to be seen once the row is held here.
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
