package repository

import (
	"context"
	"encoding/json"
	"strings"

	"gorm.io/gorm"

	"ospulse/internal/database"
	"ospulse/internal/models"
)

// List returns up to filter.Limit visible sessions, newest first; those of the same
// moment by descending ID. With filter.Severe, those with the most severe findings come first.
func (r *Sessions) List(ctx context.Context, filter models.SessionFilter) ([]models.Session, error) {
	var sessions []models.Session
	err := r.selected(ctx, filter).Find(&sessions).Error
	return sessions, translate(r.db, err, "the session")
}

// selected is the query of List.
func (r *Sessions) selected(ctx context.Context, filter models.SessionFilter) *gorm.DB {
	query := r.db.Read(ctx).Model(&models.Session{}).Where(visible)
	switch filter.State {
	case models.StateCreated:
		query = query.Where("NOT is_active AND start_requested IS NULL AND monitoring_ended IS NULL AND start_error_code = ''")
	case models.StateStarting:
		query = query.Where("NOT is_active AND start_requested IS NOT NULL")
	case models.StateFailed:
		query = query.Where("NOT is_active AND start_requested IS NULL AND monitoring_ended IS NULL AND start_error_code <> ''")
	case models.StateActive:
		query = query.Where("is_active")
	case models.StateEnded:
		query = query.Where("NOT is_active AND start_requested IS NULL AND monitoring_ended IS NOT NULL")
	}
	if filter.AgentID != "" {
		query = query.Where("agent_id = ?", filter.AgentID)
	}
	if filter.SHA256 != "" {
		hash := inBytes(r.db, "file_sha256")
		query = query.Where(hash+" >= ? AND "+hash+" < ?", filter.SHA256, filter.SHA256+"g") // g follows the hex digits
	}
	if filter.FileName != "" {
		query = query.Where(contains(r.db, "file_name"), lower(filter.FileName))
	}
	if filter.Text != "" {
		text := lower(filter.Text)
		query = query.Where("("+contains(r.db, "name")+" OR "+contains(r.db, "notes")+" OR "+contains(r.db, "file_name")+")", text, text, text)
	}
	if filter.Tag != "" {
		// Elements follow [ or a comma. A quote inside an element has a backslash before
		// it.
		tag := string(jsonText(filter.Tag))
		query = query.Where("("+position(r.db, "tags")+" OR "+position(r.db, "tags")+")", "["+tag, ","+tag)
	}
	if filter.Kept {
		query = query.Where("keep")
	}
	if !filter.From.IsZero() {
		query = query.Where("created_at >= ?", filter.From)
	}
	if !filter.To.IsZero() {
		query = query.Where("created_at <= ?", filter.To)
	}
	if filter.Level != "" {
		query = query.Where(levelRank+" >= ?", models.LevelRank(filter.Level))
	}
	if after := filter.After; after != nil && filter.Severe {
		query = query.Where("("+levelRank+", created_at, id) < (?, ?, ?)", after.Rank, after.CreatedAt, after.ID)
	} else if after != nil {
		query = query.Where("(created_at, id) < (?, ?)", after.CreatedAt, after.ID)
	}
	if filter.Severe {
		query = query.Order(levelRank + " DESC")
	}
	return query.Order("created_at DESC, id DESC").Limit(filter.Limit)
}

// levelRank is models.LevelRank of the highest level of a session's findings.
const levelRank = "CASE WHEN findings_critical > 0 THEN 5 WHEN findings_high > 0 THEN 4 WHEN findings_medium > 0 THEN 3 WHEN findings_low > 0 THEN 2 WHEN findings_informational > 0 THEN 1 ELSE 0 END"

// contains returns the condition that a column contains a text. The text is in lower
// case; the condition ignores the case of A to Z only.
func contains(db *database.DB, column string) string {
	return position(db, "LOWER("+inBytes(db, column)+")")
}

// position returns the condition that needle is part of a text.
func position(db *database.DB, in string) string {
	if db.Dialect() == "postgres" {
		return "STRPOS(" + in + ", ?) > 0"
	}
	return "INSTR(" + in + ", ?) > 0"
}

// inBytes returns a column with the order of its bytes, which SQLite uses anyway.
// PostgreSQL's own order and lower case depend on a language.
func inBytes(db *database.DB, column string) string {
	if db.Dialect() == "postgres" {
		return "(" + column + ` COLLATE "C")`
	}
	return column
}

// lower converts A to Z to lower case, and nothing else.
func lower(text string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}, text)
}

// jsonText returns a text as GORM writes it inside a JSON column.
func jsonText(text string) []byte {
	out, _ := json.Marshal(text) // cannot fail
	return out
}
