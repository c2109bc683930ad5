// Package migrations embeds the numbered SQL that GORM's AutoMigrate cannot
// express: partial, BRIN and covering indexes, storage options, first rows. One
// folder per dialect, files NNNN_name.sql; a number means the same change in
// both. A file that was released is never edited.
package migrations

import "embed"

// Files holds postgres/*.sql and sqlite/*.sql.
//
//go:embed postgres/*.sql sqlite/*.sql
var Files embed.FS
