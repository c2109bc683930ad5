package repository

import (
	"context"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"ospulse/internal/database"
	"ospulse/internal/models"
)

// AgentRequests stores requests to agents that fetch their work.
type AgentRequests struct{ db *database.DB }

// NewAgentRequests returns the requests of db.
func NewAgentRequests(db *database.DB) *AgentRequests { return &AgentRequests{db} }

// Add stores a new request, which the agent may take for a duration from now.
func (r *AgentRequests) Add(ctx context.Context, request *models.AgentRequest, lasts time.Duration) error {
	err := r.db.Write(ctx, func(tx *gorm.DB) error {
		if err := tx.Create(request).Error; err != nil {
			return err
		}
		return tx.Model(request).Update("until", gorm.Expr(nowMicros(r.db)+" + ?", lasts.Microseconds())).Error
	})
	return translate(r.db, err, "the request")
}

// Take returns the oldest request that the agent may take, and marks it as taken; nil if
// there is none. Each request is taken once.
func (r *AgentRequests) Take(ctx context.Context, agentID string) (*models.AgentRequest, error) {
	open := func(tx *gorm.DB) *gorm.DB {
		return tx.Where("agent_id = ? AND NOT is_taken AND until > "+nowMicros(r.db), agentID)
	}
	var found models.AgentRequest
	if err := open(r.db.Read(ctx)).Select("id").Take(&found).Error; err != nil { // a write for each poll would cost more
		if translated := translate(r.db, err, "the request"); models.ErrorCode(translated) != models.CodeNotFound {
			return nil, translated
		}
		return nil, nil //nolint:nilnil // there is none
	}
	var taken []models.AgentRequest
	err := r.db.Write(ctx, func(tx *gorm.DB) error {
		oldest := open(tx.Model(&models.AgentRequest{})).Select("id").Order("until, id").Limit(1)
		return tx.Model(&taken).Clauses(clause.Returning{}).Where("id = (?) AND NOT is_taken", oldest).Update("is_taken", true).Error
	})
	if err != nil || len(taken) == 0 {
		return nil, translate(r.db, err, "the request")
	}
	return &taken[0], nil
}

// Get returns a request, or not_found.
func (r *AgentRequests) Get(ctx context.Context, id string) (*models.AgentRequest, error) {
	var request models.AgentRequest
	err := r.db.Read(ctx).Where("id = ?", id).Take(&request).Error
	return &request, translate(r.db, err, "the request")
}

// Answer stores the answer of an agent to a request that it has taken. It returns not_found
// if the request is another agent's, is answered, or is not waited for any more.
func (r *AgentRequests) Answer(ctx context.Context, agentID, id string, status int, body []byte) error {
	err := r.db.Write(ctx, func(tx *gorm.DB) error {
		done := tx.Model(&models.AgentRequest{}).Where("id = ? AND agent_id = ? AND is_taken AND status = 0", id, agentID).
			Updates(map[string]any{"status": status, "answer": body})
		if done.Error == nil && done.RowsAffected == 0 {
			return gorm.ErrRecordNotFound
		}
		return done.Error
	})
	return translate(r.db, err, "the request")
}

// Remove removes a request, and reports whether the agent has taken it.
func (r *AgentRequests) Remove(ctx context.Context, id string) (isTaken bool, err error) {
	var removed []models.AgentRequest
	err = r.db.Write(ctx, func(tx *gorm.DB) error {
		return tx.Clauses(clause.Returning{}).Where("id = ?", id).Delete(&removed).Error
	})
	return len(removed) > 0 && removed[0].IsTaken, translate(r.db, err, "the request")
}

// RemoveOld removes requests that could not be taken any more for an age: the backends that
// made them have died.
func (r *AgentRequests) RemoveOld(ctx context.Context, age time.Duration) error {
	err := r.db.Write(ctx, func(tx *gorm.DB) error {
		return tx.Where("until < "+nowMicros(r.db)+" - ?", age.Microseconds()).Delete(&models.AgentRequest{}).Error
	})
	return translate(r.db, err, "the requests")
}
