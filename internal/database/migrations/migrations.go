// Package migrations embeds the numbered SQL that GORM's AutoMigrate cannot
// express: partial, BRIN and covering indexes, storage options, first rows. One
// folder per dialect, files NNNN_name.sql; a number means the same change in
// both. A file that was released is never edited.
//
// "-- compatible: N" on a line of its own says that programs from version N on work
// with the schema as the file leaves it; without it no older program does. On
// PostgreSQL, a file of CREATE INDEX CONCURRENTLY IF NOT EXISTS statements, each
// ending with a semicolon at the end of its line, runs outside a transaction, and
// may have nothing else.
package migrations

import "embed"

// Files holds postgres/*.sql and sqlite/*.sql.
//
//go:embed postgres/*.sql sqlite/*.sql
var Files embed.FS
