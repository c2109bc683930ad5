-- Pages of a session's events of one type, of one process name or of one pid, in
-- the order of seq.
CREATE INDEX IF NOT EXISTS idx_events_type ON events (session_id, event_type, seq);
CREATE INDEX IF NOT EXISTS idx_events_process ON events (session_id, process_name, seq);
CREATE INDEX IF NOT EXISTS idx_events_pid ON events (session_id, pid, seq);

-- The list of sessions, newest first.
CREATE INDEX IF NOT EXISTS idx_sessions_created ON sessions (created_at DESC, id DESC);
