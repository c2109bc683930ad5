package models

import "time"

// TargetFile is an uploaded file, stored once however often it is uploaded. Its SHA-256
// (lower-case hex) is its key and its name on disk.
type TargetFile struct {
	SHA256    string    `gorm:"primaryKey;column:sha256;type:varchar(64)"`
	SizeBytes int64     `gorm:"column:size_bytes;not null"`
	CreatedAt time.Time `gorm:"autoCreateTime"`
	// NoContent is set when the file itself was never stored: an imported bundle may
	// name its target file without holding it.
	NoContent bool `gorm:"column:no_content;not null;default:false"`
}

// FileCheck is the result of comparing the storage of target files with their rows.
type FileCheck struct {
	CheckedAt time.Time
	Missing   int    // files that have a row and should be stored, but are not
	Error     string // why the check is incomplete; empty when it is complete
}
