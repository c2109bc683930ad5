package models

// Installation is the identity of a database: one row, made once.
type Installation struct {
	Number int    `gorm:"primaryKey;autoIncrement:false"` // always 1
	ID     string `gorm:"column:id;not null"`
}
