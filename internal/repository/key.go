package repository

import (
	"context"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"ospulse/internal/database"
	"ospulse/internal/models"
)

// Keys stores the keys of the API, and the browsers that are signed in with one.
type Keys struct{ db *database.DB }

// NewKeys returns the keys of db.
func NewKeys(db *database.DB) *Keys { return &Keys{db} }

// Valid returns the keys that are neither revoked nor expired at a time.
func (r *Keys) Valid(ctx context.Context, at time.Time) ([]models.APIKey, error) {
	var keys []models.APIKey
	err := r.db.ReadForIngest(ctx).Where("revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?)", at).Find(&keys).Error
	return keys, translate(r.db, err, "the keys")
}

// Exist reports whether any key was ever created.
func (r *Keys) Exist(ctx context.Context) (exist bool, err error) {
	err = r.db.ReadForIngest(ctx).Raw("SELECT EXISTS (SELECT 1 FROM api_keys)").Scan(&exist).Error
	return exist, translate(r.db, err, "the keys")
}

// List returns up to limit keys, newest first, with those that are revoked or expired.
func (r *Keys) List(ctx context.Context, limit int) ([]models.APIKey, error) {
	var keys []models.APIKey
	err := r.db.Read(ctx).Order("created_at DESC, id").Limit(limit).Find(&keys).Error
	return keys, translate(r.db, err, "the keys")
}

// FindByHash returns the key with a hash, or not_found. The same goes for a key that is
// revoked, or expired at a time.
func (r *Keys) FindByHash(ctx context.Context, hash string, at time.Time) (*models.APIKey, error) {
	var key models.APIKey
	err := r.db.ReadForIngest(ctx).Where("hash = ? AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?)", hash, at).Take(&key).Error
	return &key, translate(r.db, err, "the key")
}

// Create stores a new key. It returns conflict if there are maxKeys valid ones already.
func (r *Keys) Create(ctx context.Context, key *models.APIKey, maxKeys int) error {
	err := r.db.Write(ctx, func(tx *gorm.DB) error { return createKey(tx, key, maxKeys) })
	return translate(r.db, err, "the key")
}

func createKey(tx *gorm.DB, key *models.APIKey, maxKeys int) error {
	var valid int64
	if err := tx.Model(&models.APIKey{}).Where("revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?)", key.CreatedAt).Count(&valid).Error; err != nil {
		return err
	}
	if valid >= int64(maxKeys) {
		return models.Errorf(models.CodeConflict, "there are %d keys already, and no more are allowed: revoke some", valid)
	}
	return tx.Create(key).Error
}

// CreateEnrollment stores an enrollment, whose token works for a duration from now, and
// removes those whose time is over.
func (r *Keys) CreateEnrollment(ctx context.Context, enrollment *models.Enrollment, lasts time.Duration) error {
	err := r.db.Write(ctx, func(tx *gorm.DB) error {
		if err := tx.Where("until <= " + nowMicros(r.db)).Delete(&models.Enrollment{}).Error; err != nil {
			return err
		}
		if err := tx.Create(enrollment).Error; err != nil {
			return err
		}
		return tx.Model(enrollment).Update("until", gorm.Expr(nowMicros(r.db)+" + ?", lasts.Microseconds())).Error
	})
	return translate(r.db, err, "the enrollment")
}

// Enroll uses up an enrollment and stores the key that newKey returns for its agent. It
// returns not_found if the token was used before, does not exist or is too old, and conflict
// like Create.
func (r *Keys) Enroll(ctx context.Context, hash string, newKey func(*models.Enrollment) *models.APIKey, maxKeys int) (key *models.APIKey, err error) {
	err = r.db.Write(ctx, func(tx *gorm.DB) error {
		var used []models.Enrollment
		done := tx.Clauses(clause.Returning{}).Where("hash = ? AND until > "+nowMicros(r.db), hash).Delete(&used)
		if done.Error != nil {
			return done.Error
		}
		if len(used) == 0 {
			return gorm.ErrRecordNotFound
		}
		key = newKey(&used[0])
		return createKey(tx, key, maxKeys)
	})
	return key, translate(r.db, err, "the token")
}

