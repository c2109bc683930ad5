package models

// Installation is the identity of a database. It has one row, which is created once.
type Installation struct {
	Number int    `gorm:"primaryKey;autoIncrement:false"` // always 1
	ID     string `gorm:"column:id;not null"`
}
