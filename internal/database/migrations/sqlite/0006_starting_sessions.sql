-- compatible: 4
-- The sessions that are starting, which are few.
CREATE INDEX IF NOT EXISTS idx_sessions_starting ON sessions (start_requested) WHERE start_requested IS NOT NULL;
