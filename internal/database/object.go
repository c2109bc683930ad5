package database

import (
	"context"

	"ospulse/internal/models"
)

// Objects keeps the data of blocks outside of the database, under names that depend on
// the data, so that a changed object is noticed. It bounds the time of each call. Errors
// of a service that does not answer or refuses are unavailable. internal/bucket
// implements it. It must be safe for concurrent use.
type Objects interface {
	// Name returns a new name for data. The names of an installation begin with its ID.
	Name(installationID string, data []byte) string
	// Put stores an object. When it returns nil, the object is durable.
	Put(ctx context.Context, name string, data []byte) error
	// Get returns an object. It returns models.ErrDamaged if the object is missing or
	// changed, and unavailable if the bucket has no object of this installation.
	Get(ctx context.Context, name string, sizeBytes int64) ([]byte, error)
	// Remove removes an object. Removing an object that is not there is no error.
	Remove(ctx context.Context, name string) error
	// Check checks that the service answers, and that the bucket is the one that this
	// installation has used before. known is the name of an object that should be there,
	// or "" if there is none yet.
	Check(ctx context.Context, installationID, known string) error
	// Failure returns why the last call failed; "" if the service answered.
	Failure() string
}

// Objects returns the storage of blocks that are not in the database; nil if the program
// has none.
func (db *DB) Objects() Objects { return db.objects }

// ErrNoObjects is the error of a read that needs an object, in a program that has no
// bucket.
var ErrNoObjects = models.Errorf(models.CodeUnavailable, "these events are in a bucket: set BLOCKS_URL to it") //nolint:gochecknoglobals // a constant
