-- The few sessions that are being deleted or imported.
CREATE INDEX IF NOT EXISTS idx_sessions_hidden ON sessions (id) WHERE deleting_since IS NOT NULL OR importing_since IS NOT NULL;
