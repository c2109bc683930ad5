package models

// UnusedObject is an object of the bucket of blocks that no block uses: one that is about
// to be stored and used, or one that is to be removed. Every object has a row here before
// it is stored. A trigger adds the objects of deleted blocks.
type UnusedObject struct {
	Name  string `gorm:"primaryKey;type:varchar(255)"`
	Since int64  `gorm:"not null;index:idx_unused_objects_since"` // microseconds since 1970, by the database's clock
	// IsDoomed is true from the moment when a worker begins to remove the object. No block
	// may use it any more.
	IsDoomed bool `gorm:"column:is_doomed;not null;default:false"`
}
