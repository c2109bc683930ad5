-- compatible: 4
-- The few sessions that are starting.
CREATE INDEX IF NOT EXISTS idx_sessions_starting ON sessions (start_requested) WHERE start_requested IS NOT NULL;
