package repository

import (
	"context"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"ospulse/internal/database"
	"ospulse/internal/models"
)

// Agents keeps agents.
type Agents struct{ db *database.DB }

// NewAgents gives the agents of db.
func NewAgents(db *database.DB) *Agents { return &Agents{db} }

// Register stores an agent, or the new name and URL of one that is there.
func (r *Agents) Register(ctx context.Context, agent *models.Agent) error {
	err := r.db.Write(ctx, func(tx *gorm.DB) error {
		return tx.Clauses(clause.OnConflict{
			Columns:   []clause.Column{{Name: "id"}},
			DoUpdates: clause.AssignmentColumns([]string{"name", "url", "updated_at"}),
		}).Create(agent).Error
	})
	return translate(r.db, err, "the agent")
}

// Get gives an agent, or not_found.
func (r *Agents) Get(ctx context.Context, id string) (*models.Agent, error) {
	var agent models.Agent
	if err := r.db.Read(ctx).Where("id = ?", id).Take(&agent).Error; err != nil {
		return nil, translate(r.db, err, "agent "+id)
	}
	return &agent, nil
}

// SetStatus stores the outcome of a health check: status, last_error and
// last_seen_at of agent.
func (r *Agents) SetStatus(ctx context.Context, agent *models.Agent) error {
	columns := []string{"status", "last_error"}
	if agent.LastSeenAt != nil {
		columns = append(columns, "last_seen_at")
	}
	err := r.db.Write(ctx, func(tx *gorm.DB) error {
		return tx.Model(&models.Agent{ID: agent.ID}).Select(columns).Updates(agent).Error
	})
	return translate(r.db, err, "agent "+agent.ID)
}