// Revoke revokes a key at a time and ends its sign-ins. It returns the key, or not_found. A
// key that was revoked before stays as it is.
func (r *Keys) Revoke(ctx context.Context, id string, at time.Time) (*models.APIKey, error) {
	var key models.APIKey
	err := r.db.Write(ctx, func(tx *gorm.DB) error {
		if err := tx.Model(&models.APIKey{}).Where("id = ? AND revoked_at IS NULL", id).Update("revoked_at", at).Error; err != nil {
			return err
		}
		if err := tx.Where("key_id = ?", id).Delete(&models.SignIn{}).Error; err != nil {
			return err
		}
		return tx.Where("id = ?", id).Take(&key).Error
	})
	return &key, translate(r.db, err, "the key")
}

// MarkUsed stores when keys were used last, by their IDs.
func (r *Keys) MarkUsed(ctx context.Context, used map[string]time.Time) error {
	err := r.db.Write(ctx, func(tx *gorm.DB) error {
		for id, at := range used {
			if err := tx.Model(&models.APIKey{}).Where("id = ? AND (last_used_at IS NULL OR last_used_at < ?)", id, at).Update("last_used_at", at).Error; err != nil {
				return err
			}
		}
		return nil
	})
	return translate(r.db, err, "the keys")
}

// CreateSignIn stores a browser that signed in. The person of the sign-in has the same name
// and role in other browsers from then on. It returns conflict if the attempt was used.
func (r *Keys) CreateSignIn(ctx context.Context, signIn *models.SignIn) error {
	err := r.db.Write(ctx, func(tx *gorm.DB) error {
		if person := signIn.Person; person.Issuer != "" {
			if err := tx.Model(&models.SignIn{}).Where("key_id = ?", signIn.KeyID).Updates(map[string]any{"name": person.Name, "role": person.Role}).Error; err != nil {
				return err
			}
		}
		return tx.Create(signIn).Error
	})
	return translate(r.db, err, "the sign-in")
}

// SignIns returns the sign-ins that have not expired at a time.
func (r *Keys) SignIns(ctx context.Context, at time.Time) ([]models.SignIn, error) {
	var found []models.SignIn
	err := r.db.ReadForIngest(ctx).Where("expires_at > ?", at).Find(&found).Error
	return found, translate(r.db, err, "the sign-ins")
}

// FindSignIn returns the sign-in with a hash, or not_found. The same goes for one that has
// expired at a time.
func (r *Keys) FindSignIn(ctx context.Context, hash string, at time.Time) (*models.SignIn, error) {
	var found models.SignIn
	err := r.db.ReadForIngest(ctx).Where("hash = ? AND expires_at > ?", hash, at).Take(&found).Error
	return &found, translate(r.db, err, "the sign-in")
}

// DeleteSignInsOf removes the sign-ins with a key, or those of a person.
func (r *Keys) DeleteSignInsOf(ctx context.Context, keyID string) error {
	err := r.db.Write(ctx, func(tx *gorm.DB) error { return tx.Where("key_id = ?", keyID).Delete(&models.SignIn{}).Error })
	return translate(r.db, err, "the sign-ins")
}

// DeleteSignIn removes a sign-in, if it exists.
func (r *Keys) DeleteSignIn(ctx context.Context, hash string) error {
	err := r.db.Write(ctx, func(tx *gorm.DB) error { return tx.Where("hash = ?", hash).Delete(&models.SignIn{}).Error })
	return translate(r.db, err, "the sign-in")
}

// DeleteSignInsBefore removes the sign-ins that expired before a time.
func (r *Keys) DeleteSignInsBefore(ctx context.Context, at time.Time) error {
	err := r.db.Write(ctx, func(tx *gorm.DB) error { return tx.Where("expires_at < ?", at).Delete(&models.SignIn{}).Error })
	return translate(r.db, err, "the sign-ins")
}
