// Package repository stores and finds entities through GORM, one file per entity. It
// translates database errors into the codes of internal/models. It must not know the
// application's rules.
package repository

import (
	"context"
	"errors"

	"gorm.io/gorm"

	"ospulse/internal/database"
	"ospulse/internal/models"
)

// translate turns an error of GORM or the database into a *models.Error. what names the
// entity. The message says why the database failed. It returns errors of a cancelled
// context unchanged.
func translate(db *database.DB, err error, what string) error {
	e, isOurs := errors.AsType[*models.Error](err)
	switch {
	case err == nil:
		return nil
	case isOurs && e.Code == models.CodeUnavailable: // of the bucket, for example
		return err
	case errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, gorm.ErrRecordNotFound):
		return models.Wrap(err, models.CodeNotFound, "%s does not exist", what)
	case errors.Is(err, gorm.ErrDuplicatedKey):
		return models.Wrap(err, models.CodeConflict, "%s exists already", what)
	case errors.Is(err, gorm.ErrForeignKeyViolated):
		return models.Wrap(err, models.CodeConflict, "%s refers to something that does not exist", what)
	case db.Unavailable(err):
		return models.Wrap(err, models.CodeUnavailable, "%s", db.Reason(err))
	case db.BadContent(err):
		return models.Wrap(err, models.CodeInvalid, "%s", db.Reason(err))
	case isOurs:
		return err
	}
	return models.Wrap(err, models.CodeInternal, "the database failed: %s", db.Reason(err))
}
