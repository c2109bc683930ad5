package models

import "time"

// TargetFile is an uploaded file, stored once however often it is uploaded: its
// SHA-256 (lower-case hex) is its key and its place on disk.
type TargetFile struct {
	SHA256    string    `gorm:"primaryKey;column:sha256;type:varchar(64)"`
	SizeBytes int64     `gorm:"column:size_bytes;not null"`
	CreatedAt time.Time `gorm:"autoCreateTime"`
}
