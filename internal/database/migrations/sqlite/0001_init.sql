-- Events by time over all sessions.
CREATE INDEX IF NOT EXISTS idx_events_time ON events ("timestamp");

-- Who gets an event that names no known session: the few sessions that are
-- live, and the last one that ended.
CREATE INDEX IF NOT EXISTS idx_sessions_live ON sessions (agent_id) WHERE is_active OR starting_since IS NOT NULL;
CREATE INDEX IF NOT EXISTS idx_sessions_ended ON sessions (agent_id, monitoring_ended DESC) WHERE monitoring_ended IS NOT NULL;

-- Times are microseconds since 1970.
INSERT INTO sessions (id, file_name, created_at, updated_at)
VALUES ('unassigned', '', CAST(unixepoch('subsec') * 1000000 AS INTEGER), CAST(unixepoch('subsec') * 1000000 AS INTEGER))
ON CONFLICT (id) DO NOTHING;
