package repository

import (
	"context"

	"ospulse/internal/database"
	"ospulse/internal/models"
)

// restoredStart is the outcome of a start that was unknown when a backup was taken.
const restoredStart = "the backend was restored from a backup that was taken while the session was starting; it is unknown whether the program ran"

// SettleRestored changes restored sessions for their new installation. A session that was
// starting has failed: the installation that was copied carried on its start, and must
// not get another start or a stop from this one. Active sessions stay active. If their
// agents still monitor for them, their events continue; otherwise the rules for lost
// agents end them.
func SettleRestored(ctx context.Context, tx *database.Restoration) error {
	return tx.Run(ctx, database.Statement{
		Text: `UPDATE sessions SET start_requested = NULL, starting_since = NULL, stop_pending = ?,
			start_error_code = ?, start_error_text = ?, start_error_may_have_run = ? WHERE start_requested IS NOT NULL`,
		Args: []any{false, string(models.CodeInternal), restoredStart, true},
	})
}
