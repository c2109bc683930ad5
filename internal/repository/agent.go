package repository

import (
	"context"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"ospulse/internal/database"
	"ospulse/internal/models"
)

// Agents stores agents.
type Agents struct{ db *database.DB }

// NewAgents returns the agents of db.
func NewAgents(db *database.DB) *Agents { return &Agents{db} }

// Register stores the agent that an operator configured for a backend, and gives the
// holder the agent's lease (see AgentLease), unless another holder has it. choose returns
// the agent; it receives all agents that operators configured before, and whether the
// default agent is free, because no running backend has it as its own. Backends that
// register at the same time take turns.
func (r *Agents) Register(ctx context.Context, holder string, lasts time.Duration, choose func(known []models.Agent, isFree bool) models.Agent) (id string, err error) {
	err = r.db.Write(ctx, func(tx *gorm.DB) error {
		if err := lockAgents(tx); err != nil {
			return err
		}
		var known []models.Agent
		if err := tx.Where("service_url <> ''").Order("id").Find(&known).Error; err != nil {
			return err
		}
		var held int64
		if err := tx.Model(&models.Lease{}).Where("name = ? AND until > "+nowMicros(r.db), models.AgentLease(models.DefaultAgentID)).Count(&held).Error; err != nil {
			return err
		}
		agent := choose(known, held == 0)
		id = agent.ID
		if err := tx.Clauses(clause.OnConflict{
			Columns:   []clause.Column{{Name: "id"}},
			DoUpdates: clause.AssignmentColumns([]string{"url", "service_url", "updated_at"}),
		}).Create(&agent).Error; err != nil {
			return err
		}
		_, err := takeLease(tx, r.db, models.AgentLease(id), holder, lasts)
		return err
	})
	return id, translate(r.db, err, "the agent")
}

// lockAgents makes transactions that add agents take turns. It creates the default agent, if
// it does not exist yet, and locks it.
func lockAgents(tx *gorm.DB) error {
	first := models.Agent{ID: models.DefaultAgentID, Name: models.DefaultAgentID, Status: models.AgentUnknown}
	if err := tx.Clauses(clause.OnConflict{DoNothing: true}).Create(&first).Error; err != nil {
		return err
	}
	locking := clause.Locking{Strength: clause.LockingStrengthUpdate} // no effect on SQLite, where transactions queue
	return tx.Clauses(locking).Select("id").Take(&models.Agent{}, "id = ?", models.DefaultAgentID).Error
}

// heartbeatColumns are the columns that a heartbeat sets.
var heartbeatColumns = []string{ //nolint:gochecknoglobals // a constant
	"name", "url", "last_seen_at", "heartbeat_at", "address", "version", "platform", "arch", "sensor", "capabilities", "start_options", "session_ids", "delivery", "fetches_work", "event_classes", "updated_at",
}

// Heartbeat stores what an agent reports of itself. It returns conflict for a new agent
// if there are maxAgents already.
func (r *Agents) Heartbeat(ctx context.Context, agent *models.Agent, maxAgents int) error {
	err := r.db.Write(ctx, func(tx *gorm.DB) error {
		known := tx.Model(&models.Agent{ID: agent.ID}).Select(heartbeatColumns).Updates(agent)
		if known.Error != nil || known.RowsAffected > 0 {
			return known.Error
		}
		return addAgent(tx, agent, maxAgents, clause.OnConflict{DoUpdates: clause.AssignmentColumns(heartbeatColumns)})
	})
	return translate(r.db, err, "the agent")
}

// addAgent stores a new agent. exists says what happens to one with its ID.
func addAgent(tx *gorm.DB, agent *models.Agent, maxAgents int, exists clause.OnConflict) error {
	if err := lockAgents(tx); err != nil { // so that the count is exact
		return err
	}
	var count int64
	if err := tx.Model(&models.Agent{}).Where("id <> ?", agent.ID).Count(&count).Error; err != nil {
		return err
	}
	if count >= int64(maxAgents) {
		return models.Errorf(models.CodeConflict, "%d agents are known already, and no more are kept", count)
	}
	exists.Columns = []clause.Column{{Name: "id"}}
	return tx.Clauses(exists).Create(agent).Error
}

// Add stores a new agent. One with its ID that nobody has heard of yet gets its name, and
// whether it fetches its work. One that was heard of stays as it is. Add returns conflict for
// a new one if there are maxAgents already.
func (r *Agents) Add(ctx context.Context, agent *models.Agent, maxAgents int) error {
	err := r.db.Write(ctx, func(tx *gorm.DB) error {
		return addAgent(tx, agent, maxAgents, clause.OnConflict{
			DoUpdates: clause.AssignmentColumns([]string{"name", "fetches_work", "updated_at"}),
			Where:     clause.Where{Exprs: []clause.Expression{clause.Expr{SQL: "agents.last_seen_at IS NULL AND agents.heartbeat_at IS NULL"}}},
		})
	})
	return translate(r.db, err, "the agent")
}

// List returns up to limit agents by name.
func (r *Agents) List(ctx context.Context, limit int) ([]models.Agent, error) {
	var agents []models.Agent
	err := r.db.Read(ctx).Order("name, id").Limit(limit).Find(&agents).Error
	return agents, translate(r.db, err, "the agent")
}

// Get returns an agent, or not_found.
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
